//! What goes on round the host: the gate, the machine, the disk.

use std::sync::atomic::Ordering;

use outrigger_api::FailureReason;
use outrigger_sensor::clock;

use super::super::journal::Trouble;
use super::super::{keepsakes, machine};
use super::Control;
use crate::shared::SECOND;

/// How long a disk that was full must have taken everything before it counts as one with room, ns. A
/// short line may fit where a longer one did not.
const ROOM_PAUSE: u64 = 3 * SECOND;

impl Control {
    pub(super) fn look_at_gate(&mut self) {
        let starts = self.host.page().header().gate_starts.load(Ordering::Acquire);
        if starts != self.gate_starts {
            tracing::warn!("the gate was started again ({starts} starts)");
            let detail = format!("the gate was started again ({starts} starts)");
            // It may have died more than once since the last look.
            for _ in self.gate_starts..starts {
                self.host.note(FailureReason::GateDead, &detail);
            }
            self.gate_starts = starts;
            self.leave_ourselves_out();
        }
    }

    pub(super) fn look_at_machine(&mut self) {
        for (reason, what) in self.machine.look() {
            tracing::info!("{what}");
            self.host.note(reason, &what);
        }
        if !self.kernel_kept && self.quick.get().is_some() {
            self.kernel_kept = true;
            let kernel = machine::kernel().into_bytes();
            self.keepsakes.keep(keepsakes::KERNEL, kernel, clock::now());
        }
    }

    /// Tries again what could not be written, and tells once that there is no room.
    pub(super) fn look_at_disk(&mut self) {
        let now = clock::now();
        self.keepsakes.retry(now);
        let journal = self.host.journal.trouble();
        if journal.is_some() && now >= self.journal_due {
            self.journal_due = now.saturating_add(SECOND);
            self.host.journal.retry();
        }
        let kept = self.keepsakes.trouble().map(|(trouble, _)| trouble);
        if [journal, kept].contains(&Some(Trouble::Full)) {
            if self.disk_full.is_none() {
                let folder = self.host.config.state_dir.display();
                self.host.note(FailureReason::DiskFull, &format!("there is no room in {folder}"));
            }
            self.disk_full = Some(now);
        }
        self.disk_full = self.disk_full.filter(|seen| now.saturating_sub(*seen) < ROOM_PAUSE);
    }
}
