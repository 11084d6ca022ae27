//! One direction of a dock: records from one producer to one consumer.
//!
//! Cursors are byte counts that wrap at 2³²; the data area is a power of two, so a cursor's place in it
//! is its low bits. A record begins with its length in bytes (u32, little-endian, a multiple of eight)
//! and its version (u16), lies in one piece and is never wrapped: where it does not fit before the
//! end, a *pad* fills the rest, which is a record of version zero.
//!
//! Each side keeps its own cursor to itself and only writes it to the shared memory; the peer's is read
//! and checked: it may move forward only, by whole words, and not past what there is. Both kinds of
//! side check alike, since either may sit opposite a hostile peer.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;

use crate::memory::Memory;

const WORD: u32 = 8;

/// The peer wrote what no honest peer writes; the ring is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingCorrupt {
    /// The peer's cursor went backwards, too far, or into a word.
    #[error(
        "the peer moved its cursor by {moved} bytes, where a multiple of 8 up to {limit} can be"
    )]
    Cursor {
        /// How far it moved, in bytes, wrapping: a step backwards is a huge one.
        moved: u32,
        /// How far it could have moved, in bytes.
        limit: u32,
    },
    /// A record's length does not fit where it lies.
    #[error("the peer wrote a record of {len} bytes, where a multiple of 8 up to {limit} fits")]
    Length {
        /// The length found, in bytes.
        len: u32,
        /// The longest that fits there, in bytes.
        limit: u32,
    },
    /// A pad that does not end where the data area ends, or that no record follows.
    #[error("the peer wrote a pad of {len} bytes where none can be")]
    Pad {
        /// The pad's length, in bytes.
        len: u32,
    },
}

/// The record was not put into the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No room until the peer has read more.
    #[error("the ring is full")]
    Full,
    /// The peer broke the ring.
    #[error("the ring is corrupt")]
    Corrupt(#[from] RingCorrupt),
    /// The bytes are no record: a fault of the caller.
    #[error("record of {len} bytes: must be a multiple of 8, up to half the ring, and stand in it")]
    NoRecord {
        /// The record's length, in bytes.
        len: usize,
    },
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Producer {
    memory: Arc<Memory>,
    /// Bytes pushed.
    head: u32,
    /// Bytes of them that the peer was told of.
    published: u32,
    /// Bytes that the peer had read when last looked.
    consumed: u32,
}

impl Producer {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, head: 0, published: 0, consumed: 0 }
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Copies `record` into the ring; the peer does not see it before [`Self::publish`].
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<(), PushError> {
        let capacity = self.memory.mapping().data_bytes();
        let malformed = PushError::NoRecord { len: record.len() };
        let (words, rest) = record.as_chunks::<{ WORD as usize }>();
        let first = words.first().ok_or(malformed)?;
        let (len, _) = prefix(u64::from_ne_bytes(*first));
        if !rest.is_empty() || len as usize != record.len() || len > capacity / 2 {
            return Err(malformed);
        }

        let offset = self.head & (capacity - 1);
        let to_end = capacity - offset;
        let pad = if len > to_end { to_end } else { 0 };
        // At most half the ring is the record and less than that the pad: an empty ring holds both.
        let needed = len + pad;
        if needed > self.free_as_known() {
            self.look()?;
            if needed > self.free_as_known() {
                return Err(PushError::Full);
            }
        }

        let data = self.memory.mapping().data();
        let mut at = (offset / WORD) as usize;
        if pad > 0 {
            data[at].store(u64::from(pad).to_le(), Relaxed);
            at = 0;
        }
        for (slot, word) in data[at..].iter().zip(words) {
            slot.store(u64::from_ne_bytes(*word), Relaxed);
        }
        self.head = self.head.wrapping_add(needed);
        Ok(())
    }

    /// Whether something was pushed since the last publication.
    pub(crate) const fn has_unpublished(&self) -> bool {
        self.head != self.published
    }

    /// Tells the peer of what was pushed; whether it sleeps and must be woken.
    ///
    /// Takes back the peer's word that it sleeps, so that only one publication wakes it: a `true` that
    /// is not followed by a wake-up leaves it asleep.
    pub(crate) fn publish(&mut self) -> bool {
        self.memory.produced().store(self.head, Release);
        self.published = self.head;
        // Pairs with the fence in `Doorbell::arm`: of the two sides one sees what the other wrote.
        fence(SeqCst);
        let sleeping = self.memory.sleeping();
        if sleeping.load(Relaxed) == 0 {
            return false;
        }
        sleeping.store(0, Relaxed);
        true
    }

    /// Bytes pushed that the peer has not read.
    pub(crate) fn unread_bytes(&self) -> Result<u32, RingCorrupt> {
        Ok(self.head.wrapping_sub(self.peer_cursor()?))
    }

    fn free_as_known(&self) -> u32 {
        self.memory.mapping().data_bytes() - self.head.wrapping_sub(self.consumed)
    }

    fn look(&mut self) -> Result<(), RingCorrupt> {
        self.consumed = self.peer_cursor()?;
        Ok(())
    }

    fn peer_cursor(&self) -> Result<u32, RingCorrupt> {
        let limit = self.published.wrapping_sub(self.consumed);
        check_cursor(self.memory.consumed().load(Acquire), self.consumed, limit)
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Consumer {
    memory: Arc<Memory>,
    /// Bytes read.
    tail: u32,
    /// Bytes that the peer had produced when last looked.
    produced: u32,
}

impl Consumer {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, tail: 0, produced: 0 }
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Whether there is nothing to read, as far as the peer says. Checks nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.tail == self.produced && self.memory.produced().load(Acquire) == self.tail
    }

    /// Copies the next record into `out`, which is as long as a record can be; the record's length.
    pub(crate) fn pop(&mut self, out: &mut [u8]) -> Result<Option<usize>, RingCorrupt> {
        if self.tail == self.produced {
            let capacity = self.memory.mapping().data_bytes();
            let now = self.memory.produced().load(Acquire);
            self.produced = check_cursor(now, self.produced, capacity)?;
            if self.tail == self.produced {
                return Ok(None);
            }
        }
        let (mut at, mut len, mut is_pad) = self.front(0)?;
        let mut skipped = 0;
        if is_pad {
            skipped = len;
            if at + len != self.memory.mapping().data_bytes() {
                return Err(RingCorrupt::Pad { len });
            }
            (at, len, is_pad) = self.front(skipped)?;
            if is_pad {
                return Err(RingCorrupt::Pad { len });
            }
        }

        let limit = u32::try_from(out.len()).unwrap_or(u32::MAX);
        let into = out
            .get_mut(..len as usize)
            .ok_or(RingCorrupt::Length { len, limit })?
            .as_chunks_mut()
            .0;
        for (word, slot) in into.iter_mut().zip(&self.memory.mapping().data()[word(at)..]) {
            *word = slot.load(Relaxed).to_ne_bytes();
        }
        // The length was read twice, and the second may be another: the copy says what was checked.
        if let Some([first, ..]) = into.first_chunk_mut::<1>() {
            first[..4].copy_from_slice(&len.to_le_bytes());
        }
        self.tail = self.tail.wrapping_add(skipped + len);
        self.memory.consumed().store(self.tail, Release);
        Ok(Some(len as usize))
    }

    /// Place, length and pad-ness of the record `ahead` bytes before the tail, all checked.
    fn front(&self, ahead: u32) -> Result<(u32, u32, bool), RingCorrupt> {
        let tail = self.tail.wrapping_add(ahead);
        let capacity = self.memory.mapping().data_bytes();
        let at = tail & (capacity - 1);
        let limit = self.produced.wrapping_sub(tail).min(capacity - at);
        // With nothing left after a pad the word there is an old one, and nothing fits.
        let (len, version) = prefix(self.memory.mapping().data()[word(at)].load(Relaxed));
        if len == 0 || !len.is_multiple_of(WORD) || len > limit {
            return Err(RingCorrupt::Length { len, limit });
        }
        Ok((at, len, version == 0))
    }
}

/// The peer's cursor `now`, if it can have come there from `before`.
pub(crate) fn check_cursor(now: u32, before: u32, limit: u32) -> Result<u32, RingCorrupt> {
    let moved = now.wrapping_sub(before);
    if moved > limit || !moved.is_multiple_of(WORD) {
        return Err(RingCorrupt::Cursor { moved, limit });
    }
    Ok(now)
}

/// Length and version in the first word of a record.
fn prefix(word: u64) -> (u32, u16) {
    let [l0, l1, l2, l3, v0, v1, ..] = word.to_ne_bytes();
    (u32::from_le_bytes([l0, l1, l2, l3]), u16::from_le_bytes([v0, v1]))
}

fn word(offset: u32) -> usize {
    (offset / WORD) as usize
}
