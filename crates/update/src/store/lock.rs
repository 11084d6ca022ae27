//! One writer at a time.

use std::fs::File;
use std::io::{Read, Write};
use std::process;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::StoreError;
use super::slots::Slots;

/// The lock's file, in the state folder.
const NAME: &str = "updates.lock";
/// Longest note of a holder that is read, in bytes.
const NOTE_MAX: u64 = 200;

/// The right to change the store, until it is dropped or the process ends, however it ends: the kernel
/// lets go of it with the descriptor, which no program inherits.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that another thread has just begun has the descriptor, too, until it executes its program.
        // Closing ours would leave it the lock.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    pub(super) fn take(slots: &Slots) -> Result<Self, StoreError> {
        let path = slots.path().join(NAME);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(slots.fd(), NAME, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| StoreError::file("open", path.clone(), error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // The note is for people. One that cannot be written, on a full disk, hinders nothing.
                let _ = note(&file);
                Ok(Self { file })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(StoreError::Locked { path, holder: holder(&file) })
            }
            Err(error) => Err(StoreError::file("lock", path, error)),
        }
    }
}

fn note(mut file: &File) -> std::io::Result<()> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let note = format!("process {} ({})\n", process::id(), name.to_string_lossy());
    file.set_len(0)?;
    file.write_all(note.as_bytes())
}

fn holder(file: &File) -> String {
    let mut note = Vec::new();
    let read = file.take(NOTE_MAX).read_to_end(&mut note);
    let text = String::from_utf8_lossy(&note);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    if read.is_err() || text.is_empty() { "another process".to_owned() } else { text }
}
