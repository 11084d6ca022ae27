//! A few of the incidents, on a machine that may be busy: with a larger budget and more slack. With
//! `OUTRIGGER_TEST_FULL=1` all of them, as `make incidents` plays them.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use outrigger_incidents::{Settings, run};
use outrigger_testkit::{agent, suite};

/// One of each step that stops a release with a host at work.
const SHORT: [&str; 3] =
    ["channel-file-291-preflight", "many-false-positives-live", "channel-file-291-in-force"];

fn main() -> Result<ExitCode> {
    if let Some(code) = agent::played() {
        return Ok(code);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--inside") {
        return run(&Settings::parse(), &[]);
    }
    if let Some(why) = suite::missing() {
        eprintln!("SKIPPED: the incidents: {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let report = std::env::temp_dir().join("outrigger-incidents-it.json");
    let mut flags = vec![format!("--report={}", report.display())];
    // Of what cargo passes on for its own harness a filter and this say something here.
    let is_ours = |argument: &&String| !argument.starts_with('-') || *argument == "--list";
    let mut filters: Vec<String> = arguments.iter().filter(is_ours).cloned().collect();
    if !suite::full() {
        flags.extend(["--budget-ms=100", "--slack-ms=25", "--misses-max=30"].map(str::to_owned));
        if filters.is_empty() {
            filters = SHORT.map(str::to_owned).to_vec();
        }
    }
    let all = ["it".to_owned()].into_iter().chain(flags.clone()).chain(filters);
    run(&Settings::parse_from(all), &flags)
}
