//! `outrigger policy check`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use outrigger_api::coverage::EventCoverage;
use outrigger_api::{Event, Mode};
use outrigger_decision::rules::Effect;
use serde::Serialize;

use super::{Set, refuse};
use crate::run::Outcome;
use crate::table::{Table, cell, figure};
use crate::text::{self, FAINT, STRONG, WARN, counted, styled};

/// What a set of policies is about.
#[derive(Debug, Serialize)]
struct Summary {
    policies: usize,
    rules: usize,
    clauses: usize,
    image_bytes: usize,
    marks: Vec<String>,
    /// Whether this kernel was tried, which takes root.
    tried: bool,
    events: Vec<Row>,
}

/// Rules about one event.
#[derive(Debug, Serialize)]
struct Row {
    event: &'static str,
    deny: usize,
    would_deny: usize,
    allow: usize,
    mark: usize,
    /// Why no rule decides it on this kernel, where that was tried.
    not_ruled: Option<String>,
}

pub(super) fn run(paths: &[PathBuf], json: bool, out: &mut impl Write) -> Result<Outcome> {
    let set = match Set::load(paths)? {
        Ok(set) => set,
        Err(errors) => return refuse(&errors, json, out),
    };
    let is_root = rustix::process::geteuid().is_root();
    let coverage = if is_root { outrigger_sensor::coverage::probe() } else { Vec::new() };
    let summary = summary(&set, is_root.then_some(&coverage));
    if json {
        writeln!(out, "{}", text::visible_json(&serde_json::to_string(&summary)?))?;
    } else {
        out.write_all(page(&summary).as_bytes())?;
    }
    Ok(Outcome::Good)
}

fn summary(set: &Set, coverage: Option<&Vec<EventCoverage>>) -> Summary {
    let mut places: Vec<_> =
        set.places.iter().map(|place| (&place.file, place.line, place.column)).collect();
    places.dedup();
    let row = |event: &Event| {
        let about = set.rules.iter().filter(|rule| rule.events.contains(event));
        let count = |is: &dyn Fn(&Effect, Mode) -> bool| {
            about.clone().filter(|rule| is(&rule.effect, rule.mode)).count()
        };
        let found = coverage.and_then(|all| all.iter().find(|one| one.event == event.name()));
        let not_ruled = found.filter(|one| one.ruled_by.is_none()).map(|one| {
            one.not_ruled
                .clone()
                .unwrap_or_else(|| "no sensor here lets rules decide it".to_owned())
        });
        Row {
            event: event.name(),
            deny: count(&|effect, mode| *effect == Effect::Deny && mode == Mode::Enforce),
            would_deny: count(&|effect, mode| *effect == Effect::Deny && mode == Mode::Monitor),
            allow: count(&|effect, _| *effect == Effect::Allow),
            mark: count(&|effect, _| matches!(effect, Effect::Mark(_))),
            not_ruled,
        }
    };
    let about = |row: &Row| row.deny + row.would_deny + row.allow + row.mark > 0;
    Summary {
        policies: places.len(),
        rules: set.rules.len(),
        clauses: set.compiled.image.clauses(),
        image_bytes: set.compiled.image.bytes().len(),
        marks: set.compiled.marks.names(u64::MAX).map(str::to_owned).collect(),
        tried: coverage.is_some(),
        events: Event::ALL.iter().map(row).filter(about).collect(),
    }
}

fn page(summary: &Summary) -> String {
    let count = |count: usize, thing: &str| counted(count as u64, thing);
    let Summary { policies, rules, clauses, image_bytes, .. } = summary;
    let policies =
        if *policies == 1 { "1 policy".to_owned() } else { format!("{policies} policies") };
    let rules = count(*rules, "rule");
    let (clauses, size) = (count(*clauses, "clause"), text::size(*image_bytes as u64));
    let mut out = styled(STRONG, format!("{policies}, {rules}, {clauses}, {size}")) + "\n";
    if !summary.marks.is_empty() {
        out += &format!("  marks: {}\n", text::visible(&summary.marks.join(", ")));
    }
    let mut table = Table::new(&["EVENT", "DENY", "WOULD DENY", "ALLOW", "MARK", "HERE"]);
    for row in &summary.events {
        let figures = [row.deny, row.would_deny, row.allow, row.mark];
        let [deny, would_deny, allow, mark] = figures
            .map(|count| figure(&if count == 0 { String::new() } else { count.to_string() }));
        let here = match (&row.not_ruled, summary.tried) {
            (Some(why), _) => cell(&format!("not decided: {why}")).style(WARN),
            (None, true) => cell("decided"),
            (None, false) => cell(""),
        };
        table.row([cell(row.event), deny, would_deny, allow, mark, here]);
    }
    table.write(&mut out);
    if !summary.tried {
        let hint = "  what this kernel lets rules decide was not tried: that takes root";
        out += &(styled(FAINT, hint) + "\n");
    }
    out
}
