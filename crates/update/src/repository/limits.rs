//! How much and how long a repository may send.

use std::time::Duration;

/// Limits of one repository. What is over them is refused, however well it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one root.
    pub root_bytes: u64,
    /// Most bytes of the timestamp.
    pub timestamp_bytes: u64,
    /// Most bytes of the snapshot.
    pub snapshot_bytes: u64,
    /// Most bytes of one file of targets metadata, delegated or not.
    pub targets_bytes: u64,
    /// Most bytes of all metadata of one refresh, or of one search for a target.
    pub refresh_bytes: u64,
    /// Longest time for that.
    pub refresh_time: Duration,
    /// Longest time for one target.
    pub target_time: Duration,
    /// Longest wait for a connection, an answer or the next bytes.
    pub silence: Duration,
    /// Fewest bytes a second on average, once [`Limits::silence`] is over.
    pub least_rate: u64,
    /// Most new roots of one refresh.
    pub roots: u32,
    /// Most roles that one search for a target visits.
    pub roles: u32,
}

impl Default for Limits {
    /// The bytes are those of the TUF reference client, except for the whole refresh, which it does not
    /// bound; the times are ours.
    fn default() -> Self {
        Self {
            root_bytes: 512_000,
            timestamp_bytes: 16_384,
            snapshot_bytes: 2_000_000,
            targets_bytes: 5_000_000,
            refresh_bytes: 20_000_000,
            refresh_time: Duration::from_secs(120),
            target_time: Duration::from_secs(1800),
            silence: Duration::from_secs(20),
            least_rate: 1024,
            roots: 64,
            roles: 32,
        }
    }
}
