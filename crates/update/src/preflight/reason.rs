//! Words of preflight that journals, scripts and people read: once given, they stay.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a release did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Code and content are not for each other.
    Incompatible,
    /// The content breaks its schema, or names an input that the code does not supply.
    Schema,
    /// The engine does not take its content.
    ContentRefused,
    /// The engine's process ended by itself.
    Crashed,
    /// The engine used more memory than its manifest asks for.
    OutOfMemory,
    /// The engine did not dock in time.
    StartTimeout,
    /// The engine gave no sign of life.
    Hung,
    /// The engine sent what is no part of the contract.
    Garbage,
    /// A known-good object was denied.
    DeniedKnownGood,
    /// An object that the machine needs to live was denied.
    DeniedGuarded,
    /// An answer came after the budget, or too many came late.
    Slow,
    /// It used more of its memory than is left to grow in.
    Memory,
    /// What its content denies was not denied, or the other way round.
    WrongVerdict,
    /// Too little was there to try it on.
    TooLittleEvidence,
    /// It could not be tried, for want of something on this machine: no fault of the release's.
    NotTried,
}

impl Reason {
    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incompatible => "incompatible",
            Self::Schema => "schema",
            Self::ContentRefused => "content-refused",
            Self::Crashed => "crashed",
            Self::OutOfMemory => "out-of-memory",
            Self::StartTimeout => "start-timeout",
            Self::Hung => "hung",
            Self::Garbage => "garbage",
            Self::DeniedKnownGood => "denied-known-good",
            Self::DeniedGuarded => "denied-guarded",
            Self::Slow => "slow",
            Self::Memory => "memory",
            Self::WrongVerdict => "wrong-verdict",
            Self::TooLittleEvidence => "too-little-evidence",
            Self::NotTried => "not-tried",
        }
    }

    /// Whether the release is at fault. If not, it is not to be rejected for good: it may be tried again.
    pub const fn is_the_releases(self) -> bool {
        !matches!(self, Self::TooLittleEvidence | Self::NotTried)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One of the checks, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckName {
    /// Code and content are for each other.
    Compatibility,
    /// The content's files and fields.
    Schema,
    /// The rules for the platform that the content brings along.
    Rules,
    /// The engine starts in its sandbox, on this content.
    Start,
    /// The corpus of a base system.
    KnownGood,
    /// This machine's own recent events.
    OwnEvents,
    /// Made-up content: each field with a value and with a wildcard.
    Instances,
    /// The samples that the release brings along.
    Samples,
    /// How long the answers took.
    Latency,
    /// How much memory it used.
    Memory,
}

impl CheckName {
    /// All, in their order.
    pub const ALL: [Self; 10] = [
        Self::Compatibility,
        Self::Schema,
        Self::Rules,
        Self::Start,
        Self::KnownGood,
        Self::OwnEvents,
        Self::Instances,
        Self::Samples,
        Self::Latency,
        Self::Memory,
    ];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compatibility => "compatibility",
            Self::Schema => "schema",
            Self::Rules => "rules",
            Self::Start => "start",
            Self::KnownGood => "known-good",
            Self::OwnEvents => "own-events",
            Self::Instances => "instances",
            Self::Samples => "samples",
            Self::Latency => "latency",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
