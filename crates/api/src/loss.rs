//! What was not told: how many events, and why.
//!
//! A loss is told where it happened in the stream: whoever reads notices in their order knows what it
//! missed, and between which two. What counts a loss exactly says so, what cannot says that.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalogue::EventSet;

/// Notices that did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Which events they may have been of; never empty.
    pub events: EventSet,
    /// How many.
    pub lost: Lost,
    /// Where they were lost.
    pub cause: LossCause,
}

/// How many notices were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lost {
    /// As many as this: whoever dropped them counted.
    Exactly(u64),
    /// As many as this, and perhaps more.
    AtLeast(u64),
    /// At least one; nobody counted.
    Unknown,
}

impl Lost {
    /// The smallest number that it can have been.
    pub const fn at_least(self) -> u64 {
        match self {
            Self::Exactly(count) | Self::AtLeast(count) => count,
            Self::Unknown => 1,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exactly(one), Self::Exactly(other)) => Self::Exactly(one.saturating_add(other)),
            (Self::Unknown, Self::Unknown) => Self::Unknown,
            _ => Self::AtLeast(self.at_least().saturating_add(other.at_least())),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(count) => write!(f, "{count}"),
            Self::AtLeast(count) => write!(f, "at least {count}"),
            Self::Unknown => f.write_str("an unknown number"),
        }
    }
}

/// Where notices are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum LossCause {
    /// The kernel's queue or ring to the sensor was full.
    KernelQueue = 1,
    /// The host could not keep up, or could not make the notice.
    HostBusy = 2,
    /// The engine took too little out of its ring.
    EngineRing = 3,
    /// The sensor did not run: it was starting, or started anew.
    SensorStart = 4,
}

impl LossCause {
    /// Every cause, in the order of its numbers.
    pub const ALL: &'static [Self] =
        &[Self::KernelQueue, Self::HostBusy, Self::EngineRing, Self::SensorStart];

    /// The name used in counters, logs and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KernelQueue => "kernel-queue",
            Self::HostBusy => "host-busy",
            Self::EngineRing => "engine-ring",
            Self::SensorStart => "sensor-start",
        }
    }

    /// The number that stands for the cause in records.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The cause with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::KernelQueue),
            2 => Some(Self::HostBusy),
            3 => Some(Self::EngineRing),
            4 => Some(Self::SensorStart),
            _ => None,
        }
    }

    /// The cause's place in [`LossCause::ALL`]: an index for tables with one row per cause.
    pub const fn index(self) -> usize {
        self as usize - 1
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_exact_only_if_both_are() {
        assert_eq!(Lost::Exactly(2).and(Lost::Exactly(3)), Lost::Exactly(5));
        assert_eq!(Lost::Exactly(2).and(Lost::AtLeast(3)), Lost::AtLeast(5));
        assert_eq!(Lost::Exactly(2).and(Lost::Unknown), Lost::AtLeast(3));
        assert_eq!(Lost::Unknown.and(Lost::Unknown), Lost::Unknown);
    }

    #[test]
    fn numbers_and_places_lead_back_to_their_cause() {
        for (place, &cause) in LossCause::ALL.iter().enumerate() {
            assert_eq!(LossCause::from_number(cause.number()), Some(cause));
            assert_eq!(cause.index(), place);
        }
        assert_eq!(LossCause::from_number(0), None);
    }
}
