//! Which file systems ask: the marks, from the first ones on.

use std::sync::atomic::Ordering;

use outrigger_api::FailureReason;
use outrigger_api::control::EngineState;
use outrigger_api::settings::ProtectMode;
use outrigger_sensor::{Group, clock};
use serde_json::json;

use super::super::VolumeFacts;
use super::{Control, DOCK_LIMIT, Handover};
use crate::keeper;

impl Control {
    /// The first marks wait for the engines, so that no file is refused because one still starts.
    pub(super) fn place_first_marks(&mut self) {
        if self.marked || matches!(self.handover, Handover::FromPredecessor { .. }) {
            return;
        }
        let states = self.supervisor.status();
        let settled = states
            .iter()
            .all(|engine| !matches!(engine.state, EngineState::Starting | EngineState::Restarting));
        let waited = clock::now().saturating_sub(self.host.started);
        let remembers = !self.host.policy.current().needs_memory()
            || self.host.plane.get().is_some()
            || self.probed.get().is_some();
        let known = self.granted.is_some() && self.reading.is_settled() && remembers;
        if !(settled && known) && waited < DOCK_LIMIT {
            return;
        }
        self.refresh_volumes();
        self.marked = true;
        self.remember_configuration();
        let is_first = self.host.page().header().marked.swap(1, Ordering::AcqRel) == 0;
        if let Some(ready) = &self.host.shared.ready
            && is_first
        {
            // The starter may have gone; it is told once, by the first host that comes so far.
            let _ = rustix::io::write(ready, b"ready\n");
            self.host.shared.close_ready();
        }
    }

    pub(super) fn look_at_mounts(&mut self) {
        if self.marked && std::mem::take(&mut self.mounts_changed) {
            self.refresh_volumes();
        }
    }

    pub(super) fn refresh_volumes(&mut self) {
        // What was mounted since has propagated into our namespace too. First, so that nothing is asked
        // about there that we open.
        if let Err(error) = keeper::ignore_own_mounts(&self.host.page()) {
            tracing::error!("{error:#}");
        }
        let mounts = match self.host.shared.mounts.read() {
            Ok(mounts) => mounts,
            Err(error) => return self.host.sensor_failed(&error),
        };
        let before: Vec<usize> =
            self.host.page().header().groups().map(|(index, _)| index).collect();
        let changes = self.volumes.refresh(&mounts, &self.host.config.protect, &ignore_in);
        *self.host.volumes.write().unwrap_or_else(std::sync::PoisonError::into_inner) = self
            .volumes
            .iter()
            .map(|volume| {
                let facts = VolumeFacts {
                    cacheable: volume.cacheable && volume.group == Some(0),
                    monitored: volume.mode == ProtectMode::Monitor,
                };
                (volume.device, (facts, volume.point.clone()))
            })
            .collect();
        for volume in &changes.covered {
            self.host.journal.write("volume-covered", json!(volume.coverage()));
        }
        for volume in &changes.uncovered {
            // Where nobody is asked about anything, nothing is lost.
            if !self.host.events().is_empty() {
                self.host.page().header().count_fault(FailureReason::SensorLost);
            }
            let reason = volume.reason.as_deref().unwrap_or("unknown");
            tracing::error!("{} is not covered: {reason}", volume.point.display());
            let name = FailureReason::SensorLost;
            let value = json!({ "reason": name, "volume": volume.coverage() });
            self.host.journal.write("volume-uncovered", value);
        }
        for volume in &changes.left_out {
            self.host.journal.write("volume-left-out", json!(volume.coverage()));
        }
        for volume in &changes.gone {
            self.host.journal.write("volume-gone", json!(volume.coverage()));
        }
        self.watch_changes();
        for (index, group) in self.host.page().header().groups() {
            if !before.contains(&index)
                && let Err(error) = self.host.start_reader(index, group)
            {
                tracing::error!("{error:#}");
            }
        }
    }
}

/// Lets what this process opens pass unasked in a group that was made just now.
pub(super) fn ignore_in(group: Group) {
    if let Err(error) = keeper::ignore_own_mounts_in(&[group]) {
        tracing::error!("{error:#}");
    }
}
