//! Another version takes the engine's place: the process that is to, and the one that did.
//!
//! A *rival* is held to more than an engine that is in its place: whatever it does wrong before it has the
//! place ends it, and the engine goes on. Nothing of it counts against the engine but what it used.
//!
//! A *former* process has lost its place and answers what it has in hand. Nobody depends on it: whoever
//! handed it questions hands them to its successor too, so anything that it does wrong just ends it.

use std::os::fd::BorrowedFd;

use outrigger_api::control::EngineState;
use outrigger_api::frame::v1;
use outrigger_api::frame::v1::to_host::Message as ToHost;
use outrigger_api::{EngineName, FailureReason};

use super::candidate::{Candidate, Failure, Heard, Said, out_of_turn, polled};
use super::frames::level_of;
use super::{Engine, FRAMES_PER_SECOND, Part, READS_MAX, SECOND, Source};
use crate::happening::{EngineIndex, EngineSpec, Happening, Level, Link};
use crate::launcher::{Launcher, Process};
use crate::life::{Tally, Terms};
use crate::text::clean;
use crate::unit::{Received, Unit};

/// No second process was started.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// There is no such engine.
    #[error("there is no engine number {0}")]
    Unknown(EngineIndex),
    /// One is being replaced already.
    #[error("{0} is being replaced already; wait until that has ended")]
    Busy(EngineName),
    /// A version of it runs in shadow already.
    #[error("a version of {0} runs in shadow already; stop that first, or wait until it has ended")]
    Shadowed(EngineName),
    /// The other version is of another engine.
    #[error("{found} cannot take the place of {engine}: an engine keeps its name")]
    Name {
        /// The engine.
        engine: EngineName,
        /// What the other manifest says.
        found: EngineName,
    },
}

/// What is to take the engine's place.
#[derive(Debug)]
pub(super) struct Rival {
    candidate: Candidate,
    /// What it describes its content as, and the rings, once it has docked.
    ready: Option<(String, Box<Link>)>,
}

/// What has lost the engine's place.
#[derive(Debug)]
pub(super) struct Former {
    unit: Unit,
    /// When it is told to stop at the latest, ns.
    until: u64,
    frames: Tally,
}

impl Rival {
    /// The host stood still for `gap` ns, which do not count.
    pub(super) const fn stood_still(&mut self, gap: u64) {
        self.candidate.stood_still(gap);
    }
}

impl Engine {
    /// Has another process started, which is to take its place.
    pub(crate) fn replace(&mut self, spec: EngineSpec, now: u64) -> Result<(), ReplaceError> {
        self.may_stand_beside(&spec)?;
        if self.rival.is_some() {
            return Err(ReplaceError::Busy(self.spec.manifest.name.clone()));
        }
        self.rival = Some(Rival { candidate: Candidate::new(spec, now), ready: None });
        Ok(())
    }

    /// Whether a process of `spec` may run beside it.
    pub(super) fn may_stand_beside(&self, spec: &EngineSpec) -> Result<(), ReplaceError> {
        let (engine, found) = (&self.spec.manifest.name, &spec.manifest.name);
        if engine == found {
            return Ok(());
        }
        Err(ReplaceError::Name { engine: engine.clone(), found: found.clone() })
    }

    /// Puts the rival in its place, which has docked; false if there is none that has.
    pub(crate) fn promote(&mut self, finish: u64, now: u64, out: &mut Vec<Happening>) -> bool {
        let ready = |rival: &mut Rival| rival.ready.is_some() && rival.candidate.unit.is_some();
        let Some(Rival { candidate, ready: Some((content, link)) }) = self.rival.take_if(ready)
        else {
            return false;
        };
        let Candidate { spec, terms, unit, last_line, .. } = candidate;
        let decided = self.state() == EngineState::Docked;
        match std::mem::replace(&mut self.unit, unit) {
            Some(unit) if decided => {
                let frames = Tally::new(FRAMES_PER_SECOND, SECOND);
                self.former = Some(Former { unit, until: now.saturating_add(finish), frames });
            }
            // It was starting, and has nothing in hand.
            Some(unit) => {
                self.books.add(&*unit.process);
                self.remains.push(unit.end(None));
            }
            None => {}
        }
        self.spec = spec;
        self.life.replaced(terms, true, now);
        self.begin_anew(terms);
        self.books.content = Some(content);
        if let Some(line) = last_line {
            self.books.line(&line);
        }
        out.push(Happening::Replaced(self.index, link));
        true
    }

    /// Has the process of another version started in its place, which none was ready to take: what it had
    /// in hand is lost.
    pub(crate) fn restart_as(&mut self, spec: EngineSpec, now: u64, out: &mut Vec<Happening>) {
        self.abandon(now);
        self.end_politely(FailureReason::NotDocked, now, out);
        let terms = Terms::new(&spec.manifest.limits, &spec.config);
        self.abuses = Tally::new(super::ABUSES_MAX, terms.restart_window);
        self.spec = spec;
        // An operator may have put it there meanwhile, and none of the new one was seen to do better.
        if !matches!(self.state(), EngineState::Quarantined | EngineState::Withheld) {
            self.life.replaced(terms, false, now);
        }
    }

    /// What is counted of the process that runs begins anew.
    fn begin_anew(&mut self, terms: Terms) {
        self.books.starts += 1;
        self.books.misses = 0;
        self.books.sandbox_missing =
            self.unit.as_ref().map(|unit| unit.process.sandbox_missing()).unwrap_or_default();
        self.frames.clear();
        self.abuses = Tally::new(super::ABUSES_MAX, terms.restart_window);
        self.forks.threads = 0;
        self.full_looks = 0;
    }

    /// Ends the rival without a word.
    pub(crate) fn abandon(&mut self, now: u64) {
        if let Some(unit) = self.rival.take().and_then(|rival| rival.candidate.unit) {
            self.books.add(&*unit.process);
            self.let_go(unit, now);
        }
    }

    /// Ends the rival for a reason that is not its own.
    pub(super) fn give_up_rival(&mut self, why: &str, now: u64, out: &mut Vec<Happening>) {
        if self.rival.is_some() {
            self.abandon(now);
            let (engine, reason, why) =
                (self.index, FailureReason::NotDocked, clean(&format!("not replaced: {why}")));
            out.push(Happening::ReplaceFailed { engine, reason, why });
        }
    }

    /// Tells the former process to stop.
    pub(crate) fn dismiss(&mut self, now: u64, out: &mut Vec<Happening>) {
        if let Some(former) = self.former.take() {
            self.books.add(&*former.unit.process);
            self.let_go(former.unit, now);
            out.push(Happening::FormerEnded(self.index));
        }
    }

    /// Tells both to stop, for good.
    pub(super) fn stop_beside(&mut self, now: u64) {
        self.abandon(now);
        if let Some(former) = self.former.take() {
            self.let_go(former.unit, now);
        }
    }

    /// Processes beside the one that decides.
    pub(super) fn processes_beside(&self) -> impl Iterator<Item = &dyn Process> {
        let rival = self.rival.as_ref().and_then(|rival| rival.candidate.unit.as_ref());
        let former = self.former.as_ref().map(|former| &former.unit);
        rival.into_iter().chain(former).map(|unit| &*unit.process)
    }

    /// What is to be polled for them; not the output of the former one while `full`.
    pub(super) fn descriptors_beside(
        &self,
        full: bool,
        now: u64,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Source)> {
        let rival = self.rival.iter();
        let of_rival = rival.flat_map(move |rival| rival.candidate.descriptors(now, Source::Rival));
        let former = self.former.as_ref().map(|former| &former.unit);
        let of_former = former.into_iter().flat_map(move |unit| polled(unit, full, Source::Former));
        of_rival.chain(of_former)
    }

    /// When they next need a look.
    pub(super) fn wake_beside(&self) -> Option<u64> {
        let start = self.rival_start_due();
        let rival = self.rival.as_ref().and_then(|rival| rival.candidate.wake());
        let until = self.former.as_ref().map(|former| former.until);
        start.into_iter().chain(rival).chain(until).min()
    }

    /// Since when the rival waits for its start; `None` if it has none to wait for, or two processes are
    /// not gone yet.
    pub(super) fn rival_start_due(&self) -> Option<u64> {
        let rival = self.rival.as_ref().filter(|rival| rival.candidate.unit.is_none())?;
        let alone = self.former.is_none() && self.remains.is_empty() && !self.shadow_lingers();
        alone.then_some(rival.candidate.since)
    }

    pub(super) fn start_rival(
        &mut self,
        launcher: &mut dyn Launcher,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        if self.rival_start_due().is_none() {
            return;
        }
        let Some(mut rival) = self.rival.take() else { return };
        match rival.candidate.start(self.uid, false, launcher, now) {
            Ok(()) => self.rival = Some(rival),
            Err(failure) => self.fail(rival, failure, now, out),
        }
    }

    /// Looks at the limits of both.
    pub(super) fn look_beside(&mut self, now: u64, out: &mut Vec<Happening>) {
        if self.former.as_ref().is_some_and(|former| former.until <= now) {
            self.dismiss(now, out);
        }
        if self.rival.as_ref().is_some_and(|rival| rival.candidate.is_overdue(now)) {
            // What it has said lies in the socket if the host came late.
            self.serve_rival(Part::Control, now, out);
        }
        let Some(mut rival) = self.rival.take() else { return };
        for text in rival.candidate.sum_up(now) {
            self.log(Level::Warning, text, out);
        }
        match rival.candidate.look(now) {
            Ok(()) => self.rival = Some(rival),
            Err(failure) => self.fail(rival, failure, now, out),
        }
    }

    /// A descriptor of the rival's is readable.
    pub(super) fn serve_rival(&mut self, part: Part, now: u64, out: &mut Vec<Happening>) {
        let Some(mut rival) = self.rival.take() else { return };
        let mut heard = Heard::default();
        let done = rival.candidate.hear(part, now, &mut heard);
        for (level, text) in heard.lines {
            self.log(level, text, out);
        }
        for (call, is_told) in heard.calls {
            self.note_call(call, is_told, out);
        }
        let is_ready = rival.ready.is_some();
        let done = done.and_then(|()| {
            heard.said.into_iter().try_for_each(|said| match said {
                Said::Docked(content, link) => {
                    rival.ready = Some((content, link));
                    Ok(())
                }
                // It is asked nothing and told nothing until it has the place.
                Said::Heartbeat(_) | Said::Content => out_of_turn(),
            })
        });
        match done {
            Ok(()) => {
                if rival.ready.is_some() && !is_ready {
                    out.push(Happening::ReplacementReady(self.index));
                }
                self.rival = Some(rival);
            }
            Err(failure) => self.fail(rival, failure, now, out),
        }
    }

    /// Ends a rival and tells why.
    fn fail(&mut self, rival: Rival, failure: Failure, now: u64, out: &mut Vec<Happening>) {
        let Rival { candidate, .. } = rival;
        let failure = candidate.named(failure);
        if let Some(unit) = &candidate.unit {
            self.books.add(&*unit.process);
        }
        self.remains.extend(candidate.end(&failure, now));
        let Failure { reason, why } = failure;
        self.books.count(reason);
        out.push(Happening::ReplaceFailed { engine: self.index, reason, why });
    }

    /// A descriptor of the former process' is readable.
    pub(super) fn serve_former(&mut self, part: Part, now: u64, out: &mut Vec<Happening>) {
        let Some(mut former) = self.former.take() else { return };
        let goes_on = match part {
            Part::Control => self.former_control(&mut former, now, out),
            Part::Calls => {
                self.calls_beside(&former.unit, now, out);
                true
            }
            Part::Output => {
                for line in former.unit.read_output() {
                    self.say(Level::Info, line, now, out);
                }
                true
            }
            Part::Exit => match former.unit.process.exit() {
                Ok(None) => true,
                Ok(Some(exit)) => {
                    let text = format!("the version before it {exit} with answers to give");
                    self.say(Level::Warning, text, now, out);
                    false
                }
                Err(_) => false,
            },
        };
        self.former = Some(former);
        if !goes_on {
            self.dismiss(now, out);
        }
    }

    /// Whether it may go on.
    fn former_control(&mut self, former: &mut Former, now: u64, out: &mut Vec<Happening>) -> bool {
        for _ in 0..READS_MAX {
            match former.unit.receive() {
                Received::Nothing => return true,
                Received::Closed | Received::Garbage(_) => return false,
                Received::Message(_) if former.frames.add(1, now) => return false,
                Received::Message(ToHost::Log(v1::Log { level, text })) => {
                    self.say(level_of(level), clean(&text), now, out);
                }
                // An answer to a ping that was on its way, or news of content that decides nothing now.
                Received::Message(_) => {}
            }
        }
        true
    }

    fn calls_beside(&mut self, unit: &Unit, now: u64, out: &mut Vec<Happening>) {
        for _ in 0..READS_MAX {
            let Some(call) = unit.process.next_call() else { return };
            self.tell_call(call, now, out);
        }
    }
}
