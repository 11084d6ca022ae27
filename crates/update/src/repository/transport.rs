//! Who brings the bytes of a repository.

use std::time::{Duration, Instant};

pub use outrigger_api::fetch::Place;

use super::Refusal;

/// Brings the bytes of files in a repository, by their paths. It is not trusted with more than that: what
/// it brings is verified by the caller.
pub trait Transport: Send {
    /// The file, or `None` if the repository does not have it. No more than [`Wanted::limit`] bytes are
    /// ever held, and no longer than until [`Wanted::until`] is waited.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooLong`], [`Refusal::TooSlow`], [`Refusal::Truncated`], [`Refusal::Unreachable`],
    /// [`Refusal::Child`].
    fn fetch(
        &mut self,
        wanted: &Wanted<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Vec<u8>>, Refusal>;

    /// What this machine did not give to confine whoever fetches; empty if nothing, or before the first fetch.
    fn weak(&self) -> &str {
        ""
    }
}

/// One file that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Under which base.
    pub place: Place,
    /// Its path there: parts parted by `/`, none of them empty, `.` or `..`.
    pub path: &'a str,
    /// Most bytes that it may have.
    pub limit: u64,
    /// Which limit that is, for the message.
    pub limit_of: &'static str,
    /// When it must be there.
    pub until: Instant,
    /// Longest wait for the next bytes.
    pub silence: Duration,
    /// Fewest bytes a second on average, once `silence` is over.
    pub least_rate: u64,
}

/// How far a file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub got: u64,
    /// Bytes in all, as far as the repository says; not to be trusted.
    pub of: Option<u64>,
}
