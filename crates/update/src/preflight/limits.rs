//! What a release may take, and how much has to speak for it.

use std::time::Duration;

/// The limits of a preflight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest that an answer may take: the policy's budget for what the engine needs.
    pub budget: Duration,
    /// The longest that 99 of 100 answers may take.
    pub p99: Duration,
    /// How much of the memory in its manifest it may have used at the end, in percent.
    pub memory_percent: u32,
    /// The longest that each of the two corpora is replayed. What is left then is counted as not tried.
    pub replay_time: Duration,
    /// The longest that made-up content is tried.
    pub instances_time: Duration,
    /// Most trials of made-up content; 0 for none.
    pub trials_max: u64,
    /// Most events of each corpus.
    pub events_max: u64,
    /// Fewest answers on known-good objects; an abstention is none.
    pub known_good_min: u64,
    /// Fewest answers on this machine's own events.
    pub own_min: u64,
}

impl Limits {
    /// The defaults for an engine whose budget is `budget`: together they keep preflight under 20 s.
    pub const fn with_budget(budget: Duration) -> Self {
        Self {
            budget,
            p99: budget.checked_div(2).expect("two is not zero"),
            memory_percent: 90,
            replay_time: Duration::from_secs(6),
            instances_time: Duration::from_secs(5),
            trials_max: 512,
            events_max: 100_000,
            known_good_min: 100,
            own_min: 0,
        }
    }
}
