//! Processes that were made, run another program, or ended: told by BPF programs of ours.
//!
//! The programs (`bpf/process.bpf.c`) hang at the scheduler's tracepoints, so they see every process of
//! the machine, whatever its namespaces, and nothing waits for them. They write into one ring, in the
//! order in which things happened; this end reads it. What the ring had no room for is counted, per
//! processor, and said where it is missing.
//!
//! # Wake-ups
//!
//! A wake-up costs the process that forks more than everything else the programs do. So there is one
//! for the first record that comes while the reader sleeps. Then the reader looks by itself, every
//! [`BATCH`], and is woken only if a quarter of the ring is unread, until a look finds
//! nothing: then it sleeps again. Which of the two it does stands in the page that both sides share.
//!
//! # Keys
//!
//! A process has the key that questions carry ([`crate::identity::Subjects::key`]), also one that is
//! older than the sensor. Its parent is the one who forked it, even if that one has ended since; of a
//! process older than the sensor the one that it has at that time.

pub(crate) mod load;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod sys;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use libbpf_rs::{Link, MapCore, Object};
use outrigger_api::{Event, EventSet, Lost};

pub use self::load::Refused;
use self::load::Settings;
pub use self::reader::BATCH;
use self::reader::{Counted, Reader, Record, loss};
pub use self::record::EVENTS;
use self::record::KINDS;
use crate::notice::Seen;

/// The compiled programs' place, for the test that compares both sides' types.
#[cfg(test)]
const OBJECT_PATH: &str = concat!(env!("OUT_DIR"), "/process.bpf.o");

/// Bytes of the ring: some 10,000 forks or exits, 5,000 programs with usual paths.
pub const RING: u32 = 1 << 20;

/// Slots of counters (`process.h`: `PROCESS_SLOTS`).
const SLOTS: usize = 1024;

/// Why there is no process sensor.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The ring cannot have this size.
    #[error(
        "a BPF ring of {bytes} bytes is not possible: a power of two from {least} to {RING_MAX}"
    )]
    Ring {
        /// What was asked for.
        bytes: u32,
        /// A page.
        least: usize,
    },
    /// The kernel took none of the programs; the first one's reason.
    #[error(transparent)]
    Refused(Refused),
    /// They load alone but not together.
    #[error("the BPF programs that load alone do not load together")]
    Load(#[source] libbpf_rs::Error),
    /// A call failed.
    #[error("{what}")]
    Call {
        /// What it was for.
        what: &'static str,
        /// Its error.
        source: io::Error,
    },
}

/// Largest ring.
const RING_MAX: u32 = 1 << 28;

pub(crate) fn call<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> SensorError {
    move |source| SensorError::Call { what, source: source.into() }
}

/// One of the sensor's events, and whether the kernel takes its program.
pub type Trial = (Event, Result<(), Refused>);

/// Which of its events the process sensor can tell of on this kernel, each found by trial.
///
/// # Errors
///
/// [`SensorError::Call`] if this process's own namespace cannot be found out.
pub fn probe() -> Result<Vec<Trial>, SensorError> {
    let settings = settings(RING)?;
    Ok(EVENTS.iter().map(|&event| (event, load::trial(event, settings))).collect())
}

fn settings(ring: u32) -> Result<Settings, SensorError> {
    Settings::of_this_process(ring).map_err(call("cannot find out the own pid namespace"))
}

/// Tells of processes that were made, run another program, or ended.
#[derive(Debug)]
pub struct ProcessSensor {
    // Dropped first, and within it forks before execs before exits: of a process that was told of as
    // made, the end is told too as long as the sensor runs.
    links: Vec<Link>,
    refused: Vec<Refused>,
    events: EventSet,
    reader: Reader<KINDS, SLOTS>,
    /// Runs that the kernel skipped and that were said, by kind.
    skipped: [u64; KINDS],
    object: Object,
}

impl ProcessSensor {
    /// Loads and attaches the programs that this kernel takes. Needs root.
    ///
    /// # Errors
    ///
    /// [`SensorError::Refused`] if the kernel takes none of them; where it takes some, [`Self::refused`]
    /// has the reasons for the others.
    pub fn open() -> Result<Self, SensorError> {
        Self::with_ring(RING)
    }

    /// The same with a ring of `bytes` bytes: a power of two, at least a page.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], and [`SensorError::Ring`].
    pub fn with_ring(bytes: u32) -> Result<Self, SensorError> {
        check_ring(bytes)?;
        let settings = settings(bytes)?;
        let (mut possible, mut refused) = (Vec::new(), Vec::new());
        for event in EVENTS {
            match load::trial(event, settings) {
                Ok(()) => possible.push(event),
                Err(why) => refused.push(why),
            }
        }
        if possible.is_empty() {
            return Err(SensorError::Refused(refused.remove(0)));
        }
        let object = load::load(&possible, settings).map_err(SensorError::Load)?;
        let fd = |name: &str| {
            let map = object.maps().find(|map| map.name() == name);
            map.ok_or(io::ErrorKind::NotFound)
        };
        let shared = fd("shared").map_err(call("the BPF object has no page to share"))?;
        let records = fd("ring").map_err(call("the BPF object has no ring"))?;
        let reader = Reader::open(records.as_fd(), bytes, shared.as_fd(), &EVENTS)
            .map_err(call("cannot map what the BPF programs write to"))?;

        let mut sensor = Self {
            links: Vec::new(),
            refused,
            events: EventSet::EMPTY,
            reader,
            skipped: [0; KINDS],
            object,
        };
        sensor.attach(&possible)?;
        Ok(sensor)
    }

    fn attach(&mut self, possible: &[Event]) -> Result<(), SensorError> {
        // Exits first: see the field.
        for &event in possible.iter().rev() {
            let named = load::program(event).map(OsStr::new);
            let Some(program) =
                self.object.progs_mut().find(|program| Some(program.name()) == named)
            else {
                continue;
            };
            match program.attach() {
                Ok(link) => {
                    self.links.insert(0, link);
                    self.events = self.events.with(event);
                }
                Err(error) => self.refused.push(load::refused(event, error)),
            }
        }
        if self.links.is_empty() {
            return Err(SensorError::Refused(self.refused.remove(0)));
        }
        Ok(())
    }

    /// The events that it tells of.
    pub const fn events(&self) -> EventSet {
        self.events
    }

    /// Why it does not tell of the others.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Appends what has been seen since the last call to `seen`, in its order; never waits.
    ///
    /// To be called when [`AsFd::as_fd`] is readable, and once before it is waited for.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the ring holds what the programs cannot have written: the sensor is of no more
    /// use.
    pub fn drain(&mut self, seen: &mut Vec<Seen>) -> io::Result<()> {
        let parse = |bytes: &[u8]| {
            let parsed = record::parse(bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let record::Record { notice, cpu, lost } = parsed;
            Ok(Record { notice, cpu, lost: Counted::All(lost) })
        };
        let Self { object, events, skipped, .. } = self;
        self.reader.drain(seen, parse, |seen| say_skipped(object, *events, skipped, seen))
    }
}

/// Says the runs that the kernel skipped since the last look.
fn say_skipped(
    object: &Object,
    events: EventSet,
    skipped: &mut [u64; KINDS],
    seen: &mut Vec<Seen>,
) {
    for program in object.progs() {
        let kind = EVENTS
            .iter()
            .position(|&event| load::program(event).is_some_and(|name| program.name() == name));
        let Some(kind) = kind.filter(|&kind| events.contains(EVENTS[kind])) else {
            continue;
        };
        let now = sys::skipped_runs(program.as_fd()).unwrap_or(skipped[kind]);
        if now != skipped[kind] {
            skipped[kind] = now;
            // A run may have been that of a thread, so their number says little.
            seen.push(loss(EVENTS[kind], Lost::Unknown));
        }
    }
}

/// Whether a ring can have this size.
pub(crate) fn check_ring(bytes: u32) -> Result<(), SensorError> {
    let least = rustix::param::page_size();
    if !bytes.is_power_of_two() || (bytes as usize) < least || bytes > RING_MAX {
        return Err(SensorError::Ring { bytes, least });
    }
    Ok(())
}

impl AsFd for ProcessSensor {
    /// Readable when [`ProcessSensor::drain`] is due.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_no_kernel_has_is_refused_by_its_size() {
        for bytes in [0, 1, 5000, 1 << 29] {
            assert!(matches!(ProcessSensor::with_ring(bytes), Err(SensorError::Ring { .. })));
        }
    }
}
