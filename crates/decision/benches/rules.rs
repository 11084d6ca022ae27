//! How long a decision of rules takes, with ten rules and with a thousand, and how long such sets take to
//! compile.
//!
//! `cargo bench -p outrigger-decision`.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::time::Instant;

use outrigger_api::{Event, Mode};
use outrigger_decision::rules::{
    Comparison, Condition, Effect, Facts, Lineage, LineageKey, MarkNames, Number, Pattern, Process,
    Rule, Source, Text, compile,
};

const ROUNDS: usize = 15;
const DECISIONS: u32 = 20_000;
const KEY: LineageKey = LineageKey([7; 16]);

fn main() {
    let sets = [10, 1000].map(|count| {
        let rules: Vec<Rule> = (0..count).map(rule).collect();
        let begin = Instant::now();
        let compiled = compile(&rules, &KEY, 1, &MarkNames::default()).expect("it compiles");
        let time = begin.elapsed();
        let bytes = compiled.image.bytes().len();
        println!("{count} rules: compiled in {:.2} ms to {bytes} bytes", time.as_secs_f64() * 1e3);
        compiled.image
    });
    for (name, facts) in [("nothing holds", facts(1000)), ("denied", facts(3))] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(sets.each_ref().map(|image| {
                let begin = Instant::now();
                for _ in 0..DECISIONS {
                    black_box(image.decide(black_box(&facts)));
                }
                begin.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS)
            }));
        }
        let of = |which: &dyn Fn(&[f64; 2]) -> f64| median(rounds.iter().map(which).collect());
        let (few, many) = (of(&|round| round[0]), of(&|round| round[1]));
        let ratio = of(&|round| round[1] / round[0]);
        println!(
            "decision, {name}: {few:.0} ns of 10 rules, {many:.0} ns of 1000, ratio {ratio:.2}"
        );
    }
}

/// Of each kind of condition some.
fn rule(number: u32) -> Rule {
    let text = |place, is| Condition::Text { place, is };
    let folder = text(Text::Path, Pattern::Begins(format!("/srv/data/{number}/")));
    let uid = |is, value| Condition::Number { place: Number::SubjectUid, is, value };
    let other = match number % 5 {
        0 => uid(Comparison::Is, u64::from(number)),
        1 => Condition::Not(Box::new(uid(Comparison::AtMost, u64::from(number)))),
        2 => text(Text::Exe, Pattern::Ends(format!("/tool{number}"))),
        3 => Condition::Not(Box::new(text(Text::Exe, Pattern::Is(format!("/usr/bin/{number}"))))),
        _ => {
            let program = format!("/usr/sbin/daemon{number}");
            Condition::Descends { process: Process::Subject, program }
        }
    };
    Rule {
        name: format!("rule{number}"),
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect: Effect::Deny,
        events: vec![Event::FileOpen],
        when: Condition::All(vec![folder, other]),
    }
}

/// An open below the folder of a rule that there is not, or is.
fn facts(folder: u32) -> Facts<'static> {
    let mut facts = Facts::new(Event::FileOpen);
    facts.set_number(Number::SubjectUid, 1000);
    facts.set_number(Number::SubjectGid, 1000);
    facts.set_number(Number::Owner, 0);
    facts.set_text(Text::Exe, b"/usr/bin/python3.11");
    facts.set_text(Text::Cgroup, b"/user.slice/user-1000.slice/session-3.scope");
    facts.set_path(Some(
        format!("/srv/data/{folder}/some/file/of/usual/length.txt").leak().as_bytes(),
    ));
    let programs = ["/usr/lib/systemd/systemd", "/usr/sbin/sshd", "/usr/bin/bash"];
    facts.lineage = Lineage::new(&programs.map(|program| KEY.hash(program.as_bytes())), false);
    facts
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
