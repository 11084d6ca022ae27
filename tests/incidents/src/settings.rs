//! What is played, and by what measure.

use std::path::PathBuf;

use clap::Parser;

/// Offers the platform at work every faulty release, each in a world of its own, and prints what became of it. Ends
/// with 0 only if every one was stopped where it must be and nobody noticed.
#[derive(Debug, Clone, Parser)]
#[command(name = "outrigger-incidents", version)]
pub struct Settings {
    /// Play only scenarios whose name has one of these in it
    pub filters: Vec<String>,
    /// Play only the dozen that is quick
    #[arg(long)]
    pub quick: bool,
    /// The longest that an open may wait for its engines
    #[arg(long, default_value_t = 50)]
    pub budget_ms: u32,
    /// What an open may wait beyond that, with the machine idle
    #[arg(long, default_value_t = 5)]
    pub slack_ms: u32,
    /// Questions that a release may leave without a verdict in shadow, and in probation, unless a scenario says
    /// otherwise; on a busy machine a sound one leaves some
    #[arg(long, default_value_t = 3)]
    pub misses_max: u32,
    /// After this a scenario is ended and has not held
    #[arg(long, default_value_t = 90)]
    pub limit_s: u64,
    /// Where the report goes
    #[arg(long, default_value = "target/incidents/report.json")]
    pub report: PathBuf,
    /// Print the report as JSON, and the progress on standard error
    #[arg(long)]
    pub json: bool,
    /// Write the page of this name from what came of all scenarios
    #[arg(long)]
    pub page: Option<PathBuf>,
    /// Say the scenarios' names, and play none
    #[arg(long)]
    pub list: bool,
    /// Play this scenario in the world that this process is in
    #[arg(long, hide = true)]
    pub inside: Option<String>,
    /// Where its outcome goes
    #[arg(long, hide = true)]
    pub outcome: Option<PathBuf>,
}

impl Settings {
    /// After how long without a sign of life an engine counts as hung, ms: more than a budget, and than its
    /// heartbeats are apart.
    pub(crate) fn hang_ms(&self) -> u32 {
        400.max(self.budget_ms.saturating_mul(4))
    }
}
