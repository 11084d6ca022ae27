//! What came of a scenario.

use serde::{Deserialize, Serialize};

use crate::scenario::Stage;

/// What came of a scenario.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) like: String,
    pub(crate) what: String,
    /// What came of each release.
    pub(crate) releases: Vec<Ended>,
    /// Opens, and how many of clean and of guarded files were refused.
    pub(crate) opens: u64,
    pub(crate) wrong_denials: u64,
    pub(crate) guarded_denied: u64,
    /// The longest open, and what it may have taken, ms.
    pub(crate) longest_ms: f64,
    pub(crate) allowed_ms: f64,
    /// How long it was played, ms.
    pub(crate) took_ms: u64,
    /// What did not hold.
    pub(crate) wrong: Vec<String>,
    /// What took longer than promised: the machine can do that too, so it is played once more.
    pub(crate) late: Vec<String>,
    /// Why it could not be played here.
    pub(crate) skipped: Option<String>,
}

/// What came of a release.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// `content 1.1.0`.
    pub(crate) release: String,
    /// What it is, where a scenario has several.
    pub(crate) what: String,
    pub(crate) stage: Stage,
    pub(crate) expected: Stage,
    /// The steps that the journal has.
    pub(crate) steps: Vec<String>,
    /// What the operator reads in the end.
    pub(crate) told: String,
    /// What he reads when it is offered again.
    pub(crate) told_again: Option<String>,
    /// From the first thing that went wrong while it decided until the release before decided again, ms.
    pub(crate) recovery_ms: Option<i64>,
    /// From the command, or the request, to its end, ms.
    pub(crate) took_ms: u64,
    /// The repository was out of reach from preflight on.
    pub(crate) offline: bool,
    /// Clean files refused meanwhile.
    pub(crate) wrong_denials: u64,
}

impl Outcome {
    pub(crate) fn holds(&self) -> bool {
        self.wrong.is_empty() && self.late.is_empty()
    }

    /// The longest of the recoveries, ms.
    pub(crate) fn recovery_ms(&self) -> Option<i64> {
        self.releases.iter().filter_map(|release| release.recovery_ms).max()
    }
}
