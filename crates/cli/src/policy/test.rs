//! `outrigger policy test`: example events beside policies, and what must come of each.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use outrigger_decision::rules::Decision;
use outrigger_policy::example::{Actor, Example, Object, Value};
use serde::{Deserialize, Serialize};

use super::{KEY, Set, bounded, refuse};
use crate::run::{Outcome, UsageError};
use crate::text::{self, GOOD, WRONG, counted, styled, visible};

/// A file of examples.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Examples {
    /// The policies, relative to the file.
    policies: Vec<PathBuf>,
    /// The events.
    #[serde(rename = "example")]
    examples: Vec<Tried>,
}

/// An event and what must come of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tried {
    name: String,
    expect: Verdict,
    /// The rule that decides it, if that matters.
    by: Option<String>,
    /// The marks that are set, if that matters.
    marks: Option<Vec<String>>,
    event: String,
    #[serde(default)]
    subject: Actor,
    #[serde(default)]
    object: Object,
    #[serde(default)]
    context: std::collections::BTreeMap<String, Value>,
}

/// What rules make of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Deny,
    WouldDeny,
    Allow,
    Nothing,
}

impl Verdict {
    /// What was decided, and the rule that did, by its number.
    pub(super) fn of(decision: &Decision) -> (Self, Option<u16>) {
        match (decision.deny, decision.allow, decision.would_deny) {
            (Some(rule), ..) => (Self::Deny, Some(rule)),
            // Nothing is refused in Monitor mode, and what is told is that it would have been.
            (None, _, Some(rule)) => (Self::WouldDeny, Some(rule)),
            (None, Some(rule), None) => (Self::Allow, Some(rule)),
            (None, None, None) => (Self::Nothing, None),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::WouldDeny => "would-deny",
            Self::Allow => "allow",
            Self::Nothing => "nothing",
        }
    }
}

/// What came of one example.
#[derive(Debug, Serialize)]
struct Came {
    file: String,
    name: String,
    good: bool,
    expected: Verdict,
    decided: Verdict,
    by: Option<String>,
    marks: Vec<String>,
}

pub(super) fn run(files: &[PathBuf], json: bool, out: &mut impl Write) -> Result<Outcome> {
    let mut all = Vec::new();
    for file in files {
        let examples = read(file)?;
        let beside = file.parent().unwrap_or_else(|| Path::new(""));
        let policies: Vec<PathBuf> = examples.policies.iter().map(|one| beside.join(one)).collect();
        let set = match Set::load(&policies)? {
            Ok(set) => set,
            Err(errors) => return refuse(&errors, json, out),
        };
        for tried in examples.examples {
            all.push(try_one(file, tried, &set)?);
        }
    }
    let bad = all.iter().filter(|came| !came.good).count();
    if json {
        let line = serde_json::to_string(&serde_json::json!({ "examples": all }))?;
        writeln!(out, "{}", text::visible_json(&line))?;
        return Ok(Outcome::good_if(bad == 0));
    }
    for came in &all {
        writeln!(out, "{}", line(came))?;
    }
    let total = counted(all.len() as u64, "example");
    writeln!(
        out,
        "{total}, {}",
        if bad == 0 { "all as expected".to_owned() } else { format!("{bad} not as expected") }
    )?;
    Ok(Outcome::good_if(bad == 0))
}

fn read(file: &Path) -> Result<Examples> {
    let bytes = bounded(file)?;
    let wrong = |why: String| UsageError(format!("{}: {why}", file.display()));
    let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
    toml::from_str(text).map_err(|error| wrong(error.to_string()).into())
}

fn try_one(file: &Path, tried: Tried, set: &Set) -> Result<Came> {
    let Tried { name, expect, by, marks, event, subject, object, context } = tried;
    let example = Example { event, subject, object, context };
    let facts = example
        .facts(&KEY, &set.compiled.marks)
        .with_context(|| UsageError(format!("{}: {name}", file.display())))?;
    let decision = set.compiled.image.decide(&facts);
    let (decided, rule) = Verdict::of(&decision);
    let rule = rule.and_then(|rule| set.compiled.rules.get(usize::from(rule)).cloned());
    let mut given: Vec<String> = set
        .compiled
        .marks
        .names(decision.subject_marks | decision.object_marks)
        .map(str::to_owned)
        .collect();
    given.sort();
    let as_marked = marks.is_none_or(|mut marks| {
        marks.sort();
        marks == given
    });
    let by_it = by.is_none_or(|by| rule.as_deref().is_some_and(|rule| is_of(rule, &by)));
    Ok(Came {
        file: file.display().to_string(),
        name,
        good: decided == expect && by_it && as_marked,
        expected: expect,
        decided,
        by: rule,
        marks: given,
    })
}

/// Whether a rule is the policy of that name, or one of the rules that the policy became.
fn is_of(rule: &str, policy: &str) -> bool {
    rule.strip_prefix(policy).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn line(came: &Came) -> String {
    let mark = if came.good { styled(GOOD, "as expected") } else { styled(WRONG, "NOT EXPECTED") };
    let by = came.by.as_deref().map_or(String::new(), |by| format!(", by {by}"));
    let marks = match came.marks.as_slice() {
        [] => String::new(),
        marks => format!(", marks {}", marks.join(", ")),
    };
    let wanted =
        if came.good { String::new() } else { format!("; expected {}", came.expected.name()) };
    let what = format!("{}: {}: {}{by}{marks}{wanted}", came.file, came.name, came.decided.name());
    format!("{mark}  {}", visible(&what))
}
