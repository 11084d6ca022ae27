//! The cost ledger: what each engine costs those who open files, and the machine.
//!
//! Part of the operator's protocol ([`crate::control`]): the host keeps the books, `outrigger top` shows
//! them and the metrics socket exports them. Every number of an engine counts since this host process
//! began, but where it says so; a new host begins new books.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::{Counters, Descriptors, EngineState, PlaneStatus, PolicyStatus};
use crate::coverage::Shrunk;
use crate::key::EngineName;

/// What everything costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// When this was told, ms since the epoch.
    pub time_ms: u64,
    /// Version of the host.
    pub version: String,
    /// Since this host process began, ms.
    pub uptime_ms: u64,
    /// What [`Waits::recent`] covers, ms up to now.
    pub recent_ms: u64,
    /// Every engine, the most expensive first: the one for which openers waited longest in sum, lately;
    /// where nobody waited lately, since the host began.
    pub engines: Vec<EngineLedger>,
    /// Counts of the whole since the keeper started.
    pub counters: Counters,
    /// Questions that wait and files that are cached, now.
    pub descriptors: Descriptors,
    /// The rules in force; `None` if the configuration has them off.
    #[serde(default)]
    pub policy: Option<PolicyStatus>,
    /// The programs in the kernel that see and decide by rules; `None` if there are none.
    #[serde(default)]
    pub plane: Option<PlaneStatus>,
    /// Events of which there was more before ([`crate::Coverage::shrunk`]).
    #[serde(default)]
    pub shrunk: Vec<Shrunk>,
}

/// What one engine costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineLedger {
    /// Its name.
    pub name: EngineName,
    /// Where its life stands.
    pub state: EngineState,
    /// Whether its verdict is required.
    pub required: bool,
    /// Processor time of all its processes, ns; `None` where no control group tells.
    pub cpu_ns: Option<u64>,
    /// Memory charged to it now, bytes; `None` while it has no process, or where no control group tells.
    pub memory_bytes: Option<u64>,
    /// Starts of its process after the first.
    pub restarts: u64,
    /// How often it slept and was woken for what was put into its ring.
    #[serde(default)]
    pub woken: u64,
    /// Calls that its sandbox refused.
    pub refused_calls: u64,
    /// Faults, by reason.
    pub faults: BTreeMap<String, u64>,
    /// All events together; with notices of which it is not known what they would have told of.
    pub whole: Cost,
    /// Each event that it subscribed to.
    pub events: BTreeMap<String, Cost>,
}

/// What one engine's part in the questions about an event came to.
///
/// Once no question is open, `asked` is the sum of `allows`, `denies`, `abstains`, `misses`, `excused`,
/// `lost` and `moot`; before, the difference is in its hands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Questions put to it.
    pub asked: u64,
    /// Allow votes.
    pub allows: u64,
    /// Deny votes.
    pub denies: u64,
    /// Abstentions.
    pub abstains: u64,
    /// Not answered by the deadline.
    pub misses: u64,
    /// Not answered by the deadline, but about a file whose file system can keep its reader waiting: not
    /// held against the engine.
    pub excused: u64,
    /// It ended, or was ended, with the question in its hands.
    pub lost: u64,
    /// The question ended before the deadline without its vote: another engine had denied, or those that
    /// are required had voted.
    pub moot: u64,
    /// Never put to it, since it takes nothing out of its full ring.
    pub dropped: u64,
    /// Never put to it, since it was not docked, in quarantine, or had failed on the object before.
    pub absent: u64,
    /// Notices put into its ring.
    #[serde(default)]
    pub told: u64,
    /// Notices that it was not told, by [`crate::LossCause`]: as many as this where they were dropped at its
    /// ring (`engine-ring`), at least as many elsewhere. Each was told to it as a gap.
    #[serde(default)]
    pub untold: BTreeMap<String, u64>,
    /// How long openers waited for this engine alone: from when the last other engine that they waited for
    /// had answered, or from the asking, to this one's answer or the question's end. Zero where another
    /// engine was the slower. Of every question that has ended, those included that it was not there for.
    pub added: Waits,
    /// From the asking to its vote, of every vote.
    pub answered: Waits,
}

/// How long something took.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Waits {
    /// Since the host began.
    pub total: Times,
    /// Of the last [`Ledger::recent_ms`].
    pub recent: Times,
    /// How many of `total` took at most so long: nanoseconds, a power of two, and the count up to it. The
    /// same bounds in every answer of a host.
    pub buckets: Vec<(u64, u64)>,
}

/// A spread of times. All zero where none was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// All together, ns.
    pub sum_ns: u64,
    /// The longest, ns.
    pub max_ns: u64,
    /// Half took at most this, ns; at most 6.25 % above the exact value and never below it.
    pub p50_ns: u64,
    /// 99 of 100 took at most this, ns; as exact as `p50_ns`.
    pub p99_ns: u64,
}
