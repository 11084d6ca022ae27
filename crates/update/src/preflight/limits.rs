//! What a release may take, and how much has to speak for it.

use std::time::Duration;

use outrigger_api::settings::PreflightConfig;

/// The limits of a preflight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest that an answer may take: the policy's budget for what the engine needs.
    pub budget: Duration,
    /// The longest that 99 of 100 answers may take.
    pub p99: Duration,
    /// How much of the memory in its manifest it may have used at the end, in percent.
    pub memory_percent: u32,
    /// The longest for the whole of it. Each check has a share; what a share has no room for is not tried,
    /// and said not to have been.
    pub total: Duration,
    /// Most events of each corpus.
    pub samples_max: u64,
    /// Fewest answers on recorded events, of both corpora together; an abstention is none.
    pub samples_min: u64,
    /// Most trials of made-up content; 0 for none.
    pub trials_max: u64,
}

impl Limits {
    /// Those of `config`, for an engine whose budget is `budget`.
    pub fn new(config: &PreflightConfig, budget: Duration) -> Self {
        Self {
            budget,
            p99: Duration::from_millis(config.p99_ms.into()),
            memory_percent: 90,
            total: Duration::from_millis(config.total_ms.into()),
            samples_max: config.samples_max.into(),
            samples_min: config.samples_min.into(),
            trials_max: 512,
        }
    }

    /// So much of the whole time.
    pub(super) fn share(&self, percent: u32) -> Duration {
        self.total * percent / 100
    }
}
