//! What a replay found: for a person on a screen, for a script as JSON, to the byte the same each time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use outrigger_api::sample::Sample;
use outrigger_api::{Answer, Event, Verdict};
use outrigger_sensor::recording::{Corpus, encode};
use outrigger_supervisor::replay::{Ending, Judged, Outcome};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{kept, rate};
use crate::table::{Table, cell, figure};
use crate::text::{
    FAINT, GOOD, STRONG, WARN, WRONG, counted, number, size, span, styled, visible, visible_lines,
};

/// Most samples of a kind that are listed in JSON.
const LISTED_MAX: usize = 10_000;
/// Most of them that are listed on a screen.
const SHOWN_MAX: usize = 20;

/// What the report is about.
#[derive(Debug)]
pub(crate) struct Made<'a> {
    pub(crate) engine: String,
    pub(crate) version: String,
    pub(crate) budget_ms: u64,
    pub(crate) corpus: &'a Corpus,
}

/// What a replay found. In its form as JSON, what comes later is added, never renamed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    engine: String,
    version: String,
    budget_ms: u64,
    recorded: Recorded,
    /// What the engine said of its content.
    content: Option<String>,
    samples: u64,
    events: BTreeMap<&'static str, Counts>,
    not_asked: BTreeMap<&'static str, u64>,
    denied: List,
    /// Denied though known to be good, or guarded: what must never be.
    denied_good: List,
    /// The recorded answer was another.
    disagreements: List,
    missed: List,
    crashes: Vec<Crash>,
    gone: Option<String>,
    faults: BTreeMap<String, u64>,
    late: u64,
    refused_calls: u64,
    sandbox_missing: Vec<String>,
    /// SHA-256 over every sample and its verdict, in their order.
    digest: String,
    #[serde(skip)]
    sum: Sha256,
    #[serde(skip)]
    scratch: Vec<u8>,
    #[serde(skip)]
    latencies: Vec<u64>,
    #[serde(skip)]
    used: (Option<u64>, Option<u64>),
}

#[derive(Debug, Serialize)]
struct Recorded {
    made_ms: u64,
    origin: String,
    keeps: &'static str,
    without_credentials: bool,
    without_paths: Vec<String>,
}

/// What became of the samples of one event.
#[derive(Debug, Default, Serialize)]
struct Counts {
    samples: u64,
    allow: u64,
    deny: u64,
    abstain: u64,
    missed: u64,
    crashed: u64,
    not_asked: u64,
}

/// The first samples of a kind, and how many there are.
#[derive(Debug, Default, Serialize)]
struct List {
    count: u64,
    first: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    place: u64,
    event: &'static str,
    path: Option<String>,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Crash {
    reason: &'static str,
    detail: String,
    /// The sample that was in the engine's hands.
    in_hand: Option<Line>,
}

/// How long it took. Never the same twice.
#[derive(Debug, Serialize)]
pub(crate) struct Timings {
    seconds: f64,
    events_per_second: u64,
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
    cpu_ns: Option<u64>,
    memory_peak_bytes: Option<u64>,
}

impl Report {
    pub(crate) fn new(made: Made<'_>) -> Self {
        let header = made.corpus.header();
        let path = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        Self {
            engine: made.engine,
            version: made.version,
            budget_ms: made.budget_ms,
            recorded: Recorded {
                made_ms: header.made_ms,
                origin: header.origin.clone(),
                keeps: kept(header.kept),
                without_credentials: header.without_credentials,
                without_paths: header.without_paths.iter().map(path).collect(),
            },
            content: None,
            samples: 0,
            events: BTreeMap::new(),
            not_asked: BTreeMap::new(),
            denied: List::default(),
            denied_good: List::default(),
            disagreements: List::default(),
            missed: List::default(),
            crashes: Vec::new(),
            gone: None,
            faults: BTreeMap::new(),
            late: 0,
            refused_calls: 0,
            sandbox_missing: Vec::new(),
            digest: String::new(),
            sum: Sha256::new(),
            scratch: Vec::new(),
            latencies: Vec::new(),
            used: (None, None),
        }
    }

    /// Takes in what became of one sample.
    pub(crate) fn take(&mut self, outcome: Outcome) {
        let Outcome { place, sample, judged, latency, .. } = outcome;
        self.samples += 1;
        self.add_to_sum(&sample, &judged);
        let counts = self.events.entry(sample.event.name()).or_default();
        counts.samples += 1;
        match judged {
            Judged::Verdict(verdict, detail) => {
                self.latencies.push(latency);
                match verdict {
                    Verdict::Allow => counts.allow += 1,
                    Verdict::Deny => counts.deny += 1,
                    Verdict::Abstain => counts.abstain += 1,
                }
                if verdict == Verdict::Deny {
                    self.denied.add(|| Line::new(place, &sample, detail.as_str()));
                    if sample.standing.known_good || sample.standing.guarded {
                        let why = if sample.standing.guarded { "guarded" } else { "known good" };
                        let told = format!("{why}; {}", detail.as_str());
                        self.denied_good.add(|| Line::new(place, &sample, &told));
                    }
                }
                let other = match (verdict, sample.answer) {
                    (Verdict::Deny, Some(Answer::Allow)) => Some("denied, recorded as allowed"),
                    (Verdict::Allow, Some(Answer::Deny)) => Some("allowed, recorded as denied"),
                    _ => None,
                };
                if let Some(what) = other {
                    self.disagreements.add(|| Line::new(place, &sample, what));
                }
            }
            Judged::Missed => {
                counts.missed += 1;
                self.missed.add(|| Line::new(place, &sample, "over the budget each time"));
            }
            Judged::Crashed(_) => counts.crashed += 1,
            Judged::NotAsked(why) => {
                counts.not_asked += 1;
                *self.not_asked.entry(why.name()).or_default() += 1;
            }
        }
    }

    fn add_to_sum(&mut self, sample: &Sample, judged: &Judged) {
        self.scratch.clear();
        encode(sample, &mut self.scratch);
        let verdict: &[u8] = match judged {
            Judged::Verdict(Verdict::Allow, _) => &[1],
            Judged::Verdict(Verdict::Deny, _) => &[2],
            Judged::Verdict(Verdict::Abstain, _) => &[3],
            Judged::Missed => &[4],
            Judged::Crashed(_) => &[5],
            Judged::NotAsked(_) => &[6],
        };
        self.scratch.extend(verdict);
        if let Judged::Verdict(_, detail) = judged {
            self.scratch.extend(detail.as_str().as_bytes());
        }
        self.sum.update((self.scratch.len() as u64).to_le_bytes());
        self.sum.update(&self.scratch);
    }

    /// Takes in what there is to say of the engine.
    pub(crate) fn end(&mut self, ending: Ending, lacking: u64) {
        debug_assert!(
            lacking >= self.not_asked.get("no-content").copied().unwrap_or(0),
            "what was not to be had is counted where it was looked for"
        );
        self.used = (ending.cpu_ns, ending.memory_peak);
        self.content = ending.content;
        self.gone = ending.gone;
        self.faults = ending.faults;
        self.late = ending.late;
        self.refused_calls = ending.refused_calls;
        self.sandbox_missing = ending.sandbox_missing;
        let crash = |crash: outrigger_supervisor::replay::Crash| Crash {
            reason: crash.reason.name(),
            detail: crash.detail,
            in_hand: crash.in_hand.map(|(place, sample)| Line::new(place, &sample, "in hand")),
        };
        self.crashes = ending.crashes.into_iter().map(crash).collect();
        let sum: [u8; 32] = self.sum.clone().finalize().into();
        self.digest = hex::encode(sum);
    }

    /// Whether the engine may be trusted with what was replayed.
    pub(crate) const fn is_good(&self) -> bool {
        self.crashes.is_empty()
            && self.gone.is_none()
            && self.missed.count == 0
            && self.denied_good.count == 0
    }

    pub(crate) fn timings(&mut self, took: Duration) -> Timings {
        self.latencies.sort_unstable();
        let asked = self.latencies.len();
        let at = |share: usize| {
            let place = (asked * share).div_ceil(100).saturating_sub(1);
            self.latencies.get(place).copied().unwrap_or(0)
        };
        Timings {
            seconds: took.as_secs_f64(),
            events_per_second: rate(asked as u64, took),
            p50_ns: at(50),
            p99_ns: at(99),
            max_ns: at(100),
            cpu_ns: self.used.0,
            memory_peak_bytes: self.used.1,
        }
    }

    pub(crate) fn to_json(&self, timings: Option<&Timings>) -> String {
        let mut value = serde_json::to_value(self).expect("plain data");
        if let (Some(object), Some(timings)) = (value.as_object_mut(), timings) {
            let timings = serde_json::to_value(timings).expect("plain data");
            object.insert("timings".to_owned(), timings);
        }
        value.to_string()
    }

    pub(crate) fn to_text(&self, timings: Option<&Timings>) -> String {
        let mut out = String::new();
        let (word, style) = if self.is_good() { ("good", GOOD) } else { ("BAD", WRONG) };
        let engine = styled(STRONG, visible(&format!("{} {}", self.engine, self.version)));
        // Writing into a string does not fail.
        let _ = writeln!(out, "{}  {engine}, {}", styled(style, word), samples(self.samples));
        let content = self.content.as_deref().unwrap_or("said nothing of its content");
        point(&mut out, &format!("content: {content}"));
        point(&mut out, &format!("recorded on {}: {}", self.recorded.origin, self.recorded.keeps));
        if self.recorded.without_credentials || !self.recorded.without_paths.is_empty() {
            let mut left_out = self.recorded.without_paths.clone();
            left_out.extend(self.recorded.without_credentials.then(|| "who asked".to_owned()));
            point(&mut out, &format!("left out of it: {}", left_out.join(", ")));
        }
        for missing in &self.sandbox_missing {
            let _ = writeln!(out, "  {}", styled(WARN, visible(&format!("no sandbox: {missing}"))));
        }
        self.table(&mut out);
        for (why, count) in &self.not_asked {
            point(&mut out, &format!("not asked, {why}: {}", samples(*count)));
        }
        for crash in &self.crashes {
            let hand = crash.in_hand.as_ref().map_or_else(|| "nothing".to_owned(), Line::shown);
            let line = format!("{}: {}; in hand: {hand}", crash.reason, crash.detail);
            let _ = writeln!(out, "  {}", styled(WRONG, visible_lines(&line).replace('\n', "; ")));
        }
        if let Some(why) = &self.gone {
            let line = format!("not started again: {}", visible_lines(why).replace('\n', "; "));
            let _ = writeln!(out, "  {}", styled(WRONG, line));
        }
        self.denied_good.show("denied though the machine needs it", &mut out);
        self.missed.show("missed", &mut out);
        self.denied.show("denied", &mut out);
        self.disagreements.show("not as recorded", &mut out);
        for (fault, count) in &self.faults {
            point(&mut out, &format!("fault {fault}: {count}"));
        }
        point(&mut out, &format!("digest {}", self.digest));
        if let Some(timings) = timings {
            point(&mut out, &timings.line());
        }
        out
    }

    fn table(&self, out: &mut String) {
        let mut table =
            Table::new(&["EVENT", "SAMPLES", "ALLOW", "DENY", "ABSTAIN", "MISSED", "CRASHED"]);
        let count = |count: u64| figure(&number(count));
        for event in Event::ALL {
            let Some(counts) = self.events.get(event.name()) else { continue };
            table.row([
                cell(event.name()),
                count(counts.samples),
                count(counts.allow),
                count(counts.deny),
                count(counts.abstain),
                count(counts.missed),
                count(counts.crashed),
            ]);
        }
        table.write(out);
    }
}

impl List {
    fn add(&mut self, line: impl FnOnce() -> Line) {
        self.count += 1;
        if self.first.len() < LISTED_MAX {
            self.first.push(line());
        }
    }

    fn show(&self, what: &str, out: &mut String) {
        if self.count == 0 {
            return;
        }
        let _ = writeln!(out, "  {}", styled(STRONG, format!("{what}: {}", samples(self.count))));
        for line in self.first.iter().take(SHOWN_MAX) {
            let _ = writeln!(out, "    {}", visible(&line.shown()));
        }
        if let Some(more @ 1..) = self.count.checked_sub(SHOWN_MAX as u64) {
            let line = format!("and {} more; --json lists them", number(more));
            let _ = writeln!(out, "    {}", styled(FAINT, line));
        }
    }
}

impl Line {
    fn new(place: u64, sample: &Sample, detail: &str) -> Self {
        let path = sample.path.as_deref().map(|path| String::from_utf8_lossy(path).into_owned());
        Self { place, event: sample.event.name(), path, detail: detail.to_owned() }
    }

    fn shown(&self) -> String {
        let path = self.path.as_deref().unwrap_or("a path that was left out");
        format!("{} {} {path}: {}", self.place, self.event, self.detail)
    }
}

impl Timings {
    /// On one line, for a person.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{} events/s, {:.2} s; latency p50 {}, p99 {}, most {}",
            number(self.events_per_second),
            self.seconds,
            span(self.p50_ns),
            span(self.p99_ns),
            span(self.max_ns)
        );
        if let Some(ns) = self.cpu_ns {
            let _ = write!(line, "; engine's CPU time {}", span(ns));
        }
        if let Some(bytes) = self.memory_peak_bytes {
            let _ = write!(line, ", memory {}", size(bytes));
        }
        line
    }
}

fn samples(count: u64) -> String {
    counted(count, "sample")
}

fn point(out: &mut String, line: &str) {
    let _ = writeln!(out, "  {}", styled(FAINT, visible(line)));
}
