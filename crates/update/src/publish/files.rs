//! The files of a repository: read with a limit, written whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::package::PackageLimits;
use crate::publish::PublishError;
use crate::publish::document::{Envelope, Pinned, Signable, SnapshotDoc, TimestampDoc};

/// The folder of the metadata that is served.
pub(super) const METADATA: &str = "metadata";
/// The folder of the targets that are served.
pub(super) const TARGETS: &str = "targets";
/// The folder of what is not signed by enough keys yet.
pub(super) const PENDING: &str = "pending";
/// Longest metadata file that is read, in bytes; what clients read of the longest.
const METADATA_MAX: u64 = 5_000_000;

/// A repository's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// The right to change a repository, until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A child that another thread has just begun has the descriptor, too, until it executes its program.
        // Closing ours would leave it the lock.
        let _ = self.0.unlock();
    }
}

/// The versions that `timestamp.json` makes the newest.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) timestamp: u64,
    pub(super) snapshot: u64,
    pub(super) targets: u64,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folders that are not there.
    pub(super) fn make(&self) -> Result<(), PublishError> {
        for name in [METADATA, TARGETS, PENDING] {
            let path = self.0.join(name);
            fs::create_dir_all(&path).map_err(|source| failed("make", &path, source))?;
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> Result<Lock, PublishError> {
        self.make()?;
        let path = self.0.join(PENDING);
        let folder = File::open(&path).map_err(|source| failed("open", &path, source))?;
        match folder.try_lock() {
            Ok(()) => Ok(Lock(folder)),
            Err(TryLockError::WouldBlock) => Err(PublishError::Locked(self.0.clone())),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
        }
    }

    /// The version of the root in force; 0 where there is none.
    pub(super) fn root_version(&self) -> Result<u64, PublishError> {
        let mut version = 0;
        loop {
            let path = self.0.join(METADATA).join(format!("{}.root.json", version + 1));
            match path.try_exists() {
                Ok(true) => version += 1,
                Ok(false) => return Ok(version),
                Err(source) => return Err(failed("read", &path, source)),
            }
        }
    }

    /// The versions in force; none where nothing was published yet.
    pub(super) fn published(&self) -> Result<Option<Newest>, PublishError> {
        let Some(timestamp) = self.metadata::<TimestampDoc>("timestamp.json")? else {
            return Ok(None);
        };
        let snapshot = timestamp.signed.meta.snapshot.version;
        let name = format!("{snapshot}.snapshot.json");
        let Some(document) = self.metadata::<SnapshotDoc>(&name)? else {
            return Err(self.damaged(&name, "is missing".to_owned()));
        };
        let targets = document.signed.meta.targets.version;
        Ok(Some(Newest { timestamp: timestamp.signed.version(), snapshot, targets }))
    }

    /// The metadata file `name`, if it is there.
    pub(super) fn metadata<T: Signable>(
        &self,
        name: &str,
    ) -> Result<Option<Envelope<T>>, PublishError> {
        self.document(&self.0.join(METADATA).join(name))
    }

    /// The pending file `name`, if it is there.
    pub(super) fn pending<T: Signable>(
        &self,
        name: &str,
    ) -> Result<Option<Envelope<T>>, PublishError> {
        self.document(&self.0.join(PENDING).join(name))
    }

    fn document<T: Signable>(&self, path: &Path) -> Result<Option<Envelope<T>>, PublishError> {
        let Some(bytes) = read(path, METADATA_MAX)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let what = format!("is no metadata of {}: {error}", T::ROLE);
            PublishError::Damaged { path: path.to_owned(), what }
        })
    }

    pub(super) fn damaged(&self, name: &str, what: String) -> PublishError {
        PublishError::Damaged { path: self.0.join(METADATA).join(name), what }
    }

    /// The bytes of the metadata file `name`, which must be there.
    pub(super) fn metadata_bytes(&self, name: &str) -> Result<Vec<u8>, PublishError> {
        read(&self.0.join(METADATA).join(name), METADATA_MAX)?
            .ok_or_else(|| self.damaged(name, "is missing".to_owned()))
    }

    pub(super) fn write_metadata(&self, name: &str, bytes: &[u8]) -> Result<(), PublishError> {
        write(&self.0.join(METADATA).join(name), bytes)
    }

    pub(super) fn write_pending(&self, name: &str, bytes: &[u8]) -> Result<(), PublishError> {
        write(&self.0.join(PENDING).join(name), bytes)
    }

    pub(super) fn drop_pending(&self, name: &str) -> Result<(), PublishError> {
        let path = self.0.join(PENDING).join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, source))
            }
            _ => Ok(()),
        }
    }

    /// Where the bytes of the target `name` lie.
    pub(super) fn target_path(&self, name: &str, pinned: &Pinned) -> PathBuf {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        self.0.join(TARGETS).join(folder).join(format!("{}.{file}", pinned.hashes.sha256))
    }

    /// The bytes of the target `name`, which are those that `pinned` says.
    pub(super) fn target(&self, name: &str, pinned: &Pinned) -> Result<Vec<u8>, PublishError> {
        let path = self.target_path(name, pinned);
        let damaged = |what: &str| PublishError::Damaged { path: path.clone(), what: what.into() };
        let bytes = read(&path, PackageLimits::default().packed)?;
        let bytes = bytes.ok_or_else(|| damaged("is missing"))?;
        if Pinned::of(&bytes) != *pinned {
            return Err(damaged("does not have the bytes that its name and metadata say"));
        }
        Ok(bytes)
    }

    pub(super) fn write_target(&self, name: &str, bytes: &[u8]) -> Result<Pinned, PublishError> {
        let pinned = Pinned::of(bytes);
        let path = self.target_path(name, &pinned);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| failed("make", parent, source))?;
        }
        write(&path, bytes)?;
        Ok(pinned)
    }
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> PublishError {
    PublishError::Io { act, path: path.to_owned(), source }
}

/// The bytes of `path`, if it is there; at most `max`.
pub(super) fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, PublishError> {
    let io = |source| failed("read", path, source);
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        // Asked before it is opened: to open a pipe would wait for its writer.
        Ok(facts) if !facts.is_file() => return Err(io(io::Error::other("not a regular file"))),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes));
    read.map_err(io)?;
    if bytes.len() as u64 > max {
        let what = format!("is longer than {max} bytes");
        return Err(PublishError::Damaged { path: path.to_owned(), what });
    }
    Ok(Some(bytes))
}

/// Puts `bytes` at `path` in one step: who reads it sees them all, or what was there before.
fn write(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    let (folder, name) = (path.parent(), path.file_name());
    let (Some(folder), Some(name)) = (folder, name) else {
        return Err(failed("write", path, io::ErrorKind::InvalidInput.into()));
    };
    let mut new = std::ffi::OsString::from(".");
    new.push(name);
    new.push(".new");
    let new = folder.join(new);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|source| failed("write", path, source))
}
