//! The file sensor by itself, without a host: a thread that takes its notices and does nothing with them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_api::settings::ProtectMode;
use outrigger_sensor::changes::{EVENTS, FileSensor};
use outrigger_sensor::notice::Seen;
use outrigger_sensor::volumes::Volume as Found;
use outrigger_testkit::Volume;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};

/// A sensor on a file system and who takes its notices.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: Arc<OwnedFd>,
    thread: JoinHandle<Result<Told>>,
}

/// What a sensor told.
#[derive(Debug, Default)]
struct Told {
    notices: usize,
    losses: usize,
}

impl Watcher {
    /// Tells every change of `volume` from now on.
    pub(crate) fn start(volume: &Volume) -> Result<Self> {
        let mut sensor = FileSensor::open(EVENTS).context("no file sensor")?;
        sensor.mark(&found(volume.path()), point(volume.path())?.as_fd())?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let until = Arc::clone(&stop);
        Ok(Self { stop, thread: std::thread::spawn(move || take(&mut sensor, &until)) })
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// If it was not told of anything, or not of all: then what was measured is not what it costs.
    pub(crate) fn end(self) -> Result<()> {
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes())?;
        let told = self.thread.join().map_err(|_| anyhow!("the watcher panicked"))??;
        ensure!(told.notices > 0 && told.losses == 0, "the file sensor told of {told:?}");
        Ok(())
    }
}

fn found(point: &Path) -> Found {
    Found {
        device: 0,
        point: point.to_owned(),
        fs_type: "tmpfs".to_owned(),
        group: None,
        mode: ProtectMode::Enforce,
        cacheable: false,
        reason: None,
    }
}

fn point(path: &Path) -> Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

fn take(sensor: &mut FileSensor, stop: &OwnedFd) -> Result<Told> {
    let mut told = Told::default();
    let mut seen = Vec::new();
    loop {
        let fd = sensor.as_fd();
        let mut polled = [PollFd::new(&fd, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
        let stopped = !polled[1].revents().is_empty();
        while sensor.drain(&mut seen)? {
            told.count(&mut seen);
        }
        told.count(&mut seen);
        if stopped {
            return Ok(told);
        }
    }
}

impl Told {
    fn count(&mut self, seen: &mut Vec<Seen>) {
        let notices = seen.iter().filter(|seen| matches!(seen, Seen::Notice(_))).count();
        self.notices += notices;
        self.losses += seen.len() - notices;
        seen.clear();
    }
}
