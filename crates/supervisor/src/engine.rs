//! One engine: its life, its process, its books.
//!
//! Everything that ends a process goes through [`Engine::lose`], so each end is told once, counted
//! once and costs the engine what the life says.

mod books;
mod candidate;
mod command;
mod frames;
mod replacement;
mod shadow;

use std::os::fd::BorrowedFd;

use outrigger_api::FailureReason;
use outrigger_api::control::EngineState;
use outrigger_api::reason::chain;
use outrigger_sandbox::{Exit, RefusedCall};

use crate::happening::{EngineIndex, EngineSpec, Happening, Level};
use crate::launcher::{LaunchError, Launcher};
use crate::life::{Life, Next, Overdue, Tally, Terms};
use crate::meter::Meter;
use crate::unit::{Remains, Unit};
use books::Books;
pub use command::CommandError;
pub use replacement::ReplaceError;
use replacement::{Former, Rival};
use shadow::Shadow;

/// Most that is read from one descriptor of an engine in one call.
const READS_MAX: usize = 64;
/// Control frames per second that are too many. One that docks sends two or three; after that, one
/// per `heartbeat_ms` and what it logs.
const FRAMES_PER_SECOND: u32 = 1000;
/// Bytes that are no message, answers to what was never asked: so many within the restart window are
/// no accident.
const ABUSES_MAX: u32 = 8;
/// Lines of an engine per second that reach the journal.
const LINES_PER_SECOND: u32 = 50;
/// Refused calls of an engine per second that are told by name.
const CALLS_PER_SECOND: u32 = 20;
/// How often strikes for refused processes and threads come at most, ns: one burst of them is one thing.
const FORKS_NS: u64 = SECOND;
/// Heartbeats in a row at which it must be found with no descriptor left. Once may be a peak.
const FULL_LOOKS: u32 = 2;
/// What an engine has to end by itself after `Stop`, ns.
const STOP_NS: u64 = 100_000_000;
/// How long the exit of a process is waited for that has closed its control socket, ns. It comes
/// within microseconds if the process ended, and tells more.
const EXIT_NS: u64 = 10_000_000;
/// ns in a second.
const SECOND: u64 = 1_000_000_000;

/// A descriptor of an engine that is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The control socket.
    Control,
    /// The end of the process.
    Exit,
    /// Refused calls.
    Calls,
    /// Standard output and error.
    Output,
    /// Of the process that is to take its place.
    Rival(Part),
    /// Of the process whose place was taken.
    Former(Part),
    /// Of the process that runs in shadow.
    Shadow(Part),
    /// The end of a process that does not count any more.
    Remains,
}

/// The same descriptors of a process beside the one that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Control,
    Exit,
    Calls,
    Output,
}

/// One engine.
#[derive(Debug)]
pub(crate) struct Engine {
    index: EngineIndex,
    spec: EngineSpec,
    uid: u32,
    life: Life,
    unit: Option<Unit>,
    /// What is to take its place.
    rival: Option<Rival>,
    /// What has lost its place and answers what it has in hand.
    former: Option<Former>,
    /// What runs in shadow.
    shadow: Option<Shadow>,
    /// What is left of those that ran in shadow: nothing of the engine's waits for its end.
    shades: Vec<Remains>,
    remains: Vec<Remains>,
    frames: Tally,
    abuses: Tally,
    lines: Meter,
    calls: Meter,
    forks: Forks,
    /// Heartbeats in a row at which it had no descriptor left.
    full_looks: u32,
    books: Books,
}

/// Processes and threads that it was refused.
#[derive(Debug, Default)]
struct Forks {
    /// Refused and not told yet.
    untold: u64,
    /// When they were last told, ns.
    told: Option<u64>,
    /// Threads that the running process was refused, as last seen.
    threads: u64,
}

impl Engine {
    pub(crate) fn new(index: EngineIndex, spec: EngineSpec, uid: u32) -> Self {
        let terms = Terms::new(&spec.manifest.limits, &spec.config);
        Self {
            index,
            uid,
            life: Life::new(terms),
            unit: None,
            rival: None,
            former: None,
            shadow: None,
            shades: Vec::new(),
            remains: Vec::new(),
            frames: Tally::new(FRAMES_PER_SECOND, SECOND),
            abuses: Tally::new(ABUSES_MAX, terms.restart_window),
            lines: Meter::new(LINES_PER_SECOND),
            calls: Meter::new(CALLS_PER_SECOND),
            forks: Forks::default(),
            full_looks: 0,
            books: Books::default(),
            spec,
        }
    }

    /// What is to be polled for it now.
    pub(crate) fn descriptors(&self, now: u64) -> impl Iterator<Item = (BorrowedFd<'_>, Source)> {
        let unit = self.unit.as_ref();
        // While its lines are over the rate its pipe is left to fill: then it waits, not the host.
        let full = self.lines.is_full(now);
        let own = [
            (unit.and_then(Unit::control), Source::Control),
            (unit.map(|unit| unit.process.ended()), Source::Exit),
            (unit.and_then(|unit| unit.process.calls()), Source::Calls),
            (unit.filter(|_| !full).and_then(Unit::output), Source::Output),
        ];
        let remains = self.remains.iter().chain(&self.shades);
        let remains = remains.map(|one| (one.ended(), Source::Remains));
        own.into_iter()
            .filter_map(|(descriptor, source)| descriptor.map(|descriptor| (descriptor, source)))
            .chain(self.descriptors_beside(full, now))
            .chain(self.shadow_descriptors(now))
            .chain(remains)
    }

    /// When it next needs a tick.
    pub(crate) fn wake(&self) -> Option<u64> {
        // A start waits for the last process to be gone, which is polled for.
        let start = self.life.start_due().filter(|_| self.remains.is_empty());
        let exit = self.unit.as_ref().and_then(|unit| unit.closed).map(exit_due);
        let kill = self.remains.iter().chain(&self.shades).filter_map(Remains::kill_at).min();
        let beside = [self.wake_beside(), self.shadow_wake()].into_iter().flatten().min();
        [self.life.wake(), start, exit, kill, beside, self.lines.wake(), self.calls.wake()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The descriptor of `source` is readable.
    pub(crate) fn ready(&mut self, source: Source, now: u64, out: &mut Vec<Happening>) {
        match source {
            Source::Control => self.read_control(now, out),
            Source::Exit => self.read_exit(now, out),
            Source::Calls => self.read_calls(now, out),
            Source::Output => self.read_output(now, out),
            Source::Rival(part) => self.serve_rival(part, now, out),
            Source::Former(part) => self.serve_former(part, now, out),
            Source::Shadow(part) => self.serve_shadow(part, now, out),
            Source::Remains => self.clear_remains(now),
        }
    }

    /// Does what is due at `now`, a start aside.
    pub(crate) fn tick(&mut self, now: u64, out: &mut Vec<Happening>) {
        self.clear_remains(now);
        // Before the limits: a loss found there is judged by the next tick, as any other.
        self.judge_loss(now, out);
        self.look_at_limits(now, out);
        self.look_beside(now, out);
        if let Some(nonce) = self.life.ping(now) {
            self.send_ping(nonce);
            self.look_at_process(now, out);
        }
        self.sum_up(now, out);
        // Last, since nothing of the engine's is to wait for it.
        self.look_at_shadow(now, out);
    }

    /// Since when a start of it, or of a process beside it, is due; `None` if none is at `now`.
    pub(crate) fn start_due(&self, now: u64) -> Option<u64> {
        let own = self.own_start_due(now);
        own.into_iter().chain(self.rival_start_due()).chain(self.shadow_start_due()).min()
    }

    fn own_start_due(&self, now: u64) -> Option<u64> {
        let due = self.life.start_due().filter(|due| *due <= now)?;
        (self.unit.is_none() && self.remains.is_empty()).then_some(due)
    }

    /// When it is next started, if it waits for that.
    pub(crate) const fn next_start(&self) -> Option<u64> {
        self.life.start_due()
    }

    /// Starts the process that is due. Its own goes before one that is to take its place, and that before
    /// one that is to run in shadow.
    pub(crate) fn start(
        &mut self,
        launcher: &mut dyn Launcher,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        if self.own_start_due(now).is_none() {
            return match self.rival_start_due() {
                Some(_) => self.start_rival(launcher, now, out),
                None => self.start_shadow(launcher, now, out),
            };
        }
        match Unit::start(&self.spec, self.uid, false, launcher) {
            Ok(unit) => {
                self.books.starts += 1;
                self.books.sandbox_missing = unit.process.sandbox_missing();
                self.books.misses = 0;
                self.unit = Some(unit);
                self.frames.clear();
                self.forks.threads = 0;
                self.full_looks = 0;
                self.life.started(now);
                out.push(Happening::Starting(self.index));
            }
            Err(error) => {
                let text = format!("cannot be started: {}", chain(&error));
                self.books.fault(FailureReason::NotDocked, &text);
                if matches!(error, LaunchError::Altered { .. }) {
                    self.life.fail();
                    out.push(Happening::Failed(self.index, crate::text::clean(&text)));
                    return;
                }
                self.life.start_failed(now);
                self.log(Level::Error, text, out);
            }
        }
    }

    /// Whether it has answered a Ping that was sent after `since`.
    pub(crate) const fn is_quiet(&self, since: u64) -> bool {
        self.life.is_quiet(since)
    }

    /// The host found a fault of this engine's.
    pub(crate) fn fault(
        &mut self,
        reason: FailureReason,
        detail: &str,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        match reason {
            FailureReason::Garbage | FailureReason::ForeignAnswer => {
                self.abuse(reason, detail, now, out);
            }
            // The ring cannot be used any more, and comes anew with the next process.
            // Until that is done the host finds it at every look: it is one fault all the same.
            FailureReason::RingCorrupt | FailureReason::EngineHung => {
                if self.unit.is_some() {
                    self.lose(reason, detail, now, out);
                }
            }
            _ => self.told(reason, detail, out),
        }
    }

    /// It let `count` questions pass their deadline.
    pub(crate) fn missed(&mut self, count: u32, now: u64, out: &mut Vec<Happening>) {
        self.books.misses += u64::from(count);
        if self.life.missed(count, now) {
            let config = &self.spec.config;
            let why = format!(
                "{} questions missed within {} ms, the limit is {}",
                self.life.misses(),
                config.miss_window_ms,
                config.misses_max
            );
            self.quarantine(FailureReason::EngineSlow, why, now, out);
        }
    }

    /// The last loss was a poisoned object's fault.
    pub(crate) fn pardon(&mut self, now: u64) {
        self.life.pardon(now);
    }

    /// The host stood still for `gap` ns up to `now`.
    pub(crate) fn stood_still(&mut self, gap: u64, now: u64) {
        self.life.stood_still(gap, now);
        if let Some(rival) = &mut self.rival {
            rival.stood_still(gap);
        }
        if let Some(shadow) = &mut self.shadow {
            shadow.stood_still(gap, now);
        }
    }

    /// Ends its processes for good; they have [`STOP_NS`] for it.
    pub(crate) fn stop(&mut self, now: u64) {
        self.stop_beside(now);
        self.end_shadow(now);
        if let Some(unit) = self.unit.take() {
            self.let_go(unit, now);
        }
        self.life.fail();
    }

    /// Kills what is left of its processes.
    pub(crate) fn kill_remains(&mut self) {
        self.remains.iter_mut().chain(&mut self.shades).for_each(Remains::kill);
    }

    /// Lets go of what is left of its processes, which waits for their end.
    pub(crate) fn drop_remains(&mut self) {
        self.remains.clear();
        self.shades.clear();
    }

    /// It has no process and gets none, for the reason `why`, until [`Engine::promote`].
    pub(crate) fn withhold(&mut self, why: &str) {
        self.books.last(why);
        self.life.withhold();
    }

    /// Tells a process to stop; it has [`STOP_NS`] for it.
    fn let_go(&mut self, unit: Unit, now: u64) {
        self.say_stop(&unit);
        self.remains.push(unit.end(Some(now.saturating_add(STOP_NS))));
    }

    /// Bytes or answers that no engine that means well sends: some are borne, more are not.
    fn abuse(&mut self, reason: FailureReason, detail: &str, now: u64, out: &mut Vec<Happening>) {
        if self.unit.is_none() {
            return self.told(reason, detail, out);
        }
        if self.abuses.add(1, now) {
            let why = format!("{ABUSES_MAX} times {reason} or alike; last: {detail}");
            return self.quarantine(reason, why, now, out);
        }
        self.told(reason, detail, out);
    }

    /// Counts and tells a fault that does not end its process.
    fn told(&mut self, reason: FailureReason, detail: &str, out: &mut Vec<Happening>) {
        self.books.fault(reason, detail);
        self.tell(reason, detail, out);
    }

    fn tell(&self, reason: FailureReason, detail: &str, out: &mut Vec<Happening>) {
        let detail = crate::text::clean(detail);
        out.push(Happening::Fault { engine: self.index, reason, detail });
    }

    /// Ends its process, whose word counts no more. The next tick decides what follows.
    fn lose(&mut self, reason: FailureReason, detail: &str, now: u64, out: &mut Vec<Happening>) {
        self.books.fault(reason, detail);
        self.end(reason, None, now, out);
    }

    /// Ends its process and takes it off the dock.
    fn quarantine(
        &mut self,
        reason: FailureReason,
        why: String,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        self.lose(reason, &why, now, out);
        self.quarantined(why, out);
    }

    /// Ends its process, if there is one, at once or by `kill_at`.
    fn end(
        &mut self,
        reason: FailureReason,
        kill_at: Option<u64>,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        // What it was refused is not forgotten with it, but its end is all that it costs.
        let refused = self.take_calls(now, out) + self.refused_threads();
        let untold = std::mem::take(&mut self.forks.untold) + refused;
        if untold > 0 {
            self.books.count(FailureReason::ForkBomb);
            self.tell(FailureReason::ForkBomb, &forks(untold), out);
        }
        if let Some(unit) = self.unit.take() {
            self.books.end_of(&*unit.process);
            self.remains.push(unit.end(kill_at));
            self.life.lost(now);
            out.push(Happening::Lost(self.index, reason));
        }
    }

    fn quarantined(&mut self, why: String, out: &mut Vec<Happening>) {
        self.life.quarantine();
        self.books.last(&why);
        out.push(Happening::Quarantined(self.index, why));
    }

    fn judge_loss(&mut self, now: u64, out: &mut Vec<Happening>) {
        match self.life.decide(now) {
            Some(Next::Quarantined) => {
                let (_, max) = self.life.restarts_left(now);
                let seconds = self.spec.config.restart_window_ms / 1000;
                let last = self.books.last_fault().unwrap_or("nothing told");
                let why = format!("{max} restarts within {seconds} s are used up; last: {last}");
                self.books.count(FailureReason::BudgetExhausted);
                self.tell(FailureReason::BudgetExhausted, &why, out);
                self.quarantined(why, out);
            }
            Some(Next::Failed) => {
                let why = self.books.last_fault().unwrap_or("could not be started").to_owned();
                out.push(Happening::Failed(self.index, why));
            }
            // One that starts at once says so by itself.
            Some(Next::Restart { due }) if due > now => {
                out.push(Happening::Waiting { engine: self.index, due });
            }
            Some(Next::Restart { .. }) | None => {}
        }
    }

    fn look_at_limits(&mut self, now: u64, out: &mut Vec<Happening>) {
        if self.life.overdue(now).is_some() {
            // What it has said lies in the socket if the host came late.
            self.read_control(now, out);
        }
        let limits = self.spec.manifest.limits;
        match self.life.overdue(now) {
            Some(Overdue::Start) => {
                let text = format!("not docked {} ms after its start", limits.start_ms);
                self.lose(FailureReason::EngineHung, &text, now, out);
            }
            Some(Overdue::Heartbeat) => {
                let text = format!("gave no sign of life for {} ms", limits.hang_ms);
                self.lose(FailureReason::EngineHung, &text, now, out);
            }
            None => {}
        }
        let closed = self.unit.as_ref().and_then(|unit| unit.closed);
        if closed.is_some_and(|at| exit_due(at) <= now) {
            self.lose(FailureReason::EngineCrashed, "closed its control socket", now, out);
        }
    }

    fn read_exit(&mut self, now: u64, out: &mut Vec<Happening>) {
        let exit = match self.unit.as_ref().map(|unit| unit.process.exit()) {
            None | Some(Ok(None)) => return,
            Some(Ok(Some(exit))) => Ok(exit),
            Some(Err(error)) => Err(error),
        };
        // Its last words first: they may say why.
        self.read_control(now, out);
        self.read_output(now, out);
        let (reason, mut text) = match exit {
            Ok(exit @ Exit::OutOfMemory) => (FailureReason::OutOfMemory, exit.to_string()),
            Ok(exit) => (FailureReason::EngineCrashed, exit.to_string()),
            Err(error) => (FailureReason::EngineCrashed, format!("ended, unknown how: {error}")),
        };
        if self.unit.as_ref().is_some_and(|unit| unit.closed.is_some()) {
            text = format!("closed its control socket and {text}");
        }
        if let Some(line) = self.books.last_line() {
            text = format!("{text}; its last line: {line}");
        }
        self.lose(reason, &text, now, out);
    }

    /// Looks at what its process holds and was refused, once per heartbeat.
    fn look_at_process(&mut self, now: u64, out: &mut Vec<Happening>) {
        let refused = self.refused_threads();
        self.forked(refused, now, out);
        let limit = self.spec.manifest.limits.descriptors;
        let held = self.unit.as_ref().and_then(|unit| unit.process.descriptors());
        let is_full = held.is_some_and(|held| held >= u64::from(limit));
        self.full_looks = if is_full { self.full_looks + 1 } else { 0 };
        if self.full_looks >= FULL_LOOKS {
            let text = format!("holds all {limit} descriptors that it may have");
            self.lose(FailureReason::FdLeak, &text, now, out);
        }
    }

    /// Threads that its process was refused at its limit since this was last asked.
    fn refused_threads(&mut self) -> u64 {
        let Some(unit) = &self.unit else { return 0 };
        let all = unit.process.refused_threads();
        all.saturating_sub(std::mem::replace(&mut self.forks.threads, all))
    }

    /// It was refused `count` processes or threads: a strike, but not another soon after one.
    fn forked(&mut self, count: u64, now: u64, out: &mut Vec<Happening>) {
        self.forks.untold += count;
        let soon = self.forks.told.is_some_and(|told| now.saturating_sub(told) < FORKS_NS);
        if self.forks.untold > 0 && !soon {
            self.forks.told = Some(now);
            let text = forks(std::mem::take(&mut self.forks.untold));
            self.abuse(FailureReason::ForkBomb, &text, now, out);
        }
    }

    fn read_calls(&mut self, now: u64, out: &mut Vec<Happening>) {
        let count = self.take_calls(now, out);
        self.forked(count, now, out);
    }

    /// Reads calls that it was refused; how many of them would have made a process.
    fn take_calls(&mut self, now: u64, out: &mut Vec<Happening>) -> u64 {
        let mut processes = 0;
        for _ in 0..READS_MAX {
            let Some(call) = self.unit.as_ref().and_then(|unit| unit.process.next_call()) else {
                break;
            };
            processes += u64::from(call.makes_process());
            self.tell_call(call, now, out);
        }
        processes
    }

    fn tell_call(&mut self, call: RefusedCall, now: u64, out: &mut Vec<Happening>) {
        let is_told = self.calls.admit(now);
        self.note_call(call, is_told, out);
    }

    /// Counts a call that it was refused, and passes it on if it `is_told`.
    fn note_call(&mut self, call: RefusedCall, is_told: bool, out: &mut Vec<Happening>) {
        self.books.refused_calls += 1;
        if is_told {
            let detail = call.detail.as_deref().map(crate::text::clean);
            let call = call.call.into_owned();
            out.push(Happening::CallRefused { engine: self.index, call, detail });
        }
    }

    fn read_output(&mut self, now: u64, out: &mut Vec<Happening>) {
        let Some(unit) = &mut self.unit else { return };
        for line in unit.read_output() {
            self.books.line(&line);
            self.say(Level::Info, line, now, out);
        }
    }

    /// Passes on a line of a process of its, if not too many have come.
    fn say(&mut self, level: Level, text: String, now: u64, out: &mut Vec<Happening>) {
        if self.lines.admit(now) {
            self.log(level, text, out);
        }
    }

    /// Lets go of remains that are gone, and kills those that had their time.
    pub(crate) fn clear_remains(&mut self, now: u64) {
        self.remains.retain_mut(|remains| !remains.is_gone(now));
        self.shades.retain_mut(|remains| !remains.is_gone(now));
    }

    fn sum_up(&mut self, now: u64, out: &mut Vec<Happening>) {
        if let Some(count) = self.lines.settle(now) {
            self.log(Level::Warning, format!("{count} more lines of it were left out"), out);
        }
        if let Some(count) = self.calls.settle(now) {
            self.log(Level::Warning, format!("{count} more calls of it were refused"), out);
        }
    }

    fn log(&self, level: Level, text: String, out: &mut Vec<Happening>) {
        out.push(Happening::Log { engine: self.index, level, text });
    }

    fn state(&self) -> EngineState {
        self.life.state()
    }
}

/// When the exit of a process is not waited for any more that closed its socket at `closed`.
const fn exit_due(closed: u64) -> u64 {
    closed.saturating_add(EXIT_NS)
}

fn forks(count: u64) -> String {
    format!("refused a process, or a thread over its limit: {count} times")
}
