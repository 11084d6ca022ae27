//! What the TUF client asks for, on its way to the transport, under this refresh's limits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sigstore_tuf::Error;
use sigstore_tuf::transport::{FetchFuture, Repository};

use super::keep::Keeper;
use super::transport::{Place, Progress, Transport, Wanted};
use super::{Limits, Refusal};

/// Told how far the file that is being fetched has come.
pub type OnProgress = Box<dyn FnMut(Progress) + Send>;

/// Shared between the repository and the client inside of it.
pub(super) struct Bridge {
    state: Mutex<State>,
    keeper: Arc<Keeper>,
    limits: Limits,
}

struct State {
    transport: Box<dyn Transport>,
    until: Instant,
    /// Bytes of metadata that may still come.
    left: u64,
    on_progress: Option<OnProgress>,
    last: Last,
}

/// What came of the last request, for the reason of a refusal.
#[derive(Debug, Default)]
pub(super) enum Last {
    /// None was made.
    #[default]
    Nothing,
    /// This metadata came.
    Metadata { file: String, bytes: Vec<u8> },
    /// A target of this length came.
    Target { length: u64 },
    /// The repository does not have it.
    Missing { file: String },
    /// It was refused before it was looked at.
    Refused(Refusal),
}

impl Bridge {
    pub(super) fn new(transport: Box<dyn Transport>, keeper: Arc<Keeper>, limits: Limits) -> Self {
        let state = State {
            transport,
            until: Instant::now(),
            left: 0,
            on_progress: None,
            last: Last::Nothing,
        };
        Self { state: Mutex::new(state), keeper, limits }
    }

    /// Begins a refresh, or the search for a target: the limits count from here.
    pub(super) fn begin_metadata(&self) {
        let mut state = self.state();
        state.until = Instant::now() + self.limits.refresh_time;
        state.left = self.limits.refresh_bytes;
        state.last = Last::Nothing;
    }

    /// Begins the download of one target.
    pub(super) fn begin_target(&self, on_progress: OnProgress) {
        let mut state = self.state();
        state.until = Instant::now() + self.limits.target_time;
        state.on_progress = Some(on_progress);
        state.last = Last::Nothing;
    }

    /// Ends what was begun; what came of its last request.
    pub(super) fn end(&self) -> Last {
        let mut state = self.state();
        state.on_progress = None;
        std::mem::take(&mut state.last)
    }

    pub(super) fn weak(&self) -> String {
        self.state().transport.weak().to_owned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata(&self, file: &str, role_limit: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let state = &mut *self.state();
        if self.keeper.has_failed() {
            return Err(Error::transport("trusted metadata cannot be written"));
        }
        let (limit, limit_of) = if state.left < role_limit {
            (state.left, "what one refresh may fetch")
        } else {
            (role_limit, "one file of its role")
        };
        let fetched = self.fetch(state, Place::Metadata, file, limit, limit_of)?;
        state.last = match &fetched {
            Some(bytes) => {
                state.left = state.left.saturating_sub(bytes.len() as u64);
                Last::Metadata { file: file.to_owned(), bytes: bytes.clone() }
            }
            None => Last::Missing { file: file.to_owned() },
        };
        Ok(fetched)
    }

    fn target(&self, path: &str, length: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let state = &mut *self.state();
        let fetched =
            self.fetch(state, Place::Targets, path, length, "the length that was signed")?;
        state.last = match &fetched {
            Some(bytes) => Last::Target { length: bytes.len() as u64 },
            None => Last::Missing { file: path.to_owned() },
        };
        Ok(fetched)
    }

    fn fetch(
        &self,
        state: &mut State,
        place: Place,
        path: &str,
        limit: u64,
        limit_of: &'static str,
    ) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let Limits { silence, least_rate, .. } = self.limits;
        let wanted =
            Wanted { place, path, limit, limit_of, until: state.until, silence, least_rate };
        let mut ignored: OnProgress = Box::new(|_| ());
        let on_progress = state.on_progress.as_mut().unwrap_or(&mut ignored);
        let fetched = match inside(path) {
            true => state.transport.fetch(&wanted, on_progress),
            false => Err(Refusal::UnsafePath { path: path.to_owned() }),
        };
        fetched.map_err(|refusal| {
            let message = refusal.to_string();
            state.last = Last::Refused(refusal);
            Error::transport(message)
        })
    }
}

/// Whether a path stays under its base, and can be asked for in one line.
pub(super) fn inside(path: &str) -> bool {
    let sound = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= outrigger_api::fetch::PATH_MAX
        && !path.contains(char::is_control)
        && path.split('/').all(sound)
}

/// The client's own handle; the library wants to own what it asks.
pub(super) struct Handle(pub(super) Arc<Bridge>);

impl Repository for Handle {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(std::future::ready(self.0.metadata(name, max_length)))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(std::future::ready(self.0.target(path, max_length)))
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn a_path_that_climbs_is_not_inside() {
        let climbing = ["../a", "a/../b", "..", "/a", "a//b", "a/", "./a", "", "a\nb", "a\0"];

        assert!(climbing.iter().all(|path| !inside(path)));
        assert!(["a", "a/b.c", "..a", "a..b/c...", "%2e%2e/a"].iter().all(|path| inside(path)));
    }
}
