//! The verdict cache's ground: an ignore mark under a kept read lease.
//!
//! An ignore mark makes later opens of a file pass without a question. By itself it lies, since a
//! write through a mapping does not clear it. So it ignores opens only as long as there is a read lease
//! on the same file, which the kernel grants while nobody has the file open for writing, and which it breaks
//! (a signal to the gate) before anybody gets to: the gate then has opens asked about again and lets go.
//!
//! Order matters, and is the same everywhere: lease, then content is judged, then a look whether the lease
//! still holds, then the mark, then the look again; to drop: the mark first, then the lease. Marks are
//! changed, and leases let go of, under one lock ([`crate::page::Page::lock_marks`]).
//! No file is leased twice.
//!
//! The mark itself stays (`docs/adr/0011`).
//! Source of the figures and of the race test: `docs/adr/0003`.

use std::io;
use std::os::fd::RawFd;

use crate::group::{Group, Mask};
use crate::sys;

/// The signal by which the kernel tells the gate that somebody opens a leased file for writing.
///
/// The first real-time signal that the C library leaves alone; it queues, and carries the number of
/// the leased descriptor. When the queue is full the kernel sends plain `SIGIO` instead.
pub const BREAK_SIGNAL: i32 = 36;

/// `fcntl.h`; the same on every architecture that this crate builds for.
const F_SETSIG: i32 = 10;

/// Leases the file behind `file`, so that `owner` hears of a writer.
///
/// # Errors
///
/// `EAGAIN` while somebody has the file open for writing; `EINVAL` where the file system has no
/// leases.
pub fn take(file: RawFd, owner: u32) -> io::Result<()> {
    adopt(file, owner)?;
    sys::fcntl(file, libc::F_SETLEASE, libc::F_RDLCK).map(drop)
}

/// Makes `owner` the one who hears of a writer.
///
/// # Errors
///
/// `ESRCH` if there is no such process.
pub fn adopt(file: RawFd, owner: u32) -> io::Result<()> {
    sys::fcntl(file, F_SETSIG, BREAK_SIGNAL)?;
    let owner = i32::try_from(owner).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    sys::fcntl(file, libc::F_SETOWN, owner).map(drop)
}

/// Whether the lease stands and no break of it has begun.
pub fn holds(file: RawFd) -> bool {
    sys::fcntl_get(file, libc::F_GETLEASE).is_ok_and(|kind| kind == libc::F_RDLCK)
}

/// Lets go of a lease; a writer that waits for it goes on.
pub fn release(file: RawFd) {
    // Nothing to do about a failure: there was no lease, or the number is closed.
    let _ = sys::fcntl(file, libc::F_SETLEASE, libc::F_UNLCK);
}

/// Forgets a known file: the mark, then the lease. The descriptor stays open.
pub fn forget(group: Group, file: RawFd, mask: Mask) {
    // The kernel may have evicted the mark.
    let _ = group.unignore_file(file, mask);
    release(file);
}
