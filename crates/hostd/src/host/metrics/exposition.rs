//! The ledger in the text format of Prometheus, version 0.0.4.
//!
//! Times are seconds, sizes bytes. A name that ends in `_total` only grows as long as its process lives;
//! what counts since the keeper started and what since the host did is said in each help line.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use outrigger_api::control::{EngineState, PlaneCounts, PlaneStatus};
use outrigger_api::ledger::{Cost, EngineLedger, Ledger, Waits};

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// The page.
pub(crate) fn page(ledger: &Ledger) -> String {
    let mut page = Page::default();
    engines(&mut page, &ledger.engines);
    by_event(&mut page, &ledger.engines);
    notices(&mut page, &ledger.engines);
    waits(&mut page, &ledger.engines);
    whole(&mut page, ledger);
    rules(&mut page, ledger);
    page.text
}

fn engines(page: &mut Page, engines: &[EngineLedger]) {
    page.family("outrigger_engine_docked", GAUGE, "Whether the engine takes questions.");
    for engine in engines {
        page.sample(&[engine.label()], u8::from(engine.state == EngineState::Docked));
    }
    page.family(
        "outrigger_engine_cpu_seconds_total",
        COUNTER,
        "Processor time of all the engine's processes since the host started.",
    );
    for engine in engines {
        if let Some(nanos) = engine.cpu_ns {
            page.sample(&[engine.label()], seconds(nanos));
        }
    }
    page.family("outrigger_engine_memory_bytes", GAUGE, "Memory charged to the engine now.");
    for engine in engines {
        if let Some(bytes) = engine.memory_bytes {
            page.sample(&[engine.label()], bytes);
        }
    }
    page.family(
        "outrigger_engine_restarts_total",
        COUNTER,
        "Starts of the engine's process after the first since the host started.",
    );
    for engine in engines {
        page.sample(&[engine.label()], engine.restarts);
    }
    page.family(
        "outrigger_engine_woken_total",
        COUNTER,
        "Times that the engine slept and was woken for what was put into its ring, since the host started.",
    );
    for engine in engines {
        page.sample(&[engine.label()], engine.woken);
    }
    page.family(
        "outrigger_engine_refused_calls_total",
        COUNTER,
        "System calls that the engine's sandbox refused since the host started.",
    );
    for engine in engines {
        page.sample(&[engine.label()], engine.refused_calls);
    }
    page.family(
        "outrigger_engine_faults_total",
        COUNTER,
        "Faults of the engine by reason since the host started.",
    );
    for engine in engines {
        for (reason, count) in &engine.faults {
            page.sample(&[engine.label(), ("reason", reason)], *count);
        }
    }
}

/// Takes one count out of the books.
type Count = fn(&Cost) -> u64;

fn by_event(page: &mut Page, engines: &[EngineLedger]) {
    const OUTCOMES: &[(&str, Count)] = &[
        ("allow", |cost| cost.allows),
        ("deny", |cost| cost.denies),
        ("abstain", |cost| cost.abstains),
        ("miss", |cost| cost.misses),
        ("excused", |cost| cost.excused),
        ("lost", |cost| cost.lost),
        ("moot", |cost| cost.moot),
    ];
    const UNASKED: &[(&str, Count)] =
        &[("dropped", |cost| cost.dropped), ("absent", |cost| cost.absent)];
    page.family(
        "outrigger_engine_events_total",
        COUNTER,
        "Questions put to the engine since the host started.",
    );
    for (engine, event, cost) in costs(engines) {
        page.sample(&[engine, event], cost.asked);
    }
    page.family(
        "outrigger_engine_outcomes_total",
        COUNTER,
        "What became of the questions that were put to the engine.",
    );
    for (engine, event, cost) in costs(engines) {
        for (outcome, count) in OUTCOMES {
            page.sample(&[engine, event, ("outcome", outcome)], count(cost));
        }
    }
    page.family(
        "outrigger_engine_unasked_total",
        COUNTER,
        "Questions that could not be put to the engine: its ring was full, or it was not there.",
    );
    for (engine, event, cost) in costs(engines) {
        for (reason, count) in UNASKED {
            page.sample(&[engine, event, ("reason", reason)], count(cost));
        }
    }
}

/// What engines are told without being asked.
fn notices(page: &mut Page, engines: &[EngineLedger]) {
    page.family(
        "outrigger_engine_told_total",
        COUNTER,
        "Notices put into the engine's ring since the host started.",
    );
    for (engine, event, cost) in costs(engines) {
        page.sample(&[engine, event], cost.told);
    }
    page.family(
        "outrigger_engine_untold_total",
        COUNTER,
        "Notices that the engine was not told, at least; each was told as a gap. Event several: not known which.",
    );
    for (engine, event, cost) in costs(engines) {
        for (cause, count) in &cost.untold {
            page.sample(&[engine, event, ("cause", cause)], *count);
        }
    }
    for engine in engines {
        for (cause, count) in &engine.whole.untold {
            let of_events = engine.events.values().filter_map(|cost| cost.untold.get(cause));
            let rest = count.saturating_sub(of_events.sum());
            if rest > 0 {
                page.sample(&[engine.label(), ("event", "several"), ("cause", cause)], rest);
            }
        }
    }
}

/// Takes one kind of waits out of the books.
type Kind = fn(&Cost) -> &Waits;

fn waits(page: &mut Page, engines: &[EngineLedger]) {
    const KINDS: &[(&str, &str, &str, Kind)] = &[
        (
            "outrigger_engine_added_wait_seconds",
            "outrigger_engine_added_wait_recent_seconds",
            "How long openers waited for this engine alone",
            |cost| &cost.added,
        ),
        (
            "outrigger_engine_answer_seconds",
            "outrigger_engine_answer_recent_seconds",
            "Time from the question to the engine's vote",
            |cost| &cost.answered,
        ),
    ];
    for (name, recent, help, kind) in KINDS {
        page.family(name, HISTOGRAM, &format!("{help}, since the host started."));
        for (engine, event, cost) in costs(engines) {
            page.histogram(&[engine, event], kind(cost));
        }
        page.family(recent, GAUGE, &format!("{help}, percentiles of the last 10 to 20 s."));
        for (engine, event, cost) in costs(engines) {
            let times = kind(cost).recent;
            // The label `quantile` is kept for summaries, which are of a whole life.
            if times.count > 0 {
                page.sample(&[engine, event, ("percentile", "50")], seconds(times.p50_ns));
                page.sample(&[engine, event, ("percentile", "99")], seconds(times.p99_ns));
            }
        }
    }
}

fn whole(page: &mut Page, ledger: &Ledger) {
    let counters = &ledger.counters;
    page.family("outrigger_build_info", GAUGE, "Version of the host.");
    page.sample(&[("version", &ledger.version)], 1);
    page.family("outrigger_host_uptime_seconds", GAUGE, "Since this host process started.");
    page.sample(&[], seconds(ledger.uptime_ms.saturating_mul(1_000_000)));
    let mut counted = |name: &str, help: &str, label: &str, counts: &BTreeMap<String, u64>| {
        page.family(name, COUNTER, help);
        for (value, count) in counts {
            page.sample(&[(label, value)], *count);
        }
    };
    counted(
        "outrigger_questions_total",
        "Questions read, since the keeper started.",
        "event",
        &counters.asked,
    );
    counted(
        "outrigger_fallbacks_total",
        "Questions that the policy's fallback answered, since the keeper started.",
        "reason",
        &counters.fallbacks,
    );
    counted(
        "outrigger_faults_total",
        "Faults that no question waited for, since the keeper started.",
        "reason",
        &counters.faults,
    );
    let single = [
        (
            "outrigger_allowed_total",
            COUNTER,
            "Answers Allow, since the keeper started.",
            counters.allowed,
        ),
        (
            "outrigger_denied_total",
            COUNTER,
            "Answers Deny, since the keeper started.",
            counters.denied,
        ),
        (
            "outrigger_would_deny_total",
            COUNTER,
            "Denials that Monitor mode let through, since the keeper started.",
            counters.would_deny,
        ),
        (
            "outrigger_conflicts_total",
            COUNTER,
            "Denials that a guard rail let through, since the keeper started.",
            counters.conflicts,
        ),
        (
            "outrigger_questions_open",
            GAUGE,
            "Questions being decided now.",
            ledger.descriptors.in_flight.into(),
        ),
        (
            "outrigger_cache_files",
            GAUGE,
            "Files whose verdict is cached now.",
            ledger.descriptors.leases.into(),
        ),
        (
            "outrigger_cache_files_max",
            GAUGE,
            "Most files that may be cached.",
            ledger.descriptors.leases_max.into(),
        ),
        (
            "outrigger_cache_insertions_total",
            COUNTER,
            "Verdicts put into the cache, since the keeper started. How many opens it answers cannot be seen.",
            counters.cached,
        ),
        (
            "outrigger_cache_evictions_total",
            COUNTER,
            "Cached verdicts dropped to make room, since the keeper started.",
            counters.evicted,
        ),
        (
            "outrigger_cache_lease_breaks_total",
            COUNTER,
            "Cached verdicts dropped for a writer, since the keeper started.",
            counters.lease_breaks,
        ),
        (
            "outrigger_empty_files_total",
            COUNTER,
            "Opens of empty files allowed without asking, since every engine had allowed empty content before, since the keeper started.",
            counters.empty,
        ),
    ];
    for (name, kind, help, value) in single {
        page.family(name, kind, help);
        page.sample(&[], value);
    }
}

/// Rules, the programs in the kernel that decide by them, and what these see no more.
fn rules(page: &mut Page, ledger: &Ledger) {
    if let Some(policy) = &ledger.policy {
        page.family(
            "outrigger_rules",
            GAUGE,
            "Rules in force, those of engines' filters left out.",
        );
        page.sample(&[], policy.rules);
        page.family("outrigger_rules_generation", GAUGE, "Number of the set of rules in force.");
        page.sample(&[], policy.generation);
        page.family("outrigger_rules_refused", GAUGE, "Whether the folder holds what is refused.");
        page.sample(&[], u8::from(policy.problem.is_some()));
        page.family(
            "outrigger_rules_decisions_total",
            COUNTER,
            "What rules made of questions, and in the kernel, since this host process started.",
        );
        let outcomes =
            [("deny", policy.denied), ("allow", policy.allowed), ("would-deny", policy.would_deny)];
        for (outcome, count) in outcomes {
            page.sample(&[("outcome", outcome)], count);
        }
    }
    page.family("outrigger_plane", GAUGE, "Whether programs in the kernel remember processes.");
    page.sample(&[], u8::from(ledger.plane.is_some()));
    if let Some(plane) = &ledger.plane {
        in_kernel(page, plane);
    }
    page.family("outrigger_coverage_shrunk", GAUGE, "Of the event there was more before: 1.");
    for shrunk in &ledger.shrunk {
        let levels = [("was", shrunk.was.name()), ("is", shrunk.is.name())];
        page.sample(&[("event", &shrunk.event), levels[0], levels[1]], 1);
    }
}

fn in_kernel(page: &mut Page, plane: &PlaneStatus) {
    page.family(
        "outrigger_plane_attached",
        GAUGE,
        "Events for which programs in the kernel are attached, for engines (told) or for rules (ruled).",
    );
    page.sample(&[("use", "told")], plane.told.len());
    page.sample(&[("use", "ruled")], plane.ruled.len());
    page.family(
        "outrigger_plane_generation",
        GAUGE,
        "Number of the set of rules that these programs decide by; 0 while they have none.",
    );
    page.sample(&[], plane.generation);
    page.family(
        "outrigger_plane_notices_total",
        COUNTER,
        "Notices of these programs by what a rule made of the event, since this host process started.",
    );
    for (event, counts) in &plane.events {
        let PlaneCounts { notices, denied, would_deny, allowed, .. } = *counts;
        let by_rule = denied.saturating_add(would_deny).saturating_add(allowed);
        let outcomes = [
            ("none", notices.saturating_sub(by_rule)),
            ("deny", denied),
            ("would-deny", would_deny),
            ("allow", allowed),
        ];
        for (outcome, count) in outcomes {
            page.sample(&[("event", event), ("outcome", outcome)], count);
        }
    }
    page.family(
        "outrigger_plane_lost_total",
        COUNTER,
        "Notices that found no room on their way out of the kernel, since this host process started.",
    );
    page.sample(&[], plane.lost);
    page.family(
        "outrigger_plane_event_lost_total",
        COUNTER,
        "The same by event, as far as it is known of which.",
    );
    for (event, counts) in &plane.events {
        page.sample(&[("event", event)], counts.lost);
    }
}

/// Every engine's every event, with their labels.
fn costs(engines: &[EngineLedger]) -> impl Iterator<Item = (Label<'_>, Label<'_>, &Cost)> {
    engines.iter().flat_map(|engine| {
        let event = |(event, cost)| {
            let event: &String = event;
            (engine.label(), ("event", event.as_str()), cost)
        };
        engine.events.iter().map(event)
    })
}

trait Labelled {
    fn label(&self) -> Label<'_>;
}

impl Labelled for EngineLedger {
    fn label(&self) -> Label<'_> {
        ("engine", self.name.as_str())
    }
}

#[expect(clippy::cast_precision_loss, reason = "to a nanosecond for 52 days, then to a few")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND
}

/// A label's name and value.
type Label<'a> = (&'a str, &'a str);

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const HISTOGRAM: &str = "histogram";

/// The text, as far as it is written.
#[derive(Default)]
struct Page {
    text: String,
    name: String,
}

impl Page {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.named("", labels, value);
    }

    fn histogram(&mut self, labels: &[Label<'_>], waits: &Waits) {
        for (edge, count) in &waits.buckets {
            let edge = seconds(*edge).to_string();
            self.named("_bucket", &[labels, &[("le", edge.as_str())]].concat(), *count);
        }
        self.named("_bucket", &[labels, &[("le", "+Inf")]].concat(), waits.total.count);
        self.named("_sum", labels, seconds(waits.total.sum_ns));
        self.named("_count", labels, waits.total.count);
    }

    fn named(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let name = self.name.clone();
        match labels.as_slice() {
            [] => self.line(format_args!("{name}{suffix} {value}")),
            some => self.line(format_args!("{name}{suffix}{{{}}} {value}", some.join(","))),
        }
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").expect("a String takes all");
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
