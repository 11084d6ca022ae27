//! The host begins: its control thread, the other threads, and what is told of its start.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use outrigger_api::FailureReason;
use outrigger_sensor::coverage;
use outrigger_sensor::group::{Mask, PERMISSION_MASK};
use outrigger_sensor::volumes::Volumes;
use outrigger_supervisor::{SandboxLauncher, Supervisor};
use serde_json::json;

use super::super::boot::Boot;
use super::super::engines::Presence;
use super::super::installed::{Checked, Trees, Version};
use super::super::keepsakes::Keepsakes;
use super::super::machine::Machine;
use super::super::{
    Host, keepsakes, lock, machine, metrics, plane, poisoned, server, shadows, verdicts,
};
use super::marks::ignore_in;
use super::policy::{Purpose, Reading};
use super::safety::{self, Repairs};
use super::shrunk::Comparison;
use super::{Control, Handover};

/// Why programs that are not loaded yet do nothing.
const BEING_TRIED: &str = "it is being tried whether this kernel takes the program";

impl Control {
    pub(super) fn new(
        host: &Arc<Host>,
        problem: Option<String>,
        engines: Vec<(Version, Option<String>)>,
        boot: Boot,
    ) -> Result<Self> {
        let header = host.page().header();
        let trees = Trees::default();
        engines.iter().for_each(|(version, _)| trees.expect(version));
        let page = host.page();
        let groups = move || page.header().groups().map(|(_, group)| group.number()).collect();
        let launcher = SandboxLauncher::new(groups, PERMISSION_MASK);
        let origin = host.shared.origin.try_clone().context("cannot copy a descriptor")?;
        let keepsakes = Keepsakes::new(&host.config.state_dir);
        let kept = keepsakes.read(keepsakes::POISONED).unwrap_or_default();
        let poisoned_by = poisoned::read(&kept, &host.manifests, &mut lock(&host.core).poison);
        let takes_over =
            host.shared.predecessor.is_some() && header.host_starts.load(Ordering::Acquire) <= 1;
        let launcher = Checked { trees: trees.clone(), launcher };
        let specs = engines.iter().map(|(version, _)| version.spec.clone()).collect();
        let mut supervisor = Supervisor::new(specs, Box::new(launcher));
        for (place, (version, absent)) in engines.iter().enumerate() {
            if let Some(why) = absent {
                tracing::error!("engine {} is not installed: {why}", version.spec.manifest.name);
                supervisor.withhold(place, why);
                if let Some(engine) = lock(&host.core).engines.get_mut(place) {
                    engine.state = Presence::Away(FailureReason::NotDocked);
                }
            }
        }
        let mut happenings = Vec::new();
        safety::keep_off(host, &boot, &mut supervisor, &mut happenings);
        Ok(Self {
            host: Arc::clone(host),
            boot,
            repairs: Repairs::new(&host.config.state_dir),
            supervisor,
            manifests: host.manifests.clone(),
            in_force: engines
                .into_iter()
                .map(|(version, absent)| absent.is_none().then_some(version))
                .collect(),
            trees,
            swaps: host.manifests.iter().map(|_| None).collect(),
            trials: host.manifests.iter().map(|_| None).collect(),
            resumed: false,
            updates_problem: None,
            volumes: Volumes::new(
                host.page(),
                origin,
                Mask::of(host.events()),
                super::super::looks_at_subjects(&host.manifests),
            ),
            reading: Reading::default(),
            generation: host.policy.generation(),
            problem,
            probed: Arc::default(),
            quick: Arc::default(),
            comparison: Comparison::default(),
            filters_problem: None,
            plane_taken: false,
            granted: None,
            changes: None,
            watched: Vec::new(),
            marked: false,
            mounts_changed: false,
            handover: match takes_over {
                true => Handover::FromPredecessor { said_ready: false },
                false => Handover::None,
            },
            gate_starts: header.gate_starts.load(Ordering::Acquire),
            machine: Machine::default(),
            keepsakes,
            poisoned_by,
            kernel_kept: false,
            disk_full: None,
            journal_due: 0,
            happenings,
        })
    }

    pub(super) fn start(&mut self) -> Result<()> {
        let host = Arc::clone(&self.host);
        self.tell_start();
        self.ask_by_policy();
        self.read_policies(Purpose::Start);
        // Before an engine is started, which is to ignore them all.
        match host.shared.mounts.read() {
            Ok(mounts) => {
                self.volumes.make_groups(&mounts, &host.config.protect, &ignore_in);
            }
            Err(error) => host.sensor_failed(&error),
        }
        for (index, group) in host.page().header().groups() {
            host.start_reader(index, group)?;
        }
        let verdicts = Arc::clone(&host);
        std::thread::Builder::new()
            .name("verdicts".into())
            .spawn(move || verdicts::run(&verdicts))
            .context("cannot start the thread of verdicts")?;
        let deadlines = Arc::clone(&host);
        std::thread::Builder::new()
            .name("deadlines".into())
            .spawn(move || verdicts::keep_deadlines(&deadlines))
            .context("cannot start the thread of deadlines")?;
        let shadows = Arc::clone(&host);
        std::thread::Builder::new()
            .name("shadows".into())
            .spawn(move || shadows::run(&shadows))
            .context("cannot start the thread of shadows")?;
        let probed = Arc::clone(&self.probed);
        let quick = Arc::clone(&self.quick);
        // Questions are judged from the first one on.
        let begun = host.policy.current().needs_memory().then(|| plane::begin(&host));
        let opening = Arc::clone(&host);
        std::thread::Builder::new()
            .name("trial".into())
            .spawn(move || {
                // Each set once, here alone. First what the first marks wait for, who cover a booting machine.
                let _ = quick.set(coverage::with_plane(Err(BEING_TRIED.to_owned())));
                let begun = begun.unwrap_or_else(|| plane::begin(&opening));
                let trials = begun.and_then(|()| plane::load(&opening).ok_or_else(String::new));
                let _ = probed.set(coverage::with_plane(trials));
            })
            .context("cannot start the thread of the trial")?;
        if host.page().header().marked.load(Ordering::Acquire) != 0 {
            // The marks of the host before still ask.
            self.refresh_volumes();
        }
        if matches!(self.handover, Handover::None) {
            host.page().header().host_ready.store(1, Ordering::Release);
            self.serve()?;
        }
        Ok(())
    }

    /// Listens to the operator, and to who reads the metrics. Nobody depends on the latter, so that they
    /// cannot be served stops nothing.
    pub(super) fn serve(&self) -> Result<()> {
        server::serve(&self.host.config.control_socket, Arc::clone(&self.host))?;
        if let Some(path) = &self.host.config.metrics_socket {
            let host = Arc::clone(&self.host);
            if let Err(error) = metrics::serve(path, Arc::new(move || host.metrics())) {
                tracing::error!("{error:#}; the ledger is in `outrigger top` all the same");
            }
        }
        Ok(())
    }

    fn tell_start(&mut self) {
        let header = self.host.page().header();
        let starts = header.host_starts.load(Ordering::Acquire);
        let fallbacks: u64 =
            header.gate_fallbacks.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "host_starts": starts,
            "gate_fallbacks": fallbacks,
        });
        self.host.journal.write("host-started", value);
        if starts > 1 {
            tracing::warn!(
                "the host was started again ({starts} starts, {fallbacks} fallbacks by the gate)"
            );
        }
        if let Some(reason) = header.take_host_end() {
            self.host.write_fault(reason, reason.description());
        }
        let kernel = machine::kernel();
        if let Some(before) = self.keepsakes.read(keepsakes::KERNEL)
            && before != kernel
        {
            tracing::warn!("the kernel has changed: coverage is probed again");
            let detail = format!("coverage was last probed on {before}; now on {kernel}");
            self.host.note(FailureReason::KernelChanged, &detail);
        }
        for told in self.boot.take_told() {
            if told.unclean {
                let why = told.value["why"].as_str().unwrap_or_default();
                self.host.note(FailureReason::UncleanBoots, why);
            }
            self.host.journal.write(told.kind, told.value);
        }
        if let Some(problem) = &self.problem {
            tracing::error!("{problem}");
            self.host.journal.write("configuration-refused", json!({ "why": problem }));
        }
    }
}
