//! `outrigger status`: the state of the whole on one screen.

use anstyle::Style;
use outrigger_api::Mode;
use outrigger_api::control::{
    Counters, Descriptors, EngineStatus, PlaneStatus, PolicyStatus, Recording, Status,
};

use super::{by_name, level, levels, point, shown, shrunk, state, title, volumes};
use crate::table::{Table, cell, figure};
use crate::text::{
    FAINT, GOOD, STRONG, WARN, WRONG, counted, number, size, span, styled, uptime, visible,
};

/// The whole page; with the coverage of `every` event, or of those that engines can be asked about.
pub(crate) fn whole(status: &Status, every: bool) -> String {
    let mut out = headline(status);
    for problem in &status.problems {
        point(&mut out, WRONG, problem);
    }
    processes(&mut out, status);
    coverage(&mut out, status, every);
    levels(&mut out, &status.coverage, every, "status");
    shrunk(&mut out, &status.coverage, every, "status");
    volumes(&mut out, &status.coverage);
    if let Some(rules) = &status.policy {
        policy(&mut out, rules, status.plane.as_ref());
    }
    engines(&mut out, &status.engines);
    counters(&mut out, &status.counters);
    descriptors(&mut out, &status.descriptors);
    if let Some(kept) = &status.recording {
        recording(&mut out, kept);
    }
    out
}

fn headline(status: &Status) -> String {
    let health = if status.healthy && status.problems.is_empty() {
        styled(GOOD, "healthy")
    } else {
        styled(WRONG, "DEGRADED")
    };
    let mode = match status.mode {
        Mode::Enforce => styled(STRONG, "enforcing"),
        Mode::Monitor => styled(WARN, "monitoring only, nothing is denied"),
    };
    let version = visible(&status.version);
    format!("{health}  outriggerd {version}, up {}, {mode}\n", uptime(status.uptime_s))
}

fn processes(out: &mut String, status: &Status) {
    title(out, "Processes");
    let mut table = Table::new(&["", "PID", ""]);
    let starts = |starts: u64| cell(&counted(starts, "start")).style(FAINT);
    let pid = |pid: u32| figure(&pid.to_string());
    table.row([cell("keeper"), pid(status.pids.keeper), cell("")]);
    table.row([cell("gate"), pid(status.pids.gate), starts(status.gate_starts)]);
    table.row([cell("host"), pid(status.pids.host), starts(status.host_starts)]);
    table.write(out);
}

fn coverage(out: &mut String, status: &Status, every: bool) {
    title(out, &format!("Coverage on Linux {}", visible(&status.coverage.kernel)));
    let mut table = Table::new(&["EVENT", "LEVEL", "SENSOR", "GAPS", ""]);
    for event in shown(&status.coverage, every) {
        let (name, style) = level(event.level);
        let gaps = event.gaps.iter().map(|gap| gap.name.as_str()).collect::<Vec<_>>().join(", ");
        table.row([
            cell(&event.event),
            cell(name).style(style),
            cell(&event.sensor),
            cell(&gaps).style(FAINT),
            cell(event.reason.as_deref().unwrap_or_default()).style(WARN),
        ]);
    }
    table.write(out);
}

fn policy(out: &mut String, policy: &PolicyStatus, plane: Option<&PlaneStatus>) {
    title(out, "Rules");
    if let Some(problem) = &policy.problem {
        point(out, WRONG, &format!("what lies in the folder is not in force: {problem}"));
    }
    let mut table = Table::new(&["", "", ""]);
    let mut row = |name: &str, count: u64, detail: &str, style| {
        count_row(&mut table, name, count, detail, style);
    };
    let set =
        format!("set {}, from {}", policy.generation, counted(policy.files.len() as u64, "file"));
    row("in force", policy.rules, &set, crate::text::PLAIN);
    row("monitored", policy.monitored, "what they deny goes through and is told", WARN);
    match plane {
        Some(plane) => {
            row("events decided", plane.ruled.len() as u64, "in the kernel", crate::text::PLAIN);
            row("events told", plane.told.len() as u64, "by the same programs", crate::text::PLAIN);
            row("lost", plane.lost, "notices that found no room", WARN);
        }
        None => row("events decided", 0, "in the kernel: rules hold for questions alone", WARN),
    }
    table.write(out);
}

fn engines(out: &mut String, engines: &[EngineStatus]) {
    title(out, "Engines");
    if engines.is_empty() {
        out.push_str("  none is configured: every question ends by rules and fallback\n");
        return;
    }
    let mut table = Table::new(&[
        "NAME",
        "STATE",
        "REQUIRED",
        "ASKED",
        "DENIED",
        "MISSED",
        "P50",
        "P99",
        "RESTARTS LEFT",
        "CONTENT",
    ]);
    for engine in engines {
        let (name, style) = state(engine.state);
        let (left, all) = engine.restarts_left;
        let latency = |pick: fn((u64, u64)) -> u64| {
            figure(&engine.latency_ns.map_or_else(|| "–".into(), |pair| span(pick(pair))))
        };
        table.row([
            cell(engine.name.as_str()),
            cell(name).style(style),
            cell(if engine.required { "yes" } else { "no" }),
            figure(&number(engine.asked)),
            figure(&number(engine.denies)),
            figure(&number(engine.misses)),
            latency(|(p50, _)| p50),
            latency(|(_, p99)| p99),
            figure(&format!("{left} of {all}")),
            cell(engine.content.as_deref().unwrap_or("–")),
        ]);
    }
    table.write(out);
}

/// A row with a count, faint where there is nothing to count.
fn count_row(table: &mut Table, name: &str, count: u64, detail: &str, style: Style) {
    let style = if count == 0 { FAINT } else { style };
    table.row([
        cell(name).style(style),
        figure(&number(count)).style(style),
        cell(detail).style(FAINT),
    ]);
}

fn counters(out: &mut String, counters: &Counters) {
    title(out, "Since the keeper started");
    let mut table = Table::new(&["", "", ""]);
    let mut row = |name: &str, count: u64, detail: &str, style| {
        count_row(&mut table, name, count, detail, style);
    };
    let sum = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    };
    let plain = crate::text::PLAIN;
    row("asked", sum(&counters.asked), &by_name(&counters.asked), plain);
    row("allowed", counters.allowed, "", plain);
    row("denied", counters.denied, "", STRONG);
    row("would deny", counters.would_deny, "not enforced in Monitor mode", WARN);
    row("conflicts", counters.conflicts, "not enforced by a guard rail", WARN);
    row("fallbacks", sum(&counters.fallbacks), &by_name(&counters.fallbacks), WARN);
    row("faults", sum(&counters.faults), &by_name(&counters.faults), WARN);
    let dropped = format!(
        "{} dropped for a writer, {} to make room",
        number(counters.lease_breaks),
        number(counters.evicted)
    );
    row("cached", counters.cached, &dropped, plain);
    row("empty", counters.empty, "empty files, allowed before and not asked about", plain);
    table.write(out);
}

fn descriptors(out: &mut String, descriptors: &Descriptors) {
    title(out, "Descriptors");
    let mut table = Table::new(&["", "NOW", "MOST", ""]);
    let mut row = |name, now: u32, most: Option<u32>, detail: &str| {
        table.row([
            cell(name),
            figure(&number(now.into())),
            figure(&most.map(|most| number(most.into())).unwrap_or_default()),
            cell(detail).style(FAINT),
        ]);
    };
    let (in_flight, leases) = (descriptors.in_flight_max, descriptors.leases_max);
    row("in flight", descriptors.in_flight, Some(in_flight), "questions being decided");
    row("leases", descriptors.leases, Some(leases), "files whose verdict is cached");
    let aside = format!("kept aside, of {} in all", number(descriptors.limit.into()));
    row("fixed", descriptors.fixed, None, &aside);
    table.write(out);
}

fn recording(out: &mut String, kept: &Recording) {
    title(out, "Recorded questions");
    let mut table = Table::new(&["", "", ""]);
    let mut row = |name: &str, count: u64, detail: &str, style| {
        count_row(&mut table, name, count, detail, style);
    };
    let plain = crate::text::PLAIN;
    let content = format!("content: {}", kept.content);
    row("kept", kept.kept, &content, plain);
    row("repeated", kept.repeated, "kept before, word for word", plain);
    row("lost", kept.lost, "came faster than they could be kept", WARN);
    row("unread", kept.unread, "kept without content: too many waited to be read", WARN);
    row("unwritten", kept.unwritten, kept.trouble.as_deref().unwrap_or_default(), WARN);
    let bytes = format!("{} of at most {}", size(kept.bytes), size(kept.bytes_max));
    row("files", kept.files, &bytes, plain);
    table.write(out);
}
