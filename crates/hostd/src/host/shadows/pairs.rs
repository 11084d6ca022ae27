//! What two versions of an engine said of the same questions, until the one in shadow has spoken or its time is over.
//!
//! 1. Each question that was shown comes out once: when it is answered, or at its deadline.
//! 2. At most [`OPEN_MAX`] are remembered. What falls out before that has nothing to compare.
//! 3. An answer to what was not shown, and a second answer, is a foul; a late one is not, and counts as none. Late is what
//!    was not there at the first look after the deadline: what is not looked at in time is not its fault.
//! 4. A verdict on what the object has become since is compared with nothing.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use outrigger_api::record::VerdictRecord;
use outrigger_api::{CaseId, Event, Verdict};
use outrigger_sensor::identity::{self, Object};

use super::plane::Judged;
use super::{Held, Shown};

/// Most questions that are remembered.
pub(super) const OPEN_MAX: usize = 4096;

/// The questions that were shown.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    open: HashMap<CaseId, Pair>,
    /// Those that have not come out yet, by deadline.
    waiting: BTreeSet<(u64, CaseId)>,
    /// Those that came out without an answer, by deadline.
    overdue: BTreeSet<(u64, CaseId)>,
    /// How many fell out that may still be answered.
    forgotten: u64,
}

/// A question that was shown.
#[derive(Debug)]
pub(super) struct Pair {
    event: Event,
    object: Object,
    path: Option<PathBuf>,
    /// The object, while it may be answered: to see whether it was changed.
    file: Option<Held>,
    /// ns.
    shown: u64,
    /// ns.
    deadline: u64,
    active: Option<(Verdict, String)>,
}

impl Pairs {
    pub(super) fn open(&mut self, case: CaseId, pair: Pair, out: &mut Vec<Judged>) {
        if self.open.len() >= OPEN_MAX {
            self.forget_one(out);
        }
        self.waiting.insert((pair.deadline, case));
        self.open.insert(case, pair);
    }

    /// Takes an answer; false if it is a foul.
    pub(super) fn answer(&mut self, vote: &VerdictRecord, now: u64, out: &mut Vec<Judged>) -> bool {
        let Some(pair) = self.open.remove(&vote.case) else {
            let was_forgotten = self.forgotten > 0;
            self.forgotten = self.forgotten.saturating_sub(1);
            return was_forgotten;
        };
        // Else it came out already, without.
        if self.waiting.remove(&(pair.deadline, vote.case)) {
            let differs = pair.active.as_ref().is_none_or(|(active, _)| *active != vote.verdict);
            let counts = !(differs && pair.was_changed());
            out.push(pair.judged(counts.then_some(vote), now, false));
        } else {
            self.overdue.remove(&(pair.deadline, vote.case));
        }
        true
    }

    /// Lets what is over its deadline come out.
    pub(super) fn expire(&mut self, now: u64, out: &mut Vec<Judged>) {
        while let Some(&(deadline, case)) = self.waiting.first()
            && deadline <= now
        {
            self.waiting.pop_first();
            if let Some(pair) = self.open.get_mut(&case) {
                out.push(pair.judged(None, now, true));
                // Only that it was shown is remembered.
                (pair.path, pair.file, pair.active) = (None, None, None);
                self.overdue.insert((deadline, case));
            }
        }
    }

    /// How many may still be answered in time.
    pub(super) fn in_hand(&self) -> usize {
        self.waiting.len()
    }

    /// When the next one is over its deadline, ns.
    pub(super) fn due(&self) -> Option<u64> {
        self.waiting.first().map(|(deadline, _)| *deadline)
    }

    /// Makes room: the one that has waited longest falls out, of those that have come out if there are any.
    fn forget_one(&mut self, out: &mut Vec<Judged>) {
        self.forgotten += 1;
        if let Some((_, case)) = self.overdue.pop_first() {
            self.open.remove(&case);
        } else if let Some((_, case)) = self.waiting.pop_first()
            && let Some(pair) = self.open.remove(&case)
        {
            out.push(pair.judged(None, pair.deadline, false));
        }
    }
}

impl Pair {
    /// A question that is shown at `now`, and what the process that decides said of it.
    pub(super) fn new(shown: &Shown, active: Option<(Verdict, String)>, now: u64) -> Self {
        let intake = &shown.intake;
        Self {
            event: intake.event,
            object: intake.object,
            path: intake.path.clone(),
            file: shown.file.clone(),
            shown: now,
            deadline: intake.deadline,
            active,
        }
    }

    /// What comes of it with `vote`.
    pub(super) fn judged(&self, vote: Option<&VerdictRecord>, now: u64, late: bool) -> Judged {
        let shadow = vote.map(|vote| vote.verdict);
        let active = self.active.as_ref().map(|(verdict, _)| *verdict);
        let rule = match (vote, &self.active) {
            (Some(vote), _) if vote.verdict == Verdict::Deny => vote.detail.as_str(),
            (_, Some((Verdict::Deny, rule))) => rule,
            _ => "",
        };
        Judged {
            event: self.event,
            object: self.object.key,
            path: self.path.clone(),
            active,
            shadow,
            rule: rule.to_owned(),
            took_ns: now.min(self.deadline).saturating_sub(self.shown),
            late,
        }
    }

    /// Whether the object is another one than that of which the question was. Who was let in may write to it
    /// at once.
    fn was_changed(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let now = identity::object(file.as_fd());
        now.is_ok_and(|now| (now.size, now.changed) != (self.object.size, self.object.changed))
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::record::Detail;
    use proptest::prelude::*;

    use super::*;
    use crate::host::core::test_kit::intake;

    /// What is done to one of a few questions.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Show,
        Answer(usize),
        Pass(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            Just(Act::Show),
            (0_usize..64).prop_map(Act::Answer),
            (1_u64..700).prop_map(Act::Pass),
        ]
    }

    fn vote(case: CaseId) -> VerdictRecord {
        VerdictRecord { case, verdict: Verdict::Deny, spent: 0, detail: Detail::new("r") }
    }

    proptest! {
        #[test]
        fn each_that_was_shown_comes_out_once_and_only_a_second_or_a_foreign_answer_is_a_foul(
            acts in prop::collection::vec(act(), 1..300),
        ) {
            let mut pairs = Pairs::default();
            let (mut out, mut now, mut shown) = (Vec::new(), 10, Vec::new());
            let case = |place: usize| CaseId::new(place as u64 + 1).expect("not zero");
            for act in acts {
                match act {
                    Act::Show => {
                        let case = case(shown.len());
                        let one = Shown { intake: intake(1, now), file: None, case, budget: 999, said: vec![] };
                        pairs.open(case, Pair::new(&one, None, now), &mut out);
                        shown.push(false);
                    }
                    Act::Answer(place) => {
                        let taken = pairs.answer(&vote(case(place)), now, &mut out);
                        let answered = shown.get_mut(place);
                        prop_assert_eq!(taken, matches!(answered, Some(false)));
                        answered.into_iter().for_each(|answered| *answered = true);
                    }
                    Act::Pass(ns) => {
                        now += ns;
                        pairs.expire(now, &mut out);
                        prop_assert!(pairs.due().is_none_or(|due| due > now));
                    }
                }
            }
            pairs.expire(u64::MAX, &mut out);

            prop_assert_eq!(out.len(), shown.len());
            let unanswered = shown.iter().filter(|answered| !**answered).count();
            prop_assert_eq!((pairs.open.len(), pairs.overdue.len()), (unanswered, unanswered));
            prop_assert!(out.iter().all(|one| one.took_ns <= 999 && one.late == one.shadow.is_none()));
        }
    }
}
