//! Forbidden acts: each is tried, and what the kernel says of it is told.

use std::hint::black_box;
use std::io;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

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
    /// Writes code and makes it executable.
    MakeCode,
    /// Looks for other processes and what is theirs: tells what it sees.
    LookAround,
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
    /// Maps it to be executed.
    Execute,
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
            Self::MakeCode => told(sys::make_code()),
            Self::LookAround => look_around(),
        }
    }
}

impl ContentAct {
    /// Tries it on `file`.
    pub(crate) fn try_on(self, file: BorrowedFd<'_>) -> String {
        match self {
            Self::Lock => told(sys::lock(file)),
            Self::Lease => told(sys::lease(file)),
            Self::Execute => told(sys::map_code(file)),
            Self::Reopen => {
                told(std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(drop))
            }
        }
    }
}

/// Takes memory and writes to it until the process is ended for it.
pub(crate) fn leak() -> ! {
    loop {
        take(1 << 20);
    }
}

/// Takes so many bytes, writes to them, and gives none back.
pub(crate) fn take(bytes: usize) {
    let block = vec![1_u8; bytes];
    std::mem::forget(black_box(block));
}

/// Copies a descriptor until none is left, and closes none of them.
pub(crate) fn leak_descriptors() {
    while let Ok(copy) = io::stdin().as_fd().try_clone_to_owned() {
        std::mem::forget(copy);
    }
}

/// Computes, for `time` or without end.
pub(crate) fn burn(time: Option<Duration>) {
    let start = Instant::now();
    while time.is_none_or(|time| start.elapsed() < time) {
        std::hint::spin_loop();
    }
}

/// Starts threads until one is refused, and ends none.
pub(crate) fn leak_threads() -> String {
    let mut started = 0;
    while started < THREADS {
        let forever = || {
            loop {
                thread::park();
            }
        };
        match thread::Builder::new().stack_size(16 << 10).spawn(forever) {
            Ok(_) => started += 1,
            Err(error) => return format!("refused after {started} threads, {error}"),
        }
    }
    format!("{started} threads were let")
}

/// Forks without pause for `time`.
pub(crate) fn fork_for(time: Duration) -> String {
    let start = Instant::now();
    let (mut tried, mut last) = (0_u64, String::new());
    while start.elapsed() < time {
        last = told(sys::fork());
        tried += 1;
    }
    format!("{tried} forks, {last}")
}

/// Has a thread print lines without pause for `time`.
pub(crate) fn print_for(time: Duration) {
    let print = move || {
        let start = Instant::now();
        while start.elapsed() < time {
            // Nobody reads it any more if it cannot be written: there is nothing left to flood.
            if writeln!(io::stderr(), "and another line of nothing at all").is_err() {
                return;
            }
        }
    };
    // Without a thread nothing is printed, and whoever counts the lines finds that out.
    drop(thread::Builder::new().spawn(print));
}

pub(crate) fn told(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "it was let".to_owned(),
        Err(error) => format!("refused, {error}"),
    }
}

/// What of the machine's other processes can be seen: a line for the test to judge.
fn look_around() -> String {
    let proc = std::fs::read_dir("/proc").map(|entries| entries.count());
    let root = std::fs::read_dir("/").map(|entries| {
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.join(",")
    });
    format!(
        "proc {}; root {}; pid {}; parent {}",
        proc.map_or_else(|error| error.to_string(), |count| format!("of {count}")),
        root.unwrap_or_else(|error| error.to_string()),
        std::process::id(),
        std::os::unix::process::parent_id(),
    )
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
            "make-code" => Self::MakeCode,
            "look-around" => Self::LookAround,
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
            "execute" => Self::Execute,
            _ => return Err(format!("no act on content is called {word:?}")),
        })
    }
}
