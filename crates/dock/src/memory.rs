//! The memory of a ring: one sealed memfd, its header and its data.
//!
//! The header is one page with four words, each in a cache line pair of its own:
//!
//! | offset | word | written by |
//! |---|---|---|
//! | 0 | bytes produced, wrapping | producer |
//! | 128 | bytes consumed, wrapping | consumer |
//! | 256 | 1 while the consumer sleeps; the futex word | both |
//! | 384 | bytes of notices handled, wrapping; of an event ring | consumer |
//!
//! The data follows, a power of two of bytes. The file cannot shrink or grow (`F_SEAL_SHRINK`,
//! `F_SEAL_GROW`, `F_SEAL_SEAL`), so that a mapping of it never faults; holes that a peer punches read
//! as zeros, which are no record.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::sys::{HEADER_BYTES, Mapping};

const PRODUCED: usize = 0;
const CONSUMED: usize = 32;
const SLEEPING: usize = 64;
const HANDLED: usize = 96;

/// Smallest and largest data area, in bytes: a page, and what wrapping cursors can tell apart.
const DATA_BYTES: std::ops::RangeInclusive<u32> = 4096..=1 << 30;

/// The mapped memory of one ring.
#[derive(Debug)]
pub(crate) struct Memory(Mapping);

impl Memory {
    /// Makes the memory of a ring with `data_bytes` of data; the descriptor is for the peer.
    pub(crate) fn create(data_bytes: u32) -> io::Result<(Self, OwnedFd)> {
        let len = file_len(data_bytes)?;
        let fd = memfd("outrigger-ring")?;
        rustix::fs::ftruncate(&fd, len)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Ok((Self(Mapping::new(fd.as_fd(), data_bytes)?), fd))
    }

    /// Maps the memory of a ring that the peer made.
    pub(crate) fn map(fd: BorrowedFd<'_>, data_bytes: u32) -> io::Result<Self> {
        let want = file_len(data_bytes)?;
        let got = rustix::fs::fstat(fd)?.st_size;
        if u64::try_from(got) != Ok(want) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("ring of {got} bytes where {want} were announced"),
            ));
        }
        Ok(Self(Mapping::new(fd, data_bytes)?))
    }

    /// Bytes produced, wrapping. Written by the producer.
    pub(crate) fn produced(&self) -> &AtomicU32 {
        &self.0.header()[PRODUCED]
    }

    /// Bytes consumed, wrapping. Written by the consumer.
    pub(crate) fn consumed(&self) -> &AtomicU32 {
        &self.0.header()[CONSUMED]
    }

    /// Not zero while the consumer sleeps.
    pub(crate) fn sleeping(&self) -> &AtomicU32 {
        &self.0.header()[SLEEPING]
    }

    /// Bytes of records handled that waited for no answer, wrapping. Written by the consumer.
    pub(crate) fn handled(&self) -> &AtomicU32 {
        &self.0.header()[HANDLED]
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.0
    }
}

fn file_len(data_bytes: u32) -> io::Result<u64> {
    if data_bytes.is_power_of_two() && DATA_BYTES.contains(&data_bytes) {
        return Ok(u64::from(HEADER_BYTES) + u64::from(data_bytes));
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "ring of {data_bytes} data bytes: must be a power of two from {} to {}",
            DATA_BYTES.start(),
            DATA_BYTES.end()
        ),
    ))
}

/// A memfd that can be sealed and, where the kernel knows how (Linux 6.3), never executed.
pub(crate) fn memfd(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create(name, flags)?),
        made => Ok(made?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_can_be_neither_cut_nor_grown_nor_unsealed() {
        let (_memory, fd) = Memory::create(4096).expect("a ring can be made");

        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 1 << 20), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE), Err(Errno::PERM));
    }

    #[test]
    fn a_ring_of_another_size_than_announced_is_not_mapped() {
        let (_memory, fd) = Memory::create(4096).expect("a ring can be made");

        let other = Memory::map(fd.as_fd(), 8192).map(|_| ());

        assert_eq!(other.map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn sizes_that_wrapping_cursors_cannot_serve_are_refused() {
        for bytes in [0, 8, 2048, 4097, 1 << 31] {
            let made = Memory::create(bytes).map(|_| ());
            assert_eq!(made.map_err(|error| error.kind()), Err(io::ErrorKind::InvalidInput));
        }
    }
}
