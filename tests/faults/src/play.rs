//! One row, played in a world of its own.
//!
//! Two engines are docked and both are required: the hostile one and `hashlist`, which is somebody else's. Openers
//! open clean files at a steady pace all the time, and every open asks both. The fault is caused once. From then
//! on every open counts, until an open is quick again.
//!
//! What the fault does to the other engine is measured as what an open takes that waits for it. A second platform
//! beside the first, with the same engines, the same load and no fault, is measured in turns with it, before and
//! after: what changes on both is the machine. Where the fault takes the hostile engine off the dock, the second
//! platform's is taken off as well, so that both ask as many engines.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::{EngineAction, EngineState};
use outrigger_testkit::clock::{as_ms, now, sleep_until, wait_for};
use outrigger_testkit::openers::{Tally, Target as File};
use outrigger_testkit::ways::{self, Outcome as Way};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, Volume, bait, host, stall};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::load::{Compared, Pacers};
use crate::outcome::{Outcome, P99};
use crate::row::{Cause, Ends, HOSTILE, Row, Witness};
use crate::seen::{Counts, OTHER, Tail, new};
use crate::settings::{Compare, Settings};

/// Longest wait for something that must come about.
const PATIENCE: Duration = Duration::from_secs(30);
/// Files that are opened.
const FILES: usize = 500;
/// Threads that open them.
const THREADS: usize = 3;
/// What an open behind a host that is gone waits beyond its budget, ms: until the gate is sure, and has answered.
const GATE_MS: f64 = 150.0;
/// What the catastrophic pattern is found in.
const CATASTROPHE: &str = "CATASTROPHE";

/// A platform with its files and its load.
struct Side {
    host: Host,
    files: Vec<PathBuf>,
    pacers: Pacers,
}

impl Side {
    fn start(lab: &Lab, volume: &Volume, row: &Row, settings: &Settings) -> Result<Self> {
        let files = volume.fill(FILES, 256)?;
        let hang_ms = settings.hang_ms();
        let setup = Setup::protecting(volume.path())
            .budget_ms(settings.budget_ms)
            .uncached()
            .without_quarantined()
            .engine(EngineSetup::hashlist().hang_ms(hang_ms.max(2000)))
            .engine(row.engine(hang_ms));
        let host = lab.start(&setup)?;
        let pacers = Pacers::start(THREADS, &files, settings.gap());
        Ok(Self { host, files, pacers })
    }
}

/// Plays `row`.
pub(crate) fn play(lab: &Lab, row: &Row, settings: &Settings) -> Result<Outcome> {
    let mut outcome = Outcome { fault: row.fault.to_owned(), ..Outcome::default() };
    let control = match settings.p99 {
        Compare::Skip => None,
        Compare::Hold | Compare::Report => {
            Some(Side::start(lab, &lab.tmpfs("beside")?, row, settings)?)
        }
    };
    let volume = lab.tmpfs("protected")?;
    let eicar = volume.put("eicar.com", &bait::eicar())?;
    let target = match Target::prepare(row, &volume)? {
        Ok(target) => target,
        Err(why) => return Ok(Outcome { skipped: Some(why), ..outcome }),
    };
    let side = Side::start(lab, &volume, row, settings)?;
    let host = &side.host;
    ensure!(ways::open(&eicar) == Way::Refused, "the bad file is not refused before the fault");
    let before = control.as_ref().map(|control| compare(&side, control, settings)).transpose()?;

    let counts = Counts::of(host)?;
    let mut tail = Tail::of(host);
    let fault = Fault { row, host, settings, target: &target, counts: &counts };
    fault.lead_up()?;
    side.pacers.mark();
    let caused = now();
    let watched = fault.cause()?;
    if row.by != Witness::Nobody {
        wait_for(&format!("{:?} in the journal", row.says), PATIENCE, || {
            Ok(tail.says(row.says)?.then_some(()))
        })?;
    }
    outcome.noticed_by = row.by.name().to_owned();
    outcome.noticed_ms = as_ms(now() - caused);
    fault.wait_end()?;
    fault.wait_quick(&side.files)?;
    outcome.ended = row.ends.name().to_owned();
    outcome.ended_ms = as_ms(now() - caused);
    let watched = watched.map(Pacers::stop).transpose()?;

    if let (Some(control), Some(before)) = (&control, before) {
        if row.ends == Ends::Quarantined {
            control.host.engine_action(HOSTILE, EngineAction::Quarantine)?;
            control.host.wait_engine(HOSTILE, EngineState::Quarantined, PATIENCE)?;
        }
        settle();
        outcome.p99 = Some(P99::new(&before, &compare(&side, control, settings)?));
    }
    let Side { host, pacers, .. } = side;
    let mut tally = pacers.stop()?;
    watched.iter().for_each(|seen| tally.merge(seen));
    if ways::open(&eicar) != Way::Refused {
        outcome.wrong.push("the other engine's bad file is not refused after it".to_owned());
    }
    let after = Counts::of(&host)?;
    judge(&mut outcome, row, settings, [&counts, &after], &tally);
    host.end()?;
    if let Some(control) = control {
        control.pacers.stop()?;
        control.host.end()?;
    }
    Ok(outcome)
}

/// What is acted on, besides the files that are opened all the time.
#[derive(Debug, Default)]
struct Target {
    /// A program to execute, a file that a pattern is catastrophic on, or one that must not be denied.
    path: PathBuf,
}

impl Target {
    /// Makes it; or why it cannot be had here.
    fn prepare(row: &Row, volume: &Volume) -> Result<Result<Self, String>> {
        let path = match row.cause {
            Cause::TellThenExec(_) => volume.put("program", &bait::tiny_program(0))?,
            Cause::Catastrophe => volume.put("pattern", CATASTROPHE.as_bytes())?,
            Cause::Deny(victim) => {
                let Some(path) = victim.bring(volume)? else {
                    return Ok(Err(format!("this machine has no file for {victim:?}")));
                };
                path
            }
            Cause::Nothing | Cause::Tell(_) | Cause::Signal(_) | Cause::Platform(..) => {
                PathBuf::new()
            }
        };
        Ok(Ok(Self { path }))
    }
}

/// A fault that is about to be caused.
struct Fault<'a> {
    row: &'a Row,
    host: &'a Host,
    settings: &'a Settings,
    target: &'a Target,
    counts: &'a Counts,
}

impl Fault<'_> {
    /// What has to be told before, and does nothing by itself.
    fn lead_up(&self) -> Result<()> {
        let words = match self.row.cause {
            Cause::TellThenExec(words) => words.to_owned(),
            Cause::Catastrophe => format!("burn-on {CATASTROPHE}"),
            Cause::Deny(_) => format!("deny-path {}", self.target.path.display()),
            Cause::Nothing | Cause::Tell(_) | Cause::Signal(_) | Cause::Platform(..) => {
                return Ok(());
            }
        };
        self.host.behave(HOSTILE, &words).map(drop)
    }

    /// Causes it; gives an opener of a file of its own, where the fault needs one.
    fn cause(&self) -> Result<Option<Pacers>> {
        match self.row.cause {
            Cause::Nothing => self.host.behave(HOSTILE, "allow").map(drop)?,
            Cause::Tell(words) => {
                let twice = (self.settings.budget_ms * 2).to_string();
                self.host.tell(HOSTILE, &words.replace("TWICE", &twice))?;
            }
            Cause::TellThenExec(_) => {
                let through = ways::exec(&self.target.path);
                ensure!(through == Way::Through, "the program: {through:?}");
            }
            Cause::Catastrophe => {
                let files = [self.target.path.clone()];
                let opener = Pacers::start(1, &files, self.settings.gap());
                opener.mark();
                return Ok(Some(opener));
            }
            Cause::Deny(_) => {
                let through = ways::open(&self.target.path);
                ensure!(through == Way::Through, "the file that is guarded: {through:?}");
            }
            Cause::Signal(signal) => {
                let pid = self.counts.hostile.pid.context("the engine has a process")?;
                host::send(pid, signal)?;
            }
            Cause::Platform(part, signal) => {
                let old = self.host.signal(part, signal)?;
                if self.row.ends == Ends::NewHost {
                    self.host.wait_successor(old, PATIENCE)?;
                }
            }
        }
        Ok(None)
    }

    /// Waits until it has ended as it must.
    fn wait_end(&self) -> Result<()> {
        wait_for(self.row.ends.name(), PATIENCE, || {
            let now = Counts::of(self.host)?;
            let docked = now.hostile.state == EngineState::Docked;
            let ended = match self.row.ends {
                Ends::GoesOn => docked && now.hostile.starts == self.counts.hostile.starts,
                Ends::Restarted => docked && now.hostile.starts > self.counts.hostile.starts,
                Ends::Quarantined => now.hostile.state == EngineState::Quarantined,
                Ends::NotAskedAgain => docked && now.hostile.poisoned_objects == 1,
                Ends::NewHost => docked && now.other.state == EngineState::Docked,
                Ends::NewGate => now.gate_starts > self.counts.gate_starts,
            };
            Ok(ended.then_some(()))
        })
    }

    /// Waits until nobody waits any more.
    fn wait_quick(&self, files: &[PathBuf]) -> Result<()> {
        let mut files = files.iter().cycle();
        let half = f64::from(self.settings.budget_ms) / 2.0;
        wait_for("a quick open", PATIENCE, || {
            let mut tally = Tally::default();
            let file: &Path = files.next().context("there are files")?;
            tally.open(&File::clean(file));
            Ok((as_ms(tally.waits.max()) < half).then_some(()))
        })
    }
}

/// While both are measured, what measures is the load: opens without pause. It, the hosts and the engines are confined
/// to one processor meanwhile, as the bench confines them: a wake-up across processors varies more than what is looked for.
fn compare(side: &Side, control: &Side, settings: &Settings) -> Result<Compared> {
    let sides = [side, control];
    let all = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|processor| all.is_set(*processor)).unwrap_or(0));
    let rest = |rest: bool| sides.iter().for_each(|side| side.pacers.rest(rest));
    rest(true);
    let compared = confine(sides, &one)
        .and_then(|()| Compared::measure([&side.files, &control.files], settings.window()));
    confine(sides, &all)?;
    rest(false);
    compared
}

/// Lets this thread, and the hosts and engines of both platforms, run on these processors alone.
fn confine(sides: [&Side; 2], processors: &CpuSet) -> Result<()> {
    sched_setaffinity(None, processors)?;
    for side in sides {
        let status = side.host.status()?;
        let engines = status.engines.iter().filter_map(|engine| engine.pid);
        for pid in engines.chain([status.pids.host]) {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let task = task?.file_name();
                let task: i32 = task.to_string_lossy().parse().context("a task has a number")?;
                // One that has ended meanwhile needs no processor.
                let _ = sched_setaffinity(Pid::from_raw(task), processors);
            }
        }
    }
    Ok(())
}

/// What a restart leaves to do (pages to fault in, a journal to write) is done by then.
fn settle() {
    sleep_until(now() + 100_000_000);
}

fn judge(
    outcome: &mut Outcome,
    row: &Row,
    settings: &Settings,
    [before, after]: [&Counts; 2],
    tally: &Tally,
) {
    outcome.faults = new(&before.faults, &after.faults);
    outcome.fallbacks = new(&before.fallbacks, &after.fallbacks);
    outcome.conflicts = after.conflicts - before.conflicts;
    outcome.would_deny = after.would_deny - before.would_deny;
    outcome.judge_counts(row);

    outcome.opens = tally.opens();
    if tally.served != tally.opens() {
        let (refused, failed) = (tally.wrongly_refused, tally.failed);
        outcome.wrong.push(format!("{refused} clean files were refused, {failed} opens failed"));
    }
    outcome.longest_ms = as_ms(tally.waits.max());
    let gate = if row.ends == Ends::NewHost { GATE_MS } else { 0.0 };
    outcome.allowed_ms = f64::from(settings.budget_ms + settings.slack_ms) + gate;
    let stood_still = stall::longest_ms();
    if outcome.longest_ms > outcome.allowed_ms + stood_still {
        let longest = outcome.longest_ms;
        outcome.late.push(format!(
            "an open waited {longest:.1} ms, and the machine stood still for {stood_still:.1} ms"
        ));
    }
    // Another host has other books.
    let starts = if row.ends == Ends::NewHost { 1 } else { before.other.starts };
    if after.other.starts != starts || !after.other.faults.is_empty() {
        let faults = &after.other.faults;
        outcome.wrong.push(format!("{OTHER}: {} starts, faults {faults:?}", after.other.starts));
    }
    if after.other.misses > 0 {
        outcome.late.push(format!("{OTHER} missed {} deadlines", after.other.misses));
    }
    if settings.p99 == Compare::Hold {
        outcome.judge_p99();
    }
}
