//! What goes to one engine: questions, and notices within a share of the ring.
//!
//! A question is somebody's wait, so there is always room for it: notices may take the ring's data but
//! [`QUESTION_ROOM`]. A notice waits as long as the engine has not *handled* it, wherever it lies: in the
//! ring, or taken out of it so that a question behind it need not wait. What waits is bounded by the
//! share, and so is what an engine must keep.
//!
//! What happens as notices gather, in this order:
//!
//! 1. three quarters of the share wait: a *pressure* record, once, until half of it waits again;
//! 2. a notice finds no room: it is dropped and counted, and so is every one that follows;
//! 3. half of the share is free: a *gap* record per event with the exact count of what was dropped, and
//!    then the next notice.
//!
//! Every record has a sequence number, a dropped notice too: whoever counts sees each loss.
//!
//! Threat position: how much was handled is what a hostile engine says. It is checked as a ring's cursor
//! is, and what lies in the ring unread waits whatever the engine says: one that lies keeps no question of
//! its own out of its ring.

use outrigger_api::record::notice::{AFTERWORD_MAX, GapLayout, PressureLayout};
use outrigger_api::record::{EVENT_MAX, EventHeader, write_event};
use outrigger_api::{Event, EventSet, Loss, LossCause, Lost};

use crate::doorbell::Waker;
use crate::ring::{PushError, RingCorrupt};
use crate::rings::EventWriter;

/// Data bytes of a ring that no notice takes: room for more of the longest questions than an engine is
/// handed at a time.
pub const QUESTION_ROOM: u32 = 1 << 17;
/// Bytes besides: what tells of losses, and the pad where the ring's end comes in between.
const ASIDE: u32 = bytes(AFTERWORD_MAX + EVENT_MAX);
/// Where a record's sequence number stands.
const SEQUENCE: std::ops::Range<usize> = 16..24;

/// The host's end of an event ring.
#[derive(Debug)]
pub struct Feed {
    writer: EventWriter,
    /// Most bytes of notices that may wait to be handled.
    share: u32,
    sequence: u64,
    /// Bytes of notices put into the ring, wrapping.
    told: u32,
    /// Pressure was told, and half of the share was not free since.
    pressed: bool,
    /// Notices are dropped until half of the share is free.
    dropping: bool,
    /// Dropped since the last gap record, by event.
    // On the heap: a feed is moved about with its engine.
    dropped: Box<[u64; Event::ALL.len()]>,
    /// What others lost and this engine was not told yet; at most one per cause.
    lost: Vec<Loss>,
}

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is in the ring.
    Yes,
    /// There was no room; a gap record will tell of it.
    Dropped,
}

impl Feed {
    /// The host's end of the ring that `writer` writes.
    pub fn new(writer: EventWriter) -> Self {
        let share = writer.data_bytes().saturating_sub(QUESTION_ROOM).saturating_sub(ASIDE);
        Self {
            writer,
            share,
            sequence: 0,
            told: 0,
            pressed: false,
            dropping: false,
            dropped: Box::new([0; Event::ALL.len()]),
            lost: Vec::with_capacity(LossCause::ALL.len()),
        }
    }

    /// Puts a question into the ring. The engine does not see it before [`Self::publish`].
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing was put in then.
    ///
    /// # Panics
    ///
    /// If `scratch` is shorter than [`outrigger_api::record::QUESTION_MAX`].
    pub fn ask(
        &mut self,
        header: &mut EventHeader,
        path: Option<&[u8]>,
        scratch: &mut [u8],
    ) -> Result<(), PushError> {
        header.sequence = (self.sequence + 1).into();
        let len = write_event(header, path, scratch);
        self.writer.push(&scratch[..len])?;
        self.sequence += 1;
        Ok(())
    }

    /// Puts a notice of `event` into the ring, as [`outrigger_api::record::notice::write_notice`] made it,
    /// behind what tells of earlier losses; or drops it. The engine does not see it before
    /// [`Self::publish`].
    ///
    /// # Errors
    ///
    /// [`PushError`] but `Full`, if the engine broke the ring or `record` is none.
    pub fn tell(&mut self, event: Event, record: &mut [u8], now: u64) -> Result<Told, PushError> {
        self.settle(now)?;
        let len = u32::try_from(record.len()).unwrap_or(u32::MAX);
        let waiting = self.waiting()?;
        if self.dropping || waiting.saturating_add(len) > self.share {
            return Ok(self.drop_notice(event));
        }
        match self.push(record) {
            Ok(()) => {}
            // Questions that the engine does not take fill the ring.
            Err(PushError::Full) => return Ok(self.drop_notice(event)),
            Err(error) => return Err(error),
        }
        let waiting = waiting.saturating_add(len);
        if !self.pressed && waiting > self.share / 4 * 3 {
            let mut pressure = PressureLayout::new(waiting, self.share, now).to_bytes();
            // Where even that finds no room, the gap says more.
            self.pressed = self.push_if_room(&mut pressure)?;
        }
        Ok(Told::Yes)
    }

    /// Notes that notices were lost before they came here. [`Self::settle`] tells of it.
    pub fn lose(&mut self, loss: Loss) {
        match self.lost.iter_mut().find(|known| known.cause == loss.cause) {
            Some(known) => {
                known.events = known.events.union(loss.events);
                known.lost = known.lost.and(loss.lost);
            }
            None => self.lost.push(loss),
        }
    }

    /// Tells of what was lost, if there is room for notices again; whether nothing is left to tell.
    ///
    /// # Errors
    ///
    /// [`PushError`] but `Full`, if the engine broke the ring.
    pub fn settle(&mut self, now: u64) -> Result<bool, PushError> {
        if self.waiting()? <= self.share / 2 {
            (self.pressed, self.dropping) = (false, false);
        }
        if self.dropping {
            return Ok(false);
        }
        for &event in Event::ALL {
            let count = self.dropped[event.index()];
            if count > 0 {
                let events = EventSet::EMPTY.with(event);
                let (lost, cause) = (Lost::Exactly(count), LossCause::EngineRing);
                let mut gap = GapLayout::new(&Loss { events, lost, cause }, now).to_bytes();
                if !self.push_if_room(&mut gap)? {
                    return Ok(false);
                }
                self.dropped[event.index()] = 0;
            }
        }
        while let Some(loss) = self.lost.first() {
            let mut gap = GapLayout::new(loss, now).to_bytes();
            if !self.push_if_room(&mut gap)? {
                return Ok(false);
            }
            self.lost.remove(0);
        }
        Ok(true)
    }

    /// Whether there are losses that the engine was not told of.
    pub fn owes_gaps(&self) -> bool {
        !self.lost.is_empty() || self.dropped.iter().any(|count| *count > 0)
    }

    /// Whether something was put in since the last publication.
    pub fn has_unpublished(&self) -> bool {
        self.writer.has_unpublished()
    }

    /// Publishes what was put in; whether the engine sleeps and must be woken by [`Waker::wake`].
    pub fn publish(&mut self) -> bool {
        self.writer.publish()
    }

    /// What wakes the engine, from any thread.
    pub fn waker(&self) -> Waker {
        self.writer.waker()
    }

    /// Bytes of notices that wait to be handled, as the engine says; at least what it has not read.
    ///
    /// # Errors
    ///
    /// [`RingCorrupt`] if it says what cannot be.
    pub fn waiting(&mut self) -> Result<u32, RingCorrupt> {
        // Unread questions count as well, so that the room behind what is unread is theirs in any case.
        let unread = self.writer.unread_bytes()?;
        Ok(self.writer.unhandled(self.told)?.max(unread))
    }

    fn drop_notice(&mut self, event: Event) -> Told {
        self.dropping = true;
        self.sequence += 1;
        let count = &mut self.dropped[event.index()];
        *count = count.saturating_add(1);
        Told::Dropped
    }

    /// As [`Self::push`], for what tells of losses: it may take what is kept aside for it, and no more.
    fn push_if_room(&mut self, record: &mut [u8]) -> Result<bool, PushError> {
        if self.waiting()? > self.share.saturating_add(bytes(AFTERWORD_MAX - record.len())) {
            return Ok(false);
        }
        match self.push(record) {
            Ok(()) => Ok(true),
            Err(PushError::Full) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Numbers a record that waits for no answer, and puts it in.
    fn push(&mut self, record: &mut [u8]) -> Result<(), PushError> {
        let len = record.len();
        let place = record.get_mut(SEQUENCE).ok_or(PushError::NoRecord { len })?;
        place.copy_from_slice(&(self.sequence + 1).to_le_bytes());
        self.writer.push(record)?;
        self.sequence += 1;
        self.told = self.told.wrapping_add(bytes(len));
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "no record is longer than half of a ring")]
const fn bytes(len: usize) -> u32 {
    len as u32
}
