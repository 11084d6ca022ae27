//! One case: who still has to vote, what was said so far, and what that makes of it.
//!
//! The merge rule stands here and nowhere else. A case keeps sets, not lists, so each step of it is a
//! few instructions whatever the number of engines.

use outrigger_api::record::Detail;
use outrigger_api::verdict::Fallback;
use outrigger_api::{Answer, Event, FailureReason, Mode, Verdict};

use crate::arbiter::{DecidedBy, Question, Rejected};
use crate::engines::{EngineIndex, EngineSet};
use crate::monitor;

#[derive(Debug)]
pub(super) struct Case {
    /// How often the slot was used; 0 for a slot that never was.
    pub(super) generation: u64,
    pub(super) token: u32,
    pub(super) event: Event,
    pub(super) opened: u64,
    pub(super) deadline: u64,
    pub(super) epoch: u64,
    fallback: Fallback,
    mode: Mode,
    /// Those who got the question and may vote.
    pub(super) asked: EngineSet,
    pub(super) required: EngineSet,
    monitored: EngineSet,
    /// Those of `asked` who neither voted nor were lost. Kept as it was at the end.
    pub(super) waiting: EngineSet,
    /// Those who were lost, or missing from the start.
    pub(super) missing: EngineSet,
    allowed: EngineSet,
    /// What speaks against an Allow among engines that are enforced.
    real: Objection,
    /// What would, among engines in Monitor mode.
    rehearsed: Objection,
    pub(super) end: Option<End>,
}

/// The first Deny and the first required vote that is missing.
#[derive(Debug, Clone, Copy)]
struct Objection {
    denied: Option<EngineIndex>,
    missing: Option<FailureReason>,
}

impl Objection {
    const NONE: Self = Self { denied: None, missing: None };

    fn decided_by(self) -> Option<DecidedBy> {
        self.denied.map(DecidedBy::Engine).or_else(|| self.missing.map(DecidedBy::Fallback))
    }

    fn answer(self, fallback: Fallback) -> Answer {
        match (self.denied, self.missing) {
            (Some(_), _) => Answer::Deny,
            (None, Some(_)) => fallback.answer(),
            (None, None) => Answer::Allow,
        }
    }
}

/// How a case ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) at: u64,
    /// At its deadline: those who were waited for were too slow.
    pub(super) overdue: bool,
    pub(super) answer: Answer,
    pub(super) would_deny: bool,
    pub(super) decided_by: DecidedBy,
    pub(super) cacheable: bool,
}

/// What one engine did about one case. Means something only if the case's sets say so.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) at: u64,
    pub(super) state: PartState,
    pub(super) detail: Detail,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) enum PartState {
    #[default]
    Unused,
    Voted(Verdict),
    Missing(FailureReason),
}

impl Case {
    pub(super) const UNUSED: Self = Self {
        generation: 0,
        token: 0,
        event: Event::ALL[0],
        opened: 0,
        deadline: 0,
        epoch: 0,
        fallback: Fallback::Open,
        mode: Mode::Enforce,
        asked: EngineSet::EMPTY,
        required: EngineSet::EMPTY,
        monitored: EngineSet::EMPTY,
        waiting: EngineSet::EMPTY,
        missing: EngineSet::EMPTY,
        allowed: EngineSet::EMPTY,
        real: Objection::NONE,
        rehearsed: Objection::NONE,
        end: None,
    };

    /// The case that `question` makes, where only engines in `known` can be asked.
    pub(super) fn new(question: &Question<'_>, known: EngineSet) -> Self {
        let missing = question.missing.iter().map(|&(engine, _)| engine).collect();
        let asked = question.asked.intersection(known).difference(missing);
        let mut case = Self {
            generation: 0,
            token: question.token,
            event: question.event,
            opened: question.now,
            deadline: question.deadline,
            epoch: question.epoch,
            fallback: question.fallback,
            mode: question.mode,
            asked,
            required: question.required,
            monitored: question.monitored,
            waiting: asked,
            missing: EngineSet::EMPTY,
            allowed: EngineSet::EMPTY,
            real: Objection::NONE,
            rehearsed: Objection::NONE,
            end: None,
        };
        for &(engine, reason) in question.missing {
            case.lose(engine, reason);
        }
        for engine in question.required.difference(asked).difference(missing) {
            case.lose(engine, FailureReason::NotDocked);
        }
        case
    }

    pub(super) fn is_open(&self) -> bool {
        self.generation != 0 && self.end.is_none()
    }

    /// Everybody who takes part in the case, asked or missing.
    pub(super) fn participants(&self) -> EngineSet {
        self.asked.union(self.missing)
    }

    pub(super) fn may_vote(&self, engine: EngineIndex, now: u64) -> Result<(), Rejected> {
        if !self.asked.contains(engine) || self.missing.contains(engine) {
            Err(Rejected::Foreign)
        } else if !self.waiting.contains(engine) {
            Err(Rejected::Double)
        } else if now >= self.deadline {
            Err(Rejected::Late)
        } else if self.end.is_some() {
            Err(Rejected::Moot)
        } else {
            Ok(())
        }
    }

    /// Takes in a vote that [`Case::may_vote`] let pass.
    pub(super) fn count(&mut self, engine: EngineIndex, verdict: Verdict) {
        self.waiting = self.waiting.without(engine);
        match verdict {
            Verdict::Allow => self.allowed = self.allowed.with(engine),
            Verdict::Deny => {
                self.objection(engine).denied.get_or_insert(engine);
            }
            Verdict::Abstain => self.miss(engine, FailureReason::Abstained),
        }
    }

    /// Takes in that `engine` will not vote.
    pub(super) fn lose(&mut self, engine: EngineIndex, reason: FailureReason) {
        self.waiting = self.waiting.without(engine);
        self.missing = self.missing.with(engine);
        self.miss(engine, reason);
    }

    /// The end, if a Deny that counts was voted.
    pub(super) fn denied(&self, now: u64) -> Option<End> {
        self.real.denied.map(|_| self.end(now, self.real, self.rehearsed, false))
    }

    /// The end, if there is nobody left to wait for.
    pub(super) fn settled(&self, now: u64) -> Option<End> {
        self.awaited().is_empty().then(|| self.end(now, self.real, self.rehearsed, false))
    }

    /// The end at the deadline.
    pub(super) fn expired(&self, now: u64) -> End {
        let slow = self.awaited().intersection(self.required);
        let mut ends = [self.real, self.rehearsed];
        let sets = [slow.difference(self.monitored), slow.intersection(self.monitored)];
        for (objection, slow) in ends.iter_mut().zip(sets) {
            if !slow.is_empty() {
                objection.missing.get_or_insert(FailureReason::EngineSlow);
            }
        }
        let [real, rehearsed] = ends;
        self.end(now, real, rehearsed, true)
    }

    /// The end by fallback, whatever was voted, because of `reason`.
    pub(super) fn forced(&self, reason: FailureReason, now: u64) -> End {
        let real = Objection { denied: None, missing: Some(reason) };
        self.end(now, real, self.rehearsed, false)
    }

    fn awaited(&self) -> EngineSet {
        if self.required.is_empty() {
            self.waiting
        } else {
            self.waiting.intersection(self.required)
        }
    }

    fn objection(&mut self, engine: EngineIndex) -> &mut Objection {
        if self.monitored.contains(engine) { &mut self.rehearsed } else { &mut self.real }
    }

    fn miss(&mut self, engine: EngineIndex, reason: FailureReason) {
        if self.required.contains(engine) {
            self.objection(engine).missing.get_or_insert(reason);
        }
    }

    fn end(&self, at: u64, real: Objection, rehearsed: Objection, overdue: bool) -> End {
        let decided = real.answer(self.fallback);
        // As it would have ended with every engine enforced.
        let strict = Objection {
            denied: real.denied.or(rehearsed.denied),
            missing: real.missing.or(rehearsed.missing),
        };
        let engines_would = strict.answer(self.fallback) == Answer::Deny;
        let (answer, policy_would) = monitor::enforce(self.mode, decided);
        let by_votes = !self.participants().is_empty() && self.allowed == self.participants();
        // Whatever really decided comes first, so that no fallback goes uncounted.
        let decided_by = real.decided_by().or_else(|| rehearsed.decided_by());
        End {
            at,
            overdue,
            answer,
            would_deny: policy_would || (answer == Answer::Allow && engines_would),
            decided_by: decided_by.unwrap_or_else(|| self.unopposed(by_votes)),
            cacheable: by_votes && decided_by.is_none(),
        }
    }

    fn unopposed(&self, by_votes: bool) -> DecidedBy {
        if self.asked.is_empty() {
            DecidedBy::NoEngine
        } else if by_votes || !self.required.is_empty() {
            DecidedBy::Engines
        } else {
            DecidedBy::NoObjection
        }
    }
}
