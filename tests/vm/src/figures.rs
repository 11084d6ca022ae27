//! What guests measured, as a table and in `target/vm/figures.json`.
//!
//! In instructions, which a guest counts by itself (`job.rs`: `Clock`). What is not as promised is said and fails
//! nothing: figures are for who reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use outrigger_testkit::figures::say;
use outrigger_vm_tests::{MEASURED, Measured};

use crate::queue::{self, Done};

/// Where they are written: the figures of each kernel by its name.
const REPORT: &str = "target/vm/figures.json";

/// Takes what the guests measured, writes it down and prints it. Nothing is written where none did.
///
/// # Errors
///
/// If a guest's line cannot be read, or the figures not be written.
pub(crate) fn gather(done: &[Done<'_>]) -> Result<()> {
    let measured: BTreeMap<_, Vec<Measured>> = queue::facts(done, MEASURED)?;
    if measured.is_empty() {
        return Ok(());
    }
    let report = Path::new(REPORT);
    if let Some(folder) = report.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&measured)? + "\n";
    fs::write(report, text).with_context(|| format!("cannot write {REPORT}"))?;
    for (kernel, figures) in &measured {
        say(format_args!("\n{}", table(kernel, figures)));
    }
    say(format_args!("written to {REPORT}"));
    Ok(())
}

/// The figures of one kernel, a line each.
fn table(kernel: &str, figures: &[Measured]) -> String {
    let title = format!("on {kernel}");
    let head =
        format!("    {title:<24}{:>14}{:>14}{:>10}  promise", "instructions", "against", "ratio");
    let lines = figures.iter().map(|one| {
        let promise = one.at_most.map(|most| {
            let mark = if one.is_kept() { "✓" } else { "✗ NOT KEPT" };
            format!("≤ {most} × {mark}")
        });
        let promise = promise.unwrap_or_default();
        let Measured { figure, instructions, against, ratio, .. } = one;
        format!("    {figure:<24}{instructions:>14}{against:>14}{ratio:>8.3} ×  {promise}")
    });
    [head].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_promised_is_marked() {
        let figure = |ratio, at_most| Measured {
            figure: "open_x".to_owned(),
            instructions: 1100.0,
            against: 1000.0,
            ratio,
            at_most,
        };

        let said =
            table("6.1", &[figure(1.1, Some(1.2)), figure(1.1, Some(1.05)), figure(1.1, None)]);

        let marks: Vec<_> =
            said.lines().skip(1).map(|line| line.split_once(" ×  ").map(|at| at.1)).collect();
        assert_eq!(marks, [Some("≤ 1.2 × ✓"), Some("≤ 1.05 × ✗ NOT KEPT"), Some("")]);
    }
}
