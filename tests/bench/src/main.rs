//! Measures what the platform promises to cost, beside what the bare kernel costs.
//!
//! Everything runs in a world of its own on a private tmpfs. Latency is measured with the one who
//! opens, the responder or the platform, and its engines on one processor, since across processors a
//! wake-up costs more than everything else and comes in two kinds; the ratio without that is printed
//! beside it. What is compared is measured in turns, five rounds of them, and a ratio is the median of
//! the rounds' ratios. Throughput is measured by eight processes on every processor.
//!
//! `outrigger-bench [FILTER…]` prints a table and writes `target/bench/report.json`, or the file named by
//! `OUTRIGGER_BENCH_REPORT`. A filter is a part of a figure's name. Ends with 0 only if every promise
//! that was measured is kept.

mod cost;
mod grouped;
mod latency;
mod scenario;
mod throughput;
mod watcher;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use outrigger_testkit::{Lab, World, agent, figures};

use outrigger_bench::report::Report;

/// After this everything in the world is killed and the bench has failed.
const LIMIT: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    if let Some(code) = agent::played() {
        return code;
    }
    World::within(LIMIT, |world| measure(Lab::new(world))).unwrap_or_else(|error| {
        figures::say(format_args!("not measured: {error:#}"));
        ExitCode::FAILURE
    })
}

fn measure(lab: Lab) -> Result<ExitCode> {
    let filters: Vec<String> = env::args().skip(1).collect();
    let wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let volume = lab.tmpfs("files")?;
    volume.fill(scenario::FILES, scenario::FILE_BYTES)?;
    let bench = scenario::Bench { lab, volume };

    let mut report = Report::default();
    latency::measure(&bench, &wanted, &mut report)?;
    throughput::measure(&bench, &wanted, &mut report)?;
    cost::measure(&bench, &wanted, &mut report)?;

    let file = env::var_os("OUTRIGGER_BENCH_REPORT").map_or_else(default_file, PathBuf::from);
    report.write(&file)?;
    figures::say(format_args!("\n{report}\nwritten to {}", file.display()));
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `target/bench/report.json` of the folder in which the bench was started.
fn default_file() -> PathBuf {
    PathBuf::from("target/bench/report.json")
}
