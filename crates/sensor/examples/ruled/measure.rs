//! What rules cost who opens, reads and closes a file: without them, with 10, with 1,000.

use std::fs::File;
use std::io::Read;
use std::time::Instant;

use outrigger_api::{Event, EventSet};
use outrigger_decision::rules::{Comparison, Condition, Effect, Number, Process, Rule};

use crate::{Outcome, PLACE, Ruling, rule, under};

/// Rounds, each with every side once.
const ROUNDS: usize = 15;
/// Opens of a side in a round.
const OPENS: u32 = 2_000;

pub(crate) fn run(mut ruling: Ruling, _: u64) -> Outcome {
    let file = format!("{PLACE}/file");
    std::fs::write(&file, [b'x'; 100])?;
    let sets = [10, 1_000].map(rules);
    let ruled = EventSet::EMPTY.with(Event::FileOpen);
    // Without rules, with few, with many; and with few where every open walks to the path again.
    let mut rounds: Vec<[u128; 4]> = Vec::new();
    for _ in 0..ROUNDS {
        ruling.plane.attach(EventSet::EMPTY, EventSet::EMPTY)?;
        let none = open_often(&file)?;
        ruling.plane.attach(EventSet::EMPTY, ruled)?;
        ruling.replace(&sets[0])?;
        let few = open_often(&file)?;
        // A second name: what rules make of the file is not kept.
        let second = format!("{file}-second");
        std::fs::hard_link(&file, &second)?;
        let walked = open_often(&file)?;
        std::fs::remove_file(second)?;
        ruling.replace(&sets[1])?;
        let many = open_often(&file)?;
        rounds.push([none, few, many, walked]);
    }
    let ratio = |over: usize, under: usize| {
        let mut ratios: Vec<u128> =
            rounds.iter().map(|round| round[over] * 1000 / round[under].max(1)).collect();
        ratios.sort_unstable();
        ratios[ROUNDS / 2]
    };
    let median = |side: usize| {
        let mut times: Vec<u128> = rounds.iter().map(|round| round[side]).collect();
        times.sort_unstable();
        times[ROUNDS / 2]
    };
    let shown = |thousandths: u128| format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    println!(
        "open+read+close: no rules {} ns, 10 rules {} ns, 1,000 rules {} ns, 10 rules and nothing kept \
         of the file {} ns",
        median(0),
        median(1),
        median(2),
        median(3)
    );
    println!("10 rules / none: {} (at most 1.2)", shown(ratio(1, 0)));
    println!("1,000 rules / 10 rules: {} (at most 1.5)", shown(ratio(2, 1)));
    println!("10 rules, nothing kept / none: {}", shown(ratio(3, 0)));
    if ratio(1, 0) > 1200 || ratio(2, 1) > 1500 {
        return Err("above what was promised".into());
    }
    Ok(())
}

/// ns of each open, read and close, on average.
fn open_often(file: &str) -> std::io::Result<u128> {
    let mut buffer = [0; 100];
    for _ in 0..10 {
        File::open(file)?.read_exact(&mut buffer)?;
    }
    let begun = Instant::now();
    for _ in 0..OPENS {
        File::open(file)?.read_exact(&mut buffer)?;
    }
    Ok(begun.elapsed().as_nanos() / u128::from(OPENS))
}

/// Rules about other files, each with a path, a user and a lineage.
fn rules(count: u64) -> Vec<Rule> {
    (0..count)
        .map(|number| {
            let user = Condition::Number {
                place: Number::SubjectUid,
                is: Comparison::Is,
                value: number + 1,
            };
            let program = Condition::Descends {
                process: Process::Subject,
                program: format!("/usr/bin/program{number}"),
            };
            let when = Condition::All(vec![
                under(&format!("/srv/share{number}/private/")),
                Condition::Not(Box::new(user)),
                Condition::Not(Box::new(program)),
            ]);
            rule(&format!("rule{number}"), Event::FileOpen, Effect::Deny, when)
        })
        .collect()
}
