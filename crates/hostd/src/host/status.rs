//! What the operator is told of the whole. Healthy only if everything that should protect does.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use outrigger_api::control::{
    Counters, Descriptors, EngineState, EngineStatus, Pids, Request, Response, Status,
};
use outrigger_api::coverage::{Coverage, Level};
use outrigger_api::ledger::{Cost, EngineLedger, Ledger};
use outrigger_api::{EngineName, Event, FailureReason, Mode};
use outrigger_sensor::clock;
use outrigger_sensor::page::Tally;
use outrigger_supervisor::Usage;

use super::journal::Trouble;
use super::ledger::{self, Account};
use super::metrics;
use super::recording::Recorder;
use super::server::{Desk as _, Errand};
use super::{FIXED_DESCRIPTORS, Host, lock};

/// How long the control thread may take to tell the figures.
const METRICS_LIMIT: Duration = Duration::from_secs(2);

/// A problem of writing, with its reason's name where there is one.
pub(crate) fn named(trouble: Trouble, what: &str) -> String {
    match trouble {
        Trouble::Full => format!("{}: {what}", FailureReason::DiskFull),
        Trouble::Other => what.to_owned(),
    }
}

impl Host {
    /// The whole, from what the control thread knows of engines and coverage.
    pub(crate) fn status(
        &self,
        engines: Vec<EngineStatus>,
        coverage: Coverage,
        mut problems: Vec<String>,
    ) -> Status {
        let header = self.page().header();
        self.find_problems(&engines, &coverage, &mut problems);
        Status {
            healthy: problems.is_empty(),
            problems,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: clock::now().saturating_sub(self.started) / 1_000_000_000,
            host_starts: header.host_starts.load(Ordering::Acquire),
            gate_starts: header.gate_starts.load(Ordering::Acquire),
            mode: self.config.mode,
            coverage,
            engines,
            counters: self.counters(),
            pids: Pids {
                keeper: header.keeper_pid.load(Ordering::Acquire),
                gate: header.gate_pid.load(Ordering::Acquire),
                host: std::process::id(),
            },
            descriptors: self.descriptors(),
            recording: self.recorder.as_ref().map(Recorder::status),
            policy: None,
            plane: None,
        }
    }

    fn find_problems(&self, engines: &[EngineStatus], coverage: &Coverage, out: &mut Vec<String>) {
        if self.config.protect.trees.is_empty() {
            out.push("nothing is protected: protect.trees is empty in the configuration".into());
        }
        if engines.is_empty() {
            let without = self.policy.current().events().is_empty();
            out.extend(without.then(|| "no engine is configured, so nobody is asked".to_owned()));
        }
        for engine in engines {
            let name = &engine.name;
            match engine.state {
                EngineState::Docked => {}
                EngineState::Starting => out.push(format!("engine {name} is starting")),
                EngineState::Restarting => out.push(format!(
                    "engine {name} is down and will be started again: {}",
                    engine.last_fault.as_deref().unwrap_or("it ended")
                )),
                EngineState::Quarantined => out.push(format!(
                    "engine {name} is in quarantine: {}; release it with: outrigger engine release {name}",
                    engine.last_fault.as_deref().unwrap_or("by the operator")
                )),
                EngineState::NotInstalled => out.push(format!(
                    "engine {name} is not installed: {}",
                    engine.last_fault.as_deref().unwrap_or("no release of it is in force")
                )),
                EngineState::Withheld => out.push(format!(
                    "engine {name} is kept off the dock: {}",
                    engine.last_fault.as_deref().unwrap_or("by the administrator")
                )),
                EngineState::Failed => out.push(format!(
                    "engine {name} cannot start: {}",
                    engine.last_fault.as_deref().unwrap_or("unknown")
                )),
            }
            // Long before it counts as hung: whoever looks must not be told that all is well meanwhile.
            let unanswered = self.unanswered(name);
            if unanswered > 0 {
                out.push(format!(
                    "engine {name} is silent: it left its last {unanswered} questions without a verdict"
                ));
            }
            for degraded in &engine.degraded {
                out.push(format!("engine {name} gets less than it needs: {degraded}"));
            }
            for missing in &engine.sandbox_missing {
                out.push(format!("engine {name} is not fully confined: {missing}"));
            }
        }
        for event in coverage.events.iter().filter(|event| event.can_be_asked()) {
            if event.level != Level::Ask {
                out.push(format!(
                    "{} cannot be asked about: {}",
                    event.event,
                    event.reason.as_deref().unwrap_or("not probed")
                ));
            }
        }
        for volume in coverage.volumes.iter().filter(|v| !v.covered && !v.left_out) {
            out.push(format!(
                "{} ({}) is not covered: {}",
                volume.path,
                volume.fs_type,
                volume.reason.as_deref().unwrap_or("unknown")
            ));
        }
        if self.config.mode == Mode::Monitor {
            out.push("mode is monitor: nothing is refused".into());
        }
        if let Some(trouble) = self.journal.trouble() {
            let path = self.config.state_dir.join("journal.jsonl");
            let lost = self.journal.lost();
            let what = format!("the journal cannot be written: {}", path.display());
            out.push(named(trouble, &format!("{what} ({lost} lines were lost)")));
        }
        if let Some(trouble) = self.recorder.as_ref().and_then(|recorder| recorder.status().trouble)
        {
            let folder = self.config.state_dir.display();
            out.push(format!("nothing can be recorded in {folder}: {trouble}"));
        }
        let failures = self.sensor_failures.load(Ordering::Relaxed);
        if failures > 0 {
            let reason = FailureReason::SensorLost;
            out.push(format!("{reason}: a sensor failed {failures} times since this host started"));
        }
    }

    /// Questions that an engine left without a verdict since it gave one.
    fn unanswered(&self, name: &EngineName) -> u64 {
        let place = self.manifests.iter().position(|manifest| manifest.name == *name);
        let core = lock(&self.core);
        place.and_then(|place| core.engines.get(place)).map_or(0, |engine| engine.unanswered)
    }

    fn counters(&self) -> Counters {
        let header = self.page().header();
        let by_reason = |count: &dyn Fn(usize) -> u64| {
            let counted = |reason: &FailureReason| {
                let count = count(reason.index());
                (count > 0).then(|| (reason.name().to_owned(), count))
            };
            FailureReason::ALL.iter().filter_map(counted).collect()
        };
        Counters {
            asked: Event::askable()
                .map(|event| {
                    let count = header.asked[event.index()].load(Ordering::Relaxed);
                    (event.name().to_owned(), count)
                })
                .collect(),
            allowed: header.tally(Tally::Allowed),
            denied: header.tally(Tally::Denied),
            would_deny: header.tally(Tally::WouldDeny),
            conflicts: header.tally(Tally::Conflicts),
            fallbacks: by_reason(&|index| {
                header.host_fallbacks[index].load(Ordering::Relaxed)
                    + header.gate_fallbacks[index].load(Ordering::Relaxed)
            }),
            faults: by_reason(&|index| header.faults[index].load(Ordering::Relaxed)),
            cached: header.tally(Tally::Cached),
            lease_breaks: header.tally(Tally::LeaseBreaks),
            evicted: header.tally(Tally::Evicted),
            empty: header.tally(Tally::Empty),
        }
    }

    fn descriptors(&self) -> Descriptors {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let cache = lock(&self.cache);
        Descriptors {
            limit: small(self.page().len()),
            fixed: FIXED_DESCRIPTORS,
            in_flight: small(lock(&self.core).in_flight()),
            in_flight_max: self.in_flight_max,
            leases: small(cache.held()),
            leases_max: small(cache.max()),
        }
    }

    /// What everything costs, from what the control thread knows of engines, in the same order.
    pub(crate) fn ledger(&self, engines: Vec<EngineStatus>, usage: &[Usage]) -> Ledger {
        let now = clock::now();
        let usage = usage.iter().copied().chain(std::iter::repeat(Usage::default()));
        let mut engines: Vec<EngineLedger> = engines
            .into_iter()
            .zip(usage)
            .enumerate()
            .map(|(place, (status, usage))| self.engine_ledger(place, status, usage, now))
            .collect();
        ledger::most_expensive_first(&mut engines);
        let up = now.saturating_sub(self.started);
        Ledger {
            time_ms: super::journal::now_ms(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: up / 1_000_000,
            recent_ms: ledger::recent_span(now, self.started) / 1_000_000,
            engines,
            counters: self.counters(),
            descriptors: self.descriptors(),
            policy: None,
            plane: None,
            shrunk: Vec::new(),
        }
    }

    /// The page of the metrics socket; `None` if the control thread does not tell in time.
    pub(crate) fn metrics(&self) -> Option<String> {
        let (reply, answer) = channel();
        self.hand_in(Errand { request: Request::Ledger, reply });
        match answer.recv_timeout(METRICS_LIMIT) {
            Ok(Response::Ledger(ledger)) => Some(metrics::page(&ledger)),
            Ok(_) | Err(_) => None,
        }
    }

    fn engine_ledger(
        &self,
        place: usize,
        status: EngineStatus,
        usage: Usage,
        now: u64,
    ) -> EngineLedger {
        let mut whole = Account::default();
        let (untold, woken) = match lock(&self.core).engines.get(place) {
            Some(engine) => (engine.books.untold_of_any(), engine.woken),
            None => Default::default(),
        };
        let mut events = BTreeMap::new();
        for &event in Event::ALL {
            // The lock is taken for one page at a time: questions do not wait for a whole ledger.
            let account =
                lock(&self.core).engines.get(place).and_then(|engine| engine.books.account(event));
            if let Some(account) = account {
                whole.add(&account, now);
                events.insert(event.name().to_owned(), account.cost(now));
            }
        }
        EngineLedger {
            name: status.name,
            state: status.state,
            required: status.required,
            cpu_ns: usage.cpu_ns,
            memory_bytes: usage.memory_bytes,
            restarts: status.starts.saturating_sub(1),
            woken,
            refused_calls: status.refused_calls,
            faults: status.faults,
            whole: with_untold(whole.cost(now), untold),
            events,
        }
    }

    /// Adds what the decision path counted to what the supervisor knows.
    pub(crate) fn add_figures(&self, engines: &mut [EngineStatus]) {
        let now = clock::now();
        let core = lock(&self.core);
        for (place, status) in engines.iter_mut().enumerate() {
            let Some(engine) = core.engines.get(place) else { continue };
            let sums = engine.books.sums(now);
            status.asked = sums.asked;
            status.allows = sums.allows;
            status.denies = sums.denies;
            status.abstains = sums.abstains;
            status.misses = sums.misses;
            status.latency_ns = sums.answered;
            [status.rule_denials, status.rule_conflicts] = self.policy.counts_of_engine(place);
            status.degraded.clone_from(&engine.degraded);
            status.told = engine.told.iter().map(|event| event.name().to_owned()).collect();
            status.events = engine.events.iter().map(|event| event.name().to_owned()).collect();
            if let Some(index) = outrigger_decision::EngineIndex::new(place) {
                status.poisoned_objects = core.poison.count(index) as u64;
            }
        }
    }
}

/// `cost`, and notices that were lost without it being known what they would have told of.
fn with_untold(mut cost: Cost, untold: BTreeMap<String, u64>) -> Cost {
    for (cause, count) in untold {
        *cost.untold.entry(cause).or_default() += count;
    }
    cost
}
