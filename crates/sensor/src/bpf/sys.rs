//! The memory that the programs and the host share (the ring's pages and the page beside it), and two
//! calls that no library wraps.
#![expect(
    unsafe_code,
    reason = "mappings that the kernel writes to, and signal masks, have no safe wrapper"
)]

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Counters of one processor, one per kind of record, as `process.h` and `plane_record.h` have them.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Losses<const KINDS: usize> {
    pub(crate) lost: [AtomicU64; KINDS],
}

/// What both sides write, as `process.h` and `plane_record.h` have it. Made of atomics only: any bytes
/// are a value of it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared<const KINDS: usize, const SLOTS: usize> {
    pub(crate) wake_at: AtomicU32,
    unused: [AtomicU32; 15],
    pub(crate) losses: [Losses<KINDS>; SLOTS],
}

/// A mapping, unmapped at the end.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and nothing else here refers to it.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(
        file: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        protection: ProtFlags,
    ) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of Rust's.
        let start =
            unsafe { mmap(null_mut(), len, protection, MapFlags::SHARED, file, offset as u64) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }

    /// A number that the kernel changes, at an offset in bytes that is a multiple of four.
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "inside of the mapping");
        // SAFETY: inside of the mapping, as just checked.
        let word = unsafe { self.start.add(offset) };
        // SAFETY: mapped as long as `self`, aligned since the mapping is to a page, and changed by
        // atomic accesses alone.
        unsafe { AtomicU32::from_ptr(word.cast().as_ptr()) }
    }

    /// The number that a page begins with.
    fn counter(&self) -> &AtomicU64 {
        assert!(self.len >= 8, "a page is mapped");
        // SAFETY: mapped as long as `self`, aligned to a page, and changed by atomic accesses alone.
        unsafe { AtomicU64::from_ptr(self.start.cast().as_ptr()) }
    }

    /// Bytes that nobody writes to while they are borrowed, which is for the caller to know.
    fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(offset <= self.len && len <= self.len - offset, "inside of the mapping");
        // SAFETY: inside of the mapping, as just checked.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: mapped as long as `self`. The one caller, `Ring::next`, names a record that was
        // handed over and not yet given back; the kernel writes to none such.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; every reference into it borrowed `self`.
        let result = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "it was mapped");
    }
}

/// What the programs of the second plane look at first, as `plane_record.h` has it. Made of atomics only, as
/// [`Shared`] is.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Front<const EVENTS: usize, const WORDS: usize> {
    pub(crate) generation: AtomicU64,
    pub(crate) words: AtomicU32,
    unused: AtomicU32,
    pub(crate) want: [AtomicU32; EVENTS],
    pub(crate) by: [AtomicU32; EVENTS],
    pub(crate) acting: [[AtomicU64; WORDS]; EVENTS],
}

/// What is made of atomics only.
///
/// # Safety
///
/// Any bytes have to be a value of it, and it may have nothing that is read or written otherwise.
unsafe trait Atomics {}

// SAFETY: nothing but atomics in it, without holes.
unsafe impl<const KINDS: usize, const SLOTS: usize> Atomics for Shared<KINDS, SLOTS> {}
// SAFETY: as above.
unsafe impl<const EVENTS: usize, const WORDS: usize> Atomics for Front<EVENTS, WORDS> {}

/// The pages of an array that hold one `Value`, which the programs see too.
#[derive(Debug)]
pub(crate) struct Pages<Value> {
    mapping: Mapping,
    value: PhantomData<Value>,
}

#[expect(private_bounds, reason = "what is made of atomics is defined here")]
impl<Value: Atomics> Pages<Value> {
    /// Maps the array that holds it.
    pub(crate) fn map(array: BorrowedFd<'_>) -> io::Result<Self> {
        let len = size_of::<Value>().next_multiple_of(rustix::param::page_size());
        let mapping = Mapping::new(array, 0, len, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self { mapping, value: PhantomData })
    }

    pub(crate) fn get(&self) -> &Value {
        // SAFETY: `map` mapped as many bytes, aligned to a page, as long as `self`; it is made of atomics
        // only, so whatever the kernel or a program reads or writes there is no data race.
        unsafe { self.mapping.start.cast().as_ref() }
    }
}

/// Set in a record's length while it is being written.
const BUSY: u32 = 1 << 31;
/// Set in a record's length if it is to be skipped.
const DISCARDED: u32 = 1 << 30;
/// A record's length and the place of its page, before its bytes.
const HEADER: usize = 8;

/// The reader's end of a BPF ring buffer (`BPF_MAP_TYPE_RINGBUF`, Linux 5.8).
///
/// The map's first page holds how far the reader has come, the second how far the writers have, and the
/// ring follows twice, so that a record that passes its end can be read in one piece.
#[derive(Debug)]
pub(crate) struct Ring {
    reader: Mapping,
    writers: Mapping,
    size: usize,
}

impl Ring {
    /// Maps a ring of `size` bytes, a power of two.
    pub(crate) fn map(ring: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let reader = Mapping::new(ring, 0, page, ProtFlags::READ | ProtFlags::WRITE)?;
        let writers = Mapping::new(ring, page, page + 2 * size, ProtFlags::READ)?;
        Ok(Self { reader, writers, size })
    }

    /// Whether a record is there or being written.
    pub(crate) fn has_more(&self) -> bool {
        // The other half of the programs' barrier: what was stored before is seen by whoever reserves
        // a record that is not seen here.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.reader.counter().load(Ordering::Relaxed)
            != self.writers.counter().load(Ordering::Acquire)
    }

    /// Hands the next record over, if there is one that is written; says whether there was.
    ///
    /// # Errors
    ///
    /// `InvalidData` if its length is beyond the ring: the memory is not what it should be.
    pub(crate) fn next(&mut self, take: impl FnOnce(&[u8])) -> io::Result<bool> {
        let page = rustix::param::page_size();
        loop {
            let at = self.reader.counter().load(Ordering::Relaxed);
            if at == self.writers.counter().load(Ordering::Acquire) {
                return Ok(false);
            }
            let offset = at & (self.size as u64 - 1);
            let place = page + usize::try_from(offset).map_err(io::Error::other)?;
            let header = self.writers.word(place).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return Ok(false);
            }
            let len = header & !(BUSY | DISCARDED);
            if len as usize > self.size {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let next = at + (len as usize + HEADER).next_multiple_of(8) as u64;
            if header & DISCARDED == 0 {
                take(self.writers.bytes(place + HEADER, len as usize));
                self.reader.counter().store(next, Ordering::Release);
                return Ok(true);
            }
            self.reader.counter().store(next, Ordering::Release);
        }
    }
}

/// How often the kernel skipped a program because it was running on that processor already.
pub(crate) fn skipped_runs(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut len = u32::try_from(size_of_val(&info)).expect("it is some hundred bytes");
    // SAFETY: `info` is plain numbers, zeroed (so it names no memory to fill), and `len` is its length;
    // both live as long as the call.
    let result = unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(
            program.as_raw_fd(),
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(info.recursion_misses) } else { Err(io::Error::last_os_error()) }
}

/// Holds every signal back from the calling thread until it is dropped.
#[derive(Debug)]
pub(crate) struct WithoutSignals {
    before: libc::sigset_t,
    /// A mask belongs to its thread.
    stays: PhantomData<*const ()>,
}

impl WithoutSignals {
    pub(crate) fn begin() -> Self {
        let mut all = MaybeUninit::uninit();
        // SAFETY: fills the set that it is given.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        let mut before = MaybeUninit::uninit();
        // SAFETY: `all` is filled, and `before` is a place for the mask of now.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        assert_eq!(result, 0, "it fails for an unknown first argument only");
        // SAFETY: the call above succeeded, so it wrote the mask.
        let before = unsafe { before.assume_init() };
        Self { before, stays: PhantomData }
    }
}

impl Drop for WithoutSignals {
    fn drop(&mut self) {
        // SAFETY: a mask that the kernel gave for this thread, and nothing is wanted back.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, null_mut()) };
    }
}
