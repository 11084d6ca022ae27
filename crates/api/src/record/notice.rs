//! The records of an event ring that wait for no answer: notices, gaps between them, and pressure.
//!
//! All begin as [`EventHeader`] does, up to its sequence number, so that one look at the first words says
//! what follows: a question (`phase` 0), a notice (`phase` 1), or, by a number that no event has,
//! [`GAP`] or [`PRESSURE`].

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::argument::{self, ARGUMENTS_MAX};
use super::{
    Arguments, EVENT_HEADER, Endpoint, EventHeader, EventRecord, PATH_MAX, RecordError,
    RuleOutcome, VERSION, present, write_event,
};
use crate::catalogue::{Event, EventSet};
use crate::key::{CaseId, FileKey, ProcessKey};
use crate::loss::{Loss, LossCause, Lost};
use crate::verdict::Answer;

/// Stands where an event's number does, in a [`GapLayout`].
pub const GAP: u16 = 0x0001;
/// Stands where an event's number does, in a [`PressureLayout`].
pub const PRESSURE: u16 = 0x0002;
/// Longest notice record, in bytes: one with two of the longest paths and the longest arguments.
pub const NOTICE_MAX: usize = EVENT_HEADER + PATH_MAX + EXTRA + PATH_MAX + ARGUMENTS_MAX;
/// Most bytes of the records that tell of losses and pressure, one after the other.
pub const AFTERWORD_MAX: usize = (Event::ALL.len() + LossCause::ALL.len()) * size_of::<GapLayout>()
    + size_of::<PressureLayout>();

const EXTRA: usize = size_of::<NoticeExtra>();
const EVENTS_MAX: usize = 64;
const _: () = assert!(Event::ALL.len() <= EVENTS_MAX);

/// What a notice says that a question does not. Follows the path, at the next multiple of eight, where
/// [`present::EXTRA`] is set; the new path follows it. Written by the host, read by one engine.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NoticeExtra {
    /// The subject's parent; of a fork, who forked.
    pub parent: [u8; 16],
    /// The parent's process id in the host's pid namespace; to show, never a key.
    pub parent_pid: U32,
    /// How the subject ended, the bits of the `int` that `wait(2)` gives.
    pub status: U32,
    /// Length of the new path that follows, in bytes.
    pub new_path_len: U32,
    /// Zero.
    pub reserved: U32,
}

/// Notices that did not come; they are missing before this record.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GapLayout {
    /// The record's length in bytes.
    pub len: U32,
    /// [`VERSION`].
    pub version: U16,
    /// [`GAP`].
    pub kind: U16,
    /// Zero: it belongs to no case.
    pub case: U64,
    /// As in [`EventHeader`].
    pub sequence: U64,
    /// When it was written, ns of `CLOCK_MONOTONIC`.
    pub host_time: U64,
    /// How many; 0 where `certainty` is 3.
    pub count: U64,
    /// 1 as many as `count`, 2 at least `count`, 3 unknown.
    pub certainty: u8,
    /// [`LossCause::number`].
    pub cause: u8,
    /// How many of `events` are used.
    pub event_count: U16,
    /// Zero.
    pub reserved: U32,
    /// The events that they may have been of, by number.
    pub events: [U16; EVENTS_MAX],
}

/// Notices wait to be handled, and soon some will be dropped.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PressureLayout {
    /// The record's length in bytes.
    pub len: U32,
    /// [`VERSION`].
    pub version: U16,
    /// [`PRESSURE`].
    pub kind: U16,
    /// Zero: it belongs to no case.
    pub case: U64,
    /// As in [`EventHeader`].
    pub sequence: U64,
    /// When it was written, ns of `CLOCK_MONOTONIC`.
    pub host_time: U64,
    /// Bytes of notices that were told and not handled.
    pub waiting: U32,
    /// Most bytes that may be.
    pub share: U32,
}

/// Who decided what a notice tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DecidedBy {
    /// An engine, or all of them.
    Engine = 1,
    /// A rule.
    Rule = 2,
    /// An earlier answer.
    Cache = 3,
    /// The policy's fallback.
    Fallback = 4,
    /// Somebody else; the guard rail.
    Other = 5,
}

impl DecidedBy {
    /// The one with this number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Engine),
            2 => Some(Self::Rule),
            3 => Some(Self::Cache),
            4 => Some(Self::Fallback),
            5 => Some(Self::Other),
            _ => None,
        }
    }
}

/// One record of an event ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingRecord {
    /// Somebody waits for an answer.
    Question(EventRecord),
    /// Something has happened.
    Notice(NoticeRecord),
    /// Notices are missing here.
    Gap(GapRecord),
    /// Soon notices will be missing.
    Pressure(PressureRecord),
}

/// A notice as an engine reads it. What the sensor does not know or the manifest did not ask for is
/// `None`: absent is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRecord {
    /// The kind of event; `None` for one that this build does not know.
    pub event: Option<Event>,
    /// The case in which the operation was asked about, if it was.
    pub case: Option<CaseId>,
    /// The record's number in its ring.
    pub sequence: u64,
    /// When the kernel saw it, ns of `CLOCK_MONOTONIC`.
    pub kernel_time: Option<u64>,
    /// When the host passed it on, ns of `CLOCK_MONOTONIC`.
    pub host_time: u64,
    /// What became of it, where it was decided.
    pub outcome: Option<(Answer, DecidedBy)>,
    /// The subject.
    pub process: Option<ProcessKey>,
    /// The subject's process id.
    pub pid: Option<u32>,
    /// The subject's parent.
    pub parent: Option<ProcessKey>,
    /// The parent's process id.
    pub parent_pid: Option<u32>,
    /// The subject's effective user and group.
    pub credentials: Option<(u32, u32)>,
    /// The object.
    pub file: Option<FileKey>,
    /// The object's path, cut at [`PATH_MAX`].
    pub path: Option<Vec<u8>>,
    /// The object's path after a rename, cut at [`PATH_MAX`].
    pub new_path: Option<Vec<u8>>,
    /// How a process ended, as `wait(2)` has it.
    pub status: Option<i32>,
    /// The object, where it is a process.
    pub target: Option<ProcessKey>,
    /// Its process id in the host's pid namespace.
    pub target_pid: Option<u32>,
    /// The numbers of the event, as [`crate::attribute::arguments`] names them.
    pub values: [Option<u64>; 2],
    /// The object, where it is an address.
    pub endpoint: Option<Endpoint>,
    /// The text of the event, cut at [`super::TEXT_MAX`].
    pub text: Option<Vec<u8>>,
    /// What a rule did about it.
    pub ruled: Option<RuleOutcome>,
    /// That rule's name, cut at [`super::RULE_NAME_MAX`].
    pub rule: Option<String>,
}

/// A gap as an engine reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapRecord {
    /// The record's number in its ring.
    pub sequence: u64,
    /// When it was written, ns of `CLOCK_MONOTONIC`.
    pub host_time: u64,
    /// What is missing.
    pub loss: Loss,
}

/// Pressure as an engine reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PressureRecord {
    /// The record's number in its ring.
    pub sequence: u64,
    /// When it was written, ns of `CLOCK_MONOTONIC`.
    pub host_time: u64,
    /// Bytes of notices that were told and not handled.
    pub waiting: u32,
    /// Most bytes that may be.
    pub share: u32,
}

/// What follows the header of a notice.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoticeTail<'a> {
    /// The object's path; cut at [`PATH_MAX`].
    pub path: Option<&'a [u8]>,
    /// Whichever of its fields the header's bits name.
    pub extra: Option<NoticeExtra>,
    /// The object's other path; cut at [`PATH_MAX`].
    pub new_path: Option<&'a [u8]>,
    /// The event's arguments.
    pub arguments: Arguments<'a>,
}

/// Writes a notice into `out`; returns the record's length.
///
/// Sets in `header` what [`write_event`] sets, `phase`, and the bits of what follows the path; of
/// `tail.extra`, `new_path_len`.
///
/// # Panics
///
/// If `out` is shorter than [`NOTICE_MAX`].
pub fn write_notice(header: &mut EventHeader, tail: NoticeTail<'_>, out: &mut [u8]) -> usize {
    let NoticeTail { path, extra, new_path, arguments } = tail;
    header.phase = 1;
    let mut bits = header.present.get();
    bits &= !(present::EXTRA | present::NEW_PATH | present::NEW_PATH_CUT | argument::BITS);
    bits |= arguments.bits();
    if extra.is_some() || new_path.is_some() {
        bits |= present::EXTRA;
    }
    let whole = new_path.unwrap_or_default();
    let kept = &whole[..whole.len().min(PATH_MAX)];
    if new_path.is_some() {
        bits |= present::NEW_PATH;
    }
    if kept.len() < whole.len() {
        bits |= present::NEW_PATH_CUT;
    }
    header.present = bits.into();
    let mut len = write_event(header, path, out);
    if bits & present::EXTRA != 0 {
        let mut extra = extra.unwrap_or_else(NoticeExtra::new_zeroed);
        extra.new_path_len =
            u32::try_from(kept.len()).expect("a path is shorter than PATH_MAX").into();
        let path_at = len + EXTRA;
        let end = path_at + kept.len();
        out[len..path_at].copy_from_slice(extra.as_bytes());
        out[path_at..end].copy_from_slice(kept);
        len = end.next_multiple_of(8);
        out[end..len].fill(0);
    }
    if bits & present::ARGUMENTS != 0 {
        len += arguments.write(&mut out[len..]);
    }
    let whole = u32::try_from(len).expect("a record is shorter than NOTICE_MAX");
    header.len = whole.into();
    out[..4].copy_from_slice(&whole.to_le_bytes());
    len
}

impl RingRecord {
    /// Reads one record from `bytes`, which hold it exactly.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the bytes are no record of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let kind = bytes.get(6..8).map(|kind| u16::from_le_bytes([kind[0], kind[1]]));
        match kind {
            Some(GAP) => GapRecord::parse(bytes).map(Self::Gap),
            Some(PRESSURE) => PressureRecord::parse(bytes).map(Self::Pressure),
            _ => match EventHeader::ref_from_prefix(bytes) {
                Ok((header, _)) if header.phase != 0 => {
                    NoticeRecord::parse(bytes).map(Self::Notice)
                }
                _ => EventRecord::parse(bytes).map(Self::Question),
            },
        }
    }
}

impl NoticeRecord {
    /// Reads one notice from `bytes`, which hold it exactly.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the bytes are no notice of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let (header, path, rest) = EventHeader::split(bytes)?;
        let bits = header.present.get();
        let has = |bit: u64| bits & bit != 0;
        let short = |want: usize| RecordError::Length {
            got: bytes.len(),
            want: EVENT_HEADER.saturating_add(want),
        };
        // Each part begins at the next multiple of eight, counted from the header, which is one itself.
        let mut at = path.len().next_multiple_of(8);
        let (extra, new_path) = if has(present::EXTRA) {
            let path_at = at + EXTRA;
            let tail = rest.get(at..).ok_or_else(|| short(path_at))?;
            let (extra, tail) = NoticeExtra::ref_from_prefix(tail).map_err(|_| short(path_at))?;
            let len = extra.new_path_len.get() as usize;
            let new_path = tail
                .get(..len)
                .filter(|_| len <= PATH_MAX)
                .ok_or_else(|| short(path_at.saturating_add(len)))?;
            at = (path_at + len).next_multiple_of(8);
            (Some(extra), new_path)
        } else {
            (None, &[][..])
        };
        let said = if has(present::ARGUMENTS) {
            let tail = rest.get(at..).unwrap_or_default();
            argument::Read::parse(tail, bits).map_err(|want| short(at.saturating_add(want)))?
        } else {
            argument::Read::default()
        };
        let more = |bit: u64| extra.filter(|_| has(bit));
        let answer = match header.outcome {
            1 => Some(Answer::Allow),
            2 => Some(Answer::Deny),
            _ => None,
        };
        Ok(Self {
            event: Event::from_number(header.event.get()),
            case: CaseId::new(header.case.get()),
            sequence: header.sequence.get(),
            kernel_time: has(present::KERNEL_TIME).then(|| header.kernel_time.get()),
            host_time: header.host_time.get(),
            outcome: answer.zip(DecidedBy::from_number(header.decided_by)),
            process: has(present::PROCESS).then_some(ProcessKey(header.process)),
            pid: has(present::PID).then(|| header.pid.get()),
            parent: more(present::PARENT).map(|extra| ProcessKey(extra.parent)),
            parent_pid: more(present::PARENT_PID).map(|extra| extra.parent_pid.get()),
            credentials: has(present::CREDENTIALS).then(|| (header.uid.get(), header.gid.get())),
            file: has(present::FILE).then_some(FileKey(header.file)),
            path: has(present::PATH).then(|| path.to_vec()),
            new_path: has(present::NEW_PATH).then(|| new_path.to_vec()),
            status: more(present::STATUS).map(|extra| extra.status.get().cast_signed()),
            target: said.target,
            target_pid: said.target_pid,
            values: said.values,
            endpoint: said.endpoint,
            text: said.text,
            ruled: said.ruled,
            rule: said.rule,
        })
    }
}

impl GapLayout {
    /// The record that tells of `loss`. Its sequence number is the ring's to give.
    pub fn new(loss: &Loss, host_time: u64) -> Self {
        let mut layout = Self::new_zeroed();
        layout.len = u32::try_from(size_of::<Self>()).expect("a gap is short").into();
        layout.version = VERSION.into();
        layout.kind = GAP.into();
        layout.host_time = host_time.into();
        let (certainty, count) = match loss.lost {
            Lost::Exactly(count) => (1, count),
            Lost::AtLeast(count) => (2, count),
            Lost::Unknown => (3, 0),
        };
        (layout.certainty, layout.count) = (certainty, count.into());
        layout.cause = loss.cause.number();
        let mut used = 0_u16;
        for (slot, event) in layout.events.iter_mut().zip(loss.events.iter()) {
            *slot = event.number().into();
            used += 1;
        }
        layout.event_count = used.into();
        layout
    }

    /// The record's bytes.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        zerocopy::transmute!(self)
    }
}

impl GapRecord {
    fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let layout = GapLayout::ref_from_bytes(bytes)
            .map_err(|_| RecordError::Length { got: bytes.len(), want: size_of::<GapLayout>() })?;
        check_prefix(bytes.len(), layout.len.get(), layout.version.get())?;
        let (certainty, cause) = (layout.certainty, layout.cause);
        let unknown = RecordError::Loss { certainty, cause };
        let count = layout.count.get();
        let lost = match certainty {
            1 => Lost::Exactly(count),
            2 => Lost::AtLeast(count),
            3 => Lost::Unknown,
            _ => return Err(unknown),
        };
        let used = usize::from(layout.event_count.get()).min(EVENTS_MAX);
        // Of an event that a later build has, this one's engine did not ask to be told.
        let known = |number: &U16| Event::from_number(number.get());
        let events: EventSet = layout.events[..used].iter().filter_map(known).collect();
        let cause = LossCause::from_number(cause).ok_or(unknown)?;
        Ok(Self {
            sequence: layout.sequence.get(),
            host_time: layout.host_time.get(),
            loss: Loss { events, lost, cause },
        })
    }
}

impl PressureLayout {
    /// The record that says how much waits. Its sequence number is the ring's to give.
    pub fn new(waiting: u32, share: u32, host_time: u64) -> Self {
        let mut layout = Self::new_zeroed();
        layout.len = u32::try_from(size_of::<Self>()).expect("it is short").into();
        layout.version = VERSION.into();
        layout.kind = PRESSURE.into();
        layout.host_time = host_time.into();
        layout.waiting = waiting.into();
        layout.share = share.into();
        layout
    }

    /// The record's bytes.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        zerocopy::transmute!(self)
    }
}

impl PressureRecord {
    fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let layout = PressureLayout::ref_from_bytes(bytes).map_err(|_| RecordError::Length {
            got: bytes.len(),
            want: size_of::<PressureLayout>(),
        })?;
        check_prefix(bytes.len(), layout.len.get(), layout.version.get())?;
        Ok(Self {
            sequence: layout.sequence.get(),
            host_time: layout.host_time.get(),
            waiting: layout.waiting.get(),
            share: layout.share.get(),
        })
    }
}

fn check_prefix(got: usize, len: u32, version: u16) -> Result<(), RecordError> {
    if len as usize != got {
        return Err(RecordError::Length { got, want: len as usize });
    }
    if version != VERSION {
        return Err(RecordError::Version { got: version });
    }
    Ok(())
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
