//! What is played, and by what measure.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Causes every fault of the matrix once, each in a world of its own beside a well-behaved engine, and prints what
/// the platform made of it. Ends with 0 only if every row held.
#[derive(Debug, Clone, Parser)]
#[command(name = "outrigger-faults", version)]
pub struct Settings {
    /// Play only rows whose name has one of these in it
    pub filters: Vec<String>,
    /// The longest that an open may wait for its engines
    #[arg(long, default_value_t = 50)]
    pub budget_ms: u32,
    /// What an open may wait beyond that, with the machine idle
    #[arg(long, default_value_t = 5)]
    pub slack_ms: u32,
    /// What becomes of the other engine's p99
    #[arg(long, value_enum, default_value_t = Compare::Hold)]
    pub p99: Compare,
    /// How long it is measured, before and after each fault
    #[arg(long, default_value_t = 1200)]
    pub window_ms: u64,
    /// Pause of each of three openers between two opens, in microseconds
    #[arg(long, default_value_t = 2000)]
    pub gap_us: u64,
    /// After this a row is ended and has not held
    #[arg(long, default_value_t = 60)]
    pub limit_s: u64,
    /// Print the outcomes as JSON, and the progress on standard error
    #[arg(long)]
    pub json: bool,
    /// Say the rows' names, and play none
    #[arg(long)]
    pub list: bool,
    /// Play this row in the world that this process is in
    #[arg(long, hide = true)]
    pub inside: Option<String>,
    /// Where its outcome goes
    #[arg(long, hide = true)]
    pub outcome: Option<PathBuf>,
}

/// What becomes of the other engine's p99.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compare {
    /// It is measured, and a row whose fault has too large an effect on it has not held
    Hold,
    /// It is measured and told
    Report,
    /// It is not measured
    Skip,
}

impl Settings {
    /// After how long without a sign of life an engine counts as hung, ms: more than a budget, and than its
    /// heartbeats are apart.
    pub(crate) fn hang_ms(&self) -> u32 {
        400.max(self.budget_ms.saturating_mul(4))
    }

    pub(crate) fn gap(&self) -> Duration {
        Duration::from_micros(self.gap_us)
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }
}
