//! Trials: a release runs in shadow, then decides on probation, then for good; or what was before decides again.
//!
//! ```text
//! Trial ──▶ finding ──▶ starting ──▶ shadow ──▶ entering ──▶ probation ──▶ ending: confirmed
//!              └───────────┴───────────┴──▶ ending: rejected     └──▶ back ──▶ ending: rolled back
//! ```
//!
//! The journal of releases says where a trial stands, so one goes on by itself whatever becomes of whoever asked for
//! it and of this host: a host that starts finds what stands in shadow, or on probation, and begins that phase
//! anew. Nothing here needs the network. Judged is in [`outrigger_update::shadow`] and
//! [`outrigger_update::probation`]; here is what they are fed and what follows.
//!
//! Each engine has one trial at most, and no trial touches another engine.

mod ending;
mod kept;
mod measure;
mod probation;
mod resume;
mod shadow;

use std::sync::Arc;
use std::sync::mpsc::Sender;

use outrigger_api::EngineName;
use outrigger_api::control::{self, ReleaseName, Response};
use outrigger_api::release::{Part, State};
use outrigger_api::settings::UpdatesConfig;
use outrigger_sensor::clock;
use outrigger_update::finding::{Finding, Sign};
use serde_json::json;

use self::ending::{Back, Ending};
use self::probation::OnProbation;
pub(crate) use self::probation::{Compared, Denied};
use self::shadow::{Entering, InShadow};
use super::super::installed::{self, Version};
use super::super::releases::{UnderWay, Unwritten};
use super::swap::Purpose;
use super::{Control, Handover};
use crate::shared::SECOND;

/// A trial under way.
#[derive(Debug)]
pub(super) struct Trial {
    releases: Vec<ReleaseName>,
    emergency: bool,
    config: UpdatesConfig,
    phase: Phase,
    /// Who waits for the shadow to run, or for the end.
    replies: Vec<Sender<Response>>,
    /// When it is looked at next, ns.
    due: u64,
    /// What it waits for beside its time, for people.
    waits: Option<String>,
    /// Why it does not go on, for status.
    trouble: Option<String>,
}

#[derive(Debug)]
enum Phase {
    /// What lies in the slots is looked up.
    Finding,
    /// Its process in shadow is to be started, or is not docked yet.
    Starting { version: Box<Version>, asked: bool, tries: u32 },
    /// It runs in shadow.
    Shadow(Box<InShadow>),
    /// It stood its shadow: a new process of it docks, and the journal is written.
    Entering(Box<Entering>),
    /// It decides.
    Probation(Box<OnProbation>),
    /// What was before is on its way back.
    Back(Box<Back>),
    /// How it ended is written down.
    Ending(Box<Ending>),
}

/// What a thread has done that waited for the disk.
#[derive(Debug)]
pub(super) struct Step {
    place: usize,
    done: Done,
}

#[derive(Debug)]
enum Done {
    Found(Result<Box<Version>, String>),
    Written(Result<(), Unwritten>),
    /// What this host found when it came to decide; the version that went before what is on probation; and
    /// the version that is in force now.
    UnderWay(Box<Resumed>),
}

/// What a host finds of an engine when it comes to decide.
#[derive(Debug)]
struct Resumed {
    under_way: UnderWay,
    /// What went before that which is on probation.
    before: Option<Version>,
    /// What is in force.
    in_force: Option<Version>,
}

impl Control {
    /// Begins a trial, as the operator's tool asks.
    pub(super) fn begin_trial(
        &mut self,
        name: &EngineName,
        releases: Vec<ReleaseName>,
        emergency: bool,
        reply: Sender<Response>,
    ) {
        let refuse = |message: String| {
            // A connection that is gone needs no answer.
            let _ = reply.send(Response::Error { message });
        };
        if releases.is_empty() {
            return refuse(format!("name the releases of {name} that are to be tried"));
        }
        match self.free_place(name) {
            Err(response) => drop(reply.send(response)),
            Ok(place) => match self.refuse_for_trial(place) {
                Some(response) => drop(reply.send(response)),
                None => self.try_out(place, releases, emergency, vec![reply]),
            },
        }
    }

    /// What is said while releases of the engine are on trial.
    pub(super) fn refuse_for_trial(&self, place: usize) -> Option<Response> {
        let trial = self.trials[place].as_ref()?;
        let name = &self.manifests[place].name;
        let (what, phase) = (described(&trial.releases), trial.phase.state());
        let message = format!(
            "{what} of {name} is on trial already, in {phase}: wait until that has ended, or stop it with \
             `outrigger update stop {name}`"
        );
        Some(Response::Error { message })
    }

    fn try_out(
        &mut self,
        place: usize,
        releases: Vec<ReleaseName>,
        emergency: bool,
        replies: Vec<Sender<Response>>,
    ) {
        let config = self.updates_config();
        let mut releases = releases;
        // As the journal lists them, by which the next host finds what was kept of them.
        releases.sort_by_key(|release| release.part);
        let wanted = releases.clone();
        self.trials[place] = Some(Trial {
            releases,
            emergency,
            config,
            phase: Phase::Finding,
            replies,
            due: u64::MAX,
            waits: None,
            trouble: None,
        });
        let host = Arc::clone(&self.host);
        let name = self.manifests[place].name.clone();
        self.in_thread(place, "find-release", move || {
            let (folder, config) = (&host.config.state_dir, &host.config.engines[place]);
            let found = installed::find_new(folder, config, &name, &wanted);
            host.to_control.trial(Step { place, done: Done::Found(found.map(Box::new)) });
        });
    }

    /// Does what waits for the disk. Where no thread can be started it is done here: late, but done.
    fn in_thread(&self, place: usize, name: &str, work: impl FnOnce() + Send + 'static) {
        let work = Arc::new(std::sync::Mutex::new(Some(work)));
        let theirs = Arc::clone(&work);
        let run = move || {
            if let Some(work) = super::super::lock(&theirs).take() {
                work();
            }
        };
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(run) {
            let engine = &self.manifests[place].name;
            tracing::error!(%engine, %error, "no thread for {name}");
            if let Some(work) = super::super::lock(&work).take() {
                work();
            }
        }
    }

    /// The exit code, if the host ends for it.
    pub(super) fn go_on_with_trial(&mut self, Step { place, done }: Step) -> Option<i32> {
        match done {
            Done::Found(Ok(version)) => {
                if let Some(trial) = &mut self.trials[place] {
                    trial.phase = Phase::Starting { version, asked: false, tries: 0 };
                    trial.due = 0;
                    self.read_contents();
                }
                None
            }
            Done::Found(Err(why)) => {
                self.drop_trial(place, &why);
                None
            }
            Done::Written(written) => self.written(place, written),
            Done::UnderWay(resumed) => {
                self.resume_trial(place, *resumed);
                None
            }
        }
    }

    /// Ends a trial of which the journal is told nothing: there is none to tell of.
    fn drop_trial(&mut self, place: usize, why: &str) {
        let Some(trial) = self.trials[place].take() else { return };
        let name = &self.manifests[place].name;
        tracing::error!("{} of {name} is not tried: {why}", described(&trial.releases));
        let value = json!({ "engine": name, "releases": trial.releases, "why": why });
        self.host.journal.write("release-not-tried", value);
        let message = format!("not tried; what was in force stays in force: {why}");
        answer(trial.replies, &Response::Error { message });
    }

    /// Looks at every trial whose time has come.
    pub(super) fn look_at_trials(&mut self) {
        self.resume_trials();
        let now = clock::now();
        for place in 0..self.trials.len() {
            let Some(trial) = self.trials[place].as_mut().filter(|trial| trial.due <= now) else {
                continue;
            };
            trial.due = now.saturating_add(SECOND);
            match &trial.phase {
                Phase::Finding | Phase::Back(_) => {}
                Phase::Starting { asked, .. } => {
                    if !asked {
                        self.start_shadow(place, now);
                    }
                }
                Phase::Shadow(_) => self.look_at_shadow(place, now),
                Phase::Entering(_) => self.enter(place),
                Phase::Probation(_) => self.look_at_probation(place, now),
                Phase::Ending(_) => self.write_ending(place),
            }
        }
    }

    /// When a trial is looked at next, ns.
    pub(super) fn trials_due(&self) -> Option<u64> {
        self.trials.iter().flatten().map(|trial| trial.due).min()
    }

    /// The version whose content decides at `place`: on the way back from a trial it is what was before.
    pub(super) fn decides(&self, place: usize) -> Option<&Version> {
        match self.trials[place].as_ref().map(|trial| &trial.phase) {
            Some(Phase::Back(back)) => Some(back.before()),
            Some(Phase::Ending(ending)) if ending.leaves_nothing() => None,
            _ => self.in_force[place].as_ref(),
        }
    }

    /// The version at `place` that is in shadow, or about to be.
    pub(super) fn shadowed(&self, place: usize) -> Option<&Version> {
        match &self.trials[place].as_ref()?.phase {
            Phase::Starting { version, .. } => Some(version),
            Phase::Shadow(shadow) => Some(shadow.version()),
            _ => None,
        }
    }

    /// Has those in shadow begin whose rules were read.
    pub(super) fn hurry_trials(&mut self) {
        for trial in self.trials.iter_mut().flatten() {
            if let Phase::Starting { asked: false, .. } = trial.phase {
                trial.due = 0;
            }
        }
    }

    /// Whether this host alone decides, and questions are asked.
    fn may_go_on(&self) -> bool {
        matches!(self.handover, Handover::None) && self.granted.is_some() && self.marked
    }

    /// Every trial, for the operator.
    pub(super) fn list_trials(&self) -> Vec<control::Trial> {
        let listed = |(place, trial): (usize, &Option<Trial>)| {
            trial.as_ref().map(|trial| self.list_trial(place, trial))
        };
        self.trials.iter().enumerate().filter_map(listed).collect()
    }

    fn list_trial(&self, place: usize, trial: &Trial) -> control::Trial {
        let now = clock::now();
        let mut told = control::Trial {
            engine: self.manifests[place].name.clone(),
            releases: trial.releases.clone(),
            state: trial.phase.state(),
            waits_for: trial.trouble.clone().or_else(|| trial.waits.clone()),
            served_ms: 0,
            length_ms: 0,
            judged: 0,
            missed: 0,
            uncompared: 0,
            differences: Vec::new(),
            more: 0,
        };
        let waits = match &trial.phase {
            Phase::Finding | Phase::Starting { .. } => Some("its process to dock"),
            Phase::Shadow(shadow) => {
                shadow.tell(&mut told, now);
                None
            }
            Phase::Entering(_) => Some("its process to dock and take the place"),
            Phase::Probation(probation) => {
                let answers = self.read_on(place, &probation.mark, now).answers;
                probation.tell(&mut told, answers, now);
                None
            }
            Phase::Back(_) => Some("what was before to decide again"),
            Phase::Ending(_) => Some("the journal of releases"),
        };
        told.waits_for = told.waits_for.or_else(|| waits.map(str::to_owned));
        told
    }

    /// What of trials the operator must know in status.
    pub(super) fn trial_problems(&self) -> impl Iterator<Item = String> {
        let troubled = |(place, trial): (usize, &Option<Trial>)| {
            let trial = trial.as_ref()?;
            let trouble = trial.trouble.as_ref()?;
            let (what, name) = (described(&trial.releases), &self.manifests[place].name);
            Some(format!("the trial of {what} of {name} does not go on: {trouble}"))
        };
        let of_trials = self.trials.iter().enumerate().filter_map(troubled);
        of_trials.chain(self.updates_problem.clone())
    }

    /// Ends an engine's trial, because an operator says so.
    pub(super) fn stop_trial(&mut self, name: &EngineName, reply: Sender<Response>) {
        let Some(place) = self.manifests.iter().position(|known| known.name == *name) else {
            return drop(reply.send(self.no_engine(name)));
        };
        let finding = Finding::new(Sign::Stopped, "by the administrator");
        self.end_by_hand(place, finding, reply, |name| format!("no release of {name} is on trial"));
    }

    /// Leaves the trial at `place` where the journal has it, since its engine is taken off the dock: the end of a
    /// process that was ended so says nothing of a release. The host that lets it dock again begins the phase anew.
    pub(super) fn shelve_trial(&mut self, place: usize) {
        let runs = |trial: &mut Trial| {
            matches!(trial.phase, Phase::Starting { .. } | Phase::Shadow(_) | Phase::Probation(_))
        };
        let Some(trial) = self.trials[place].take_if(runs) else { return };
        self.end_shadow(place);
        let name = &self.manifests[place].name;
        let message = format!(
            "{name} is kept off the dock; the trial of {} begins anew when it may dock",
            described(&trial.releases)
        );
        self.host.journal.write("trial-shelved", json!({ "engine": name, "why": message }));
        answer(trial.replies, &Response::Error { message });
    }

    /// Ends the trial at `place` for `finding`, whatever its phase.
    fn end_by_hand(
        &mut self,
        place: usize,
        finding: Finding,
        reply: Sender<Response>,
        nothing: impl FnOnce(&EngineName) -> String,
    ) {
        let refuse = |message| drop(reply.send(Response::Error { message }));
        let name = self.manifests[place].name.clone();
        if !matches!(self.handover, Handover::None) {
            return refuse("a change of builds is under way; try again when that has ended".into());
        }
        let Some(trial) = &mut self.trials[place] else { return refuse(nothing(&name)) };
        match &trial.phase {
            Phase::Starting { .. } | Phase::Shadow(_) => {
                trial.replies.push(reply);
                self.fail_shadow(place, finding);
            }
            Phase::Probation(_) => {
                trial.replies.push(reply);
                self.go_back(place, finding);
            }
            // It ends by itself; so that nothing is begun twice.
            Phase::Finding | Phase::Entering(_) => {
                refuse(format!("a release of {name} is just changing its phase; try again"));
            }
            Phase::Back(_) | Phase::Ending(_) => {
                refuse(format!("the trial of {name} is ending already"));
            }
        }
    }

    /// Goes back to what was in force before, because an operator says so.
    pub(super) fn send_back(
        &mut self,
        name: &EngineName,
        part: Option<Part>,
        reply: Sender<Response>,
    ) {
        let place = match self.free_place(name) {
            Ok(place) => place,
            Err(response) => return drop(reply.send(response)),
        };
        let finding = Finding::new(Sign::SentBack, "by the administrator");
        match self.trials[place].as_ref().map(|trial| trial.phase.state()) {
            None => {}
            // What is on probation goes back as a whole: it was tried as a whole.
            Some(State::Probation) => {
                return self.end_by_hand(place, finding, reply, |_| String::new());
            }
            Some(_) => {
                return drop(reply.send(self.refuse_for_trial(place).unwrap_or_else(|| {
                    Response::Error { message: format!("a release of {name} is on trial") }
                })));
            }
        }
        let (host, of) = (Arc::clone(&self.host), name.clone());
        self.find_and_swap(place, Purpose::SendBack(part, reply), move || {
            let (folder, config) = (&host.config.state_dir, &host.config.engines[place]);
            let parts = installed::with_before(folder, &of, part)?;
            let before = installed::find_before(folder, config, &of, &parts)?;
            before.ok_or_else(|| format!("no other release of {of}'s code was in force before"))
        });
    }

    /// What the administrator decided about releases. Read anew for each trial; a wrong file counts as
    /// none, and status says so.
    fn updates_config(&mut self) -> UpdatesConfig {
        let file = &self.host.config.updates_file;
        let missing = std::fs::metadata(file)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        self.updates_problem = None;
        if missing {
            return UpdatesConfig::default();
        }
        UpdatesConfig::read(file).unwrap_or_else(|errors| {
            tracing::error!("the defaults are in force for releases on trial:\n{errors}");
            let problem =
                format!("releases are tried by the defaults, since their file is wrong:\n{errors}");
            self.updates_problem = Some(problem);
            UpdatesConfig::default()
        })
    }
}

impl Trial {
    /// Whether another process of its engine comes to decide, or the journal is being written.
    pub(super) const fn is_changing(&self) -> bool {
        matches!(self.phase, Phase::Entering(_) | Phase::Back(_) | Phase::Ending(_))
    }
}

impl Phase {
    /// As the journal has it.
    const fn state(&self) -> State {
        match self {
            Self::Finding | Self::Starting { .. } | Self::Shadow(_) | Self::Entering(_) => {
                State::Shadow
            }
            Self::Probation(_) | Self::Back(_) => State::Probation,
            Self::Ending(ending) => ending.state(),
        }
    }
}

/// Releases, for people.
fn described(releases: &[ReleaseName]) -> String {
    let each: Vec<String> =
        releases.iter().map(|release| format!("{} {}", release.part, release.version)).collect();
    each.join(" and ")
}

fn answer(replies: Vec<Sender<Response>>, response: &Response) {
    for reply in replies {
        // A connection that is gone needs no answer.
        let _ = reply.send(response.clone());
    }
}
