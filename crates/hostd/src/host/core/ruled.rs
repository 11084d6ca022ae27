//! Questions that a rule has answered, so that no engine is asked.

use outrigger_api::Answer;
use outrigger_decision::policy::Policy;

use super::super::history::Decider;
use super::{Core, Finished, Intake};

impl Core {
    /// Ends the question as a rule has it. Nothing of it is remembered: the next one may be another subject's.
    pub(super) fn answer_by_rule(
        &mut self,
        intake: Intake,
        answer: Answer,
        policy: &Policy,
        now: u64,
        ended: &mut Vec<Finished>,
    ) {
        let mut finished = self.end_unasked(intake, policy, now);
        finished.answer = answer;
        finished.decided_by = Decider::Rule;
        finished.cacheable = false;
        ended.push(finished);
    }
}
