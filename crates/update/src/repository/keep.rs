//! The trusted metadata on the disk.
//!
//! One folder, plain names: `root.json`, `timestamp.json`, `snapshot.json`, `targets.json`, delegated roles by
//! their (percent-encoded) names, older roots in `root_history/`. Nothing is written here that was not
//! verified before, and each file is either the old or the new one, whatever happens: it is written beside
//! its place, flushed to the disk, renamed, and the folder is flushed. What is read back is verified again
//! from the trusted root, so files that do not fit together, or that rot, cost a request and nothing else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sigstore_tuf::cache::MetadataStore;

use super::Refusal;

/// Longest file that is read back: the longest that any limit lets be written.
const READ_MAX: u64 = 64 << 20;
/// Where the older roots lie.
const HISTORY: &str = "root_history";
/// The longest name of a file, less what the temporary name adds.
const NAME_MAX: usize = 250;

/// The folder, locked against other processes for as long as this lives.
#[derive(Debug)]
pub(super) struct Keeper {
    folder: OwnedFd,
    history: OwnedFd,
    path: PathBuf,
    /// The first write that failed. After it nothing is written any more: a later file must not stand
    /// beside an earlier one that it does not follow on.
    failed: Mutex<Option<Refusal>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // A child that another thread has just begun has the descriptor, too, until it executes its program.
        // Closing ours would leave it the lock.
        let _ = rustix::fs::flock(&self.folder, FlockOperation::Unlock);
    }
}

impl Keeper {
    /// Opens the folder, making it if its parent is there.
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let store = |what, path: &Path, errno: Errno| Refusal::Store {
            what,
            path: path.to_owned(),
            source: errno.into(),
        };
        make_folder(CWD, path).map_err(|errno| store("cannot make", path, errno))?;
        let folder = open_folder(CWD, path).map_err(|errno| store("cannot open", path, errno))?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Refusal::Busy { folder: path.to_owned() }),
            Err(errno) => return Err(store("cannot lock", path, errno)),
        }
        let older = path.join(HISTORY);
        make_folder(&folder, HISTORY).map_err(|errno| store("cannot make", &older, errno))?;
        let history =
            open_folder(&folder, HISTORY).map_err(|errno| store("cannot open", &older, errno))?;
        Ok(Self { folder, history, path: path.to_owned(), failed: Mutex::new(None) })
    }

    /// Where a file of this name lies.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file; `None` if there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.try_read(name).map_err(|source| Refusal::Store {
            what: "cannot read",
            path: self.path(name),
            source,
        })
    }

    /// Writes a file, so that it is there, whole, after a power cut.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Refusal> {
        self.try_write(name, bytes).map_err(|source| Refusal::Store {
            what: "cannot write",
            path: self.path(name),
            source,
        })
    }

    /// Whether a write has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed().is_some()
    }

    /// The write that failed, if one did; the next is tried again.
    pub(super) fn take_failure(&self) -> Option<Refusal> {
        self.failed().take()
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<Refusal>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((folder, name)) = self.place(name) else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            // A link is not followed; the next write takes its place.
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut bytes = Vec::new();
        file.take(READ_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn try_write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let Some((folder, name)) = self.place(name) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no name of metadata"));
        };
        let temporary = format!(".{name}.new");
        let written = write_beside(folder, &temporary, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(folder, &temporary, folder, name)?))
            .and_then(|()| Ok(rustix::fs::fsync(folder)?));
        if written.is_err() {
            // It may not be there; on a full disk what it took is given back.
            let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
        }
        written
    }

    /// The folder and the plain name of a file, if it is a name that this keeps.
    fn place<'a>(&self, name: &'a str) -> Option<(&OwnedFd, &'a str)> {
        let (folder, name) = match name.split_once('/') {
            None => (&self.folder, name),
            Some((HISTORY, name)) => (&self.history, name),
            Some(_) => return None,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~%".contains(c);
        let sound = name.chars().all(plain) && name.len() <= NAME_MAX && !name.starts_with('.');
        sound.then_some((folder, name))
    }
}

impl MetadataStore for Keeper {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        self.try_read(name)
            .map_err(|source| sigstore_tuf::Error::io(format!("reading {name}"), source))
    }

    /// Keeps what was verified. A failure is remembered for [`Keeper::take_failure`], because the caller of
    /// this, inside of the library, only logs it.
    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        if name.starts_with("targets/") || is_numbered_snapshot(name) || self.has_failed() {
            return Ok(());
        }
        if self.place(name).is_none() {
            // A delegated role of a name that no file can have is verified again each time.
            return Ok(());
        }
        if self.try_read(name).is_ok_and(|old| old.as_deref() == Some(bytes)) {
            return Ok(());
        }
        if let Err(refusal) = self.write(name, bytes) {
            *self.failed() = Some(refusal);
        }
        Ok(())
    }
}

/// Whether this is the snapshot under its name in a repository with consistent snapshots; it is kept under
/// its plain one.
fn is_numbered_snapshot(name: &str) -> bool {
    name.strip_suffix(".snapshot.json")
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn write_beside(folder: &OwnedFd, temporary: &str, bytes: &[u8]) -> io::Result<()> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let mut file = File::from(rustix::fs::openat(folder, temporary, flags, mode)?);
    file.write_all(bytes)?;
    file.sync_all()
}

fn make_folder(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Result<(), Errno> {
    match rustix::fs::mkdirat(at, path, Mode::RWXU | Mode::RGRP | Mode::XGRP) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn open_folder(at: impl std::os::fd::AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}
