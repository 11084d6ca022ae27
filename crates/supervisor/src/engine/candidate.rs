//! A process of another version beside the one that decides, be it to take the place or to run in shadow.
//!
//! It is held to more than an engine in its place: whatever it does wrong ends it. What it prints and what
//! it is refused is rated apart from the engine's, so that it cannot drown that out.

use std::os::fd::BorrowedFd;

use outrigger_api::FailureReason;
use outrigger_api::frame::v1;
use outrigger_api::frame::v1::to_engine::Message as ToEngine;
use outrigger_api::frame::v1::to_host::Message as ToHost;
use outrigger_dock::handshake::{Offer, negotiate};
use outrigger_sandbox::{Exit, RefusedCall};

use super::frames::level_of;
use super::{
    CALLS_PER_SECOND, FRAMES_PER_SECOND, LINES_PER_SECOND, Part, READS_MAX, SECOND, STOP_NS,
    Source, chain, exit_due,
};
use crate::happening::{EngineSpec, Level, Link};
use crate::launcher::Launcher;
use crate::life::{Tally, Terms};
use crate::meter::Meter;
use crate::text::clean;
use crate::unit::{Received, Remains, Unit};

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) spec: EngineSpec,
    pub(super) terms: Terms,
    /// `None` until it is started.
    pub(super) unit: Option<Unit>,
    /// When it was started; when it was asked for until then, ns.
    pub(super) since: u64,
    pub(super) is_docked: bool,
    pub(super) last_line: Option<String>,
    frames: Tally,
    lines: Meter,
    calls: Meter,
}

/// Why a candidate is ended.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: FailureReason,
    pub(super) why: String,
}

/// What came of a candidate at one look; all of it bounded.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Lines that are passed on.
    pub(super) lines: Vec<(Level, String)>,
    /// Every call that it was refused, and whether it is passed on.
    pub(super) calls: Vec<(RefusedCall, bool)>,
    pub(super) said: Vec<Said>,
}

/// What it said that means something, in order.
#[derive(Debug)]
pub(super) enum Said {
    /// It has docked, and describes its content so.
    Docked(String, Box<Link>),
    /// Its answer to a Ping.
    Heartbeat(u64),
    /// It has read its content again.
    Content,
}

pub(super) fn fails<T>(reason: FailureReason, why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure { reason, why: why.into() })
}

impl Candidate {
    pub(super) fn new(spec: EngineSpec, now: u64) -> Self {
        Self {
            terms: Terms::new(&spec.manifest.limits, &spec.config),
            spec,
            unit: None,
            since: now,
            is_docked: false,
            last_line: None,
            frames: Tally::new(FRAMES_PER_SECOND, SECOND),
            lines: Meter::new(LINES_PER_SECOND),
            calls: Meter::new(CALLS_PER_SECOND),
        }
    }

    /// Starts its process, `apart` if nobody is to wait for it.
    pub(super) fn start(
        &mut self,
        uid: u32,
        apart: bool,
        launcher: &mut dyn Launcher,
        now: u64,
    ) -> Result<(), Failure> {
        match Unit::start(&self.spec, uid, apart, launcher) {
            Ok(unit) => {
                self.unit = Some(unit);
                self.since = now;
                Ok(())
            }
            Err(error) => {
                fails(FailureReason::NotDocked, format!("cannot be started: {}", chain(&error)))
            }
        }
    }

    /// Ends its process. One that was refused has a moment to read why; one that misbehaved has none.
    pub(super) fn end(self, failure: &Failure, now: u64) -> Option<Remains> {
        let unit = self.unit?;
        let refused = ToEngine::Refused(v1::Refused { why: failure.why.clone() });
        // It is as likely to be deaf as not.
        let _ = unit.send(refused);
        let kill_at =
            matches!(failure.reason, FailureReason::NotDocked).then(|| now.saturating_add(STOP_NS));
        Some(unit.end(kill_at))
    }

    /// Says of which engine and version it is, before what is wrong with it.
    pub(super) fn named(&self, failure: Failure) -> Failure {
        let manifest = &self.spec.manifest;
        let why = clean(&format!("{} {}: {}", manifest.name, manifest.version, failure.why));
        Failure { why, ..failure }
    }

    /// The host stood still for `gap` ns, which do not count.
    pub(super) const fn stood_still(&mut self, gap: u64) {
        self.since = self.since.saturating_add(gap);
    }

    /// What is to be polled for it. While its lines are over the rate its pipe is left to fill.
    pub(super) fn descriptors(
        &self,
        now: u64,
        source: fn(Part) -> Source,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, Source)> {
        let full = self.lines.is_full(now);
        self.unit.iter().flat_map(move |unit| polled(unit, full, source))
    }

    /// When it next needs a look, its start aside.
    pub(super) fn wake(&self) -> Option<u64> {
        let exit = self.unit.as_ref().and_then(|unit| unit.closed).map(exit_due);
        let all = [self.dock_limit(), exit, self.lines.wake(), self.calls.wake()];
        all.into_iter().flatten().min()
    }

    /// When it must have docked; `None` if it has.
    fn dock_limit(&self) -> Option<u64> {
        (!self.is_docked).then(|| self.since.saturating_add(self.terms.start))
    }

    /// Whether its time to dock is over.
    pub(super) fn is_overdue(&self, now: u64) -> bool {
        self.dock_limit().is_some_and(|limit| limit <= now)
    }

    /// The limit that it is over at `now`.
    pub(super) fn look(&self, now: u64) -> Result<(), Failure> {
        let closed = self.unit.as_ref().and_then(|unit| unit.closed);
        if closed.is_some_and(|at| exit_due(at) <= now) {
            return fails(FailureReason::EngineCrashed, "closed its control socket");
        }
        if self.is_overdue(now) {
            let limit = self.spec.manifest.limits.start_ms;
            let why = match self.unit {
                Some(_) => format!("not docked {limit} ms after its start"),
                None => format!("a process of the engine's would not end for {limit} ms"),
            };
            return fails(FailureReason::EngineHung, why);
        }
        Ok(())
    }

    /// Lines and calls that were left out in the second that is over, in a line each.
    pub(super) fn sum_up(&mut self, now: u64) -> Vec<String> {
        let lines =
            self.lines.settle(now).map(|count| format!("{count} more lines of it were left out"));
        let calls =
            self.calls.settle(now).map(|count| format!("{count} more calls of it were refused"));
        lines.into_iter().chain(calls).collect()
    }

    /// A descriptor of its is readable.
    pub(super) fn hear(&mut self, part: Part, now: u64, heard: &mut Heard) -> Result<(), Failure> {
        match part {
            Part::Control => self.hear_control(now, heard),
            Part::Calls => {
                self.hear_calls(now, heard);
                Ok(())
            }
            Part::Output => {
                self.hear_output(now, heard);
                Ok(())
            }
            Part::Exit => self.hear_exit(now, heard),
        }
    }

    fn hear_calls(&mut self, now: u64, heard: &mut Heard) {
        let Some(unit) = &self.unit else { return };
        for _ in 0..READS_MAX {
            let Some(call) = unit.process.next_call() else { return };
            let is_told = self.calls.admit(now);
            heard.calls.push((call, is_told));
        }
    }

    fn hear_output(&mut self, now: u64, heard: &mut Heard) {
        let Some(unit) = &mut self.unit else { return };
        for line in unit.read_output() {
            self.last_line = Some(line.clone());
            if self.lines.admit(now) {
                heard.lines.push((Level::Info, line));
            }
        }
    }

    fn hear_exit(&mut self, now: u64, heard: &mut Heard) -> Result<(), Failure> {
        let exit = match self.unit.as_ref().map(|unit| unit.process.exit()) {
            None | Some(Ok(None)) => return Ok(()),
            Some(Ok(Some(exit))) => exit,
            Some(Err(error)) => {
                return fails(FailureReason::EngineCrashed, format!("ended, unknown how: {error}"));
            }
        };
        // Its last words first: they may say why.
        self.hear_control(now, heard)?;
        self.hear_output(now, heard);
        let reason = match exit {
            Exit::OutOfMemory => FailureReason::OutOfMemory,
            _ => FailureReason::EngineCrashed,
        };
        let closed = self.unit.as_ref().is_some_and(|unit| unit.closed.is_some());
        let how = if closed { "closed its control socket and " } else { "" };
        match &self.last_line {
            Some(line) => fails(reason, format!("{how}{exit}; its last line: {line}")),
            None => fails(reason, format!("{how}{exit}")),
        }
    }

    fn hear_control(&mut self, now: u64, heard: &mut Heard) -> Result<(), Failure> {
        for _ in 0..READS_MAX {
            let Some(unit) = &mut self.unit else { return Ok(()) };
            match unit.receive() {
                Received::Nothing => return Ok(()),
                Received::Closed => {
                    // Its exit says more, and comes at once if it has ended.
                    unit.closed = Some(now);
                    unit.process.kill();
                    return Ok(());
                }
                Received::Garbage(what) => return fails(FailureReason::Garbage, what),
                Received::Message(_) if self.frames.add(1, now) => {
                    let why = format!("{FRAMES_PER_SECOND} control frames within a second");
                    return fails(FailureReason::Garbage, why);
                }
                Received::Message(message) => self.message(message, now, heard)?,
            }
        }
        Ok(())
    }

    fn message(&mut self, message: ToHost, now: u64, heard: &mut Heard) -> Result<(), Failure> {
        let Some(unit) = &mut self.unit else { return Ok(()) };
        match message {
            ToHost::Hello(hello) if !unit.greeted => {
                let offer = Offer::new(&self.spec.manifest, &self.spec.events);
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
            _ if !unit.greeted => {
                let why = "the first message of an engine is Hello";
                return fails(FailureReason::NotDocked, why);
            }
            ToHost::Log(v1::Log { level, text }) => {
                let text = clean(&text);
                self.last_line = Some(text.clone());
                if self.lines.admit(now) {
                    heard.lines.push((level_of(level), text));
                }
            }
            ToHost::Docked(v1::Docked { content }) if !self.is_docked => {
                if let Some(link) = unit.link() {
                    self.is_docked = true;
                    heard.said.push(Said::Docked(clean(&content), Box::new(link)));
                }
            }
            ToHost::Heartbeat(v1::Heartbeat { nonce }) => heard.said.push(Said::Heartbeat(nonce)),
            ToHost::ContentLoaded(_) if self.is_docked => heard.said.push(Said::Content),
            ToHost::Hello(_) | ToHost::Docked(_) | ToHost::ContentLoaded(_) => {
                return out_of_turn();
            }
        }
        Ok(())
    }
}

pub(super) fn out_of_turn<T>() -> Result<T, Failure> {
    fails(FailureReason::Garbage, "a control message out of turn")
}

pub(super) fn polled(
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
