//! What engines say and what the kernel is told.

use serde::{Deserialize, Serialize};

/// One engine's vote on one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Verdict {
    /// The engine looked and has no objection.
    Allow = 1,
    /// The engine objects; one Deny is enough.
    Deny = 2,
    /// The engine could not judge. Not an Allow: of a required engine it leaves the fallback.
    Abstain = 3,
}

impl Verdict {
    /// The verdict with this number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Allow),
            2 => Some(Self::Deny),
            3 => Some(Self::Abstain),
            _ => None,
        }
    }
}

/// What the one who waits is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Go on.
    Allow,
    /// Refused (`EPERM` at the caller).
    Deny,
}

/// Whether denials are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing is refused; what would have been is recorded.
    Monitor,
    /// Denials are enforced.
    #[default]
    Enforce,
}

/// The answer when a required verdict did not come within the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Allow (fail open).
    #[default]
    Open,
    /// Deny (fail closed).
    Closed,
}

impl Fallback {
    /// The answer that this fallback gives.
    pub const fn answer(self) -> Answer {
        match self {
            Self::Open => Answer::Allow,
            Self::Closed => Answer::Deny,
        }
    }
}

/// What an engine's verdict depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictBasis {
    /// Only on the object's content: the same for every subject, so an Allow may be cached.
    Content,
    /// On who asks as well: asked every time.
    Subject,
}
