//! What the host said, as text for a person. Each function returns whole lines.

pub(crate) mod decision;
pub(crate) mod doctor;
pub(crate) mod engines;
pub(crate) mod ledger;
pub(crate) mod status;
pub(crate) mod trials;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::Style;
use outrigger_api::control::EngineState;
use outrigger_api::coverage::{Coverage, EventCoverage, Level, VolumeCoverage};

use crate::table::{Table, cell, figure};
use crate::text::{self, FAINT, GOOD, STRONG, WARN, WRONG, styled, visible};

/// A section's title, after an empty line.
fn title(out: &mut String, name: &str) {
    out.push('\n');
    out.push_str(&styled(STRONG, name));
    out.push('\n');
}

/// One point of a list.
fn point(out: &mut String, style: Style, text: &str) {
    let bullet = styled(style, "•");
    out.push_str(&format!("  {bullet} {}\n", text::visible_lines(text).replace('\n', "\n    ")));
}

/// Counts by name, the largest first: `engine-slow 12, engine-crashed 1`.
fn by_name(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown = |(name, count): (&String, &u64)| format!("{name} {}", text::number(*count));
    visible(&counts.into_iter().map(shown).collect::<Vec<_>>().join(", ")).into_owned()
}

fn level(level: Level) -> (&'static str, Style) {
    match level {
        Level::Ask => ("ask", GOOD),
        Level::Rule => ("rule", WARN),
        Level::Notify => ("notify", WARN),
        Level::Missing => ("missing", WRONG),
    }
}

pub(crate) fn state(state: EngineState) -> (&'static str, Style) {
    match state {
        EngineState::Starting => ("starting", WARN),
        EngineState::Docked => ("docked", GOOD),
        EngineState::Restarting => ("restarting", WARN),
        EngineState::Quarantined => ("quarantined", WRONG),
        EngineState::Failed => ("failed", WRONG),
        EngineState::NotInstalled => ("not installed", WRONG),
        EngineState::Withheld => ("withheld", WRONG),
    }
}

/// What is shown of an event that engines can be asked about anyway, and of the others where `every` one is wanted.
fn shown(coverage: &Coverage, every: bool) -> impl Iterator<Item = &EventCoverage> {
    coverage.events.iter().filter(move |event| every || event.can_be_asked())
}

/// The events that [`shown`] leaves out, a line for each level, and why they are not more.
fn levels(out: &mut String, coverage: &Coverage, every: bool, command: &str) {
    let others: Vec<_> = coverage.events.iter().filter(|event| !event.can_be_asked()).collect();
    if every || others.is_empty() {
        return;
    }
    title(out, "Other events");
    let meaning = [
        (Level::Ask, "engines are asked"),
        (Level::Rule, "rules decide, nobody is asked"),
        (Level::Notify, "seen, not decided"),
        (Level::Missing, "not seen"),
    ];
    let mut table = Table::new(&["", "", ""]);
    for (strength, meaning) in meaning {
        let count = others.iter().filter(|event| event.level == strength).count();
        if count > 0 {
            let (name, style) = level(strength);
            let count = figure(&count.to_string());
            table.row([cell(name).style(style), count, cell(meaning).style(FAINT)]);
        }
    }
    table.write(out);
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for event in others {
        let reason = event.reason.as_deref().or(event.not_ruled.as_deref());
        *reasons.entry(reason.unwrap_or_default()).or_default() += 1;
    }
    let mut reasons: Vec<_> =
        reasons.into_iter().filter(|(reason, _)| !reason.is_empty()).collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (reason, count) in reasons.iter().take(REASONS_SHOWN) {
        point(out, WARN, &format!("{} not more, because {reason}", text::counted(*count, "event")));
    }
    let hint = format!("`outrigger {command} --events` shows each with its reason");
    writeln!(out, "  {}", styled(FAINT, hint)).expect("a String takes all");
}

/// The events of which there was more before, and what to do.
fn shrunk(out: &mut String, coverage: &Coverage, every: bool, command: &str) {
    let count = coverage.shrunk.len();
    if count == 0 {
        return;
    }
    title(out, "Less than before");
    let told = if every { count } else { count.min(REASONS_SHOWN) };
    for shrunk in &coverage.shrunk[..told] {
        point(out, WRONG, &shrunk.to_string());
    }
    if told < count {
        let more = text::counted((count - told) as u64, "more event");
        let hint = format!("{more}: `outrigger {command} --events` shows each");
        writeln!(out, "  {}", styled(FAINT, hint)).expect("a String takes all");
    }
    let hint = "→ if it is to stay so: outrigger coverage accept";
    writeln!(out, "  {}", styled(FAINT, hint)).expect("a String takes all");
}

/// Reasons that are told of events that are not shown one by one.
const REASONS_SHOWN: usize = 5;

/// The volumes under protected trees, a line each; nothing if there is none.
fn volumes(out: &mut String, coverage: &Coverage) {
    if coverage.volumes.is_empty() {
        return;
    }
    title(out, "Volumes");
    let mut table = Table::new(&["COVERED", "CACHED", "TYPE", "DEVICE", "PATH", ""]);
    for volume in &coverage.volumes {
        table.row([
            match volume {
                VolumeCoverage { covered: true, .. } => cell("yes").style(GOOD),
                VolumeCoverage { left_out: true, .. } => cell("left out").style(WARN),
                _ => cell("NO").style(WRONG),
            },
            if volume.cached { cell("yes").style(GOOD) } else { cell("no").style(FAINT) },
            cell(&volume.fs_type),
            cell(&volume.device),
            cell(&volume.path),
            cell(volume.reason.as_deref().unwrap_or_default()).style(FAINT),
        ]);
    }
    table.write(out);
}
