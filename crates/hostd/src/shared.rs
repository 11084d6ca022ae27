//! What keeper, gate and host hold in common.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use outrigger_api::settings::HostConfig;
use outrigger_sensor::mounts::MountTable;
use outrigger_sensor::page::{Page, SlotState};
use outrigger_sensor::process::Signals;

/// Made by the keeper before it clones anyone, and never dropped: dropping a descriptor in one of the
/// three would close it for all.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The page of atomics.
    pub(crate) page: Page,
    /// Each of the three reads its own signals from it.
    pub(crate) signals: Signals,
    /// A handle on the keeper.
    pub(crate) keeper: OwnedFd,
    /// Written when the keeper has something to look at.
    pub(crate) to_keeper: OwnedFd,
    /// Written when the right to read passes to the host.
    pub(crate) to_host: OwnedFd,
    /// The keeper's `/proc/PID/fd`, which lists the shared table.
    pub(crate) table: OwnedFd,
    /// Root directory and mount table of the namespace in which protection was started.
    pub(crate) origin: OwnedFd,
    /// The mount table belonging to `origin`.
    pub(crate) mounts: MountTable,
    /// Where the configuration was read from.
    pub(crate) config_path: PathBuf,
    /// The configuration at the keeper's start: in force where the file has become unreadable.
    pub(crate) config: HostConfig,
    /// Where readiness is reported, once.
    pub(crate) ready: Option<OwnedFd>,
    /// The host of the build that is to be replaced, where this one takes over.
    pub(crate) predecessor: Option<OwnedFd>,
}

impl Shared {
    /// Marks every descriptor that is open now as belonging to the keeper.
    pub(crate) fn fix_open_descriptors(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            if let Some(number) = name.to_str().and_then(|name| name.parse().ok()) {
                self.fix(number);
            }
        }
        Ok(())
    }

    /// Marks one descriptor as belonging to the keeper or the gate.
    pub(crate) fn fix(&self, number: i32) {
        if let Some(slot) = self.page.slot(number) {
            slot.set(SlotState::Fixed);
            self.page.note_used(number);
        }
    }

    /// Closes the descriptor of readiness in all three: it is told once.
    pub(crate) fn close_ready(&self) {
        if let Some(ready) = &self.ready {
            self.unfix(ready);
            outrigger_sensor::process::close_number(ready.as_raw_fd());
        }
    }

    /// Takes [`Shared::fix`] back, before the descriptor is closed.
    pub(crate) fn unfix(&self, fd: &OwnedFd) {
        if let Some(slot) = self.page.slot(fd.as_raw_fd()) {
            slot.set(SlotState::Free);
        }
    }
}

/// Writes to an eventfd; one that is full has been heard.
pub(crate) fn signal(eventfd: &OwnedFd) {
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}

/// Empties an eventfd.
pub(crate) fn hear(eventfd: &OwnedFd) {
    let _ = rustix::io::read(eventfd, &mut [0; 8]);
}

/// The budget within which a start or a stop of one of the three counts as done, ns.
pub(crate) const SECOND: u64 = 1_000_000_000;
