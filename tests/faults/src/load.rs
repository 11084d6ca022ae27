//! The load that goes on all the time, and the measurement of what an open takes.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use outrigger_testkit::clock::{now, ns, sleep_until};
use outrigger_testkit::openers::{Tally, Target, open_once};

/// Opens of one side before the other has its turn.
const OPENS: usize = 300;

/// Threads that open files at a steady pace.
#[derive(Debug)]
pub(crate) struct Pacers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Tally>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// They are to open nothing for now.
    rest: AtomicBool,
    /// Opens that began before this do not count; the largest number until it is marked.
    from: AtomicU64,
}

impl Pacers {
    /// Starts `threads` threads, each of which opens one of `files` after another, at most one every `gap`.
    pub(crate) fn start(threads: usize, files: &[PathBuf], gap: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        shared.from.store(u64::MAX, SeqCst);
        let targets: Arc<[Target]> = files.iter().map(Target::clean).collect();
        let start_one = |index: usize| {
            let (shared, targets) = (Arc::clone(&shared), Arc::clone(&targets));
            std::thread::spawn(move || {
                let first = index * targets.len() / threads;
                pace(&shared, targets.iter().cycle().skip(first), gap)
            })
        };
        let threads = (0..threads).map(start_one).collect();
        Self { shared, threads }
    }

    /// Has opens count from now on.
    pub(crate) fn mark(&self) {
        self.shared.from.store(now(), SeqCst);
    }

    /// Has them rest, or go on.
    pub(crate) fn rest(&self, rest: bool) {
        self.shared.rest.store(rest, SeqCst);
    }

    /// Stops them, each after the open that it is in; gives what they saw since the mark.
    ///
    /// # Errors
    ///
    /// If one panicked.
    pub(crate) fn stop(self) -> Result<Tally> {
        self.shared.stop.store(true, SeqCst);
        let mut sum = Tally::default();
        for thread in self.threads {
            sum.merge(&thread.join().map_err(|_| anyhow!("an opener panicked"))?);
        }
        Ok(sum)
    }
}

fn pace<'a>(shared: &Shared, targets: impl Iterator<Item = &'a Target>, gap: Duration) -> Tally {
    let mut tally = Tally::default();
    let mut counts = false;
    for target in targets {
        if shared.stop.load(SeqCst) {
            break;
        }
        let began = now();
        if shared.rest.load(SeqCst) {
            sleep_until(began + ns(gap));
            continue;
        }
        if !counts && shared.from.load(SeqCst) <= began {
            (tally, counts) = (Tally::default(), true);
        }
        tally.open(target);
        sleep_until(began + ns(gap));
    }
    if counts { tally } else { Tally::default() }
}

/// What 99 of 100 opens took at most, of two sides that were measured in turns.
#[derive(Debug)]
pub(crate) struct Compared {
    /// A turn's p99 on each side, ns; as many turns as there was time for.
    turns: Vec<[u64; 2]>,
}

impl Compared {
    /// Opens the files of each side in turns, [`OPENS`] at a time, for `time` together. So whatever the machine does
    /// meanwhile it does to both.
    ///
    /// # Errors
    ///
    /// If an open fails.
    pub(crate) fn measure(sides: [&[PathBuf]; 2], time: Duration) -> Result<Self> {
        let paths = |side: &[PathBuf]| -> Result<Vec<CString>> {
            side.iter().map(|path| Ok(CString::new(path.as_os_str().as_bytes())?)).collect()
        };
        let sides = [paths(sides[0])?, paths(sides[1])?];
        let mut files = sides.each_ref().map(|side| side.iter().cycle());
        let mut turn = |side: usize| -> Result<u64> {
            let mut waits = Vec::with_capacity(OPENS);
            for path in files[side].by_ref().take(OPENS) {
                waits.push(open_once(path, false)?);
            }
            waits.sort_unstable();
            Ok(waits.get(OPENS - 1 - OPENS / 100).copied().unwrap_or(0))
        };
        let end = now() + ns(time);
        let mut turns = Vec::new();
        while now() < end {
            turns.push([turn(0)?, turn(1)?]);
        }
        Ok(Self { turns })
    }

    /// The middle of the turns' p99 on each side, ns.
    pub(crate) fn p99(&self) -> [u64; 2] {
        [0, 1].map(|side| {
            let mut turns: Vec<u64> = self.turns.iter().map(|turn| turn[side]).collect();
            turns.sort_unstable();
            turns.get(turns.len() / 2).copied().unwrap_or(0)
        })
    }

    /// The middle of the turns' ratios of the first side to the second, and its standard error. The middle, since a
    /// turn in which the machine did something else says nothing.
    #[expect(clippy::cast_precision_loss, reason = "durations and counts, all small")]
    pub(crate) fn ratio(&self) -> (f64, f64) {
        let ratio = |[first, second]: &[u64; 2]| *first as f64 / (*second).max(1) as f64;
        let ratios: Vec<f64> = self.turns.iter().map(ratio).collect();
        let middle = median(ratios.clone());
        // Of a normal spread, 1.48 times the middle deviation is the standard one, and the middle of n values
        // varies 1.25 times as much as their mean.
        let deviation = median(ratios.iter().map(|ratio| (ratio - middle).abs()).collect());
        (middle, 1.25 * 1.48 * deviation / (ratios.len().max(1) as f64).sqrt())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_the_machine_in_few_turns_changes_no_ratio() {
        let mut turns = vec![[20_000, 10_000]; 9];
        turns.push([9_000_000, 10_000]);

        let (ratio, error) = Compared { turns }.ratio();

        assert!((ratio - 2.0).abs() < 1e-9 && error < 1e-9, "{ratio} ± {error}");
    }

    #[test]
    fn turns_that_spread_have_an_error() {
        let turns = (0..100).map(|at| [10_000 + at * 100, 10_000]).collect();

        let (ratio, error) = Compared { turns }.ratio();

        assert!((ratio - 1.5).abs() < 1e-9 && (0.04..0.06).contains(&error), "{ratio} ± {error}");
    }
}
