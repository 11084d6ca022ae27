//! `outrigger doctor`: what this kernel gives, what passes unseen, and what to do about it.

use std::fmt::Write;

use outrigger_api::coverage::{Coverage, EventCoverage, Gap, Level};

use super::{level, levels, point, shown, shrunk, volumes};
use crate::text::{FAINT, GOOD, STRONG, WARN, WRONG, styled, visible, visible_lines};

/// The whole page; of `every` event, or of those that engines can be asked about.
pub(crate) fn whole(coverage: &Coverage, every: bool) -> String {
    let mut out = headline(coverage);
    for event in shown(coverage, every) {
        out.push('\n');
        block(&mut out, event);
    }
    levels(&mut out, coverage, every, "doctor");
    shrunk(&mut out, coverage, every, "doctor");
    volumes(&mut out, coverage);
    out
}

fn headline(coverage: &Coverage) -> String {
    let can_be_asked = coverage.events.iter().filter(|event| event.can_be_asked()).count();
    let asked = coverage.events.iter().filter(|event| event.level == Level::Ask).count();
    let covered = coverage.volumes.iter().filter(|volume| volume.covered).count();
    let (word, volumes) = match coverage.volumes.len() {
        0 => (styled(WRONG, "UNPROTECTED"), "no volume is protected".into()),
        all if coverage.is_whole() => (styled(GOOD, "whole"), format!("all {all} volumes covered")),
        all => (styled(WRONG, "INCOMPLETE"), format!("{covered} of {all} volumes covered")),
    };
    format!(
        "{word}  Linux {}: {asked} of {} events asked, {volumes}\n",
        visible(&coverage.kernel),
        can_be_asked,
    )
}

fn block(out: &mut String, event: &EventCoverage) {
    let (word, style) = level(event.level);
    let meaning = match event.level {
        Level::Ask => "engines are asked and the answer is enforced",
        Level::Rule => "rules in the kernel decide, no engine is asked",
        Level::Notify => "it is seen, not decided",
        Level::Missing => "it is not seen",
    };
    writeln!(
        out,
        "{}  {}  by {}: {meaning}",
        styled(STRONG, visible(&event.event)),
        styled(style, word),
        visible(&event.sensor),
    )
    .expect("a String takes all");
    if let Some(reason) = &event.reason {
        point(out, WARN, &format!("not more, because {reason}"));
    }
    if event.can_be_asked() {
        match (&event.told_by, &event.not_told) {
            (Some(sensor), _) => {
                point(out, FAINT, &format!("engines can be told of it as well, by {sensor}"));
            }
            (None, Some(why)) => point(out, WARN, &format!("engines are not told of it: {why}")),
            (None, None) => {}
        }
        match (&event.ruled_by, &event.not_ruled) {
            (Some(sensor), _) => {
                point(out, FAINT, &format!("rules decide it as well, by {sensor}"))
            }
            (None, Some(why)) => point(out, WARN, &format!("rules do not decide it: {why}")),
            (None, None) => {}
        }
    }
    for gap in &event.gaps {
        unseen(out, gap);
    }
}

fn unseen(out: &mut String, gap: &Gap) {
    let name = styled(WARN, visible(&gap.name));
    writeln!(out, "  • {name}: {}", visible_lines(&gap.why).replace('\n', "\n    "))
        .expect("a String takes all");
    let todo = gap.remedy.as_deref().unwrap_or("nothing that an operator can do about it");
    writeln!(out, "    {}", styled(FAINT, format_args!("→ {}", visible(todo))))
        .expect("a String takes all");
}
