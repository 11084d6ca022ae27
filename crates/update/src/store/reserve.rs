//! Room that is kept for the way back, for a disk that is full.
//!
//! To write one transition, SQLite makes two files beside its own and needs some pages in each. Two files lie ready to
//! be removed for that: one holds the room, both hold their names (a file system can be full of names as well). They
//! are given up for the ways back alone, for no other change, and made again, of what the change gives back, when the
//! store is let go of.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::StoreError;
use super::slots::Slots;

/// The files: the one that holds the room, and the one that holds but its name.
const NAMES: [&str; 2] = ["updates.reserve", "updates.reserve-2"];
/// How much room is kept, in bytes: many times what a way back takes, for whoever else writes at that moment.
const SIZE: u64 = 512 << 10;
/// The least that it is made larger by, in bytes, where a disk has no room for the whole.
const LEAST: u64 = 4 << 10;
/// How much must be free before it is made, in bytes: the last room is not for it.
const PLENTY: u64 = 4 * SIZE;

/// The reserve of one state folder.
#[derive(Debug)]
pub(super) struct Reserve {
    root: OwnedFd,
    given_up: bool,
}

impl Reserve {
    pub(super) fn of(slots: &Slots) -> Result<Self, StoreError> {
        let root = slots.fd().try_clone_to_owned();
        let root =
            root.map_err(|error| StoreError::file("open", slots.path().to_owned(), error))?;
        Ok(Self { root, given_up: false })
    }

    /// Makes what is missing of it, if there is plenty of room. That it cannot be made hinders nothing else.
    pub(super) fn keep(&self) {
        let whole = NAMES.iter().zip([SIZE, 0]).all(|(name, size)| {
            let stat = rustix::fs::statat(&self.root, *name, AtFlags::SYMLINK_NOFOLLOW);
            stat.is_ok_and(|stat| u64::try_from(stat.st_size).is_ok_and(|found| found >= size))
        });
        let free = || {
            let stat = rustix::fs::fstatvfs(&self.root);
            stat.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
        };
        if !whole && free() >= PLENTY {
            let _ = self.make();
        }
    }

    /// Gives it up; whether there was anything to give.
    pub(super) fn give_up(&mut self) -> bool {
        let gone = NAMES.map(|name| rustix::fs::unlinkat(&self.root, name, AtFlags::empty()));
        let any = gone.iter().any(Result::is_ok);
        if any {
            self.given_up = true;
            // Some file systems give freed room away only when it is freed on the disk as well.
            let _ = rustix::fs::fsync(&self.root);
        }
        any
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Makes it, as large as there is room.
    fn make(&self) -> Result<(), Errno> {
        for name in NAMES.into_iter().rev() {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.root, name, flags, Mode::from_raw_mode(0o600))?;
            if name == NAMES[0] {
                let filled = fill(&file);
                rustix::fs::fsync(&file)?;
                filled?;
            }
        }
        rustix::fs::fsync(&self.root)
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if self.given_up {
            let _ = self.make();
        }
    }
}

/// Gives the file its size, or as much of it as there is.
fn fill(file: &OwnedFd) -> Result<(), Errno> {
    let mut at = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(SIZE);
    let mut step = SIZE;
    while at < SIZE {
        step = step.min(SIZE - at);
        match rustix::fs::fallocate(file, FallocateFlags::empty(), at, step) {
            Ok(()) => at += step,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                at += rustix::io::pwrite(file, &[0; 4 << 10], at)? as u64;
            }
            Err(Errno::NOSPC | Errno::DQUOT) if step > LEAST => step /= 2,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
