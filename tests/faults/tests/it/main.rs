//! Every row of the matrix of faults, on a machine that may be busy: with a larger budget and more slack, and without the
//! measurement of the other engine's p99, which takes its time. With `OUTRIGGER_TEST_FULL=1` as `make faults` plays it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use outrigger_faults::{Settings, run};
use outrigger_testkit::{agent, suite};

fn main() -> Result<ExitCode> {
    if let Some(code) = agent::played() {
        return Ok(code);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--inside") {
        return run(&Settings::parse(), &[]);
    }
    if let Some(why) = suite::missing() {
        eprintln!("SKIPPED: the matrix of faults: {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let short = ["--p99=skip", "--budget-ms=100", "--slack-ms=25"].map(str::to_owned);
    // Of what cargo passes on for its own harness a filter and this say something here.
    let is_ours = |argument: &&String| !argument.starts_with('-') || *argument == "--list";
    let filters = arguments.iter().filter(is_ours).cloned();
    let flags = if suite::full() { Vec::new() } else { short.to_vec() };
    let all = ["it".to_owned()].into_iter().chain(flags.clone()).chain(filters);
    run(&Settings::parse_from(all), &flags)
}
