//! Where two versions differ, gathered by event and rule. What is kept is bounded, whatever an engine says.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use outrigger_api::control::Difference;
use outrigger_api::{Event, FileKey, Verdict};

use super::Judged;
use crate::words::{rule, shown};

/// Most rows that are kept; questions of later ones are counted.
const ROWS_MAX: usize = 256;
/// Most rows that are told.
const TOLD_MAX: usize = 32;
/// Most rows that stand in a finding's text.
const LISTED_MAX: usize = 8;
/// Most different objects that are told apart within a row.
const OBJECTS_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    event: Event,
    active: Verdict,
    shadow: Verdict,
    rule: String,
}

#[derive(Debug, Default)]
struct Row {
    count: u64,
    objects: HashSet<FileKey>,
    path: Option<String>,
    guarded: bool,
}

/// The rows.
#[derive(Debug, Default)]
pub(super) struct Differences {
    rows: HashMap<Key, Row>,
    /// Questions that found no row.
    more: u64,
}

impl Differences {
    pub(super) fn add(&mut self, one: &Judged<'_>, active: Verdict, shadow: Verdict) {
        let key = Key { event: one.event, active, shadow, rule: shown(one.rule) };
        if self.rows.len() == ROWS_MAX && !self.rows.contains_key(&key) {
            self.more += 1;
            return;
        }
        let row = self.rows.entry(key).or_default();
        row.count += 1;
        row.guarded |= one.guarded;
        if row.objects.len() < OBJECTS_MAX {
            row.objects.insert(one.object);
        }
        if row.path.is_none() || (one.guarded && one.path.is_some()) {
            row.path = one.path.map(shown).or_else(|| row.path.take());
        }
    }

    fn sorted(&self) -> Vec<(&Key, &Row)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(key, row)| (Reverse((row.guarded, row.count)), &key.rule));
        rows
    }

    pub(super) fn list(&self) -> (Vec<Difference>, u64) {
        let rows = self.sorted();
        let told = rows.iter().take(TOLD_MAX).map(|(key, row)| Difference {
            event: key.event.name().to_owned(),
            active: key.active,
            shadow: key.shadow,
            rule: key.rule.clone(),
            count: row.count,
            objects: row.objects.len() as u64,
            path: row.path.clone(),
            guarded: row.guarded,
        });
        let untold = rows.iter().skip(TOLD_MAX).map(|(_, row)| row.count).sum::<u64>();
        (told.collect(), self.more.saturating_add(untold))
    }

    /// The rows in words, the weightiest first; empty if there is none.
    pub(super) fn listed(&self) -> String {
        let mut text = String::new();
        let (rows, more) = self.list();
        let left = rows.iter().skip(LISTED_MAX).map(|row| row.count).sum::<u64>() + more;
        for row in rows.iter().take(LISTED_MAX) {
            let between = if text.is_empty() { "" } else { "; " };
            let path = row.path.as_deref().unwrap_or("no path known");
            // Writing to a text cannot fail.
            let _ = write!(
                text,
                "{between}{} {} → {} by {}: {} questions, {} objects, first {path}",
                row.event,
                word(row.active),
                word(row.shadow),
                rule(&row.rule),
                row.count,
                row.objects
            );
        }
        if left > 0 {
            let _ = write!(text, "; and {left} questions more");
        }
        text
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Abstain => "abstain",
    }
}
