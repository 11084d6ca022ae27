//! One `apply` at a time, and the journal open only for moments.
//!
//! An update takes minutes, and the host must be able to write to the journal at any time: to put a release in
//! force, and above all to take one back. So the tool opens the store for each change and closes it before
//! whatever takes long; that two of them do not fill the same slot meanwhile, this lock sees to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use outrigger_update::store::{Store, StoreError};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

/// The lock's file, in the state folder.
const NAME: &str = "apply.lock";
/// How long another process may have the journal before that is an error: the host has it for moments, and
/// another tool while it unpacks.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is tried again meanwhile.
const AGAIN: Duration = Duration::from_millis(20);
/// Longest process id that is read, in bytes.
const NOTE_MAX: u64 = 20;

/// The right to get and try releases, until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Turn {
    _file: File,
}

/// Another one has its turn.
#[derive(Debug, thiserror::Error)]
#[error("another `outrigger update apply` is at work (process {holder}): wait until it has ended, or end it; {}", path.display())]
pub(crate) struct Busy {
    holder: String,
    path: PathBuf,
}

impl Turn {
    /// Takes the turn in `state_dir`, which is there.
    pub(super) fn take(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join(NAME);
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.mode(0o600).custom_flags(flags).open(&path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // For people; one that cannot be written, on a full disk, hinders nothing.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self { _file: file })
            }
            Err(Errno::WOULDBLOCK) => {
                let mut note = String::new();
                let _ = file.take(NOTE_MAX).read_to_string(&mut note);
                let digits = note.chars().filter(char::is_ascii_digit).collect();
                Err(Busy { holder: digits, path }.into())
            }
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

/// The store of `state_dir`, as soon as nobody else has it.
pub(super) fn open(state_dir: &Path) -> Result<Store, StoreError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match Store::open(state_dir) {
            Err(StoreError::Locked { .. }) if Instant::now() < until => thread::sleep(AGAIN),
            opened => return opened,
        }
    }
}
