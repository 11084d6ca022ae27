//! Cuts the power at every change that a program makes, and looks at what may be on the disk then.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, ensure};

use crate::chance::Chance;
use crate::disk::{self, Choice, Disk};
use crate::log::{Log, Op};
use crate::trace::{Fate, Run, Tracer};
use crate::{Effort, Scenario, tree};

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Places where the power was cut: before the first change, between two, after the last.
    pub cuts: usize,
    /// States of the disk that were made.
    pub states: usize,
    /// Of these, those that differed from each other or in what the program had said; each was checked.
    pub checked: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, states, checked } = self;
        write!(
            f,
            "{cuts} power cuts, {states} states of the disk, {checked} different ones checked"
        )
    }
}

/// Which of the changes that may be lost are there, of one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// All but this one.
    AllBut(usize),
    /// This one.
    Only(usize),
    /// As chance has it; writes are torn.
    Random(u32),
}

/// A state being made, and what was left out of it.
struct Chosen {
    luck: Luck,
    chance: Chance,
    /// How likely a change is there, in hundredths.
    likely: u64,
    lost: Vec<usize>,
}

impl Chosen {
    fn new(luck: Luck, cut: usize, seed: u64) -> Self {
        let number = if let Luck::Random(number) = luck { u64::from(number) } else { 0 };
        let mut chance = Chance::new(seed ^ (cut as u64) << 32 ^ number << 8);
        let likely = [15, 50, 85][(chance.next() % 3) as usize];
        Self { luck, chance, likely, lost: Vec::new() }
    }

    fn there(&mut self, index: usize) -> bool {
        let there = match self.luck {
            Luck::Nothing => false,
            Luck::Everything => true,
            Luck::AllBut(lost) => index != lost,
            Luck::Only(kept) => index == kept,
            Luck::Random(_) => self.chance.holds(self.likely),
        };
        if !there && self.lost.last() != Some(&index) {
            self.lost.push(index);
        }
        there
    }
}

impl Choice for Chosen {
    fn op(&mut self, index: usize) -> bool {
        self.there(index)
    }

    fn sector(&mut self, index: usize) -> bool {
        self.there(index)
    }
}

/// Runs the scenario's program once, and checks what each cut may leave.
///
/// # Errors
///
/// The first state that does not hold, with seed, cut, state, and what was lost.
pub fn explore(scenario: &dyn Scenario, effort: &Effort) -> Result<Report> {
    each_cut(scenario, effort, &record(scenario)?, &Seen::default())
}

/// Kills the scenario's program just before it would make something durable, runs it again, and checks what each cut
/// may leave, during either of the two: what the killed one did is there for the other one to see and to build upon,
/// and may still be lost.
///
/// # Errors
///
/// As [`explore`], and where it was killed.
pub fn explore_after_kills(scenario: &dyn Scenario, effort: &Effort) -> Result<Report> {
    let syncs = run(scenario, &[Fate::Spared])?.1.syncs;
    let mut all = Report { cuts: 0, states: 0, checked: 0 };
    let seen = Seen::default();
    // There are many runs, which have most of their states in common.
    let each = Effort { singles: false, random: effort.random.div_ceil(8), ..*effort };
    let step = syncs.div_ceil(effort.kills_before_cuts.clamp(1, syncs.max(1))).max(1);
    for sync in (1 + effort.seed % step..=syncs).step_by(usize::try_from(step)?) {
        let report = after_kill(scenario, &each, sync, &seen)?;
        all.cuts += report.cuts;
        all.states += report.states;
        all.checked += report.checked;
    }
    Ok(all)
}

/// The same for one kill: before the change number `sync` that would make something durable, from 1.
///
/// # Errors
///
/// As [`explore_after_kills`].
pub fn explore_after_kill(scenario: &dyn Scenario, effort: &Effort, sync: u64) -> Result<Report> {
    after_kill(scenario, effort, sync, &Seen::default())
}

fn after_kill(scenario: &dyn Scenario, effort: &Effort, sync: u64, seen: &Seen) -> Result<Report> {
    let fate = Fate::KilledAtSync(sync);
    run(scenario, &[fate, Fate::Spared])
        .and_then(|(log, _)| each_cut(scenario, effort, &log, seen))
        .with_context(|| format!("after {fate:?} and another run"))
}

/// What was checked already: disks, and what had been said.
type Seen = Mutex<HashSet<(u64, String)>>;

fn each_cut(scenario: &dyn Scenario, effort: &Effort, log: &Log, seen: &Seen) -> Result<Report> {
    let [next, made, states, checked] = [const { AtomicUsize::new(0) }; 4];
    let failure = Mutex::new(None);
    let cuts = log.ops.len() + 1;
    let every = effort.cut_every.max(1);
    let look = || -> Result<()> {
        loop {
            let cut = next.fetch_add(1, Ordering::Relaxed);
            if cut >= cuts || locked(&failure).is_some() {
                return Ok(());
            }
            if cut % every != 0 && cut + 1 != cuts {
                continue;
            }
            made.fetch_add(1, Ordering::Relaxed);
            let durable = disk::durable(log, cut);
            for luck in lucks(&durable, effort) {
                let mut chosen = Chosen::new(luck, cut, effort.seed);
                let mut disk = Disk::before(log);
                disk.apply(&durable, &mut chosen);
                states.fetch_add(1, Ordering::Relaxed);
                let said = log.said(cut);
                if !locked(seen).insert((disk.fingerprint(), said.clone())) {
                    continue;
                }
                checked.fetch_add(1, Ordering::Relaxed);
                let place = tree::scratch()?;
                disk.write_out(place.path())?;
                scenario.check(place.path(), &said).map_err(|error| {
                    error.context(story(log, cut, luck, &chosen.lost, effort.seed))
                })?;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..effort.threads.max(1) {
            scope.spawn(|| {
                if let Err(error) = look() {
                    locked(&failure).get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = locked(&failure).take() {
        return Err(error);
    }
    let [cuts, states, checked] = [made, states, checked].map(AtomicUsize::into_inner);
    Ok(Report { cuts, states, checked })
}

/// Runs the scenario's program to its end, and gives what it did.
///
/// # Errors
///
/// If it does not end well, or does what the model does not know.
pub fn record(scenario: &dyn Scenario) -> Result<Log> {
    Ok(run(scenario, &[Fate::Spared])?.0)
}

/// Runs the scenario's program once for each fate, and gives what they did, and the last run.
fn run(scenario: &dyn Scenario, fates: &[Fate]) -> Result<(Log, Run)> {
    let place = tree::scratch()?;
    scenario.prepare(place.path()).context("cannot prepare the folder")?;
    let mut tracer = Tracer::noting(place.path())?;
    let mut last = None;
    for &fate in fates {
        let run = tracer.run(&mut scenario.command(place.path()), fate)?;
        let well = run.code == Some(0) || fate != Fate::Spared;
        ensure!(well, "it did not end well ({:?}): {}", run.code, run.complained);
        last = Some(run);
    }
    let log = tracer.into_log();
    let changes = log.ops.iter().filter(|op| !matches!(op, Op::Said(_))).count();
    ensure!(changes > 0, "it changed nothing in the folder, so nothing can be said of it");
    Ok((log, last.context("nothing was run")?))
}

fn lucks(durable: &[bool], effort: &Effort) -> Vec<Luck> {
    let mut lucks = vec![Luck::Everything];
    let open: Vec<usize> = (0..durable.len()).filter(|&index| !durable[index]).collect();
    if open.is_empty() {
        return lucks;
    }
    lucks.push(Luck::Nothing);
    if effort.singles && open.len() > 1 {
        lucks.extend(open.iter().map(|&index| Luck::AllBut(index)));
        lucks.extend(open.iter().map(|&index| Luck::Only(index)));
    }
    lucks.extend((0..effort.random).map(Luck::Random));
    lucks
}

fn story(log: &Log, cut: usize, luck: Luck, lost: &[usize], seed: u64) -> anyhow::Error {
    let last = cut.checked_sub(1).map_or_else(|| "nothing".to_owned(), |last| log.describe(last));
    let lost: Vec<String> =
        lost.iter().map(|&index| format!("  {}", log.describe(index))).collect();
    anyhow!(
        "seed {seed}, cut {cut} (after {last}), state {luck:?}; lost or torn:\n{}",
        if lost.is_empty() { "  nothing".to_owned() } else { lost.join("\n") }
    )
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
