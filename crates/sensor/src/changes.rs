//! Changes to files, told after they happened: made, written, renamed, unlinked.
//!
//! A [`FileSensor`] is a fanotify group of its own that holds nobody up. Each file system is marked as a
//! whole, and the kernel names a change by handles: of the file, of its folder, and the name in it
//! (`FAN_REPORT_DFID_NAME_TARGET`, Linux 5.17). Out of these come the file's key, which is that of questions
//! about it, and its path. It owns the group, one mount per file system, and what it knows of folders'
//! paths; the caller owns the thread and says when to read.
//!
//! What is told of a change is what was found when it was read, a moment after it happened:
//!
//! - **Paths** are those of the folder *now*. After a folder was renamed, what was changed in it before and
//!   is read later has the new path. A folder that is gone by then, or that the mount does not show, leaves
//!   the notice without a path.
//! - **Processes** have a key as long as they are there. The kernel gives a pidfd when the event is read;
//!   of a process that has been reaped by then only the pid is known.
//! - **Times** are those of the reading: the kernel gives none.
//! - **Merged**: the kernel merges a change with one that waits, if it is the same file, name and process;
//!   they are told as one of each kind, at the place of the first.
//!
//! The queue is the kernel's usual one (`fs.fanotify.max_queued_events`), not an unlimited one: nobody
//! waits for notices, so that a host which stands still must not cost memory without bound. When it is
//! full, the kernel says so once, and a [`Loss`] of unknown size is told there.
//!
//! What the platform itself does is left out ([`FileSensor::leave_out`]), by process key and not by pid: an
//! engine that heard of the host's journal would cause the next line in it. Engines are not left out: what
//! one of them writes is as much the others' business as what anybody writes.

mod folders;
mod trial;
mod watched;

pub mod record;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use outrigger_api::{Event, EventSet, FileKey, Loss, LossCause, Lost, ProcessKey};

use crate::identity::{self, Credentials, Subjects};
use crate::notice::{Notice, Seen};
use crate::volumes::Volume;
use crate::{clock, sys};

use folders::Folders;
use record::{Change, Entry, FileSystemId, Handle, Record, Records};
use watched::{Watched, append};

pub use trial::{gaps, probe};

// linux/fanotify.h
const FAN_CLASS_NOTIF: u32 = 0;
const FAN_CLOEXEC: u32 = 0x01;
const FAN_NONBLOCK: u32 = 0x02;
const FAN_REPORT_PIDFD: u32 = 0x80;
const FAN_REPORT_FID: u32 = 0x200;
const FAN_REPORT_DIR_FID: u32 = 0x400;
const FAN_REPORT_NAME: u32 = 0x800;
const FAN_REPORT_TARGET_FID: u32 = 0x1000;
const FAN_MARK_ADD: u32 = 0x01;
const FAN_MARK_REMOVE: u32 = 0x02;
const FAN_MARK_FILESYSTEM: u32 = 0x100;

/// The events that a [`FileSensor`] tells.
pub const EVENTS: EventSet = EventSet::EMPTY
    .with(Event::FileCreate)
    .with(Event::FileCloseWrite)
    .with(Event::FileRename)
    .with(Event::FileUnlink);

/// Most file systems that one sensor watches; each takes a descriptor.
pub const FILE_SYSTEMS_MAX: usize = 128;

/// Reads in one [`FileSensor::drain`], so that it ends although somebody makes changes all the time. Each
/// gives 89 events at most, and an event makes four notices at most.
const READS: usize = 16;

/// Watches file systems for changes.
#[derive(Debug)]
pub struct FileSensor {
    group: OwnedFd,
    events: EventSet,
    subjects: Subjects,
    watched: Vec<Watched>,
    folders: Folders,
    own: Vec<ProcessKey>,
    bytes: Box<[u8]>,
}

/// Why a file system's changes are not told.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// Looking for a path there can wait for a server that a user may run.
    #[error("finding paths on {0} can wait for its server")]
    CanBlock(String),
    /// There is no room for another one.
    #[error("changes of {FILE_SYSTEMS_MAX} file systems are told already, which is the limit")]
    TooMany,
    /// Its mount point could not be opened.
    #[error("its mount point cannot be reached: {0}")]
    Reach(io::Error),
    /// The kernel names changes by handles, which are no use there.
    #[error("its files cannot be found by their handles: {0}")]
    Handles(io::Error),
    /// The kernel names it as it names one that is watched.
    #[error("the kernel gives it the same id as the file system at {}", .0.display())]
    SameId(PathBuf),
    /// The kernel refused the mark.
    #[error("the kernel refused the mark: {0}")]
    Mark(io::Error),
}

impl FileSensor {
    /// Opens a sensor for these of [`EVENTS`]. Nothing is told before a file system is marked.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_SYS_ADMIN`; `EINVAL` before Linux 5.17; `EMFILE` at a limit of groups
    /// (`fs.fanotify.max_user_groups`) or descriptors.
    pub fn open(events: EventSet) -> io::Result<Self> {
        let names = FAN_REPORT_DIR_FID | FAN_REPORT_NAME | FAN_REPORT_FID | FAN_REPORT_TARGET_FID;
        let flags = FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_PIDFD | names;
        Ok(Self {
            group: sys::fanotify_init(flags, libc::O_RDONLY | libc::O_CLOEXEC)?,
            events: events.intersection(EVENTS),
            subjects: Subjects::probe(),
            watched: Vec::new(),
            folders: Folders::default(),
            own: Vec::new(),
            bytes: vec![0; record::READ_BYTES].into_boxed_slice(),
        })
    }

    /// What it tells.
    pub const fn events(&self) -> EventSet {
        self.events
    }

    /// Tells the changes of `volume` from now on; `point` is its mount point, opened. Does nothing if it
    /// is marked.
    ///
    /// # Errors
    ///
    /// See [`MarkError`]; nothing of it is told then.
    pub fn mark(&mut self, volume: &Volume, point: BorrowedFd<'_>) -> Result<(), MarkError> {
        if volume.can_block() {
            return Err(MarkError::CanBlock(volume.fs_type.clone()));
        }
        let watched = Watched::reach(volume, point)?;
        if self.watched.iter().any(|known| known.device == watched.device) {
            return Ok(());
        }
        if let Some(other) = self.watched.iter().find(|known| known.id == watched.id) {
            return Err(MarkError::SameId(other.point.clone()));
        }
        if self.watched.len() >= FILE_SYSTEMS_MAX {
            return Err(MarkError::TooMany);
        }
        self.change_mark(FAN_MARK_ADD, &watched).map_err(MarkError::Mark)?;
        self.watched.push(watched);
        Ok(())
    }

    /// Tells no change of the file system with this device (`major << 32 | minor`) any more, and lets go of
    /// it. What still waits is told without a path.
    pub fn unmark(&mut self, device: u64) {
        let Some(index) = self.watched.iter().position(|watched| watched.device == device) else {
            return;
        };
        let watched = self.watched.swap_remove(index);
        // It can only be that the mark is gone, which is what is wanted.
        let _ = self.change_mark(FAN_MARK_REMOVE, &watched);
        self.folders.clear();
    }

    /// Tells nothing that these processes do, in the place of those named before. For keeper, gate and
    /// host: what the platform writes because of a notice must not make the next one.
    pub fn leave_out(&mut self, pids: &[u32]) {
        let key = |&pid: &u32| {
            let pidfd = identity::handle(pid).ok()?;
            self.subjects.of_running(pid, pidfd.as_fd()).0
        };
        self.own = pids.iter().filter_map(key).collect();
    }

    /// Adds what has happened since the last call to `seen`, in the kernel's order. Waits for nothing.
    ///
    /// Returns whether there may be more: no more than 5,696 are added at a time.
    ///
    /// # Errors
    ///
    /// Those of `read(2)`, other than that nothing waits.
    pub fn drain(&mut self, seen: &mut Vec<Seen>) -> io::Result<bool> {
        for _ in 0..READS {
            let mut bytes = std::mem::take(&mut self.bytes);
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.group, &mut bytes[..]));
            if let Ok(len) = read {
                let now = clock::now();
                Records::of(&bytes[..len]).for_each(|record| self.tell(record, now, seen));
            }
            self.bytes = bytes;
            match read {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn change_mark(&self, flags: u32, watched: &Watched) -> io::Result<()> {
        let wanted = |&(bit, event): &(u64, Event)| self.events.contains(event).then_some(bit);
        // Renames always: without those of folders, what is known of their paths would be wrong.
        let mask = record::BITS
            .iter()
            .filter_map(wanted)
            .fold(record::FAN_RENAME | record::FAN_ONDIR, |mask, bit| mask | bit);
        let path = watched.root_path();
        sys::fanotify_mark(self.group.as_fd(), flags | FAN_MARK_FILESYSTEM, mask, Some(&path))
    }

    fn tell(&mut self, record: Record<'_>, now: u64, seen: &mut Vec<Seen>) {
        let loss = |lost, cause| Seen::Loss(Loss { events: self.events, lost, cause });
        match record {
            Record::Change(change) => self.tell_change(&change, now, seen),
            Record::Overflow => {
                seen.push(loss(Lost::Unknown, LossCause::KernelQueue));
                // A folder's rename may be among what is lost.
                self.folders.clear();
            }
            Record::Unreadable { pidfd } => {
                drop(pidfd.map(sys::own));
                seen.push(loss(Lost::AtLeast(1), LossCause::HostBusy));
                self.folders.clear();
            }
        }
    }

    fn tell_change(&mut self, change: &Change<'_>, now: u64, seen: &mut Vec<Seen>) {
        let pidfd = change.pidfd.map(sys::own);
        if change.is_folder() {
            self.forget_folder(change);
        }
        let (process, credentials) = self.subject(change.pid, pidfd.as_ref());
        if process.is_some_and(|process| self.own.contains(&process)) {
            return;
        }
        let notice = Notice {
            process,
            pid: change.pid,
            credentials,
            file: change.object.as_ref().and_then(|(id, handle)| self.key(*id, handle)),
            path: change.at.as_ref().and_then(|entry| self.path(entry)),
            new_path: change.to.as_ref().and_then(|entry| self.path(entry)),
            // The event is put in below; it is one of the sensor's in any case.
            ..Notice::new(Event::FileCreate, now)
        };
        for event in change.events().filter(|event| self.events.contains(*event)) {
            seen.push(Seen::Notice(Notice { event, ..notice.clone() }));
        }
    }

    /// Forgets what a change makes wrong of what is known: a folder that moved moved all that is in it.
    fn forget_folder(&mut self, change: &Change<'_>) {
        if change.is_rename() {
            self.folders.clear();
        } else if change.is_unlink()
            && let Some(folder) = &change.object
        {
            self.folders.forget(folder);
        }
    }

    fn subject(
        &self,
        pid: u32,
        pidfd: Option<&OwnedFd>,
    ) -> (Option<ProcessKey>, Option<Credentials>) {
        pidfd.map_or((None, None), |pidfd| self.subjects.of_running(pid, pidfd.as_fd()))
    }

    fn key(&self, id: FileSystemId, handle: &Handle) -> Option<FileKey> {
        self.watched.iter().find(|watched| watched.id == id)?.key(handle)
    }

    fn path(&mut self, entry: &Entry<'_>) -> Option<Vec<u8>> {
        let watched = self.watched.iter().find(|watched| watched.id == entry.file_system)?;
        let folder = (entry.file_system, entry.folder);
        let mut path = self.folders.path(&folder, || watched.folder(&entry.folder))?.to_vec();
        if entry.name != b"." {
            append(&mut path, entry.name);
        }
        Some(path)
    }
}

/// Readable when something has happened.
impl AsFd for FileSensor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

impl AsRawFd for FileSensor {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.group.as_raw_fd()
    }
}
