//! A process of another version that runs beside the one that decides and decides nothing.
//!
//! It lives as a docked engine does: it is greeted, takes copies of questions, and answers pings. But it has
//! one life: whatever it does wrong ends it, is told once, and costs the engine nothing. Its faults, lines and
//! refused calls are in no book of the engine's, its end is waited for by nothing but the next shadow and the next
//! rival, and its processor time is not the engine's.

use std::os::fd::BorrowedFd;

use outrigger_api::FailureReason;
use outrigger_api::frame::v1;
use outrigger_api::frame::v1::to_engine::Message as ToEngine;
use outrigger_sandbox::Usage;

use super::candidate::{Candidate, Failure, Heard, Said, fails, out_of_turn};
use super::replacement::ReplaceError;
use super::{ABUSES_MAX, Engine, FULL_LOOKS, Part, STOP_NS, Source, forks};
use crate::happening::{EngineSpec, Happening, Level};
use crate::launcher::Launcher;
use crate::life::{Life, Overdue, Tally};
use crate::text::clean;

/// What runs in shadow.
#[derive(Debug)]
pub(super) struct Shadow {
    candidate: Candidate,
    /// From its start on.
    life: Life,
    /// Processes and threads that it was refused.
    forks: Tally,
    /// Threads that it was refused, as last seen.
    threads: u64,
    /// Heartbeats in a row at which it had no descriptor left.
    full_looks: u32,
}

impl Shadow {
    fn new(spec: EngineSpec, now: u64) -> Self {
        let candidate = Candidate::new(spec, now);
        let terms = candidate.terms;
        Self {
            life: Life::new(terms),
            forks: Tally::new(ABUSES_MAX, terms.restart_window),
            threads: 0,
            full_looks: 0,
            candidate,
        }
    }

    /// The host stood still for `gap` ns up to `now`, which do not count.
    pub(super) fn stood_still(&mut self, gap: u64, now: u64) {
        self.candidate.stood_still(gap);
        self.life.stood_still(gap, now);
    }

    /// Whether it waits for its start.
    const fn waits(&self) -> bool {
        self.candidate.unit.is_none()
    }

    fn send(&self, message: ToEngine) {
        // One that does not take a Ping is late with its answer; no other message needs one.
        let _ = self.candidate.unit.as_ref().map(|unit| unit.send(message));
    }

    /// Takes what it said; its rings, if it has docked.
    fn take(&mut self, said: Said, now: u64) -> Result<Option<Box<crate::Link>>, Failure> {
        match said {
            Said::Docked(_, link) => {
                self.life.docked(now);
                Ok(Some(link))
            }
            Said::Heartbeat(nonce) if self.life.heartbeat(nonce, now) => Ok(None),
            Said::Heartbeat(nonce) => {
                let why = format!("a heartbeat that answers no ping: {nonce}");
                fails(FailureReason::Garbage, why)
            }
            // Nobody told it to.
            Said::Content => out_of_turn(),
        }
    }

    /// It was refused `count` processes or threads. One may be a library's mistake.
    fn forked(&mut self, count: u64, now: u64) -> Result<(), Failure> {
        if count > 0 && self.forks.add(u32::try_from(count).unwrap_or(u32::MAX), now) {
            return fails(FailureReason::ForkBomb, forks(u64::from(self.forks.count())));
        }
        Ok(())
    }

    /// Looks at what its process holds and was refused, once per heartbeat.
    fn look_at_process(&mut self, now: u64) -> Result<(), Failure> {
        let Some(unit) = &self.candidate.unit else { return Ok(()) };
        let all = unit.process.refused_threads();
        let limit = self.candidate.spec.manifest.limits.descriptors;
        let is_full = unit.process.descriptors().is_some_and(|held| held >= u64::from(limit));
        let refused = all.saturating_sub(std::mem::replace(&mut self.threads, all));
        self.forked(refused, now)?;
        self.full_looks = if is_full { self.full_looks + 1 } else { 0 };
        if self.full_looks >= FULL_LOOKS {
            let why = format!("holds all {limit} descriptors that it may have");
            return fails(FailureReason::FdLeak, why);
        }
        Ok(())
    }

    /// Does what is due at `now`.
    fn look(&mut self, now: u64) -> Result<(), Failure> {
        self.candidate.look(now)?;
        if self.life.overdue(now) == Some(Overdue::Heartbeat) {
            let limit = self.candidate.spec.manifest.limits.hang_ms;
            let why = format!("gave no sign of life for {limit} ms");
            return fails(FailureReason::EngineHung, why);
        }
        if let Some(nonce) = self.life.ping(now) {
            self.send(ToEngine::Ping(v1::Ping { nonce }));
            self.look_at_process(now)?;
        }
        Ok(())
    }

    fn is_overdue(&self, now: u64) -> bool {
        self.candidate.is_overdue(now) || self.life.overdue(now).is_some()
    }
}

impl Engine {
    /// Has a process of another version started, which is to run in shadow.
    pub(crate) fn shadow(&mut self, spec: EngineSpec, now: u64) -> Result<(), ReplaceError> {
        self.may_stand_beside(&spec)?;
        let name = || self.spec.manifest.name.clone();
        if self.shadow.is_some() {
            return Err(ReplaceError::Shadowed(name()));
        }
        if self.rival.is_some() {
            return Err(ReplaceError::Busy(name()));
        }
        self.shadow = Some(Shadow::new(spec, now));
        Ok(())
    }

    /// Ends the shadow without a word.
    pub(crate) fn end_shadow(&mut self, now: u64) {
        let Some(shadow) = self.shadow.take() else { return };
        shadow.send(ToEngine::Stop(v1::Stop {}));
        let kill_at = Some(now.saturating_add(STOP_NS));
        self.shades.extend(shadow.candidate.unit.map(|unit| unit.end(kill_at)));
    }

    /// The host found a fault of the shadow's in its rings.
    pub(crate) fn shadow_fault(
        &mut self,
        reason: FailureReason,
        detail: &str,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        if let Some(shadow) = self.shadow.take() {
            self.fail_shadow(shadow, Failure { reason, why: detail.to_owned() }, now, out);
        }
    }

    /// What the shadow's process uses, while there is one.
    pub(crate) fn shadow_usage(&self) -> Option<Usage> {
        let unit = self.shadow.as_ref()?.candidate.unit.as_ref()?;
        Some(unit.process.usage())
    }

    /// The number of the shadow's process, while there is one.
    pub(crate) fn shadow_pid(&self) -> Option<u32> {
        let unit = self.shadow.as_ref()?.candidate.unit.as_ref()?;
        Some(unit.process.pid())
    }

    /// Whether a process that runs in shadow, or did, is not gone yet.
    pub(super) fn shadow_lingers(&self) -> bool {
        !self.shades.is_empty()
    }

    /// What is to be polled for it.
    pub(super) fn shadow_descriptors(
        &self,
        now: u64,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Source)> {
        let shadow = self.shadow.iter();
        shadow.flat_map(move |shadow| shadow.candidate.descriptors(now, Source::Shadow))
    }

    /// When it next needs a look.
    pub(super) fn shadow_wake(&self) -> Option<u64> {
        let shadow = self.shadow.as_ref()?;
        [self.shadow_start_due(), shadow.candidate.wake(), shadow.life.wake()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Since when it waits for its start; `None` if it does not, or one before it is not gone.
    pub(super) fn shadow_start_due(&self) -> Option<u64> {
        let shadow = self.shadow.as_ref().filter(|shadow| shadow.waits())?;
        self.shades.is_empty().then_some(shadow.candidate.since)
    }

    pub(super) fn start_shadow(
        &mut self,
        launcher: &mut dyn Launcher,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        if self.shadow_start_due().is_none() {
            return;
        }
        let Some(mut shadow) = self.shadow.take() else { return };
        match shadow.candidate.start(self.uid, true, launcher, now) {
            Ok(()) => {
                shadow.life.started(now);
                self.shadow = Some(shadow);
            }
            Err(failure) => self.fail_shadow(shadow, failure, now, out),
        }
    }

    /// Does what is due for it.
    pub(super) fn look_at_shadow(&mut self, now: u64, out: &mut Vec<Happening>) {
        if self.shadow.as_ref().is_some_and(|shadow| shadow.is_overdue(now)) {
            // What it has said lies in the socket if the host came late.
            self.serve_shadow(Part::Control, now, out);
        }
        let Some(mut shadow) = self.shadow.take() else { return };
        for text in shadow.candidate.sum_up(now) {
            self.say_of_shadow(Level::Warning, &text, out);
        }
        match shadow.look(now) {
            Ok(()) => self.shadow = Some(shadow),
            Err(failure) => self.fail_shadow(shadow, failure, now, out),
        }
    }

    /// A descriptor of its is readable.
    pub(super) fn serve_shadow(&mut self, part: Part, now: u64, out: &mut Vec<Happening>) {
        let Some(mut shadow) = self.shadow.take() else { return };
        let mut heard = Heard::default();
        let mut done = shadow.candidate.hear(part, now, &mut heard);
        for (level, text) in &heard.lines {
            self.say_of_shadow(*level, text, out);
        }
        let mut processes = 0;
        for (call, is_told) in heard.calls {
            processes += u64::from(call.makes_process());
            if is_told {
                let detail = call.detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                let text = format!("was refused the call {}{detail}", call.call);
                self.say_of_shadow(Level::Warning, &text, out);
            }
        }
        // The end of a process says more than what it was refused before.
        done = done.and_then(|()| shadow.forked(processes, now));
        for said in heard.said {
            if done.is_err() {
                break;
            }
            match shadow.take(said, now) {
                Ok(Some(link)) => out.push(Happening::ShadowDocked(self.index, link)),
                Ok(None) => {}
                Err(failure) => done = Err(failure),
            }
        }
        match done {
            Ok(()) => self.shadow = Some(shadow),
            Err(failure) => self.fail_shadow(shadow, failure, now, out),
        }
    }

    /// Ends it and tells why.
    fn fail_shadow(
        &mut self,
        shadow: Shadow,
        failure: Failure,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        let failure = shadow.candidate.named(failure);
        self.shades.extend(shadow.candidate.end(&failure, now));
        let Failure { reason, why } = failure;
        out.push(Happening::ShadowFailed { engine: self.index, reason, why });
    }

    fn say_of_shadow(&self, level: Level, text: &str, out: &mut Vec<Happening>) {
        self.log(level, clean(&format!("in shadow: {text}")), out);
    }
}
