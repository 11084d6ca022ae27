//! What a replay is given, and what it tells.

use std::collections::BTreeMap;
use std::io;

use outrigger_api::record::Detail;
use outrigger_api::sample::Sample;
use outrigger_api::{EngineName, FailureReason, Verdict};

use super::IN_FLIGHT_MAX;

/// What a replay holds an engine to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest time that the engine may take for one question, ns.
    pub budget: u64,
    /// Questions in flight at a time, from 1 to [`IN_FLIGHT_MAX`]; with content, 64 at most. With 1 the
    /// latency of each is exact, with more it is a share of the time between two looks.
    pub in_flight: usize,
    /// Times that the engine may end before the replay does. With 0 the first is the end.
    pub crashes: u32,
    /// Times that a question is asked that took longer than the budget, at least 2; alone from the second
    /// on.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { budget: 500_000_000, in_flight: IN_FLIGHT_MAX, crashes: 8, tries: 3 }
    }
}

impl Limits {
    /// With each number where it can be.
    pub(super) fn checked(self) -> Self {
        Self {
            budget: self.budget.max(1),
            in_flight: self.in_flight.clamp(1, IN_FLIGHT_MAX),
            tries: self.tries.max(2),
            ..self
        }
    }
}

/// What became of one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its place in the replay, from 0.
    pub place: u64,
    /// The sample.
    pub sample: Sample,
    /// What the engine made of it.
    pub judged: Judged,
    /// How long the engine took, ns, the last time it was asked; see [`Limits::in_flight`]. 0 without a verdict.
    pub latency: u64,
    /// How often it was asked.
    pub tries: u32,
}

/// What an engine made of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It gave a verdict within the budget.
    Verdict(Verdict, Detail),
    /// It took longer than the budget, however often it was asked.
    Missed,
    /// It ended with this sample in hand.
    Crashed(FailureReason),
    /// It was not asked.
    NotAsked(NotAsked),
}

/// Why an engine was not asked about a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotAsked {
    /// It is not asked about such events.
    NotSubscribed,
    /// The sample's content is not to be had, and the engine reads content.
    NoContent,
    /// The engine had ended for good.
    EngineGone,
}

impl NotAsked {
    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSubscribed => "not-subscribed",
            Self::NoContent => "no-content",
            Self::EngineGone => "engine-gone",
        }
    }
}

/// One end of the engine that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The sample that it had in hand, with its place; `None` if it had none.
    pub in_hand: Option<(u64, Sample)>,
    /// What kind of end.
    pub reason: FailureReason,
    /// How it ended, for a person.
    pub detail: String,
}

/// What there is to say of an engine when its replay is over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ending {
    /// What it said of its content.
    pub content: Option<String>,
    /// Its crashes, in their order.
    pub crashes: Vec<Crash>,
    /// Why it was not started again, if it was not.
    pub gone: Option<String>,
    /// Times that it was started.
    pub starts: u64,
    /// Processor time of all its processes, ns, where the launcher tells.
    pub cpu_ns: Option<u64>,
    /// Most memory that it was seen with, bytes, where the launcher tells; looked at every 50 ms.
    pub memory_peak: Option<u64>,
    /// Its faults, by the names of their [`FailureReason`]s.
    pub faults: BTreeMap<String, u64>,
    /// Verdicts on questions that had been given up.
    pub late: u64,
    /// Calls that its sandbox refused.
    pub refused_calls: u64,
    /// What of its sandbox did not hold.
    pub sandbox_missing: Vec<String>,
    /// What it and its sandbox said, the first lines.
    pub lines: Vec<String>,
    /// What went wrong last.
    pub last_fault: Option<String>,
}

/// A replay could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The engine did not dock.
    #[error("{engine} did not dock: {why}")]
    NotDocked {
        /// The engine.
        engine: EngineName,
        /// Why, for a person.
        why: String,
        /// How its process ended; `None` if it had none.
        reason: Option<FailureReason>,
        /// What it reported as wrong before it ended, if anything: an engine that does not take its content
        /// says so.
        refused: Option<String>,
        /// What it said, the first lines.
        lines: Vec<String>,
    },
    /// The engine ended too often, or did what ends it for good.
    #[error("{engine} is not started again: {why}")]
    Gone {
        /// The engine.
        engine: EngineName,
        /// Why, for a person.
        why: String,
    },
    /// The kernel cannot sleep on the rings.
    #[error("the rings cannot be used")]
    Rings(#[source] io::Error),
}
