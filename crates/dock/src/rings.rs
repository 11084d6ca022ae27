//! The four ends of the two rings.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use outrigger_api::record::{EVENT_MAX, VERDICT_SIZE};

use crate::doorbell::{Doorbell, Waker};
use crate::memory::Memory;
use crate::ring::{Consumer, Producer, PushError, RingCorrupt, check_cursor};

/// Host's end of the event ring: writes events to one engine.
#[derive(Debug)]
pub struct EventWriter {
    producer: Producer,
    /// Bytes of notices that the engine had handled when last looked, wrapping.
    handled: u32,
}

impl EventWriter {
    /// Makes an event ring with `data_bytes` of data, a power of two from 4,096 to 2³⁰; the descriptor
    /// is the engine's.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for another size; `EMFILE`, `ENFILE`, `ENOMEM` at the limits.
    pub fn create(data_bytes: u32) -> io::Result<(Self, OwnedFd)> {
        let (memory, fd) = Memory::create(data_bytes)?;
        Ok((Self { producer: Producer::new(Arc::new(memory)), handled: 0 }, fd))
    }

    /// Data bytes of the ring.
    pub(crate) fn data_bytes(&self) -> u32 {
        self.producer.memory().mapping().data_bytes()
    }

    /// Bytes of notices that the engine has not handled, of those `told` in all, wrapping.
    pub(crate) fn unhandled(&mut self, told: u32) -> Result<u32, RingCorrupt> {
        let now = self.producer.memory().handled().load(Acquire);
        self.handled = check_cursor(now, self.handled, told.wrapping_sub(self.handled))?;
        Ok(told.wrapping_sub(self.handled))
    }

    /// Copies `record`, as [`outrigger_api::record::write_event`] made it, into the ring. The engine
    /// does not see it before [`Self::publish`], so that many pushes cost one wake-up.
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing was pushed then.
    pub fn push(&mut self, record: &[u8]) -> Result<(), PushError> {
        self.producer.push(record)
    }

    /// Whether something was pushed since the last publication.
    pub fn has_unpublished(&self) -> bool {
        self.producer.has_unpublished()
    }

    /// Publishes what was pushed; whether the engine sleeps and must be woken by [`Waker::wake`]. A
    /// `true` is said once: whoever gets it must see to the wake-up.
    pub fn publish(&mut self) -> bool {
        self.producer.publish()
    }

    /// What wakes the engine, from any thread.
    pub fn waker(&self) -> Waker {
        Waker::new(Arc::clone(self.producer.memory()))
    }

    /// Bytes that were pushed and that the engine has not read, pads included.
    ///
    /// # Errors
    ///
    /// [`RingCorrupt`] if the engine's cursor is where it cannot be.
    pub fn unread_bytes(&self) -> Result<u32, RingCorrupt> {
        self.producer.unread_bytes()
    }
}

/// Host's end of the verdict ring: reads the verdicts of one engine.
#[derive(Debug)]
pub struct VerdictReader(Consumer);

impl VerdictReader {
    /// Makes a verdict ring; see [`EventWriter::create`].
    ///
    /// # Errors
    ///
    /// As [`EventWriter::create`].
    pub fn create(data_bytes: u32) -> io::Result<(Self, OwnedFd)> {
        let (memory, fd) = Memory::create(data_bytes)?;
        Ok((Self(Consumer::new(Arc::new(memory))), fd))
    }

    /// Copies the next verdict out, unparsed; `None` if there is none now.
    ///
    /// # Errors
    ///
    /// [`RingCorrupt`] if cursor or record cannot be right. The ring is of no more use then.
    pub fn pop(&mut self) -> Result<Option<[u8; VERDICT_SIZE]>, RingCorrupt> {
        let mut record = [0; VERDICT_SIZE];
        match self.0.pop(&mut record)? {
            None => Ok(None),
            Some(VERDICT_SIZE) => Ok(Some(record)),
            Some(short) => Err(RingCorrupt::Length {
                len: u32::try_from(short).expect("no longer than a verdict"),
                limit: u32::try_from(VERDICT_SIZE).expect("a verdict is short"),
            }),
        }
    }

    /// Whether nothing can be popped now: the look between [`Doorbell::arm`] and [`crate::sleep`].
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the host sleeps on until a verdict comes.
    pub fn doorbell(&self) -> Doorbell {
        Doorbell::of(Arc::clone(self.0.memory()))
    }
}

/// Engine's end of the event ring.
#[derive(Debug)]
pub struct EventReader {
    consumer: Consumer,
    /// Bytes of notices handled, wrapping.
    handled: u32,
}

impl EventReader {
    /// Maps the ring that came with the `Welcome`.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the file is not of the announced size; `ENOMEM` at the engine's memory limit.
    pub fn map(fd: OwnedFd, data_bytes: u32) -> io::Result<Self> {
        let memory = Arc::new(Memory::map(fd.as_fd(), data_bytes)?);
        Ok(Self { consumer: Consumer::new(memory), handled: 0 })
    }

    /// Tells the host that a record of `len` bytes that waited for no answer is handled: there is room for
    /// as much more. Until it is told, the host counts the record as waiting, in the ring or not.
    pub fn handled(&mut self, len: usize) {
        self.handled = self.handled.wrapping_add(u32::try_from(len).unwrap_or(0));
        self.consumer.memory().handled().store(self.handled, Release);
    }

    /// Copies the next record into `buf`, unparsed; `None` if there is none now. `buf` grows to
    /// [`EVENT_MAX`] once and is reused from then on.
    ///
    /// # Errors
    ///
    /// [`RingCorrupt`] if cursor or record cannot be right.
    pub fn pop<'a>(&mut self, buf: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, RingCorrupt> {
        buf.resize(EVENT_MAX, 0);
        Ok(self.consumer.pop(buf)?.map(|len| &buf[..len]))
    }

    /// Whether nothing can be popped now: the look between [`Doorbell::arm`] and [`crate::sleep`].
    pub fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }

    /// What the engine sleeps on until an event comes.
    pub fn doorbell(&self) -> Doorbell {
        Doorbell::of(Arc::clone(self.consumer.memory()))
    }
}

/// Engine's end of the verdict ring.
#[derive(Debug)]
pub struct VerdictWriter(Producer);

impl VerdictWriter {
    /// Maps the ring that came with the `Welcome`; see [`EventReader::map`].
    ///
    /// # Errors
    ///
    /// As [`EventReader::map`].
    pub fn map(fd: OwnedFd, data_bytes: u32) -> io::Result<Self> {
        Ok(Self(Producer::new(Arc::new(Memory::map(fd.as_fd(), data_bytes)?))))
    }

    /// Copies one verdict into the ring; the host does not see it before
    /// [`Self::publish_and_wake`].
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing was pushed then.
    pub fn push(&mut self, verdict: &[u8; VERDICT_SIZE]) -> Result<(), PushError> {
        self.0.push(verdict)
    }

    /// Publishes what was pushed, and wakes the host if it sleeps.
    pub fn publish_and_wake(&mut self) {
        if self.0.publish() {
            Waker::wake_memory(self.0.memory());
        }
    }
}
