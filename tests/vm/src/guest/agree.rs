//! The kernel's evaluation of random rules against the host's, by the sensor's own program (`examples/agree.rs`).

use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::binaries;

use crate::report::Report;

const PROGRAM: &str = "agree";

/// Compares them on `pairs` random pairs of a set of rules and facts.
pub(crate) fn run(pairs: &str, report: &mut Report) -> Result<()> {
    let mut command = Command::new(binaries::path(PROGRAM)?);
    command.args(["compare", pairs]);
    report.test("agree::the_kernel_decides_as_the_host", || {
        let done = command.output().context("it cannot be started")?;
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        ensure!(done.status.success(), "{}: {said}", done.status);
        Ok(said)
    });
    Ok(())
}
