//! A repository that is a folder.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use outrigger_api::fetch::Cause;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::channel::{Channel, Failure};

/// The folder, by descriptor.
#[derive(Debug)]
pub(crate) struct Folder {
    root: OwnedFd,
}

impl Folder {
    pub(crate) fn open(path: &str) -> Result<Self, String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty());
        Ok(Self {
            root: root.map_err(|errno| format!("the folder {path} cannot be opened: {errno}"))?,
        })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn fetch(
        &self,
        path: &str,
        limit: u64,
        channel: &mut Channel,
    ) -> Result<bool, Failure> {
        let file = match self.file(path) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(Errno::LOOP) => return Err((Cause::Refused, "a symbolic link".to_owned())),
            Err(errno) => return Err((Cause::Unreachable, errno.to_string())),
        };
        let failed = |errno: Errno| (Cause::Unreachable, errno.to_string());
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err((Cause::Refused, "no regular file".to_owned()));
        }
        let length = u64::try_from(stat.st_size).unwrap_or_default();
        channel
            .copy(Some(length), limit, |chunk| rustix::io::read(&file, chunk).map_err(failed))?;
        Ok(true)
    }

    /// Opens a file under the root, part by part: no link is followed, and nothing climbs.
    fn file(&self, path: &str) -> Result<OwnedFd, Errno> {
        let (folders, name) = match path.rsplit_once('/') {
            Some((folders, name)) => (Some(folders), name),
            None => (None, path),
        };
        let mut at: Option<OwnedFd> = None;
        for part in folders.into_iter().flat_map(|folders| folders.split('/')) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            at = Some(self.open_at(at.as_ref(), part, flags)?);
        }
        // A pipe or a device must not hold the child, nor the updater.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.open_at(at.as_ref(), name, flags)
    }

    fn open_at(&self, at: Option<&OwnedFd>, part: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        if matches!(part, "" | "." | "..") {
            return Err(Errno::INVAL);
        }
        rustix::fs::openat(at.unwrap_or(&self.root), part, flags, Mode::empty())
    }
}
