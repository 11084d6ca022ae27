//! The page is read back by the rules of the format, and says what the ledger says.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_api::control::{Counters, Descriptors, PolicyStatus};
use outrigger_api::coverage::{Level, Shrunk};
use outrigger_api::ledger::Times;

use super::*;

/// A page as a reader of the format understands it: kinds by family, values by name and labels.
#[derive(Debug, Default)]
struct Parsed {
    kinds: BTreeMap<String, String>,
    values: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Parsed {
    fn of(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut parsed = Self::default();
        let mut told = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a help");
                assert!(!help.is_empty() && told.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a kind");
                assert!(told.contains(name), "no help before: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert_eq!(parsed.kinds.insert(name.into(), kind.into()), None, "{line}");
            } else {
                parsed.sample(line);
            }
        }
        parsed
    }

    fn sample(&mut self, line: &str) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a value"));
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (BTreeMap::new(), rest),
        };
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| self.kinds.get(*family).is_some_and(|kind| kind == "histogram"))
            .unwrap_or(name);
        assert!(self.kinds.contains_key(family), "a sample without its family: {line}");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
        let value = value.strip_prefix(' ').expect("one space").parse().expect("a number");
        assert_eq!(self.values.insert((name.to_owned(), labels), value), None, "twice: {line}");
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.values.get(&(name.to_owned(), labels)).copied()
    }
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, rest) = text.split_once("=\"").expect("a label");
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().expect("the value ends") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect("an escaped character").1 {
                    'n' => value.push('\n'),
                    other @ ('\\' | '"') => value.push(other),
                    other => panic!("\\{other} is no escape"),
                },
                (_, other) => value.push(other),
            }
        };
        assert_eq!(labels.insert(name.to_owned(), value), None, "a label twice");
        let after = &rest[end + 1..];
        match after.strip_prefix(',') {
            Some(next) => text = next,
            None => return (labels, after.strip_prefix('}').expect("the labels end")),
        }
    }
}

fn ledger() -> Ledger {
    let waits = Waits {
        total: Times {
            count: 3,
            sum_ns: 4_500_000,
            max_ns: 4_000_000,
            p50_ns: 4096,
            p99_ns: 4_000_000,
        },
        recent: Times { count: 2, sum_ns: 9, max_ns: 8, p50_ns: 1, p99_ns: 8 },
        buckets: vec![(4096, 1), (8192, 2)],
    };
    let cost = Cost {
        asked: 7,
        allows: 1,
        denies: 1,
        abstains: 1,
        misses: 1,
        excused: 1,
        lost: 1,
        moot: 1,
        dropped: 5,
        absent: 6,
        told: 8,
        untold: [("engine-ring".to_owned(), 9)].into(),
        added: waits.clone(),
        answered: waits,
    };
    let engine = EngineLedger {
        name: "yara".parse().expect("a name"),
        state: EngineState::Docked,
        required: true,
        cpu_ns: Some(1_500_000_000),
        memory_bytes: None,
        restarts: 2,
        woken: 0,
        refused_calls: 3,
        faults: BTreeMap::from([("engine-slow".to_owned(), 4)]),
        whole: cost.clone(),
        events: BTreeMap::from([("file.open".to_owned(), cost)]),
    };
    Ledger {
        time_ms: 1,
        version: "0.1.0 \"quoted\\\"\n".to_owned(),
        uptime_ms: 60_000,
        recent_ms: 12_000,
        engines: vec![engine],
        counters: Counters {
            asked: BTreeMap::from([("file.open".to_owned(), 9)]),
            cached: 11,
            ..Counters::default()
        },
        descriptors: Descriptors { leases: 8, ..Descriptors::default() },
        policy: None,
        plane: None,
        shrunk: Vec::new(),
    }
}

#[test]
fn what_is_read_back_is_what_the_ledger_says() {
    let parsed = Parsed::of(&page(&ledger()));

    let labels = [("engine", "yara"), ("event", "file.open")];
    assert_eq!(parsed.value("outrigger_engine_events_total", &labels), Some(7.0));
    let outcomes = |outcome| {
        let labels = [labels[0], labels[1], ("outcome", outcome)];
        parsed.value("outrigger_engine_outcomes_total", &labels)
    };
    assert_eq!(outcomes("miss"), Some(1.0));
    let sum: f64 = ["allow", "deny", "abstain", "miss", "excused", "lost", "moot"]
        .into_iter()
        .filter_map(outcomes)
        .sum();
    assert_eq!(parsed.value("outrigger_engine_events_total", &labels), Some(sum));
    assert_eq!(
        parsed.value("outrigger_engine_cpu_seconds_total", &[("engine", "yara")]),
        Some(1.5)
    );
    assert_eq!(parsed.value("outrigger_engine_memory_bytes", &[("engine", "yara")]), None);
    assert_eq!(parsed.value("outrigger_cache_files", &[]), Some(8.0));
    assert_eq!(
        parsed.value("outrigger_build_info", &[("version", "0.1.0 \"quoted\\\"\n")]),
        Some(1.0)
    );
}

#[test]
fn a_histogram_is_cumulative_and_in_seconds() {
    let parsed = Parsed::of(&page(&ledger()));

    let up_to = |edge| {
        let labels = [("engine", "yara"), ("event", "file.open"), ("le", edge)];
        parsed.value("outrigger_engine_added_wait_seconds_bucket", &labels)
    };
    assert_eq!(up_to("0.000004096"), Some(1.0));
    assert_eq!(up_to("0.000008192"), Some(2.0));
    assert_eq!(up_to("+Inf"), Some(3.0));
    let labels = [("engine", "yara"), ("event", "file.open")];
    assert_eq!(parsed.value("outrigger_engine_added_wait_seconds_count", &labels), Some(3.0));
    assert_eq!(parsed.value("outrigger_engine_added_wait_seconds_sum", &labels), Some(0.0045));
}

#[test]
fn a_ledger_without_engines_is_a_page() {
    let mut ledger = ledger();
    ledger.engines.clear();

    let parsed = Parsed::of(&page(&ledger));

    assert_eq!(parsed.value("outrigger_questions_total", &[("event", "file.open")]), Some(9.0));
}

#[test]
fn what_the_kernels_programs_said_is_told_by_event_and_outcome() {
    let counts = PlaneCounts { notices: 9, denied: 4, would_deny: 1, allowed: 2, lost: 3 };
    let mut ledger = ledger();
    ledger.policy = Some(PolicyStatus { generation: 7, rules: 2, ..PolicyStatus::default() });
    ledger.plane = Some(PlaneStatus {
        ruled: vec!["net.connect".to_owned()],
        lost: 5,
        generation: 7,
        events: BTreeMap::from([("net.connect".to_owned(), counts)]),
        ..PlaneStatus::default()
    });
    ledger.shrunk = vec![Shrunk {
        event: "net.bind".to_owned(),
        was: Level::Rule,
        was_on: "6.1".to_owned(),
        is: Level::Missing,
        reason: None,
    }];

    let parsed = Parsed::of(&page(&ledger));

    let said = |outcome| {
        let labels = [("event", "net.connect"), ("outcome", outcome)];
        parsed.value("outrigger_plane_notices_total", &labels)
    };
    assert_eq!(
        ["none", "deny", "would-deny", "allow"].map(said),
        [Some(2.0), Some(4.0), Some(1.0), Some(2.0)]
    );
    assert_eq!(parsed.value("outrigger_plane_lost_total", &[]), Some(5.0));
    assert_eq!(parsed.value("outrigger_plane_generation", &[]), Some(7.0));
    assert_eq!(parsed.value("outrigger_plane_attached", &[("use", "ruled")]), Some(1.0));
    let shrunk = [("event", "net.bind"), ("was", "rule"), ("is", "missing")];
    assert_eq!(parsed.value("outrigger_coverage_shrunk", &shrunk), Some(1.0));
}
