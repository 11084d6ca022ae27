//! Boot safety and repair while the host runs: when a start counts as healthy, what is kept off the dock, and the
//! instructions that an administrator drops.
//!
//! An instruction is carried out action by action, over as many turns as that takes: going back with an engine at
//! work waits for the new process. Only one is obeyed at a time. What changes for a host's start, as an engine that
//! was kept off and may dock, comes with another host when all actions are done.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use outrigger_api::control::{EngineState, Request, Response};
use outrigger_api::settings::RepairAction;
use outrigger_api::{EngineName, FailureReason};
use outrigger_sensor::clock;
use outrigger_supervisor::{Happening, Supervisor};
use serde_json::json;

use super::super::boot::{self, Boot};
use super::super::engines::Presence;
use super::super::repair::{self, Dropped, Folder};
use super::super::server::Errand;
use super::super::{Host, lock};
use super::{Control, Handover};
use crate::shared::SECOND;

/// How often is looked for instructions, ns.
const LOOK: u64 = SECOND;

/// Why safe mode is neither entered nor left just now.
const UNDER_WAY: &str = "a change of builds is under way; try again when that has ended";

/// Instructions to repair.
#[derive(Debug)]
pub(super) struct Repairs {
    folder: Folder,
    looked: u64,
    work: Option<Work>,
    /// The exit code, where an action ends this host.
    ends: Option<i32>,
}

/// An instruction that is being obeyed.
#[derive(Debug)]
struct Work {
    dropped: Dropped,
    actions: Vec<RepairAction>,
    /// What became of those that are done.
    outcomes: Vec<String>,
    /// What the next one waits for.
    answer: Option<Receiver<Response>>,
    /// Another host is to start when all are done.
    makes_way: bool,
}

impl Repairs {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { folder: Folder::new(state_dir), looked: 0, work: None, ends: None }
    }
}

/// Keeps off the dock, before anything is started, what is not to dock.
pub(super) fn keep_off(
    host: &Host,
    boot: &Boot,
    supervisor: &mut Supervisor,
    happenings: &mut Vec<Happening>,
) {
    for (place, manifest) in host.manifests.iter().enumerate() {
        let Some((reason, why)) = boot.keeps_off(&manifest.name) else { continue };
        tracing::error!("engine {} is kept off the dock: {why}", manifest.name);
        supervisor.keep_off(place, &why, clock::now(), happenings);
        if let Some(engine) = lock(&host.core).engines.get_mut(place) {
            engine.state = Presence::Away(reason);
        }
    }
}

impl Control {
    /// Looks at the health of this start and at instructions; the exit code, if the host makes way.
    pub(super) fn look_at_safety(&mut self) -> Option<i32> {
        let now = clock::now();
        self.boot.retry(now);
        let well = self.is_all_well();
        if self.boot.is_healthy_now(well, now) {
            let in_force = boot::in_force(&self.host.config);
            self.boot.mark_healthy(in_force, now);
            tracing::info!("this start is healthy");
            self.host.journal.write("start-healthy", json!({}));
        }
        // Until it has taken over, another host obeys them.
        if !matches!(self.handover, Handover::None) {
            return None;
        }
        if self.repairs.work.is_some() {
            return self.go_on_repairing();
        }
        if now.saturating_sub(self.repairs.looked) >= LOOK {
            self.repairs.looked = now;
            self.look_for_repairs();
        }
        None
    }

    /// Protection is in place, and every engine of which there is something to dock is docked.
    fn is_all_well(&self) -> bool {
        use EngineState::{Docked, NotInstalled, Withheld};
        let settled = |state| matches!(state, Docked | NotInstalled | Withheld);
        self.marked
            && self.granted.is_some()
            && matches!(self.handover, Handover::None)
            && self.supervisor.status().iter().all(|engine| settled(engine.state))
    }

    /// For which reason a verdict of an engine that is kept off is missing.
    pub(super) fn missing_as(&self, name: &EngineName) -> FailureReason {
        self.boot.keeps_off(name).map_or(FailureReason::NotDocked, |(reason, _)| reason)
    }

    pub(super) fn safety_problems(&self) -> Vec<String> {
        let mut problems = self.boot.problems();
        problems.extend(self.repairs.folder.problem());
        problems
    }

    // ---- safe mode ----

    pub(super) fn enter_safe_mode_by_hand(&mut self, engine: Option<&EngineName>) -> Response {
        if let Some(name) = engine
            && !self.host.manifests.iter().any(|manifest| manifest.name == *name)
        {
            return self.no_engine(name);
        }
        if !matches!(self.handover, Handover::None) {
            let message = UNDER_WAY.to_owned();
            return Response::Error { message };
        }
        match self.enter_safe_mode(engine, "by the operator") {
            Ok(message) => Response::Done { message },
            Err(message) => Response::Error { message },
        }
    }

    /// Ends `engine`, or all, and starts them no more.
    fn enter_safe_mode(
        &mut self,
        engine: Option<&EngineName>,
        why: &str,
    ) -> Result<String, String> {
        let meant = |name: &EngineName| engine.is_none_or(|engine| engine == name);
        if let Some(name) = self.swapping().filter(|name| meant(name)) {
            return Err(format!("{name} is being replaced; try again when that has ended"));
        }
        self.boot.enter_safe_mode(engine, why);
        let value = json!({ "engine": engine, "why": why });
        self.host.journal.write("safe-mode-entered", value);
        let host = Arc::clone(&self.host);
        let now = clock::now();
        for (place, manifest) in host.manifests.iter().enumerate() {
            if !meant(&manifest.name) {
                continue;
            }
            if let Some((_, why)) = self.boot.keeps_off(&manifest.name) {
                tracing::error!("engine {} is kept off the dock: {why}", manifest.name);
                self.shelve_trial(place);
                self.supervisor.keep_off(place, &why, now, &mut self.happenings);
            }
        }
        // They may be what kept the machine from coming up.
        self.read_contents();
        self.act();
        self.sync_presence();
        Ok(match engine {
            Some(engine) => format!("{engine} is ended and kept off the dock"),
            None => "safe mode: every engine is ended and kept off the dock".to_owned(),
        })
    }

    /// The exit code: what may dock again is started by another host.
    pub(super) fn leave_safe_mode_by_hand(
        &mut self,
        engine: Option<&EngineName>,
        reply: &Sender<Response>,
    ) -> Option<i32> {
        // A connection that is gone needs no answer.
        let respond = |response| drop(reply.send(response));
        if !matches!(self.handover, Handover::None) {
            respond(Response::Error { message: UNDER_WAY.to_owned() });
            return None;
        }
        if !self.boot.leave_safe_mode(engine) {
            let message = match engine {
                Some(engine) => format!("{engine} is not kept off the dock by name"),
                None => "there is no safe mode to leave; an engine that is kept off by name is let dock by name"
                    .to_owned(),
            };
            respond(Response::Error { message });
            return None;
        }
        self.host
            .journal
            .write("safe-mode-left", json!({ "engine": engine, "why": "by the operator" }));
        let message = match engine {
            Some(engine) => format!("{engine} may dock again"),
            None => "safe mode is left: engines may dock again".to_owned(),
        };
        Some(self.make_way(|| respond(Response::Done { message })))
    }

    // ---- repair ----

    fn look_for_repairs(&mut self) {
        let host = Arc::clone(&self.host);
        let known = self.boot.circumstances();
        for dropped in self.repairs.folder.look(&host.config.updates_file, known) {
            match &dropped.opened {
                Ok(instruction) => {
                    let actions = instruction.actions.clone();
                    let value = json!({ "serial": instruction.serial, "actions": actions.len() });
                    self.host.journal.write("repair-begins", value);
                    self.boot.begin_repair(instruction.serial);
                    let outcomes = Vec::new();
                    let work = Work { dropped, actions, outcomes, answer: None, makes_way: false };
                    self.repairs.work = Some(work);
                    // Those after it are judged by what is known then.
                    return;
                }
                Err(_) if dropped.settled => {
                    if let Some(value) = self.repairs.folder.settle_refused(&dropped) {
                        self.host.journal.write("repair-refused", value);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Goes on with the instruction until it has to wait; the exit code, if the host makes way when it is done.
    fn go_on_repairing(&mut self) -> Option<i32> {
        while let Some(mut work) = self.repairs.work.take() {
            let Some(action) = work.actions.get(work.outcomes.len()).cloned() else {
                return self.end_repairing(work);
            };
            match self.carry_out(&action, &mut work) {
                Some(acted) => work.outcomes.push(repair::outcome(&action, acted)),
                None => {
                    self.repairs.work = Some(work);
                    return self.repairs.ends;
                }
            }
            self.repairs.work = Some(work);
        }
        None
    }

    fn end_repairing(&mut self, work: Work) -> Option<i32> {
        self.boot.end_repair();
        let value = self.repairs.folder.settle_done(&work.dropped, &work.outcomes);
        self.host.journal.write("repair-obeyed", value);
        work.makes_way.then(|| self.make_way(|| ()))
    }

    /// What became of the action; `None` while it goes on.
    fn carry_out(
        &mut self,
        action: &RepairAction,
        work: &mut Work,
    ) -> Option<Result<String, String>> {
        if let Some(answer) = &work.answer {
            let acted = match answer.try_recv() {
                Ok(Response::Done { message }) => Ok(message),
                Ok(Response::Error { message }) => Err(message),
                Ok(other) => Err(format!("{other:?}")),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => Err("it was not answered".to_owned()),
            };
            work.answer = None;
            return Some(acted);
        }
        let state_dir = self.host.config.state_dir.clone();
        match action {
            RepairAction::GoBack { engine, part } if self.runs(engine) => {
                let request = Request::GoBack { engine: engine.clone(), part: *part };
                self.ask_ourselves(request, work);
                None
            }
            RepairAction::StopTrial { engine } if self.runs(engine) => {
                self.ask_ourselves(Request::StopTrial { engine: engine.clone() }, work);
                None
            }
            RepairAction::EnterSafeMode { engine } => {
                // What is being replaced is waited for.
                let meant = |name: &EngineName| engine.as_ref().is_none_or(|engine| engine == name);
                if self.swapping().is_some_and(meant) {
                    return None;
                }
                Some(self.enter_safe_mode(engine.as_ref(), repair::BY))
            }
            RepairAction::LeaveSafeMode { .. } | RepairAction::ForgetBad { .. } => {
                work.makes_way |= matches!(action, RepairAction::LeaveSafeMode { .. });
                Some(repair::act(&state_dir, action, &mut self.boot))
            }
            RepairAction::GoBack { .. } | RepairAction::StopTrial { .. } => {
                // Nothing of it runs: the store is all there is to change, and the next start goes by it.
                Some(repair::act(&state_dir, action, &mut self.boot))
            }
        }
    }

    /// Whether anything of the engine runs, or may run before the next host does.
    fn runs(&self, name: &EngineName) -> bool {
        let place = self.host.manifests.iter().position(|manifest| manifest.name == *name);
        place.is_some_and(|place| !self.is_absent(place))
    }

    /// Does what an operator could have asked for.
    fn ask_ourselves(&mut self, request: Request, work: &mut Work) {
        let (reply, answer) = channel();
        work.answer = Some(answer);
        // If it ends this host, the next one goes on with the instruction.
        self.repairs.ends = self.errand(Errand { request, reply });
    }
}
