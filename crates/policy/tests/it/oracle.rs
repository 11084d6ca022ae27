//! The oracle: random policies and random events, decided by the compiled tables and by Cedar's own
//! evaluator, which must agree in every one.
//!
//! A pair is one set of one to three policies and one event. 20,000 pairs are looked at, or as many as
//! `OUTRIGGER_ORACLE_PAIRS` says (`make oracle`: 1,000,000); `OUTRIGGER_ORACLE_SEED` repeats a run. A pair in
//! which the two differ is made smaller as long as they still differ, and shown.

mod case;
mod cedar;
mod policies;
mod random;
mod shrink;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::thread;

use outrigger_api::Mode;
use outrigger_decision::rules::{
    CompileError, Compiled, Decision, Effect, Facts, LineageKey, MarkNames, Rule, Source, compile,
};

use outrigger_policy::explain;

use case::Case;
use policies::Policy;
use random::Random;

/// Events that each set of policies is asked about.
const EVENTS: u64 = 24;
const KEY: LineageKey = LineageKey(*b"0123456789abcdef");

/// How the tables decide; tests of the oracle itself put something wrong in its place.
type Decide = fn(&Compiled, &Facts<'_>) -> Decision;

/// What was looked at.
#[derive(Debug, Default)]
struct Tally {
    pairs: u64,
    decided: u64,
    marked: u64,
    sets: u64,
    refused: u64,
    near_misses_refused: u64,
    impossible: u64,
    too_much: u64,
}

/// A pair in which the two differ.
#[derive(Debug)]
struct Difference {
    policies: Vec<Policy>,
    case: Case,
    what: String,
}

#[test]
fn the_compiled_tables_decide_as_cedar_does() {
    let pairs = setting("OUTRIGGER_ORACLE_PAIRS").unwrap_or(20_000);
    let seed = setting("OUTRIGGER_ORACLE_SEED").unwrap_or_else(random::seed);

    let halves = [seed, !seed].map(|seed| {
        thread::spawn(move || {
            run(seed, pairs.div_ceil(2), |compiled, facts| compiled.image.decide(facts))
        })
    });
    let tallies = halves.map(|half| half.join().expect("no half panics"));

    let mut all = Tally::default();
    for tally in tallies {
        match tally {
            Ok(tally) => all.add(&tally),
            Err(difference) => panic!("seed {seed}: {}", difference.shown()),
        }
    }
    println!("oracle, seed {seed}: {all:?}");
    assert!(all.decided * 10 > all.pairs, "next to nothing was decided: {all:?}");
    assert!(all.decided * 10 < all.pairs * 9, "next to everything was decided: {all:?}");
    assert!(all.marked > 0 && all.near_misses_refused > 0, "{all:?}");
    assert!(all.too_much * 1000 < all.sets, "too many sets were too large: {all:?}");
    assert!(all.refused * 4 < all.sets, "too much was refused for this to show anything: {all:?}");
}

#[test]
fn a_wrong_evaluator_is_found_and_the_pair_that_shows_it_is_small() {
    let blind_to_denials: Decide =
        |compiled, facts| Decision { deny: None, ..compiled.image.decide(facts) };

    let difference = run(1, 20_000, blind_to_denials).expect_err("it must be found");

    let text = difference.policies.iter().map(Policy::text).collect::<String>();
    assert_eq!(difference.policies.len(), 1, "{}", difference.shown());
    assert!(text.len() < 120, "{}", difference.shown());
}

#[test]
fn an_evaluator_that_reads_one_byte_too_few_is_found() {
    let short_sighted: Decide = |compiled, facts| {
        let mut facts = facts.clone();
        let exe = facts.text(outrigger_decision::rules::Text::Exe).unwrap_or_default();
        facts.set_text(outrigger_decision::rules::Text::Exe, &exe[..exe.len().saturating_sub(1)]);
        compiled.image.decide(&facts)
    };

    let difference = run(2, 20_000, short_sighted).expect_err("it must be found");

    let text = difference.policies.iter().map(Policy::text).collect::<String>();
    assert!(text.contains("principal.exe"), "{}", difference.shown());
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Looks at so many pairs.
fn run(seed: u64, pairs: u64, decide: Decide) -> Result<Tally, Box<Difference>> {
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    while tally.pairs < pairs {
        let count = 1 + random.below(3);
        let policies: Vec<Policy> = (0..count).map(|_| Policy::random(&mut random)).collect();
        tally.sets += 1;
        let set = match Set::read(&policies) {
            Ok(set) => set,
            Err(errors) => {
                let is_near_miss = policies.iter().any(|policy| policy.near_miss);
                tally.refused += u64::from(!is_near_miss);
                tally.near_misses_refused += u64::from(is_near_miss);
                assert!(
                    is_near_miss || !errors.contains("outside the subset"),
                    "of the documented subset, and refused: {errors}"
                );
                continue;
            }
        };
        let cases: Vec<Case> = (0..EVENTS).map(|_| Case::random(&mut random, &policies)).collect();
        let compiled = match set.compile() {
            Ok(compiled) => compiled,
            Err(CompileError::Impossible { rule }) => {
                tally.impossible += 1;
                set.never_applies(&rule, &cases);
                continue;
            }
            Err(CompileError::Clauses { .. }) => {
                tally.too_much += 1;
                continue;
            }
            Err(error) => panic!("{error}\n{}", texts(&policies)),
        };
        for case in cases {
            tally.pairs += 1;
            match set.differs(&compiled, &case, decide) {
                Ok(decision) => tally.count(&decision),
                Err(what) => {
                    let found = Difference { policies, case, what };
                    return Err(Box::new(shrink::shrink(found, decide)));
                }
            }
        }
    }
    Ok(tally)
}

fn texts(policies: &[Policy]) -> String {
    policies.iter().map(Policy::text).collect()
}

impl Tally {
    fn count(&mut self, decision: &Decision) {
        let decided = [decision.deny, decision.would_deny, decision.allow];
        self.decided += u64::from(decided.iter().any(Option::is_some));
        self.marked += u64::from(decision.subject_marks | decision.object_marks != 0);
    }

    fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.decided += other.decided;
        self.marked += other.marked;
        self.sets += other.sets;
        self.refused += other.refused;
        self.near_misses_refused += other.near_misses_refused;
        self.impossible += other.impossible;
        self.too_much += other.too_much;
    }
}

impl Difference {
    fn shown(&self) -> String {
        let mut shown = String::from("the tables and Cedar differ\n");
        write!(shown, "{}{:#?}\n{}", texts(&self.policies), self.case, self.what)
            .expect("a String");
        shown
    }
}

/// One set of policies, read by both.
struct Set {
    /// The rules, and for each the policy that it was made of.
    rules: Vec<Rule>,
    of: Vec<usize>,
    cedar: cedar::Policies,
}

impl Set {
    fn read(policies: &[Policy]) -> Result<Self, String> {
        // A line each, so that a rule's place says which policy it was made of.
        let text: String = policies.iter().map(Policy::text).collect();
        let (rules, places) = outrigger_policy::read_placed(
            &[("p.cedar", &text)],
            &Source::Administrator,
        )
        .map_err(|errors| {
            assert!(errors.iter().all(|error| error.line > 0), "no place: {errors:?}\n{text}");
            errors.iter().map(|error| format!("{error}\n")).collect::<String>()
        })?;
        let of = places.iter().map(|place| place.line as usize - 1).collect();
        Ok(Self { rules, of, cedar: cedar::Policies::read(policies) })
    }

    fn compile(&self) -> Result<Compiled, CompileError> {
        compile(&self.rules, &KEY, 1, &MarkNames::default())
    }

    /// A rule that the tables cannot hold since it contradicts itself must be one that never applies.
    fn never_applies(&self, rule: &str, cases: &[Case]) {
        let at = self.rules.iter().position(|one| one.name == rule).expect("it is one of them");
        let about = |case: &&Case| self.rules[at].events.contains(&case.event);
        for case in cases.iter().filter(about) {
            let applied = self.cedar.applied(case);
            assert!(
                !applied.contains(&self.of[at]),
                "impossible, and it applies: {rule}, {case:?}"
            );
        }
    }

    /// What the tables decide, or how that differs from what follows from Cedar's evaluator.
    fn differs(
        &self,
        compiled: &Compiled,
        case: &Case,
        decide: Decide,
    ) -> Result<Decision, String> {
        let decision = decide(compiled, &case.facts(&compiled.marks));
        let applied = self.cedar.applied(case);
        self.explained(compiled, case, &applied)?;
        let want = self.want(&applied, compiled);
        let name = |rule: Option<u16>| rule.map(|rule| self.of[usize::from(rule)]);
        let have = Want {
            deny: name(decision.deny).into_iter().collect(),
            would_deny: name(decision.would_deny).into_iter().collect(),
            allow: name(decision.allow).into_iter().collect(),
            marks: [decision.subject_marks, decision.object_marks],
        };
        // Each is named by one of the policies that decided it, and by none if none did.
        let agrees = |have: &BTreeSet<usize>, want: &BTreeSet<usize>| {
            have.is_subset(want) && have.is_empty() == want.is_empty()
        };
        if agrees(&have.deny, &want.deny)
            && agrees(&have.would_deny, &want.would_deny)
            && agrees(&have.allow, &want.allow)
            && have.marks == want.marks
        {
            return Ok(decision);
        }
        Err(format!("by policy, Cedar says {want:?}\nthe tables say {have:?}"))
    }

    /// What `outrigger policy explain` says of each rule is so.
    fn explained(
        &self,
        compiled: &Compiled,
        case: &Case,
        applied: &BTreeSet<usize>,
    ) -> Result<(), String> {
        let facts = case.facts(&compiled.marks);
        let holds = |rule: &Rule| explain::holds(&rule.when, &facts, &KEY, &compiled.marks);
        let about =
            self.rules.iter().zip(&self.of).filter(|(rule, _)| rule.events.contains(&case.event));
        for (rule, of) in about {
            if holds(rule) != applied.contains(of) {
                return Err(format!(
                    "Cedar says {applied:?} apply, explained otherwise: {rule:#?}"
                ));
            }
        }
        Ok(())
    }

    /// What must come of it when these policies apply: docs/policy.md, "What is decided".
    fn want(&self, applied: &BTreeSet<usize>, compiled: &Compiled) -> Want {
        let mut want = Want::default();
        for (rule, &of) in self.rules.iter().zip(&self.of).filter(|(_, of)| applied.contains(of)) {
            match (&rule.effect, rule.mode) {
                (Effect::Deny, Mode::Enforce) => want.deny.insert(of),
                (Effect::Deny, Mode::Monitor) => want.would_deny.insert(of),
                (Effect::Allow, _) => want.allow.insert(of),
                (Effect::Mark(mark), _) => {
                    let bit = compiled.marks.bit(&mark.name).expect("a mark that is set has a bit");
                    want.marks[usize::from(mark.object)] |= 1 << bit;
                    true
                }
                (Effect::Tell(_), _) => unreachable!("no policy tells an engine"),
            };
        }
        if !want.deny.is_empty() {
            want.allow.clear();
            want.marks = [0, 0];
        }
        want
    }
}

/// What is decided, by the policies that do.
#[derive(Debug, Default)]
struct Want {
    deny: BTreeSet<usize>,
    would_deny: BTreeSet<usize>,
    allow: BTreeSet<usize>,
    marks: [u64; 2],
}
