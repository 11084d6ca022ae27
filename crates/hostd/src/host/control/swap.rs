//! Another version takes an engine's place while questions are asked.
//!
//! ```text
//! Swap ──▶ find: the slots, their manifest          (a thread: it waits for the disk)
//!      ──▶ start: a second process docks beside the first
//!      ──▶ commit: the journal says that it is in force      (a thread: it waits for the disk)
//!      ──▶ promote: questions go to it ──▶ answer ──▶ the first has finished, and ends
//! ```
//!
//! Until the commit every failure leaves the old version in force, in the journal and on the dock. After it the
//! new one is in force whatever happens: to this host, which the next one follows by the journal, and to the
//! process, which is then started as any engine's that ended. So there is no moment at which the two say
//! different things for longer than it takes to hand over.
//!
//! A version that asks for other events, or looks at other things, than the one before needs another host, since
//! what the kernel is asked and what is looked up for each question is settled when a host starts. It
//! goes the same way up to the commit; then this host makes way for one that starts it.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use outrigger_api::EngineName;
use outrigger_api::control::{EngineState, ReleaseName, Response};
use outrigger_decision::EngineIndex;
use outrigger_sensor::clock;
use serde_json::json;

use super::super::engines::Link;
use super::super::installed::{self, Version};
use super::super::lock;
use super::super::subscriptions::Granted;
use super::{Control, Handover};

/// A change of version that is under way.
#[derive(Debug)]
pub(super) struct Swap {
    reply: Sender<Response>,
    /// `None` until it is found.
    version: Option<Version>,
    /// It has docked, and waits until it is known what this machine gives.
    waiting: bool,
    /// It is being put in force.
    committing: bool,
    /// Its process was ready and has ended since, for this reason.
    lost: Option<String>,
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
    Committed(Result<(), String>),
}

impl Control {
    pub(super) fn begin_swap(
        &mut self,
        name: EngineName,
        releases: Vec<ReleaseName>,
        reply: Sender<Response>,
    ) {
        let refuse = |reply: Sender<Response>, message: String| {
            // A connection that is gone needs no answer.
            let _ = reply.send(Response::Error { message });
        };
        let Some(place) = self.host.manifests.iter().position(|known| known.name == name) else {
            let _ = reply.send(self.no_engine(&name));
            return;
        };
        if !matches!(self.handover, Handover::None) {
            let message = "a change of builds is under way; try again when that has ended";
            return refuse(reply, message.to_owned());
        }
        if self.swaps[place].is_some() {
            let message =
                format!("{name} is being replaced already; try again when that has ended");
            return refuse(reply, message);
        }
        let host = Arc::clone(&self.host);
        let find = move || {
            let (config, folder) = (&host.config.engines[place], &host.config.state_dir);
            let found = installed::find(folder, config, &name, &releases).map(Box::new);
            host.to_control.swap(Step { place, done: Done::Found(found) });
        };
        match std::thread::Builder::new().name("find-release".into()).spawn(find) {
            Ok(_) => {
                let swap =
                    Swap { reply, version: None, waiting: false, committing: false, lost: None };
                self.swaps[place] = Some(swap);
            }
            Err(error) => refuse(reply, format!("cannot start a thread: {error}")),
        }
    }

    /// An engine that is being replaced.
    pub(super) fn swapping(&self) -> Option<&EngineName> {
        let place = self.swaps.iter().position(Option::is_some)?;
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
                self.refuse_swap(place, &why);
                None
            }
            Done::Committed(Ok(())) => self.finish_swap(place),
            Done::Committed(Err(why)) => {
                self.supervisor.abandon(place, clock::now());
                self.refuse_swap(place, &why);
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
            Err(error) => self.refuse_swap(place, &error.to_string()),
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
        let Some(version) = version else {
            return self.supervisor.abandon(place, clock::now());
        };
        let Some(coverage) = self.probed.get() else {
            if let Some(swap) = &mut self.swaps[place] {
                swap.waiting = true;
            }
            return;
        };
        if let Err(why) = Granted::of(&version.spec.manifest, coverage) {
            self.supervisor.abandon(place, clock::now());
            return self.refuse_swap(place, &why);
        }
        if let Some(swap) = &mut self.swaps[place] {
            (swap.waiting, swap.committing) = (false, true);
        }
        let host = Arc::clone(&self.host);
        let commit = move || {
            let committed = match version.is_new() {
                true => installed::put_in_force(&host.config.state_dir, &version),
                false => Ok(()),
            };
            host.to_control.swap(Step { place, done: Done::Committed(committed) });
        };
        if let Err(error) = std::thread::Builder::new().name("commit-release".into()).spawn(commit)
        {
            self.supervisor.abandon(place, clock::now());
            self.refuse_swap(place, &format!("cannot start a thread: {error}"));
        }
    }

    /// The version is in force: it decides from here on.
    fn finish_swap(&mut self, place: usize) -> Option<i32> {
        let Swap { reply, version, lost, .. } = self.swaps[place].take()?;
        let version = version?;
        let now = clock::now();
        let what = version.describe();
        let manifest = &version.spec.manifest;
        let differs = installed::differs(&self.host.manifests[place], manifest);
        let differs = if self.is_absent(place) { Some("there was none before") } else { differs };
        if let Some(why) = differs {
            let value = json!({ "engine": manifest.name, "by": what, "why": why });
            self.host.journal.write("engine-swap-by-restart", value);
            let message = format!("{what} is in force, by another host: {why}");
            return Some(self.make_way(|| drop(reply.send(Response::Done { message }))));
        }
        self.manifests[place] = manifest.clone();
        let finish = self.host.longest_budget();
        let response = if self.supervisor.promote(place, finish, now, &mut self.happenings) {
            Response::Done { message: format!("{what} decides") }
        } else {
            self.supervisor.restart_as(place, version.spec, now, &mut self.happenings);
            let why = lost.as_deref().unwrap_or("it is gone");
            let message =
                format!("{what} is in force; its process ended and is started again: {why}");
            Response::Error { message }
        };
        // Everything is its when the answer says so.
        self.act();
        let _ = reply.send(response);
        None
    }

    /// The new process will not take the place.
    pub(super) fn fail_swap(&mut self, place: usize, why: &str) {
        match &mut self.swaps[place] {
            // Whether it is in force is being written: that decides.
            Some(swap) if swap.committing => swap.lost = Some(why.to_owned()),
            _ => self.refuse_swap(place, why),
        }
    }

    fn refuse_swap(&mut self, place: usize, why: &str) {
        let Some(Swap { reply, .. }) = self.swaps[place].take() else { return };
        let value = json!({ "engine": self.manifests[place].name, "why": why });
        self.host.journal.write("engine-swap-refused", value);
        let message = format!("not replaced; what was in force stays in force: {why}");
        let _ = reply.send(Response::Error { message });
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
