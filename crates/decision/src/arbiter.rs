//! Combines the engines' verdicts on one event into the host's answer.
//!
//! The arbiter owns the open cases and their deadlines. It does not own descriptors, threads or a
//! clock: the caller passes the time in and writes the answer to the kernel.
//!
//! A question becomes a case by [`Arbiter::open`]. It ends by the first of:
//!
//! 1. a Deny of any engine that was asked, required or not: Deny;
//! 2. the last required engine's vote or absence: Allow if all of them voted Allow, else the fallback by
//!    the reason of the first that is missing (an abstention is one). Where no engine is required, all
//!    that were asked are waited for, and nobody's absence matters: Allow;
//! 3. its deadline: the fallback by the first that is missing, [`FailureReason::EngineSlow`] if none
//!    was before; Allow where none is required.
//!
//! An engine in Monitor mode is waited for as any other, but neither its Deny nor its absence refuses
//! anything (see [`crate::monitor`]).
//!
//! These properties hold for every case, and are checked by the tests of this module against a model:
//!
//! 1. it ends exactly once, and no later than the first [`Arbiter::expire`] at or after its deadline;
//! 2. a vote that comes after the end changes nothing but the engine's record;
//! 3. a Deny before the end denies, unless a Monitor mode lets it through;
//! 4. an Allow by votes means that every required engine voted Allow;
//! 5. a case number is never given twice.
//!
//! Memory for all cases is allocated once. Opening, voting and ending take constant time but for the
//! order of deadlines, a heap: logarithmic in the number of cases that wait.

mod case;
mod closed;
mod deadlines;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use outrigger_api::record::Detail;
use outrigger_api::verdict::Fallback;
use outrigger_api::{CaseId, Event, FailureReason, Mode, Verdict};

use crate::engines::{ENGINES_MAX, EngineIndex, EngineSet};

use case::{Case, Part, PartState};
pub use closed::{Closed, DecidedBy, Vote, VoteState, Votes};
use deadlines::Deadlines;

/// Most cases that an arbiter can be made for.
pub const CASES_MAX: usize = 1 << 20;

/// Something that waits for an answer.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// What is about to happen.
    pub event: Event,
    /// When the question was read, ns of `CLOCK_MONOTONIC`.
    pub now: u64,
    /// When it ends by fallback, ns of `CLOCK_MONOTONIC`.
    pub deadline: u64,
    /// The engines that get the question, or will as soon as they dock.
    pub asked: EngineSet,
    /// The engines whose Allow is needed. One that is neither in `asked` nor in `missing` counts as
    /// missing because it is not docked.
    pub required: EngineSet,
    /// The engines in Monitor mode; others than those asked or required do not matter.
    pub monitored: EngineSet,
    /// Engines that take part and are already known not to vote. An engine that is in `asked` as well
    /// is not asked.
    pub missing: &'a [(EngineIndex, FailureReason)],
    /// The answer when a required verdict does not come.
    pub fallback: Fallback,
    /// The policy's mode: in Monitor a Deny is let through, and said to be one.
    pub mode: Mode,
    /// The generation of policy, content and engines that the question was asked in.
    pub epoch: u64,
    /// The caller's own index, handed back with the answer.
    pub token: u32,
}

/// What became of a question.
#[derive(Debug)]
pub enum Opened<'a> {
    /// The case waits for its engines; they are to be sent this number.
    Waiting(CaseId),
    /// The case ended at once: there is nobody to wait for.
    Closed(Closed<'a>),
}

/// As many cases wait as the arbiter was made for; the question was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {max} cases are open")]
pub struct CasesFull {
    /// The limit.
    pub max: usize,
}

/// A vote that does not count. Nothing was changed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It came at or after the case's deadline. Also for a case so old that its votes are forgotten.
    #[error("the vote came after the deadline")]
    Late,
    /// The case had ended before its deadline without waiting for this vote: nobody's fault.
    #[error("the case had ended before its deadline without this vote")]
    Moot,
    /// The engine had voted on this case already.
    #[error("the engine voted twice")]
    Double,
    /// The engine was never asked about this case, is known to be missing from it, or the number was
    /// never given out.
    #[error("the engine was not asked")]
    Foreign,
}

impl Rejected {
    /// What the engine did wrong, if anything.
    pub const fn reason(self) -> Option<FailureReason> {
        match self {
            Self::Late => Some(FailureReason::LateAnswer),
            Self::Moot => None,
            Self::Double | Self::Foreign => Some(FailureReason::ForeignAnswer),
        }
    }
}

/// The open cases and their deadlines.
#[derive(Debug)]
pub struct Arbiter {
    /// One more than may wait: a case that ends at once always finds a place.
    cases: Box<[Case]>,
    /// `engines` entries per case. An entry counts only if the case's sets say so.
    parts: Box<[Part]>,
    engines: usize,
    /// Slots of ended cases, the one that ended first in front: what is known of an ended case is kept
    /// for as long as possible, to tell a late vote from a foreign one.
    free: VecDeque<u32>,
    open: Deadlines,
    /// A case's number is `generation << slot_bits | slot`.
    slot_bits: u32,
}

impl Arbiter {
    /// An arbiter for at most `cases` waiting cases (1 to [`CASES_MAX`]; values beyond are taken as the
    /// nearest) of the first `engines` engines. An engine from there on counts as not docked.
    ///
    /// Takes about 200 bytes per case, and 100 per case and engine.
    pub fn with_capacity(cases: usize, engines: usize) -> Self {
        let slots = cases.clamp(1, CASES_MAX).saturating_add(1);
        let engines = engines.min(ENGINES_MAX);
        let last = u32::try_from(slots).expect("CASES_MAX fits a u32");
        Self {
            cases: (0..slots).map(|_| Case::UNUSED).collect(),
            parts: vec![Part::default(); slots.saturating_mul(engines)].into_boxed_slice(),
            engines,
            free: (0..last).collect(),
            open: Deadlines::with_slots(slots),
            slot_bits: last.next_power_of_two().trailing_zeros(),
        }
    }

    /// Takes `question`.
    ///
    /// It ends at once if no engine is asked, if every required one is missing, or if its deadline has
    /// passed already (by fallback, [`FailureReason::HostHung`]: no engine had a chance).
    ///
    /// # Errors
    ///
    /// [`CasesFull`] if it would have to wait and the limit is reached. See [`Arbiter::refuse`].
    pub fn open(&mut self, question: &Question<'_>) -> Result<Opened<'_>, CasesFull> {
        let case = self.case(question);
        if question.deadline <= question.now && !case.asked.is_empty() {
            return Ok(Opened::Closed(self.refuse(question, FailureReason::HostHung)));
        }
        let end = case.settled(question.now);
        if end.is_none() && self.waiting() >= self.max() {
            return Err(CasesFull { max: self.max() });
        }
        let slot = self.store(case, question);
        Ok(match end {
            Some(end) => Opened::Closed(self.close(slot, end)),
            None => {
                self.open.insert(question.deadline, slot);
                Opened::Waiting(self.number(slot as usize))
            }
        })
    }

    /// Answers `question` by its fallback because of `reason`, without asking anybody.
    ///
    /// For a question that cannot wait ([`FailureReason::QueueFull`]); it gets a number and a record as
    /// every case does.
    pub fn refuse(&mut self, question: &Question<'_>, reason: FailureReason) -> Closed<'_> {
        let mut case = self.case(question);
        // Nobody is asked, so a vote on it is a foreign one.
        case.asked = EngineSet::EMPTY;
        case.waiting = EngineSet::EMPTY;
        let end = case.forced(reason, question.now);
        let slot = self.store(case, question);
        self.close(slot, end)
    }

    /// Counts `engine`'s vote on the case that it says it answers. The case, if this ended it.
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the vote does not count; nothing is changed.
    pub fn vote(
        &mut self,
        engine: EngineIndex,
        case: CaseId,
        verdict: Verdict,
        detail: Detail,
        now: u64,
    ) -> Result<Option<Closed<'_>>, Rejected> {
        let slot = self.find(case)?;
        let case = &mut self.cases[slot as usize];
        case.may_vote(engine, now)?;
        case.count(engine, verdict);
        let end = match verdict {
            Verdict::Deny => case.denied(now).or_else(|| case.settled(now)),
            Verdict::Allow | Verdict::Abstain => case.settled(now),
        };
        if let Some(part) = self.part(slot, engine) {
            *part = Part { at: now, state: PartState::Voted(verdict), detail };
        }
        Ok(end.map(|end| self.close(slot, end)))
    }

    /// Notes that `engine` will not vote on `case`, because of `reason`. The case, if this ended it.
    ///
    /// Does nothing if the case has ended or does not wait for this engine.
    pub fn missing(
        &mut self,
        engine: EngineIndex,
        case: CaseId,
        reason: FailureReason,
        now: u64,
    ) -> Option<Closed<'_>> {
        let slot = self.find(case).ok()?;
        self.lose(slot, engine, reason, now)
    }

    /// Notes that `engine` will vote on none of the cases that wait for it, because of `reason`.
    /// `closed` gets those that this ended.
    ///
    /// Looks at every slot: for when an engine is lost, not for every question.
    pub fn lose_engine(
        &mut self,
        engine: EngineIndex,
        reason: FailureReason,
        now: u64,
        closed: &mut impl FnMut(Closed<'_>),
    ) {
        for slot in 0..self.slots() {
            if let Some(case) = self.lose(slot, engine, reason, now) {
                closed(case);
            }
        }
    }

    /// Ends every case whose deadline is at or before `now`; `closed` gets them, the earliest first.
    pub fn expire(&mut self, now: u64, closed: &mut impl FnMut(Closed<'_>)) {
        while let Some((deadline, slot)) = self.open.first()
            && deadline <= now
        {
            let end = self.cases[slot as usize].expired(now);
            closed(self.close(slot, end));
        }
    }

    /// Ends `case` by its fallback because of `reason`, if it is still open.
    pub fn finish(&mut self, case: CaseId, reason: FailureReason, now: u64) -> Option<Closed<'_>> {
        let slot = self.find(case).ok()?;
        let case = &self.cases[slot as usize];
        if !case.is_open() {
            return None;
        }
        let end = case.forced(reason, now);
        Some(self.close(slot, end))
    }

    /// The earliest deadline, ns of `CLOCK_MONOTONIC`.
    pub fn next_deadline(&self) -> Option<u64> {
        self.open.first().map(|(deadline, _)| deadline)
    }

    /// The open cases that wait for `engine`, with their tokens and deadlines; in no order.
    ///
    /// Looks at every slot: for an engine that docks while cases wait.
    pub fn pending(&self, engine: EngineIndex) -> impl Iterator<Item = Pending> {
        let waits = move |case: &Case| case.is_open() && case.waiting.contains(engine);
        self.cases.iter().enumerate().filter(move |(_, case)| waits(case)).map(|(slot, case)| {
            Pending { case: self.number(slot), token: case.token, deadline: case.deadline }
        })
    }

    /// How many cases are open.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// How many cases may be open at a time.
    pub fn max(&self) -> usize {
        self.cases.len().saturating_sub(1)
    }

    fn case(&self, question: &Question<'_>) -> Case {
        let known = (0..self.engines).filter_map(EngineIndex::new).collect();
        Case::new(question, known)
    }

    /// Puts `case` into the slot that was freed first, and gives it the slot's next number.
    fn store(&mut self, mut case: Case, question: &Question<'_>) -> u32 {
        let slot = self.free.pop_front().expect("there is a slot more than cases that may wait");
        let place = &mut self.cases[slot as usize];
        case.generation =
            place.generation.checked_add(1).expect("no machine lives to see 2^43 cases per slot");
        *place = case;
        for &(engine, reason) in question.missing {
            if let Some(part) = self.part(slot, engine) {
                part.at = question.now;
                part.state = PartState::Missing(reason);
            }
        }
        slot
    }

    fn lose(
        &mut self,
        slot: u32,
        engine: EngineIndex,
        reason: FailureReason,
        now: u64,
    ) -> Option<Closed<'_>> {
        let case = &mut self.cases[slot as usize];
        if !case.is_open() || !case.waiting.contains(engine) {
            return None;
        }
        case.lose(engine, reason);
        let end = case.settled(now);
        if let Some(part) = self.part(slot, engine) {
            part.at = now;
            part.state = PartState::Missing(reason);
        }
        end.map(|end| self.close(slot, end))
    }

    fn close(&mut self, slot: u32, end: case::End) -> Closed<'_> {
        self.open.remove(slot as usize);
        self.free.push_back(slot);
        let number = self.number(slot as usize);
        let case = &mut self.cases[slot as usize];
        case.end = Some(end);
        let first = (slot as usize).saturating_mul(self.engines);
        let parts = &self.parts[first..first.saturating_add(self.engines)];
        Closed::new(number, case, end, parts)
    }

    fn slots(&self) -> u32 {
        u32::try_from(self.cases.len()).expect("CASES_MAX fits a u32")
    }

    fn part(&mut self, slot: u32, engine: EngineIndex) -> Option<&mut Part> {
        let first = (slot as usize).saturating_mul(self.engines);
        self.parts.get_mut(first..first.saturating_add(self.engines))?.get_mut(engine.get())
    }

    fn number(&self, slot: usize) -> CaseId {
        let number = self.cases[slot].generation << self.slot_bits | slot as u64;
        CaseId::new(number).expect("a slot's first generation is 1")
    }

    /// The slot that holds `case`, open or as the last that it held.
    fn find(&self, case: CaseId) -> Result<u32, Rejected> {
        let generation = case.get() >> self.slot_bits;
        let slot = case.get() & !(u64::MAX << self.slot_bits);
        let slot = u32::try_from(slot).expect("CASES_MAX fits a u32");
        let latest = self.cases.get(slot as usize).ok_or(Rejected::Foreign)?.generation;
        if generation == 0 || generation > latest {
            Err(Rejected::Foreign)
        } else if generation < latest {
            Err(Rejected::Late)
        } else {
            Ok(slot)
        }
    }
}

/// A case that waits for an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The case.
    pub case: CaseId,
    /// The caller's own index, as given in the question.
    pub token: u32,
    /// When the case ends by fallback, ns of `CLOCK_MONOTONIC`.
    pub deadline: u64,
}
