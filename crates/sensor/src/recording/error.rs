//! What can be wrong with a recording.

use std::io;

use super::VERSION;

/// The bytes are no recording, or none that goes on. Offsets are bytes from the file's beginning.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file does not begin as a recording does.
    #[error("this is no recording: its first bytes are not OUTRGREC")]
    NoRecording,
    /// A version that this build does not read.
    #[error("recording of version {got}, this build reads {VERSION}")]
    Version {
        /// The version found.
        got: u16,
    },
    /// The file ends where more was announced.
    #[error("the recording is cut off: byte {offset} is its last, and it has no end")]
    Cut {
        /// Where.
        offset: u64,
    },
    /// A record or field is longer than it may be.
    #[error("at byte {offset}: {what} of {len} bytes, over the limit of {limit}")]
    TooLong {
        /// Where it is announced.
        offset: u64,
        /// What.
        what: &'static str,
        /// Announced length, in bytes.
        len: u64,
        /// Longest that is read, in bytes.
        limit: u64,
    },
    /// A record that no writer writes.
    #[error("at byte {offset}: {what}")]
    Malformed {
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An event that this build's catalogue does not have.
    #[error("at byte {offset}: event number {number:#06x} is not in this build's catalogue")]
    UnknownEvent {
        /// Where the record begins.
        offset: u64,
        /// The number found.
        number: u16,
    },
    /// The bytes of an object do not have the sum that stands before them.
    #[error("at byte {offset}: the object's bytes do not have the sum that stands before them")]
    Blob {
        /// Where the record begins.
        offset: u64,
    },
    /// What was read is not what the end says was written.
    #[error(
        "at byte {offset}: what was read is not what was written: the sum or the counts differ"
    )]
    Damaged {
        /// Where the end begins.
        offset: u64,
    },
    /// The file cannot be read.
    #[error("the recording cannot be read at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}
