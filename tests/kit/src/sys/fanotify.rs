//! A fanotify group and its answers, as bare as can be.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of an event without information records (`struct fanotify_event_metadata`).
const EVENT: usize = size_of::<libc::fanotify_event_metadata>();
/// Events per read, as many as a page holds.
const EVENTS: usize = 4096 / EVENT;

/// A group of permission events that allows whatever it is asked.
#[derive(Debug)]
pub(crate) struct BareGroup {
    group: OwnedFd,
    buffer: Vec<u8>,
}

impl BareGroup {
    /// Opens a group that blocks when it is read.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_UNLIMITED_QUEUE;
        let event_flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE).cast_unsigned();
        // SAFETY: takes integers only.
        let group = unsafe { libc::fanotify_init(flags, event_flags) };
        if group < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so the descriptor is open, and nobody else owns it.
        let group = unsafe { OwnedFd::from_raw_fd(group) };
        Ok(Self { group, buffer: vec![0; EVENTS * EVENT] })
    }

    /// Asks about every open (and, with `exec`, every exec) on the file system of `path`.
    pub(crate) fn mark_file_system(&self, path: &Path, exec: bool) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
        let mask = libc::FAN_OPEN_PERM | if exec { libc::FAN_OPEN_EXEC_PERM } else { 0 };
        let group = self.group.as_raw_fd();
        // SAFETY: `path` is a C string that outlives the call; the other arguments are integers.
        let done =
            unsafe { libc::fanotify_mark(group, flags, mask, libc::AT_FDCWD, path.as_ptr()) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for questions, allows each and closes its file; tells how many.
    pub(crate) fn answer_some(&mut self) -> io::Result<usize> {
        let read = rustix::io::read(self.group.as_fd(), &mut self.buffer)?;
        let mut answered = 0;
        for event in self.buffer[..read].chunks_exact(EVENT) {
            // `fd` is the fifth field: after len (4), version, reserved (1 each), metadata_len (2) and
            // mask (8).
            let number: [u8; 4] = event[16..20].try_into().expect("four bytes are four bytes");
            let number = i32::from_ne_bytes(number);
            if number < 0 {
                continue;
            }
            // SAFETY: the kernel made this descriptor for the event just read; nobody else owns it.
            let file = unsafe { OwnedFd::from_raw_fd(number) };
            let mut response = [0; 8];
            response[..4].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
            response[4..].copy_from_slice(&libc::FAN_ALLOW.to_ne_bytes());
            rustix::io::write(self.group.as_fd(), &response)?;
            answered += 1;
        }
        Ok(answered)
    }
}
