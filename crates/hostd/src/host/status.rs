//! What the operator is told of the whole. Healthy only if everything that should protect does.

use std::sync::atomic::Ordering;

use outrigger_api::control::{Counters, Descriptors, EngineState, EngineStatus, Pids, Status};
use outrigger_api::coverage::{Coverage, Level};
use outrigger_api::{Event, FailureReason, Mode};
use outrigger_sensor::clock;
use outrigger_sensor::page::Tally;

use super::journal::Trouble;
use super::{FIXED_DESCRIPTORS, Host, lock};

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
        }
    }

    fn find_problems(&self, engines: &[EngineStatus], coverage: &Coverage, out: &mut Vec<String>) {
        if self.config.protect.is_empty() {
            out.push("nothing is protected: protect.trees is empty in the configuration".into());
        }
        if engines.is_empty() {
            out.push("no engine is configured, so nobody is asked".into());
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
                EngineState::Failed => out.push(format!(
                    "engine {name} cannot start: {}",
                    engine.last_fault.as_deref().unwrap_or("unknown")
                )),
            }
            for missing in &engine.sandbox_missing {
                out.push(format!("engine {name} is not fully confined: {missing}"));
            }
        }
        for event in &coverage.events {
            if event.level != Level::Ask {
                out.push(format!(
                    "{} cannot be asked about: {}",
                    event.event,
                    event.reason.as_deref().unwrap_or("not probed")
                ));
            }
        }
        for volume in coverage.volumes.iter().filter(|volume| !volume.covered) {
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
        let failures = self.sensor_failures.load(Ordering::Relaxed);
        if failures > 0 {
            let reason = FailureReason::SensorLost;
            out.push(format!("{reason}: a sensor failed {failures} times since this host started"));
        }
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
            asked: Event::ALL
                .iter()
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

    /// Adds what the decision path counted to what the supervisor knows.
    pub(crate) fn add_figures(&self, engines: &mut [EngineStatus]) {
        let core = lock(&self.core);
        for (place, status) in engines.iter_mut().enumerate() {
            let Some(engine) = core.engines.get(place) else { continue };
            let figures = &engine.figures;
            status.asked = figures.asked;
            status.allows = figures.allows;
            status.denies = figures.denies;
            status.abstains = figures.abstains;
            status.misses = figures.misses;
            status.latency_ns = figures.percentiles();
            if let Some(index) = outrigger_decision::EngineIndex::new(place) {
                status.poisoned_objects = core.poison.count(index) as u64;
            }
        }
    }
}
