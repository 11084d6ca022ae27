//! What a machine is for: processes that open files and start programs without pause, and a line some times a second
//! on how they get on.
//!
//! They are processes and not threads: a kernel that oopses ends the one that it happens to, and goes on or does
//! not. Once they run, nothing here opens a file or starts a program but they.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::bait;
use outrigger_testkit::clock::{now, ns, sleep_until, wait_for};
use outrigger_testkit::shared::Shared;
use outrigger_vm_tests::{Beat, beat};
use rustix::time::{ClockId, clock_gettime};

use crate::report::say;

/// The words after which this program is a worker.
pub(crate) const OPENS: &str = "opens";
pub(crate) const STARTS: &str = "starts";

const OPENERS: usize = 3;
const FILES: usize = 200;
/// Between two lines.
const PACE: Duration = Duration::from_millis(200);
/// A program that does nothing, made by the tests.
const PROGRAM: &str = "program";
/// What it ends with.
const DONE: u8 = 0;
/// Numbers that each worker shares.
const NUMBERS: usize = 4;
const GOOD: usize = 0;
const BAD: usize = 1;
const SINCE: usize = 2;
const LONGEST: usize = 3;

/// Workers, and the thread that tells of them.
#[derive(Debug)]
pub(crate) struct Work {
    stop: Arc<AtomicBool>,
    workers: Arc<Mutex<Workers>>,
    teller: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Workers {
    shared: Shared,
    processes: Vec<Child>,
}

impl Work {
    /// Starts them on files of their own below `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        for number in 0..FILES {
            bait::put(&file(folder, number), format!("file {number}\n").as_bytes())?;
        }
        bait::put(&folder.join(PROGRAM), &bait::tiny_program(DONE))?;
        let shared = Shared::open(&folder.join("shared"))?;
        let worker = |role: &str, number: usize| -> Result<Child> {
            let mut command = Command::new(env::current_exe()?);
            command.arg(role).arg(folder).arg(number.to_string()).stdin(Stdio::null());
            command.spawn().context("a worker is started")
        };
        let mut processes: Vec<Child> =
            (0..OPENERS).map(|number| worker(OPENS, number)).collect::<Result<_>>()?;
        processes.push(worker(STARTS, OPENERS)?);
        wait_for("work of every worker", Duration::from_secs(20), || {
            Ok((0..=OPENERS).all(|number| shared.get(number * NUMBERS + GOOD) > 0).then_some(()))
        })?;
        let workers = Workers { shared, processes };
        let (stop, workers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(workers)));
        let teller = {
            let (stop, workers) = (Arc::clone(&stop), Arc::clone(&workers));
            std::thread::spawn(move || {
                while !stop.load(SeqCst) {
                    tell(&workers);
                    sleep_until(now() + ns(PACE));
                }
            })
        };
        Ok(Self { stop, workers, teller: Some(teller) })
    }

    /// Tells of them at once, between two of the lines that come by themselves.
    pub(crate) fn tell(&self) -> Beat {
        tell(&self.workers)
    }

    /// Lets them work for a while.
    pub(crate) fn go_on(&self, time: Duration) {
        sleep_until(now() + ns(time));
    }

    /// Ends them; gives what was told last.
    pub(crate) fn end(mut self) -> Result<Beat> {
        self.stop.store(true, SeqCst);
        let ended = self.teller.take().is_none_or(|teller| teller.join().is_ok());
        ensure!(ended, "the thread that tells of the work panicked");
        let last = self.tell();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in &mut workers.processes {
            let _ = worker.kill();
            let _ = worker.wait();
        }
        Ok(last)
    }
}

fn tell(workers: &Mutex<Workers>) -> Beat {
    let mut workers = workers.lock().unwrap_or_else(PoisonError::into_inner);
    let Workers { shared, processes } = &mut *workers;
    let seen = look(shared, processes);
    if let Ok(line) = beat(&seen) {
        say(line);
    }
    seen
}

fn look(shared: &Shared, workers: &mut [Child]) -> Beat {
    let of = |number: usize, what: usize| shared.get(number * NUMBERS + what);
    let sum = |what: usize| (0..OPENERS).map(|number| of(number, what)).sum();
    let mut is_there = |number: usize| matches!(workers[number].try_wait(), Ok(None));
    let time = clock_gettime(ClockId::Boottime);
    let mut seen = Beat {
        uptime_ms: u64::try_from(time.tv_sec).unwrap_or(0) * 1000
            + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000,
        opens: sum(GOOD),
        failed: sum(BAD),
        openers: OPENERS as u64,
        programs: of(OPENERS, GOOD),
        programs_failed: of(OPENERS, BAD),
        ..Beat::default()
    };
    for number in 0..OPENERS {
        let there = is_there(number);
        seen.alive += u64::from(there);
        // Of one that was ended in the middle nobody waits any more.
        let since = of(number, SINCE);
        let waits = if there && since != 0 { now().saturating_sub(since) } else { 0 };
        seen.longest_ms = seen.longest_ms.max(of(number, LONGEST).max(waits) / 1_000_000);
    }
    seen
}

fn file(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("file{number}"))
}

/// A worker's life: opens the files in turn, or starts the program, and counts.
pub(crate) fn run(role: &str, folder: &Path, number: &str) -> Result<()> {
    let shared = Shared::open(&folder.join("shared"))?;
    let base = number.parse::<usize>()? * NUMBERS;
    let program = folder.join(PROGRAM);
    let files: Vec<PathBuf> = (0..FILES).map(|number| file(folder, number)).collect();
    for file in files.iter().cycle() {
        let start = now();
        shared.set(base + SINCE, start);
        let good = match role {
            OPENS => fs::File::open(file).is_ok(),
            _ => Command::new(&program).status().is_ok_and(|status| status.success()),
        };
        shared.set(base + SINCE, 0);
        let took = now() - start;
        shared.set(base + LONGEST, shared.get(base + LONGEST).max(took));
        shared.at(base + if good { GOOD } else { BAD }).fetch_add(1, SeqCst);
    }
    Ok(())
}
