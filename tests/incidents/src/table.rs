//! What people read: a line for each scenario as soon as it was played.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::outcome::Outcome;

/// Widths of the columns but the last.
const WIDTHS: [usize; 5] = [34, 11, 13, 17, 10];
/// Most characters of what the operator saw.
const TOLD: usize = 110;

const GOOD: Style = AnsiColor::Green.on_default();
const WRONG: Style = AnsiColor::Red.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// The headings.
pub(crate) fn head() -> String {
    let titles = ["SCENARIO", "CAUGHT BY", "WRONG DENIALS", "LONGEST WAIT", "RECOVERY"];
    line(titles, "WHAT THE OPERATOR SAW", Style::new().bold())
}

/// One scenario's line, a line for each of its releases if it has several, and one for everything that did not hold.
pub(crate) fn of(outcome: &Outcome) -> String {
    if let Some(why) = &outcome.skipped {
        return format!("{:<34}  SKIPPED: {why}", outcome.id);
    }
    let longest = format!("{:.1} of {:.0} ms", outcome.longest_ms, outcome.allowed_ms);
    let (stage, told) = match outcome.releases.as_slice() {
        [one] => (one.stage.name().to_owned(), one.told.as_str()),
        several => (format!("{} releases", several.len()), ""),
    };
    let denials = outcome.wrong_denials.to_string();
    let recovery = recovery(outcome);
    let columns = [outcome.id.as_str(), &stage, &denials, &longest, &recovery];
    let mut text = line(columns, &cut(told), if outcome.holds() { GOOD } else { WRONG });
    if outcome.releases.len() > 1 {
        for one in &outcome.releases {
            let (release, what, stage) = (&one.release, &one.what, one.stage.name());
            let told = cut(&one.told);
            let _ =
                write!(text, "\n    {release:<14} {what:<34} {stage:<11} {FAINT}{told}{FAINT:#}");
        }
    }
    for wrong in outcome.wrong.iter().chain(&outcome.late) {
        let _ = write!(text, "\n    {WRONG}DOES NOT HOLD:{WRONG:#} {wrong}");
    }
    text
}

pub(crate) fn recovery(outcome: &Outcome) -> String {
    outcome.recovery_ms().map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"))
}

fn cut(told: &str) -> String {
    match told.char_indices().nth(TOLD) {
        Some((at, _)) => format!("{}…", &told[..at]),
        None => told.to_owned(),
    }
}

fn line(columns: [&str; 5], last: &str, style: Style) -> String {
    let pad = |(text, width): (&str, usize)| format!("{text:<width$}");
    let [first, others @ ..]: [String; 5] = {
        let mut padded = columns.into_iter().zip(WIDTHS).map(pad);
        std::array::from_fn(|_| padded.next().unwrap_or_default())
    };
    format!("{style}{first}{style:#}  {}  {last}", others.join("  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_stands_under_its_line() {
        let wrong = vec!["it decides".to_owned()];
        let outcome = Outcome { id: "one".to_owned(), wrong, ..Outcome::default() };

        let text = anstream::adapter::strip_str(&of(&outcome)).to_string();

        assert!(text.starts_with("one "), "{text}");
        assert!(text.ends_with("\n    DOES NOT HOLD: it decides"), "{text}");
    }
}
