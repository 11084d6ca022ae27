//! Memory shared with a file, and through it with other processes.

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The first bytes of a file, mapped shared and writable.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is only reached through atomics, whichever thread does it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, which must be open for reading and writing.
    pub(crate) fn new(file: impl AsFd, len: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { mmap(ptr::null_mut(), len, access, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, len })
    }

    /// The mapping as 64-bit words that other processes may change at any time.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let count = self.len / 8;
        // SAFETY: the mapping is page-aligned, holds `count` words, lives as long as `self`, and any
        // bytes are valid words; concurrent change is what atomics are for.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), count) }
    }

    /// Stores `content` at the start, byte by byte, as a program that writes by `mmap` does.
    pub(crate) fn store(&self, content: &[u8]) {
        assert!(content.len() <= self.len, "the content is longer than the mapping");
        // SAFETY: as for `words`; every byte is an atomic of its own here.
        let bytes: &[AtomicU8] =
            unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) };
        for (place, byte) in bytes.iter().zip(content) {
            place.store(*byte, Ordering::Relaxed);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone and nothing borrowed from it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
