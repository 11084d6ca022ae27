//! Recorded events in a file: what a host keeps of its own and what a replay is fed with.
//!
//! ```text
//! "OUTRGREC"  version u16, zero u16, length u32  header: when, where, what was left out
//! 1, 0 0 0    length u32                         sample: one event, its object's bytes by their sum
//! 2, 0 0 0    length u32                         blob: SHA-256, then the bytes; each once
//!   …
//! 3, 0 0 0    length u32                         end: samples u64, blobs u64, SHA-256 of all before it
//! ```
//!
//! All numbers are little-endian. A sample says of its object's bytes only how many they are and their
//! SHA-256. Who replays finds them by that: as a blob of the same file, or in the file of the sample's path
//! as long as it still has that sum. A blob is written before the first sample that speaks of it.
//!
//! A recording that was cut off (a crash, a full disk) has no end: what lies before the cut is read, and
//! then the cut is an error that says where. Nothing after an end is read.
//!
//! Threat position: a file can come from anybody. The [`Reader`] never panics, checks every length
//! against a limit before it reads, and allocates no more than what it has read. There is one form of
//! each sample: what is read and written again has the same bytes. The sum at the end protects against
//! accidents; against somebody who writes recordings only a signature would.

mod corpus;
mod error;
mod header;
mod reader;
mod redaction;
mod sample;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

pub use corpus::{Corpus, Samples};
pub use error::RecordingError;
pub use header::{Header, Kept};
pub use reader::{Counts, Item, Reader};
pub use redaction::Redaction;
pub use sample::{SAMPLE_MAX, write as encode};
pub use writer::Writer;

/// How a recording begins.
pub const MAGIC: &[u8; 8] = b"OUTRGREC";
/// Version of the format.
pub const VERSION: u16 = 1;
/// Most bytes of one object, 64 MiB: what is larger is recorded by its sum alone.
pub const BLOB_MAX: usize = 64 << 20;
/// Bytes before the body of a record.
const PREFIX: usize = 8;

const KIND_SAMPLE: u8 = 1;
const KIND_BLOB: u8 = 2;
const KIND_END: u8 = 3;
/// Body of an end.
const END_SIZE: usize = 8 + 8 + 32;
/// Longest body of each kind of record.
const fn body_max(kind: u8) -> Option<usize> {
    match kind {
        KIND_SAMPLE => Some(SAMPLE_MAX),
        KIND_BLOB => Some(32 + BLOB_MAX),
        KIND_END => Some(END_SIZE),
        _ => None,
    }
}

/// How the names of the files begin that a host keeps; a number follows.
pub const FILE_PREFIX: &str = "recording-";
/// How they end.
pub const FILE_SUFFIX: &str = ".rec";

/// The files that a host keeps in `folder`, its state folder, with their numbers, oldest first. The newest is
/// the one that it writes to, if it runs.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn files_in(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(FILE_PREFIX));
        let number = number.and_then(|rest| rest.strip_suffix(FILE_SUFFIX));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The SHA-256 of `bytes`.
pub fn sum(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

/// The SHA-256 of bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Summer(sha2::Sha256);

impl Summer {
    /// Takes the next piece.
    pub fn add(&mut self, bytes: &[u8]) {
        use sha2::Digest as _;
        self.0.update(bytes);
    }

    /// The sum of all pieces.
    pub fn finish(self) -> [u8; 32] {
        use sha2::Digest as _;
        self.0.finalize().into()
    }
}
