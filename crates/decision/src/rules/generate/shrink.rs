//! The smallest case that still fails.

use super::super::layout::TEXTS;
use super::super::rule::{Condition, Rule};
use super::OwnedFacts;

/// Rules and facts on which two evaluations do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub rules: Vec<Rule>,
    pub facts: OwnedFacts,
}

/// The smallest case that can be had of this one, step by step, for which `fails` still holds.
pub fn shrink(mut case: Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    'again: loop {
        for smaller in smaller(&case) {
            if fails(&smaller) {
                case = smaller;
                continue 'again;
            }
        }
        return case;
    }
}

/// The cases that are one step smaller.
fn smaller(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    for at in 0..case.rules.len() {
        let mut less = case.clone();
        less.rules.remove(at);
        all.push(less);
        for when in smaller_conditions(&case.rules[at].when) {
            let mut less = case.clone();
            less.rules[at].when = when;
            all.push(less);
        }
    }
    let mut with = |change: &dyn Fn(&mut OwnedFacts)| {
        let mut less = case.clone();
        change(&mut less.facts);
        if less.facts != case.facts {
            all.push(less);
        }
    };
    with(&|facts| facts.marks = 0);
    with(&|facts| facts.object_marks = 0);
    with(&|facts| facts.lineage = (Vec::new(), false));
    with(&|facts| facts.target_lineage = (Vec::new(), false));
    for at in 0..TEXTS {
        with(&|facts| {
            if let Some(text) = &mut facts.texts[at] {
                text.pop();
            }
        });
    }
    all
}

fn smaller_conditions(condition: &Condition) -> Vec<Condition> {
    let mut all = Vec::new();
    match condition {
        Condition::All(of) | Condition::Any(of) => {
            let is_all = matches!(condition, Condition::All(_));
            let again = |of| if is_all { Condition::All(of) } else { Condition::Any(of) };
            all.extend(of.iter().cloned());
            for (at, one) in of.iter().enumerate() {
                let mut less = of.clone();
                less.remove(at);
                all.push(again(less));
                for smaller in smaller_conditions(one) {
                    let mut less = of.clone();
                    less[at] = smaller;
                    all.push(again(less));
                }
            }
        }
        Condition::Not(not) => {
            all.push((**not).clone());
            all.extend(
                smaller_conditions(not).into_iter().map(|less| Condition::Not(Box::new(less))),
            );
        }
        Condition::Number { .. }
        | Condition::Text { .. }
        | Condition::Within(_)
        | Condition::Descends { .. }
        | Condition::Marked { .. } => {}
    }
    all
}
