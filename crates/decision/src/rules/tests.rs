//! What an image decides is what its rules say: compared with a second evaluation that reads conditions
//! as they are written, on random sets and on written ones.

use std::net::IpAddr;

use outrigger_api::{Event, Mode};

use super::facts::{Facts, LineageKey, mapped};
use super::generate::{Case, Generator, fits, shrink};
use super::marks::guarding;
use super::*;

mod bytes;
mod refused;
mod written;

const KEY: LineageKey = LineageKey(*b"0123456789abcdef");

/// What a condition says: of the facts, as it is written.
fn holds(
    condition: &Condition,
    facts: &Facts<'_>,
    marks: &MarkNames,
    not: bool,
    doubt: bool,
) -> bool {
    let mut one = |one: &Condition| holds(one, facts, marks, not, doubt);
    match condition {
        Condition::Not(of) => holds(of, facts, marks, !not, doubt),
        Condition::All(all) if not => all.iter().any(one),
        Condition::Any(any) if not => any.iter().all(one),
        Condition::All(all) => all.iter().all(one),
        Condition::Any(any) => any.iter().any(&mut one),
        Condition::Number { .. }
        | Condition::Text { .. }
        | Condition::Within(_)
        | Condition::Descends { .. }
        | Condition::Marked { .. } => said(condition, facts, marks).map_or(doubt, |is| is != not),
    }
}

/// What the facts say of a literal; nothing where it is not known.
fn said(literal: &Condition, facts: &Facts<'_>, marks: &MarkNames) -> Option<bool> {
    Some(match literal {
        Condition::Number { place, is, value } => {
            let number = facts.number(*place)?;
            match is {
                Comparison::Is => number == *value,
                Comparison::Less => number < *value,
                Comparison::AtMost => number <= *value,
            }
        }
        Condition::Text { place, is } => {
            let text = facts.text(*place)?;
            match is {
                Pattern::Is(other) => text == other.as_bytes(),
                Pattern::Begins(begin) => text.starts_with(begin.as_bytes()),
                Pattern::Ends(end) => text.ends_with(end.as_bytes()),
                Pattern::Contains(part) => {
                    part.is_empty() || text.windows(part.len()).any(|here| here == part.as_bytes())
                }
                Pattern::AtLeast(len) => text.len() >= usize::from(*len),
            }
        }
        Condition::Within(Cidr { address, prefix }) => {
            let is = facts.address()?;
            let is_four = is.starts_with(&mapped(IpAddr::from([0_u8; 4]))[..12]);
            let bits = if address.is_ipv4() { usize::from(*prefix) + 96 } else { (*prefix).into() };
            let bit = |of: &[u8; 16], at: usize| of[at / 8] >> (7 - at % 8) & 1;
            is_four == address.is_ipv4()
                && (0..bits).all(|at| bit(&is, at) == bit(&mapped(*address), at))
        }
        Condition::Descends { process, program } => {
            let lineage = match process {
                Process::Subject => facts.lineage,
                Process::Object => facts.target_lineage,
            };
            if !lineage.programs().contains(&KEY.hash(program.as_bytes())) {
                return (!lineage.is_cut()).then_some(false);
            }
            true
        }
        Condition::Marked { whose, mark } => {
            let of = match whose {
                Process::Subject => facts.marks,
                Process::Object => facts.object_marks,
            };
            of & 1 << marks.bit(mark)? != 0
        }
        Condition::All(_) | Condition::Any(_) | Condition::Not(_) => return None,
    })
}

/// Whether every number that a condition names is there.
fn has_numbers(condition: &Condition, facts: &Facts<'_>) -> bool {
    match condition {
        Condition::All(all) | Condition::Any(all) => all.iter().all(|one| has_numbers(one, facts)),
        Condition::Not(not) => has_numbers(not, facts),
        Condition::Number { place, .. } => facts.number(*place).is_some(),
        Condition::Within(_) => facts.address().is_some(),
        Condition::Text { .. } | Condition::Descends { .. } | Condition::Marked { .. } => true,
    }
}

/// What the rules decide, one by one.
fn expected(rules: &[Rule], facts: &Facts<'_>, marks: &MarkNames) -> Decision {
    let guarding = guarding(rules, marks);
    let mut decision = Decision::default();
    let (mut subject_marks, mut object_marks) = (0, 0);
    for (number, rule) in (0_u16..).zip(rules) {
        let bit = match &rule.effect {
            Effect::Mark(mark) => 1 << marks.bit(&mark.name).expect("it is set"),
            Effect::Tell(engine) => 1 << engine,
            Effect::Deny | Effect::Allow => 0_u64,
        };
        let doubt = match &rule.effect {
            Effect::Deny | Effect::Tell(_) => true,
            Effect::Allow => false,
            Effect::Mark(_) => guarding & bit != 0,
        };
        let object =
            |mark: &Mark| fits(&marked(Process::Object, "any"), facts.event) || !mark.object;
        if !rule.events.contains(&facts.event)
            || !fits(&rule.when, facts.event)
            || matches!(&rule.effect, Effect::Mark(mark) if !object(mark))
            || !has_numbers(&rule.when, facts)
            || !holds(&rule.when, facts, marks, false, doubt)
        {
            continue;
        }
        let first = |is: Option<u16>| is.or(Some(number));
        match &rule.effect {
            Effect::Deny if rule.mode == Mode::Enforce => decision.deny = first(decision.deny),
            Effect::Deny => decision.would_deny = first(decision.would_deny),
            Effect::Allow => decision.allow = first(decision.allow),
            Effect::Mark(mark) if mark.object => object_marks |= bit,
            Effect::Mark(_) => subject_marks |= bit,
            Effect::Tell(_) => decision.tell |= bit,
        }
    }
    if decision.deny.is_some() {
        return Decision { allow: None, ..decision };
    }
    Decision { subject_marks, object_marks, ..decision }
}

fn disagrees(case: &Case) -> bool {
    let Ok(compiled) = compile(&case.rules, &KEY, 1, &MarkNames::default()) else { return false };
    let facts = case.facts.facts(&KEY);
    compiled.image.decide(&facts) != expected(&case.rules, &facts, &compiled.marks)
}

/// How much came of random cases, so that it is seen that they reach everything.
#[derive(Debug, Default)]
struct Reached {
    denied: u32,
    allowed: u32,
    would_be_denied: u32,
    marked: u32,
    told: u32,
    nothing: u32,
}

impl Reached {
    fn count(&mut self, decision: &Decision) {
        self.denied += u32::from(decision.deny.is_some());
        self.allowed += u32::from(decision.allow.is_some());
        self.would_be_denied += u32::from(decision.would_deny.is_some());
        self.marked += u32::from(decision.subject_marks | decision.object_marks != 0);
        self.told += u32::from(decision.tell != 0);
        self.nothing += u32::from(*decision == Decision::default());
    }
}

#[test]
fn an_image_decides_as_its_rules_read() {
    const SETS: u64 = 2_000;
    const FACTS: u64 = 50;
    let mut reached = Reached::default();
    for seed in 0..SETS {
        let mut random = Generator::new(seed);
        let event = *random.one_of(Event::ALL);
        let most = if seed.is_multiple_of(50) { 200 } else { 12 };
        let rules = random.rules(event, most);
        let compiled = compile(&rules, &KEY, 1, &MarkNames::default()).expect("it compiles");
        for _ in 0..FACTS {
            let facts = random.facts(&rules, event);
            let decision = compiled.image.decide(&facts.facts(&KEY));
            if decision != expected(&rules, &facts.facts(&KEY), &compiled.marks) {
                let least = shrink(Case { rules, facts }, disagrees);
                panic!("of seed {seed} this is left: {least:#?}");
            }
            reached.count(&decision);
        }
    }
    let all = u32::try_from(SETS * FACTS).expect("a small number");
    let Reached { denied, allowed, would_be_denied, marked, told, nothing } = reached;
    for count in [denied, allowed, would_be_denied, marked, told, nothing] {
        assert!(count > all / 100, "too little of something: {reached:?}");
    }
}

fn marked(whose: Process, mark: &str) -> Condition {
    Condition::Marked { whose, mark: mark.to_owned() }
}
