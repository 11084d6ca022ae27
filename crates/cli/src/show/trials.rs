//! Trials under way: releases in shadow, and in probation.

use outrigger_api::Verdict;
use outrigger_api::control::Trial;
use outrigger_api::release::State;

use crate::table::{Table, cell, figure};
use crate::text::{FAINT, PLAIN, STRONG, WARN, WRONG, number};

/// Most characters of a rule or path that are shown.
const SHOWN_MAX: usize = 60;

/// Every trial, one line each, and below it what it waits for and where its verdicts differ.
pub(crate) fn whole(trials: &[Trial]) -> String {
    if trials.is_empty() {
        return "no release is being tried\n".to_owned();
    }
    let mut table = Table::new(&[
        "ENGINE",
        "RELEASE",
        "STATE",
        "SERVED",
        "JUDGED",
        "MISSED",
        "UNCOMPARED",
        "DIFFER",
    ]);
    for trial in trials {
        let differ = differ(trial);
        table.row([
            cell(trial.engine.as_str()).style(STRONG),
            cell(&releases(trial)),
            cell(trial.state.name()),
            cell(&served(trial)),
            figure(&number(trial.judged)),
            figure(&number(trial.missed)).style(if trial.missed > 0 { WARN } else { PLAIN }),
            figure(&number(trial.uncompared)),
            figure(&number(differ)).style(if differ > 0 { WARN } else { PLAIN }),
        ]);
    }
    let mut out = String::new();
    table.write(&mut out);
    for trial in trials {
        if let Some(what) = &trial.waits_for {
            out += &format!("  {} waits: {}\n", trial.engine, crate::text::visible(what));
        }
    }
    for trial in trials.iter().filter(|trial| differ(trial) > 0) {
        out += &format!("\nWhere {} differs in shadow\n", trial.engine);
        out += &differences(trial);
    }
    out
}

/// Where the verdicts of `trial` differ, by event and rule; nothing if nowhere.
pub(crate) fn differences(trial: &Trial) -> String {
    if trial.differences.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new(&["EVENT", "DECIDES", "SHADOW", "COUNT", "OBJECTS", "RULE", "FIRST OBJECT", ""]);
    for one in &trial.differences {
        table.row([
            cell(&one.event),
            cell(word(one.active)),
            cell(word(one.shadow)).style(if one.shadow == Verdict::Deny { WRONG } else { WARN }),
            figure(&number(one.count)),
            figure(&number(one.objects)),
            cell(&short(if one.rule.is_empty() { "names none" } else { &one.rule })),
            cell(&short(one.path.as_deref().unwrap_or("–"))),
            cell(if one.guarded { "the machine needs it" } else { "" }).style(WRONG),
        ]);
    }
    let mut out = String::new();
    table.write(&mut out);
    if trial.more > 0 {
        out += &crate::text::styled(FAINT, format_args!("  and {} more\n", number(trial.more)));
    }
    out
}

/// How `trial` goes, on one line.
pub(crate) fn brief(trial: &Trial) -> String {
    let Trial { engine, state, judged, missed, .. } = trial;
    let mut out = format!("{engine} {} in {state}, {}", releases(trial), served(trial));
    if *state == State::Shadow {
        out += &format!(": {} judged, {} differ", number(*judged), number(differ(trial)));
    } else {
        out += &format!(": {} judged", number(*judged));
    }
    if *missed > 0 {
        out += &format!(", {} missed", number(*missed));
    }
    if let Some(what) = &trial.waits_for {
        out += &format!("; waits: {what}");
    }
    out
}

fn releases(trial: &Trial) -> String {
    let releases = trial.releases.iter().map(|one| format!("{} {}", one.part, one.version));
    releases.collect::<Vec<_>>().join(", ")
}

fn served(trial: &Trial) -> String {
    format!("{} of {} s", trial.served_ms / 1000, trial.length_ms.div_ceil(1000))
}

/// Questions on which the two differ.
fn differ(trial: &Trial) -> u64 {
    let listed = trial.differences.iter().fold(0, |sum: u64, one| sum.saturating_add(one.count));
    listed.saturating_add(trial.more)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Abstain => "abstain",
    }
}

/// `text`, or its end: of a path that says most.
fn short(text: &str) -> String {
    match text.char_indices().nth_back(SHOWN_MAX - 1) {
        Some((at, _)) if at > 0 => format!("…{}", &text[at..]),
        _ => text.to_owned(),
    }
}
