//! One fanotify group: questions come out of it, answers go into it.
//!
//! A group's descriptor lives in the table that keeper, gate and host share, so a [`Group`] here is a
//! number, not an owner: whichever of them dies, the group stays open (see `docs/adr/0001`). The
//! kernel matches an answer by the *number* of the event's descriptor, so a number must not be closed
//! before its question is answered.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};

use outrigger_api::{Answer, Event};

use crate::sys;

// linux/fanotify.h; libc lacks some of them.
const FAN_CLASS_CONTENT: u32 = 0x04;
const FAN_CLOEXEC: u32 = 0x01;
const FAN_UNLIMITED_QUEUE: u32 = 0x10;
const FAN_UNLIMITED_MARKS: u32 = 0x20;
const FAN_REPORT_PIDFD: u32 = 0x80;

const FAN_MARK_ADD: u32 = 0x01;
const FAN_MARK_REMOVE: u32 = 0x02;
const FAN_MARK_MOUNT: u32 = 0x10;
const FAN_MARK_FLUSH: u32 = 0x80;
const FAN_MARK_FILESYSTEM: u32 = 0x100;
const FAN_MARK_EVICTABLE: u32 = 0x200;
const FAN_MARK_IGNORE: u32 = 0x400;
const FAN_MARK_IGNORED_SURV_MODIFY: u32 = 0x40;

const FAN_CLOSE_WRITE: u64 = 0x08;
const FAN_OPEN_PERM: u64 = 0x0001_0000;
const FAN_OPEN_EXEC_PERM: u64 = 0x0004_0000;

/// The mark of a file whose opens pass. It survives writes: a write would clear [`STAY`] as well, and the
/// lease goes before any write.
const KNOWN: u32 = FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_EVICTABLE;
/// An event that no mark of ours asks about, ignored on a known file for one purpose: the mark never
/// becomes empty. The kernel detaches an empty mark, and if a question on that file waits just then, it
/// leaves the detached mark in the file's list until whoever asked it runs again; meanwhile it takes every
/// other open of the file for a race with the end of the group, and lets it pass unasked
/// (`docs/adr/0011`). So an inode's mark is never removed while anybody asks, nor are all flushed. Readers
/// cause no such event, so that it costs them nothing.
const STAY: u64 = FAN_CLOSE_WRITE;

const FAN_ALLOW: u32 = 1;
const FAN_DENY: u32 = 2;

const METADATA_LEN: usize = 24;
const METADATA_VERSION: u8 = 3;
const INFO_TYPE_PIDFD: u8 = 4;

/// Flags of a mark that keeps a mount's own opens from asking, whatever is written there.
pub const OWN_MOUNT_FLAGS: u32 =
    FAN_MARK_ADD | FAN_MARK_MOUNT | FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY;
/// The permission events of a group, for marks made elsewhere.
pub const PERMISSION_MASK: u64 = FAN_OPEN_PERM | FAN_OPEN_EXEC_PERM;

/// A fanotify group of permission events, by its number in the shared descriptor table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    number: RawFd,
}

/// One permission event as the kernel gave it: numbers in the shared descriptor table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawQuestion {
    /// What is about to happen.
    pub event: Event,
    /// The object's descriptor, read-only. Its number is what the answer names.
    pub file: RawFd,
    /// The subject's thread group id.
    pub pid: u32,
    /// A pidfd of the subject, or -1 where the subject is gone or the kernel had none to give.
    pub pidfd: RawFd,
}

/// Room for one read: up to [`Batch::EVENTS`] questions.
#[derive(Debug)]
pub struct Batch {
    bytes: Box<[u8]>,
    filled: usize,
}

impl Batch {
    /// Most questions per read.
    pub const EVENTS: usize = 64;
    const EVENT_LEN: usize = METADATA_LEN + 8;

    /// An empty batch; the only allocation there is.
    pub fn new() -> Self {
        Self { bytes: vec![0; Self::EVENTS * Self::EVENT_LEN].into_boxed_slice(), filled: 0 }
    }

    /// A batch as if `bytes` had been read.
    #[cfg(any(test, fuzzing))]
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), filled: bytes.len() }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    /// Opens a group for permission events on files that hold their final content.
    ///
    /// Close-on-exec, and reads block; without limits on queue and marks, since a full queue would
    /// allow in silence (`FAN_CLASS_CONTENT`, `man 2 fanotify_init`).
    ///
    /// With `pidfds`, each question comes with a race-free handle on its subject. That costs a quarter
    /// of what a bare question costs (`docs/adr/0008`), so it is for engines that look at the subject.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_SYS_ADMIN`; `EINVAL` where the kernel was built without permission
    /// events or knows no pidfd reporting (before 5.15); `EMFILE` at a limit.
    pub fn open(pidfds: bool) -> io::Result<Self> {
        let plain = FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS;
        let flags = if pidfds { plain | FAN_REPORT_PIDFD } else { plain };
        let fd = sys::fanotify_init(flags, libc::O_RDONLY | libc::O_LARGEFILE | libc::O_CLOEXEC)?;
        Ok(Self { number: fd.into_raw_fd() })
    }

    /// The group with this number in the descriptor table.
    pub const fn from_number(number: RawFd) -> Self {
        Self { number }
    }

    /// The group's number in the descriptor table.
    pub const fn number(self) -> RawFd {
        self.number
    }

    /// Closes the group's number in this table. Where it was the last, the kernel allows all that waits.
    pub fn close(self) {
        sys::close(self.number);
    }

    fn fd<'a>(self) -> BorrowedFd<'a> {
        sys::borrow(self.number).expect("a group's number is never negative")
    }

    /// Asks about every exec and open on the file system that holds `path`.
    ///
    /// # Errors
    ///
    /// `EPERM`, `EINVAL` or `ENODEV` where the file system takes no such marks.
    pub fn mark_file_system(self, path: &std::ffi::CStr, mask: Mask) -> io::Result<()> {
        sys::fanotify_mark(self.fd(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask.bits(), Some(path))
    }

    /// Stops asking about the file system that holds `path`.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it was not marked.
    pub fn unmark_file_system(self, path: &std::ffi::CStr, mask: Mask) -> io::Result<()> {
        sys::fanotify_mark(
            self.fd(),
            FAN_MARK_REMOVE | FAN_MARK_FILESYSTEM,
            mask.bits(),
            Some(path),
        )
    }

    /// Removes every file-system mark of the group.
    ///
    /// # Errors
    ///
    /// `EBADF` if the group is closed.
    pub fn unmark_all_file_systems(self) -> io::Result<()> {
        sys::fanotify_mark(self.fd(), FAN_MARK_FLUSH | FAN_MARK_FILESYSTEM, 0, None)
    }

    /// Lets opens through the mount at `path` pass unasked. For mounts that nobody else can reach.
    ///
    /// # Errors
    ///
    /// `ENOENT` if nothing is there; `EINVAL` before Linux 6.0.
    pub fn ignore_mount(self, path: &std::ffi::CStr) -> io::Result<()> {
        sys::fanotify_mark(self.fd(), OWN_MOUNT_FLAGS, PERMISSION_MASK, Some(path))
    }

    /// Lets opens of one file pass unasked until that is taken back.
    ///
    /// The kernel may drop the mark with the inode (it is evictable). On its own this lets modified
    /// content through: use it under a kept lease only, through [`crate::lease`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EBADF` if the number is not open.
    pub fn ignore_file(self, file: RawFd, mask: Mask) -> io::Result<()> {
        sys::fanotify_mark_file(self.fd(), FAN_MARK_ADD | KNOWN, mask.bits() | STAY, file)
    }

    /// Takes [`Group::ignore_file`] back: opens are asked about again. The mark stays, for the reason
    /// that [`STAY`] gives.
    ///
    /// # Errors
    ///
    /// `ENOENT` if there was no mark.
    pub fn unignore_file(self, file: RawFd, mask: Mask) -> io::Result<()> {
        sys::fanotify_mark_file(self.fd(), FAN_MARK_REMOVE | KNOWN, mask.bits(), file)
    }

    /// Reads what waits into `batch`, and waits where nothing does; false if a signal interrupted it.
    ///
    /// One blocking call per wake-up: waiting and reading apart cost two more calls per question.
    /// Blocks in the kernel where a question's file lies on a file system whose server does not answer
    /// (the kernel opens the object here): such file systems have groups of their own.
    ///
    /// # Errors
    ///
    /// `EMFILE` when the descriptor table is full: the kernel then denied the question itself.
    pub fn read(self, batch: &mut Batch) -> io::Result<bool> {
        batch.filled = 0;
        match rustix::io::read(self.fd(), &mut batch.bytes[..]) {
            Ok(0) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
            Ok(len) => {
                batch.filled = len;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until a question can be read or `timeout` nanoseconds have passed.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn wait(self, timeout: Option<u64>) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = timeout.map(|ns| Timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
        });
        let fd = self.fd();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], limit.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Answers the question whose object has this number.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no question with this number waits: it was answered, or the subject was killed.
    pub fn answer(self, file: RawFd, answer: Answer) -> io::Result<()> {
        let word = match answer {
            Answer::Allow => FAN_ALLOW,
            Answer::Deny => FAN_DENY,
        };
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&file.to_ne_bytes());
        bytes[4..].copy_from_slice(&word.to_ne_bytes());
        rustix::io::write(self.fd(), &bytes)?;
        Ok(())
    }
}

impl AsRawFd for Group {
    fn as_raw_fd(&self) -> RawFd {
        self.number
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

/// The permission events of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mask(u64);

impl Mask {
    /// The mask for these events.
    pub fn of(events: outrigger_api::EventSet) -> Self {
        let mut bits = 0;
        if events.contains(Event::FileOpen) {
            bits |= FAN_OPEN_PERM;
        }
        if events.contains(Event::ProcessExec) {
            bits |= FAN_OPEN_EXEC_PERM;
        }
        Self(bits)
    }

    /// The events of this mask that `other` has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn bits(self) -> u64 {
        self.0
    }
}

impl Batch {
    /// The questions of the last read, in the kernel's order.
    pub fn questions(&self) -> Questions<'_> {
        Questions { bytes: &self.bytes[..self.filled] }
    }
}

/// Iterates over the questions of a [`Batch`].
#[derive(Debug)]
pub struct Questions<'a> {
    bytes: &'a [u8],
}

impl Iterator for Questions<'_> {
    type Item = RawQuestion;

    fn next(&mut self) -> Option<RawQuestion> {
        loop {
            let len = read_u32(self.bytes, 0)? as usize;
            if len < METADATA_LEN || len > self.bytes.len() {
                return None;
            }
            let (event, rest) = self.bytes.split_at(len);
            self.bytes = rest;
            if let Some(question) = decode(event) {
                return Some(question);
            }
        }
    }
}

/// Reads `struct fanotify_event_metadata` and the pidfd record behind it (`man 7 fanotify`).
fn decode(bytes: &[u8]) -> Option<RawQuestion> {
    let version = *bytes.get(4)?;
    let mask = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    let file = read_u32(bytes, 16)?.cast_signed();
    let pid = read_u32(bytes, 20)?;
    if version != METADATA_VERSION || file < 0 {
        return None;
    }
    let event = if mask & FAN_OPEN_EXEC_PERM != 0 { Event::ProcessExec } else { Event::FileOpen };
    let pidfd = match bytes.get(METADATA_LEN) {
        Some(&INFO_TYPE_PIDFD) => read_u32(bytes, METADATA_LEN + 4)?.cast_signed(),
        _ => -1,
    };
    Some(RawQuestion { event, file, pid, pidfd: pidfd.max(-1) })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The path `/proc/self/fd/N`.
pub fn descriptor_path(fd: RawFd) -> CString {
    CString::new(format!("/proc/self/fd/{fd}")).expect("it holds no zero byte")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(mask: u64, file: i32, pidfd: Option<i32>) -> Vec<u8> {
        let len: u32 = if pidfd.is_some() { 32 } else { 24 };
        let mut bytes = Vec::new();
        bytes.extend(len.to_ne_bytes());
        bytes.extend([METADATA_VERSION, 0, 24, 0]);
        bytes.extend(mask.to_ne_bytes());
        bytes.extend(file.to_ne_bytes());
        bytes.extend(77_i32.to_ne_bytes());
        if let Some(pidfd) = pidfd {
            bytes.extend([INFO_TYPE_PIDFD, 0, 8, 0]);
            bytes.extend(pidfd.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn questions_come_out_in_the_kernels_order() {
        let mut bytes = event(FAN_OPEN_EXEC_PERM, 9, Some(10));
        bytes.extend(event(FAN_OPEN_PERM, 11, Some(-2)));

        let questions: Vec<_> = Batch::of(&bytes).questions().collect();

        assert_eq!(
            questions,
            [
                RawQuestion { event: Event::ProcessExec, file: 9, pid: 77, pidfd: 10 },
                RawQuestion { event: Event::FileOpen, file: 11, pid: 77, pidfd: -1 },
            ]
        );
    }

    #[test]
    fn a_cut_event_ends_the_batch() {
        let mut bytes = event(FAN_OPEN_PERM, 9, Some(10));
        bytes.truncate(20);

        assert_eq!(Batch::of(&bytes).questions().count(), 0);
    }

    #[test]
    fn a_descriptor_path_has_its_number() {
        assert_eq!(descriptor_path(0).to_bytes(), b"/proc/self/fd/0");
        assert_eq!(descriptor_path(i32::MAX).to_bytes(), b"/proc/self/fd/2147483647");
    }
}
