//! The rows of the matrix: what is caused, and what must come of it.

use outrigger_api::FailureReason;
use outrigger_testkit::host::Part;
use outrigger_testkit::{EngineSetup, Victim};
use rustix::process::Signal;

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// What happens, as the table says it.
    pub(crate) fault: &'static str,
    /// How the engine is docked that it happens to.
    pub(crate) docked: Docked,
    /// How it is made to happen.
    pub(crate) cause: Cause,
    /// Whose doing it is that it is noticed.
    pub(crate) by: Witness,
    /// Words that one line of the journal must have from then on: the witness's own.
    pub(crate) says: &'static [&'static str],
    /// What must be counted.
    pub(crate) counted: Counted,
    /// What else may be counted: what openers meet while the engine is not there.
    pub(crate) along: &'static [FailureReason],
    /// How it must end.
    pub(crate) ends: Ends,
}

/// How the hostile engine is docked. Unless said, it is required, reads no content and may miss any number of
/// deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Docked {
    /// By the SDK.
    Plainly,
    /// By the bare ends of the dock.
    Bare,
    /// It is given content.
    Reading,
    /// It is told paths.
    WithPaths,
    /// It is told paths, and none of its denials is enforced.
    Monitored,
    /// It may miss eight deadlines.
    Impatiently,
    /// It may use 64 MiB.
    WithLittleMemory,
    /// The same, and it is restarted once at most.
    WithLittleMemoryOnce,
    /// It may have 16 threads.
    WithFewThreads,
    /// It is restarted twice at most.
    Twice,
    /// It is restarted once at most, and must dock within a second, or within twice the time after which it is hung.
    Hastily,
}

/// How a fault is made to happen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cause {
    /// Nothing is done: what the measurement says then is its noise.
    Nothing,
    /// The engine is told these words. `TWICE` stands for two budgets in milliseconds.
    Tell(&'static str),
    /// The engine is told these words, and then a program is executed.
    TellThenExec(&'static str),
    /// The engine is told to compute without end on one file, and that file is opened until it is not asked about
    /// it any more.
    Catastrophe,
    /// The engine denies this file, which lies on the protected file system, and the file is opened.
    Deny(Victim),
    /// The engine's process is sent a signal.
    Signal(Signal),
    /// A process of the platform is sent a signal.
    Platform(Part, Signal),
}

/// Whose doing it is that a fault is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    /// Nobody: there is nothing to notice.
    Nobody,
    /// The host, deciding.
    Host,
    /// The host's supervisor of engines.
    Supervisor,
    /// The engine's sandbox.
    Sandbox,
    /// The kernel, by a limit.
    Kernel,
    /// The gate.
    Gate,
    /// The keeper.
    Keeper,
}

impl Witness {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Host => "host",
            Self::Supervisor => "supervisor",
            Self::Sandbox => "sandbox",
            Self::Kernel => "kernel",
            Self::Gate => "gate",
            Self::Keeper => "keeper",
        }
    }
}

/// What must be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Nothing.
    Nothing,
    /// A failure's reason.
    Reason(FailureReason),
    /// Denials that a guard rail did not let through.
    Conflicts,
    /// Denials that were not enforced.
    WouldDeny,
}

/// How a fault must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// The engine goes on in the same process.
    GoesOn,
    /// It was started again and takes questions.
    Restarted,
    /// It is off the dock.
    Quarantined,
    /// It is back, and not asked about that file any more.
    NotAskedAgain,
    /// Another host decides, and every engine is back.
    NewHost,
    /// Another gate is there.
    NewGate,
}

impl Ends {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::GoesOn => "goes on",
            Self::Restarted => "restarted",
            Self::Quarantined => "quarantined",
            Self::NotAskedAgain => "file not asked again",
            Self::NewHost => "new host",
            Self::NewGate => "new gate",
        }
    }
}

use FailureReason as R;

const GONE: &[R] = &[R::NotDocked];
const SILENT: &[R] = &[R::EngineSlow, R::NotDocked];
const OFF: &[R] = &[R::EngineSlow, R::NotDocked, R::BudgetExhausted];

const fn row(
    fault: &'static str,
    docked: Docked,
    cause: Cause,
    (by, says): (Witness, &'static [&'static str]),
    (counted, along): (Counted, &'static [R]),
    ends: Ends,
) -> Row {
    Row { fault, docked, cause, by, says, counted, along, ends }
}

const fn reason(reason: R, along: &'static [R]) -> (Counted, &'static [R]) {
    (Counted::Reason(reason), along)
}

/// Every row: the fault classes of engines, then the platform's own ends.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row("nothing at all", Docked::Plainly, Cause::Nothing,
        (Witness::Nobody, &[]), (Counted::Nothing, &[]), Ends::GoesOn),

    row("crash at load", Docked::Twice, Cause::Tell("crash-at-load"),
        (Witness::Supervisor, &["engine-lost", "engine-crashed"]), reason(R::EngineCrashed, OFF), Ends::Quarantined),
    row("crash on the first exec", Docked::Plainly, Cause::TellThenExec("once crash-on-exec"),
        (Witness::Supervisor, &["engine-lost", "engine-crashed"]), reason(R::EngineCrashed, GONE), Ends::Restarted),
    row("crash on the 100th event", Docked::Plainly, Cause::Tell("once crash-after 100"),
        (Witness::Supervisor, &["engine-lost", "engine-crashed"]), reason(R::EngineCrashed, GONE), Ends::Restarted),
    row("killed", Docked::Plainly, Cause::Signal(Signal::KILL),
        (Witness::Supervisor, &["engine-lost", "engine-crashed"]), reason(R::EngineCrashed, GONE), Ends::Restarted),
    row("stopped", Docked::Plainly, Cause::Signal(Signal::STOP),
        (Witness::Supervisor, &["engine-lost", "engine-hung"]), reason(R::EngineHung, SILENT), Ends::Restarted),
    row("endless loop", Docked::Plainly, Cause::Tell("once loop"),
        (Witness::Supervisor, &["engine-lost", "engine-hung"]), reason(R::EngineHung, SILENT), Ends::Restarted),
    row("no heartbeat, but answers", Docked::Bare, Cause::Tell("once attack deaf"),
        (Witness::Supervisor, &["engine-lost", "engine-hung"]), reason(R::EngineHung, SILENT), Ends::Restarted),
    row("one verdict stalled", Docked::Plainly, Cause::Tell("stall TWICE"),
        (Witness::Host, &["fallback", "engine-slow"]), reason(R::EngineSlow, &[]), Ends::GoesOn),
    row("all verdicts slow", Docked::Impatiently, Cause::Tell("slow TWICE"),
        (Witness::Host, &["fallback", "engine-slow"]), reason(R::EngineSlow, &[]), Ends::Quarantined),
    row("catastrophic pattern", Docked::Reading, Cause::Catastrophe,
        (Witness::Supervisor, &["engine-lost", "engine-hung"]),
        reason(R::EngineHung, &[R::EngineSlow, R::NotDocked, R::PoisonedObject]), Ends::NotAskedAgain),
    row("huge rule set: long load", Docked::Hastily, Cause::Tell("load-for 60000"),
        (Witness::Supervisor, &["engine-lost", "engine-hung"]), reason(R::EngineHung, OFF), Ends::Quarantined),
    row("huge rule set: memory", Docked::WithLittleMemoryOnce, Cause::Tell("load-memory"),
        (Witness::Kernel, &["engine-lost", "out-of-memory"]), reason(R::OutOfMemory, OFF), Ends::Quarantined),

    row("leak of memory", Docked::WithLittleMemory, Cause::Tell("leak-once"),
        (Witness::Kernel, &["engine-lost", "out-of-memory"]), reason(R::OutOfMemory, SILENT), Ends::Restarted),
    row("leak of descriptors", Docked::Plainly, Cause::Tell("leak-descriptors"),
        (Witness::Supervisor, &["engine-lost", "fd-leak"]), reason(R::FdLeak, GONE), Ends::Restarted),
    row("leak of threads", Docked::WithFewThreads, Cause::Tell("leak-threads"),
        (Witness::Kernel, &["engine-fault", "fork-bomb"]), reason(R::ForkBomb, &[]), Ends::GoesOn),
    row("fork bomb", Docked::Plainly, Cause::Tell("fork-for 300"),
        (Witness::Sandbox, &["call-refused", "clone"]), reason(R::ForkBomb, &[R::EngineSlow]), Ends::GoesOn),

    row("garbage verdicts", Docked::Bare, Cause::Tell("once attack record"),
        (Witness::Host, &["engine-fault", "garbage"]), reason(R::Garbage, &[R::EngineSlow]), Ends::Quarantined),
    row("garbage frames", Docked::Bare, Cause::Tell("once attack frame"),
        (Witness::Supervisor, &["engine-fault", "garbage"]), reason(R::Garbage, &[]), Ends::Quarantined),
    row("late answers", Docked::Bare, Cause::Tell("once attack late times 1"),
        (Witness::Host, &["engine-fault", "late-answer"]), reason(R::LateAnswer, &[R::EngineSlow]), Ends::GoesOn),
    row("double answers", Docked::Bare, Cause::Tell("once attack double"),
        (Witness::Host, &["engine-fault", "foreign-answer"]), reason(R::ForeignAnswer, &[]), Ends::Quarantined),
    row("foreign answers", Docked::Bare, Cause::Tell("once attack forge"),
        (Witness::Host, &["engine-fault", "foreign-answer"]), reason(R::ForeignAnswer, &[]), Ends::Quarantined),
    row("answers without pause", Docked::Bare, Cause::Tell("once attack verdicts"),
        (Witness::Host, &["engine-fault", "foreign-answer"]), reason(R::ForeignAnswer, &[R::EngineSlow]), Ends::Quarantined),
    row("ring cursor corrupted", Docked::Bare, Cause::Tell("once attack cursor"),
        (Witness::Host, &["engine-lost", "ring-corrupt"]), reason(R::RingCorrupt, SILENT), Ends::Restarted),
    row("store behind its ring", Docked::Bare, Cause::Tell("once attack store-behind-ring"),
        (Witness::Supervisor, &["engine-lost", "engine-crashed"]), reason(R::EngineCrashed, GONE), Ends::Restarted),
    row("frames without pause", Docked::Bare, Cause::Tell("once attack frames"),
        (Witness::Supervisor, &["engine-lost", "garbage"]), reason(R::Garbage, SILENT), Ends::Restarted),
    row("lines without pause", Docked::Plainly, Cause::Tell("print-for 300"),
        (Witness::Supervisor, &["engine-log", "more lines of it were left out"]), (Counted::Nothing, &[]), Ends::GoesOn),

    row("denies a system file", Docked::WithPaths, Cause::Deny(Victim::System),
        (Witness::Host, &["conflict"]), (Counted::Conflicts, &[]), Ends::GoesOn),
    row("denies the updater", Docked::WithPaths, Cause::Deny(Victim::Updater),
        (Witness::Host, &["conflict"]), (Counted::Conflicts, &[]), Ends::GoesOn),
    row("denies itself", Docked::WithPaths, Cause::Deny(Victim::Itself),
        (Witness::Host, &["conflict"]), (Counted::Conflicts, &[]), Ends::GoesOn),
    row("denies the other engine", Docked::WithPaths, Cause::Deny(Victim::OtherEngine),
        (Witness::Host, &["conflict"]), (Counted::Conflicts, &[]), Ends::GoesOn),
    row("denies in Monitor mode", Docked::Monitored, Cause::Tell("deny-path 1"),
        (Witness::Host, &["would-deny"]), (Counted::WouldDeny, &[]), Ends::GoesOn),

    row("host killed", Docked::Plainly, Cause::Platform(Part::Host, Signal::KILL),
        (Witness::Keeper, &["fault", "host-dead"]), reason(R::HostDead, GONE), Ends::NewHost),
    row("host stopped", Docked::Plainly, Cause::Platform(Part::Host, Signal::STOP),
        (Witness::Gate, &["fault", "host-hung"]), reason(R::HostHung, &[R::HostDead, R::NotDocked]), Ends::NewHost),
    row("gate killed", Docked::Plainly, Cause::Platform(Part::Gate, Signal::KILL),
        (Witness::Keeper, &["fault", "gate-dead"]), reason(R::GateDead, &[]), Ends::NewGate),
];

/// The hostile engine's name.
pub(crate) const HOSTILE: &str = "hostile";

impl Row {
    /// Words by which the engine starts.
    const fn first_words(&self) -> &'static str {
        match self.docked {
            Docked::Bare => "attack honest",
            _ => "allow",
        }
    }

    /// The engine, as this row docks it; it counts as hung after `hang_ms`, but where it takes its time to use up what
    /// it may have.
    pub(crate) fn engine(&self, hang_ms: u32) -> EngineSetup {
        const LITTLE: u64 = 64 << 20;
        let words = self.first_words();
        let plain = || EngineSetup::faulty(HOSTILE, words);
        let setup = match self.docked {
            Docked::Plainly | Docked::Bare | Docked::Impatiently => plain(),
            Docked::Reading => EngineSetup::faulty_reader(HOSTILE, words),
            Docked::WithPaths => plain().field("path"),
            Docked::Monitored => plain().field("path").monitored(),
            Docked::WithLittleMemory | Docked::WithLittleMemoryOnce => plain().memory_bytes(LITTLE),
            Docked::WithFewThreads => plain().threads(16),
            Docked::Twice => plain().restarts_max(2),
            Docked::Hastily => {
                plain().restarts_max(1).start_ms(1000.max(hang_ms.saturating_mul(2)))
            }
        };
        let (setup, hang_ms) = match self.docked {
            Docked::WithLittleMemory => (setup, hang_ms.saturating_mul(10)),
            Docked::WithLittleMemoryOnce => (setup.restarts_max(1), hang_ms.saturating_mul(10)),
            _ => (setup, hang_ms),
        };
        let misses = if self.docked == Docked::Impatiently { 8 } else { 1_000_000 };
        setup.misses_max(misses).hang_ms(hang_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_rows_have_the_same_name() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.fault).collect();

        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn every_row_but_the_control_has_a_witness_and_its_words() {
        let mute = ROWS.iter().skip(1).find(|row| row.by == Witness::Nobody || row.says.is_empty());

        assert!(mute.is_none(), "{mute:?}");
    }
}
