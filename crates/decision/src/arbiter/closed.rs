//! How a case ended, to answer, count and explain it.

use outrigger_api::record::Detail;
use outrigger_api::{Answer, CaseId, Event, FailureReason, Verdict};

use crate::arbiter::case::{Case, End, Part, PartState};
use crate::engines::{EngineIndex, EngineSet, Engines};

/// Who or what decided a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// Nobody takes questions about this event: Allow.
    NoEngine,
    /// This engine's Deny.
    Engine(EngineIndex),
    /// The Allow of every required engine (of every engine asked, where none is required).
    Engines,
    /// No engine is required, and of those asked none objected in time: Allow.
    NoObjection,
    /// The fallback, because a required verdict did not come.
    Fallback(FailureReason),
}

/// A case that has ended. Lent by the arbiter until its next call.
#[derive(Debug, Clone, Copy)]
pub struct Closed<'a> {
    /// The case.
    pub case: CaseId,
    /// The caller's own index, as given in the question.
    pub token: u32,
    /// What was about to happen.
    pub event: Event,
    /// The answer, Monitor mode taken into account; guard rails are not.
    pub answer: Answer,
    /// The answer is Allow only because an engine or the policy is in Monitor mode.
    pub would_deny: bool,
    /// Who decided it; who would have, where `would_deny` is set by an engine in Monitor mode.
    pub decided_by: DecidedBy,
    /// Every engine that takes part voted Allow. Whether the votes depend on the content alone is the
    /// caller's to know.
    pub cacheable: bool,
    /// The generation that the question was asked in: to be cached only if it is still this one.
    pub epoch: u64,
    /// When the question was read, ns of `CLOCK_MONOTONIC`.
    pub opened: u64,
    /// When it ended, ns of `CLOCK_MONOTONIC`.
    pub closed: u64,
    /// When it would have ended by fallback, ns of `CLOCK_MONOTONIC`.
    pub deadline: u64,
    /// It ended at its deadline; [`Closed::slow`] were waited for until then.
    pub overdue: bool,
    asked: EngineSet,
    waiting: EngineSet,
    required: EngineSet,
    participants: EngineSet,
    parts: &'a [Part],
}

impl<'a> Closed<'a> {
    pub(super) fn new(number: CaseId, case: &Case, end: End, parts: &'a [Part]) -> Self {
        Self {
            case: number,
            token: case.token,
            event: case.event,
            answer: end.answer,
            would_deny: end.would_deny,
            decided_by: end.decided_by,
            cacheable: end.cacheable,
            epoch: case.epoch,
            opened: case.opened,
            closed: end.at,
            deadline: case.deadline,
            overdue: end.overdue,
            asked: case.asked,
            waiting: case.waiting,
            required: case.required,
            participants: case.participants(),
            parts,
        }
    }

    /// The engines that were asked.
    pub fn asked(&self) -> EngineSet {
        self.asked
    }

    /// The engines that let the deadline pass: a miss each.
    pub fn slow(&self) -> EngineSet {
        if self.overdue { self.waiting } else { EngineSet::EMPTY }
    }

    /// Each engine's part, in the order of their numbers.
    pub fn votes(&self) -> Votes<'a> {
        Votes {
            left: self.participants.iter(),
            required: self.required,
            waiting: self.waiting,
            too_slow: self.overdue.then_some(self.closed),
            parts: self.parts,
        }
    }
}

/// One engine's part in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote<'a> {
    /// The engine.
    pub engine: EngineIndex,
    /// Whether its Allow was needed.
    pub required: bool,
    /// What it did.
    pub state: VoteState<'a>,
}

/// What an engine did about a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoteState<'a> {
    /// It was asked, and the case ended without its vote before the deadline.
    Waiting,
    /// It voted.
    Voted {
        /// What.
        verdict: Verdict,
        /// When, ns of `CLOCK_MONOTONIC`.
        at: u64,
        /// What it said of it.
        detail: &'a Detail,
    },
    /// It did not vote.
    Missing {
        /// Why not.
        reason: FailureReason,
        /// When that was known, ns of `CLOCK_MONOTONIC`.
        at: u64,
    },
}

/// The engines' parts in a case, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct Votes<'a> {
    left: Engines,
    required: EngineSet,
    waiting: EngineSet,
    too_slow: Option<u64>,
    parts: &'a [Part],
}

impl<'a> Iterator for Votes<'a> {
    type Item = Vote<'a>;

    fn next(&mut self) -> Option<Vote<'a>> {
        let engine = self.left.next()?;
        let state = match (self.waiting.contains(engine), self.too_slow) {
            (true, None) => VoteState::Waiting,
            (true, Some(at)) => VoteState::Missing { reason: FailureReason::EngineSlow, at },
            (false, _) => part_state(self.parts.get(engine.get())),
        };
        Some(Vote { engine, required: self.required.contains(engine), state })
    }
}

/// The state of an engine that is not waited for: it voted or is missing. Only of an engine beyond those
/// that the arbiter was made for nothing is written down, and such a one counts as not docked.
fn part_state(part: Option<&Part>) -> VoteState<'_> {
    let unknown = VoteState::Missing { reason: FailureReason::NotDocked, at: 0 };
    part.map_or(unknown, |part| match part.state {
        PartState::Voted(verdict) => {
            VoteState::Voted { verdict, at: part.at, detail: &part.detail }
        }
        PartState::Missing(reason) => VoteState::Missing { reason, at: part.at },
        PartState::Unused => unknown,
    })
}
