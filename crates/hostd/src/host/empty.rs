//! What the engines say of a file that holds nothing, so that they are not asked about the next one.
//!
//! Whoever makes a file opens it before it has any content, and holds it open for writing, so its verdict cannot be
//! cached. But a verdict that depends on content alone is the same for every empty file. So the engines are asked
//! once per epoch, and what they said holds for every file that is empty when the host looks at it, between
//! the kernel's question and the answer. What is written later is asked about at the next open, as after any
//! answer.
//!
//! It must be certain that the engines looked at nothing: a writer may have been there between the host's look
//! and theirs. So for the one question that is to be remembered they are given a file of the host's that is
//! empty and stays so, in place of the one that is opened.
//!
//! What holds:
//!
//! 1. Only an Allow of every engine is remembered, of those engines, in that epoch.
//! 2. After a Deny nothing is remembered in this epoch: each question is put to the engines.

use outrigger_decision::{Closed, DecidedBy, EngineSet};

use super::core::Intake;

/// What is known of empty content, in one epoch, by one set of engines.
#[derive(Debug, Default)]
pub(crate) struct EmptyContent {
    epoch: u64,
    engines: EngineSet,
    known: Known,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    /// The engines were asked, and have not all answered.
    Asked,
    Allowed,
    Refused,
}

/// What to do with a question about an empty file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Allow it: every engine did before.
    Allow,
    /// Ask, with content that is certain to be empty, and say how it ended.
    AskToRemember,
    /// Ask as about any other file.
    Ask,
}

impl EmptyContent {
    /// What to do with a question that is for `engines`, in this epoch.
    pub(crate) fn look(&mut self, epoch: u64, engines: EngineSet) -> Look {
        let holds = epoch == self.epoch
            && (engines == self.engines
                || self.known == Known::Allowed && engines.is_subset(self.engines));
        if !holds {
            *self = Self { epoch, engines, known: Known::Nothing };
        }
        match self.known {
            Known::Nothing => {
                self.known = Known::Asked;
                Look::AskToRemember
            }
            Known::Asked | Known::Refused => Look::Ask,
            Known::Allowed => Look::Allow,
        }
    }

    /// The question that was to be remembered is asked as any other.
    pub(crate) fn not_asked(&mut self) {
        self.learn(false, false);
    }

    /// Takes in how a question ended, if it was to be remembered.
    pub(crate) fn ended_of(&mut self, intake: &Intake, closed: &Closed<'_>) {
        if intake.stand_in.is_some() && closed.epoch == self.epoch {
            let denied = matches!(closed.decided_by, DecidedBy::Engine(_));
            self.learn(closed.cacheable && closed.asked() == self.engines, denied);
        }
    }

    fn learn(&mut self, allowed_by_all: bool, denied: bool) {
        if self.known == Known::Asked {
            self.known = match (allowed_by_all, denied) {
                (_, true) => Known::Refused,
                (true, false) => Known::Allowed,
                // One was away, late or abstained; another time it may not be.
                (false, false) => Known::Nothing,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_decision::EngineIndex;

    use super::*;

    fn engines(places: &[usize]) -> EngineSet {
        places.iter().filter_map(|&place| EngineIndex::new(place)).collect()
    }

    /// What two engines are known to have said in the first epoch.
    fn known(allowed_by_all: bool, denied: bool) -> EmptyContent {
        let mut empty = EmptyContent::default();
        assert_eq!(empty.look(1, engines(&[0, 1])), Look::AskToRemember);
        empty.learn(allowed_by_all, denied);
        empty
    }

    #[test]
    fn nobody_is_asked_again_once_all_have_allowed() {
        let mut empty = known(true, false);

        assert_eq!(empty.look(1, engines(&[0, 1])), Look::Allow);
        assert_eq!(empty.look(1, engines(&[1])), Look::Allow);
        assert_eq!(empty.look(1, engines(&[0, 1])), Look::Allow);
    }

    #[test]
    fn one_question_at_a_time_is_asked_to_be_remembered() {
        let mut empty = EmptyContent::default();

        let looks = [1, 2].map(|_| empty.look(1, engines(&[0])));

        assert_eq!(looks, [Look::AskToRemember, Look::Ask]);
    }

    #[test]
    fn what_was_denied_is_asked_every_time() {
        let mut empty = known(false, true);

        assert_eq!([1, 2].map(|_| empty.look(1, engines(&[0, 1]))), [Look::Ask; 2]);
    }

    #[test]
    fn after_an_abstention_it_is_tried_again() {
        let mut empty = known(false, false);

        assert_eq!(empty.look(1, engines(&[0, 1])), Look::AskToRemember);
    }

    #[test]
    fn a_new_epoch_and_another_engine_know_nothing() {
        let (mut by_epoch, mut by_engine) = (known(true, false), known(true, false));

        assert_eq!(by_epoch.look(2, engines(&[0, 1])), Look::AskToRemember);
        assert_eq!(by_engine.look(1, engines(&[0, 1, 2])), Look::AskToRemember);
    }

    #[test]
    fn an_answer_that_is_not_waited_for_any_more_changes_nothing() {
        let mut empty = known(false, true);

        empty.learn(true, false);

        assert_eq!(empty.look(1, engines(&[0, 1])), Look::Ask);
    }
}
