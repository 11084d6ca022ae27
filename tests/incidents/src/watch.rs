//! Looks at host, journal and engine all the time that a release is on its way, and notes what an operator could
//! have seen, and what he must not.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use outrigger_api::control::{EngineState, EngineStatus, Status};
use outrigger_api::release::{Part, State};
use outrigger_testkit::clock::{now, ns, sleep_until};
use outrigger_testkit::proc;
use outrigger_update::store::{Release as Entry, Store};
use serde_json::Value;

use crate::load::Shared;
use crate::site::Site;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// So long a file that must be refused may be let through before a report in between that says "healthy" is a lie: an
/// engine's silence is known when the first question that it was asked has waited for its budget.
const NOTICE: Duration = Duration::from_millis(250);

/// A release that is watched.
#[derive(Debug, Clone)]
pub(crate) struct Watched<'a> {
    pub(crate) engine: &'a str,
    pub(crate) part: Part,
    pub(crate) version: &'a str,
    /// What is in force of that part before.
    pub(crate) before: &'a str,
    /// It does not know the marked file, so that nothing follows from its being opened while it decides.
    pub(crate) blind: bool,
    /// From which step on the rare act is done.
    pub(crate) rare_from: Option<State>,
}

/// What was noted.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// The steps that the journal had, and when each was seen first.
    pub(crate) states: Vec<(State, u64)>,
    /// When a clean file was refused first while it decided, ms of the wall clock.
    refused: Option<i64>,
    /// When the release before decided again, ms of the wall clock.
    back: Option<i64>,
    /// What was wrong with what the host said of itself.
    pub(crate) lies: BTreeSet<String>,
}

impl Noticed {
    pub(crate) fn state(&self) -> Option<State> {
        self.states.last().map(|(state, _)| *state)
    }

    /// From the first thing that went wrong to the release before, ms; `entry` is its story. What went wrong is told
    /// by the host's journal, or seen by who was refused; at the latest it is the rollback.
    pub(crate) fn recovery_ms(
        &self,
        site: &Site,
        engine: &str,
        entry: &Entry,
    ) -> Result<Option<i64>> {
        let Some(back) = self.back else { return Ok(None) };
        let when = |state| entry.transitions.iter().rfind(|step| step.to == state);
        let (Some(began), Some(ended)) = (when(State::Probation), when(State::Rejected)) else {
            return Ok(None);
        };
        let (began, ended) = (began.at.as_millisecond(), ended.at.as_millisecond());
        let told = told_first(site, engine, began)?;
        let sign = [told, self.refused, Some(ended)].into_iter().flatten().min().unwrap_or(ended);
        Ok(Some(back - sign))
    }
}

/// When the host's journal tells first, from `began` on, of something that went wrong with `engine`, or for want of it.
fn told_first(site: &Site, engine: &str, began: i64) -> Result<Option<i64>> {
    let journal = fs::read_to_string(site.state.join("journal.jsonl"))?;
    let mut first = None;
    for line in journal.lines() {
        // The last line may not be whole yet.
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let is_sign = match line["kind"].as_str() {
            Some("engine-lost" | "engine-fault") => line["engine"] == engine,
            Some("fallback" | "conflict") => true,
            _ => false,
        };
        let at = line["time_ms"].as_i64().filter(|at| is_sign && *at >= began);
        first = [first, at].into_iter().flatten().min();
    }
    Ok(first)
}

/// Does `body` while `watched` is watched; gives what came of both.
pub(crate) fn over<T>(
    site: &Site,
    shared: &Shared,
    watched: &Watched<'_>,
    body: impl FnOnce() -> Result<T>,
) -> Result<(T, Noticed)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut watch = Watch::new(site, shared, watched);
            while !stop.load(SeqCst) {
                let began = now();
                watch.look()?;
                sleep_until(began + ns(LOOK));
            }
            // Once more, for what came about since.
            watch.look()?;
            Ok(watch.noticed)
        });
        let done = body();
        stop.store(true, SeqCst);
        let noticed: Result<Noticed> =
            watcher.join().map_err(|_| anyhow!("the watcher panicked"))?;
        Ok((done?, noticed?))
    })
}

/// The journal's entry for this release; the last, if it was offered again.
pub(crate) fn entry(site: &Site, engine: &str, part: Part, version: &str) -> Result<Option<Entry>> {
    let store = Store::open_read(&site.state)?;
    let entries = store.history(Some(&engine.parse()?))?;
    let is_it = |entry: &Entry| entry.part == part && entry.version.to_string() == version;
    Ok(entries.into_iter().rev().find(is_it))
}

struct Watch<'a> {
    site: &'a Site,
    shared: &'a Shared,
    watched: &'a Watched<'a>,
    noticed: Noticed,
    /// How many clean files had been refused when it began to decide.
    began: Option<u64>,
    /// Since when the marked file is let through although every report says "healthy".
    slips_since: Option<u64>,
}

impl<'a> Watch<'a> {
    fn new(site: &'a Site, shared: &'a Shared, watched: &'a Watched<'a>) -> Self {
        let noticed = Noticed::default();
        Self { site, shared, watched, noticed, began: None, slips_since: None }
    }

    fn look(&mut self) -> Result<()> {
        let watched = self.watched;
        let at = now();
        let through = self.site.lets_through();
        let status = self.site.host.status().context("the host does not answer")?;
        let entry = entry(self.site, watched.engine, watched.part, watched.version)?;
        // It may be over within one look.
        let was_in_force = entry
            .as_ref()
            .is_some_and(|entry| entry.transitions.iter().any(|step| step.to == State::Probation));
        let state = entry.map(|entry| entry.state);
        if let Some(state) = state
            && self.noticed.state() != Some(state)
        {
            self.noticed.states.push((state, at));
        }
        if watched.rare_from.is_some() && watched.rare_from == state {
            self.shared.rare.store(true, SeqCst);
        }
        let engine = status.engines.iter().find(|engine| engine.name.as_str() == watched.engine);
        let engine = engine.context("the host does not know the engine any more")?;
        self.look_for_lies(&status, through, state, at);
        self.look_for_signs(engine, state, was_in_force);
        Ok(())
    }

    fn look_for_lies(&mut self, status: &Status, through: bool, state: Option<State>, at: u64) {
        if status.healthy != status.problems.is_empty() {
            self.lie(format!("healthy: {}, with problems {:?}", status.healthy, status.problems));
        }
        for engine in &status.engines {
            if status.healthy && engine.state != EngineState::Docked {
                self.lie(format!("healthy while {} is {:?}", engine.name, engine.state));
            }
        }
        let decides = matches!(state, Some(State::Probation | State::Active));
        if !through || !status.healthy || (self.watched.blind && decides) {
            self.slips_since = None;
            return;
        }
        let since = *self.slips_since.get_or_insert(at);
        if at - since > ns(NOTICE) {
            self.lie("healthy while what must be refused was let through".to_owned());
        }
    }

    fn look_for_signs(&mut self, engine: &EngineStatus, state: Option<State>, was_in_force: bool) {
        let refused = self.shared.wrong.load(SeqCst);
        match state {
            Some(State::Probation) => {
                let before = *self.began.get_or_insert(refused);
                if self.noticed.refused.is_none() && before != refused {
                    self.noticed.refused = Some(Timestamp::now().as_millisecond());
                }
            }
            Some(State::Rejected) if was_in_force && self.noticed.back.is_none() => {
                let docked =
                    engine.state == EngineState::Docked && engine.pid.is_some_and(proc::is_alive);
                let active = self.site.releases.active(self.watched.engine, self.watched.part);
                let is_back =
                    active.is_ok_and(|active| active.version.to_string() == self.watched.before);
                if docked && is_back && !self.site.lets_through() {
                    self.noticed.back = Some(Timestamp::now().as_millisecond());
                }
            }
            _ => {}
        }
    }

    fn lie(&mut self, what: String) {
        self.noticed.lies.insert(what);
    }
}
