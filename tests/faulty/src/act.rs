//! Forbidden acts: each is tried, and what the kernel says of it is told.

use std::hint::black_box;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::sys;

/// An act that needs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Opens a file that is not in its root.
    OpenOutside,
    /// Makes an internet socket.
    Connect,
    /// Attaches to another process as a debugger.
    Trace,
    /// Kills every process that it may.
    Kill,
    /// Forks.
    Fork,
    /// Starts threads until that fails.
    Threads,
}

/// An act on the descriptor of a file that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentAct {
    /// Locks it.
    Lock,
    /// Takes a lease on it.
    Lease,
    /// Opens it once more through `/proc`.
    Reopen,
}

/// Threads that are tried at most; far over every limit that a manifest may name.
const THREADS: usize = 1000;

impl Act {
    /// Tries it.
    pub(crate) fn try_it(self) -> String {
        match self {
            Self::OpenOutside => told(std::fs::File::open("/etc/passwd").map(drop)),
            Self::Connect => told(sys::internet_socket()),
            Self::Trace => told(sys::attach(1)),
            Self::Kill => told(sys::kill_all()),
            Self::Fork => told(sys::fork()),
            Self::Threads => threads(),
        }
    }
}

impl ContentAct {
    /// Tries it on `file`.
    pub(crate) fn try_on(self, file: BorrowedFd<'_>) -> String {
        match self {
            Self::Lock => told(sys::lock(file)),
            Self::Lease => told(sys::lease(file)),
            Self::Reopen => {
                told(std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(drop))
            }
        }
    }
}

/// Takes memory and writes to it until the process is ended for it.
pub(crate) fn leak() -> ! {
    loop {
        let block = vec![1_u8; 1 << 20];
        std::mem::forget(black_box(block));
    }
}

/// Copies a descriptor until none is left, and closes none of them.
pub(crate) fn leak_descriptors() {
    while let Ok(copy) = io::stdin().as_fd().try_clone_to_owned() {
        std::mem::forget(copy);
    }
}

fn told(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "it was let".to_owned(),
        Err(error) => format!("refused, {error}"),
    }
}

/// All threads live until the last one was tried.
fn threads() -> String {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let mut started = Vec::new();
    let failed = loop {
        if started.len() == THREADS {
            break None;
        }
        let gate = Arc::clone(&gate);
        let waiting = move || {
            let (open, bell) = &*gate;
            let held = open.lock().expect("no thread panics with the lock");
            drop(bell.wait_while(held, |open| !*open));
        };
        match thread::Builder::new().stack_size(16 << 10).spawn(waiting) {
            Ok(thread) => started.push(thread),
            Err(error) => break Some(error),
        }
    };
    let count = started.len();
    *gate.0.lock().expect("no thread panics with the lock") = true;
    gate.1.notify_all();
    started.into_iter().for_each(|thread| drop(thread.join()));
    match failed {
        Some(error) => format!("refused after {count} threads, {error}"),
        None => format!("{count} threads were let"),
    }
}

impl FromStr for Act {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "open-outside" => Self::OpenOutside,
            "connect" => Self::Connect,
            "ptrace" => Self::Trace,
            "kill" => Self::Kill,
            "fork" => Self::Fork,
            "threads" => Self::Threads,
            _ => return Err(format!("no act is called {word:?}")),
        })
    }
}

impl FromStr for ContentAct {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "flock" => Self::Lock,
            "lease" => Self::Lease,
            "reopen" => Self::Reopen,
            _ => return Err(format!("no act on content is called {word:?}")),
        })
    }
}
