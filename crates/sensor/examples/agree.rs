//! Compares the kernel's evaluation of random rules with the host's, and measures it.
//!
//! ```text
//! agree compare PAIRS [SEED]
//! agree measure
//! ```
//!
//! For the guests of `tests/vm`. Ends with 1 where the two do not agree, with 2 where the kernel does not
//! take the evaluator.
#![expect(clippy::print_stdout, reason = "what it found is its result")]

#[path = "../tests/it/kernel_rules.rs"]
mod kernel_rules;

use std::error::Error;
use std::process::ExitCode;

use outrigger_api::{Event, Mode};
use outrigger_decision::rules::generate::OwnedFacts;
use outrigger_decision::rules::{Condition, Effect, Number, Pattern, Rule, Source, Text};

use self::kernel_rules::{Kernel, Missing, compare};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut kernel = match Kernel::load() {
        Ok(kernel) => kernel,
        Err(Missing::Refused(why)) => {
            println!("the kernel does not take the evaluator: {why}");
            return ExitCode::from(2);
        }
        Err(Missing::Broken(why)) => {
            println!("broke off: {why}");
            return ExitCode::FAILURE;
        }
    };
    let done = match arguments.first().map(String::as_str) {
        Some("measure") => measure(&mut kernel),
        _ => agree(&mut kernel, arguments.get(1..).unwrap_or_default()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn agree(kernel: &mut Kernel, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let number =
        |at: usize, usual: u64| arguments.get(at).map_or(Ok(usual), |text| text.parse::<u64>());
    let (pairs, seed) = (usize::try_from(number(0, 100_000)?)?, number(1, 1)?);
    let compared = compare(kernel, pairs, seed)?;
    println!(
        "{compared} random pairs of a set of rules and facts: the kernel decided all as the host"
    );
    Ok(())
}

/// Rounds of each measurement, interleaved.
const ROUNDS: usize = 9;
/// Evaluations a round.
const EVALUATIONS: u32 = 20_000;

/// What a whole evaluation costs, nothing kept, with few rules and with many: every table is looked at.
fn measure(kernel: &mut Kernel) -> Result<(), Box<dyn Error>> {
    let mut facts = OwnedFacts::new(Event::FileOpen);
    facts.numbers = [Some(1000); 10];
    facts.texts[0] = Some(b"/usr/bin/some-program".to_vec());
    facts.texts[1] = Some(b"/user.slice/user-1000.slice".to_vec());
    facts.texts[2] = Some(b"/home/somebody/documents/folder/file.txt".to_vec());
    facts.lineage = (vec!["/usr/bin/some-program".to_owned(), "/usr/sbin/sshd".to_owned()], false);
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (times, count) in times.iter_mut().zip([10, 1000]) {
            kernel.enforce(&rules(count))?;
            let (_, took) = kernel.decide(std::slice::from_ref(&facts), EVALUATIONS)?;
            times.push(took.as_nanos() / u128::from(EVALUATIONS));
        }
    }
    let [few, many] = times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    });
    println!("a whole evaluation, nothing kept: 10 rules {few} ns, 1,000 rules {many} ns");
    Ok(())
}

/// Rules about other files, users and programs, each with a path, a user and a lineage.
fn rules(count: u64) -> Vec<Rule> {
    let rule = |number: u64| Rule {
        name: format!("rule{number}"),
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect: Effect::Deny,
        events: vec![Event::FileOpen],
        when: Condition::All(vec![
            Condition::Text {
                place: Text::Path,
                is: Pattern::Begins(format!("/srv/share{number}/private/")),
            },
            Condition::Not(Box::new(Condition::Number {
                place: Number::SubjectUid,
                is: outrigger_decision::rules::Comparison::Is,
                value: number,
            })),
            Condition::Not(Box::new(Condition::Descends {
                process: outrigger_decision::rules::Process::Subject,
                program: format!("/usr/bin/program{number}"),
            })),
        ]),
    };
    (0..count).map(rule).collect()
}
