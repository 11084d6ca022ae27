//! Fills the disk as each of a program's system calls begins.

use std::fmt;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::trace::{Fate, Run, Tracer};
use crate::{Effort, Scenario, tree, turns};

/// What a program says, in whatever sentence, when there is no room.
pub const MESSAGE: &str = "the disk is full";

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// System calls that the program makes.
    pub calls: u64,
    /// At how many of them the disk became full.
    pub tried: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk full from {} of {} system calls on", self.tried, self.calls)
    }
}

/// From each of its system calls on, refuses the scenario's program whatever takes room in the folder. It must end well
/// or say that the disk is full; and there is room again when the folder is checked.
///
/// # Errors
///
/// The first time that this does not hold, with its number.
pub fn everywhere(scenario: &dyn Scenario, effort: &Effort) -> Result<Report> {
    let prepared = tree::scratch()?;
    scenario.prepare(prepared.path()).context("cannot prepare the folder")?;
    let calls = from(scenario, &prepared, Fate::Spared)?.calls;
    let fill = |number| from(scenario, &prepared, Fate::FullFrom(number)).map(drop);
    Ok(Report { calls, tried: turns::each(calls, effort, &fill)? })
}

fn from(scenario: &dyn Scenario, prepared: &TempDir, fate: Fate) -> Result<Run> {
    let place = tree::scratch()?;
    tree::copy(prepared.path(), place.path())?;
    let mut tracer = Tracer::noting(place.path())?;
    let run = tracer.run(&mut scenario.command(place.path()), fate)?;
    let told = run.refused > 0 && run.complained.contains(MESSAGE);
    ensure!(
        run.code == Some(0) || told,
        "{fate:?}: it ended with {:?}, {} calls were refused, and it said: {}",
        run.code,
        run.refused,
        run.complained
    );
    scenario.check(place.path(), &run.said).with_context(|| format!("{fate:?}"))?;
    Ok(run)
}
