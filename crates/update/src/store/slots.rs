//! The folders of the store, by descriptor: made, cleared, filled, made durable.
//!
//! Nothing here follows a symbolic link or crosses into another mount below the state folder: every
//! folder is opened from its parent's descriptor. A name that is not what it should be is removed as what it
//! is, or refused.

use std::error::Error;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use outrigger_api::EngineName;
use outrigger_api::release::Part;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::StoreError;
use super::error::{free_beside, is_full_below};
use super::types::{Digest, Offer, Slot};

/// The folder of all slots, in the state folder.
const ENGINES: &str = "engines";
/// Deepest folder that is gone into below a slot.
const DEPTH_MAX: u32 = 32;
/// Most entries that one slot may have.
const ENTRIES_MAX: u64 = 1_000_000;
/// What is kept free beside a release, for the journal and the file system's own, in bytes.
const RESERVE: u64 = 2 << 20;

const FOLDER: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);
const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_MAGICLINKS);

/// The state folder, open.
#[derive(Debug)]
pub(super) struct Slots {
    path: PathBuf,
    root: OwnedFd,
}

/// Where a slot lies.
pub(super) fn dir(state_dir: &Path, engine: &EngineName, part: Part, slot: Slot) -> PathBuf {
    let part = state_dir.join(ENGINES).join(engine.as_str()).join(part.name());
    part.join(slot.name())
}

impl Slots {
    /// Opens `state_dir`, which is made if need be.
    pub(super) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
        made.map_err(|error| StoreError::file("make", state_dir.to_owned(), error))?;
        let slots = Self::open_if_there(state_dir)?
            .ok_or_else(|| StoreError::file("open", state_dir.to_owned(), Errno::NOENT))?;
        // It may have been made just now, here or by one who was killed since.
        if let Some(parent) = slots.path.parent() {
            let folder = fs::File::open(parent).and_then(|folder| folder.sync_all());
            folder.map_err(|error| StoreError::file("sync", parent.to_owned(), error))?;
        }
        Ok(slots)
    }

    /// Opens `state_dir`, if it is there.
    pub(super) fn open_if_there(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = match state_dir.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::file("open", state_dir.to_owned(), error)),
        };
        let opened = rustix::fs::open(&path, FOLDER, Mode::empty())
            .and_then(|root| Ok((rustix::fs::fstat(&root)?, root)));
        let (stat, root) = opened.map_err(|error| StoreError::file("open", path.clone(), error))?;
        let expected = rustix::process::geteuid().as_raw();
        let mode = stat.st_mode & 0o7777;
        if stat.st_uid != expected || mode & 0o022 != 0 {
            return Err(StoreError::Exposed { path, owner: stat.st_uid, mode, expected });
        }
        Ok(Some(Self { path, root }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(super) fn dir(&self, engine: &EngineName, part: Part, slot: Slot) -> PathBuf {
        dir(&self.path, engine, part, slot)
    }

    /// Whether anything of this name lies in the state folder.
    pub(super) fn has(&self, name: &str) -> Result<bool, StoreError> {
        match rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(StoreError::file("look at", self.path.join(name), error)),
        }
    }

    /// Whether a file of this name lies in the state folder and is not empty.
    pub(super) fn has_content(&self, name: &str) -> Result<bool, StoreError> {
        match rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(stat.st_size > 0),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(StoreError::file("look at", self.path.join(name), error)),
        }
    }

    /// Removes a file of the state folder, if it is there.
    pub(super) fn remove_file(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.root, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(StoreError::file("remove", self.path.join(name), error)),
        }
    }

    /// Takes a file of the state folder away from everybody else, and makes it durable.
    pub(super) fn own_file(&self, name: &str) -> Result<(), StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.root, name, flags, Mode::empty())
            .and_then(|file| {
                rustix::fs::fchmod(&file, Mode::from_raw_mode(0o600))?;
                rustix::fs::fsync(&file)
            })
            .map_err(|error| StoreError::file("sync", self.path.join(name), error))
    }

    /// Gives a file of the state folder its name.
    pub(super) fn rename_file(&self, from: &str, to: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(&self.root, from, &self.root, to)
            .map_err(|error| StoreError::file("name", self.path.join(to), error))
    }

    /// Makes a file of the state folder durable, if it is there.
    pub(super) fn sync_file(&self, name: &str) -> Result<(), StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.root, name, flags, Mode::empty()) {
            Ok(file) => rustix::fs::fsync(file),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| StoreError::file("sync", self.path.join(name), error))
    }

    /// Makes the state folder's entries durable.
    pub(super) fn sync_root(&self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.root)
            .map_err(|error| StoreError::file("sync", self.path.clone(), error))
    }

    /// Every slot folder that is there, whatever it holds.
    pub(super) fn found(&self) -> Result<Vec<(EngineName, Part, Slot)>, StoreError> {
        let mut found = Vec::new();
        let Some(engines) = self.folder(&self.root, ENGINES, &self.path)? else {
            return Ok(found);
        };
        let path = self.path.join(ENGINES);
        let wrong = |error| StoreError::file("read", path.clone(), error);
        for entry in Dir::read_from(&engines).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            // What has no engine's name is not ours.
            let name = entry.file_name().to_str().ok();
            let Some(engine) = name.and_then(|name| name.parse::<EngineName>().ok()) else {
                continue;
            };
            for part in Part::ALL {
                for slot in Slot::ALL {
                    let inside = format!("{engine}/{part}/{slot}");
                    match rustix::fs::statat(&engines, &*inside, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(_) => found.push((engine.clone(), part, slot)),
                        Err(Errno::NOENT | Errno::NOTDIR) => {}
                        Err(error) => return Err(wrong(error)),
                    }
                }
            }
        }
        Ok(found)
    }

    /// Removes a slot's folder with all that is in it. What a cut brings back of it is spoken of by no row.
    pub(super) fn clear(
        &self,
        engine: &EngineName,
        part: Part,
        slot: Slot,
    ) -> Result<(), StoreError> {
        let mut path = self.path.clone();
        let mut folder =
            self.root.try_clone().map_err(|error| StoreError::file("open", path.clone(), error))?;
        for name in [ENGINES, engine.as_str(), part.name()] {
            let Some(next) = self.folder(&folder, name, &path)? else { return Ok(()) };
            folder = next;
            path.push(name);
        }
        clear_in(&folder, &path, slot)
    }

    /// Clears a slot, has it filled, and makes what lies in it durable, up to the state folder.
    pub(super) fn fill<E>(
        &self,
        offer: &Offer,
        slot: Slot,
        bytes: u64,
        unpack: impl FnOnce(BorrowedFd<'_>) -> Result<Digest, E>,
    ) -> Result<Digest, StoreError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let names = [ENGINES, offer.engine.as_str(), offer.part.name()];
        let mut chain = vec![
            self.root
                .try_clone()
                .map_err(|error| StoreError::file("open", self.path.clone(), error))?,
        ];
        let mut path = self.path.clone();
        for name in names {
            let next = self.make(&chain[chain.len() - 1], name, &path)?;
            chain.push(next);
            path.push(name);
        }
        let part = &chain[chain.len() - 1];
        clear_in(part, &path, slot)?;
        let full = path.join(slot.name());
        self.room_for(bytes, &full)?;
        let folder = self.make(part, slot.name(), &path)?;
        // An engine runs as a user of its own and sees this folder as its own, out of reach of the closed one
        // above it.
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o755))
            .map_err(|error| StoreError::file("set the mode of", full.clone(), error))?;
        let tree = unpack(folder.as_fd()).map_err(|error| {
            let source = error.into();
            if is_full_below(source.as_ref()) {
                let free = free_beside(&full);
                let path = full.clone();
                return StoreError::DiskFull {
                    what: "unpack into",
                    path,
                    needed: Some(bytes),
                    free,
                };
            }
            let release = format!("{} {} of {}", offer.part, offer.version, offer.engine);
            StoreError::Unpack { release, path: full.clone(), source }
        })?;
        let mut left = ENTRIES_MAX;
        sync(folder.as_fd(), &full, 0, &mut left)?;
        // A folder that was there before may never have been made durable: by one who was killed. So all of them.
        for folder in chain.iter().rev() {
            rustix::fs::fsync(folder)
                .map_err(|error| StoreError::file("sync", path.clone(), error))?;
        }
        Ok(tree)
    }

    fn room_for(&self, bytes: u64, path: &Path) -> Result<(), StoreError> {
        let needed = bytes.saturating_add(RESERVE);
        let stat = rustix::fs::fstatvfs(&self.root)
            .map_err(|error| StoreError::file("look at", self.path.clone(), error))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free >= needed {
            return Ok(());
        }
        let path = path.to_owned();
        Err(StoreError::DiskFull { what: "unpack into", path, needed: Some(needed), free })
    }

    /// Opens a folder of `parent`, if it is there.
    fn folder(
        &self,
        parent: &OwnedFd,
        name: &str,
        path: &Path,
    ) -> Result<Option<OwnedFd>, StoreError> {
        match rustix::fs::openat2(parent, name, FOLDER, Mode::empty(), INSIDE) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(not_ours(path.join(name), error)),
        }
    }

    /// Opens a folder of `parent`, which is made if need be.
    fn make(&self, parent: &OwnedFd, name: &str, path: &Path) -> Result<OwnedFd, StoreError> {
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(StoreError::file("make", path.join(name), error)),
        }
        let made = self.folder(parent, name, path)?;
        made.ok_or_else(|| StoreError::file("open", path.join(name), Errno::NOENT))
    }
}

fn not_ours(path: PathBuf, error: Errno) -> StoreError {
    match error {
        Errno::LOOP | Errno::NOTDIR => StoreError::Foreign {
            path,
            what: "is not a folder, where one of the store must be: remove it",
        },
        Errno::XDEV => {
            StoreError::Foreign { path, what: "is a mount, inside the store: unmount it" }
        }
        error => StoreError::file("open", path, error),
    }
}

/// The entries of a folder, but for itself and its parent.
fn entries(
    folder: BorrowedFd<'_>,
    path: &Path,
    left: &mut u64,
) -> Result<Vec<CString>, StoreError> {
    let wrong = |error| StoreError::file("read", path.to_owned(), error);
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| StoreError::Foreign {
            path: path.to_owned(),
            what: "has over a million entries: remove it by hand",
        })?;
        names.push(entry.file_name().to_owned());
    }
    Ok(names)
}

/// Opens a folder below a slot.
fn below(
    parent: BorrowedFd<'_>,
    name: &CStr,
    path: &Path,
    depth: u32,
) -> Result<OwnedFd, StoreError> {
    if depth > DEPTH_MAX {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
            what: "lies over 32 folders deep: remove it by hand",
        });
    }
    rustix::fs::openat2(parent, name, FOLDER, Mode::empty(), INSIDE)
        .map_err(|error| not_ours(path.to_owned(), error))
}

fn clear_in(part: &OwnedFd, path: &Path, slot: Slot) -> Result<(), StoreError> {
    let name = CString::new(slot.name()).unwrap_or_default();
    let mut left = ENTRIES_MAX;
    remove(part.as_fd(), &name, &path.join(slot.name()), 0, &mut left)
}

/// Removes `name` and everything below it; that it is not there is well.
fn remove(
    parent: BorrowedFd<'_>,
    name: &CStr,
    path: &Path,
    depth: u32,
    left: &mut u64,
) -> Result<(), StoreError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says the one, POSIX the other.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(StoreError::file("remove", path.to_owned(), error)),
    }
    let folder = below(parent, name, path, depth)?;
    for entry in entries(folder.as_fd(), path, left)? {
        remove(folder.as_fd(), &entry, &join(path, &entry), depth + 1, left)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        .map_err(|error| StoreError::file("remove", path.to_owned(), error))
}

/// Makes everything below `folder` durable, leaves first, then itself. Only files and folders may lie there.
fn sync(folder: BorrowedFd<'_>, path: &Path, depth: u32, left: &mut u64) -> Result<(), StoreError> {
    for entry in entries(folder, path, left)? {
        let at = join(path, &entry);
        let wrong = |what, error| StoreError::file(what, at.clone(), error);
        let stat = rustix::fs::statat(folder, &entry, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| wrong("look at", error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let inner = below(folder, &entry, &at, depth + 1)?;
                sync(inner.as_fd(), &at, depth + 1, left)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                rustix::fs::openat2(folder, &entry, flags, Mode::empty(), INSIDE)
                    .and_then(rustix::fs::fsync)
                    .map_err(|error| wrong("sync", error))?;
            }
            _ => {
                return Err(StoreError::Foreign {
                    path: at,
                    what: "is neither file nor folder: a release holds nothing else",
                });
            }
        }
    }
    rustix::fs::fsync(folder).map_err(|error| StoreError::file("sync", path.to_owned(), error))
}

fn join(path: &Path, name: &CStr) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    path.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
}
