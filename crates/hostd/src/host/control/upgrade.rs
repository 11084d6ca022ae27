//! Handing over to a new build, and following an old one.
//!
//! The old build starts the new one and passes the groups on a socket; the new one makes everything ready
//! and says so; the old one stops reading, lets its cases end, and says that; only then does the new one read.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context as _, Result};
use outrigger_api::FailureReason;
use outrigger_api::control::{EngineState, Response};
use outrigger_sensor::clock;
use outrigger_sensor::page::Ending;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::json;

use super::super::lock;
use super::{Control, DOCK_LIMIT, Handover, is_readable};
use crate::handover;

impl Control {
    pub(super) fn upgrade(&mut self, binary: Option<String>, reply: Sender<Response>) {
        if !matches!(self.handover, Handover::None) {
            let message = "a change of builds is under way already".to_owned();
            let _ = reply.send(Response::Error { message });
            return;
        }
        // The new build might start what is just being replaced.
        if let Some(name) = self.swapping() {
            let message = format!("{name} is being replaced; try again when that has ended");
            let _ = reply.send(Response::Error { message });
            return;
        }
        match self.start_successor(binary) {
            Ok((socket, child)) => {
                self.handover = Handover::ToSuccessor { socket, reply, child };
            }
            Err(error) => {
                let message = format!("the running build stays: {error:#}");
                let _ = reply.send(Response::Error { message });
            }
        }
    }

    fn start_successor(&self, binary: Option<String>) -> Result<(OwnedFd, std::process::Child)> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        let binary = match binary {
            Some(binary) => binary,
            None => {
                let own = std::fs::read_link("/proc/self/exe").context("cannot find the binary")?;
                // The kernel says so of a file that was replaced.
                own.to_string_lossy().trim_end_matches(" (deleted)").to_owned()
            }
        };
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let header = self.host.page().header();
        let groups: Vec<_> = header
            .groups()
            .map(|(index, group)| (group, header.devices[index].load(Ordering::Acquire)))
            .collect();
        let shared = self.host.shared;
        handover::send(ours.as_fd(), &groups, shared.origin.as_fd(), shared.mounts.as_fd())
            .context("cannot pass the groups")?;
        let child = std::process::Command::new(&binary)
            .args(["run", "--takeover", "--config"])
            .arg(&shared.config_path)
            .stdin(std::process::Stdio::from(theirs))
            .spawn()
            .with_context(|| format!("cannot start {binary}"))?;
        self.host.journal.write("upgrade-started", json!({ "binary": binary }));
        Ok((ours, child))
    }

    pub(super) fn look_at_handover(&mut self) -> Option<i32> {
        match std::mem::replace(&mut self.handover, Handover::None) {
            Handover::None => None,
            Handover::FromPredecessor { said_ready } => self.follow(said_ready),
            Handover::ToSuccessor { socket, reply, child } => self.lead(socket, reply, child),
        }
    }

    /// The new build's side.
    fn follow(&mut self, said_ready: bool) -> Option<i32> {
        let header = self.host.page().header();
        let Some(socket) = &self.host.shared.predecessor else { return None };
        if !said_ready {
            let states = self.supervisor.status();
            let settled = |state| {
                use EngineState::{Docked, NotInstalled, Withheld};
                matches!(state, Docked | NotInstalled | Withheld)
            };
            let docked = states.iter().all(|engine| settled(engine.state));
            let failed = states.iter().any(|engine| {
                matches!(engine.state, EngineState::Failed | EngineState::Quarantined)
            });
            let late = clock::now().saturating_sub(self.host.started) > DOCK_LIMIT;
            if failed || late {
                tracing::error!("the new build cannot dock its engines; the running one stays");
                header.set_ending(Ending::HandedOver);
                return Some(1);
            }
            if docked {
                let _ = handover::say(socket.as_fd(), handover::READY);
            }
            self.handover = Handover::FromPredecessor { said_ready: docked };
            return None;
        }
        if !is_readable(socket.as_fd()) {
            self.handover = Handover::FromPredecessor { said_ready };
            return None;
        }
        let word = handover::listen(socket.as_fd()).unwrap_or_default();
        let since = word.strip_prefix(handover::DRAINED).and_then(|rest| rest.try_into().ok());
        let Some(since) = since.map(u64::from_le_bytes) else {
            tracing::error!("the running build ended before it handed over; this one gives up");
            header.set_ending(Ending::HandedOver);
            return Some(1);
        };
        header.unattended_since.store(since.max(1), Ordering::Release);
        header.host_ready.store(1, Ordering::Release);
        self.boot.took_over(&self.host.config, clock::now());
        self.host.journal.write("upgraded", json!({ "version": env!("CARGO_PKG_VERSION") }));
        tracing::info!("this build has taken over");
        if let Err(error) = self.serve() {
            tracing::error!("{error:#}");
        }
        None
    }

    /// The old build's side.
    fn lead(
        &mut self,
        socket: OwnedFd,
        reply: Sender<Response>,
        mut child: std::process::Child,
    ) -> Option<i32> {
        if !is_readable(socket.as_fd()) {
            self.handover = Handover::ToSuccessor { socket, reply, child };
            return None;
        }
        if handover::listen(socket.as_fd()).unwrap_or_default() != handover::READY {
            let ended = child.wait().map_or_else(|error| error.to_string(), |end| end.to_string());
            let message =
                format!("the new build ended before it was ready ({ended}); the running one stays");
            tracing::error!("{message}");
            self.host.journal.write("upgrade-failed", json!({ "why": message }));
            let _ = reply.send(Response::Error { message });
            return None;
        }
        let header = self.host.page().header();
        let since = clock::now();
        self.drain();
        let mut ended = Vec::new();
        lock(&self.host.core).end_all(FailureReason::HostDead, clock::now(), &mut ended);
        self.host.finish_all(&mut ended);
        self.host.flush_cache();
        header.set_ending(Ending::HandedOver);
        self.end_gate();
        let mut word = handover::DRAINED.to_vec();
        word.extend(since.to_le_bytes());
        let _ = handover::say(socket.as_fd(), &word);
        self.host.journal.write("handed-over", json!({ "pid": child.id() }));
        let message = format!("the new build has taken over (keeper {})", child.id());
        let _ = reply.send(Response::Done { message });
        // Lets the connection's thread write the answer before the process is gone.
        std::thread::sleep(Duration::from_millis(2));
        Some(0)
    }

    /// The old gate must be gone before the new one watches the same groups.
    fn end_gate(&self) {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let gate = self.host.page().header().gate_pid.load(Ordering::Acquire);
        let Some(pid) = i32::try_from(gate).ok().and_then(Pid::from_raw) else { return };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        let _ = pidfd_send_signal(&handle, Signal::KILL);
        let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit));
    }
}
