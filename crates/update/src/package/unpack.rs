//! Writes a checked package into an empty folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir, ResolveFlags, fchmod, fsync, mkdirat, openat2};

use crate::package::archive::MODES;
use crate::package::{Package, Progress};

/// Below the folder, through no link of any kind and no mount: what is opened is what was made.
pub(super) const WITHIN: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
/// Mode of every folder.
pub(super) const FOLDER_MODE: u32 = 0o755;
/// Bytes that are written between two reports of progress.
const STEP: usize = 1 << 20;

/// Why a package was not unpacked. What was written of it stays in the folder.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something lies in the folder already.
    #[error("the folder to unpack to is not empty: {0:?} lies in it")]
    NotEmpty(String),
    /// The system refused.
    #[error("cannot {act} {path:?}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which path below the folder.
        path: String,
        /// Why not; `ELOOP` and `EXDEV` where something else than the package's folder is in the way.
        source: io::Error,
    },
}

impl UnpackError {
    /// Whether the file system is full, or the quota used up.
    pub fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl Package {
    /// Writes every file into `folder`, which must be empty, with `release.toml` beside the others. When
    /// it returns, all of it is on the disk.
    ///
    /// The files belong to the caller and have mode 0644, or 0755 where they are executable.
    ///
    /// # Errors
    ///
    /// The first that failed.
    pub fn unpack(
        &self,
        folder: BorrowedFd<'_>,
        progress: Progress<'_>,
    ) -> Result<(), UnpackError> {
        refuse_full(folder)?;
        let (total, mut done) = (self.size(), 0);
        let mut folders = BTreeSet::new();
        for (path, bytes, executable) in self.files() {
            for (at, _) in path.match_indices('/') {
                if folders.insert(&path[..at]) {
                    make_folder(folder, &path[..at])?;
                }
            }
            let mut file = create(folder, path)?;
            for step in bytes.chunks(STEP) {
                file.write_all(step).map_err(|error| failed("write", path, error))?;
                done += step.len() as u64;
                progress(done, total);
            }
            let mode = Mode::from_raw_mode(MODES[usize::from(executable)]);
            fchmod(&file, mode).map_err(|error| failed("set the mode of", path, error))?;
            fsync(&file).map_err(|error| failed("write out", path, error))?;
        }
        // The names, the deepest first.
        for path in folders.into_iter().rev() {
            fsync(open_folder(folder, path)?).map_err(|error| failed("write out", path, error))?;
        }
        fsync(folder).map_err(|error| failed("write out", ".", error))
    }
}

fn failed(act: &'static str, path: &str, source: impl Into<io::Error>) -> UnpackError {
    UnpackError::Io { act, path: path.to_owned(), source: source.into() }
}

fn refuse_full(folder: BorrowedFd<'_>) -> Result<(), UnpackError> {
    // Through a descriptor of its own: the caller's may stand at any place of the folder.
    let own = open_folder(folder, ".")?;
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = RawDir::new(own, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| failed("read", ".", error))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            let name = entry.file_name().to_string_lossy().into_owned();
            return Err(UnpackError::NotEmpty(name));
        }
    }
    Ok(())
}

fn make_folder(top: BorrowedFd<'_>, path: &str) -> Result<(), UnpackError> {
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let parent = open_folder(top, parent)?;
    mkdirat(parent, name, Mode::RWXU).map_err(|error| failed("make the folder", path, error))?;
    let made = open_folder(top, path)?;
    // Whatever the caller's umask.
    fchmod(made, Mode::from_raw_mode(FOLDER_MODE))
        .map_err(|error| failed("set the mode of", path, error))
}

fn open_folder(top: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(top, path, flags, Mode::empty(), WITHIN)
        .map_err(|error| failed("open the folder", path, error))
}

fn create(top: BorrowedFd<'_>, path: &str) -> Result<File, UnpackError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(top, path, flags, Mode::RUSR | Mode::WUSR, WITHIN)
        .map(File::from)
        .map_err(|error| failed("make", path, error))
}
