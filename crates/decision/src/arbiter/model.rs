//! The arbiter against a model: the merge rule said once more, slowly, over lists.

use std::collections::{BTreeMap, HashSet};

use outrigger_api::Answer;
use proptest::prelude::*;

use super::*;

const ENGINES: usize = 4;
const CASES: usize = 5;

/// What is done to the arbiter; `at` picks one of the cases given out so far.
#[derive(Debug, Clone)]
enum Step {
    Open {
        asked: u8,
        required: u8,
        monitored: u8,
        missing: u8,
        open: bool,
        monitor: bool,
        budget: u64,
    },
    Vote {
        engine: usize,
        at: usize,
        verdict: Verdict,
    },
    Missing {
        engine: usize,
        at: usize,
    },
    Lose {
        engine: usize,
    },
    Finish {
        at: usize,
    },
    Pass {
        time: u64,
    },
    /// Time passes, and the arbiter is not told yet.
    Delay {
        time: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let engine = 0..ENGINES;
    let at = 0_usize..64;
    let verdict = prop_oneof![
        5 => Just(Verdict::Allow), 1 => Just(Verdict::Deny), 1 => Just(Verdict::Abstain)
    ];
    let sets =
        (0_u8..16, 0_u8..16, prop_oneof![Just(0_u8), 0_u8..16], prop_oneof![Just(0_u8), 0_u8..16]);
    let step = prop_oneof![
        4 => (sets, any::<bool>(), prop::bool::weighted(0.2), 0_u64..40).prop_map(
            |((asked, required, monitored, missing), open, monitor, budget)| Step::Open {
                asked, required, monitored, missing, open, monitor, budget
            }
        ),
        12 => (engine.clone(), at.clone(), verdict)
            .prop_map(|(engine, at, verdict)| Step::Vote { engine, at, verdict }),
        2 => (engine.clone(), at.clone()).prop_map(|(engine, at)| Step::Missing { engine, at }),
        1 => engine.prop_map(|engine| Step::Lose { engine }),
        1 => at.prop_map(|at| Step::Finish { at }),
        4 => (0_u64..12).prop_map(|time| Step::Pass { time }),
        1 => (0_u64..12).prop_map(|time| Step::Delay { time }),
    ];
    prop::collection::vec(step, 1..160)
}

/// One case as the model keeps it.
#[derive(Debug, Clone)]
struct Expected {
    asked: Vec<usize>,
    required: Vec<usize>,
    monitored: Vec<usize>,
    fallback: Fallback,
    mode: Mode,
    deadline: u64,
    /// What is known of each who takes part, in the order in which it became known.
    known: Vec<(usize, Known)>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Known {
    Voted(Verdict),
    Gone(FailureReason),
}

/// Answer, whether it would have been a Deny, whether it may be cached.
type Outcome = (Answer, bool, bool);

impl Expected {
    fn knows(&self, engine: usize) -> bool {
        self.known.iter().any(|&(known, _)| known == engine)
    }

    fn waits_for(&self, engine: usize) -> bool {
        !self.ended && self.asked.contains(&engine) && !self.knows(engine)
    }

    fn judged(&self, engines: &[usize], slow: bool, forced: bool) -> Answer {
        let counts = |engine: usize| engines.contains(&engine);
        let denied = self
            .known
            .iter()
            .any(|&(engine, known)| counts(engine) && known == Known::Voted(Verdict::Deny));
        let absent = self.required.iter().filter(|&&engine| counts(engine)).any(|&engine| {
            let known = self.known.iter().find(|&&(known, _)| known == engine);
            match known {
                Some((_, Known::Voted(Verdict::Allow | Verdict::Deny))) => false,
                Some((_, Known::Voted(Verdict::Abstain) | Known::Gone(_))) => true,
                None => slow,
            }
        });
        if denied && !forced {
            Answer::Deny
        } else if absent || forced {
            self.fallback.answer()
        } else {
            Answer::Allow
        }
    }

    fn outcome(&self, slow: bool, forced: bool) -> Outcome {
        let everybody: Vec<usize> = (0..ENGINES).collect();
        let enforced: Vec<usize> =
            everybody.iter().copied().filter(|engine| !self.monitored.contains(engine)).collect();
        let real = self.judged(&enforced, slow, forced);
        let strict = if forced && real == Answer::Allow {
            // A fallback that the caller chose hides no Deny that was rehearsed.
            let rehearsed = self.known.iter().any(|&(engine, known)| {
                self.monitored.contains(&engine) && known == Known::Voted(Verdict::Deny)
            });
            if rehearsed { Answer::Deny } else { Answer::Allow }
        } else {
            self.judged(&everybody, slow, forced)
        };
        let answer = if self.mode == Mode::Monitor { Answer::Allow } else { real };
        let would_deny =
            answer == Answer::Allow && (real == Answer::Deny || strict == Answer::Deny);
        let all_allowed = self.asked.iter().all(|&engine| self.knows(engine))
            && !self.known.is_empty()
            && self.known.iter().all(|&(_, known)| known == Known::Voted(Verdict::Allow));
        (answer, would_deny, all_allowed && !forced)
    }

    /// The outcome, if the merge rule ends the case now.
    fn merged(&self) -> Option<Outcome> {
        let real_deny = self.known.iter().any(|&(engine, known)| {
            !self.monitored.contains(&engine) && known == Known::Voted(Verdict::Deny)
        });
        let awaited = if self.required.is_empty() { &self.asked } else { &self.required };
        let settled = awaited.iter().all(|&engine| self.knows(engine));
        (real_deny || settled).then(|| self.outcome(false, false))
    }
}

fn places(bits: u8) -> Vec<usize> {
    (0..ENGINES).filter(|place| bits & (1 << place) != 0).collect()
}

fn set(places: &[usize]) -> EngineSet {
    places.iter().filter_map(|&place| EngineIndex::new(place)).collect()
}

fn index(place: usize) -> EngineIndex {
    EngineIndex::new(place).expect("a small number")
}

fn outcome(closed: &Closed<'_>) -> Outcome {
    (closed.answer, closed.would_deny, closed.cacheable)
}

/// Runs the arbiter beside the model.
struct Run {
    arbiter: Arbiter,
    now: u64,
    cases: BTreeMap<CaseId, Expected>,
    numbers: Vec<CaseId>,
    given: HashSet<CaseId>,
}

impl Run {
    fn new() -> Self {
        Self {
            arbiter: Arbiter::with_capacity(CASES, ENGINES),
            now: 1,
            cases: BTreeMap::new(),
            numbers: Vec::new(),
            given: HashSet::new(),
        }
    }

    fn pick(&self, at: usize) -> Option<CaseId> {
        self.numbers.iter().rev().nth(at).copied()
    }

    fn remember(&mut self, case: CaseId, expected: Expected) -> Result<(), TestCaseError> {
        prop_assert!(self.given.insert(case), "{case:?} was given twice");
        self.numbers.push(case);
        self.cases.insert(case, expected);
        Ok(())
    }

    fn ended(&mut self, case: CaseId, got: Outcome, want: Outcome) -> Result<(), TestCaseError> {
        let expected = self.cases.get_mut(&case).expect("only cases that were given out end");
        prop_assert!(!expected.ended, "{case:?} ended twice");
        prop_assert_eq!(got, want, "{:?}: {:?}", case, expected);
        if got.0 == Answer::Allow && expected.fallback == Fallback::Closed && !got.1 {
            let unsure = expected
                .required
                .iter()
                .any(|&engine| !expected.known.contains(&(engine, Known::Voted(Verdict::Allow))));
            prop_assert!(!unsure, "{case:?} was allowed without a required Allow");
        }
        expected.ended = true;
        Ok(())
    }

    fn open(&mut self, question: &Question<'_>) -> Result<(), TestCaseError> {
        let absent: Vec<usize> = question.missing.iter().map(|(engine, _)| engine.get()).collect();
        let asked: Vec<usize> = question
            .asked
            .iter()
            .map(EngineIndex::get)
            .filter(|engine| !absent.contains(engine))
            .collect();
        let required: Vec<usize> = question.required.iter().map(EngineIndex::get).collect();
        let unheard = required
            .iter()
            .copied()
            .filter(|engine| !asked.contains(engine) && !absent.contains(engine));
        let known = absent
            .iter()
            .copied()
            .chain(unheard)
            .map(|engine| (engine, Known::Gone(FailureReason::NotDocked)))
            .collect();
        let expected = Expected {
            asked,
            required,
            monitored: question.monitored.iter().map(EngineIndex::get).collect(),
            fallback: question.fallback,
            mode: question.mode,
            deadline: question.deadline,
            known,
            ended: false,
        };
        let overdue = question.deadline <= question.now && !expected.asked.is_empty();
        let at_once = if overdue { Some(expected.outcome(false, true)) } else { expected.merged() };
        let full = self.cases.values().filter(|case| !case.ended).count() == CASES;
        let opened = match self.arbiter.open(question) {
            Err(CasesFull { max }) => {
                prop_assert_eq!(max, CASES);
                prop_assert!(full && at_once.is_none());
                return Ok(());
            }
            Ok(Opened::Waiting(case)) => (case, None),
            Ok(Opened::Closed(closed)) => (closed.case, Some(outcome(&closed))),
        };
        self.remember(opened.0, expected)?;
        match (opened.1, at_once) {
            (Some(got), Some(want)) => self.ended(opened.0, got, want),
            (got, want) => {
                prop_assert_eq!(got, want);
                Ok(())
            }
        }
    }

    fn vote(&mut self, engine: usize, case: CaseId, verdict: Verdict) -> Result<(), TestCaseError> {
        let now = self.now;
        let got = self.arbiter.vote(index(engine), case, verdict, Detail::default(), now);
        let got = got.map(|closed| closed.map(|closed| outcome(&closed)));
        let expected = self.cases.get_mut(&case).expect("picked from those given out");
        if !expected.waits_for(engine) || now >= expected.deadline {
            prop_assert!(got.is_err(), "{got:?} for a vote that does not count");
            return Ok(());
        }
        expected.known.push((engine, Known::Voted(verdict)));
        let want = expected.merged();
        if verdict == Verdict::Deny
            && !expected.monitored.contains(&engine)
            && expected.mode == Mode::Enforce
        {
            prop_assert_eq!(want.map(|outcome| outcome.0), Some(Answer::Deny));
        }
        prop_assert_eq!(got, Ok(want));
        want.map_or(Ok(()), |want| self.ended(case, want, want))
    }

    fn gone(
        &mut self,
        engine: usize,
        case: CaseId,
        got: Option<Outcome>,
    ) -> Result<(), TestCaseError> {
        let expected = self.cases.get_mut(&case).expect("picked from those given out");
        if !expected.waits_for(engine) {
            prop_assert_eq!(got, None);
            return Ok(());
        }
        expected.known.push((engine, Known::Gone(FailureReason::EngineCrashed)));
        let want = expected.merged();
        prop_assert_eq!(got, want);
        want.map_or(Ok(()), |want| self.ended(case, want, want))
    }

    fn lose(&mut self, engine: usize) -> Result<(), TestCaseError> {
        let mut ended = BTreeMap::new();
        let reason = FailureReason::EngineCrashed;
        self.arbiter.lose_engine(index(engine), reason, self.now, &mut |closed| {
            ended.insert(closed.case, outcome(&closed));
        });
        self.numbers
            .clone()
            .into_iter()
            .try_for_each(|case| self.gone(engine, case, ended.get(&case).copied()))
    }

    fn finish(&mut self, case: CaseId) -> Result<(), TestCaseError> {
        let got = self.arbiter.finish(case, FailureReason::QueueFull, self.now);
        let got = got.map(|closed| outcome(&closed));
        let expected = &self.cases[&case];
        let want = (!expected.ended).then(|| expected.outcome(false, true));
        prop_assert_eq!(got, want);
        want.map_or(Ok(()), |want| self.ended(case, want, want))
    }

    fn pass(&mut self, time: u64) -> Result<(), TestCaseError> {
        self.now += time;
        let mut ended = Vec::new();
        self.arbiter.expire(self.now, &mut |closed| ended.push((closed.case, outcome(&closed))));
        for (case, got) in ended {
            let want = self.cases[&case].outcome(true, false);
            self.ended(case, got, want)?;
        }
        let overdue = self.cases.values().find(|case| !case.ended && case.deadline <= self.now);
        prop_assert!(overdue.is_none(), "{overdue:?} outlived its deadline");
        Ok(())
    }

    fn agrees(&self) -> Result<(), TestCaseError> {
        let open: Vec<_> = self.cases.iter().filter(|(_, case)| !case.ended).collect();
        prop_assert_eq!(self.arbiter.waiting(), open.len());
        let first = open.iter().map(|(_, case)| case.deadline).min();
        prop_assert_eq!(self.arbiter.next_deadline(), first);
        for engine in 0..ENGINES {
            let pending: HashSet<_> =
                self.arbiter.pending(index(engine)).map(|pending| pending.case).collect();
            let want: HashSet<_> = open
                .iter()
                .filter(|(_, case)| case.waits_for(engine))
                .map(|(number, _)| **number)
                .collect();
            prop_assert_eq!(pending, want);
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Open { asked, required, monitored, missing, open, monitor, budget } => {
                let missing: Vec<_> = places(missing)
                    .into_iter()
                    .map(|place| (index(place), FailureReason::NotDocked))
                    .collect();
                self.open(&Question {
                    event: Event::FileOpen,
                    now: self.now,
                    deadline: self.now + budget,
                    asked: set(&places(asked)),
                    required: set(&places(required)),
                    monitored: set(&places(monitored)),
                    missing: &missing,
                    fallback: if open { Fallback::Open } else { Fallback::Closed },
                    mode: if monitor { Mode::Monitor } else { Mode::Enforce },
                    epoch: 0,
                    token: 0,
                })
            }
            Step::Vote { engine, at, verdict } => {
                self.pick(at).map_or(Ok(()), |case| self.vote(engine, case, verdict))
            }
            Step::Missing { engine, at } => self.pick(at).map_or(Ok(()), |case| {
                let reason = FailureReason::EngineCrashed;
                let got = self.arbiter.missing(index(engine), case, reason, self.now);
                let got = got.map(|closed| outcome(&closed));
                self.gone(engine, case, got)
            }),
            Step::Lose { engine } => self.lose(engine),
            Step::Finish { at } => self.pick(at).map_or(Ok(()), |case| self.finish(case)),
            Step::Pass { time } => self.pass(time),
            Step::Delay { time } => {
                self.now += time;
                Ok(())
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_arbiter_does_what_the_model_does(steps in steps()) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step)?;
            run.agrees()?;
        }
        run.pass(1000)?;
        prop_assert!(run.cases.values().all(|case| case.ended));
    }

    #[test]
    fn forged_case_numbers_change_nothing(numbers in prop::collection::vec(any::<u64>(), 1..200)) {
        let mut arbiter = Arbiter::with_capacity(CASES, ENGINES);
        for number in numbers {
            if let Some(case) = CaseId::new(number) {
                let got = arbiter.vote(index(0), case, Verdict::Allow, Detail::default(), 1);
                prop_assert!(matches!(got, Err(Rejected::Foreign)));
            }
        }
        prop_assert_eq!(arbiter.waiting(), 0);
    }
}
