//! The mapping behind a ring: shared memory seen as atomic words; descriptors known by number.
//!
//! Another process writes this memory at any time. No `&[u8]` of it is ever made: every access goes
//! through an atomic, so a racing write changes the value that is read and nothing else. Records are
//! multiples of eight bytes, which makes copying them word by word as cheap as `memcpy`.

#![expect(
    unsafe_code,
    reason = "memory shared between processes and inherited descriptors have no safe wrapper"
)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags};

/// Bytes before the data, one page.
pub(crate) const HEADER_BYTES: u32 = 4096;
const HEADER_WORDS: usize = HEADER_BYTES as usize / size_of::<AtomicU32>();

/// One page of header words and the data after it, mapped shared and writable.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<c_void>,
    data_bytes: u32,
}

// SAFETY: the mapping belongs to the value and not to a thread, and is only reached through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared references give out nothing but atomics.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `fd`, which must be a file of [`HEADER_BYTES`] + `data_bytes` bytes that cannot shrink: the
    /// caller has checked the length, and a shorter file would end the process by `SIGBUS`.
    pub(crate) fn new(fd: BorrowedFd<'_>, data_bytes: u32) -> io::Result<Self> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let len = HEADER_BYTES as usize + data_bytes as usize;
        // SAFETY: the kernel picks the address of a new mapping, so no memory in use is replaced.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, fd, 0) }?;
        let base = NonNull::new(base).expect("the kernel maps nothing at address zero by itself");
        Ok(Self { base, data_bytes })
    }

    /// The header, as 32-bit words.
    pub(crate) fn header(&self) -> &[AtomicU32; HEADER_WORDS] {
        // SAFETY: the mapping is at least a page, page-aligned and lives as long as `self`; all of
        // its bytes are initialised, and every access to them here is atomic.
        unsafe { self.base.cast().as_ref() }
    }

    /// The data, as 64-bit words.
    pub(crate) fn data(&self) -> &[AtomicU64] {
        // SAFETY: `HEADER_BYTES` is within the mapping, whose length is that and the data.
        let start = unsafe { self.base.byte_add(HEADER_BYTES as usize) };
        let words = self.data_bytes as usize / size_of::<AtomicU64>();
        // SAFETY: `words` words from `start`, which is page-aligned, are within the mapping, which
        // lives as long as `self`; every access to them here is atomic.
        unsafe { std::slice::from_raw_parts(start.cast().as_ptr(), words) }
    }

    /// Bytes of data.
    pub(crate) fn data_bytes(&self) -> u32 {
        self.data_bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let len = HEADER_BYTES as usize + self.data_bytes as usize;
        // SAFETY: the range is what `new` mapped, and no reference into it outlives `self`.
        let done = unsafe { rustix::mm::munmap(self.base.as_ptr(), len) };
        done.expect("a mapping of our own can be taken down");
    }
}

/// What the kernel says of descriptor `number`, `EBADF` if it is not open.
pub(crate) fn stat_of(number: RawFd) -> rustix::io::Result<rustix::fs::Stat> {
    // SAFETY: the borrow ends with the call, which does nothing but ask about a number that may as
    // well be closed: the kernel then says so.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::fs::fstat(fd)
}

/// The owner of descriptor `number`, which the process was started with and nobody else has taken.
pub(crate) fn own(number: RawFd) -> OwnedFd {
    // SAFETY: `inherit` calls this once per number, after it saw that it is open and a socket. No
    // library opens a socket by itself, so it is the one that the process was started with.
    unsafe { OwnedFd::from_raw_fd(number) }
}
