//! Another version takes an engine's place while questions are asked.
//!
//! ```text
//! find: the slots, their manifest                       (a thread: it waits for the disk)
//!  ──▶ start: a second process docks beside the first
//!  ──▶ commit: the journal says what is in force then   (a thread: it waits for the disk)
//!  ──▶ promote: questions go to it ──▶ the first has finished, and ends
//! ```
//!
//! Whoever wants it says for what ([`Purpose`]): an operator who has the engine's process replaced; a trial that
//! has stood its shadow; an operator who goes back; a rollback. Until the commit every failure leaves the old
//! version in force, in the journal and on the dock. After it the new one is in force whatever happens: to this host,
//! which the next one follows by the journal, and to the process, which is then started as any engine's that
//! ended. So there is no moment at which the two say different things for longer than it takes to hand over.
//! A rollback alone does not wait for its commit: what was before is to decide even if nothing can be written.
//!
//! A version that asks for other events, or looks at other things, than the one before needs another host, since
//! what the kernel is asked and what is looked up for each question is settled when a host starts. It
//! goes the same way up to the commit; then this host makes way for one that starts it.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use outrigger_api::control::{EngineState, Response};
use outrigger_api::release::Part;
use outrigger_api::{EngineName, FailureReason};
use outrigger_decision::EngineIndex;
use outrigger_sensor::clock;
use outrigger_update::finding::{Finding, Sign};
use serde_json::json;

use super::super::engines::Link;
use super::super::installed::{self, Version};
use super::super::lock;
use super::super::releases::{self, Task, Unwritten};
use super::super::subscriptions::Granted;
use super::trial::Trial;
use super::{Control, Handover};

/// A change of version that is under way.
#[derive(Debug)]
pub(super) struct Swap {
    purpose: Purpose,
    /// `None` until it is found.
    version: Option<Version>,
    /// It has docked, and waits until it is known what this machine gives.
    waiting: bool,
    /// It is being put in force.
    committing: bool,
    /// Its process was ready and has ended since, for this reason.
    lost: Option<String>,
}

/// What a swap is for, and who hears how it ends.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To run what is in force, or lies in its folders, anew.
    Restart(Sender<Response>),
    /// To put in force what has stood its shadow.
    Probation(Task),
    /// To undo a trial.
    Back,
    /// To go back from what is in force, because an operator says so.
    SendBack(Option<Part>, Sender<Response>),
}

/// Why a swap does not come about.
#[derive(Debug)]
pub(super) enum Hindrance {
    /// The new process.
    Process(FailureReason, String),
    /// The journal.
    Journal(Unwritten),
    /// This machine, or this host.
    Machine(String),
}

impl Hindrance {
    fn why(&self) -> &str {
        match self {
            Self::Process(_, why) | Self::Machine(why) => why,
            Self::Journal(unwritten) => &unwritten.why,
        }
    }
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
    Committed(Result<(), Unwritten>),
}

impl Control {
    /// Has an engine's process replaced, as an operator wants.
    pub(super) fn swap(&mut self, name: &EngineName, reply: Sender<Response>) {
        let place = match self.free_place(name) {
            Ok(place) => place,
            // A connection that is gone needs no answer.
            Err(response) => return drop(reply.send(response)),
        };
        if let Some(response) = self.refuse_for_trial(place) {
            return drop(reply.send(response));
        }
        let (host, of) = (Arc::clone(&self.host), name.clone());
        self.find_and_swap(place, Purpose::Restart(reply), move || {
            installed::find(&host.config.state_dir, &host.config.engines[place], &of)
        });
    }

    /// The place of the engine called `name`, if nothing stands in the way of replacing it.
    pub(super) fn free_place(&self, name: &EngineName) -> Result<usize, Response> {
        let Some(place) = self.host.manifests.iter().position(|known| known.name == *name) else {
            return Err(self.no_engine(name));
        };
        if let Some((_, why)) = self.boot.keeps_off(name) {
            let message = format!("{name} is kept off the dock: {why}");
            return Err(Response::Error { message });
        }
        let busy = if matches!(self.handover, Handover::None) {
            self.swaps[place]
                .is_some()
                .then(|| format!("{name} is being replaced; try again when that has ended"))
        } else {
            Some("a change of builds is under way; try again when that has ended".to_owned())
        };
        busy.map_or(Ok(place), |message| Err(Response::Error { message }))
    }

    /// Looks a version up in a thread of its own, and then starts it.
    pub(super) fn find_and_swap(
        &mut self,
        place: usize,
        purpose: Purpose,
        find: impl FnOnce() -> Result<Version, String> + Send + 'static,
    ) {
        let host = Arc::clone(&self.host);
        self.swaps[place] =
            Some(Swap { purpose, version: None, waiting: false, committing: false, lost: None });
        let find = move || {
            let found = find().map(Box::new);
            host.to_control.swap(Step { place, done: Done::Found(found) });
        };
        if let Err(error) = std::thread::Builder::new().name("find-release".into()).spawn(find) {
            self.refuse_swap(place, Hindrance::Machine(format!("cannot start a thread: {error}")));
        }
    }

    /// Starts `version`, which is to take the engine's place.
    pub(super) fn swap_to(&mut self, place: usize, version: Version, purpose: Purpose) {
        self.swaps[place] =
            Some(Swap { purpose, version: None, waiting: false, committing: false, lost: None });
        self.start_swap(place, version);
    }

    /// An engine that is being replaced, or is just about to be.
    pub(super) fn swapping(&self) -> Option<&EngineName> {
        let mut places = self.swaps.iter().zip(&self.trials);
        let changes = |trial: &Option<Trial>| trial.as_ref().is_some_and(Trial::is_changing);
        let place = places.position(|(swap, trial)| swap.is_some() || changes(trial))?;
        self.manifests.get(place).map(|manifest| &manifest.name)
    }

    /// The exit code, if the host ends for it.
    pub(super) fn go_on_with_swap(&mut self, Step { place, done }: Step) -> Option<i32> {
        match done {
            Done::Found(Ok(version)) => {
                self.start_swap(place, *version);
                None
            }
            Done::Found(Err(why)) => {
                self.refuse_swap(place, Hindrance::Machine(why));
                None
            }
            Done::Committed(Ok(())) => self.finish_swap(place),
            Done::Committed(Err(unwritten)) => {
                self.supervisor.abandon(place, clock::now());
                self.refuse_swap(place, Hindrance::Journal(unwritten));
                None
            }
        }
    }

    fn start_swap(&mut self, place: usize, version: Version) {
        let now = clock::now();
        self.trees.expect(&version);
        match self.supervisor.replace(place, version.spec.clone(), now) {
            Ok(()) => {
                let value =
                    json!({ "engine": self.manifests[place].name, "by": version.describe() });
                self.host.journal.write("engine-swap-begins", value);
                if let Some(swap) = &mut self.swaps[place] {
                    swap.version = Some(version);
                }
            }
            Err(error) => self.refuse_swap(place, Hindrance::Machine(error.to_string())),
        }
    }

    /// Goes on with those that had docked before it was known what this machine gives: on a host that has just
    /// started.
    pub(super) fn commit_waiting_swaps(&mut self) {
        if self.probed.get().is_none() {
            return;
        }
        for place in 0..self.swaps.len() {
            if self.swaps[place].as_ref().is_some_and(|swap| swap.waiting) {
                self.commit_swap(place);
            }
        }
    }

    /// The new process has docked: what it is of is put in force.
    pub(super) fn commit_swap(&mut self, place: usize) {
        let version = self.swaps[place].as_ref().and_then(|swap| swap.version.clone());
        let (Some(version), Some(swap)) = (version, &mut self.swaps[place]) else {
            return self.supervisor.abandon(place, clock::now());
        };
        let Some(coverage) = self.probed.get() else {
            swap.waiting = true;
            return;
        };
        (swap.waiting, swap.committing) = (false, true);
        let task = match &swap.purpose {
            // Nothing is asked of what decided before: it is to decide again.
            Purpose::Back => return self.finish_back(place),
            Purpose::Restart(_) => None,
            Purpose::Probation(task) => Some(task.clone()),
            Purpose::SendBack(part, _) => {
                let finding = Finding::new(Sign::SentBack, "by the administrator");
                Some(Task::SendBack(*part, finding))
            }
        };
        if let Err(why) = Granted::of(&version.spec.manifest, coverage) {
            self.supervisor.abandon(place, clock::now());
            return self.refuse_swap(place, Hindrance::Machine(why));
        }
        let host = Arc::clone(&self.host);
        let name = version.spec.manifest.name;
        let commit = move || {
            let write = |task| releases::write(&host.config.state_dir, &name, &task).map(drop);
            let committed = task.map_or(Ok(()), write);
            host.to_control.swap(Step { place, done: Done::Committed(committed) });
        };
        if let Err(error) = std::thread::Builder::new().name("commit-release".into()).spawn(commit)
        {
            self.supervisor.abandon(place, clock::now());
            self.refuse_swap(place, Hindrance::Machine(format!("cannot start a thread: {error}")));
        }
    }

    fn finish_back(&mut self, place: usize) {
        let swap = self.swaps[place].take();
        let Some(version) = swap.and_then(|swap| swap.version) else { return };
        self.take_place(place, version);
        self.went_back(place);
    }

    /// The version is in force: it decides from here on.
    fn finish_swap(&mut self, place: usize) -> Option<i32> {
        let Swap { purpose, version, lost, .. } = self.swaps[place].take()?;
        let version = version?;
        let what = version.describe();
        let manifest = &version.spec.manifest;
        let differs = installed::differs(&self.host.manifests[place], manifest);
        let differs = if self.is_absent(place) { Some("there was none before") } else { differs };
        if let Some(why) = differs {
            let value = json!({ "engine": manifest.name, "by": what, "why": why });
            self.host.journal.write("engine-swap-by-restart", value);
            let message = format!("{what} is in force, by another host: {why}");
            return Some(self.make_way(|| {
                if let Purpose::Restart(reply) | Purpose::SendBack(_, reply) = purpose {
                    // A connection that is gone needs no answer.
                    let _ = reply.send(Response::Done { message });
                }
            }));
        }
        let before = self.in_force[place].clone();
        let promoted = self.take_place(place, version);
        match purpose {
            Purpose::Restart(reply) | Purpose::SendBack(_, reply) => {
                let _ = reply.send(match promoted {
                    true => Response::Done { message: format!("{what} decides") },
                    false => {
                        let why = lost.as_deref().unwrap_or("it is gone");
                        let message = format!(
                            "{what} is in force; its process ended and is started again: {why}"
                        );
                        Response::Error { message }
                    }
                });
            }
            Purpose::Probation(_) => {
                let lost = (!promoted).then(|| lost.unwrap_or_else(|| "it is gone".to_owned()));
                self.begin_probation(place, before, lost);
            }
            Purpose::Back => self.went_back(place),
        }
        None
    }

    /// Puts `version` in the engine's place: its process that is ready, or one that is started then. Whether
    /// one was ready.
    fn take_place(&mut self, place: usize, version: Version) -> bool {
        let now = clock::now();
        self.manifests[place] = version.spec.manifest.clone();
        let finish = self.host.longest_budget();
        let promoted = self.supervisor.promote(place, finish, now, &mut self.happenings);
        if !promoted {
            let spec = version.spec.clone();
            self.supervisor.restart_as(place, spec, now, &mut self.happenings);
        }
        self.in_force[place] = Some(version);
        self.read_contents();
        // Everything is its when the answer says so.
        self.act();
        promoted
    }

    /// The new process will not take the place.
    pub(super) fn fail_swap(&mut self, place: usize, reason: FailureReason, why: &str) {
        match &mut self.swaps[place] {
            // Whether it is in force is being written: that decides.
            Some(swap) if swap.committing => swap.lost = Some(why.to_owned()),
            _ => self.refuse_swap(place, Hindrance::Process(reason, why.to_owned())),
        }
    }

    fn refuse_swap(&mut self, place: usize, hindrance: Hindrance) {
        let Some(Swap { purpose, .. }) = self.swaps[place].take() else { return };
        let why = hindrance.why();
        let value = json!({ "engine": self.manifests[place].name, "why": why });
        self.host.journal.write("engine-swap-refused", value);
        match purpose {
            Purpose::Restart(reply) | Purpose::SendBack(_, reply) => {
                let message = format!("not replaced; what was in force stays in force: {why}");
                let _ = reply.send(Response::Error { message });
            }
            Purpose::Probation(_) => self.not_entered(place, hindrance),
            Purpose::Back => self.go_back_in_place(place),
        }
    }

    /// The process that was promoted takes questions.
    pub(super) fn replace(&mut self, place: usize, link: outrigger_supervisor::Link) {
        let Some(index) = EngineIndex::new(place) else { return };
        let manifest = &self.manifests[place];
        tracing::info!("engine {} is replaced by its version {}", manifest.name, manifest.version);
        let value = json!({ "engine": manifest.name, "version": manifest.version });
        self.host.journal.write("engine-replaced", value);
        let outrigger_supervisor::Link { events, verdicts, content } = link;
        let mut wakes = Vec::new();
        let epoch = {
            let mut core = lock(&self.host.core);
            core.replace(index, Link::new(events, verdicts, content), clock::now());
            core.take_wakes(&mut wakes);
            core.epoch
        };
        wakes.iter().for_each(outrigger_dock::Waker::wake);
        self.collect_bells();
        self.host.enter_epoch(epoch);
        self.forget_poisoned(place);
    }

    /// Whether there is nothing of the engine that could be started.
    pub(super) fn is_absent(&self, place: usize) -> bool {
        let state = self.supervisor.status().get(place).map(|status| status.state);
        matches!(state, Some(EngineState::NotInstalled | EngineState::Withheld))
    }
}
