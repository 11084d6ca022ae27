//! The thread that tells engines of what has happened.
//!
//! It sleeps on the sensors, reads what they have, and puts it into the engines' rings, a few notices at a
//! time under the core's lock: a question never waits behind more than [`AT_A_TIME`] of them. Nothing here
//! waits for an engine. What an engine's ring has no room for is counted there and told as a gap, by this
//! thread when nothing else happens.
//!
//! It runs only where an engine wants to be told of something that a sensor tells; sensors of which nobody
//! wants anything are not started.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};

use outrigger_api::{EventSet, FailureReason, Loss, LossCause, Lost};
use outrigger_dock::Waker;
use outrigger_sensor::bpf::ProcessSensor;
use outrigger_sensor::changes::FileSensor;
use outrigger_sensor::clock;
use outrigger_sensor::notice::Seen;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Host, lock};

/// Notices told under one taking of the lock.
const AT_A_TIME: usize = 32;
/// How often an engine's ring is looked at while it is owed a gap.
const SETTLE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Most notices that are kept for the next batch; further ones free their memory.
const KEPT: usize = 8192;

/// A sensor of what has happened.
pub(crate) trait Source: Send {
    /// What it tells of.
    fn events(&self) -> EventSet;

    /// Readable when there is something to take; a copy, for this thread to sleep on.
    ///
    /// # Errors
    ///
    /// At the limit of descriptors.
    fn ready(&self) -> io::Result<OwnedFd>;

    /// Adds what has happened since the last call.
    ///
    /// # Errors
    ///
    /// If the sensor is of no more use.
    fn drain(&mut self, seen: &mut Vec<Seen>) -> io::Result<()>;

    /// Whether it evaluates the rules in force, and engines' filters with them.
    fn has_rules(&self) -> bool {
        false
    }
}

impl<S: Source> Source for Arc<Mutex<S>> {
    fn events(&self) -> EventSet {
        lock(self).events()
    }

    fn ready(&self) -> io::Result<OwnedFd> {
        lock(self).ready()
    }

    fn drain(&mut self, seen: &mut Vec<Seen>) -> io::Result<()> {
        lock(self).drain(seen)
    }

    fn has_rules(&self) -> bool {
        lock(self).has_rules()
    }
}

impl Source for ProcessSensor {
    fn events(&self) -> EventSet {
        self.events()
    }

    fn ready(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    fn drain(&mut self, seen: &mut Vec<Seen>) -> io::Result<()> {
        self.drain(seen)
    }
}

impl Source for FileSensor {
    fn events(&self) -> EventSet {
        self.events()
    }

    fn ready(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    fn drain(&mut self, seen: &mut Vec<Seen>) -> io::Result<()> {
        // What is left keeps the descriptor readable.
        self.drain(seen).map(drop)
    }
}

/// A sensor, and what to sleep on for it.
type Sensor = (Box<dyn Source>, OwnedFd);

/// Starts the thread that tells of what `sources` see until the process ends.
///
/// # Errors
///
/// At a limit of descriptors or threads.
pub(crate) fn start(host: &Arc<Host>, sources: Vec<Box<dyn Source>>) -> io::Result<()> {
    let with_ready = |source: Box<dyn Source>| {
        let ready = source.ready()?;
        Ok((source, ready))
    };
    let sensors = sources.into_iter().map(with_ready).collect::<io::Result<Vec<Sensor>>>()?;
    let host = Arc::clone(host);
    std::thread::Builder::new().name("notices".into()).spawn(move || run(&host, sensors))?;
    Ok(())
}

fn run(host: &Host, mut sensors: Vec<Sensor>) {
    // Whoever has docked by now missed what was before.
    let mut seen: Vec<Seen> = sensors.iter().map(|(source, _)| missing(source.events())).collect();
    loop {
        sensors.retain_mut(|(source, _)| {
            let before = seen.len();
            let drained = source.drain(&mut seen);
            if source.has_rules() {
                host.note_plane(&seen[before..]);
            }
            host.filter(&mut seen[before..]);
            drained
                .inspect_err(|error| {
                    seen.push(missing(source.events()));
                    host.note(FailureReason::SensorLost, &error.to_string());
                    tracing::error!(%error, "a sensor is lost: engines are not told of its events");
                })
                .is_ok()
        });
        let owes = host.tell(&seen);
        seen.clear();
        seen.shrink_to(KEPT);
        let mut polled: Vec<PollFd<'_>> =
            sensors.iter().map(|(_, ready)| PollFd::new(ready, PollFlags::IN)).collect();
        // An interruption is as good as an event.
        let _ = poll(&mut polled, owes.then_some(&SETTLE));
    }
}

/// The loss of whatever a sensor would have told.
fn missing(events: EventSet) -> Seen {
    Seen::Loss(Loss { events, lost: Lost::Unknown, cause: LossCause::SensorStart })
}

impl Host {
    /// Tells the engines of `seen`; whether one is owed a gap.
    fn tell(&self, seen: &[Seen]) -> bool {
        let mut owes = false;
        let mut wakes = Vec::new();
        let mut news = Vec::new();
        let mut batches = seen.chunks(AT_A_TIME);
        loop {
            let batch = batches.next();
            {
                let mut core = lock(&self.core);
                match batch {
                    Some(batch) => core.tell(batch, clock::now()),
                    None => owes |= core.settle(clock::now()),
                }
                core.take_wakes(&mut wakes);
                core.take_news(&mut news);
            }
            wakes.drain(..).for_each(|waker: Waker| waker.wake());
            if let Some(batch) = batch {
                self.tell_shadows(batch, clock::now());
            }
            self.to_control.news(std::mem::take(&mut news));
            if batch.is_none() {
                return owes;
            }
        }
    }
}
