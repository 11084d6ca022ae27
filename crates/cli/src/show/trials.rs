//! Trials under way: releases in shadow, and in probation.

use outrigger_api::control::Trial;

use crate::table::{Table, cell};
use crate::text::{STRONG, WARN};

/// Every trial, one line each, and below it where its verdicts differ.
pub(crate) fn whole(trials: &[Trial]) -> String {
    if trials.is_empty() {
        return "no release is being tried\n".to_owned();
    }
    let mut table =
        Table::new(&["ENGINE", "RELEASE", "STATE", "SERVED", "JUDGED", "MISSED", "DIFFER"]);
    for trial in trials {
        let releases: Vec<String> = trial
            .releases
            .iter()
            .map(|release| format!("{} {}", release.part, release.version))
            .collect();
        let differ = trial.differences.iter().map(|one| one.count).sum::<u64>() + trial.more;
        table.row([
            cell(trial.engine.as_str()).style(STRONG),
            cell(&releases.join(", ")),
            cell(trial.state.name()),
            cell(&format!("{} of {} s", trial.served_ms / 1000, trial.length_ms.div_ceil(1000))),
            cell(&trial.judged.to_string()),
            cell(&trial.missed.to_string()),
            cell(&differ.to_string()).style(WARN),
        ]);
    }
    let mut out = String::new();
    table.write(&mut out);
    for trial in trials {
        if let Some(what) = &trial.waits_for {
            out += &format!("  {} waits: {}\n", trial.engine, crate::text::visible(what));
        }
    }
    out
}
