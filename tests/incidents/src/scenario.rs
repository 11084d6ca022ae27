//! Scenarios as data: what is offered, what is wrong with it, and what has to become of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use outrigger_api::release::{Part, State};
use outrigger_testkit::Victim;
use serde::{Deserialize, Serialize};

/// The files that scenarios stand in.
const FILES: [(&str, &str); 3] = [
    ("incidents.toml", include_str!("../scenarios/incidents.toml")),
    ("faults.toml", include_str!("../scenarios/faults.toml")),
    ("supply.toml", include_str!("../scenarios/supply.toml")),
];
/// What is shown elsewhere, or cannot be played here.
const ELSEWHERE: &str = include_str!("../scenarios/elsewhere.toml");

/// One scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// Its name, unique.
    pub id: String,
    /// The incident or the fault class that it plays.
    pub like: String,
    /// What happens, for a person.
    pub what: String,
    /// Whether `make incidents-quick` plays it.
    #[serde(default)]
    pub quick: bool,
    /// The engine that releases are offered of.
    pub(crate) engine: Engine,
    /// How the engine is docked, and what its manifest says.
    #[serde(default)]
    pub(crate) docked: Docked,
    /// A file of the real machine that lies on the protected file system, is opened all the time, and is guarded.
    pub(crate) victim: Option<Victim>,
    /// What is done, from a step of the trial on, that was not done before.
    pub(crate) rare: Option<Rare>,
    /// Whether the corpus of what is known to be good has programs that are run, besides files that are opened.
    #[serde(default = "yes")]
    pub(crate) corpus_runs: bool,
    /// Lines for `updates.toml` in place of its own below `[shadow]` and `[probation]`.
    #[serde(default)]
    pub(crate) shadow: BTreeMap<String, u32>,
    #[serde(default)]
    pub(crate) probation: BTreeMap<String, u32>,
    /// Lines for `[download]` there.
    #[serde(default)]
    pub(crate) download: BTreeMap<String, u32>,
    /// What is offered, one after the other.
    pub(crate) release: Vec<Release>,
}

/// The engine that releases are offered of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Engine {
    /// Does what it is told (`engines/hostile`).
    Hostile,
    /// Hash lists.
    Hashlist,
    /// The interpreter of 19 July 2024 (`engines/channel291`).
    Channel291,
}

/// How the engine is docked, and what its manifest says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Docked {
    /// None of its denials is enforced.
    #[serde(default)]
    pub(crate) monitored: bool,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) threads: Option<u32>,
    pub(crate) start_ms: Option<u32>,
    /// Of channel291: the manifest in its folder.
    pub(crate) manifest: Option<String>,
}

/// What is done that was not done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Rare {
    pub(crate) act: Act,
    /// From when on: `shadow` or `probation`.
    pub(crate) from: State,
}

/// A rare act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// The file `rare` is opened.
    Open,
    /// The program `program` is run.
    Exec,
}

/// A release that is offered.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Release {
    pub(crate) part: Part,
    /// What it is, where a scenario has several.
    #[serde(default)]
    pub(crate) what: String,
    /// Of the hostile engine: what it does.
    #[serde(default)]
    pub(crate) words: String,
    /// Of content: more files. `SUM(name)` stands for the SHA-256 of a file of the protected volume.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// So many entries in a list of hashes besides.
    #[serde(default)]
    pub(crate) entries: usize,
    /// Of content: the code that it is for.
    pub(crate) interpreter: Option<String>,
    /// What is wrong with how it is published.
    #[serde(default)]
    pub(crate) supply: Supply,
    /// It comes into shadow as if preflight had found nothing.
    #[serde(default)]
    pub(crate) preflight_passes: bool,
    pub(crate) expect: Expect,
}

/// What is wrong with how a release is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Supply {
    /// Nothing.
    #[default]
    Sound,
    /// The newest metadata has no signature.
    Unsigned,
    /// It has the signature of other bytes.
    Forged,
    /// It has expired.
    Expired,
    /// The metadata that was the newest before the last release is shown again.
    RolledBack,
    /// What is the newest is not renewed until it has expired.
    Frozen,
    /// The list of what is the newest is that of another day.
    Mixed,
    /// The newest metadata never ends.
    Endless,
    /// A byte of the package is another.
    Altered,
    /// The package ends in its middle.
    Truncated,
    /// Nobody answers.
    Gone,
}

/// What has to become of a release.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) stage: Stage,
    /// Words that the operator reads.
    #[serde(default)]
    pub(crate) says: Vec<String>,
    /// Whether it may have refused files wrongly, of which no more different ones than the policy lets it, before it
    /// was rolled back.
    #[serde(default)]
    pub(crate) may_deny: bool,
    /// Whether it is known as bad when it is offered again.
    #[serde(default = "yes")]
    pub(crate) remembered: bool,
}

/// Where a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// The repository's word was not taken, or what it sent.
    Repository,
    /// The package was not.
    Package,
    /// Its content does not fit its schema.
    Schema,
    /// It failed on recorded events.
    Preflight,
    /// It failed on live ones, beside the release in force.
    Shadow,
    /// It failed in force, and was rolled back.
    Probation,
    /// It is in force.
    #[default]
    Active,
}

impl Stage {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Package => "package",
            Self::Schema => "schema",
            Self::Preflight => "preflight",
            Self::Shadow => "shadow",
            Self::Probation => "probation",
            Self::Active => "active",
        }
    }
}

/// A line of the corpus that no scenario plays.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Elsewhere {
    pub(crate) like: String,
    /// Why it is not played here.
    pub(crate) why: String,
    /// What shows it, if anything does.
    #[serde(default)]
    pub(crate) shown_by: Vec<String>,
}

fn yes() -> bool {
    true
}

/// Every scenario, in the order of the files.
///
/// # Errors
///
/// If one is not as it must be.
pub fn all() -> Result<Vec<Scenario>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        scenario: Vec<Scenario>,
    }
    let mut all = Vec::new();
    for (name, text) in FILES {
        let file: File = toml::from_str(text).with_context(|| format!("scenarios/{name}"))?;
        all.extend(file.scenario);
    }
    let ids: BTreeSet<&str> = all.iter().map(|scenario| scenario.id.as_str()).collect();
    ensure!(ids.len() == all.len(), "two scenarios have the same id");
    let empty = all.iter().find(|scenario| scenario.release.is_empty());
    ensure!(empty.is_none(), "{empty:?} offers nothing");
    Ok(all)
}

/// What is not played here.
pub(crate) fn elsewhere() -> Result<Vec<Elsewhere>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        elsewhere: Vec<Elsewhere>,
    }
    let file: File = toml::from_str(ELSEWHERE).context("scenarios/elsewhere.toml")?;
    Ok(file.elsewhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_can_be_read() {
        let all = all().expect("they are as they must be");

        assert!(all.len() >= 40, "{}", all.len());
    }

    #[test]
    fn a_dozen_of_them_is_quick() {
        let all = all().expect("they are as they must be");

        assert_eq!(all.iter().filter(|scenario| scenario.quick).count(), 12);
    }

    #[test]
    fn what_is_not_played_says_why() {
        let elsewhere = elsewhere().expect("it is as it must be");

        assert!(elsewhere.iter().all(|line| !line.why.is_empty()));
    }
}
