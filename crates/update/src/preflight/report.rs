//! What a preflight found: for a script as JSON, for a person on one screen.

use std::collections::BTreeMap;
use std::fmt;

use outrigger_api::release::Part;
use serde::{Deserialize, Serialize};

use crate::preflight::{CheckName, Reason};

/// Most findings of one check that are kept; the rest is counted.
const FINDINGS_MAX: usize = 20;
/// Findings of one check that a screen has room for.
const SHOWN_MAX: usize = 5;

/// What a preflight found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The engine.
    pub engine: String,
    /// Which part is new.
    pub part: Part,
    /// What was tried together.
    pub versions: Versions,
    /// Whether it may go on to be put in force.
    pub passed: bool,
    /// Why not: the reason of the first finding.
    pub reason: Option<Reason>,
    /// Every check, in the order in which they were made.
    pub checks: Vec<Check>,
    /// How long it took, in ms.
    pub took_ms: u64,
}

/// Versions of both parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The code's.
    pub code: String,
    /// The content's; `None` without content, or if it is no release.
    pub content: Option<String>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: CheckName,
    /// What came of it.
    pub outcome: Outcome,
    /// Counts and times, each named with its unit.
    pub figures: BTreeMap<String, u64>,
    /// What failed.
    pub findings: Vec<Finding>,
    /// Findings that were not kept.
    pub more_findings: u64,
    /// What a reader must know before he trusts the result: what was not to be had, what was not tried.
    pub notes: Vec<String>,
    /// How long it took, in ms.
    pub took_ms: u64,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing is wrong.
    Passed,
    /// Something is.
    Failed,
    /// It was not made; a note says why.
    NotTried,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub reason: Reason,
    /// What, where, and on which object.
    pub text: String,
}

impl Check {
    /// A check that was not made yet.
    pub(super) fn new(name: CheckName) -> Self {
        Self {
            name,
            outcome: Outcome::NotTried,
            figures: BTreeMap::new(),
            findings: Vec::new(),
            more_findings: 0,
            notes: Vec::new(),
            took_ms: 0,
        }
    }

    /// Sets a figure.
    pub(super) fn figure(&mut self, name: &str, value: u64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// Adds what is wrong.
    pub(super) fn fail(&mut self, reason: Reason, text: impl Into<String>) {
        self.outcome = Outcome::Failed;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { reason, text: text.into() });
        } else {
            self.more_findings += 1;
        }
    }

    /// Whether something is wrong.
    pub(super) fn failed(&self) -> bool {
        self.outcome == Outcome::Failed
    }
}

impl Report {
    /// The check of this name.
    pub fn check(&self, name: CheckName) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// The first thing that is wrong: what a journal's line has room for.
    pub fn first_finding(&self) -> Option<&Finding> {
        self.checks.iter().find_map(|check| check.findings.first())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotTried => "not tried",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versions { code, content } = &self.versions;
        write!(f, "preflight of {} {}: code {code}", self.engine, self.part)?;
        if let Some(content) = content {
            write!(f, ", content {content}")?;
        }
        match self.reason {
            None => writeln!(f, ": PASSED in {} ms", self.took_ms)?,
            Some(reason) => writeln!(f, ": FAILED ({reason}) after {} ms", self.took_ms)?,
        }
        for check in &self.checks {
            let figures: Vec<String> = check
                .figures
                .iter()
                .map(|(name, value)| format!("{value} {}", name.replace('_', " ")))
                .collect();
            let figures = figures.join(", ");
            writeln!(
                f,
                "{}",
                format!("  {:13} {:9} {figures}", check.name, check.outcome).trim_end()
            )?;
        }
        for check in &self.checks {
            for finding in check.findings.iter().take(SHOWN_MAX) {
                writeln!(f, "{}: {}", finding.reason, finding.text)?;
            }
            let kept = check.findings.len().saturating_sub(SHOWN_MAX);
            let more = u64::try_from(kept).unwrap_or(u64::MAX) + check.more_findings;
            if more > 0 {
                writeln!(f, "{}: and {more} more", check.name)?;
            }
        }
        // What follows from a failure is the same for every check after it: said once.
        let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
        for (check, note) in self.checks.iter().flat_map(|it| it.notes.iter().map(move |n| (it, n)))
        {
            match notes.iter_mut().find(|(text, _)| text == note) {
                Some((_, names)) => names.push(check.name.name()),
                None => notes.push((note, vec![check.name.name()])),
            }
        }
        for (note, names) in notes {
            writeln!(f, "note: {}: {note}", names.join(", "))?;
        }
        Ok(())
    }
}
