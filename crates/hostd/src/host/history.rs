//! The last decisions, for `explain` and `watch`.
//!
//! A bounded ring in memory. An entry is compact where it is written (on the decision path) and becomes
//! the operator's [`Decision`] where it is read.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use outrigger_api::control::{Decision, Vote};
use outrigger_api::record::Detail;
use outrigger_api::{Answer, CaseId, EngineName, Event, FailureReason, ProcessKey, Verdict};
use outrigger_decision::{DecidedBy, EngineIndex};
use outrigger_sensor::clock;

/// Decisions kept.
const KEPT: usize = 2048;
/// How long a watcher waits before it looks whether its reader is still there.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// One decision, as the decision path writes it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) case: CaseId,
    pub(crate) event: Event,
    pub(crate) process: ProcessKey,
    pub(crate) pid: u32,
    pub(crate) uid: Option<u32>,
    pub(crate) program: Option<PathBuf>,
    pub(crate) path: Option<PathBuf>,
    pub(crate) answer: Answer,
    pub(crate) decided_by: Decider,
    /// The rule that decided, if one did.
    pub(crate) rule: Option<Arc<str>>,
    /// The rule that would have denied it, were it enforced.
    pub(crate) watched_rule: Option<Arc<str>>,
    pub(crate) not_enforced: bool,
    pub(crate) read_at: u64,
    pub(crate) answered_at: u64,
    pub(crate) budget: u64,
    pub(crate) cached: bool,
    pub(crate) votes: Vec<EntryVote>,
}

/// Who decided, the host's own reasons included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decider {
    /// The arbiter's merge.
    Merge(DecidedBy),
    /// A guard rail did not let the Deny through.
    GuardRail,
    /// The file was empty, and every engine had allowed empty content before.
    EmptyFile,
    /// A rule of the administrator's or of an engine's content.
    Rule,
}

impl Decider {
    /// Why the fallback decided, if it did.
    pub(crate) const fn fallback_reason(self) -> Option<FailureReason> {
        match self {
            Self::Merge(DecidedBy::Fallback(reason)) => Some(reason),
            Self::Merge(_) | Self::GuardRail | Self::EmptyFile | Self::Rule => None,
        }
    }
}

/// One engine's part.
#[derive(Debug, Clone)]
pub(crate) struct EntryVote {
    pub(crate) engine: EngineIndex,
    pub(crate) required: bool,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) missing: Option<FailureReason>,
    pub(crate) at: Option<u64>,
    /// Kept only where it says something.
    pub(crate) detail: Option<Box<Detail>>,
}

/// The ring and those who watch it.
#[derive(Debug)]
pub(crate) struct History {
    ring: Mutex<Ring>,
    added: Condvar,
    watchers: AtomicUsize,
    /// Wall clock minus monotonic clock at the host's start, ms.
    wall_offset_ms: u64,
    names: Vec<EngineName>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    /// Number of the entry after the last.
    next: u64,
}

impl History {
    /// An empty history for engines of these names.
    pub(crate) fn new(names: Vec<EngineName>) -> Self {
        let wall_offset_ms = super::journal::now_ms().saturating_sub(clock::now() / 1_000_000);
        Self {
            ring: Mutex::default(),
            added: Condvar::new(),
            watchers: AtomicUsize::new(0),
            wall_offset_ms,
            names,
        }
    }

    /// Whether anybody watches, so that it is worth finding out paths for people to read.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// Adds decisions, and drops the oldest beyond the limit.
    pub(crate) fn add(&self, entries: impl Iterator<Item = Entry>) {
        let mut ring = self.lock();
        for entry in entries {
            if ring.entries.len() == KEPT {
                ring.entries.pop_front();
            }
            ring.entries.push_back(entry);
            ring.next += 1;
        }
        drop(ring);
        if self.is_watched() {
            self.added.notify_all();
        }
    }

    /// One decision, if it is still kept.
    pub(crate) fn find(&self, case: u64) -> Option<Decision> {
        let ring = self.lock();
        let entry = ring.entries.iter().rev().find(|entry| entry.case.get() == case)?.clone();
        drop(ring);
        Some(self.describe(entry))
    }

    /// The numbers of the oldest and the newest case kept.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        let ring = self.lock();
        let cases = || ring.entries.iter().map(|entry| entry.case.get());
        Some((cases().min()?, cases().max()?))
    }

    /// Calls `each` with every decision from now on until it returns false. Decisions that a slow
    /// reader missed are told as a number; `None` now and then asks whether the reader is still there.
    pub(crate) fn watch(&self, mut each: impl FnMut(Option<Watched>) -> bool) {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        let mut next = self.lock().next;
        loop {
            let ring = self.lock();
            let (ring, _) = self
                .added
                .wait_timeout_while(ring, WATCH_PAUSE, |ring| ring.next == next)
                .unwrap_or_else(PoisonError::into_inner);
            let first = ring.next - ring.entries.len() as u64;
            let missed = first.saturating_sub(next);
            let skip = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
            let fresh: Vec<Entry> = ring.entries.iter().skip(skip).cloned().collect();
            next = ring.next;
            drop(ring);
            let gap = (missed > 0).then_some(Watched::Missed(missed));
            let decisions =
                fresh.into_iter().map(|entry| Watched::Decision(Box::new(self.describe(entry))));
            if !gap.into_iter().chain(decisions).map(Some).chain([None]).all(&mut each) {
                break;
            }
        }
        self.watchers.fetch_sub(1, Ordering::AcqRel);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The decision as an operator reads it.
    pub(crate) fn describe(&self, entry: Entry) -> Decision {
        let text = |path: Option<PathBuf>| path.map(|path| path.to_string_lossy().into_owned());
        let vote = |vote: EntryVote| {
            Some(Vote {
                engine: self.names.get(vote.engine.get())?.clone(),
                required: vote.required,
                verdict: vote.verdict,
                missing: vote.missing.map(|reason| reason.name().to_owned()),
                took_ns: vote.at.map(|at| at.saturating_sub(entry.read_at)),
                detail: vote.detail.map(|detail| detail.as_str().to_owned()),
            })
        };
        Decision {
            case: entry.case.get(),
            time_ms: (entry.read_at / 1_000_000).saturating_add(self.wall_offset_ms),
            event: entry.event.name().to_owned(),
            process: entry.process.to_string(),
            pid: entry.pid,
            uid: entry.uid,
            program: text(entry.program.or_else(|| outrigger_sensor::identity::program(entry.pid))),
            path: text(entry.path),
            answer: entry.answer,
            decided_by: self.decider(entry.decided_by, entry.rule.as_deref()),
            watched_rule: entry.watched_rule.as_deref().map(str::to_owned),
            not_enforced: entry.not_enforced,
            took_ns: entry.answered_at.saturating_sub(entry.read_at),
            budget_ns: entry.budget,
            cached: entry.cached,
            votes: entry.votes.into_iter().filter_map(vote).collect(),
        }
    }

    fn decider(&self, decider: Decider, rule: Option<&str>) -> String {
        match decider {
            Decider::Merge(DecidedBy::Engines) => "all engines".to_owned(),
            Decider::Merge(DecidedBy::NoObjection) => "no objection".to_owned(),
            Decider::Merge(DecidedBy::Engine(index)) => {
                let name = self.names.get(index.get()).map_or("?", EngineName::as_str);
                format!("engine {name}")
            }
            Decider::Merge(DecidedBy::Fallback(reason)) => format!("fallback: {reason}"),
            Decider::Merge(DecidedBy::NoEngine) => "no engine asked".to_owned(),
            Decider::GuardRail => "guard rail".to_owned(),
            Decider::EmptyFile => "empty file, allowed before".to_owned(),
            Decider::Rule => format!("rule {}", rule.unwrap_or("?")),
        }
    }
}

/// What a watcher is told.
#[derive(Debug)]
pub(crate) enum Watched {
    /// One decision.
    Decision(Box<Decision>),
    /// So many decisions were made faster than they could be told.
    Missed(u64),
}
