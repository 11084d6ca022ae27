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

mod feeding;
mod outcome;
mod plain;
mod question;
mod watching;
mod window;

use std::fmt;
use std::os::fd::OwnedFd;

use outrigger_api::record::{EVENT_MAX, RecordError, VERDICT_SIZE, VerdictRecord};
use outrigger_api::sample::Sample;
use outrigger_api::{FailureReason, Verdict};
use outrigger_dock::{Doorbell, VERDICT_RING_BYTES};
use rustix::time::{ClockId, clock_gettime};

use crate::happening::{EngineSpec, Happening, Link};
use crate::launcher::Launcher;
use crate::supervisor::Supervisor;
pub use outcome::{Crash, Ending, Judged, Limits, NotAsked, Outcome, ReplayError};
pub use plain::PlainLauncher;
pub use question::spec;
use window::Window;

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

    fn error(&mut self, why: String) -> ReplayError {
        ReplayError::Gone { engine: self.spec.manifest.name.clone(), why }
    }
}

/// ns of `CLOCK_MONOTONIC`.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// A verdict and what the engine says of it.
type Vote = (Verdict, outrigger_api::record::Detail);
