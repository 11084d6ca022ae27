//! A release on probation: what is watched of it.

use std::sync::atomic::Ordering;

use outrigger_api::{Event, FailureReason, FileKey, Verdict, control};
use outrigger_decision::failure::{self, Fault};
use outrigger_sensor::clock;
use outrigger_update::finding::{Finding, Standing};
use outrigger_update::probation::{Before, Denial, Gate, Limits};
use outrigger_update::readings;
use serde_json::json;

use super::super::super::installed::Version;
use super::super::super::releases::Task;
use super::super::Control;
use super::ending::Ending;
use super::measure::Mark;
use super::shadow::Entering;
use super::{Phase, Trial, described};
use outrigger_api::control::EngineState;
use outrigger_update::store::ReleaseId;

use crate::shared::SECOND;

/// A release that decides and is watched.
#[derive(Debug)]
pub(super) struct OnProbation {
    pub(super) entries: Vec<ReleaseId>,
    /// What decided before; `None` if there was nothing.
    pub(super) former: Option<Version>,
    pub(super) gate: Gate,
    /// From when on it is measured.
    pub(super) mark: Mark,
    /// From when on it is timed.
    recent: Mark,
    /// An operator has put the engine in quarantine: that is not the release's doing.
    pub(super) set_aside: bool,
}

/// A denial by an engine that is watched.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) place: usize,
    pub(crate) event: Event,
    pub(crate) object: FileKey,
    pub(crate) path: Option<String>,
    pub(crate) rule: String,
    pub(crate) guarded: bool,
    /// It was denied by a rule of its release in shadow alone, or by one in force alone, or by both.
    pub(crate) compared: Option<Compared>,
}

/// What rules of the release that decides say of something, and those of the one in shadow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    pub(crate) active: Verdict,
    pub(crate) shadow: Verdict,
}

impl OnProbation {
    /// Adds what is told of it.
    pub(super) fn tell(&self, told: &mut control::Trial, answers: u64, now: u64) {
        told.served_ms = self.gate.served(now) / 1_000_000;
        told.length_ms = self.gate.length() / 1_000_000;
        (told.judged, told.missed) = (answers, self.gate.misses());
    }
}

impl Control {
    /// What stood its shadow decides from now on. `lost` is why its process is not there after all.
    pub(in super::super) fn begin_probation(
        &mut self,
        place: usize,
        former: Option<Version>,
        lost: Option<String>,
    ) {
        let Some(trial) = &mut self.trials[place] else { return };
        let Phase::Entering(entering) = std::mem::replace(&mut trial.phase, Phase::Finding) else {
            return;
        };
        let before = entering.before();
        let Entering { version, .. } = *entering;
        let (entries, what) = (version.entries(), described(&trial.releases));
        tracing::info!("{what} of {} decides, on probation", self.manifests[place].name);
        self.watch(place, entries, former, before);
        if let Some(why) = lost {
            self.judge_probation(place, |gate| {
                gate.fault(FailureReason::EngineCrashed, &why).cloned()
            });
        }
    }

    /// Begins to watch what decides.
    pub(super) fn watch(
        &mut self,
        place: usize,
        entries: Vec<ReleaseId>,
        former: Option<Version>,
        before: Before,
    ) {
        let now = clock::now();
        let mark = self.mark(place);
        let wanted = &self.host.manifests[place].events;
        let events = Event::askable().filter(|event| wanted.iter().any(|one| one.event == *event));
        let budget = events.map(|event| self.host.facts(event).budget).max();
        let budget = budget.unwrap_or(self.host.shortest_budget);
        let Some(trial) = &mut self.trials[place] else { return };
        let gate = Gate::begin(Limits::new(&trial.config.probation, budget), before, now);
        (trial.trouble, trial.due) = (None, now.saturating_add(SECOND.min(gate.length())));
        let value = json!({ "engine": self.manifests[place].name, "releases": trial.releases });
        self.host.journal.write("probation-begins", value);
        let recent = mark.clone();
        trial.phase = Phase::Probation(Box::new(OnProbation {
            entries,
            former,
            gate,
            mark,
            recent,
            set_aside: false,
        }));
        self.watch_denials(place, true);
        self.keep_trials();
    }

    /// Has every denial of the engine told, or none.
    pub(super) fn watch_denials(&self, place: usize, on: bool) {
        let bit = 1_u64 << (place % 64);
        match on {
            true => self.host.watched.fetch_or(bit, Ordering::AcqRel),
            false => self.host.watched.fetch_and(!bit, Ordering::AcqRel),
        };
    }

    /// Has the gate judge; a finding leads back at once.
    pub(in super::super) fn judge_probation(
        &mut self,
        place: usize,
        judge: impl FnOnce(&mut Gate) -> Option<Finding>,
    ) {
        let Some(Trial { phase: Phase::Probation(probation), .. }) =
            self.trials.get_mut(place).and_then(Option::as_mut)
        else {
            return;
        };
        if let Some(finding) = judge(&mut probation.gate) {
            self.go_back(place, finding);
        }
    }

    /// The engine denied something.
    pub(in super::super) fn hear_denied(&mut self, denied: &Denied) {
        if let Some(compared) = denied.compared {
            return self.hear_compared(denied, compared);
        }
        let denial = Denial {
            event: denied.event,
            object: denied.object,
            path: denied.path.as_deref(),
            rule: &denied.rule,
            guarded: denied.guarded,
        };
        self.judge_probation(denied.place, |gate| gate.denied(&denial).cloned());
    }

    /// The engine left questions without a verdict.
    pub(in super::super) fn missed_on_trial(&mut self, place: usize, count: u32) {
        let Some(Some(Trial { phase: Phase::Probation(probation), .. })) = self.trials.get(place)
        else {
            return;
        };
        let answers = self.read_on(place, &probation.mark, clock::now()).answers;
        self.judge_probation(place, |gate| gate.missed(count.into(), answers).cloned());
    }

    /// The engine's process was lost, or did what no engine may.
    pub(in super::super) fn fault_on_trial(
        &mut self,
        place: usize,
        reason: FailureReason,
        why: &str,
    ) {
        let row = failure::row(reason);
        // What an operator does to it is no fault, and what it left unanswered is counted as such.
        let counts = row.fault == Fault::Engine
            && row.counts_towards_quarantine
            && reason != FailureReason::EngineSlow;
        if counts {
            self.judge_probation(place, |gate| gate.fault(reason, why).cloned());
        }
    }

    /// The engine will not dock by itself any more.
    pub(in super::super) fn gone_on_trial(
        &mut self,
        place: usize,
        reason: FailureReason,
        why: &str,
    ) {
        match self.trials.get(place).and_then(Option::as_ref).map(|trial| &trial.phase) {
            Some(Phase::Probation(probation)) if !probation.set_aside => {
                self.judge_probation(place, |gate| gate.lost(reason, why).cloned());
            }
            Some(Phase::Back(back)) if back.in_place && reason == FailureReason::NotDocked => {
                self.cannot_go_back(place, why);
            }
            _ => {}
        }
    }

    /// An operator takes the engine off the dock, or lets it dock again.
    pub(in super::super) fn set_aside(&mut self, place: usize, aside: bool) {
        if let Some(Trial { phase: Phase::Probation(probation), .. }) = &mut self.trials[place] {
            probation.set_aside = aside;
        }
    }

    pub(super) fn look_at_probation(&mut self, place: usize, now: u64) {
        let Some(Trial { phase: Phase::Probation(probation), .. }) = &self.trials[place] else {
            return;
        };
        let readings = self.read_lately(place, &probation.mark, &probation.recent, now);
        let fresh = (readings.timed >= readings::TIMED_MIN).then(|| self.mark(place));
        let state = self.supervisor.status().get(place).map(|status| status.state);
        let Some(Trial { phase: Phase::Probation(probation), waits, due, .. }) =
            &mut self.trials[place]
        else {
            return;
        };
        probation.recent = fresh.unwrap_or_else(|| probation.recent.clone());
        match probation.gate.look(&readings, now) {
            Standing::Running | Standing::Waiting(_) => {
                let left = probation.gate.length().saturating_sub(probation.gate.served(now));
                *due = now.saturating_add(left.clamp(1, SECOND));
            }
            Standing::Failed(finding) => self.go_back(place, finding),
            Standing::Passed if state != Some(EngineState::Docked) => {
                *waits = Some("the engine to dock".to_owned());
            }
            Standing::Passed => {
                let summary = probation.gate.summary(readings.answers);
                let entries = probation.entries.clone();
                self.watch_denials(place, false);
                let detail = format!("stood its probation: {summary}");
                self.end_trial(place, Ending::new(Task::Confirm(entries, detail)));
            }
        }
    }
}
