//! What the next host must know of trials, and the journal of releases does not say: what a release on probation is
//! held to, and that one was found bad which could not be written down yet.

use std::collections::HashSet;

use outrigger_api::control::ReleaseName;
use outrigger_api::{EngineName, FileKey};
use outrigger_sensor::clock;
use outrigger_update::finding::{Finding, Sign};
use outrigger_update::probation::Before;
use outrigger_update::readings::Readings;
use outrigger_update::shadow::KNOWN_MAX;
use serde::{Deserialize, Serialize};

use super::super::super::keepsakes;
use super::super::Control;
use super::{Phase, Trial};

/// What is kept of one trial.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    engine: EngineName,
    releases: Vec<ReleaseName>,
    /// What the version before took.
    baseline: Option<Readings>,
    /// What it denied in shadow.
    denied: Vec<String>,
    /// It was found to be bad: the sign, and what was seen.
    condemned: Option<(String, String)>,
}

impl Kept {
    fn of(engine: &EngineName, trial: &Trial) -> Option<Self> {
        let (before, condemned) = match &trial.phase {
            Phase::Entering(entering) => (entering.before(), None),
            Phase::Probation(probation) => {
                (probation.gate.before().clone(), probation.gate.finding())
            }
            // Nothing is to be held to anything any more, but to what was found.
            Phase::Back(back) => (Before::default(), Some(&back.finding)),
            Phase::Ending(ending) => (Before::default(), Some(ending.condemns()?)),
            Phase::Finding | Phase::Starting { .. } | Phase::Shadow(_) => return None,
        };
        Some(Self {
            engine: engine.clone(),
            releases: trial.releases.clone(),
            baseline: before.baseline,
            denied: before.denied.iter().map(ToString::to_string).collect(),
            condemned: condemned
                .map(|finding| (finding.sign.name().to_owned(), finding.text.clone())),
        })
    }

    /// What it is held to.
    pub(super) fn before(&self) -> Before {
        let denied = self.denied.iter().take(KNOWN_MAX);
        let denied: HashSet<FileKey> = denied.filter_map(|key| key.parse().ok()).collect();
        Before { baseline: self.baseline, denied }
    }

    /// Why it is bad, if that was found.
    pub(super) fn finding(&self) -> Option<Finding> {
        let (sign, text) = self.condemned.as_ref()?;
        Some(Finding::new(Sign::named(sign)?, text.as_str()))
    }
}

impl Control {
    /// Keeps what the next host must know.
    pub(super) fn keep_trials(&mut self) {
        let mut rows = Vec::new();
        for (manifest, trial) in self.manifests.iter().zip(&self.trials) {
            rows.extend(trial.as_ref().and_then(|trial| Kept::of(&manifest.name, trial)));
        }
        self.keep_rows(&rows);
    }

    fn keep_rows(&mut self, rows: &[Kept]) {
        match serde_json::to_vec(rows) {
            Ok(text) => self.keepsakes.keep(keepsakes::TRIALS, text, clock::now()),
            Err(error) => tracing::error!(%error, "what is known of trials cannot be written down"),
        }
    }

    /// What the host before knew of the trial of `releases`.
    pub(super) fn kept(&self, engine: &EngineName, releases: &[ReleaseName]) -> Option<Kept> {
        let text = self.keepsakes.read(keepsakes::TRIALS)?;
        // What cannot be read is as good as not there: the release is held to less.
        let rows: Vec<Kept> = serde_json::from_str(&text).ok()?;
        rows.into_iter().find(|row| row.engine == *engine && row.releases == releases)
    }
}
