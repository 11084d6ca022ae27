//! `outrigger engines`: each engine in full.

use outrigger_api::control::EngineStatus;

use super::{by_name, state};
use crate::table::{Table, cell};
use crate::text::{FAINT, STRONG, WARN, counted, number, span, styled, visible, visible_lines};

/// The whole page.
pub(crate) fn whole(engines: &[EngineStatus]) -> String {
    if engines.is_empty() {
        return "no engine is configured\n".into();
    }
    engines.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn block(engine: &EngineStatus) -> String {
    let (name, style) = state(engine.state);
    let mut out = format!(
        "{}  {}  {}\n",
        styled(STRONG, &engine.name),
        styled(style, name),
        styled(FAINT, visible(&format!("{} by {}", engine.version, engine.vendor))),
    );
    let mut table = Table::new(&["", ""]);
    let mut row = |name: &str, text: &str, style| {
        table.row([cell(name).style(FAINT), cell(text).style(style)]);
    };
    let plain = crate::text::PLAIN;
    let role = if engine.required { "required for" } else { "asked about" };
    if !engine.events.is_empty() {
        row(role, &engine.events.join(", "), plain);
    }
    if !engine.told.is_empty() {
        row("told of", &engine.told.join(", "), plain);
    }
    for degraded in &engine.degraded {
        row("degraded", &visible_lines(degraded), WARN);
    }
    row("process", &engine.pid.map_or_else(|| "none".into(), |pid| format!("pid {pid}")), plain);
    row("content", engine.content.as_deref().unwrap_or("says nothing of it"), plain);
    row("votes", &votes(engine), plain);
    if engine.rule_denials > 0 || engine.rule_conflicts > 0 {
        let (denied, spared) = (number(engine.rule_denials), number(engine.rule_conflicts));
        let said = format!("its rules denied {denied}; {spared} were what the machine needs");
        row("rules", &said, if engine.rule_conflicts > 0 { WARN } else { plain });
    }
    if let Some((p50, p99)) = engine.latency_ns {
        row("latency", &format!("p50 {}, p99 {}", span(p50), span(p99)), plain);
    }
    let (left, all) = engine.restarts_left;
    let lives = format!("{}, {left} of {all} restarts left", counted(engine.starts, "start"));
    row("lives", &lives, if left == 0 && all > 0 { WARN } else { plain });
    row("sandbox", &sandbox(engine), if engine.sandbox_missing.is_empty() { plain } else { WARN });
    if engine.poisoned_objects > 0 {
        let objects = counted(engine.poisoned_objects, "object");
        row("not asked about", &format!("{objects} that it crashed or hung on twice"), WARN);
    }
    let faults = by_name(&engine.faults);
    if !faults.is_empty() {
        row("faults", &faults, WARN);
    }
    if let Some(fault) = &engine.last_fault {
        row("last fault", &visible_lines(fault).replace('\n', "; "), WARN);
    }
    table.write(&mut out);
    out
}

fn votes(engine: &EngineStatus) -> String {
    format!(
        "{} asked: {} allow, {} deny, {} abstain, {} missed",
        number(engine.asked),
        number(engine.allows),
        number(engine.denies),
        number(engine.abstains),
        number(engine.misses)
    )
}

fn sandbox(engine: &EngineStatus) -> String {
    let calls = counted(engine.refused_calls, "call");
    if engine.sandbox_missing.is_empty() {
        format!("fully enforced, {calls} refused")
    } else {
        format!("NOT enforced: {}; {calls} refused", engine.sandbox_missing.join(", "))
    }
}
