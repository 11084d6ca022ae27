//! What people read: a line for each fault as soon as it was played.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::outcome::Outcome;

/// Widths of the columns but the last.
const WIDTHS: [usize; 5] = [26, 18, 17, 26, 30];

/// The headings.
pub(crate) fn head() -> String {
    line(["FAULT", "NOTICED BY", "LONGEST WAIT", "OTHER'S p99", "THEN"], "COUNTED")
}

/// One fault's line, and a line for everything that did not hold.
pub(crate) fn of(outcome: &Outcome) -> String {
    if let Some(why) = &outcome.skipped {
        return format!("{:<26}  SKIPPED: {why}", outcome.fault);
    }
    let noticed = match outcome.noticed_by.as_str() {
        "nobody" => "–".to_owned(),
        by => format!("{by}, {:.0} ms", outcome.noticed_ms),
    };
    let longest = format!("{:.1} of {:.0} ms", outcome.longest_ms, outcome.allowed_ms);
    let p99 = outcome.p99.map_or_else(
        || "not measured".to_owned(),
        |p99| {
            let us = |ns: u64| ns / 1000;
            let (change, error) = ((p99.effect - 1.0) * 100.0, p99.error * 100.0);
            format!("{} → {} µs, {change:+.0} ± {error:.0} %", us(p99.before[0]), us(p99.after[0]))
        },
    );
    let then = format!("{}, {:.0} ms", outcome.ended, outcome.ended_ms);
    let mut text = line([&outcome.fault, &noticed, &longest, &p99, &then], &counted(outcome));
    for wrong in outcome.wrong.iter().chain(&outcome.late) {
        let _ = write!(text, "\n    DOES NOT HOLD: {wrong}");
    }
    text
}

/// Everything that was counted; what openers met meanwhile after a stroke.
fn counted(outcome: &Outcome) -> String {
    let list = |counts: &BTreeMap<String, u64>| {
        let one = |(name, count): (&String, &u64)| format!("{name} {count}");
        counts.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let mut parts = list(&outcome.faults);
    for (count, what) in [(outcome.conflicts, "conflicts"), (outcome.would_deny, "would-deny")] {
        if count > 0 {
            let _ = write!(parts, "{what} {count}");
        }
    }
    match (parts.is_empty(), outcome.fallbacks.is_empty()) {
        (true, true) => "–".to_owned(),
        (_, true) => parts,
        (_, false) => format!("{parts} | fallbacks: {}", list(&outcome.fallbacks)),
    }
}

fn line(columns: [&str; 5], last: &str) -> String {
    let pad = |(text, width): (&str, usize)| format!("{text:<width$}");
    let columns: Vec<String> = columns.into_iter().zip(WIDTHS).map(pad).collect();
    format!("{}  {last}", columns.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_stands_under_its_line() {
        let wrong = vec!["it was not noticed".to_owned()];
        let outcome = Outcome { fault: "killed".to_owned(), wrong, ..Outcome::default() };

        let text = of(&outcome);

        assert!(text.starts_with("killed "), "{text}");
        assert!(text.ends_with("\n    DOES NOT HOLD: it was not noticed"), "{text}");
    }
}
