//! Questions about empty files, which need no engine once all have allowed empty content.

use outrigger_api::{FailureReason, Mode};
use outrigger_decision::arbiter::Opened;
use outrigger_decision::policy::{Participants, Policy};
use outrigger_decision::{DecidedBy, EngineIndex, EngineSet, Question};

use super::super::empty::Look;
use super::super::history::Decider;
use super::{Core, Finished, Intake, finish};

impl Core {
    /// Whether nobody needs to be asked about this empty file. If it is the one by which that is found
    /// out, engines are given to read what stays empty.
    pub(super) fn may_allow_empty(
        &mut self,
        intake: &mut Intake,
        policy: &Policy,
        part: &Participants,
    ) -> bool {
        if !by_content_alone(intake, policy, part) {
            return false;
        }
        match self.table.empty.look(self.epoch, part.asked) {
            Look::Allow => return true,
            Look::AskToRemember => {
                // Without one it is asked as any other file, and the next one may be remembered.
                intake.stand_in = outrigger_dock::content::empty().ok();
                if intake.stand_in.is_none() {
                    self.table.empty.not_asked();
                }
            }
            Look::Ask => {}
        }
        false
    }

    /// Allows an open of an empty file that no engine needs to be asked about. It is a case of nobody's.
    pub(super) fn allow_empty(
        &mut self,
        intake: Intake,
        policy: &Policy,
        now: u64,
        ended: &mut Vec<Finished>,
    ) {
        let mut finished = self.end_unasked(intake, policy, now);
        if finished.decided_by == Decider::Merge(DecidedBy::NoEngine) {
            finished.decided_by = Decider::EmptyFile;
            finished.cacheable = finished.intake.leased;
        }
        ended.push(finished);
    }

    /// A case of nobody's, which ends at once.
    pub(super) fn end_unasked(&mut self, intake: Intake, policy: &Policy, now: u64) -> Finished {
        let question = Question {
            event: intake.event,
            now,
            deadline: intake.deadline,
            asked: EngineSet::EMPTY,
            required: EngineSet::EMPTY,
            monitored: EngineSet::EMPTY,
            mode: policy.mode,
            fallback: policy.fallback,
            epoch: self.epoch,
            token: u32::MAX,
            missing: &[],
        };
        // With nobody to wait for it allows, and there is always a place for what ends at once.
        let closed = match self.arbiter.open(&question) {
            Ok(Opened::Closed(closed)) => closed,
            Ok(Opened::Waiting(_)) | Err(_) => {
                self.arbiter.refuse(&question, FailureReason::QueueFull)
            }
        };
        finish(intake, &closed, None)
    }
}

/// Whether what comes of the question depends on the object's content alone: every engine that takes part is
/// enforced, is asked, judges by content, and may read this object's.
fn by_content_alone(intake: &Intake, policy: &Policy, part: &Participants) -> bool {
    let may_read = |index: EngineIndex| {
        intake.content.iter().any(|(engine, grant)| *engine == index && grant.is_ok())
    };
    policy.mode == Mode::Enforce
        && part.by_content
        && part.monitored.is_empty()
        && part.missing.as_slice().is_empty()
        && part.required.is_subset(part.asked)
        && !part.asked.is_empty()
        && part.asked.iter().all(may_read)
}
