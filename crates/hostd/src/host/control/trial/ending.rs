//! How a trial ends: what was before decides again, and the journal is told.

use outrigger_api::FailureReason;
use outrigger_api::control::{EngineAction, EngineState, Response};
use outrigger_api::release::State;
use outrigger_sensor::clock;
use outrigger_update::finding::{Finding, Sign};
use serde_json::json;

use super::super::super::installed::{self, Version};
use super::super::super::releases::{self, Task, Unwritten};
use super::super::Control;
use super::super::swap::Purpose;
use super::{Done, Phase, Step, Trial, answer, described};
use crate::shared::SECOND;

/// What is to be written down.
#[derive(Debug)]
pub(super) struct Ending {
    task: Task,
    /// A thread is at it.
    busy: bool,
    /// The engine has gone back to something that only another host can run, or to nothing.
    by_restart: bool,
}

/// What was before is to decide again.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) finding: Finding,
    /// What was before.
    before: Version,
    /// It is started in place of the other one, which is gone or is to be.
    pub(super) in_place: bool,
}

impl Ending {
    pub(super) const fn new(task: Task) -> Self {
        Self { task, busy: false, by_restart: false }
    }

    /// Whether nothing of the engine decides in this host until another one does.
    pub(super) const fn leaves_nothing(&self) -> bool {
        self.by_restart || matches!(self.task, Task::Withdraw(_))
    }

    /// Why what was on probation is not to decide any more, which the next host must know until it is written.
    pub(super) const fn condemns(&self) -> Option<&Finding> {
        match &self.task {
            Task::RollBack(finding) | Task::Withdraw(finding) => Some(finding),
            Task::Begin(..) | Task::Confirm(..) | Task::Reject(..) | Task::SendBack(..) => None,
        }
    }

    /// What the host's own journal calls it, and how it ended, for people.
    fn told(&self) -> (&'static str, String) {
        match &self.task {
            Task::Reject(_, finding) => ("release-rejected", format!("is not taken: {finding}")),
            Task::RollBack(finding) | Task::SendBack(_, finding) => {
                ("release-rolled-back", format!("was rolled back: {finding}"))
            }
            Task::Withdraw(finding) => (
                "release-rolled-back",
                format!("was rolled back, and there is nothing left to go back to: {finding}"),
            ),
            Task::Begin(_, detail) | Task::Confirm(_, detail) => {
                ("release-confirmed", format!("decides for good: {detail}"))
            }
        }
    }

    /// As the journal has it until it is written.
    pub(super) const fn state(&self) -> State {
        match self.task {
            Task::Begin(..) | Task::Reject(..) => State::Shadow,
            Task::Confirm(..) | Task::RollBack(_) | Task::Withdraw(_) | Task::SendBack(..) => {
                State::Probation
            }
        }
    }
}

impl Back {
    /// What is to decide again.
    pub(super) const fn before(&self) -> &Version {
        &self.before
    }
}

impl Control {
    /// What decides on probation is not to: what was before is started, beside it where it still runs.
    pub(super) fn go_back(&mut self, place: usize, finding: Finding) {
        let Some(trial) = &mut self.trials[place] else { return };
        let Phase::Probation(probation) = &mut trial.phase else { return };
        let before = probation.former.take();
        probation.gate.condemn(finding.clone());
        let name = &self.manifests[place].name;
        let what = described(&trial.releases);
        tracing::error!("{what} of {name} is rolled back: {finding}");
        let value =
            json!({ "engine": name, "releases": trial.releases, "why": finding.to_string() });
        self.host.journal.write("release-rolls-back", value);
        if !matches!(finding.sign, Sign::Stopped | Sign::SentBack) {
            let detail = format!("{what} of {name}: {finding}");
            self.host.note(FailureReason::ProbationFailed, &detail);
        }
        (trial.trouble, trial.due) = (None, u64::MAX);
        self.watch_denials(place, false);
        self.keep_trials();
        let runs_here = |before: &Version| {
            installed::differs(&self.host.manifests[place], &before.spec.manifest).is_none()
        };
        let Some(before) = before.filter(runs_here) else {
            // What only another host can run comes with that one, as soon as the journal says so.
            let why = format!("{what} was rolled back: {finding}");
            self.supervisor.refuse(place, why, clock::now(), &mut self.happenings);
            let ending = Ending { by_restart: true, ..Ending::new(Task::RollBack(finding)) };
            self.end_trial(place, ending);
            return self.read_contents();
        };
        let back = Back { finding, before: before.clone(), in_place: false };
        if let Some(trial) = &mut self.trials[place] {
            trial.phase = Phase::Back(Box::new(back));
        }
        // Its rules need no process to leave.
        self.read_contents();
        let state = self.supervisor.status().get(place).map(|status| status.state);
        if state == Some(EngineState::Docked) && self.swaps[place].is_none() {
            self.swap_to(place, before, Purpose::Back);
        } else {
            self.go_back_in_place(place);
        }
    }

    /// No process of what was before could be started beside the other one, or that is gone.
    pub(in super::super) fn go_back_in_place(&mut self, place: usize) {
        let Some(Trial { phase: Phase::Back(back), .. }) = &mut self.trials[place] else { return };
        back.in_place = true;
        let version = back.before.clone();
        // Whoever waits for another change of the process hears that it came to nothing.
        self.swaps[place] = None;
        let now = clock::now();
        self.trees.expect(&version);
        self.manifests[place] = version.spec.manifest.clone();
        let state = self.supervisor.status().get(place).map(|status| status.state);
        if state == Some(EngineState::Quarantined) {
            // The other one brought it there, and it is the other one that is left.
            let release = EngineAction::Release;
            let released = self.supervisor.command(place, release, now, &mut self.happenings);
            if let Err(error) = released {
                tracing::error!("{error}");
            }
        }
        self.supervisor.restart_as(place, version.spec.clone(), now, &mut self.happenings);
        self.in_force[place] = Some(version);
        // What the other one crashed on is no reason not to ask this one.
        self.forget_poisoned(place);
    }

    /// A process of the engine's was started.
    pub(in super::super) fn started_for_trial(&mut self, place: usize) {
        if let Some(Trial { phase: Phase::Back(back), .. }) = &self.trials[place]
            && back.in_place
        {
            self.went_back(place);
        }
    }

    /// What was before decides, or is about to.
    pub(in super::super) fn went_back(&mut self, place: usize) {
        let Some(Trial { phase: Phase::Back(back), .. }) = &self.trials[place] else { return };
        let ending = Ending::new(Task::RollBack(back.finding.clone()));
        self.end_trial(place, ending);
    }

    /// What was before cannot be started either: nothing of it is in force, and the engine is off the dock.
    pub(super) fn cannot_go_back(&mut self, place: usize, why: &str) {
        let Some(Trial { phase: Phase::Back(back), .. }) = &self.trials[place] else { return };
        let name = &self.manifests[place].name;
        tracing::error!("nothing of {name} is left to go back to, and it is off the dock: {why}");
        let value = json!({ "engine": name, "why": why });
        self.host.journal.write("release-withdrawn", value);
        let ending = Ending::new(Task::Withdraw(back.finding.clone()));
        self.in_force[place] = None;
        self.end_trial(place, ending);
        self.read_contents();
    }

    pub(super) fn end_trial(&mut self, place: usize, ending: Ending) {
        let Some(trial) = &mut self.trials[place] else { return };
        (trial.phase, trial.due) = (Phase::Ending(Box::new(ending)), u64::MAX);
        self.write_ending(place);
    }

    /// Has a thread write down how it ended.
    pub(super) fn write_ending(&mut self, place: usize) {
        let name = self.manifests[place].name.clone();
        let Some(Trial { phase: Phase::Ending(ending), due, .. }) = &mut self.trials[place] else {
            return;
        };
        if std::mem::replace(&mut ending.busy, true) {
            return;
        }
        *due = u64::MAX;
        let task = ending.task.clone();
        let host = std::sync::Arc::clone(&self.host);
        self.in_thread(place, "write-release", move || {
            let written = releases::write(&host.config.state_dir, &name, &task).map(drop);
            host.to_control.trial(Step { place, done: Done::Written(written) });
        });
    }

    /// It was written down, or could not be; the exit code, if the host ends for it.
    pub(super) fn written(&mut self, place: usize, written: Result<(), Unwritten>) -> Option<i32> {
        let Some(Trial { phase: Phase::Ending(ending), due, trouble, .. }) =
            &mut self.trials[place]
        else {
            return None;
        };
        ending.busy = false;
        match written {
            Err(unwritten) if !unwritten.lasting => {
                *due = clock::now().saturating_add(SECOND);
                if trouble.as_ref() != Some(&unwritten.why) {
                    tracing::error!("{}; it is tried again", unwritten.why);
                }
                *trouble = Some(unwritten.why);
                return None;
            }
            Err(unwritten) => tracing::error!("{}", unwritten.why),
            Ok(()) => {}
        }
        let trial = self.trials[place].take()?;
        let Phase::Ending(ending) = trial.phase else { return None };
        let name = self.manifests[place].name.clone();
        let (kind, how) = ending.told();
        let text = format!("{} of {name} {how}", described(&trial.releases));
        tracing::info!("{text}");
        let value = json!({ "engine": name, "releases": trial.releases, "how": how });
        self.host.journal.write(kind, value);
        self.keep_trials();
        let response = match &ending.task {
            // Who asked for the trial wanted another end than who stopped it.
            Task::Reject(_, finding) if finding.sign != Sign::Stopped => {
                Response::Error { message: format!("{text}; what was in force stays in force") }
            }
            _ => Response::Done { message: text },
        };
        if ending.by_restart {
            return Some(self.make_way(|| answer(trial.replies, &response)));
        }
        answer(trial.replies, &response);
        None
    }
}
