//! Opening a file by io_uring, whose opens need no system call of their own.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use io_uring::{IoUring, opcode, squeue, types};

/// Opens `path` for reading through a ring; by a kernel worker thread if `by_worker`.
pub(crate) fn open_by_ring(path: &Path, by_worker: bool) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut ring = IoUring::new(2)?;
    let mut entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
        .flags(libc::O_RDONLY | libc::O_CLOEXEC)
        .build();
    if by_worker {
        entry = entry.flags(squeue::Flags::ASYNC);
    }
    let mut queue = ring.submission();
    // SAFETY: the entry points to `path`, which lives until its completion was seen below.
    unsafe { queue.push(&entry) }.map_err(io::Error::other)?;
    drop(queue);
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or_else(|| io::Error::other("no completion"))?;
    if done.result() < 0 {
        return Err(io::Error::from_raw_os_error(-done.result()));
    }
    // SAFETY: the completion carries a descriptor that the kernel made for this entry alone.
    Ok(unsafe { OwnedFd::from_raw_fd(done.result()) })
}
