//! The reader's end of a ring that BPF programs write records to, and of what they could not write.
//!
//! One scheme for every sensor of this kind; what a record says is for the caller to read. Wake-ups are
//! described in [`super`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use outrigger_api::{Event, EventSet, Loss, LossCause, Lost};
use rustix::event::epoll;
use rustix::fs::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::sys::{Pages, Ring, Shared};
use crate::notice::{Notice, Seen};

/// How long a notice may lie in the ring while others come: the reader's pause between two looks.
pub const BATCH: Duration = Duration::from_millis(5);

/// The part of the ring that may be unread before the reader is woken from its pause: one in this many.
const WATERMARK: u32 = 4;

/// Most records read by one [`Reader::drain`].
const MOST: usize = 8192;

/// `wake_at`: at the first record.
const AT_FIRST: u32 = 1;

/// What one record says.
#[derive(Debug)]
pub(crate) struct Record<const KINDS: usize> {
    /// What happened.
    pub(crate) notice: Notice,
    /// The processor on which it was written.
    pub(crate) cpu: u32,
    /// What was lost there before.
    pub(crate) lost: Counted<KINDS>,
}

/// How many records were dropped on a processor since the start.
#[derive(Debug)]
pub(crate) enum Counted<const KINDS: usize> {
    /// Of each kind.
    All([u64; KINDS]),
    /// Of this kind.
    One(usize, u64),
}

/// A ring, and the pages beside it that count what it had no room for.
#[derive(Debug)]
pub(crate) struct Reader<const KINDS: usize, const SLOTS: usize> {
    ring: Ring,
    page: Pages<Shared<KINDS, SLOTS>>,
    /// The event of each kind that has one.
    events: &'static [Event],
    /// Lost records that were said, by slot and kind; of the slots that this machine's processors use.
    said: Vec<[u64; KINDS]>,
    watermark: u32,
    timer: OwnedFd,
    poll: OwnedFd,
}

impl<const KINDS: usize, const SLOTS: usize> Reader<KINDS, SLOTS> {
    /// Maps a ring of `bytes` bytes and the array with the pages beside it.
    pub(crate) fn open(
        ring: BorrowedFd<'_>,
        bytes: u32,
        shared: BorrowedFd<'_>,
        events: &'static [Event],
    ) -> io::Result<Self> {
        let (timer, poll) = poller(ring)?;
        let processors = libbpf_rs::num_possible_cpus().map_or(SLOTS, |count| count.min(SLOTS));
        let this = Self {
            ring: Ring::map(ring, bytes as usize)?,
            page: Pages::map(shared)?,
            events,
            said: vec![[0; KINDS]; processors],
            watermark: bytes / WATERMARK,
            timer,
            poll,
        };
        this.sleep();
        Ok(this)
    }

    /// Appends what has been written since the last call to `seen`, in its order, and behind it what was
    /// lost since, to which `rest` adds what else is known to be missing. Never waits.
    pub(crate) fn drain(
        &mut self,
        seen: &mut Vec<Seen>,
        parse: impl Fn(&[u8]) -> io::Result<Record<KINDS>>,
        rest: impl FnOnce(&mut Vec<Seen>),
    ) -> io::Result<()> {
        self.forget_readiness()?;
        self.page.get().wake_at.store(self.watermark, Ordering::SeqCst);
        let count = self.read(seen, parse)?;
        if count == MOST {
            return self.look_again(Duration::from_nanos(1));
        }
        self.say_the_rest(seen);
        rest(seen);
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

    fn read(
        &mut self,
        seen: &mut Vec<Seen>,
        parse: impl Fn(&[u8]) -> io::Result<Record<KINDS>>,
    ) -> io::Result<usize> {
        let Self { ring, said, events, .. } = self;
        for count in 0..MOST {
            let mut parsed = None;
            if !ring.next(|bytes| parsed = Some(parse(bytes)))? {
                return Ok(count);
            }
            let Some(parsed) = parsed else { continue };
            let Record { notice, cpu, lost } = parsed?;
            if let Some(said) = said.get_mut(cpu as usize) {
                match lost {
                    Counted::All(lost) => say(events, said, lost, seen),
                    Counted::One(kind, lost) => say_one(events, said, kind, lost, seen),
                }
            }
            seen.push(Seen::Notice(notice));
        }
        Ok(MOST)
    }

    /// What was lost behind the last record of each processor.
    fn say_the_rest(&mut self, seen: &mut Vec<Seen>) {
        for (said, losses) in self.said.iter_mut().zip(&self.page.get().losses) {
            for (kind, lost) in losses.lost.iter().enumerate() {
                say_one(self.events, said, kind, lost.load(Ordering::Relaxed), seen);
            }
        }
    }
}

impl<const KINDS: usize, const SLOTS: usize> AsFd for Reader<KINDS, SLOTS> {
    /// Readable when [`Reader::drain`] is due.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

/// Appends what `lost` counts more than was `said`.
fn say<const KINDS: usize>(
    events: &[Event],
    said: &mut [u64; KINDS],
    lost: [u64; KINDS],
    seen: &mut Vec<Seen>,
) {
    for (kind, lost) in lost.into_iter().enumerate() {
        say_one(events, said, kind, lost, seen);
    }
}

/// The same of one kind. A record may count less than was said: it was written before the counters were
/// last looked at.
fn say_one<const KINDS: usize>(
    events: &[Event],
    said: &mut [u64; KINDS],
    kind: usize,
    lost: u64,
    seen: &mut Vec<Seen>,
) {
    let (Some(said), Some(&event)) = (said.get_mut(kind), events.get(kind)) else { return };
    if lost > *said {
        seen.push(loss(event, Lost::Exactly(lost - *said)));
        *said = lost;
    }
}

pub(crate) const fn loss(event: Event, lost: Lost) -> Seen {
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
        const EVENTS: [Event; 3] = [Event::ProcessFork, Event::ProcessExec, Event::ProcessExit];
        let (mut said, mut seen) = ([0; 3], Vec::new());

        say(&EVENTS, &mut said, [2, 0, 0], &mut seen);
        say(&EVENTS, &mut said, [2, 0, 0], &mut seen);
        say(&EVENTS, &mut said, [1, 0, 0], &mut seen);
        say(&EVENTS, &mut said, [5, 0, 1], &mut seen);

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
}
