//! Sleeping until a peer has something, and waking it.
//!
//! A doorbell is one word: 1 while somebody sleeps on it or is about to, 0 otherwise. Who wants to
//! sleep arms it, looks once more whether there is something to do, and sleeps while the word is 1.
//! Who has something for the sleeper publishes it first, then looks at the word; if it is 1, sets it
//! to 0 and wakes. A full fence on each side between the write and the look makes it impossible that
//! both miss the other. One sleeper per doorbell.
//!
//! The word of a ring's doorbell lies in memory that a hostile engine writes, and the engine can use
//! every futex operation on it: it can wake its sleeper for nothing, or keep wake-ups of its own ring
//! from it. So the host must be able to wake its own threads without them: by a doorbell of
//! [`Doorbell::new`], beside the rings' in one [`sleep`], and a deadline.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::fence;

use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::thread::ClockId;
use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags};

use crate::memory::Memory;

/// Most doorbells that one [`sleep`] takes, `FUTEX_WAITV_MAX`.
pub const BELLS_MAX: usize = 128;

const ARMED: u32 = 1;
const QUIET: u32 = 0;

/// What a thread sleeps on. Keeps its memory mapped.
#[derive(Debug, Clone)]
pub struct Doorbell(Bell);

#[derive(Debug, Clone)]
enum Bell {
    Ring(Arc<Memory>),
    Private(Arc<AtomicU32>),
}

impl Doorbell {
    /// A doorbell of this process alone.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Bell::Private(Arc::new(AtomicU32::new(QUIET)))))
    }

    pub(crate) fn of(memory: Arc<Memory>) -> Self {
        Self(Bell::Ring(memory))
    }

    /// Wakes who sleeps here, if anybody does. What the sleeper is to find must be written before.
    ///
    /// On a ring's doorbell this wakes its reader for something beside the ring. Where the peer is
    /// hostile, use a doorbell of [`Self::new`] for that.
    pub fn ring(&self) {
        // Pairs with the fence in `arm`.
        fence(SeqCst);
        let word = self.word();
        if word.load(Relaxed) != QUIET {
            word.store(QUIET, Relaxed);
            wake(word, self.flags());
        }
    }

    /// Says "I am about to sleep", and gives the value to sleep on. Look for work again after it, and
    /// only then [`sleep`].
    pub fn arm(&self) -> u32 {
        self.word().store(ARMED, Relaxed);
        // Pairs with the fences in `ring` and in the rings' `publish`.
        fence(SeqCst);
        ARMED
    }

    /// Says "I do not sleep", and so spares the peer a wake-up.
    pub fn disarm(&self) {
        self.word().store(QUIET, Relaxed);
    }

    fn word(&self) -> &AtomicU32 {
        match &self.0 {
            Bell::Ring(memory) => memory.sleeping(),
            Bell::Private(word) => word,
        }
    }

    fn flags(&self) -> Flags {
        match &self.0 {
            Bell::Ring(_) => Flags::empty(),
            Bell::Private(_) => Flags::PRIVATE,
        }
    }
}

/// Wakes the engine at the other end of an event ring, from any thread. Keeps the memory mapped.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Memory>);

impl Waker {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self(memory)
    }

    /// Wakes the engine, whether it sleeps or not: one system call.
    pub fn wake(&self) {
        Self::wake_memory(&self.0);
    }

    pub(crate) fn wake_memory(memory: &Memory) {
        let word = memory.sleeping();
        word.store(QUIET, Relaxed);
        wake(word, Flags::empty());
    }
}

fn wake(word: &AtomicU32, flags: Flags) {
    // It fails only if a hostile peer made another kind of futex of its word (`EINVAL`), or took the
    // page (`EFAULT`): it then goes without the wake-up, and nobody else is concerned.
    let _ = futex::wake(word, flags, 1);
}

/// Sleeps until a doorbell no longer has the value from [`Doorbell::arm`], or until `deadline`, ns of
/// `CLOCK_MONOTONIC`. May return early for no reason.
///
/// # Errors
///
/// `InvalidInput` for no doorbell or more than [`BELLS_MAX`]; `EFAULT`, `ENOSYS` or `EINVAL` if the
/// kernel cannot (`futex_waitv` needs Linux 5.16).
pub fn sleep(bells: &[(Doorbell, u32)], deadline: Option<u64>) -> io::Result<()> {
    let until = deadline.map(timespec);
    let slept = match bells {
        [(bell, value)] => {
            let any = NonZeroU32::MAX;
            futex::wait_bitset(bell.word(), bell.flags(), *value, until.as_ref(), any)
        }
        // The array is cleared on every call; most hosts have few engines.
        [] => Err(Errno::INVAL),
        few if few.len() <= 8 => wait_any::<8>(few, until.as_ref()),
        many if many.len() <= BELLS_MAX => wait_any::<BELLS_MAX>(many, until.as_ref()),
        _ => Err(Errno::INVAL),
    };
    match slept {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn wait_any<const N: usize>(
    bells: &[(Doorbell, u32)],
    until: Option<&Timespec>,
) -> rustix::io::Result<()> {
    let mut waits = [Wait::new(); N];
    for (wait, (bell, value)) in waits.iter_mut().zip(bells) {
        wait.val = u64::from(*value);
        wait.uaddr = WaitPtr::new(std::ptr::from_ref(bell.word()).cast_mut().cast());
        wait.flags = match bell.0 {
            Bell::Ring(_) => WaitFlags::SIZE_U32,
            Bell::Private(_) => WaitFlags::SIZE_U32 | WaitFlags::PRIVATE,
        };
    }
    let waits = &waits[..bells.len()];
    futex::waitv(waits, WaitvFlags::empty(), until, ClockId::Monotonic).map(|_| ())
}

fn timespec(ns: u64) -> Timespec {
    const SECOND: u64 = 1_000_000_000;
    Timespec {
        tv_sec: i64::try_from(ns / SECOND).expect("2^64 ns are fewer seconds than 2^63"),
        tv_nsec: i64::try_from(ns % SECOND).expect("less than a second of ns"),
    }
}
