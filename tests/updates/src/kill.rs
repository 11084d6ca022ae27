//! Kills a program as each of its system calls begins.

use std::fmt;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::trace::{Fate, Run, Tracer};
use crate::{Effort, Scenario, tree, turns};

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// System calls that the program makes.
    pub calls: u64,
    /// How many of them it was killed at.
    pub kills: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kills at {} system calls", self.kills, self.calls)
    }
}

/// Kills the scenario's program at its system calls, and checks what each kill left.
///
/// # Errors
///
/// The first kill after which the check does not hold, with its number.
pub fn everywhere(scenario: &dyn Scenario, effort: &Effort) -> Result<Report> {
    let prepared = tree::scratch()?;
    scenario.prepare(prepared.path()).context("cannot prepare the folder")?;
    let calls = at(scenario, &prepared, Fate::Spared)?.calls;
    let kill = |number| at(scenario, &prepared, Fate::KilledAt(number)).map(drop);
    Ok(Report { calls, kills: turns::each(calls, effort, &kill)? })
}

fn at(scenario: &dyn Scenario, prepared: &TempDir, fate: Fate) -> Result<Run> {
    let place = tree::scratch()?;
    tree::copy(prepared.path(), place.path())?;
    let run = Tracer::counting().run(&mut scenario.command(place.path()), fate)?;
    // One whose end came before that call, by chance, has done all of it.
    ensure!(
        run.code.is_none_or(|code| code == 0),
        "it did not end well: {}{}",
        run.said,
        run.complained
    );
    scenario.check(place.path(), &run.said).with_context(|| format!("{fate:?}"))?;
    Ok(run)
}
