//! The policy folder put in force: at the start, when the operator says so, and with the configuration.
//!
//! Reading and compiling wait for a process and take up to seconds, so a thread of its own does that; the
//! set that comes of it is put in force here. One is read at a time. While the folder is not as it must be,
//! the set before decides on, and status says why.

mod reading;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use outrigger_api::control::{PolicyStatus, Response};
use outrigger_api::coverage::Coverage;
use outrigger_api::settings::Manifest;
use outrigger_api::{EngineName, Event, FailureReason};
use outrigger_decision::rules::filter;
use outrigger_sensor::clock;
use outrigger_sensor::group::Mask;
use serde_json::json;

use super::super::engines::Engine;
use super::super::lock;
use super::super::policy::contents::{Refused, Wanted};
use super::super::policy::{self, Kept, RuleSet};
use super::{Control, Message};
use reading::{Found, read_set};

/// Most errors that a journal entry holds; status and the operator are told all.
const TOLD_MAX: usize = 10;

/// Reading the folder: what is under way, and what was found last.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Why each reading is wanted; the first is under way.
    wanted: VecDeque<Purpose>,
    /// The folder was read once, with whatever end.
    settled: bool,
    /// Why the folder is not in force.
    problem: Option<String>,
    /// Why rules of engines' content are not in force, by the engine.
    contents: BTreeMap<EngineName, String>,
    /// The content whose rules were read last.
    read: Vec<Wanted>,
}

/// Why the folder is read, and who hears what came of it.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The host starts.
    Start,
    /// The operator wants it in force.
    Apply(Sender<Response>),
    /// The operator wants the configuration in force, the policies with it.
    Reload(Option<Sender<Response>>),
    /// Another release of an engine's content decides, or none.
    Contents,
}

/// What came of a reading.
#[derive(Debug)]
pub(super) struct Step {
    found: Found,
    /// The content that it was read with.
    read: Vec<Wanted>,
    took: Duration,
}

impl Reading {
    /// Whether the folder was read once: until then the set in force is an earlier host's.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Why the folder is not in force, if it is not.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Why rules of engines' content are not in force, one sentence each.
    pub(super) fn problems_of_contents(&self) -> impl Iterator<Item = String> {
        self.contents.iter().map(|(engine, why)| {
            format!("rules in the content of {engine} are not in force: {why}")
        })
    }
}

impl Control {
    /// Has the folder read, now or when what is being read is done.
    pub(super) fn read_policies(&mut self, purpose: Purpose) {
        self.reading.wanted.push_back(purpose);
        if self.reading.wanted.len() == 1 {
            self.begin_reading();
        }
    }

    /// Has the rules of engines' content read, since another one decides, or none.
    pub(super) fn read_contents(&mut self) {
        // One that waits to be read is of what is in force then.
        let waits = |purpose: &Purpose| matches!(purpose, Purpose::Contents);
        if self.host.config.rules.enabled && !self.reading.wanted.iter().skip(1).any(waits) {
            self.read_policies(Purpose::Contents);
        }
    }

    /// The releases of content whose rules are to be in force. They outlive the engine's process, and its quarantine.
    fn contents(&self) -> Vec<Wanted> {
        if !self.host.config.rules.enabled {
            return Vec::new();
        }
        let places = 0..self.in_force.len();
        let docks = |place: &usize| self.boot.keeps_off(&self.manifests[*place].name).is_none();
        let mut contents = Vec::new();
        for place in places.filter(docks) {
            let decides = self.decides(place).and_then(|version| Wanted::of(version, false));
            let shadow = self.shadow_content(place);
            contents.extend(decides.into_iter().chain(shadow));
        }
        contents
    }

    /// The content in shadow at `place`, where it is another than what decides.
    fn shadow_content(&self, place: usize) -> Option<Wanted> {
        let shadow = Wanted::of(self.shadowed(place)?, true)?;
        let decides = self.decides(place).and_then(|version| Wanted::of(version, false));
        decides.is_none_or(|decides| !decides.lies_as(&shadow)).then_some(shadow)
    }

    /// Whether the rules of what is to be in shadow at `place` are still to be read.
    pub(super) fn awaits_rules(&self, place: usize) -> bool {
        let shadow = self.shadow_content(place).filter(|_| self.host.config.rules.enabled);
        shadow.is_some_and(|shadow| !self.reading.read.contains(&shadow))
    }

    fn begin_reading(&mut self) {
        let host = Arc::clone(&self.host);
        // A set that is only tried takes a number too: no two are ever called the same.
        self.generation = self.generation.max(host.policy.generation()).saturating_add(1);
        let generation = self.generation;
        let contents = self.contents();
        let anew = matches!(self.reading.wanted.front(), Some(Purpose::Start));
        let to_read = contents.clone();
        let read = move || {
            let begun = Instant::now();
            let found = read_set(&host, generation, &to_read, anew);
            host.to_control.policy(Step { found, read: to_read, took: begun.elapsed() });
        };
        if let Err(error) = std::thread::Builder::new().name("policy".into()).spawn(read) {
            let folder = vec![format!("no thread can be started to read policies: {error}")];
            let found = Found { folder, ..Found::default() };
            self.host.to_control.policy(Step { found, read: contents, took: Duration::ZERO });
        }
    }

    /// Goes on with what was read; the exit code if the host ends.
    pub(super) fn go_on_with_policy(&mut self, step: Step) -> Option<i32> {
        self.reading.settled = true;
        let purpose = self.reading.wanted.pop_front();
        let Found { set, folder, refused } = step.found;
        let put = match set {
            Some(set) => self.put_in_force(set, step.took),
            None => Ok(format!(
                "the rules stay as they are, generation {}",
                self.host.policy.generation()
            )),
        };
        let answer = match put {
            Ok(message) if folder.is_empty() => {
                self.reading.problem = None;
                self.reading.read = step.read;
                Ok(message)
            }
            Ok(_) => {
                self.reading.read = step.read;
                Err(self.refuse_policies(&folder, step.took))
            }
            Err(why) => Err(self.refuse_policies(&[why], step.took)),
        };
        self.refuse_contents(refused);
        self.hurry_trials();
        if !self.reading.wanted.is_empty() {
            self.begin_reading();
        }
        match (purpose, answer) {
            (Some(Purpose::Apply(reply)), answer) => {
                // A connection that is gone needs no answer.
                let _ = reply.send(match answer {
                    Ok(message) => Response::Done { message },
                    Err(message) => Response::Error { message },
                });
                None
            }
            (Some(Purpose::Reload(reply)), Ok(_)) => {
                self.put_configuration_in_force(reply.as_ref())
            }
            (Some(Purpose::Reload(Some(reply))), Err(message)) => {
                let message = format!("{message}\nthe old configuration stays in force too");
                let _ = reply.send(Response::Error { message });
                None
            }
            (Some(Purpose::Reload(None) | Purpose::Start | Purpose::Contents) | None, _) => None,
        }
    }

    /// Replaces the set in force; what happened, for the operator.
    fn put_in_force(&mut self, set: Arc<RuleSet>, took: Duration) -> Result<String, String> {
        let host = Arc::clone(&self.host);
        let before = host.policy.generation();
        host.policy.names.add(set.generation, set.names());
        if let Some(plane) = host.plane.get().filter(|plane| plane.is_loaded()) {
            plane.put(&set).map_err(|error| format!("the kernel does not take them: {error}"))?;
        }
        host.policy.replace(Arc::clone(&set));
        self.ask_by_policy();
        // What was answered by the set before may be answered otherwise now.
        host.new_epoch();
        let generation = set.generation;
        let value = json!({
            "generation": generation,
            "before": before,
            "rules": set.kept.all().count(),
            "engines": set.kept.engines.iter().map(|one| (&one.engine, one.rules.len())).collect::<Vec<_>>(),
            "counts": set.counts(),
            "events": set.events().iter().map(|event| event.name()).collect::<Vec<_>>(),
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        host.journal.write("policy-in-force", value);
        match serde_json::to_vec(&set.kept.without_shadow()) {
            Ok(text) => self.keepsakes.keep(policy::KEPT, text, clock::now()),
            Err(error) => tracing::error!(%error, "the rules in force cannot be kept"),
        }
        let count = set.kept.all().count();
        tracing::info!("{count} rules are in force, generation {generation}");
        Ok(format!("{count} rules are in force, generation {generation}; before it was {before}"))
    }

    /// Has the kernel ask about what rules decide too, and pass what is cached only for the rest.
    pub(super) fn ask_by_policy(&mut self) {
        let host = Arc::clone(&self.host);
        let ruled = Mask::of(host.ruled());
        let every = Mask::of(Event::askable().collect());
        lock(&host.cache).pass(every.without(ruled));
        if let Err(error) = self.volumes.ask(Mask::of(host.events())) {
            host.sensor_failed(&error);
        }
        if self.marked {
            self.refresh_volumes();
        }
        if let Err(error) = host.attach_plane() {
            self.sensor_refused("what rules decide in the kernel", &error);
        }
    }

    /// Takes the programs in the kernel in, once they are loaded: gives them the rules, and those by which
    /// engines are told of what they want.
    pub(super) fn take_plane(&mut self) {
        let host = Arc::clone(&self.host);
        if self.plane_taken || self.granted.is_none() || self.probed.get().is_none() {
            return;
        }
        self.plane_taken = true;
        let Some(plane) = host.plane.get().filter(|plane| plane.is_loaded()) else { return };
        // The gate may have been started again meanwhile.
        self.leave_ourselves_out();
        let tells = {
            let core = lock(&host.core);
            let engines = core.engines.iter().zip(&host.manifests).zip(0_u8..);
            let tell = |((engine, manifest), number): ((&Engine, &Manifest), u8)| {
                let told = engine.told.intersection(plane.told());
                filter::tell(number, &manifest.name, told, &manifest.filters)
            };
            engines.flat_map(tell).collect::<Vec<_>>()
        };
        let current = host.policy.current();
        if tells.is_empty() {
            let put = if current.kept.is_empty() { Ok(()) } else { plane.put(&current) };
            if let Err(error) = put {
                self.sensor_refused("what rules decide in the kernel", &error);
            }
            // What is decided there from now on need not be asked about.
            return self.ask_by_policy();
        }
        host.policy.set_tells(tells);
        self.generation = self.generation.max(current.generation).saturating_add(1);
        let kept = Kept { generation: self.generation, ..current.kept.clone() };
        let done = host
            .policy
            .compile(kept, &host.config)
            .and_then(|set| self.put_in_force(set, Duration::ZERO));
        if let Err(why) = done {
            self.reading.problem = Some(format!("with what engines want to be told of: {why}"));
            tracing::error!("the kernel's programs have no rules: {why}");
        }
    }

    /// The rules in force, for the operator.
    pub(super) fn policy_status(&self) -> Option<PolicyStatus> {
        let rules = &self.host.config.rules;
        if !rules.enabled {
            return None;
        }
        let set = self.host.policy.current();
        let [denied, allowed, would_deny] = self.host.policy.counts();
        Some(PolicyStatus {
            generation: set.generation,
            rules: set.kept.all().count() as u64,
            monitored: set.monitored() as u64,
            since_ms: set.since_ms,
            denied,
            allowed,
            would_deny,
            files: set.files(&rules.dir),
            problem: self.reading.problem().map(str::to_owned),
        })
    }

    /// The events that rules are about and that nothing on this machine has decided by them.
    pub(super) fn undecided(&self, coverage: &Coverage) -> Vec<String> {
        let set = self.host.policy.current();
        // Before the trial has ended nothing is known of any.
        let known = |event: &Event| coverage.event(*event).is_some();
        let undecided = set.events().iter().filter(known).filter_map(|event| {
            let found = coverage.event(event)?;
            if event.can_be_asked() || found.ruled_by.is_some() {
                return None;
            }
            let why = found.not_ruled.as_deref().unwrap_or("no sensor here does that");
            Some(format!("rules about {event} decide nothing: {why}"))
        });
        undecided.collect()
    }

    /// What of engines' content is not in force, from now on.
    fn refuse_contents(&mut self, refused: Vec<Refused>) {
        let mut contents = BTreeMap::new();
        for Refused { engine, shadow, why } in refused {
            // A release whose rules are not in force is not what was tried.
            let place = self.manifests.iter().position(|known| known.name == engine);
            match place {
                Some(place) if shadow => self.rules_refused(place, &why),
                Some(place) => {
                    let reason = FailureReason::ContentRejected;
                    self.judge_probation(place, |gate| gate.lost(reason, &why).cloned());
                }
                None => {}
            }
            if shadow {
                continue;
            }
            if self.reading.contents.get(&engine) != Some(&why) {
                tracing::error!("rules in the content of {engine} are not in force: {why}");
                let value = json!({ "engine": engine, "errors": [why] });
                self.host.journal.write("policy-refused", value);
                let detail = format!("rules of {engine}: {why}");
                self.host.note(FailureReason::ContentRejected, &detail);
            }
            contents.insert(engine, why);
        }
        self.reading.contents = contents;
    }

    /// The folder is not as it must be; what is said of it.
    fn refuse_policies(&mut self, errors: &[String], took: Duration) -> String {
        let host = &self.host;
        let generation = host.policy.generation();
        let told: Vec<&String> = errors.iter().take(TOLD_MAX).collect();
        let value = json!({
            "generation": generation,
            "errors": told,
            "more": errors.len() - told.len(),
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        host.journal.write("policy-refused", value);
        let folder = host.config.rules.dir.display();
        let message = format!(
            "the policies in {folder} are refused; the old rules, generation {generation}, stay in force:\n{}",
            errors.join("\n")
        );
        tracing::error!("{message}");
        self.reading.problem = Some(message.clone());
        message
    }
}

impl super::Inbox {
    /// The folder of policies was read.
    fn policy(&self, step: Step) {
        drop(lock(&self.sender).send(Message::Policy(step)));
        crate::shared::signal(&self.wake);
    }
}
