//! Counts what one check allocates, so that an input which makes a parser greedy is a finding.
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counted per thread.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

thread_local! {
    /// Bytes in use by this thread, and the most there were since [`peak_of`] began. What one thread
    /// makes and another frees would confuse it; nothing here does.
    static IN_USE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// What `work` gives, and the most bytes that it had in use at a time.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = IN_USE.get().0;
    IN_USE.set((before, before));
    let done = work();
    (done, IN_USE.get().1.saturating_sub(before).unsigned_abs())
}

/// Runs `work` on an input of `len` bytes.
///
/// # Panics
///
/// If it had more than `fixed` bytes and `each` for every byte of the input in use at a time.
pub fn within<T>(len: usize, fixed: usize, each: usize, work: impl FnOnce() -> T) -> T {
    let (done, peak) = peak_of(work);
    let limit = fixed + each * len;
    assert!(peak <= limit, "{len} bytes of input took {peak} bytes of memory, limit {limit}");
    done
}

fn count(bytes: usize, sign: isize) {
    let (now, most) = IN_USE.get();
    // Layouts are never larger than isize::MAX.
    let now = now + sign * bytes.cast_signed();
    IN_USE.set((now, most.max(now)));
}

// SAFETY: every call is passed on as it came to an allocator that keeps the promises.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        // Where it must move, both are there for a moment.
        count(new, 1);
        count(layout.size(), -1);
        // SAFETY: the caller's promises, passed on.
        unsafe { System.realloc(pointer, layout, new) }
    }
}
