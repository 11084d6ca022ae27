//! What two versions of an engine said of the same questions, until both have spoken or the time is over.
//!
//! 1. Each question that was shown comes out once: when both have spoken, or at its deadline.
//! 2. At most [`OPEN_MAX`] are remembered. What falls out counts as not shown.
//! 3. An answer to what was not shown, and a second answer, is a foul; a late one is not, and counts as none.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use outrigger_api::record::Detail;
use outrigger_api::{CaseId, Event, FileKey, Verdict};

use super::{Intake, Judged};

/// Most questions that are remembered.
const OPEN_MAX: usize = 4096;

/// What the one in shadow did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foul {
    /// It answered twice.
    Double,
    /// It answered what it was not shown.
    Foreign,
}

impl Foul {
    /// For a person.
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Double => "the version in shadow answered it twice",
            Self::Foreign => "the version in shadow was not shown it",
        }
    }
}

/// The questions that were shown.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    open: HashMap<CaseId, Pair>,
    /// Those that have not come out yet, by deadline.
    waiting: BTreeSet<(u64, CaseId)>,
    /// Those that came out without a word of the one in shadow, by deadline.
    overdue: BTreeSet<(u64, CaseId)>,
    /// How many fell out to which the one in shadow may still answer.
    forgotten: u64,
}

#[derive(Debug)]
struct Pair {
    event: Event,
    object: FileKey,
    path: Option<PathBuf>,
    /// ns.
    shown: u64,
    /// ns.
    deadline: u64,
    /// The process that decides was asked and has not answered.
    waits_for_active: bool,
    active: Option<Vote>,
    shadow: Option<Vote>,
}

#[derive(Debug)]
struct Vote {
    verdict: Verdict,
    /// What a Deny says of itself.
    rule: String,
    at: u64,
}

impl Vote {
    fn new(verdict: Verdict, detail: &Detail, at: u64) -> Self {
        let rule = if verdict == Verdict::Deny { detail.as_str() } else { "" };
        Self { verdict, rule: rule.to_owned(), at }
    }
}

impl Pairs {
    /// A question is shown at `now`; `asked`: the process that decides was asked too.
    pub(super) fn open(
        &mut self,
        case: CaseId,
        intake: &Intake,
        asked: bool,
        now: u64,
        out: &mut Vec<Judged>,
    ) {
        if self.open.len() >= OPEN_MAX {
            self.forget_one(out);
        }
        let deadline = intake.deadline;
        let pair = Pair {
            event: intake.event,
            object: intake.object.key,
            path: intake.path.clone(),
            shown: now,
            deadline,
            waits_for_active: asked,
            active: None,
            shadow: None,
        };
        self.waiting.insert((deadline, case));
        self.open.insert(case, pair);
    }

    /// The process that decides said `verdict`. It counts as in the case itself: before the deadline.
    pub(super) fn active(
        &mut self,
        case: CaseId,
        verdict: Verdict,
        detail: &Detail,
        now: u64,
        out: &mut Vec<Judged>,
    ) {
        let Some(pair) = self.open.get_mut(&case) else { return };
        if !pair.waits_for_active || now >= pair.deadline {
            return;
        }
        pair.waits_for_active = false;
        pair.active = Some(Vote::new(verdict, detail, now));
        if pair.shadow.is_some() {
            self.come_out(case, out);
        }
    }

    /// The one in shadow said `verdict`.
    pub(super) fn answer(
        &mut self,
        case: CaseId,
        verdict: Verdict,
        detail: &Detail,
        now: u64,
        out: &mut Vec<Judged>,
    ) -> Result<(), Foul> {
        let Some(pair) = self.open.get_mut(&case) else {
            self.forgotten = self.forgotten.checked_sub(1).ok_or(Foul::Foreign)?;
            return Ok(());
        };
        if pair.shadow.is_some() {
            return Err(Foul::Double);
        }
        let deadline = pair.deadline;
        if self.overdue.remove(&(deadline, case)) {
            self.open.remove(&case);
            return Ok(());
        }
        if now >= deadline {
            self.come_out(case, out);
            return Ok(());
        }
        pair.shadow = Some(Vote::new(verdict, detail, now));
        if !pair.waits_for_active {
            self.come_out(case, out);
        }
        Ok(())
    }

    /// Lets what is over its deadline come out.
    pub(super) fn expire(&mut self, now: u64, out: &mut Vec<Judged>) {
        while let Some(&(deadline, case)) = self.waiting.first()
            && deadline <= now
        {
            let silent = self.open.get(&case).is_some_and(|pair| pair.shadow.is_none());
            match self.open.get_mut(&case).filter(|_| silent) {
                Some(pair) => {
                    self.waiting.pop_first();
                    out.push(pair.judged(true));
                    // Only that it was shown is remembered.
                    pair.path = None;
                    self.overdue.insert((deadline, case));
                }
                None => self.come_out(case, out),
            }
        }
    }

    /// When the next one is over its deadline, ns.
    pub(super) fn due(&self) -> Option<u64> {
        self.waiting.first().map(|(deadline, _)| *deadline)
    }

    /// Takes one out that has not come out yet: both have spoken, or it is late.
    fn come_out(&mut self, case: CaseId, out: &mut Vec<Judged>) {
        let Some(pair) = self.open.remove(&case) else { return };
        self.waiting.remove(&(pair.deadline, case));
        out.push(pair.judged(pair.shadow.is_none()));
    }

    /// Makes room: the one that has waited longest falls out, of those that have come out if there are any.
    fn forget_one(&mut self, out: &mut Vec<Judged>) {
        if let Some((_, case)) = self.overdue.pop_first() {
            self.open.remove(&case);
            self.forgotten += 1;
        } else if let Some((_, case)) = self.waiting.pop_first()
            && let Some(pair) = self.open.remove(&case)
        {
            self.forgotten += u64::from(pair.shadow.is_none());
            out.push(pair.judged(false));
        }
    }
}

impl Pair {
    fn judged(&self, late: bool) -> Judged {
        let denies = |vote: &&Vote| vote.verdict == Verdict::Deny;
        let denier = [&self.shadow, &self.active].into_iter().flatten().find(denies);
        let until = self.shadow.as_ref().map_or(self.deadline, |vote| vote.at);
        Judged {
            event: self.event,
            object: self.object,
            path: self.path.clone(),
            active: self.active.as_ref().map(|vote| vote.verdict),
            shadow: self.shadow.as_ref().map(|vote| vote.verdict),
            rule: denier.map(|vote| vote.rule.clone()).unwrap_or_default(),
            took_ns: until.saturating_sub(self.shown),
            late,
        }
    }
}

/// What comes of a question that could not be shown.
pub(super) fn unshown(intake: &Intake) -> Judged {
    Judged {
        event: intake.event,
        object: intake.object.key,
        path: intake.path.clone(),
        active: None,
        shadow: None,
        rule: String::new(),
        took_ns: 0,
        late: false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::core::test_kit::intake;

    /// What is done to one of a few questions.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Show(bool),
        Active(usize),
        Shadow(usize),
        Pass(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            any::<bool>().prop_map(Act::Show),
            (0_usize..64).prop_map(Act::Active),
            (0_usize..64).prop_map(Act::Shadow),
            (1_u64..700).prop_map(Act::Pass),
        ]
    }

    proptest! {
        #[test]
        fn each_that_was_shown_comes_out_once_and_only_a_second_or_a_foreign_answer_is_a_foul(
            acts in prop::collection::vec(act(), 1..300),
        ) {
            let mut pairs = Pairs::default();
            let (mut out, mut now, mut shown) = (Vec::new(), 10, Vec::new());
            let case = |place: usize| CaseId::new(place as u64 + 1).expect("not zero");
            let detail = Detail::new("");
            for act in acts {
                match act {
                    Act::Show(asked) => {
                        pairs.open(case(shown.len()), &intake(1, now), asked, now, &mut out);
                        shown.push(false);
                    }
                    Act::Active(place) => {
                        pairs.active(case(place), Verdict::Allow, &detail, now, &mut out);
                    }
                    Act::Shadow(place) => {
                        let done =
                            pairs.answer(case(place), Verdict::Deny, &detail, now, &mut out);
                        match shown.get_mut(place) {
                            Some(answered @ false) => {
                                prop_assert_eq!(done, Ok(()));
                                *answered = true;
                            }
                            Some(true) | None => prop_assert!(done.is_err()),
                        }
                    }
                    Act::Pass(ns) => {
                        now += ns;
                        pairs.expire(now, &mut out);
                    }
                }
                prop_assert!(pairs.due().is_none_or(|due| due + 700 > now));
            }
            pairs.expire(u64::MAX, &mut out);

            prop_assert_eq!(out.len(), shown.len());
            let unanswered = shown.iter().filter(|answered| !**answered).count();
            prop_assert_eq!(pairs.open.len(), pairs.overdue.len());
            prop_assert!(pairs.open.len() >= unanswered && pairs.waiting.is_empty());
            prop_assert!(out.iter().all(|one| one.took_ns <= 999 && one.late == one.shadow.is_none()));
        }
    }
}
