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
//! [`BATCH`], and is woken only if [a quarter](WATERMARK) of the ring is unread, until a look finds
//! nothing: then it sleeps again. Which of the two it does stands in the page that both sides share.
//!
//! # Keys
//!
//! A process has the key that questions carry ([`crate::identity::Subjects::key`]), also one that is
//! older than the sensor. Its parent is the one who forked it, even if that one has ended since; of a
//! process older than the sensor the one that it has at that time.

mod load;
mod record;
mod sys;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use libbpf_rs::{Link, MapCore, Object};
use outrigger_api::{Event, EventSet, Loss, LossCause, Lost};
use rustix::event::epoll;
use rustix::fs::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

pub use self::load::Refused;
use self::load::Settings;
pub use self::record::EVENTS;
use self::record::{KINDS, Record};
use crate::notice::Seen;

/// The compiled programs' place, for the test that compares both sides' types.
#[cfg(test)]
const OBJECT_PATH: &str = concat!(env!("OUT_DIR"), "/process.bpf.o");

/// Bytes of the ring: some 10,000 forks or exits, 5,000 programs with usual paths.
pub const RING: u32 = 1 << 20;

/// How long a notice may lie in the ring while others come: the reader's pause between two looks.
pub const BATCH: Duration = Duration::from_millis(5);

/// The part of the ring that may be unread before the reader is woken from its pause: one in this many.
const WATERMARK: u32 = 4;

/// Most records read by one [`ProcessSensor::drain`].
const MOST: usize = 8192;

/// `process.h`: `PROCESS_NEVER` and the value that stands for "at the first record".
const AT_FIRST: u32 = 1;

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

fn call<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> SensorError {
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
    ring: sys::Ring,
    page: sys::SharedPage,
    /// Lost records that were said, by processor and kind.
    said: Vec<[u64; KINDS]>,
    /// Runs that the kernel skipped and that were said, by kind.
    skipped: [u64; KINDS],
    watermark: u32,
    timer: OwnedFd,
    poll: OwnedFd,
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
        let least = rustix::param::page_size();
        if !bytes.is_power_of_two() || (bytes as usize) < least || bytes > RING_MAX {
            return Err(SensorError::Ring { bytes, least });
        }
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
        let page = sys::SharedPage::map(shared.as_fd())
            .map_err(call("cannot map the BPF programs' page"))?;
        let records = fd("ring").map_err(call("the BPF object has no ring"))?;
        let ring = sys::Ring::map(records.as_fd(), bytes as usize)
            .map_err(call("cannot map the BPF ring"))?;
        let (timer, poll) =
            poller(records.as_fd()).map_err(call("cannot wait for the BPF ring"))?;

        let mut sensor = Self {
            links: Vec::new(),
            refused,
            events: EventSet::EMPTY,
            ring,
            page,
            said: vec![[0; KINDS]; sys::SLOTS],
            skipped: [0; KINDS],
            watermark: bytes / WATERMARK,
            timer,
            poll,
            object,
        };
        sensor.sleep();
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
        self.forget_readiness()?;
        let shared = self.page.get();
        shared.wake_at.store(self.watermark, Ordering::SeqCst);
        let count = self.read(seen)?;
        if count == MOST {
            return self.look_again(Duration::from_nanos(1));
        }
        self.say_the_rest(seen);
        if count > 0 {
            return self.look_again(BATCH);
        }
        self.sleep();
        if self.ring.has_more() {
            // It came in between, and its writer may have seen that nobody wants to be woken yet.
            return self.look_again(BATCH);
        }
        self.look_again(Duration::ZERO)
    }

    /// From now on the next record wakes.
    fn sleep(&self) {
        self.page.get().wake_at.store(AT_FIRST, Ordering::SeqCst);
    }

    /// Makes the descriptor readable after `pause`; without one (zero), by a record only.
    fn look_again(&self, pause: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) },
        };
        // Setting it also takes back that it has fired.
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Takes the edge that the ring gave, so that the descriptor is not readable because of it.
    fn forget_readiness(&self) -> io::Result<()> {
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 2];
        epoll::wait(&self.poll, &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(())
    }

    fn read(&mut self, seen: &mut Vec<Seen>) -> io::Result<usize> {
        let Self { ring, said, .. } = self;
        for count in 0..MOST {
            let mut parsed = None;
            if !ring.next(|bytes| parsed = Some(record::parse(bytes)))? {
                return Ok(count);
            }
            let Some(parsed) = parsed else { continue };
            let Record { notice, cpu, lost } =
                parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(said) = said.get_mut(cpu as usize) {
                say(said, lost, seen);
            }
            seen.push(Seen::Notice(notice));
        }
        Ok(MOST)
    }

    /// What was lost behind the last record of each processor.
    fn say_the_rest(&mut self, seen: &mut Vec<Seen>) {
        for (said, losses) in self.said.iter_mut().zip(&self.page.get().losses) {
            say(said, [0, 1, 2].map(|kind| losses.lost[kind].load(Ordering::Relaxed)), seen);
        }
        for program in self.object.progs() {
            let kind = EVENTS
                .iter()
                .position(|&event| load::program(event).is_some_and(|name| program.name() == name));
            let Some(kind) = kind.filter(|&kind| self.events.contains(EVENTS[kind])) else {
                continue;
            };
            let skipped = sys::skipped_runs(program.as_fd()).unwrap_or(self.skipped[kind]);
            if skipped != self.skipped[kind] {
                self.skipped[kind] = skipped;
                // A run may have been that of a thread, so their number says little.
                seen.push(loss(EVENTS[kind], Lost::Unknown));
            }
        }
    }
}

/// Appends what `lost` counts more than was `said`.
///
/// A record may count less than was said: it was written before the counters were last looked at.
fn say(said: &mut [u64; KINDS], lost: [u64; KINDS], seen: &mut Vec<Seen>) {
    for (kind, (said, lost)) in said.iter_mut().zip(lost).enumerate() {
        if lost > *said {
            seen.push(loss(EVENTS[kind], Lost::Exactly(lost - *said)));
            *said = lost;
        }
    }
}

const fn loss(event: Event, lost: Lost) -> Seen {
    Seen::Loss(Loss { events: EventSet::EMPTY.with(event), lost, cause: LossCause::KernelQueue })
}

/// A timer, and a descriptor that is readable when it fired or the ring's programs woke.
fn poller(ring: BorrowedFd<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    // An edge: that records lie in the ring does not wake, only that somebody said so.
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&poll, ring, epoll::EventData::new_u64(0), edge)?;
    epoll::add(&poll, &timer, epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
    Ok((timer, poll))
}

impl AsFd for ProcessSensor {
    /// Readable when [`ProcessSensor::drain`] is due.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(seen: &[Seen]) -> Vec<(EventSet, Lost)> {
        seen.iter()
            .filter_map(|seen| match seen {
                Seen::Loss(loss) => Some((loss.events, loss.lost)),
                Seen::Notice(_) => None,
            })
            .collect()
    }

    #[test]
    fn a_loss_is_said_once_and_only_its_growth() {
        let (mut said, mut seen) = ([0; KINDS], Vec::new());

        say(&mut said, [2, 0, 0], &mut seen);
        say(&mut said, [2, 0, 0], &mut seen);
        say(&mut said, [1, 0, 0], &mut seen);
        say(&mut said, [5, 0, 1], &mut seen);

        let of = |event| EventSet::EMPTY.with(event);
        assert_eq!(
            lost(&seen),
            [
                (of(Event::ProcessFork), Lost::Exactly(2)),
                (of(Event::ProcessFork), Lost::Exactly(3)),
                (of(Event::ProcessExit), Lost::Exactly(1)),
            ]
        );
    }

    #[test]
    fn a_ring_that_no_kernel_has_is_refused_by_its_size() {
        for bytes in [0, 1, 5000, 1 << 29] {
            assert!(matches!(ProcessSensor::with_ring(bytes), Err(SensorError::Ring { .. })));
        }
    }
}
