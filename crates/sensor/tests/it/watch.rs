//! Reads a process sensor until it told what a test waits for.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use outrigger_api::{Event, Lost, ProcessKey};
use outrigger_sensor::bpf::ProcessSensor;
use outrigger_sensor::identity::{Subjects, handle};
use outrigger_sensor::notice::{Notice, Seen};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longer than anything here takes, on a busy machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A sensor and what it has told.
pub(crate) struct Watch {
    sensor: ProcessSensor,
    pub(crate) seen: Vec<Seen>,
}

impl Watch {
    /// Opens the sensor; says that the test is skipped where that takes a right that is missing.
    pub(crate) fn open(ring: Option<u32>) -> Option<Self> {
        if !may_load() {
            return None;
        }
        let sensor = ring.map_or_else(ProcessSensor::open, ProcessSensor::with_ring);
        let sensor = sensor.unwrap_or_else(|why| panic!("root has no process sensor: {why:?}"));
        assert!(sensor.refused().is_empty(), "refused: {:?}", sensor.refused());
        let mut watch = Self { sensor, seen: Vec::new() };
        watch.drain();
        Some(watch)
    }

    pub(crate) fn drain(&mut self) {
        self.sensor.drain(&mut self.seen).expect("the ring holds what the programs wrote");
    }

    /// Waits by the descriptor alone until `enough`.
    pub(crate) fn until(&mut self, what: &str, mut enough: impl FnMut(&[Seen]) -> bool) {
        let begin = Instant::now();
        while !enough(&self.seen) {
            assert!(begin.elapsed() < LIMIT, "within {LIMIT:?} the sensor did not tell of {what}");
            let mut fds = [PollFd::new(&self.sensor, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))
                .expect("it can be waited for");
            if !fds[0].revents().is_empty() {
                self.drain();
            }
        }
    }

    /// Whether the end of a process that the caller has waited for is told within some seconds: what a ring had no
    /// room for is never told.
    pub(crate) fn exit_told(&mut self, pid: u32) -> bool {
        const PATIENCE: Duration = Duration::from_secs(2);
        let begin = Instant::now();
        loop {
            let told = notices(&self.seen)
                .any(|notice| notice.event == Event::ProcessExit && notice.pid == pid);
            if told || begin.elapsed() > PATIENCE {
                return told;
            }
            let mut fds = [PollFd::new(&self.sensor, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))
                .expect("it can be waited for");
            self.drain();
        }
    }

    /// Waits until the end of a process was told that the caller has waited for.
    pub(crate) fn until_exit_of(&mut self, pid: u32) {
        self.until("an exit", |seen| {
            notices(seen).any(|notice| notice.event == Event::ProcessExit && notice.pid == pid)
        });
    }

    /// What was told of the one process that had this pid.
    pub(crate) fn of(&self, pid: u32) -> Vec<&Notice> {
        notices(&self.seen).filter(|notice| notice.pid == pid).collect()
    }

    /// How many notices of an event were lost, all told.
    pub(crate) fn lost(&self, event: Event) -> u64 {
        let losses = self.seen.iter().filter_map(|seen| match seen {
            Seen::Loss(loss) if loss.events.contains(event) => Some(loss.lost),
            _ => None,
        });
        losses
            .map(|lost| match lost {
                Lost::Exactly(count) => count,
                other => panic!("the ring counts exactly, and this is {other}"),
            })
            .sum()
    }
}

/// Whether this test may load BPF programs; says that it is skipped if not.
pub(crate) fn may_load() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root may load BPF programs");
    }
    root
}

/// The notices among what was seen.
pub(crate) fn notices(seen: &[Seen]) -> impl Iterator<Item = &Notice> {
    seen.iter().filter_map(|seen| match seen {
        Seen::Notice(notice) => Some(notice),
        Seen::Loss(_) => None,
    })
}

/// The key that questions of a living process carry.
pub(crate) fn key(pid: u32) -> ProcessKey {
    let pidfd = handle(pid).expect("the process lives");
    Subjects::probe().key(pid, pidfd.as_fd())
}
