//! Kills a program as each of its system calls begins.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Effort, Scenario, trace, tree};

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
    let whole = at(scenario, &prepared, u64::MAX)?;
    ensure!(whole.code == Some(0), "it did not end well: {}", whole.complained);

    let next = AtomicU64::new(1 + effort.seed % effort.kill_every);
    let (kills, failure) = (AtomicU64::new(0), Mutex::new(None));
    let failed = || failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let kill = || -> Result<()> {
        loop {
            let number = next.fetch_add(effort.kill_every, Ordering::Relaxed);
            if number > whole.calls || failed().is_some() {
                return Ok(());
            }
            at(scenario, &prepared, number)?;
            kills.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..effort.threads.max(1) {
            scope.spawn(|| {
                if let Err(error) = kill() {
                    failed().get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = failed().take() {
        return Err(error);
    }
    Ok(Report { calls: whole.calls, kills: kills.into_inner() })
}

fn at(scenario: &dyn Scenario, prepared: &TempDir, number: u64) -> Result<trace::Run> {
    let place = tree::scratch()?;
    tree::copy(prepared.path(), place.path())?;
    let run = trace::kill_at(&mut scenario.command(place.path()), number)?;
    // One whose end came before that call, by chance, has done all of it.
    ensure!(run.code.is_none_or(|code| code == 0), "it did not end well: {}", run.complained);
    scenario
        .check(place.path(), &run.said)
        .with_context(|| format!("killed at the beginning of system call {number}"))?;
    Ok(run)
}
