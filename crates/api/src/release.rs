//! Releases of engines: what is released, and the states that a release goes through on a machine.
//!
//! ```text
//! offered ──▶ verified ──▶ staged ──▶ preflight ──▶ shadow ──▶ probation ──▶ active ──▶ retired
//!    └────────────┴───────────┴───────────┴───────────┴───────────┴───────────┤           │
//!                                                                             ▼           │
//!                                                  active ◀── in its place ── rejected    │
//!                                                     ▲                                   │
//!                                                     └─── what was in force before ──────┘
//! ```
//!
//! Every release goes through all of it, the first one of an engine too. In probation and active it is *in force*: it
//! decides. One that is rejected then gives its place back to the one that it took it from, if that still lies on
//! the disk: the only way from retired to active.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What of an engine is released. Each has slots and a version of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The program and its manifest.
    Code,
    /// The rules or signatures that the program interprets.
    Content,
}

impl Part {
    /// Both, code first.
    pub const ALL: [Self; 2] = [Self::Code, Self::Content];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Content => "content",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a release stands on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its repository has it.
    Offered,
    /// Its bytes are here and are those that its publisher signed.
    Verified,
    /// It lies in the inactive slot, whole and on the disk.
    Staged,
    /// It is being tried out against recorded events, in the sandbox.
    Preflight,
    /// It runs beside the active one; its verdicts are compared and not enforced.
    Shadow,
    /// It decides, and is watched. The one before lies ready.
    Probation,
    /// It decides.
    Active,
    /// Another release took its place.
    Retired,
    /// It will not decide, for a reason that stands beside it.
    Rejected,
}

impl State {
    /// All, in the order in which a release goes through them.
    pub const ALL: [Self; 9] = [
        Self::Offered,
        Self::Verified,
        Self::Staged,
        Self::Preflight,
        Self::Shadow,
        Self::Probation,
        Self::Active,
        Self::Retired,
        Self::Rejected,
    ];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Verified => "verified",
            Self::Staged => "staged",
            Self::Preflight => "preflight",
            Self::Shadow => "shadow",
            Self::Probation => "probation",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no part, or no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of {1}")]
pub struct NameError(String, &'static str);

impl FromStr for Part {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| NameError(text.to_owned(), "code, content"))
    }
}

impl FromStr for State {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| NameError(text.to_owned(), "the states of a release"))
    }
}
