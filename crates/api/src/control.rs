//! The operator's protocol: what `outrigger` asks a running host and what it is told.
//!
//! One JSON object per line over a local stream socket, the request first. Every request has one
//! response, but [`Request::Watch`], which is answered by a line per decision until either side
//! closes. The `--json` output of the tool is these objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::coverage::Coverage;
use crate::key::EngineName;
use crate::ledger::Ledger;
use crate::release::{Part, State};
use crate::verdict::{Answer, Mode, Verdict};

/// Where the host listens unless its configuration says otherwise.
pub const SOCKET: &str = "/run/outrigger/control.sock";
/// The metrics socket's name, in the folder of the control socket, unless the configuration says otherwise.
pub const METRICS: &str = "metrics.sock";
/// Longest request line, in bytes; a longer one is refused and the connection closed.
pub const REQUEST_MAX: usize = 4096;

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The state of the whole.
    Status,
    /// The state of every engine.
    Engines,
    /// What each engine costs.
    Ledger,
    /// Every decision from now on.
    Watch,
    /// How one case was decided.
    Explain {
        /// The case's number.
        case: u64,
    },
    /// What this kernel gives and lacks.
    Doctor,
    /// Something done to one engine.
    Engine {
        /// Which engine.
        name: EngineName,
        /// What is done.
        action: EngineAction,
    },
    /// Read the configuration again.
    Reload,
    /// Put the rules in force that the folder of policies holds now, all at once, or none if one is refused.
    ApplyPolicy,
    /// Take what this machine gives of each event now as what it is to give: what there was more of before is no
    /// problem any more.
    AcceptCoverage,
    /// Drop every cached verdict, so that no file of a protected volume is held open.
    Flush,
    /// Replace an engine's process, without a question lost, by one of what is in force, or lies in its
    /// folders, now. Answered when the new one decides, or when it will not.
    Swap {
        /// Which engine.
        engine: EngineName,
    },
    /// Begin the trial of releases that have passed preflight: in shadow, then in probation, then active; or
    /// not, and what was in force stays so. Answered when the shadow runs; [`Request::Trials`] tells how it goes,
    /// and the journal of releases how it ended. It goes on by itself, over a restart of the host too.
    Trial {
        /// Which engine.
        engine: EngineName,
        /// What is tried, at most one release of each part. Each stands in shadow in the journal.
        releases: Vec<ReleaseName>,
        /// The shadow is as long as the policy says for an emergency.
        #[serde(default)]
        emergency: bool,
    },
    /// Every trial under way.
    Trials,
    /// End an engine's trial: what was in force before decides again. The releases are not held to be bad.
    StopTrial {
        /// Which engine.
        engine: EngineName,
    },
    /// Put in force again what was before; the releases that decide now are not taken again.
    GoBack {
        /// Which engine.
        engine: EngineName,
        /// Only this part of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<Part>,
    },
    /// Dock an engine, or any engine, no more: not at the next start either, until that is taken back.
    EnterSafeMode {
        /// Only this engine; all of them if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<EngineName>,
    },
    /// Dock again what is kept off.
    LeaveSafeMode {
        /// This engine. If absent, safe mode ends, for all but engines that are kept off by name, and the count of
        /// starts without health begins anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<EngineName>,
    },
    /// Hand over to a new build of the host.
    Upgrade {
        /// Absolute path of the new binary; the running binary's own path if absent.
        binary: Option<String>,
    },
}

/// A release of an engine that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseName {
    /// What of the engine.
    pub part: Part,
    /// Its version.
    pub version: String,
}

/// A trial under way: releases of one engine in shadow, or in probation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which engine.
    pub engine: EngineName,
    /// What is tried.
    pub releases: Vec<ReleaseName>,
    /// [`State::Shadow`] or [`State::Probation`].
    pub state: State,
    /// What it waits for, for a person; `None` while its time counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// How long it has lasted, in ms of the machine's running time.
    pub served_ms: u64,
    /// How long it lasts, in ms.
    pub length_ms: u64,
    /// Questions that it has judged.
    pub judged: u64,
    /// Questions of which it has left no verdict in their budget.
    pub missed: u64,
    /// Questions that could not be compared: the one that decides gave no verdict, or there was no room.
    pub uncompared: u64,
    /// Where its verdicts differ from those of the release that decides; in shadow. The most frequent first.
    pub differences: Vec<Difference>,
    /// Differences that are not listed for want of room.
    pub more: u64,
}

/// Questions about one event on which a release in shadow and the one that decides differ, for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The event's name.
    pub event: String,
    /// What the one that decides said.
    pub active: Verdict,
    /// What the one in shadow said.
    pub shadow: Verdict,
    /// The rule or signature that the one who denies names; empty if it names none.
    pub rule: String,
    /// Questions.
    pub count: u64,
    /// Different objects among them; at least so many.
    pub objects: u64,
    /// Path of the first object, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether the machine needs one of the objects.
    pub guarded: bool,
}

/// What can be done to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineAction {
    /// End it and start it again; its restart budget is not touched.
    Restart,
    /// Take it off the dock until it is released.
    Quarantine,
    /// Let it dock again, with a fresh restart budget.
    Release,
    /// Tell it to read its content again.
    Reload,
}

/// What the operator is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// The state of the whole.
    Status(Box<Status>),
    /// The state of every engine.
    Engines {
        /// One entry per configured engine.
        engines: Vec<EngineStatus>,
    },
    /// What each engine costs.
    Ledger(Box<Ledger>),
    /// One decision, of [`Request::Watch`] or [`Request::Explain`].
    Decision(Box<Decision>),
    /// So many decisions were made faster than this watcher took them.
    Missed {
        /// How many.
        count: u64,
    },
    /// What this kernel gives and lacks.
    Doctor(Coverage),
    /// Every trial under way.
    Trials {
        /// One entry per engine of which releases are tried.
        trials: Vec<Trial>,
    },
    /// It was done.
    Done {
        /// What was done, for a person.
        message: String,
    },
    /// It was not done.
    Error {
        /// What, where, the limit, and what to do.
        message: String,
    },
}

/// The state of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Whether everything that should protect does.
    pub healthy: bool,
    /// Why not; empty exactly if healthy.
    pub problems: Vec<String>,
    /// Version of the host.
    pub version: String,
    /// Seconds since this host process began to serve.
    pub uptime_s: u64,
    /// How often a host was started since the keeper was, this one included.
    pub host_starts: u64,
    /// How often a gate was started since the keeper was.
    pub gate_starts: u64,
    /// Whether denials are enforced.
    pub mode: Mode,
    /// Coverage in force.
    pub coverage: Coverage,
    /// Every engine.
    pub engines: Vec<EngineStatus>,
    /// Counts since the keeper started.
    pub counters: Counters,
    /// Process ids of keeper, gate and host.
    pub pids: Pids,
    /// Descriptors in use and their limits.
    pub descriptors: Descriptors,
    /// What is kept of decided questions; `None` if nothing is.
    #[serde(default)]
    pub recording: Option<Recording>,
    /// The rules in force; `None` if the configuration has them off.
    #[serde(default)]
    pub policy: Option<PolicyStatus>,
    /// The programs in the kernel that see and decide by rules; `None` if there are none.
    #[serde(default)]
    pub plane: Option<PlaneStatus>,
}

/// The rules in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Number of the set in force; it grows by one with every switch, and is 0 before the first set.
    pub generation: u64,
    /// Rules in it that somebody wrote: those that come of engines' filters are not counted.
    pub rules: u64,
    /// Those of them that would deny and are not enforced.
    pub monitored: u64,
    /// When it came into force, ms since the epoch.
    pub since_ms: u64,
    /// Questions that rules denied, since this host process began to serve.
    #[serde(default)]
    pub denied: u64,
    /// Questions that rules allowed, so that nobody was asked.
    #[serde(default)]
    pub allowed: u64,
    /// Questions that rules would have denied, were they enforced.
    #[serde(default)]
    pub would_deny: u64,
    /// The files that it was read from, in their order.
    pub files: Vec<PolicyFile>,
    /// Why what lies in the folder now is not in force: every error, with its file and place. The set that was
    /// in force before stays so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A file of rules.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyFile {
    /// Its path.
    pub path: String,
    /// Rules in it.
    pub rules: u64,
}

/// The programs in the kernel that see and decide by rules. Counts since this host process began to serve.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlaneStatus {
    /// Events of which somebody wants to be told, and is by these programs.
    pub told: Vec<String>,
    /// Events that rules decide by these programs.
    pub ruled: Vec<String>,
    /// Notices that found no room on their way out of the kernel.
    pub lost: u64,
    /// Number of the set of rules that these programs decide by; 0 before they have any.
    #[serde(default)]
    pub generation: u64,
    /// What came of each event, of those of which anything did.
    #[serde(default)]
    pub events: BTreeMap<String, PlaneCounts>,
}

/// What programs in the kernel said of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlaneCounts {
    /// Notices that came out of the kernel: for engines, and what rules denied or would have.
    pub notices: u64,
    /// Of them, those that a rule denied.
    pub denied: u64,
    /// Of them, those that a rule would have denied, were it enforced.
    pub would_deny: u64,
    /// Of them, those that a rule allowed. What no engine is told of is not counted.
    pub allowed: u64,
    /// Notices that found no room on their way out of the kernel.
    pub lost: u64,
}

/// What is kept of decided questions. Counts since this host process began to serve.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recording {
    /// What of the objects is kept: `none`, `sums` or `bytes`.
    pub content: String,
    /// Questions kept.
    pub kept: u64,
    /// Questions that were kept before, word for word.
    pub repeated: u64,
    /// Questions lost because they came faster than they could be kept.
    pub lost: u64,
    /// Questions kept without content, because too many waited to be read.
    #[serde(default)]
    pub unread: u64,
    /// Questions that the disk did not take.
    pub unwritten: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Most bytes that they may have.
    pub bytes_max: u64,
    /// Files.
    pub files: u64,
    /// Why nothing can be written now; `None` if it can.
    pub trouble: Option<String>,
}

/// Process ids, to show and for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pids {
    /// The keeper.
    pub keeper: u32,
    /// The gate.
    pub gate: u32,
    /// The host.
    pub host: u32,
}

/// The descriptor budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Descriptors {
    /// Descriptors that the process may have (`RLIMIT_NOFILE`).
    pub limit: u32,
    /// Kept aside for the host's own files and sockets.
    pub fixed: u32,
    /// Questions being decided now.
    pub in_flight: u32,
    /// Most questions that may be decided at a time.
    pub in_flight_max: u32,
    /// Files whose verdict is cached, a lease each.
    pub leases: u32,
    /// Most leases that may be held.
    pub leases_max: u32,
}

/// Counts since the keeper started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Questions read, by event.
    pub asked: BTreeMap<String, u64>,
    /// Answers Allow.
    pub allowed: u64,
    /// Answers Deny.
    pub denied: u64,
    /// Denials that Monitor mode did not enforce.
    pub would_deny: u64,
    /// Denials that a guard rail did not let through.
    pub conflicts: u64,
    /// Fallbacks, by reason.
    pub fallbacks: BTreeMap<String, u64>,
    /// Faults that no question waited for, by reason.
    pub faults: BTreeMap<String, u64>,
    /// Verdicts put into the cache.
    pub cached: u64,
    /// Cached verdicts dropped because somebody opened the file for writing.
    pub lease_breaks: u64,
    /// Cached verdicts dropped to make room.
    pub evicted: u64,
    /// Opens of empty files allowed without asking, since every engine had allowed empty content before.
    #[serde(default)]
    pub empty: u64,
}

/// Where an engine's life stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineState {
    /// Started; has not said that it takes questions.
    Starting,
    /// Takes questions.
    Docked,
    /// Ended; the next start is due.
    Restarting,
    /// Off the dock until released.
    Quarantined,
    /// Could not be started at all; see its last fault.
    Failed,
    /// No release of it is in force yet, so there is nothing to start; see its last fault.
    NotInstalled,
    /// The host does not start it, in safe mode or because it was told so; see its last fault.
    Withheld,
}

/// The state of one engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Its name.
    pub name: EngineName,
    /// Its vendor, as its manifest says.
    pub vendor: String,
    /// Its version, as its manifest says.
    pub version: String,
    /// Where its life stands.
    pub state: EngineState,
    /// Its process id, while it has one.
    pub pid: Option<u32>,
    /// Names of the events it is asked about.
    pub events: Vec<String>,
    /// Names of the events it is told of.
    #[serde(default)]
    pub told: Vec<String>,
    /// What it gets less than it needs and can work with, one sentence each.
    #[serde(default)]
    pub degraded: Vec<String>,
    /// Whether its verdict is required.
    pub required: bool,
    /// What it says of the content in force.
    pub content: Option<String>,
    /// What of its sandbox is not enforced on this kernel; empty if all is.
    pub sandbox_missing: Vec<String>,
    /// Starts since the host began.
    pub starts: u64,
    /// Restarts left in the current window, and the window's whole number.
    pub restarts_left: (u32, u32),
    /// Misses (questions not answered in the budget) since its last start.
    pub misses: u64,
    /// Questions asked, and votes by kind.
    pub asked: u64,
    /// Allow votes.
    pub allows: u64,
    /// Deny votes.
    pub denies: u64,
    /// Abstentions.
    pub abstains: u64,
    /// Time from question to vote, ns: p50 and p99 of the recent ones.
    pub latency_ns: Option<(u64, u64)>,
    /// Calls that its sandbox refused.
    pub refused_calls: u64,
    /// Faults, by reason.
    pub faults: BTreeMap<String, u64>,
    /// What last went wrong, for a person.
    pub last_fault: Option<String>,
    /// Objects that it is not asked about any more.
    pub poisoned_objects: u64,
    /// Events that the rules in its content denied, since this host process began to serve: no votes of its.
    #[serde(default)]
    pub rule_denials: u64,
    /// Events that they would have denied, were it not what the machine needs.
    #[serde(default)]
    pub rule_conflicts: u64,
}

/// How one case was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The case's number.
    pub case: u64,
    /// When it was read, ms since the epoch.
    pub time_ms: u64,
    /// The event's name.
    pub event: String,
    /// The subject's key.
    pub process: String,
    /// The subject's process id, to show.
    pub pid: u32,
    /// The subject's effective user id, where known.
    pub uid: Option<u32>,
    /// The subject's program, where it could be told.
    pub program: Option<String>,
    /// The object's path, lossy UTF-8, where known.
    pub path: Option<String>,
    /// What the kernel was told.
    pub answer: Answer,
    /// Who or what decided: `rule NAME`, `engine NAME`, `all engines`, `fallback: REASON`, `guard rail`, …
    pub decided_by: String,
    /// The rule that would have denied it, were it enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_rule: Option<String>,
    /// Denied by the merge, but not enforced: Monitor mode or a guard rail.
    pub not_enforced: bool,
    /// Time from reading the question to the answer, ns.
    pub took_ns: u64,
    /// The budget it had, ns.
    pub budget_ns: u64,
    /// Whether the answer went into the cache.
    pub cached: bool,
    /// Each engine's part.
    pub votes: Vec<Vote>,
}

/// One engine's part in a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// The engine.
    pub engine: EngineName,
    /// Whether its verdict was required.
    pub required: bool,
    /// Its vote; `None` if none came in time.
    pub verdict: Option<Verdict>,
    /// Why none came, as a failure reason's name.
    pub missing: Option<String>,
    /// Time from asking to the vote, ns.
    pub took_ns: Option<u64>,
    /// What the engine said of it.
    pub detail: Option<String>,
}
