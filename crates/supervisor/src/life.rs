//! Where one engine's life stands, and what comes next.
//!
//! ```text
//!             started          docked
//!   Waiting ─────────▶ Starting ────▶ Docked
//!      ▲                  │ lost        │ lost
//!      │ decide: budget   ▼             ▼
//!      └───────────────  Lost  ◀────────┘
//!                         │ decide: no budget left
//!                         ▼
//!                    Quarantined, or Failed if it could not even be started
//! ```
//!
//! This module decides; it starts and ends nothing. Time is an argument (ns of `CLOCK_MONOTONIC`).
//!
//! 1. No window of the configured length ever holds more restarts than the budget. What an operator
//!    asked for is not taken from it.
//! 2. The wait before a restart never shrinks until the engine ran for a whole window.
//! 3. Quarantine is left by [`Life::release`] alone, or by [`Life::replaced`]: another version is another
//!    engine, with a budget of its own.
//!
//! A loss is not judged when it happens but by the next [`Life::decide`], so that the host can
//! [`Life::pardon`] one that it traced to a poisoned object before it costs the engine anything.

mod budget;
mod tally;

use outrigger_api::control::EngineState;
use outrigger_api::settings::{EngineConfig, Limits};

use budget::{BackOff, RestartBudget};
pub(crate) use tally::Tally;

/// ns in a millisecond.
const MS: u64 = 1_000_000;

/// The time limits and budgets of one engine; all times in ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) start: u64,
    pub(crate) heartbeat: u64,
    pub(crate) hang: u64,
    pub(crate) restarts_max: u32,
    pub(crate) restart_window: u64,
    pub(crate) backoff: u64,
    pub(crate) backoff_max: u64,
    pub(crate) misses_max: u32,
    pub(crate) miss_window: u64,
}

impl Terms {
    pub(crate) fn new(limits: &Limits, config: &EngineConfig) -> Self {
        let ns = |ms: u32| u64::from(ms) * MS;
        Self {
            start: ns(limits.start_ms),
            heartbeat: ns(limits.heartbeat_ms),
            hang: ns(limits.hang_ms),
            restarts_max: config.restarts_max,
            restart_window: ns(config.restart_window_ms),
            backoff: ns(config.backoff_ms),
            backoff_max: ns(config.backoff_max_ms),
            misses_max: config.misses_max,
            miss_window: ns(config.miss_window_ms),
        }
    }
}

/// What [`Life::decide`] made of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is started again when `due` has come.
    Restart {
        /// ns.
        due: u64,
    },
    /// The budget is used up: it is in quarantine now.
    Quarantined,
    /// The budget is used up and the last start did not even give a process: it has failed now.
    Failed,
}

/// A limit that an engine went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// It was started and has not docked in time.
    Start,
    /// It has left a Ping without an answer for too long.
    Heartbeat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No process; the next start is due at `due`. `charge`: it is taken from the budget.
    Waiting { due: u64, charge: bool },
    /// Started at `since`.
    Starting { since: u64 },
    /// Started at `since`, takes questions.
    Docked { since: u64, ping: Ping },
    /// Ended after it `ran` this long; not yet judged.
    Lost { ran: u64, excused: bool, had_process: bool },
    /// Off the dock until released.
    Quarantined,
    /// Could not be started.
    Failed,
    /// There is nothing to start.
    Withheld,
    /// The host does not want it started.
    KeptOff,
}

/// One Ping is on its way at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    /// The next is sent at `at`.
    Due { at: u64 },
    /// Sent at `sent`, not answered yet.
    Sent { sent: u64, nonce: u64 },
}

/// One engine's life.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    terms: Terms,
    state: State,
    budget: RestartBudget,
    back_off: BackOff,
    misses: Tally,
    /// Counts the pings of all its processes, so that no answer fits a ping of another life.
    nonce: u64,
    /// When the last Ping was sent.
    pinged: u64,
}

impl Life {
    /// An engine that waits for its first start, which is due at once.
    pub(crate) fn new(terms: Terms) -> Self {
        let window = terms.restart_window;
        Self {
            terms,
            state: State::Waiting { due: 0, charge: false },
            budget: RestartBudget::new(terms.restarts_max, window),
            back_off: BackOff::new(terms.backoff, terms.backoff_max, window),
            misses: Tally::new(terms.misses_max, terms.miss_window),
            nonce: 0,
            pinged: 0,
        }
    }

    /// The state as an operator is told it.
    pub(crate) const fn state(&self) -> EngineState {
        match self.state {
            State::Starting { .. } => EngineState::Starting,
            State::Docked { .. } => EngineState::Docked,
            State::Waiting { .. } | State::Lost { .. } => EngineState::Restarting,
            State::Quarantined => EngineState::Quarantined,
            State::Failed => EngineState::Failed,
            State::Withheld => EngineState::NotInstalled,
            State::KeptOff => EngineState::Withheld,
        }
    }

    /// Restarts left at `now`, and the whole number.
    pub(crate) fn restarts_left(&self, now: u64) -> (u32, u32) {
        (self.budget.left(now), self.budget.max())
    }

    /// When the next start is due; `None` if none is.
    pub(crate) const fn start_due(&self) -> Option<u64> {
        match self.state {
            State::Waiting { due, .. } => Some(due),
            _ => None,
        }
    }

    /// When this life next needs a look, a start aside.
    pub(crate) const fn wake(&self) -> Option<u64> {
        match self.state {
            State::Starting { since } => Some(since.saturating_add(self.terms.start)),
            State::Docked { ping: Ping::Due { at }, .. } => Some(at),
            State::Docked { ping: Ping::Sent { sent, .. }, .. } => {
                Some(sent.saturating_add(self.terms.hang))
            }
            State::Lost { .. } => Some(0),
            State::Waiting { .. }
            | State::Quarantined
            | State::Failed
            | State::Withheld
            | State::KeptOff => None,
        }
    }

    /// A process was started at `now`.
    pub(crate) fn started(&mut self, now: u64) {
        if let State::Waiting { charge: true, .. } = self.state {
            self.budget.spend(now);
        }
        self.misses.clear();
        self.state = State::Starting { since: now };
    }

    /// No process could be started at `now`.
    pub(crate) fn start_failed(&mut self, now: u64) {
        self.started(now);
        self.state = State::Lost { ran: 0, excused: false, had_process: false };
    }

    /// The engine takes questions from `now` on.
    pub(crate) fn docked(&mut self, now: u64) {
        if let State::Starting { since } = self.state {
            let at = now.saturating_add(self.terms.heartbeat);
            self.state = State::Docked { since, ping: Ping::Due { at } };
        }
    }

    /// The number of the Ping to send at `now`, if one is due. It counts as sent.
    pub(crate) fn ping(&mut self, now: u64) -> Option<u64> {
        match &mut self.state {
            State::Docked { ping: ping @ Ping::Due { .. }, .. } => {
                if matches!(ping, Ping::Due { at } if *at > now) {
                    return None;
                }
                self.nonce += 1;
                self.pinged = now;
                *ping = Ping::Sent { sent: now, nonce: self.nonce };
                Some(self.nonce)
            }
            _ => None,
        }
    }

    /// The engine answered Ping number `nonce`; whether that one waited for an answer.
    pub(crate) fn heartbeat(&mut self, nonce: u64, now: u64) -> bool {
        let period = self.terms.heartbeat;
        match &mut self.state {
            State::Docked { ping, .. } => match *ping {
                Ping::Sent { sent, nonce: waited } if waited == nonce => {
                    *ping = Ping::Due { at: now.max(sent.saturating_add(period)) };
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the last Ping was sent after `since` and has been answered.
    pub(crate) const fn is_quiet(&self, since: u64) -> bool {
        match self.state {
            State::Docked { ping: Ping::Due { .. }, .. } => self.pinged > since,
            _ => false,
        }
    }

    /// The limit that the engine is over at `now`.
    pub(crate) const fn overdue(&self, now: u64) -> Option<Overdue> {
        match self.state {
            State::Starting { since } if now.saturating_sub(since) >= self.terms.start => {
                Some(Overdue::Start)
            }
            State::Docked { ping: Ping::Sent { sent, .. }, .. }
                if now.saturating_sub(sent) >= self.terms.hang =>
            {
                Some(Overdue::Heartbeat)
            }
            _ => None,
        }
    }

    /// The host itself stood still for `gap` ns up to `now`, and perhaps the whole machine: that time
    /// does not count, and the engine has another heartbeat's time to say something.
    pub(crate) fn stood_still(&mut self, gap: u64, now: u64) {
        let grace = self.terms.heartbeat;
        let later = |at: u64, limit: u64| {
            at.saturating_add(gap).max(now.saturating_add(grace).saturating_sub(limit)).min(now)
        };
        match &mut self.state {
            State::Starting { since } => *since = later(*since, self.terms.start),
            State::Docked { ping: Ping::Sent { sent, .. }, .. } => {
                *sent = later(*sent, self.terms.hang);
            }
            _ => {}
        }
    }

    /// Its process ended at `now`.
    pub(crate) const fn lost(&mut self, now: u64) {
        if let State::Starting { since } | State::Docked { since, .. } = self.state {
            let ran = now.saturating_sub(since);
            self.state = State::Lost { ran, excused: false, had_process: true };
        }
    }

    /// Judges a loss; `None` if there is none.
    pub(crate) fn decide(&mut self, now: u64) -> Option<Next> {
        let State::Lost { ran, excused, had_process } = self.state else { return None };
        if excused {
            self.state = State::Waiting { due: now, charge: false };
            return Some(Next::Restart { due: now });
        }
        if self.budget.left(now) > 0 {
            let due = now.saturating_add(self.back_off.next(ran));
            self.state = State::Waiting { due, charge: true };
            return Some(Next::Restart { due });
        }
        if had_process {
            self.state = State::Quarantined;
            return Some(Next::Quarantined);
        }
        self.state = State::Failed;
        Some(Next::Failed)
    }

    /// Takes the last loss and the one before it out of budget and back-off: they were an object's
    /// fault. The restart that waits, if one does, is due at `now`. Does not end a quarantine.
    pub(crate) fn pardon(&mut self, now: u64) {
        match &mut self.state {
            State::Lost { excused, .. } => {
                *excused = true;
                self.budget.refund(1);
                self.back_off.forget(1);
            }
            State::Waiting { due, charge } => {
                *due = now.min(*due);
                let charged = std::mem::take(charge);
                self.budget.refund(1);
                self.back_off.forget(if charged { 2 } else { 1 });
            }
            State::Starting { .. } | State::Docked { .. } => {
                self.budget.refund(2);
                self.back_off.forget(2);
            }
            State::Quarantined | State::Failed | State::Withheld | State::KeptOff => {}
        }
    }

    /// Counts `count` questions that it let pass their deadline; whether that is too many.
    pub(crate) fn missed(&mut self, count: u32, now: u64) -> bool {
        matches!(self.state, State::Docked { .. }) && self.misses.add(count, now)
    }

    /// Misses in the window when they were last counted.
    pub(crate) fn misses(&self) -> u32 {
        self.misses.count()
    }

    /// Takes it off the dock.
    pub(crate) const fn quarantine(&mut self) {
        self.state = State::Quarantined;
    }

    /// Gives up starting it, until an operator says otherwise.
    pub(crate) const fn fail(&mut self) {
        self.state = State::Failed;
    }

    /// An operator wants it started: at once, and not from the budget.
    pub(crate) const fn start_now(&mut self, now: u64) {
        self.state = State::Waiting { due: now, charge: false };
    }

    /// There is nothing to start.
    pub(crate) const fn withhold(&mut self) {
        self.state = State::Withheld;
    }

    /// It is not to be started, whatever there is.
    pub(crate) const fn keep_off(&mut self) {
        self.state = State::KeptOff;
    }

    /// Another version, which runs on other `terms`, takes its place at `now`. It has docked already if
    /// `docked`, and is started at once if not. Nothing that the one before it did counts against it.
    pub(crate) fn replaced(&mut self, terms: Terms, docked: bool, now: u64) {
        *self = Self { nonce: self.nonce, ..Self::new(terms) };
        self.start_now(now);
        if docked {
            self.started(now);
            self.docked(now);
        }
    }

    /// An operator ends its quarantine: it starts at once, as if for the first time.
    pub(crate) fn release(&mut self, now: u64) {
        *self = Self { nonce: self.nonce, ..Self::new(self.terms) };
        self.start_now(now);
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
