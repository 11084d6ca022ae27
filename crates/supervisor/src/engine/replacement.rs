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
use outrigger_api::frame::v1::to_engine::Message as ToEngine;
use outrigger_api::frame::v1::to_host::Message as ToHost;
use outrigger_api::{EngineName, FailureReason};
use outrigger_dock::handshake::{Offer, negotiate};
use outrigger_sandbox::Exit;

use super::frames::level_of;
use super::{Engine, FRAMES_PER_SECOND, Part, READS_MAX, SECOND, STOP_NS, Source, chain, exit_due};
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
    spec: EngineSpec,
    terms: Terms,
    /// `None` until it is started.
    unit: Option<Unit>,
    /// When it was started; when it was asked for until then, ns.
    since: u64,
    /// What it describes its content as, and the rings, once it has docked.
    ready: Option<(String, Link)>,
    frames: Tally,
    last_line: Option<String>,
}

/// What has lost the engine's place.
#[derive(Debug)]
pub(super) struct Former {
    unit: Unit,
    /// When it is told to stop at the latest, ns.
    until: u64,
    frames: Tally,
}

/// Why a rival is ended.
#[derive(Debug)]
struct Failure {
    reason: FailureReason,
    why: String,
}

fn fails<T>(reason: FailureReason, why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { reason, why: why.into() })
}

impl Rival {
    /// The host stood still for `gap` ns, which do not count.
    pub(super) fn stood_still(&mut self, gap: u64) {
        self.since = self.since.saturating_add(gap);
    }

    /// When it must have docked; `None` if it has.
    fn limit(&self) -> Option<u64> {
        self.ready.is_none().then(|| self.since.saturating_add(self.terms.start))
    }
}

impl Engine {
    /// Has another process started, which is to take its place.
    pub(crate) fn replace(&mut self, spec: EngineSpec, now: u64) -> Result<(), ReplaceError> {
        let name = &self.spec.manifest.name;
        if self.rival.is_some() {
            return Err(ReplaceError::Busy(name.clone()));
        }
        if spec.manifest.name != *name {
            let (engine, found) = (name.clone(), spec.manifest.name);
            return Err(ReplaceError::Name { engine, found });
        }
        self.rival = Some(Rival {
            terms: Terms::new(&spec.manifest.limits, &spec.config),
            spec,
            unit: None,
            since: now,
            ready: None,
            frames: Tally::new(FRAMES_PER_SECOND, SECOND),
            last_line: None,
        });
        Ok(())
    }

    /// Puts the rival in its place, which has docked; false if there is none that has.
    pub(crate) fn promote(&mut self, finish: u64, now: u64, out: &mut Vec<Happening>) -> bool {
        let ready = |rival: &mut Rival| rival.ready.is_some() && rival.unit.is_some();
        let Some(Rival { spec, terms, unit, ready: Some((content, link)), last_line, .. }) =
            self.rival.take_if(ready)
        else {
            return false;
        };
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
        out.push(Happening::Replaced(self.index, Box::new(link)));
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
        if self.state() != EngineState::Quarantined {
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
        if let Some(unit) = self.rival.take().and_then(|rival| rival.unit) {
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
        let rival = self.rival.as_ref().and_then(|rival| rival.unit.as_ref());
        let former = self.former.as_ref().map(|former| &former.unit);
        rival.into_iter().chain(former).map(|unit| &*unit.process)
    }

    /// What is to be polled for them; not their output while `full`.
    pub(super) fn descriptors_beside(
        &self,
        full: bool,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Source)> {
        let rival = self.rival.as_ref().and_then(|rival| rival.unit.as_ref());
        let former = self.former.as_ref().map(|former| &former.unit);
        let of_rival = rival.into_iter().flat_map(move |unit| polled(unit, full, Source::Rival));
        let of_former = former.into_iter().flat_map(move |unit| polled(unit, full, Source::Former));
        of_rival.chain(of_former)
    }

    /// When they next need a look.
    pub(super) fn wake_beside(&self) -> Option<u64> {
        let rival = self.rival.as_ref();
        let start = self.rival_start_due();
        let limit = rival.and_then(Rival::limit);
        let exit = rival.and_then(|rival| rival.unit.as_ref()?.closed).map(exit_due);
        let until = self.former.as_ref().map(|former| former.until);
        start.into_iter().chain(limit).chain(exit).chain(until).min()
    }

    /// Since when the rival waits for its start; `None` if it has none to wait for, or two processes are
    /// not gone yet.
    pub(super) fn rival_start_due(&self) -> Option<u64> {
        let rival = self.rival.as_ref().filter(|rival| rival.unit.is_none())?;
        (self.former.is_none() && self.remains.is_empty()).then_some(rival.since)
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
        match Unit::start(&rival.spec, self.uid, launcher) {
            Ok(unit) => {
                rival.unit = Some(unit);
                rival.since = now;
                self.rival = Some(rival);
            }
            Err(error) => {
                let why = format!("cannot be started: {}", chain(&error));
                self.fail(rival, Failure { reason: FailureReason::NotDocked, why }, now, out);
            }
        }
    }

    /// Looks at the limits of both.
    pub(super) fn look_beside(&mut self, now: u64, out: &mut Vec<Happening>) {
        if self.former.as_ref().is_some_and(|former| former.until <= now) {
            self.dismiss(now, out);
        }
        let overdue = |rival: &Rival| rival.limit().is_some_and(|limit| limit <= now);
        if self.rival.as_ref().is_some_and(overdue) {
            // What it has said lies in the socket if the host came late.
            self.serve_rival(Part::Control, now, out);
        }
        let Some(rival) = &self.rival else { return };
        let closed = rival.unit.as_ref().and_then(|unit| unit.closed);
        let failure = if closed.is_some_and(|at| exit_due(at) <= now) {
            let why = "closed its control socket".to_owned();
            Failure { reason: FailureReason::EngineCrashed, why }
        } else if overdue(rival) {
            let limit = rival.spec.manifest.limits.start_ms;
            let why = match rival.unit {
                Some(_) => format!("not docked {limit} ms after its start"),
                None => format!("a process of the engine's would not end for {limit} ms"),
            };
            Failure { reason: FailureReason::EngineHung, why }
        } else {
            return;
        };
        if let Some(rival) = self.rival.take() {
            self.fail(rival, failure, now, out);
        }
    }

    /// A descriptor of the rival's is readable.
    pub(super) fn serve_rival(&mut self, part: Part, now: u64, out: &mut Vec<Happening>) {
        let Some(mut rival) = self.rival.take() else { return };
        let was_ready = rival.ready.is_some();
        match self.hear_rival(&mut rival, part, now, out) {
            Ok(()) => {
                let is_ready = rival.ready.is_some();
                self.rival = Some(rival);
                if is_ready && !was_ready {
                    out.push(Happening::ReplacementReady(self.index));
                }
            }
            Err(failure) => self.fail(rival, failure, now, out),
        }
    }

    fn hear_rival(
        &mut self,
        rival: &mut Rival,
        part: Part,
        now: u64,
        out: &mut Vec<Happening>,
    ) -> Result<(), Failure> {
        match part {
            Part::Control => self.rival_control(rival, now, out),
            Part::Calls => {
                let Some(unit) = &rival.unit else { return Ok(()) };
                self.calls_beside(unit, now, out);
                Ok(())
            }
            Part::Output => {
                let Some(unit) = &mut rival.unit else { return Ok(()) };
                for line in unit.read_output() {
                    rival.last_line = Some(line.clone());
                    self.say(Level::Info, line, now, out);
                }
                Ok(())
            }
            Part::Exit => {
                let exit = match rival.unit.as_ref().map(|unit| unit.process.exit()) {
                    None | Some(Ok(None)) => return Ok(()),
                    Some(Ok(Some(exit))) => exit,
                    Some(Err(error)) => {
                        let why = format!("ended, unknown how: {error}");
                        return fails(FailureReason::EngineCrashed, why);
                    }
                };
                // Its last words first: they may say why.
                self.rival_control(rival, now, out)?;
                self.hear_rival(rival, Part::Output, now, out)?;
                let reason = match exit {
                    Exit::OutOfMemory => FailureReason::OutOfMemory,
                    _ => FailureReason::EngineCrashed,
                };
                let closed = rival.unit.as_ref().is_some_and(|unit| unit.closed.is_some());
                let how = if closed { "closed its control socket and " } else { "" };
                match &rival.last_line {
                    Some(line) => fails(reason, format!("{how}{exit}; its last line: {line}")),
                    None => fails(reason, format!("{how}{exit}")),
                }
            }
        }
    }

    fn rival_control(
        &mut self,
        rival: &mut Rival,
        now: u64,
        out: &mut Vec<Happening>,
    ) -> Result<(), Failure> {
        for _ in 0..READS_MAX {
            let Some(unit) = &mut rival.unit else { return Ok(()) };
            match unit.receive() {
                Received::Nothing => return Ok(()),
                Received::Closed => {
                    // Its exit says more, and comes at once if it has ended.
                    unit.closed = Some(now);
                    unit.process.kill();
                    return Ok(());
                }
                Received::Garbage(what) => return fails(FailureReason::Garbage, what),
                Received::Message(_) if rival.frames.add(1, now) => {
                    let why = format!("{FRAMES_PER_SECOND} control frames within a second");
                    return fails(FailureReason::Garbage, why);
                }
                Received::Message(ToHost::Hello(hello)) if !unit.greeted => {
                    let offer = Offer::new(&rival.spec.manifest, &rival.spec.events);
                    let welcome = match negotiate(&hello, &offer) {
                        Ok(welcome) => welcome,
                        Err(refused) => return fails(FailureReason::NotDocked, refused.why),
                    };
                    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
                    // One that is gone already says more by its exit.
                    if let Err(error) = unit.welcome(welcome)
                        && !matches!(error.kind(), BrokenPipe | ConnectionReset)
                    {
                        let why = format!("could not be welcomed: {error}");
                        return fails(FailureReason::NotDocked, why);
                    }
                }
                Received::Message(_) if !unit.greeted => {
                    let why = "the first message of an engine is Hello";
                    return fails(FailureReason::NotDocked, why);
                }
                Received::Message(ToHost::Log(v1::Log { level, text })) => {
                    let text = clean(&text);
                    rival.last_line = Some(text.clone());
                    self.say(level_of(level), text, now, out);
                }
                Received::Message(ToHost::Docked(v1::Docked { content }))
                    if rival.ready.is_none() =>
                {
                    rival.ready = unit.link().map(|link| (clean(&content), link));
                }
                Received::Message(
                    ToHost::Hello(_)
                    | ToHost::Docked(_)
                    | ToHost::Heartbeat(_)
                    | ToHost::ContentLoaded(_),
                ) => return fails(FailureReason::Garbage, "a control message out of turn"),
            }
        }
        Ok(())
    }

    /// Ends a rival and tells why.
    fn fail(&mut self, rival: Rival, failure: Failure, now: u64, out: &mut Vec<Happening>) {
        let Failure { reason, why } = failure;
        let why =
            clean(&format!("{} {}: {why}", rival.spec.manifest.name, rival.spec.manifest.version));
        if let Some(unit) = rival.unit {
            let refused = ToEngine::Refused(v1::Refused { why: why.clone() });
            // It is as likely to be deaf as not.
            let _ = unit.send(refused);
            self.books.add(&*unit.process);
            // One that was refused has a moment to read why; one that misbehaved has none.
            let kill_at =
                matches!(reason, FailureReason::NotDocked).then(|| now.saturating_add(STOP_NS));
            self.remains.push(unit.end(kill_at));
        }
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

fn polled(
    unit: &Unit,
    full: bool,
    source: fn(Part) -> Source,
) -> impl Iterator<Item = (BorrowedFd<'_>, Source)> {
    let output = if full { None } else { unit.output() };
    [
        (unit.control(), Part::Control),
        (Some(unit.process.ended()), Part::Exit),
        (unit.process.calls(), Part::Calls),
        (output, Part::Output),
    ]
    .into_iter()
    .filter_map(move |(descriptor, part)| descriptor.map(|descriptor| (descriptor, source(part))))
}
