//! A recorded event, with what engines need of its object: what a corpus is made of and what a replay
//! feeds to engines.
//!
//! A sample says of the object's bytes no more than their size and SHA-256. Where the bytes themselves
//! are to be had (in the corpus, or in the file of that name as long as it has that sum) is the
//! business of who replays.

use crate::catalogue::Event;
use crate::record::ContentAbsent;
use crate::verdict::Answer;

/// One recorded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What happened.
    pub event: Event,
    /// The subject's effective user and group ids.
    pub credentials: Option<(u32, u32)>,
    /// The object's path, bytes as the kernel has them.
    pub path: Option<Vec<u8>>,
    /// The object's size in bytes and change time in ns since the epoch.
    pub attributes: Option<(u64, u64)>,
    /// The object's bytes, or why engines were given none.
    pub content: Result<Digest, ContentAbsent>,
    /// What is known of the object.
    pub standing: Standing,
    /// How the machine that it was recorded on answered.
    pub answer: Option<Answer>,
}

/// The bytes of an object, by their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    /// How many.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// What is known of a recorded object, whoever judged it. A release that denies one that is known to be
/// good, or one that is guarded, is not put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Standing {
    /// It belongs to the distribution, unchanged.
    pub known_good: bool,
    /// The guard rail protects it: the machine needs it to live.
    pub guarded: bool,
}
