//! Recorded events through one engine at full speed: what it would say, how long it takes, what breaks it.
//!
//! ```text
//! samples ──▶ window ──ring, content socket──▶ engine ──ring──▶ window ──▶ outcomes, in the samples' order
//!               ▲   ▲                             │
//!               │   └── asked again alone: a miss that may have been the queue's
//!               └────── asked again: what else was in flight when the engine crashed
//! ```
//!
//! The engine is started, docked, fed and watched as the host does it: the same launcher, handshake,
//! rings, limits. What differs is that nobody waits: as many questions are in flight as the rings hold, so
//! the time that one takes is counted from the verdict before it. One that took longer than the budget,
//! or that was passed over, is asked again with nothing else in flight, and is a miss only if it is slow
//! each time: a busy machine makes no misses, and two runs say the same.
//!
//! An engine that ends is started again while [`Limits::crashes`] allows. The sample that it had in hand,
//! the oldest that it had not answered since engines judge in the ring's order, is named and not asked
//! again; the others in flight are.
//!
//! Threat position: as the supervisor's, the engine's bytes are hostile. The samples' are somebody else's:
//! a path is cut at the record's limit, and nothing else of them is looked at here.

mod outcome;
mod plain;
mod question;
mod window;

use std::fmt;
use std::os::fd::OwnedFd;

use outrigger_api::record::{EVENT_MAX, RecordError, VERDICT_SIZE, VerdictRecord};
use outrigger_api::sample::Sample;
use outrigger_api::{FailureReason, Verdict};
use outrigger_dock::{Doorbell, PushError, VERDICT_RING_BYTES, content, sleep};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::happening::{EngineSpec, Happening, Level, Link};
use crate::launcher::Launcher;
use crate::supervisor::Supervisor;
pub use outcome::{Crash, Ending, Judged, Limits, NotAsked, Outcome, ReplayError};
pub use plain::PlainLauncher;
pub use question::spec;
use window::{Found, Window};

/// Most questions in flight: the engine never finds its ring of verdicts full.
pub const IN_FLIGHT_MAX: usize = VERDICT_RING_BYTES as usize / VERDICT_SIZE - 1;
/// Most questions in flight that come with a descriptor: an ordinary user may have few in sockets.
const DESCRIPTORS_MAX: usize = 64;
/// A question in a batch has so many budgets at most.
const BATCH_BUDGETS: u64 = 8;
/// How long after its deadline a verdict may be seen, ns. The SDK answers before it, or not at all.
const GRACE: u64 = 20 * MS;
/// How often the engine's process is looked at, ns.
const LOOK: u64 = 2 * MS;
/// How often what it uses is looked at, ns.
const MEASURE: u64 = 50 * MS;
/// How long to doze while an engine gives many verdicts at a time, ns: one wake-up for all of them.
const DOZE: u64 = 30_000;
/// Verdicts found at a time that are many.
const MANY: usize = 8;
/// Lines of the engine that are kept.
const LINES_MAX: usize = 64;
/// ns in a millisecond.
const MS: u64 = 1_000_000;

/// One engine that is fed with samples.
pub struct Replay {
    supervisor: Supervisor,
    spec: EngineSpec,
    limits: Limits,
    link: Option<Docked>,
    window: Window,
    scratch: Box<[u8]>,
    /// Nobody rings it.
    quiet: Doorbell,
    found: Vec<Result<VerdictRecord, RecordError>>,
    happenings: Vec<Happening>,
    /// When the last verdict was seen, ns.
    last_verdict: u64,
    /// When the process is looked at next, ns.
    next_look: u64,
    next_measure: u64,
    /// The engine let a question pass that it was asked alone: it may still be at it.
    must_idle: bool,
    /// How a process ended that had not docked.
    start_ended: Option<FailureReason>,
    /// What a process reported as wrong that had not docked.
    refused: Option<String>,
    ending: Ending,
}

/// An engine that takes questions.
struct Docked {
    link: Link,
    bell: Doorbell,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("engine", &self.spec.manifest.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Replay {
    /// Starts the engine of `spec` and waits until it is docked, as long as its manifest says.
    ///
    /// # Errors
    ///
    /// [`ReplayError::NotDocked`] with what the engine said.
    pub fn start(
        spec: EngineSpec,
        launcher: Box<dyn Launcher>,
        limits: Limits,
    ) -> Result<Self, ReplayError> {
        let spec = question::patient(spec);
        let mut replay = Self {
            supervisor: Supervisor::new(vec![spec.clone()], launcher),
            spec,
            limits: limits.checked(),
            link: None,
            window: Window::default(),
            scratch: vec![0; EVENT_MAX].into_boxed_slice(),
            quiet: Doorbell::new().map_err(ReplayError::Rings)?,
            found: Vec::with_capacity(IN_FLIGHT_MAX),
            happenings: Vec::new(),
            last_verdict: 0,
            next_look: 0,
            next_measure: 0,
            must_idle: false,
            start_ended: None,
            refused: None,
            ending: Ending::default(),
        };
        replay.wait_for_dock()?;
        Ok(replay)
    }

    /// Asks the engine about all of `samples`; what became of each goes to `out`, in their order. A
    /// sample whose content is recorded comes with a descriptor of it, or is not asked about.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Gone`] if the engine ended more often than the limits allow; what was taken from
    /// `samples` before has its outcome all the same. [`ReplayError::Rings`] if the kernel refuses to sleep.
    pub fn ask(
        &mut self,
        samples: &mut dyn Iterator<Item = (Sample, Option<OwnedFd>)>,
        out: &mut dyn FnMut(Outcome),
    ) -> Result<(), ReplayError> {
        let mut more = true;
        loop {
            let now = now();
            if now >= self.next_look {
                self.look(now);
            }
            let found = self.collect();
            while let Some(outcome) = self.window.next_outcome() {
                out(outcome);
            }
            if let Some(why) = self.ending.gone.clone() {
                self.window.abandon().for_each(&mut *out);
                return Err(self.error(why));
            }
            if self.link.is_none() {
                self.wait(LOOK);
                continue;
            }
            let done = self.fill(samples, &mut more);
            if !more && self.window.is_empty() {
                return Ok(());
            }
            if found == 0 && done == 0 {
                self.rest(false)?;
            } else if found >= MANY && self.window.in_hands() >= MANY {
                self.rest(true)?;
            }
        }
    }

    /// What there is to say of the engine while it runs.
    pub fn so_far(&mut self) -> Ending {
        self.measure();
        self.note_status();
        self.ending.clone()
    }

    /// Ends the engine; what there is to say of it.
    pub fn end(mut self) -> Ending {
        self.measure();
        self.note_status();
        self.supervisor.stop_all(now());
        self.ending
    }

    fn wait_for_dock(&mut self) -> Result<(), ReplayError> {
        loop {
            self.look(now());
            if self.link.is_some() {
                return Ok(());
            }
            if let Some(why) = self.ending.gone.clone() {
                self.supervisor.stop_all(now());
                let lines = std::mem::take(&mut self.ending.lines);
                let engine = self.spec.manifest.name.clone();
                let (reason, refused) = (self.start_ended.take(), self.refused.take());
                return Err(ReplayError::NotDocked { engine, why, reason, refused, lines });
            }
            self.wait(100 * MS);
        }
    }

    fn error(&mut self, why: String) -> ReplayError {
        ReplayError::Gone { engine: self.spec.manifest.name.clone(), why }
    }

    /// Waits until there is something to do for the supervisor, at most `limit` ns.
    fn wait(&mut self, limit: u64) {
        let now = now();
        let wake = self.supervisor.next_wake().unwrap_or(u64::MAX).saturating_sub(now);
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(wake.min(limit).min(999 * MS)).unwrap_or_default(),
        };
        let of = |(fd, _)| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> = self.supervisor.descriptors().into_iter().map(of).collect();
        // An error is a signal: the look that follows finds what there is.
        let _ = poll(&mut fds, Some(&limit));
        self.next_look = 0;
    }

    /// Has the supervisor do what is due, and takes in what happened.
    fn look(&mut self, now: u64) {
        self.next_look = now.saturating_add(LOOK);
        let polled = self.supervisor.descriptors();
        let mut fds: Vec<_> =
            polled.iter().map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0);
        let tokens: Vec<_> = polled
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| ready && !fd.revents().is_empty())
            .map(|((_, token), _)| *token)
            .collect();
        for token in tokens {
            self.supervisor.ready(token, now, &mut self.happenings);
        }
        // Before the tick, which judges a loss.
        self.take_in(now);
        self.supervisor.tick(now, &mut self.happenings);
        self.take_in(now);
        if now >= self.next_measure {
            self.next_measure = now.saturating_add(MEASURE);
            self.measure();
        }
    }

    fn take_in(&mut self, now: u64) {
        for happening in std::mem::take(&mut self.happenings) {
            match happening {
                Happening::Docked(_, link) => {
                    let bell = link.verdicts.doorbell();
                    self.link = Some(Docked { link: *link, bell });
                    self.last_verdict = now;
                    self.must_idle = false;
                }
                Happening::Lost(_, reason) => self.lost(reason, now),
                Happening::Quarantined(_, why) | Happening::Failed(_, why) => {
                    self.ending.gone = Some(why);
                }
                Happening::Log { level, text, .. } => {
                    if self.link.is_none() && level == Level::Error {
                        self.refused = Some(text.clone());
                    }
                    self.note_line(text);
                }
                Happening::CallRefused { call, detail, .. } => {
                    let detail = detail.map(|detail| format!(" of {detail}")).unwrap_or_default();
                    self.note_line(format!("refused: {call}{detail}"));
                }
                Happening::Starting(_)
                | Happening::Fault { .. }
                | Happening::Waiting { .. }
                | Happening::Released(_)
                | Happening::ContentChanged(..)
                | Happening::ContentRefused(..)
                // Nobody replaces an engine in a replay.
                | Happening::ReplacementReady(_)
                | Happening::Replaced(..)
                | Happening::ReplaceFailed { .. }
                | Happening::FormerEnded(_) => {}
            }
        }
    }

    fn note_line(&mut self, line: String) {
        if self.ending.lines.len() < LINES_MAX {
            self.ending.lines.push(line);
        }
    }

    /// Its process is gone: what it said before counts, what it had in hand is named.
    fn lost(&mut self, reason: FailureReason, now: u64) {
        if self.link.is_none() {
            // It never docked: nothing recorded is to blame, and another would fare no better.
            self.start_ended = Some(reason);
            return;
        }
        self.collect();
        self.link = None;
        let detail = self.supervisor.status().pop().and_then(|status| status.last_fault);
        let in_hand = self.window.lose(reason);
        let detail = plain_detail(&detail.unwrap_or_default(), reason);
        self.ending.crashes.push(Crash { in_hand, reason, detail });
        if self.ending.crashes.len() <= self.limits.crashes as usize {
            self.supervisor.pardon(0, now);
        }
    }

    fn measure(&mut self) {
        let Some(usage) = self.supervisor.usage().pop() else { return };
        let ending = &mut self.ending;
        ending.cpu_ns = usage.cpu_ns.max(ending.cpu_ns);
        ending.memory_peak = usage.memory_bytes.max(ending.memory_peak);
    }

    fn note_status(&mut self) {
        let Some(status) = self.supervisor.status().pop() else { return };
        let ending = &mut self.ending;
        ending.content = status.content;
        ending.starts = status.starts;
        ending.faults = status.faults.into_iter().collect();
        ending.refused_calls = status.refused_calls;
        ending.sandbox_missing = status.sandbox_missing;
        ending.last_fault = status.last_fault;
    }

    /// Takes every verdict that has come and gives up what is overdue; how many came.
    fn collect(&mut self) -> usize {
        let Some(docked) = &mut self.link else { return 0 };
        let mut found = std::mem::take(&mut self.found);
        let mut broken = None;
        for _ in 0..IN_FLIGHT_MAX {
            match docked.link.verdicts.pop() {
                Ok(None) => break,
                Ok(Some(bytes)) => found.push(VerdictRecord::parse(&bytes)),
                Err(error) => {
                    broken = Some((FailureReason::RingCorrupt, error.to_string()));
                    break;
                }
            }
        }
        let now = now();
        // Those of one look share the time since the last: which of them took how much is not seen.
        let count = found.len();
        let share = now.saturating_sub(self.last_verdict) / count.max(1) as u64;
        let began = self.last_verdict;
        if count > 0 {
            self.last_verdict = now;
        }
        let mut faults = Vec::new();
        for record in found.drain(..) {
            match record {
                Err(error) => faults.push((FailureReason::Garbage, error.to_string())),
                Ok(vote) => match self.window.find(vote.case) {
                    Found::Open(place) => {
                        let alone = now.saturating_sub(self.window.asked_at(place).max(began));
                        let spent = if count == 1 { alone } else { share.min(alone) };
                        let judged = (vote.verdict, vote.detail);
                        self.window.verdict(place, judged, spent, &self.limits);
                        self.must_idle = false;
                    }
                    Found::Closed => self.ending.late += 1,
                    Found::Foreign => {
                        let what = format!("{:?} was never asked", vote.case);
                        faults.push((FailureReason::ForeignAnswer, what));
                    }
                },
            }
        }
        self.found = found;
        if self.window.give_up(now, GRACE, &self.limits) {
            self.must_idle = true;
        }
        for (reason, detail) in faults.into_iter().chain(broken) {
            self.supervisor.fault(0, reason, &detail, now, &mut self.happenings);
            self.next_look = 0;
        }
        count
    }

    /// Takes and asks as much as may be in flight; how much that was.
    fn fill(
        &mut self,
        samples: &mut dyn Iterator<Item = (Sample, Option<OwnedFd>)>,
        more: &mut bool,
    ) -> usize {
        if self.window.asks_alone() {
            return self.ask_alone();
        }
        let with_content = question::reads_content(&self.spec);
        let most = if with_content { DESCRIPTORS_MAX } else { IN_FLIGHT_MAX };
        let most = self.limits.in_flight.min(most);
        let mut done = 0;
        while self.window.in_hands() < most {
            if self.window.next_waiting().is_none() {
                // What is done and cannot go out yet waits as well: it is bounded by what is in flight.
                if self.window.len() >= 2 * IN_FLIGHT_MAX {
                    break;
                }
                let Some((sample, content)) = samples.next() else {
                    *more = false;
                    break;
                };
                let refused = question::refusal(&self.spec, &sample, content.as_ref());
                self.window.push(sample, content, refused);
                done += 1;
                continue;
            }
            if !self.put(self.time_in_batch()) {
                break;
            }
            done += 1;
        }
        self.publish();
        done
    }

    /// How long a question in a batch has: it waits for those before it, and an engine that takes all the
    /// time there is must not be held for one that hangs.
    fn time_in_batch(&self) -> u64 {
        let budget = self.limits.budget;
        let hang = u64::from(self.spec.manifest.limits.hang_ms).saturating_mul(MS);
        budget.saturating_mul(BATCH_BUDGETS).min(budget.max(hang / 2))
    }

    /// Asks the oldest suspect, once nothing else is in flight and the engine is at rest.
    fn ask_alone(&mut self) -> usize {
        let busy = self.window.in_hands() > 0;
        if busy || (self.must_idle && !self.supervisor.is_quiet(0, self.window.given_up_at())) {
            return 0;
        }
        self.must_idle = false;
        self.window.recall_suspect();
        let asked = usize::from(self.put(self.limits.budget));
        self.publish();
        asked
    }

    /// Puts the next question into the ring, its content first; false if there is no room.
    fn put(&mut self, time: u64) -> bool {
        let Some(docked) = &mut self.link else { return false };
        let Some(place) = self.window.next_waiting() else { return false };
        let now = now();
        let case = self.window.next_case();
        let (sample, file) = self.window.sample(place);
        let deadline = now.saturating_add(time);
        let mut header = question::header(&self.spec, sample, case, now, deadline);
        if let (Some(socket), Some(file)) = (&docked.link.content, file)
            && question::has_content(&header)
        {
            use std::os::fd::AsFd as _;
            match content::send(socket.as_fd(), case, file.as_fd()) {
                Ok(()) => {}
                // It takes its descriptors with its questions: there is room when it has judged some.
                Err(content::SendError::Backlog) if self.window.in_hands() > 0 => return false,
                Err(content::SendError::Backlog) => {
                    let why = "it does not take its content descriptors".to_owned();
                    self.supervisor.refuse(0, why, now, &mut self.happenings);
                    self.next_look = 0;
                    return false;
                }
                Err(content::SendError::Gone(_)) => {
                    self.next_look = 0;
                    return false;
                }
            }
        }
        let path = question::path(&self.spec, sample);
        match docked.link.events.ask(&mut header, path, &mut self.scratch) {
            Ok(()) => {
                self.window.asked(place, case, now, deadline);
                true
            }
            Err(PushError::Full) => {
                // Its descriptor is on its way: the case number is spent, and the SDK drops strays.
                self.window.skip_case();
                false
            }
            Err(error @ (PushError::Corrupt(_) | PushError::NoRecord { .. })) => {
                let reason = FailureReason::RingCorrupt;
                let detail = error.to_string();
                self.supervisor.fault(0, reason, &detail, now, &mut self.happenings);
                self.next_look = 0;
                false
            }
        }
    }

    fn publish(&mut self) {
        if let Some(docked) = &mut self.link
            && docked.link.events.publish()
        {
            docked.link.events.waker().wake();
        }
    }

    /// Sleeps until a verdict comes, something is overdue, or the process is due for a look. While
    /// verdicts come by the dozen, for a moment without being woken: a wake-up for each is what would
    /// make a quick engine slow.
    fn rest(&mut self, briefly: bool) -> Result<(), ReplayError> {
        let Some(docked) = &self.link else { return Ok(()) };
        let now = now();
        let due = self.window.next_deadline().map_or(u64::MAX, |at| at.saturating_add(GRACE));
        let until = due.min(self.next_look).max(now);
        if briefly {
            let value = self.quiet.arm();
            let until = until.min(now.saturating_add(DOZE));
            return sleep(&[(self.quiet.clone(), value)], Some(until)).map_err(ReplayError::Rings);
        }
        let value = docked.bell.arm();
        let slept = if docked.link.verdicts.is_empty() {
            sleep(&[(docked.bell.clone(), value)], Some(until))
        } else {
            Ok(())
        };
        docked.bell.disarm();
        slept.map_err(ReplayError::Rings)
    }
}

/// ns of `CLOCK_MONOTONIC`.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// How it ended, without the reason, which stands beside it, and without which of its ends was seen first,
/// which another run would not say.
fn plain_detail(told: &str, reason: FailureReason) -> String {
    let told = told.strip_prefix(reason.name()).unwrap_or(told);
    let told = told.strip_prefix(": ").unwrap_or(told);
    told.strip_prefix("closed its control socket and ").unwrap_or(told).to_owned()
}

/// A verdict and what the engine says of it.
type Vote = (Verdict, outrigger_api::record::Detail);
