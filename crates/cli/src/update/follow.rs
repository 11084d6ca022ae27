//! Looks on while the host tries releases, until the journal says how it ended.
//!
//! The trial is the host's: it goes on when this command is interrupted or dies. What is told of each step is what
//! the journal says; what is told meanwhile is what the host says of the trial.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use outrigger_api::EngineName;
use outrigger_api::control::Trial;
use outrigger_api::release::{Part, State};
use outrigger_update::store::{Reader, ReleaseId, Store, StoreError, Transition};
use semver::Version;
use serde::Serialize;
use signal_hook::consts::SIGINT;

use super::{Site, host};
use crate::show::trials;
use crate::steps::{Step, Steps};

/// How often the host is asked.
const GLANCE: Duration = Duration::from_millis(200);
/// How often a line of JSON tells how it goes.
const LINE: Duration = Duration::from_secs(1);
/// How many times in a row the host may neither have the trial nor have written how it ended: it may be starting
/// again.
const GRACE: u32 = 100;
/// What is said where nobody goes on with a trial.
const LOST: &str = "no host goes on with it now; it begins anew when one docks the engine, see outrigger update status";
/// What is said to a person who has seen enough.
const INTERRUPTED: &str = "goes on in the host; see outrigger update status";

/// A release on its trial.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    pub(super) part: Part,
    pub(super) release: ReleaseId,
    pub(super) version: Version,
}

impl Tried {
    pub(super) fn new(part: Part, release: ReleaseId, version: Version) -> Self {
        Self { part, release, version }
    }
}

/// How looking on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Each release is active.
    Well,
    /// Not each of them is.
    Badly,
    /// The trial was left before its end.
    Left,
}

/// A line that tells how a trial goes.
#[derive(Serialize)]
struct Going<'a> {
    trial: &'a Trial,
}

/// Looks on until each of `tried`, releases of `engine`, is active or is not.
pub(super) fn to_the_end(
    site: &Site<'_>,
    engine: &EngineName,
    tried: &[Tried],
    steps: &mut Steps<'_>,
) -> Result<Ended> {
    let mut host = Live { site, interrupted: Arc::new(AtomicBool::new(false)) };
    let hook = signal_hook::flag::register(SIGINT, Arc::clone(&host.interrupted))?;
    let told = Told::begin(&site.config.state_dir, engine, tried);
    let outcome = told.and_then(|mut told| told.look_on(&mut host, steps));
    signal_hook::low_level::unregister(hook);
    outcome
}

/// Who is looked at.
trait Watched {
    /// The trials under way; none if nobody tells.
    fn trials(&mut self) -> Vec<Trial>;
    /// Waits for the next look; whether the person wants no more of them.
    fn wait(&mut self) -> bool;
}

/// The host.
struct Live<'a> {
    site: &'a Site<'a>,
    interrupted: Arc<AtomicBool>,
}

impl Watched for Live<'_> {
    fn trials(&mut self) -> Vec<Trial> {
        // One that does not answer may just be replaced: the journal and the next look tell.
        host::trials(self.site).ok().flatten().unwrap_or_default()
    }

    fn wait(&mut self) -> bool {
        // The host tells when it is asked, and not by itself.
        thread::sleep(GLANCE);
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// How far a trial was told.
struct Told<'a> {
    state_dir: &'a Path,
    engine: &'a EngineName,
    tried: &'a [Tried],
    /// The journal's rows of each of `tried` that were told, or were there before.
    rows: Vec<usize>,
    /// What the host said last.
    last: Option<Trial>,
}

impl<'a> Told<'a> {
    fn begin(state_dir: &'a Path, engine: &'a EngineName, tried: &'a [Tried]) -> Result<Self> {
        let reader = Store::open_read(state_dir)?;
        let mut rows = Vec::with_capacity(tried.len());
        for one in tried {
            let story = reader.release(one.release)?.transitions;
            let begun = story.iter().rposition(|step| step.to == State::Shadow);
            rows.push(begun.map_or(story.len(), |at| at + 1));
        }
        Ok(Self { state_dir, engine, tried, rows, last: None })
    }

    fn look_on(&mut self, host: &mut impl Watched, steps: &mut Steps<'_>) -> Result<Ended> {
        let (mut lost, mut line) = (0, None::<Instant>);
        let mut seen = None;
        loop {
            let trial = host.trials().into_iter().find(|trial| trial.engine == *self.engine);
            let state = trial.as_ref().map(|trial| trial.state);
            if (state != seen || trial.is_none())
                && let Some(ended) = self.tell_journal(steps)?
            {
                return Ok(ended);
            }
            seen = state;
            lost = if trial.is_none() { lost + 1 } else { 0 };
            if lost > GRACE {
                return self.left(steps, LOST);
            }
            if let Some(trial) = trial {
                if steps.is_json() && line.is_none_or(|line| line.elapsed() >= LINE) {
                    line = Some(Instant::now());
                    steps.line(&Going { trial: &trial })?;
                }
                steps.span(&trials::brief(&trial), trial.served_ms, trial.length_ms);
                self.last = Some(trial);
            }
            if host.wait() {
                return self.left(steps, INTERRUPTED);
            }
        }
    }

    /// Tells what the journal says that was not told; how it ended, if it did.
    fn tell_journal(&mut self, steps: &mut Steps<'_>) -> Result<Option<Ended>> {
        let reader = Store::open_read(self.state_dir)?;
        let (mut ended, mut good) = (true, true);
        for (one, told) in self.tried.iter().zip(&mut self.rows) {
            let release = reader.release(one.release)?;
            let of = format!("{} {} {}", self.engine, one.part, one.version);
            for step in release.transitions.iter().skip(*told) {
                let after = back_to(&reader, self.engine, one.part, step)?;
                tell(&of, step, &after, steps)?;
                if step.to == State::Rejected && step.from == Some(State::Shadow) {
                    differences(self.last.take().as_ref(), steps)?;
                }
            }
            *told = release.transitions.len();
            good &= matches!(release.state, State::Active | State::Retired);
            ended &= matches!(release.state, State::Active | State::Retired | State::Rejected);
        }
        Ok(ended.then_some(if good { Ended::Well } else { Ended::Badly }))
    }

    fn left(&self, steps: &mut Steps<'_>, detail: &str) -> Result<Ended> {
        for one in self.tried {
            let of = format!("{} {} {}", self.engine, one.part, one.version);
            steps.done(&Step { step: "left", of: &of, good: false, detail })?;
        }
        Ok(Ended::Left)
    }
}

/// What decides again after `step`, if that ended a probation badly.
fn back_to(
    reader: &Reader,
    engine: &EngineName,
    part: Part,
    step: &Transition,
) -> Result<String, StoreError> {
    if (step.from, step.to) != (Some(State::Probation), State::Rejected) {
        return Ok(String::new());
    }
    Ok(match reader.active(engine, part)? {
        Some(active) => format!("; {part} {} decides again", active.version),
        None => format!("; no {part} is in force"),
    })
}

fn tell(of: &str, step: &Transition, after: &str, steps: &mut Steps<'_>) -> Result<()> {
    if step.note.is_some() {
        return Ok(());
    }
    let reason = step.reason.as_ref().map(|reason| format!("{reason}: ")).unwrap_or_default();
    let detail = format!("{reason}{}{after}", step.detail);
    let good = step.to != State::Rejected;
    Ok(steps.done(&Step { step: step.to.name(), of, good, detail: &detail })?)
}

/// Where the release differed, as the host said last.
fn differences(last: Option<&Trial>, steps: &mut Steps<'_>) -> Result<()> {
    let Some(last) = last else { return Ok(()) };
    if steps.is_json() {
        return Ok(steps.line(&Going { trial: last })?);
    }
    Ok(steps.text(&trials::differences(last))?)
}

#[cfg(test)]
mod tests;
