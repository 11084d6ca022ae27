//! The host ends: for good, or for another one that takes its place.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outrigger_api::FailureReason;
use outrigger_sensor::clock;
use outrigger_sensor::page::Reader;
use serde_json::json;

use super::super::lock;
use super::Control;
use crate::shared::SECOND;

/// How long open cases may go on when the host ends by itself, ns.
const DRAIN_LIMIT: u64 = clock::ms(25);
/// Exit code of a host that ends to be started anew with another configuration.
const RESTART: i32 = 75;

impl Control {
    pub(super) fn end_without_keeper(&mut self) -> i32 {
        let text = "the keeper ended; protection ends with it and the kernel allows what waits";
        tracing::error!("{text}");
        self.host.note(FailureReason::KeeperDead, text);
        self.supervisor.stop_all(clock::now());
        1
    }

    pub(super) fn stop(&mut self) -> i32 {
        let host = Arc::clone(&self.host);
        self.boot.mark_stopped(clock::now().saturating_sub(host.started));
        for (_, group) in host.page().header().groups() {
            // The keeper does it again, and closing the groups does the same.
            let _ = group.unmark_all_file_systems();
        }
        let end = clock::now() + SECOND;
        while lock(&host.core).in_flight() > 0 && clock::now() < end {
            std::thread::yield_now();
        }
        host.flush_cache();
        self.supervisor.stop_all(clock::now());
        // Nobody connects to a host that is gone.
        let _ = std::fs::remove_file(&host.config.control_socket);
        if let Some(metrics) = &host.config.metrics_socket {
            let _ = std::fs::remove_file(metrics);
        }
        host.journal.write("host-stopped", json!({}));
        0
    }

    /// Ends this host for another one, which takes what is in force then: this one ends what is open, and what
    /// is asked meanwhile waits for the next.
    pub(super) fn make_way(&mut self, respond: impl FnOnce()) -> i32 {
        self.boot.mark_made_way();
        self.host.page().header().plan_host_end();
        self.drain();
        respond();
        // Lets the connection's thread write the answer before the process is gone.
        std::thread::sleep(Duration::from_millis(2));
        RESTART
    }

    /// Stops reading and lets what is open come to its end, within a limit.
    pub(super) fn drain(&self) {
        let host = &self.host;
        let header = host.page().header();
        header.set_reader(Reader::Draining);
        let end = clock::now() + DRAIN_LIMIT;
        // A reader of a file system that can block may be stuck there; it is not waited for.
        let readers: Vec<_> = host.readers().clone();
        let ordinary = readers.iter().filter(|(index, _)| *index == 0).count() as u64;
        while clock::now() < end {
            let parked = host.parked.load(Ordering::Acquire);
            if parked >= ordinary && lock(&host.core).in_flight() == 0 {
                break;
            }
            readers.iter().for_each(|(_, thread)| thread.interrupt());
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
