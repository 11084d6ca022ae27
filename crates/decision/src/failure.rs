//! The one table of what a failure leads to.
//!
//! Every way to fail has a row here: what becomes of the question, whose fault it is, whether it brings
//! an engine nearer to quarantine, and what a person can do about it. [`row`] names every reason, so a new
//! one does not compile until it has an answer. [`Counts`] counts them.

use outrigger_api::verdict::Fallback;
use outrigger_api::{Answer, FailureReason};

/// What happens when something fails for this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reaction {
    /// The questions that waited for it are answered by the policy's fallback.
    Fallback,
    /// The package or content that was in force stays in force.
    KeepPrevious,
    /// The platform goes on with less, and status says so.
    Degrade,
    /// It is written down, and nothing else changes.
    Note,
}

/// Whose side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The engine's.
    Engine,
    /// Our own.
    Host,
    /// A decision of the administrator, working as decided.
    Administrator,
    /// The machine's: its load, its disk, its kernel, its clock.
    Environment,
    /// Whoever made or delivered the package or content.
    Supplier,
}

/// How loudly it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Something protects less than it should, or will.
    Warning,
    /// Something does not protect.
    Error,
}

/// What one reason leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What happens.
    pub answer: Reaction,
    /// Whose side failed.
    pub fault: Fault,
    /// Whether it brings the engine nearer to quarantine by itself. Crashes and hangs do so by the
    /// restarts that they use up, misses by their number.
    pub counts_towards_quarantine: bool,
    /// How loudly it is told.
    pub severity: Severity,
    /// What a person can do, one sentence.
    pub what_to_do: &'static str,
}

const fn row_of(
    answer: Reaction,
    fault: Fault,
    counts_towards_quarantine: bool,
    severity: Severity,
    what_to_do: &'static str,
) -> Row {
    Row { answer, fault, counts_towards_quarantine, severity, what_to_do }
}

/// What `reason` leads to.
pub const fn row(reason: FailureReason) -> Row {
    use FailureReason as R;
    use Fault::{Administrator, Engine, Environment, Host, Supplier};
    use Reaction::{Degrade, Fallback, KeepPrevious, Note};
    use Severity::{Error, Info, Warning};

    const COUNTS: bool = true;
    const SPARED: bool = false;

    #[rustfmt::skip]
    let row = match reason {
        // An engine, while it was asked.
        R::EngineCrashed => row_of(Fallback, Engine, COUNTS, Warning,
            "Send the engine's log to its vendor; it is restarted by itself."),
        R::EngineHung => row_of(Fallback, Engine, COUNTS, Warning,
            "Send the engine's log to its vendor; it is killed and restarted by itself."),
        R::EngineSlow => row_of(Fallback, Engine, COUNTS, Warning,
            "Look at the engine's latency in `outrigger engines`; give the event a longer budget or the engine less to do."),
        // Each late answer was counted as a miss at its deadline already.
        R::LateAnswer => row_of(Note, Engine, SPARED, Info,
            "Nothing; the question was answered at its deadline. See engine-slow."),
        R::ForeignAnswer => row_of(Note, Engine, COUNTS, Warning,
            "Report it to the engine's vendor: it answers what it was not asked."),
        R::Garbage => row_of(Fallback, Engine, COUNTS, Warning,
            "Report it to the engine's vendor: it does not keep to the contract."),
        R::RingCorrupt => row_of(Fallback, Engine, COUNTS, Error,
            "Report it to the engine's vendor and suspect the engine: its ring was written over."),
        R::Abstained => row_of(Fallback, Engine, SPARED, Info,
            "Nothing, if the engine cannot judge such objects; else see its log for why it did not."),
        R::NotDocked => row_of(Fallback, Engine, SPARED, Warning,
            "Wait for the engine to start; if it does not, see its last fault in `outrigger engines`."),
        R::Quarantined => row_of(Fallback, Engine, SPARED, Error,
            "Find the cause in `outrigger engines`, then `outrigger engine release`."),
        // The crash or hang was counted; the object must not be able to switch the engine off.
        R::PoisonedObject => row_of(Fallback, Engine, SPARED, Warning,
            "Send the file to the engine's vendor; `outrigger engine reload` has it tried again."),
        R::OutOfMemory => row_of(Fallback, Engine, COUNTS, Warning,
            "Raise `memory_bytes` in the engine's manifest, or report the use to its vendor."),
        R::ForkBomb => row_of(Note, Engine, COUNTS, Error,
            "Suspect the engine: it tried to start more threads or processes than its manifest says."),
        R::FdLeak => row_of(Fallback, Engine, COUNTS, Warning,
            "Report it to the engine's vendor: it does not close the files that it is given."),
        R::BudgetExhausted => row_of(Fallback, Engine, COUNTS, Error,
            "Find the cause of the restarts in `outrigger engines`, then `outrigger engine release`."),

        // The host and its parts.
        R::QueueFull => row_of(Fallback, Environment, SPARED, Warning,
            "Find who asks so much in `outrigger watch`; raise `in_flight_max` if the load is real."),
        R::HostDead => row_of(Fallback, Host, SPARED, Error,
            "Send the journal to us; the host is restarted by itself."),
        R::HostHung => row_of(Fallback, Host, SPARED, Error,
            "Send the journal to us; the host is killed and restarted by itself."),
        R::GateDead => row_of(Degrade, Host, SPARED, Error,
            "Send the journal to us; the gate is restarted by itself."),
        R::KeeperDead => row_of(Degrade, Host, SPARED, Error,
            "Start the service again: until then the kernel lets everything through."),
        R::SensorLost => row_of(Degrade, Environment, SPARED, Error,
            "See `outrigger doctor` for what is no longer covered and why."),

        // Packages and content.
        R::PackageUnsigned => row_of(KeepPrevious, Supplier, SPARED, Error,
            "Get the package from its vendor again; do not install it by hand."),
        R::PackageExpired => row_of(KeepPrevious, Supplier, SPARED, Warning,
            "Check the machine's date, then the mirror; ask the vendor for fresh metadata."),
        R::PackageRolledBack => row_of(KeepPrevious, Supplier, SPARED, Error,
            "Check the mirror: it offers a release older than one already seen."),
        R::PackageTruncated => row_of(KeepPrevious, Supplier, SPARED, Warning,
            "Nothing, it is fetched again; if it goes on, check the mirror."),
        R::ContentRejected => row_of(KeepPrevious, Supplier, SPARED, Warning,
            "Put right what the message names; the content before it stays in force."),
        R::PreflightCrashed => row_of(KeepPrevious, Supplier, SPARED, Error,
            "Send the preflight log to the vendor; the version before it stays in force."),
        R::ShadowDiverged => row_of(KeepPrevious, Supplier, SPARED, Warning,
            "See what it did in `outrigger update history` and send it to the vendor; what was in force decides."),
        R::ProbationFailed => row_of(KeepPrevious, Supplier, SPARED, Error,
            "See what it did in `outrigger update history` and send it to the vendor; the version before it decides again."),

        // The machine.
        R::DiskFull => row_of(Degrade, Environment, SPARED, Error,
            "Make room below the state folder; until then nothing new is remembered over a restart."),
        R::ClockJumped => row_of(Note, Environment, SPARED, Info,
            "Check time synchronisation; deadlines are not affected."),
        R::MachineSuspended => row_of(Note, Administrator, SPARED, Info,
            "Nothing; deadlines do not run while the machine sleeps."),
        R::KernelChanged => row_of(Note, Administrator, SPARED, Info,
            "See `outrigger doctor`: coverage was probed again."),
        R::CoverageShrank => row_of(Degrade, Environment, SPARED, Error,
            "See `outrigger status` for which and why; if it is to stay so, `outrigger coverage accept`."),
        R::UncleanBoots => row_of(Degrade, Environment, SPARED, Error,
            "See `outrigger status` for what does not run because of it, and docs/recovery.md for the way back."),
    };
    row
}

/// The answer to a question that `reason` left without a verdict.
///
/// Whatever the reaction is beside it, a question that waits is answered by its policy's fallback.
pub const fn answer(reason: FailureReason, fallback: Fallback) -> Answer {
    match row(reason).answer {
        Reaction::Fallback | Reaction::KeepPrevious | Reaction::Degrade | Reaction::Note => {
            fallback.answer()
        }
    }
}

/// How often each reason occurred. Counts stop at their largest value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts([u64; FailureReason::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; FailureReason::ALL.len()])
    }
}

impl Counts {
    /// Counts one occurrence of `reason`.
    pub fn add(&mut self, reason: FailureReason) {
        self.add_many(reason, 1);
    }

    /// Counts `times` occurrences of `reason`.
    pub fn add_many(&mut self, reason: FailureReason, times: u64) {
        let count = &mut self.0[reason.index()];
        *count = count.saturating_add(times);
    }

    /// How often `reason` occurred.
    pub fn get(&self, reason: FailureReason) -> u64 {
        self.0[reason.index()]
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The reasons that occurred, with how often, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (FailureReason, u64)> {
        FailureReason::ALL
            .iter()
            .map(|&reason| (reason, self.get(reason)))
            .filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_what_to_do_in_a_sentence() {
        let silent = FailureReason::ALL.iter().find(|&&reason| {
            let advice = row(reason).what_to_do;
            !advice.ends_with('.') || !advice.starts_with(|c: char| c.is_ascii_uppercase())
        });

        assert_eq!(silent, None);
    }

    #[test]
    fn nobody_but_an_engine_is_quarantined_for_a_fault() {
        let wronged = FailureReason::ALL.iter().find(|&&reason| {
            row(reason).counts_towards_quarantine && row(reason).fault != Fault::Engine
        });

        assert_eq!(wronged, None);
    }

    #[test]
    fn a_waiting_question_gets_its_fallback_for_any_reason() {
        assert!(
            FailureReason::ALL
                .iter()
                .all(|&reason| answer(reason, Fallback::Closed) == Answer::Deny
                    && answer(reason, Fallback::Open) == Answer::Allow)
        );
    }

    #[test]
    fn a_poisoned_object_does_not_bring_its_engine_nearer_to_quarantine() {
        assert!(!row(FailureReason::PoisonedObject).counts_towards_quarantine);
    }

    #[test]
    fn reasons_are_counted_apart() {
        let mut counts = Counts::default();

        counts.add(FailureReason::EngineSlow);
        counts.add_many(FailureReason::QueueFull, 2);
        counts.add_many(FailureReason::QueueFull, u64::MAX);

        assert!(
            counts
                .iter()
                .eq([(FailureReason::EngineSlow, 1), (FailureReason::QueueFull, u64::MAX)])
        );
        assert_eq!(counts.total(), u64::MAX);
    }
}
