//! A release in shadow: its process, what it says, and how that ends.

use outrigger_api::{FailureReason, Verdict, control};
use outrigger_decision::EngineIndex;
use outrigger_sensor::clock;
use outrigger_update::finding::{Finding, Sign, Standing};
use outrigger_update::probation::Before;
use outrigger_update::readings::Readings;
use outrigger_update::shadow::{Judged as Said, Limits, Shadow};
use serde_json::json;

use super::super::super::installed::{self, Version};
use super::super::super::ledger::Histogram;
use super::super::super::releases::Task;
use super::super::super::shadows::{Judged, Wants};
use super::super::super::subscriptions::Granted;
use super::super::Control;
use super::super::swap::{Hindrance, Purpose};
use super::ending::Ending;
use super::measure::Mark;
use super::{Compared, Denied, Phase, Trial, described};
use crate::shared::SECOND;

/// How often a process that could not be started, or was not welcome, is tried once more.
const TRIES_MAX: u32 = 2;

/// A release that runs in shadow.
#[derive(Debug)]
pub(super) struct InShadow {
    version: Version,
    judge: Shadow,
    /// How long its verdicts took.
    times: Histogram,
    /// From when on the version that decides is measured.
    mark: Mark,
    /// What could not be shown to it, for people.
    unshown: Option<String>,
}

/// A release that stood its shadow.
#[derive(Debug)]
pub(super) struct Entering {
    pub(super) version: Version,
    judge: Shadow,
    /// What the version that decides took meanwhile.
    old: Readings,
    summary: String,
}

impl Entering {
    /// What it is held to from now on.
    pub(super) fn before(&self) -> Before {
        Before { baseline: Some(self.old), denied: self.judge.denied() }
    }
}

impl InShadow {
    /// What is in shadow.
    pub(super) const fn version(&self) -> &Version {
        &self.version
    }

    /// Adds what is told of it.
    pub(super) fn tell(&self, told: &mut control::Trial, now: u64) {
        told.served_ms = self.judge.served(now) / 1_000_000;
        told.length_ms = self.judge.length() / 1_000_000;
        (told.judged, told.missed, told.uncompared) = self.judge.counts();
        (told.differences, told.more) = self.judge.differences();
    }
}

impl Control {
    /// Has the process started, once it is known what this machine gives.
    pub(super) fn start_shadow(&mut self, place: usize, now: u64) {
        let (true, Some(coverage)) = (self.may_go_on(), self.probed.get()) else { return };
        // Its rules are judged for as long as it is.
        if self.swaps[place].is_some() || self.awaits_rules(place) {
            return;
        }
        let Some(Trial { phase: Phase::Starting { version, asked, .. }, .. }) =
            self.trials[place].as_mut()
        else {
            return;
        };
        if let Err(why) = Granted::of(&version.spec.manifest, coverage) {
            let text = format!("it cannot work on this machine: {why}");
            return self.fail_shadow(place, Finding::new(Sign::NotTried, text));
        }
        *asked = true;
        self.trees.expect(version);
        if let Err(error) = self.supervisor.shadow(place, version.spec.clone(), now) {
            self.fail_shadow(place, Finding::new(Sign::NotTried, error.to_string()));
        }
    }

    /// Its process takes copies of questions from now on.
    pub(in super::super) fn shadow_docked(
        &mut self,
        place: usize,
        link: outrigger_supervisor::Link,
    ) {
        let now = clock::now();
        let (Some(index), Some(coverage)) = (EngineIndex::new(place), self.probed.get()) else {
            return self.supervisor.end_shadow(place, now);
        };
        let beside = !self.is_absent(place);
        let mark = self.mark(place);
        let Some(trial) = &mut self.trials[place] else {
            return self.supervisor.end_shadow(place, now);
        };
        let Phase::Starting { version, .. } = &trial.phase else {
            return self.supervisor.end_shadow(place, now);
        };
        let version = Version::clone(version);
        let manifest = &version.spec.manifest;
        // It was asked before it was started.
        let granted = Granted::of(manifest, coverage).unwrap_or_default();
        let facts = |event| self.host.facts(event).budget;
        let budget = granted.asked.iter().map(facts).max().unwrap_or(self.host.shortest_budget);
        let limits = Limits::new(&trial.config, budget, trial.emergency);
        let unshown = beside
            .then(|| installed::differs(&self.host.manifests[place], manifest))
            .flatten()
            .map(|why| format!("{why}: it was shown what this host asks for"));
        let name = manifest.name.clone();
        let fields = manifest.fields;
        let value = json!({ "engine": name, "releases": trial.releases, "unshown": unshown });
        self.host.journal.write("shadow-begins", value);
        let message = format!("{} of {name} runs in shadow", described(&trial.releases));
        tracing::info!("{message}");
        let replies = std::mem::take(&mut trial.replies);
        trial.due = now.saturating_add(SECOND.min(limits.length));
        trial.phase = Phase::Shadow(Box::new(InShadow {
            version,
            judge: Shadow::begin(limits, beside, now),
            times: Histogram::default(),
            mark,
            unshown,
        }));
        let Granted { asked, told, .. } = granted;
        self.host.begin_shadow(index, link, Wants { asked, told, fields });
        super::answer(replies, &control::Response::Done { message });
    }

    /// Its process is ended, or could not be started.
    pub(in super::super) fn shadow_failed(
        &mut self,
        place: usize,
        reason: FailureReason,
        why: &str,
    ) {
        let now = clock::now();
        if let Some(Trial { phase: Phase::Starting { asked, tries, .. }, due, .. }) =
            &mut self.trials[place]
            && reason == FailureReason::NotDocked
            && *tries < TRIES_MAX
        {
            // It may be the machine's doing, which may pass.
            (*asked, *tries, *due) = (false, *tries + 1, now.saturating_add(SECOND));
            return;
        }
        self.fail_shadow(place, Finding::new(Sign::Failed(reason), why));
    }

    /// What the core heard of one engine's release in shadow.
    pub(in super::super) fn hear_judged(&mut self, place: usize, batch: &[Judged]) {
        let (guard, origin) = (&self.host.guard, &self.host.shared.origin);
        let entered = self.swaps.get(place).is_some_and(Option::is_some);
        let trial = self.trials.get_mut(place).and_then(Option::as_mut);
        let (judge, mut times) = match trial.map(|trial| &mut trial.phase) {
            Some(Phase::Shadow(shadow)) => (&mut shadow.judge, Some(&mut shadow.times)),
            Some(Phase::Entering(entering)) if !entered => (&mut entering.judge, None),
            _ => return,
        };
        let mut found = None;
        for one in batch {
            use std::os::fd::AsFd as _;
            let denies = one.shadow == Some(Verdict::Deny);
            let guarded = denies
                && one
                    .path
                    .as_ref()
                    .is_some_and(|path| guard.covers(origin.as_fd(), path, one.object));
            if let (Some(times), Some(_)) = (&mut times, one.shadow) {
                times.add(one.took_ns);
            }
            let path = one.path.as_ref().map(|path| path.to_string_lossy());
            let said = Said {
                event: one.event,
                object: one.object,
                path: path.as_deref(),
                active: one.active,
                shadow: one.shadow,
                rule: &one.rule,
                late: one.late,
                guarded,
            };
            found = judge.judge(&said).cloned();
        }
        if let Some(finding) = found {
            self.fail_shadow(place, finding);
        }
    }

    /// What rules say of something, those of the release in shadow and those in force.
    pub(super) fn hear_compared(&mut self, denied: &Denied, compared: Compared) {
        let entered = self.swaps.get(denied.place).is_some_and(Option::is_some);
        let trial = self.trials.get_mut(denied.place).and_then(Option::as_mut);
        let judge = match trial.map(|trial| &mut trial.phase) {
            Some(Phase::Shadow(shadow)) => &mut shadow.judge,
            Some(Phase::Entering(entering)) if !entered => &mut entering.judge,
            _ => return,
        };
        let said = Said {
            event: denied.event,
            object: denied.object,
            path: denied.path.as_deref(),
            active: Some(compared.active),
            shadow: Some(compared.shadow),
            rule: &denied.rule,
            late: false,
            guarded: denied.guarded,
        };
        if let Some(finding) = judge.judge(&said).cloned() {
            self.fail_shadow(denied.place, finding);
        }
    }

    /// The rules in the release that is about to be in shadow, or is, are refused.
    pub(in super::super) fn rules_refused(&mut self, place: usize, why: &str) {
        if self.shadowed(place).is_some() {
            let sign = Sign::Failed(FailureReason::ContentRejected);
            self.fail_shadow(place, Finding::new(sign, why));
        }
    }

    pub(super) fn look_at_shadow(&mut self, place: usize, now: u64) {
        let Some(Trial { phase: Phase::Shadow(shadow), .. }) = &self.trials[place] else { return };
        let usage = self.supervisor.shadow_usage(place).unwrap_or_default();
        let new = Readings {
            span_ns: shadow.judge.served(now),
            answers: shadow.times.count(),
            timed: shadow.times.count(),
            p50_ns: shadow.times.quantile(50),
            p99_ns: shadow.times.quantile(99),
            cpu_ns: usage.cpu_ns,
            memory_bytes: usage.memory_bytes,
        };
        let old = self.read_on(place, &shadow.mark, now);
        let standing = shadow.judge.look(&new, Some(&old), now);
        let left = shadow.judge.length().saturating_sub(shadow.judge.served(now));
        let Some(trial) = &mut self.trials[place] else { return };
        match standing {
            Standing::Running => trial.due = now.saturating_add(left.clamp(1, SECOND)),
            Standing::Waiting(what) => {
                trial.waits = Some(format!("questions: {what}"));
            }
            Standing::Failed(finding) => self.fail_shadow(place, finding),
            Standing::Passed => self.pass_shadow(place, old),
        }
    }

    /// It has stood its shadow; a process of it is started anew, to decide.
    fn pass_shadow(&mut self, place: usize, old: Readings) {
        if !self.may_go_on() {
            // Another build may take over any moment; that one begins the shadow anew.
            return;
        }
        let Some(trial) = &mut self.trials[place] else { return };
        let Phase::Shadow(shadow) = std::mem::replace(&mut trial.phase, Phase::Finding) else {
            return;
        };
        let InShadow { version, judge, unshown, .. } = *shadow;
        let mut summary = format!("stood its shadow: {}", judge.summary());
        if let Some(unshown) = unshown {
            summary = format!("{summary}; {unshown}");
        }
        (trial.waits, trial.trouble, trial.due) = (None, None, 0);
        let name = &self.manifests[place].name;
        tracing::info!("{} of {name} {summary}", described(&trial.releases));
        let value = json!({ "engine": name, "releases": trial.releases, "what": summary });
        self.host.journal.write("shadow-passed", value);
        trial.phase = Phase::Entering(Box::new(Entering { version, judge, old, summary }));
        // What it said last is still on its way here, so its process is started at the next look.
        self.end_shadow(place);
        self.keep_trials();
    }

    /// Has a process started that is to decide. Tried again by and by while the journal cannot be written.
    pub(super) fn enter(&mut self, place: usize) {
        if !self.may_go_on() || self.swaps[place].is_some() {
            return;
        }
        let Some(Trial { phase: Phase::Entering(entering), .. }) = &self.trials[place] else {
            return;
        };
        let Entering { version, summary, .. } = &**entering;
        let task = Task::Begin(version.entries(), summary.clone());
        self.swap_to(place, version.clone(), Purpose::Probation(task));
    }

    /// It does not come to decide.
    pub(in super::super) fn not_entered(&mut self, place: usize, hindrance: Hindrance) {
        let finding = match hindrance {
            Hindrance::Process(reason, why) => Finding::new(Sign::Failed(reason), why),
            Hindrance::Machine(why) => Finding::new(Sign::NotTried, why),
            Hindrance::Journal(unwritten) if unwritten.lasting => {
                return self.drop_trial(place, &unwritten.why);
            }
            Hindrance::Journal(unwritten) => {
                if let Some(trial) = &mut self.trials[place] {
                    trial.trouble = Some(unwritten.why);
                    trial.due = clock::now().saturating_add(SECOND);
                }
                return;
            }
        };
        self.fail_shadow(place, finding);
    }

    /// It is not taken: before it decided anything.
    pub(super) fn fail_shadow(&mut self, place: usize, finding: Finding) {
        let Some(trial) = &mut self.trials[place] else { return };
        let version = match &trial.phase {
            Phase::Starting { version, .. } => version,
            Phase::Shadow(shadow) => &shadow.version,
            Phase::Entering(entering) => &entering.version,
            Phase::Finding | Phase::Probation(_) | Phase::Back(_) | Phase::Ending(_) => return,
        };
        let task = Task::Reject(version.entries(), finding.clone());
        let name = &self.manifests[place].name;
        tracing::error!("{} of {name} is not taken: {finding}", described(&trial.releases));
        if finding.sign.is_the_releases() {
            let detail = format!("{} of {name}: {finding}", described(&trial.releases));
            self.host.note(FailureReason::ShadowDiverged, &detail);
        }
        trial.phase = Phase::Ending(Box::new(Ending::new(task)));
        (trial.trouble, trial.due) = (None, u64::MAX);
        self.end_shadow(place);
        self.write_ending(place);
    }

    /// Nothing is asked of it any more.
    pub(super) fn end_shadow(&mut self, place: usize) {
        self.supervisor.end_shadow(place, clock::now());
        if let Some(index) = EngineIndex::new(place) {
            self.host.end_shadow(index);
        }
        self.read_contents();
    }
}
