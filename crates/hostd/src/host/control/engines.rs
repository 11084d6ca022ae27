//! What happens to engines, carried into the decision path and the journal.

use std::sync::atomic::Ordering;

use outrigger_api::FailureReason;
use outrigger_api::control::EngineState;
use outrigger_decision::EngineIndex;
use outrigger_sensor::clock;
use outrigger_supervisor::{Happening, Token};
use serde_json::json;

use super::super::core::News;
use super::super::engines::{Link, Presence};
use super::super::{keepsakes, lock, poisoned};
use super::{Control, is_readable};

impl Control {
    pub(super) fn look_after_engines(&mut self) {
        let now = clock::now();
        let ready: Vec<Token> = self
            .supervisor
            .descriptors()
            .iter()
            .filter(|(fd, _)| is_readable(*fd))
            .map(|(_, token)| *token)
            .collect();
        for token in ready {
            self.supervisor.ready(token, now, &mut self.happenings);
            // A crash is attributed before the next tick decides what it costs.
            self.act();
        }
        self.supervisor.tick(now, &mut self.happenings);
        self.act();
    }

    pub(super) fn hear(&mut self, news: News) {
        let now = clock::now();
        match news {
            News::Fault { engine, reason, detail } => {
                self.supervisor.fault(engine.get(), reason, &detail, now, &mut self.happenings);
            }
            News::Misses { engine, count } => {
                self.supervisor.misses(engine.get(), count, now, &mut self.happenings);
                self.missed_on_trial(engine.get(), count);
            }
            News::FormerDone { engine } => {
                self.supervisor.dismiss(engine.get(), now, &mut self.happenings);
            }
            News::Judged { engine, batch } => self.hear_judged(engine.get(), &batch),
            News::ShadowFault { engine, reason, detail } => {
                let place = engine.get();
                self.supervisor.shadow_fault(place, reason, &detail, now, &mut self.happenings);
            }
        }
    }

    /// Carries what happened to engines into the decision path and the journal.
    pub(super) fn act(&mut self) {
        let happenings = std::mem::take(&mut self.happenings);
        let moved = happenings.iter().any(moves_an_engine);
        for happening in happenings {
            self.act_on(happening);
        }
        if moved {
            self.sync_presence();
        }
    }

    fn act_on(&mut self, happening: Happening) {
        let journal = self.host.journal.clone();
        let name = |place: usize| self.host.manifests[place].name.clone();
        match happening {
            Happening::Starting(place) => {
                journal.write("engine-starting", json!({ "engine": name(place) }));
                self.started_for_trial(place);
            }
            Happening::Docked(place, link) => {
                tracing::info!("engine {} has docked", name(place));
                journal.write("engine-docked", json!({ "engine": name(place) }));
                self.recall_poisoned(place);
                self.dock(place, *link);
            }
            Happening::Lost(place, reason) => {
                self.host.page().header().count_fault(reason);
                tracing::warn!("engine {} is lost: {reason}", name(place));
                journal.write("engine-lost", json!({ "engine": name(place), "reason": reason }));
                self.boot.disturbed();
                self.lose(place, reason);
                let status = self.supervisor.status().into_iter().nth(place);
                let why = status.and_then(|status| status.last_fault);
                self.fault_on_trial(place, reason, why.as_deref().unwrap_or("its process ended"));
            }
            Happening::Fault { engine, reason, detail } => {
                self.host.page().header().count_fault(reason);
                let value = json!({ "engine": name(engine), "reason": reason, "detail": detail });
                journal.write("engine-fault", value);
                self.fault_on_trial(engine, reason, &detail);
            }
            Happening::Waiting { engine, due } => {
                let ms = due.saturating_sub(clock::now()) / 1_000_000;
                let value = json!({ "engine": name(engine), "in_ms": ms });
                journal.write("engine-waits", value);
            }
            Happening::Quarantined(place, why) => {
                tracing::error!("engine {} is in quarantine: {why}", name(place));
                journal.write("engine-quarantined", json!({ "engine": name(place), "why": why }));
                self.gone_on_trial(place, FailureReason::Quarantined, &why);
            }
            Happening::Failed(place, why) => {
                tracing::error!("engine {} cannot dock: {why}", name(place));
                journal.write("engine-failed", json!({ "engine": name(place), "why": why }));
                self.gone_on_trial(place, FailureReason::NotDocked, &why);
            }
            Happening::Released(place) => {
                tracing::info!("engine {} is released", name(place));
                journal.write("engine-released", json!({ "engine": name(place) }));
                self.set_aside(place, false);
                self.forget_poisoned(place);
            }
            Happening::ReplacementReady(place) => self.commit_swap(place),
            Happening::Replaced(place, link) => self.replace(place, *link),
            Happening::ReplaceFailed { engine, reason, why } => {
                self.host.page().header().count_fault(reason);
                tracing::error!("engine {} goes on as it is: {why}", name(engine));
                let value = json!({ "engine": name(engine), "reason": reason, "why": why });
                journal.write("engine-not-replaced", value);
                self.fail_swap(engine, reason, &why);
            }
            Happening::FormerEnded(place) => {
                journal.write("engine-former-ended", json!({ "engine": name(place) }));
                if let Some(index) = EngineIndex::new(place) {
                    lock(&self.host.core).drop_former(index);
                    self.collect_bells();
                }
            }
            Happening::ShadowDocked(place, link) => self.shadow_docked(place, *link),
            Happening::ShadowFailed { engine, reason, why } => {
                self.host.page().header().count_fault(reason);
                tracing::error!("engine {} goes on as it is: in shadow: {why}", name(engine));
                let value = json!({ "engine": name(engine), "reason": reason, "why": why });
                journal.write("engine-shadow-failed", value);
                self.shadow_failed(engine, reason, &why);
            }
            Happening::ContentChanged(place, content) => {
                journal
                    .write("content-loaded", json!({ "engine": name(place), "content": content }));
                self.forget_poisoned(place);
                self.host.new_epoch();
            }
            Happening::ContentRefused(place, why) => {
                let reason = FailureReason::ContentRejected;
                self.host.page().header().count_fault(reason);
                tracing::warn!("engine {} keeps its old content: {why}", name(place));
                let value = json!({ "engine": name(place), "reason": reason, "why": why });
                journal.write("content-refused", value);
            }
            Happening::Log { engine, level, text } => {
                let level = format!("{level:?}").to_lowercase();
                let value = json!({ "engine": name(engine), "level": level, "text": text });
                journal.write("engine-log", value);
            }
            Happening::CallRefused { engine, call, detail } => {
                let value = json!({ "engine": name(engine), "call": call, "detail": detail });
                journal.write("call-refused", value);
            }
        }
    }

    fn dock(&mut self, place: usize, link: outrigger_supervisor::Link) {
        let Some(index) = EngineIndex::new(place) else { return };
        if let Some(why) = self.unfit(place) {
            // An operator started it again; the machine is still what it was.
            return self.supervisor.refuse(place, why, clock::now(), &mut self.happenings);
        }
        let outrigger_supervisor::Link { events, verdicts, content } = link;
        // Its first verdicts may differ from what was cached without it.
        self.host.new_epoch();
        let mut wakes = Vec::new();
        {
            let mut core = lock(&self.host.core);
            let link = Link::new(events, verdicts, content);
            core.dock(index, link, clock::now());
            core.take_wakes(&mut wakes);
        }
        self.collect_bells();
        wakes.iter().for_each(outrigger_dock::Waker::wake);
    }

    fn lose(&mut self, place: usize, reason: FailureReason) {
        let Some(index) = EngineIndex::new(place) else { return };
        let mut ended = Vec::new();
        let poisoned = {
            let mut core = lock(&self.host.core);
            let in_hand = core.lose(index, reason, Presence::Coming, clock::now(), &mut ended);
            let blamed = matches!(
                reason,
                FailureReason::EngineCrashed
                    | FailureReason::EngineHung
                    | FailureReason::OutOfMemory
            );
            in_hand
                .filter(|_| blamed)
                .map(|object| (core.poison.note(index, object, reason), object))
        };
        self.host.finish_all(&mut ended);
        self.collect_bells();
        if poisoned.is_some() {
            self.keep_poisoned();
        }
        if let Some((true, object)) = poisoned {
            let name = &self.host.manifests[place].name;
            tracing::warn!(
                "engine {name} is not asked about one file any more: it ended on it twice"
            );
            let value =
                json!({ "engine": name, "file": object.file.to_string(), "reason": reason });
            self.host.journal.write("object-poisoned", value);
            self.supervisor.pardon(place, clock::now());
        }
    }

    /// At an engine's first dock: what an earlier host remembered of it holds if its content is the same.
    fn recall_poisoned(&mut self, place: usize) {
        let Some(before) = self.poisoned_by[place].take() else { return };
        let now = self.supervisor.status().into_iter().nth(place).and_then(|engine| engine.content);
        if now.as_deref() != Some(&*before) {
            self.forget_poisoned(place);
        }
    }

    /// It is asked about everything again: it was released, or judges by other content.
    pub(super) fn forget_poisoned(&mut self, place: usize) {
        let Some(index) = EngineIndex::new(place) else { return };
        self.poisoned_by[place] = None;
        let forgot = {
            let poison = &mut lock(&self.host.core).poison;
            let any = poison.rows(index).next().is_some();
            poison.forget(index);
            any
        };
        if forgot {
            self.keep_poisoned();
        }
    }

    /// Keeps what engines crashed on for the next host.
    fn keep_poisoned(&mut self) {
        let contents = self
            .supervisor
            .status()
            .into_iter()
            .zip(&self.poisoned_by)
            .map(|(engine, before)| engine.content.or_else(|| before.clone()))
            .collect();
        let manifests = &self.manifests;
        let rows = poisoned::rows(&lock(&self.host.core).poison, manifests.len());
        let text = poisoned::write(rows, manifests, &contents);
        self.keepsakes.keep(keepsakes::POISONED, text, clock::now());
    }

    pub(super) fn collect_bells(&self) {
        let bells = lock(&self.host.core).doorbells();
        *lock(&self.host.bells) = bells;
        self.host.bells_changed.fetch_add(1, Ordering::AcqRel);
        self.host.show_bells();
        self.host.bell.ring();
    }

    /// Tells the decision path which engines are worth waiting for.
    pub(super) fn sync_presence(&self) {
        let mut ended = Vec::new();
        for (place, status) in self.supervisor.status().iter().enumerate() {
            let Some(index) = EngineIndex::new(place) else { continue };
            let away = match status.state {
                EngineState::Docked => continue,
                EngineState::Starting => None,
                // The first restart is due at once; one that backs off is not worth a budget.
                EngineState::Restarting if self.comes_soon(place) => None,
                EngineState::Restarting | EngineState::Failed | EngineState::NotInstalled => {
                    Some(FailureReason::NotDocked)
                }
                EngineState::Withheld => Some(self.missing_as(&status.name)),
                EngineState::Quarantined => Some(FailureReason::Quarantined),
            };
            let mut core = lock(&self.host.core);
            match away {
                None => core.expect(index),
                Some(reason) => {
                    let presence = Presence::Away(reason);
                    core.lose(index, reason, presence, clock::now(), &mut ended);
                }
            }
        }
        self.host.finish_all(&mut ended);
        self.collect_bells();
    }

    /// Whether a question may well outlast the wait for the engine's next start. One whose loss is not
    /// judged yet counts as such: the next tick does it.
    fn comes_soon(&self, place: usize) -> bool {
        let due = self.supervisor.start_due(place).unwrap_or(0);
        due.saturating_sub(clock::now()) < self.host.shortest_budget
    }
}

/// Whether it changes which engines are worth waiting for.
const fn moves_an_engine(happening: &Happening) -> bool {
    match happening {
        Happening::Starting(_)
        | Happening::Docked(..)
        | Happening::Replaced(..)
        | Happening::Lost(..)
        | Happening::Waiting { .. }
        | Happening::Quarantined(..)
        | Happening::Failed(..)
        | Happening::Released(_) => true,
        Happening::Fault { .. }
        | Happening::ReplacementReady(_)
        | Happening::ReplaceFailed { .. }
        | Happening::FormerEnded(_)
        | Happening::ShadowDocked(..)
        | Happening::ShadowFailed { .. }
        | Happening::ContentChanged(..)
        | Happening::ContentRefused(..)
        | Happening::Log { .. }
        | Happening::CallRefused { .. } => false,
    }
}
