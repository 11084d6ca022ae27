//! How many opens eight processes finish in a second, on every processor.

use anyhow::Result;
use outrigger_testkit::figures::say;

use crate::scenario::{Bench, FILES, Scenario};
use outrigger_bench::rate;
use outrigger_bench::report::{Figure, Promise, Report};

const ROUNDS: usize = 5;

struct Plan {
    name: &'static str,
    scenario: Scenario,
    vs: Option<&'static str>,
    promise: Option<Promise>,
}

const PLANS: &[Plan] = &[
    Plan { name: "open8_none", scenario: Scenario::None, vs: None, promise: None },
    Plan { name: "open8_floor", scenario: Scenario::Floor, vs: None, promise: None },
    Plan {
        name: "open8_asked",
        scenario: Scenario::Asked,
        vs: Some("open8_floor"),
        promise: Some(Promise::AtLeast(50_000.0)),
    },
    Plan {
        name: "open8_known",
        scenario: Scenario::Cached,
        vs: Some("open8_none"),
        promise: Some(Promise::RatioAtLeast(0.8)),
    },
];

/// Measures what is wanted.
pub(crate) fn measure(
    bench: &Bench,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> Result<()> {
    let is_needed = |plan: &&Plan| {
        wanted(plan.name)
            || PLANS.iter().any(|other| wanted(other.name) && other.vs == Some(plan.name))
    };
    let chosen: Vec<&Plan> = PLANS.iter().filter(is_needed).collect();
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for number in 1..=ROUNDS * usize::from(!chosen.is_empty()) {
        say(format_args!("throughput, round {number} of {ROUNDS}"));
        rounds.push(chosen.iter().map(|plan| once(bench, plan.scenario)).collect::<Result<_>>()?);
    }
    for (at, plan) in chosen.iter().enumerate() {
        let against = plan.vs.and_then(|vs| chosen.iter().position(|other| other.name == vs));
        let rates = sorted(rounds.iter().map(|round| round[at]));
        report.add(
            plan.name,
            Figure {
                p50: rates[rates.len() / 2],
                p99: rates[0],
                unit: "per_s",
                vs: plan.vs.map(str::to_owned),
                ratio_p50: against.map(|against| {
                    let ratios = sorted(rounds.iter().map(|round| round[at] / round[against]));
                    ratios[ratios.len() / 2]
                }),
                promise: plan.promise,
                ..Figure::default()
            },
        );
    }
    Ok(())
}

/// Opens per second of all processes together; files that are to be known were opened before.
fn once(bench: &Bench, scenario: Scenario) -> Result<f64> {
    let running = scenario.start(bench)?;
    for path in bench.paths()?.iter().cycle().take(2 * FILES) {
        outrigger_testkit::openers::open_once(path, false)?;
    }
    let opens = rate::of_eight(bench.volume.path(), FILES)?;
    running.end()?;
    Ok(per_second(opens))
}

#[expect(clippy::cast_precision_loss, reason = "a count of a few seconds")]
fn per_second(opens: u64) -> f64 {
    opens as f64 / rate::ROUND.as_secs_f64()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}
