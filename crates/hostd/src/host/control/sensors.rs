//! The sensors that engines and rules need, once it is known what this kernel gives.

use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use outrigger_api::coverage::Coverage;
use outrigger_api::settings::Need;
use outrigger_api::{EventSet, FailureReason};
use outrigger_sensor::bpf::ProcessSensor;
use outrigger_sensor::changes::FileSensor;
use outrigger_sensor::{bpf, changes, clock};
use serde_json::json;

use super::super::filters::Filters;
use super::super::notices::Source;
use super::super::subscriptions::Granted;
use super::super::{lock, notices, plane};
use super::Control;

impl Control {
    /// Gives every engine what of its events this machine has, once that is known. One that cannot work
    /// with it is taken off the dock.
    pub(super) fn grant_events(&mut self) {
        if self.granted.is_some() {
            return;
        }
        let found = if self.wants_plane() { &self.probed } else { &self.quick };
        let Some(coverage) = found.get() else { return };
        let of = |manifest| Granted::of(manifest, coverage);
        let granted: Vec<_> = self.host.manifests.iter().map(of).collect();
        let now = clock::now();
        for (place, granted) in granted.iter().enumerate() {
            let name = &self.host.manifests[place].name;
            match granted {
                Ok(granted) => {
                    for what in &granted.degraded {
                        tracing::warn!("engine {name} gets less than it needs: {what}");
                        let value = json!({ "engine": name, "what": what });
                        self.host.journal.write("engine-degraded", value);
                    }
                    if let Some(engine) = lock(&self.host.core).engines.get_mut(place) {
                        engine.grant_events(granted.clone());
                    }
                }
                // What is not installed needs nothing yet.
                Err(_) if self.is_absent(place) => {}
                Err(why) => {
                    self.supervisor.refuse(place, why.clone(), now, &mut self.happenings);
                }
            }
        }
        self.set_filters();
        self.granted = Some(granted);
        // A verdict of the engines as they were before may be another.
        self.host.new_epoch();
        self.act();
        self.start_sensors();
    }

    /// Has what engines do not want left out of what they are told.
    fn set_filters(&mut self) {
        let host = &self.host;
        let told: Vec<EventSet> =
            lock(&host.core).engines.iter().map(|engine| engine.told).collect();
        let engines = host.manifests.iter().zip(told);
        match Filters::new(engines, host.policy.key()) {
            Ok(None) => {}
            Ok(Some(filters)) => {
                // Set once, here alone.
                let _ = host.filters.set(filters);
            }
            Err(why) => {
                let problem = format!("engines are told what their filters leave out: {why}");
                tracing::error!("{problem}");
                self.filters_problem = Some(problem);
            }
        }
    }

    /// Whether an engine wants something that only programs at other hooks than the scheduler's may give.
    fn wants_plane(&self) -> bool {
        let others = plane::told_otherwise();
        let subscriptions = self.host.manifests.iter().flat_map(|manifest| &manifest.events);
        subscriptions.into_iter().any(|one| one.needs == Need::Rule || !others.contains(one.event))
    }

    /// Why the engine cannot work here, if so.
    pub(super) fn unfit(&self, place: usize) -> Option<String> {
        self.granted.as_ref()?.get(place)?.as_ref().err().cloned()
    }

    /// Starts the sensors that engines want to be told by.
    fn start_sensors(&mut self) {
        let told = lock(&self.host.core)
            .engines
            .iter()
            .fold(EventSet::EMPTY, |told, engine| told.union(engine.told));
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        if !told.intersection(bpf::EVENTS.into_iter().collect()).is_empty() {
            match ProcessSensor::open() {
                Ok(sensor) => sources.push(Box::new(sensor)),
                Err(error) => self.sensor_refused("processes", &error),
            }
        }
        if !told.intersection(changes::EVENTS).is_empty() {
            match FileSensor::open(told) {
                Ok(sensor) => {
                    let sensor = Arc::new(Mutex::new(sensor));
                    self.changes = Some(Arc::clone(&sensor));
                    self.leave_ourselves_out();
                    self.watch_changes();
                    sources.push(Box::new(sensor));
                }
                Err(error) => self.sensor_refused("changes to files", &error),
            }
        }
        if !sources.is_empty()
            && let Err(error) = notices::start(&self.host, sources)
        {
            self.host.sensor_failed(&error);
        }
    }

    /// A sensor that loaded on trial does not: engines that need it are told nothing, and status says so.
    pub(super) fn sensor_refused(&self, what: &str, error: &dyn std::error::Error) {
        let text = format!("engines are not told of {what}: {error}");
        tracing::error!("{text}");
        self.host.sensor_failures.fetch_add(1, Ordering::Relaxed);
        self.host.note(FailureReason::SensorLost, &text);
    }

    /// What the platform itself does to files is told to nobody.
    pub(super) fn leave_ourselves_out(&self) {
        let header = self.host.page().header();
        let pids = [&header.keeper_pid, &header.gate_pid].map(|pid| pid.load(Ordering::Acquire));
        let own = [pids[0], pids[1], std::process::id()];
        if let Some(changes) = &self.changes {
            lock(changes).leave_out(&own);
        }
        if let Some(plane) = self.host.plane.get().filter(|plane| plane.is_loaded())
            && let Err(error) = plane.leave_out(&own)
        {
            tracing::error!(%error, "the kernel's programs do not know the platform's own processes");
        }
    }

    /// Has the changes of every volume under protection told, and of no other.
    pub(super) fn watch_changes(&mut self) {
        let Some(changes) = &self.changes else { return };
        let mut sensor = lock(changes);
        let current: Vec<u64> = self.volumes.iter().map(|volume| volume.device).collect();
        for gone in self.watched.extract_if(.., |device| !current.contains(device)) {
            sensor.unmark(gone);
        }
        for volume in self.volumes.iter() {
            if self.watched.contains(&volume.device) {
                continue;
            }
            let marked =
                self.volumes.open_point(&volume.point).map_err(|error| error.to_string()).and_then(
                    |point| sensor.mark(volume, point.as_fd()).map_err(|error| error.to_string()),
                );
            // It is tried once: what a file system cannot do it cannot do later.
            self.watched.push(volume.device);
            if let Err(why) = marked {
                tracing::warn!("changes on {} are not told: {why}", volume.point.display());
                let value = json!({ "volume": volume.coverage(), "why": why });
                self.host.journal.write("changes-not-told", value);
            }
        }
    }

    pub(super) fn coverage(&self) -> Coverage {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let events = self.probed.get().or_else(|| self.quick.get()).cloned().unwrap_or_default();
        let volumes = self.volumes.iter().map(|volume| volume.coverage()).collect();
        Coverage { kernel, events, volumes, shrunk: self.comparison.shrunk().to_vec() }
    }
}
