//! One marked file system: how its files are found by their handles, and what their folders are called.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use outrigger_api::FileKey;
use rustix::fs::{CWD, Mode, OFlags, fstat, fstatvfs, openat, readlink};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::MarkError;
use super::record::{FileSystemId, Handle};
use crate::group::descriptor_path;
use crate::volumes::Volume;
use crate::{identity, sys};

#[derive(Debug)]
pub(super) struct Watched {
    /// Where it is mounted, as the mount table says: what paths begin with.
    pub(super) point: PathBuf,
    /// `major << 32 | minor`, as in the keys of its files.
    pub(super) device: u64,
    pub(super) id: FileSystemId,
    /// The folder that is mounted there, through a mount that nobody else has.
    root: OwnedFd,
    /// How the kernel names that folder to this process: `/` where the mount is really our own.
    base: Vec<u8>,
    /// How an inode's number is found in a handle, where that could be tried.
    layout: Option<Layout>,
}

impl Watched {
    /// Gets at the file system of `volume`, whose mount point is `point`.
    pub(super) fn reach(volume: &Volume, point: BorrowedFd<'_>) -> Result<Self, MarkError> {
        let device = identity::object(point).map_err(MarkError::Reach)?.device;
        let root = own_mount(volume, point, device).map_err(MarkError::Reach)?;
        let id = fstatvfs(&root).map_err(|error| MarkError::Reach(error.into()))?.f_fsid;
        let base = readlink(descriptor_path(root.as_raw_fd()), Vec::new())
            .map_err(|error| MarkError::Reach(error.into()))?;
        let mut watched = Self {
            point: volume.point.clone(),
            device,
            id: FileSystemId::from_number(id),
            root,
            base: base.into_bytes(),
            layout: None,
        };
        watched.try_handles().map_err(MarkError::Handles)?;
        Ok(watched)
    }

    /// The path by which the kernel finds it again, also when it is mounted nowhere any more.
    pub(super) fn root_path(&self) -> std::ffi::CString {
        descriptor_path(self.root.as_raw_fd())
    }

    /// Finds out by trial on the root whether a handle leads back to its file, and where in it the inode's
    /// number is.
    fn try_handles(&mut self) -> io::Result<()> {
        let wanted = identity::object(self.root.as_fd())?.key;
        let (kind, bytes) = sys::name_to_handle(self.root.as_fd())?;
        let handle = Handle::new(kind, &bytes).ok_or(io::ErrorKind::InvalidData)?;
        let found = self.open(&handle)?;
        if identity::object(found.as_fd())?.key != wanted {
            return Err(io::Error::other("the root's handle leads to another file"));
        }
        self.layout = Layout::ALL
            .into_iter()
            .find(|layout| layout.inode(&handle).is_some_and(|inode| self.key_of(inode) == wanted));
        Ok(())
    }

    /// The key of the file with this handle, as questions about it carry it ([`identity::object`]).
    ///
    /// Out of the handle where that was proven, which costs nothing and also works for a file that is
    /// gone; else from the file, if it is still there.
    pub(super) fn key(&self, handle: &Handle) -> Option<FileKey> {
        if let Some(inode) = self.layout.and_then(|layout| layout.inode(handle)) {
            return Some(self.key_of(inode));
        }
        let file = self.open(handle).ok()?;
        Some(identity::object(file.as_fd()).ok()?.key)
    }

    fn key_of(&self, inode: u64) -> FileKey {
        identity::file_key(self.device, inode)
    }

    /// The path of the folder with this handle; `None` if it is gone, or lies where the mount does not
    /// show it.
    pub(super) fn folder(&self, handle: &Handle) -> Option<Vec<u8>> {
        let folder = self.open(handle).ok()?;
        // A removed folder that somebody still has open: the kernel would name it as if it were there.
        if fstat(&folder).ok()?.st_nlink == 0 {
            return None;
        }
        // Where a part of the file system is mounted, the kernel refuses to go up from what lies outside
        // of it, but names it all the same, by a path that leads elsewhere.
        openat(&folder, "..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let name = readlink(descriptor_path(folder.as_raw_fd()), Vec::new()).ok()?;
        let below = name.as_bytes().strip_prefix(self.base.as_slice())?;
        let mut path = self.point.as_os_str().as_bytes().to_vec();
        for part in below.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
            append(&mut path, part);
        }
        Some(path)
    }

    fn open(&self, handle: &Handle) -> io::Result<OwnedFd> {
        // A path only: nothing is read, no server and no other listener is asked.
        sys::open_by_handle(
            self.root.as_fd(),
            handle.kind,
            handle.bytes(),
            libc::O_PATH | libc::O_CLOEXEC,
        )
    }
}

/// Adds a name to a path.
pub(super) fn append(path: &mut Vec<u8>, name: &[u8]) {
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend(name);
}

/// The root folder of `volume` through a mount of our own, so that the one it was found by is not kept
/// busy: it can be unmounted.
///
/// The kernel clones only mounts of the caller's own namespace. The host has one of its own, a copy of that
/// in which volumes are found, so that there the same path leads to the same file system; if it does not,
/// the mount itself serves, and `umount` says that it is busy until the file system is unmarked.
fn own_mount(volume: &Volume, point: BorrowedFd<'_>, device: u64) -> io::Result<OwnedFd> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    let by_descriptor = open_tree(point, c"", clone | OpenTreeFlags::AT_EMPTY_PATH);
    let cloned = by_descriptor.or_else(|_| open_tree(CWD, &volume.point, clone)).ok();
    let cloned = cloned
        .filter(|tree| identity::object(tree.as_fd()).is_ok_and(|object| object.device == device));
    // A handle is opened through a descriptor that is more than a path. Opening a folder asks nobody. With
    // the clone's own descriptor, the kernel takes it out of every group of mounts that hear of each other.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match &cloned {
        Some(tree) => openat(tree, c".", flags, Mode::empty())?,
        None => openat(point, c".", flags, Mode::empty())?,
    };
    Ok(root)
}

/// Where in a handle a file system writes the inode's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `FILEID_INO32_GEN`: number, generation. ext4 and most others.
    Inode32,
    /// tmpfs: generation, lower and upper half of the number.
    Tmpfs,
    /// `FILEID_INO64_GEN`: number of 64 bits, generation. xfs.
    Inode64,
}

impl Layout {
    const ALL: [Self; 3] = [Self::Inode32, Self::Tmpfs, Self::Inode64];

    /// `FILEID_INO32_GEN`, of `linux/exportfs.h`; tmpfs uses the same number for its own.
    const KIND_32: i32 = 1;
    /// `FILEID_INO64_GEN`.
    const KIND_64: i32 = 0x81;

    /// The inode's number, if the handle is of this layout.
    fn inode(self, handle: &Handle) -> Option<u64> {
        let bytes = handle.bytes();
        let word = |at: usize| -> Option<u64> {
            let word = bytes.get(4 * at..4 * at + 4)?;
            Some(u64::from(u32::from_ne_bytes(word.try_into().ok()?)))
        };
        match (self, handle.kind, bytes.len()) {
            (Self::Inode32, Self::KIND_32, 8) => word(0),
            (Self::Tmpfs, Self::KIND_32, 12) => Some(word(1)? | word(2)? << 32),
            (Self::Inode64, Self::KIND_64, 12) => {
                Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(kind: i32, words: &[u32]) -> Handle {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Handle::new(kind, &bytes).expect("short")
    }

    #[test]
    fn each_layout_reads_its_own_handles_and_no_other() {
        let ext4 = handle(1, &[12, 99]);
        let tmpfs = handle(1, &[99, 12, 3]);
        let xfs = handle(0x81, &[12, 3, 99]);

        let read = |handle: &Handle| Layout::ALL.map(|layout| layout.inode(handle));

        assert_eq!(read(&ext4), [Some(12), None, None]);
        assert_eq!(read(&tmpfs), [None, Some(3 << 32 | 12), None]);
        assert_eq!(read(&xfs), [None, None, Some(3 << 32 | 12)]);
        assert_eq!(read(&handle(2, &[12, 99])), [None; 3]);
    }

    #[test]
    fn a_name_is_added_with_one_slash() {
        let mut path = b"/".to_vec();

        append(&mut path, b"a");
        append(&mut path, b"b");

        assert_eq!(path, b"/a/b");
    }
}
