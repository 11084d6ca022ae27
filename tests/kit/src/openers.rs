//! Threads that open files without pause, and see how long they wait and what they get.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::Histogram;
use crate::clock::now;

/// A file to open, and whether engines must refuse it.
#[derive(Debug, Clone)]
pub struct Target {
    path: CString,
    bad: bool,
}

impl Target {
    /// A file that must be served.
    ///
    /// # Panics
    ///
    /// If the path holds a zero byte.
    pub fn clean(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { path: CString::new(path.as_os_str().as_bytes()).expect("a path"), bad: false }
    }

    /// A file that must be refused.
    ///
    /// # Panics
    ///
    /// If the path holds a zero byte.
    pub fn bad(path: impl Into<PathBuf>) -> Self {
        Self { bad: true, ..Self::clean(path) }
    }
}

/// What one or more threads saw.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// How long each open took, whatever came of it.
    pub waits: Histogram,
    /// Clean files opened.
    pub served: u64,
    /// Clean files refused.
    pub wrongly_refused: u64,
    /// Bad files refused.
    pub refused: u64,
    /// Bad files opened.
    pub slipped: u64,
    /// Opens that failed by another error than a refusal, and the last of them.
    pub failed: u64,
    /// The last such error's number.
    pub last_error: i32,
}

impl Tally {
    /// Counts what `other` counted.
    pub fn merge(&mut self, other: &Self) {
        self.waits.merge(&other.waits);
        self.served += other.served;
        self.wrongly_refused += other.wrongly_refused;
        self.refused += other.refused;
        self.slipped += other.slipped;
        self.failed += other.failed;
        if other.last_error != 0 {
            self.last_error = other.last_error;
        }
    }

    /// Opens `target` once and counts what came of it.
    pub fn open(&mut self, target: &Target) {
        let start = now();
        let opened = open(&target.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        self.waits.add(now() - start);
        match (&opened, target.bad) {
            (Ok(_), false) => self.served += 1,
            (Ok(_), true) => self.slipped += 1,
            (Err(Errno::PERM), false) => self.wrongly_refused += 1,
            (Err(Errno::PERM), true) => self.refused += 1,
            (Err(error), _) => {
                self.failed += 1;
                self.last_error = error.raw_os_error();
            }
        }
    }

    /// Opens counted.
    pub fn opens(&self) -> u64 {
        self.waits.count()
    }
}

/// Threads at work.
#[derive(Debug)]
pub struct Openers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Tally>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// Per thread, when its open began; 0 between opens.
    since: Vec<AtomicU64>,
    /// Per thread, opens finished.
    finished: Vec<AtomicU64>,
}

impl Openers {
    /// Starts `threads` threads that open `targets` in turn, each beginning at another, until they
    /// are told to stop.
    pub fn start(threads: usize, targets: Vec<Target>) -> Self {
        let counters = || (0..threads).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            since: counters(),
            finished: counters(),
        });
        let targets: Arc<[Target]> = targets.into();
        let start_one = |index: usize| {
            let (shared, targets) = (Arc::clone(&shared), Arc::clone(&targets));
            std::thread::spawn(move || {
                let first = index * targets.len() / threads;
                run(&shared, index, targets.iter().cycle().skip(first))
            })
        };
        let threads = (0..threads).map(start_one).collect();
        Self { shared, threads }
    }

    /// How long the open has lasted that has lasted longest of those now waiting, ns.
    pub fn longest_wait(&self) -> u64 {
        let now = now();
        let waits = self.shared.since.iter().map(|since| since.load(Relaxed));
        waits.filter(|since| *since != 0).map(|since| now.saturating_sub(since)).max().unwrap_or(0)
    }

    /// Opens finished so far, by thread.
    pub fn finished(&self) -> Vec<u64> {
        self.shared.finished.iter().map(|count| count.load(Relaxed)).collect()
    }

    /// Stops the threads, each after the open that it is in, and counts what all of them saw.
    ///
    /// # Errors
    ///
    /// If a thread panicked.
    pub fn stop(self) -> Result<Tally> {
        self.shared.stop.store(true, Relaxed);
        let mut sum = Tally::default();
        for thread in self.threads {
            sum.merge(&thread.join().map_err(|_| anyhow!("an opener panicked"))?);
        }
        Ok(sum)
    }
}

fn run<'a>(shared: &Shared, index: usize, targets: impl Iterator<Item = &'a Target>) -> Tally {
    let mut tally = Tally::default();
    for target in targets {
        if shared.stop.load(Relaxed) {
            break;
        }
        shared.since[index].store(now(), Relaxed);
        tally.open(target);
        shared.since[index].store(0, Relaxed);
        shared.finished[index].store(tally.opens(), Relaxed);
    }
    tally
}

/// Opens a file, reads 4 KiB of it if `read`, and closes it; gives the time of all that in ns.
///
/// # Errors
///
/// If it is refused or cannot be read.
pub fn open_once(path: &std::ffi::CStr, read: bool) -> Result<u64> {
    let mut buffer = [0; 4096];
    let start = now();
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if read {
        rustix::io::read(&file, &mut buffer)?;
    }
    drop(file);
    Ok(now() - start)
}
