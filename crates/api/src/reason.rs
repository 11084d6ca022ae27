//! Every way in which something can fail, by one name each.
//!
//! What is done about a reason (the answer, the counter, whose fault it is) stands in one other
//! place, `outrigger_decision::failure`, whose table does not compile until a new reason has a row.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])+ $variant:ident => $name:literal; )+) => {
        /// Why a required verdict did not come, or a part of the platform failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u8)]
        pub enum FailureReason {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl FailureReason {
            /// Every reason, in the order of the table in `docs/reference/failures.md`.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The name used in counters, logs and messages.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// What the reason means, one sentence.
            pub const fn description(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),+), )+ }
            }
        }
    };
}

reasons! {
    /// The engine's process ended while it held the question.
    EngineCrashed => "engine-crashed";
    /// The engine gave no heartbeat and no answer for its whole hang limit.
    EngineHung => "engine-hung";
    /// The engine's verdict had not come when the budget ended.
    EngineSlow => "engine-slow";
    /// The engine answered a question that had ended.
    LateAnswer => "late-answer";
    /// The engine answered a question twice, or one it was never asked.
    ForeignAnswer => "foreign-answer";
    /// The engine sent bytes that are no record or frame.
    Garbage => "garbage";
    /// The engine moved a ring's cursor to where it cannot be.
    RingCorrupt => "ring-corrupt";
    /// The engine abstained though its verdict was required.
    Abstained => "abstained";
    /// The engine was not docked: starting, or waiting for its next start.
    NotDocked => "not-docked";
    /// The engine is in quarantine.
    Quarantined => "quarantined";
    /// The engine is not asked about this object again: it crashed or hung on it twice.
    PoisonedObject => "poisoned-object";
    /// The engine went over its memory limit.
    OutOfMemory => "out-of-memory";
    /// The engine tried to make more processes or threads than its limit.
    ForkBomb => "fork-bomb";
    /// The engine used up its descriptors.
    FdLeak => "fd-leak";
    /// The engine used up its restarts.
    BudgetExhausted => "budget-exhausted";
    /// More questions waited than the in-flight limit allows.
    QueueFull => "queue-full";
    /// The host ended while it held the question.
    HostDead => "host-dead";
    /// The host was alive and did not serve.
    HostHung => "host-hung";
    /// The gate ended; the keeper starts another.
    GateDead => "gate-dead";
    /// The keeper ended; the kernel's own fail open applies.
    KeeperDead => "keeper-dead";
    /// A sensor, or a part of what it covers, was lost.
    SensorLost => "sensor-lost";
    /// The package has no valid signature.
    PackageUnsigned => "package-unsigned";
    /// The package's metadata has expired.
    PackageExpired => "package-expired";
    /// The package is older than one already seen.
    PackageRolledBack => "package-rolled-back";
    /// The package is shorter than its metadata says.
    PackageTruncated => "package-truncated";
    /// The content does not fit its schema, or its interpreter refused it.
    ContentRejected => "content-rejected";
    /// The engine crashed in preflight.
    PreflightCrashed => "preflight-crashed";
    /// The shadow's verdicts differ from the active ones beyond the limit.
    ShadowDiverged => "shadow-diverged";
    /// A release that had begun to decide did what it must not, and the one before it decides again.
    ProbationFailed => "probation-failed";
    /// A write failed because the disk is full.
    DiskFull => "disk-full";
    /// The wall clock jumped.
    ClockJumped => "clock-jumped";
    /// The machine was suspended.
    MachineSuspended => "machine-suspended";
    /// The kernel is not the one that coverage was last probed on.
    KernelChanged => "kernel-changed";
    /// This machine gives less of an event than it gave before.
    CoverageShrank => "coverage-shrank";
    /// The machine, or the host, started again and again without coming to be healthy.
    UncleanBoots => "unclean-boots";
}

impl std::fmt::Display for FailureReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FailureReason {
    /// The reason's place in [`FailureReason::ALL`]: an index for tables with one row per reason.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// An error with what led to it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
