//! Plays the incidents; `outrigger-incidents --help` says how.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use outrigger_incidents::{Settings, run};
use outrigger_testkit::agent;

fn main() -> Result<ExitCode> {
    if let Some(code) = agent::played() {
        return Ok(code);
    }
    let flags: Vec<String> = std::env::args().skip(1).collect();
    run(&Settings::parse(), &flags)
}
