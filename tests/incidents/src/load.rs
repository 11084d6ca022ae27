//! Eight threads that open files all the time: known ones, new ones, and those that no engine may deny.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use outrigger_testkit::clock::{now, ns, sleep_until};
use outrigger_testkit::openers::{Tally, Target};
use outrigger_testkit::ways::{self, Outcome};

use crate::scenario::Act;

/// Threads.
const THREADS: usize = 8;
/// Pause of each between the begins of two opens.
const GAP: Duration = Duration::from_millis(4);
/// Every so manyth open of a thread is of a file that it has just made, or of one that is guarded.
const NEW_EVERY: u64 = 50;
const GUARDED_EVERY: u64 = 7;
/// New files of a thread; then the first is made anew.
const NEW: u64 = 16;
/// Pause between two rare acts.
const RARELY: Duration = Duration::from_millis(20);

/// What is opened.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// Files that the release before allows.
    pub(crate) clean: Vec<PathBuf>,
    /// Files that no engine may deny.
    pub(crate) guarded: Vec<PathBuf>,
    /// Where new files are made.
    pub(crate) folder: PathBuf,
    /// What is done rarely.
    pub(crate) rare: Option<(Act, PathBuf)>,
}

/// Threads at work.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Seen>>,
}

/// What they and others tell each other while they work.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    stop: AtomicBool,
    /// The rare act is done.
    pub(crate) rare: AtomicBool,
    /// Clean files refused.
    pub(crate) wrong: AtomicU64,
}

/// What the threads saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Opens of clean files.
    pub(crate) clean: Tally,
    /// Opens of guarded files.
    pub(crate) guarded: Tally,
    /// The clean files that were refused.
    pub(crate) refused: BTreeSet<PathBuf>,
}

impl Load {
    /// Starts them.
    pub(crate) fn start(files: Files) -> Self {
        let shared = Arc::new(Shared::default());
        let files = Arc::new(files);
        let opener = |index: usize| {
            let (shared, files) = (Arc::clone(&shared), Arc::clone(&files));
            std::thread::spawn(move || open_all(&shared, &files, index))
        };
        let mut threads: Vec<_> = (0..THREADS).map(opener).collect();
        if let Some((act, path)) = files.rare.clone() {
            let shared = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || act_rarely(&shared, act, &path)));
        }
        Self { shared, threads }
    }

    /// What they tell while they work.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Stops them, each after the open that it is in.
    pub(crate) fn stop(self) -> Result<Seen> {
        self.shared.stop.store(true, SeqCst);
        let mut sum = Seen::default();
        for thread in self.threads {
            let seen = thread.join().map_err(|_| anyhow!("an opener panicked"))?;
            sum.clean.merge(&seen.clean);
            sum.guarded.merge(&seen.guarded);
            sum.refused.extend(seen.refused);
        }
        Ok(sum)
    }
}

impl Seen {
    fn open(&mut self, shared: &Shared, path: &Path, target: &Target) {
        let before = self.clean.wrongly_refused;
        self.clean.open(target);
        if self.clean.wrongly_refused > before {
            self.refused.insert(path.to_owned());
            shared.wrong.fetch_add(1, SeqCst);
        }
    }
}

fn open_all(shared: &Shared, files: &Files, index: usize) -> Seen {
    let mut seen = Seen::default();
    let targets = |paths: &[PathBuf]| paths.iter().map(Target::clean).collect::<Vec<_>>();
    let (clean, guarded) = (targets(&files.clean), targets(&files.guarded));
    // Each begins at another file.
    let mut at = index * clean.len() / THREADS;
    for turn in 1_u64.. {
        if shared.stop.load(SeqCst) {
            break;
        }
        let began = now();
        if turn % NEW_EVERY == 0 {
            let number = turn / NEW_EVERY % NEW;
            let path = files.folder.join(format!("new-{index}-{number}"));
            // A file that cannot be made is seen when it is opened.
            let _ = fs::write(&path, format!("new in turn {turn} of {index}\n"));
            seen.open(shared, &path, &Target::clean(&path));
        } else if turn % GUARDED_EVERY == 0 && !guarded.is_empty() {
            let place = usize::try_from(turn / GUARDED_EVERY).unwrap_or(0) % guarded.len();
            seen.guarded.open(&guarded[place]);
        } else {
            at = (at + 1) % clean.len();
            seen.open(shared, &files.clean[at], &clean[at]);
        }
        sleep_until(began + ns(GAP));
    }
    seen
}

fn act_rarely(shared: &Shared, act: Act, path: &Path) -> Seen {
    let mut seen = Seen::default();
    let target = Target::clean(path);
    while !shared.stop.load(SeqCst) {
        let began = now();
        match act {
            _ if !shared.rare.load(SeqCst) => {}
            Act::Open => seen.open(shared, path, &target),
            Act::Exec => {
                if ways::exec(path) != Outcome::Through {
                    seen.refused.insert(path.to_owned());
                    seen.clean.wrongly_refused += 1;
                    shared.wrong.fetch_add(1, SeqCst);
                }
            }
        }
        sleep_until(began + ns(RARELY));
    }
    seen
}
