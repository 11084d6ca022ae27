//! What is cut off, and how thoroughly.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// A program on a folder, and what must hold wherever it is cut off.
pub trait Scenario: Sync {
    /// Fills an empty folder with what the program finds; all of it counts as durable.
    ///
    /// # Errors
    ///
    /// If it cannot.
    fn prepare(&self, root: &Path) -> Result<()>;

    /// The program, on a prepared folder. It changes nothing that matters outside of it, and ends well.
    fn command(&self, root: &Path) -> Command;

    /// Checks a folder that a cut left, and goes on from there; it may change it. `said` is what the program had
    /// written to its standard output before.
    ///
    /// # Errors
    ///
    /// With what is wrong.
    fn check(&self, root: &Path, said: &str) -> Result<()>;
}

/// How many of the states are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Random states at each cut, beside those that are always looked at.
    pub random: u32,
    /// Whether at each cut each change is left out alone, and done alone.
    pub singles: bool,
    /// Of the places where the power can be cut, every how many-th is one; and the last.
    pub cut_every: usize,
    /// Of the system calls, every how many-th is killed at, or finds the disk full; which one comes first follows
    /// from the seed.
    pub kill_every: u64,
    /// After how many kills, each before something would be durable, the program is run again and cut off everywhere.
    pub kills_before_cuts: u64,
    /// What the random states follow from.
    pub seed: u64,
    /// How many are looked at at once.
    pub threads: usize,
}

impl Effort {
    /// A short form, or with `OUTRIGGER_TEST_FULL=1` all of it. `OUTRIGGER_CUT_STATES` sets the number of random
    /// states at each cut, `OUTRIGGER_CUT_SEED` the seed.
    ///
    /// # Errors
    ///
    /// If one of the variables is no number.
    pub fn from_env() -> Result<Self> {
        let full = std::env::var_os("OUTRIGGER_TEST_FULL").is_some_and(|value| value == "1");
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name}={text:?} is no number")),
            Err(_) => Ok(default),
        };
        Ok(Self {
            random: u32::try_from(number("OUTRIGGER_CUT_STATES", if full { 40 } else { 2 })?)?,
            singles: full,
            cut_every: 1,
            kill_every: if full { 1 } else { 7 },
            kills_before_cuts: if full { 12 } else { 2 },
            seed: number("OUTRIGGER_CUT_SEED", 1)?,
            threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
        })
    }
}
