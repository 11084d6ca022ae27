//! The kernel's evaluation of rules agrees with the host's.

use outrigger_api::{Event, Mode};
use outrigger_decision::rules::generate::OwnedFacts;
use outrigger_decision::rules::{Condition, Effect, Mark, Process, Rule, Source};

use crate::kernel_rules::{KEY, Kernel, Missing, compare};

/// Pairs of sets and facts; in guests there are more (`examples/agree.rs`).
const PAIRS: usize = 5_000;

#[test]
fn the_kernel_decides_as_the_host_does() {
    let mut kernel = match Kernel::load() {
        Ok(kernel) => kernel,
        Err(Missing::Refused(why)) => {
            eprintln!("SKIPPED: this kernel does not take the evaluator: {why}");
            return;
        }
        Err(Missing::Broken(why)) => panic!("{why}"),
    };

    let compared = compare(&mut kernel, PAIRS, 6);

    assert!(compared.unwrap_or_else(|why| panic!("{why}")) >= PAIRS);
}

/// Both lineages' programs have their atoms in one order, of which a table may have the first alone: a program that
/// only rules about the subject name is none of the object's, whatever stands behind that table.
#[test]
fn a_program_that_no_rule_asks_of_the_object_says_nothing_of_it() {
    let Ok(mut kernel) = Kernel::load() else {
        eprintln!("SKIPPED: this kernel does not take the evaluator");
        return;
    };
    let descends = |process, program: &str| {
        Condition::Not(Box::new(Condition::Descends { process, program: program.to_owned() }))
    };
    let marked = |whose, mark: &str| Condition::Marked { whose, mark: mark.to_owned() };
    let mark = |name: &str, seconds| {
        let name = name.to_owned();
        Effect::Mark(Mark { name, object: false, inherited: false, seconds })
    };
    let either = Condition::Any(vec![
        descends(Process::Subject, "/usr/bin/b"),
        Condition::Not(Box::new(marked(Process::Subject, "mark0"))),
    ]);
    let rules: Vec<Rule> = [
        (Mode::Enforce, mark("mark3", Some(60)), either),
        (Mode::Monitor, Effect::Deny, descends(Process::Object, "/usr/bin/a")),
        (Mode::Enforce, Effect::Allow, marked(Process::Object, "mark2")),
        (Mode::Enforce, mark("mark2", None), marked(Process::Subject, "mark3")),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (mode, effect, when))| Rule {
        name: format!("rule{number}"),
        source: Source::Administrator,
        mode,
        effect,
        events: vec![Event::ProcessSignal],
        when,
    })
    .collect();
    let mut facts = OwnedFacts::new(Event::ProcessSignal);
    facts.lineage = (Vec::new(), true);
    facts.target_lineage = (vec!["/usr/bin/b".to_owned()], false);

    let compiled = kernel.enforce(&rules).expect("they compile");
    let (decided, _) = kernel.decide(std::slice::from_ref(&facts), 1).expect("it is evaluated");

    assert_eq!(decided, [compiled.image.decide(&facts.facts(&KEY))]);
    assert_eq!(decided[0].subject_marks, 1);
}
