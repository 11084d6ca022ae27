//! The records of the shared-memory rings: events to an engine, verdicts from it.
//!
//! All numbers are little-endian. A record starts with its whole length in bytes, a multiple of
//! eight, and its version; a reader skips what it does not know by the length. Readable from C. What an
//! event ring holds besides questions is in [`notice`].
//!
//! Threat position: [`VerdictRecord::parse`] reads bytes that a hostile engine wrote, already copied
//! out of shared memory once; [`EventRecord::parse`] is the engine's side of the same care.

mod argument;
pub mod notice;

pub use argument::{Arguments, Endpoint, RULE_NAME_MAX, RuleOutcome, TEXT_MAX};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::catalogue::Event;
use crate::key::{CaseId, FileKey, ProcessKey};
use crate::verdict::Verdict;

/// Version of both layouts.
pub const VERSION: u16 = 1;
/// Bytes of an event record before its path.
pub const EVENT_HEADER: usize = size_of::<EventHeader>();
/// Longest path carried, in bytes; a longer one is cut and said to be.
pub const PATH_MAX: usize = 4096;
/// Longest record of a question, in bytes.
pub const QUESTION_MAX: usize = EVENT_HEADER + PATH_MAX;
/// Longest record of an event ring, in bytes.
pub const EVENT_MAX: usize = notice::NOTICE_MAX;
/// Bytes of a verdict record.
pub const VERDICT_SIZE: usize = size_of::<VerdictLayout>();
/// Longest detail that an engine may give with a verdict, in bytes of UTF-8.
pub const DETAIL_MAX: usize = 64;

/// Bits of [`EventHeader::present`]: what the sensor supplied. Absent is not empty.
pub mod present {
    /// `process` names the subject.
    pub const PROCESS: u64 = 1 << 0;
    /// `file` names the object.
    pub const FILE: u64 = 1 << 1;
    /// `pid` is set.
    pub const PID: u64 = 1 << 2;
    /// `uid` and `gid` are set.
    pub const CREDENTIALS: u64 = 1 << 3;
    /// `size` and `changed` are set.
    pub const ATTRIBUTES: u64 = 1 << 4;
    /// The path follows.
    pub const PATH: u64 = 1 << 5;
    /// The path was longer than `PATH_MAX` and is cut.
    pub const PATH_CUT: u64 = 1 << 6;
    /// A content descriptor with this case's number is on its way on the content socket.
    pub const CONTENT: u64 = 1 << 7;
    /// `kernel_time` is set.
    pub const KERNEL_TIME: u64 = 1 << 8;
    /// Reading the content can wait for a file system's server.
    pub const MAY_BLOCK: u64 = 1 << 9;
    /// [`super::notice::NoticeExtra`] follows the path.
    pub const EXTRA: u64 = 1 << 10;
    /// `parent` names the subject's parent.
    pub const PARENT: u64 = 1 << 11;
    /// `parent_pid` is set.
    pub const PARENT_PID: u64 = 1 << 12;
    /// `status` is set.
    pub const STATUS: u64 = 1 << 13;
    /// The new path follows.
    pub const NEW_PATH: u64 = 1 << 14;
    /// The new path was longer than `PATH_MAX` and is cut.
    pub const NEW_PATH_CUT: u64 = 1 << 15;
    /// [`super::Arguments`] follow everything else.
    pub const ARGUMENTS: u64 = 1 << 16;
    /// `target` names the process that is the object.
    pub const TARGET: u64 = 1 << 17;
    /// `target_pid` is set.
    pub const TARGET_PID: u64 = 1 << 18;
    /// The first number is set.
    pub const VALUE0: u64 = 1 << 19;
    /// The second number is set.
    pub const VALUE1: u64 = 1 << 20;
    /// `family` and `port` are set.
    pub const ENDPOINT: u64 = 1 << 21;
    /// `address` is set too.
    pub const ADDRESS: u64 = 1 << 22;
    /// The text follows.
    pub const TEXT: u64 = 1 << 23;
    /// The text was longer than `TEXT_MAX` and is cut.
    pub const TEXT_CUT: u64 = 1 << 24;
    /// `ruled` says what a rule did.
    pub const RULED: u64 = 1 << 25;
    /// That rule's name follows the text.
    pub const RULE_NAME: u64 = 1 << 26;
}

/// Why no content descriptor comes with an event; 0 where one does, or none was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ContentAbsent {
    /// The administrator granted this engine no content.
    NotGranted = 1,
    /// The object is key material, left out by default.
    KeyMaterial = 2,
    /// The object is not a regular file.
    NotRegular = 3,
    /// The engine does not take its content descriptors fast enough.
    Backlog = 4,
}

impl ContentAbsent {
    /// The reason with this number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::NotGranted),
            2 => Some(Self::KeyMaterial),
            3 => Some(Self::NotRegular),
            4 => Some(Self::Backlog),
            _ => None,
        }
    }
}

/// The fixed part of an event record. Written by the host, read by one engine.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EventHeader {
    /// The whole record's length in bytes, path and padding included; a multiple of eight.
    pub len: U32,
    /// [`VERSION`].
    pub version: U16,
    /// [`Event::number`].
    pub event: U16,
    /// The case's number; the verdict names it. It joins before and after of one operation: where `phase`
    /// is 1, that of the question that was asked about it, which waits no more; 0 where none was.
    pub case: U64,
    /// Counts the records of this ring from one, those that found no room in it included: a jump is as
    /// many notices lost, of which gaps tell.
    pub sequence: U64,
    /// When the kernel saw it, ns of `CLOCK_MONOTONIC`, where the sensor tells.
    pub kernel_time: U64,
    /// When the host read it, ns of `CLOCK_MONOTONIC`.
    pub host_time: U64,
    /// When the case ends by fallback, ns of `CLOCK_MONOTONIC`; 0 for an event that does not wait.
    pub deadline: U64,
    /// Bits of [`present`].
    pub present: U64,
    /// 0 before the operation, 1 after it.
    pub phase: u8,
    /// Where `phase` is 1 and the operation was decided: 1 allowed, 2 denied; 0 otherwise.
    pub outcome: u8,
    /// A [`notice::DecidedBy`] number where `outcome` is set.
    pub decided_by: u8,
    /// 0 bytes of unknown encoding (Linux paths), 1 UTF-8.
    pub path_encoding: u8,
    /// A [`ContentAbsent`] number, or 0.
    pub content_absent: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// The subject.
    pub process: [u8; 16],
    /// The object.
    pub file: [u8; 32],
    /// The subject's process id in the host's pid namespace; to show, never a key.
    pub pid: U32,
    /// The subject's effective user id.
    pub uid: U32,
    /// The subject's effective group id.
    pub gid: U32,
    /// Length of the path that follows, in bytes.
    pub path_len: U32,
    /// The object's size in bytes.
    pub size: U64,
    /// The object's change time, ns since the epoch.
    pub changed: U64,
}

/// An event as an engine reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// The kind of event; `None` for one that this build does not know.
    pub event: Option<Event>,
    /// The case to answer.
    pub case: CaseId,
    /// Counts this ring's records from one.
    pub sequence: u64,
    /// ns of `CLOCK_MONOTONIC` when the host read it.
    pub host_time: u64,
    /// ns of `CLOCK_MONOTONIC` when it ends by fallback; 0 if it does not wait.
    pub deadline: u64,
    /// The subject.
    pub process: Option<ProcessKey>,
    /// The object.
    pub file: Option<FileKey>,
    /// The subject's process id, to show.
    pub pid: Option<u32>,
    /// The subject's effective user and group ids.
    pub credentials: Option<(u32, u32)>,
    /// The object's size in bytes and change time in ns since the epoch.
    pub attributes: Option<(u64, u64)>,
    /// The object's path, bytes as the kernel has them; cut at [`PATH_MAX`].
    pub path: Option<Vec<u8>>,
    /// Whether a content descriptor is on its way, or why not.
    pub content: Result<(), ContentAbsent>,
    /// Whether reading the content can wait for a file system's server.
    pub may_block: bool,
}

/// The bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than a record's fixed part, or not as many as its length says.
    #[error("record of {got} bytes where {want} were announced or needed")]
    Length {
        /// Bytes there are.
        got: usize,
        /// Bytes there should be.
        want: usize,
    },
    /// A version that this build does not read.
    #[error("record version {got}, this build reads {VERSION}")]
    Version {
        /// The version found.
        got: u16,
    },
    /// A case number of zero.
    #[error("record names no case")]
    NoCase,
    /// A gap that says nothing that this build knows.
    #[error("gap of certainty {certainty} and cause {cause}: not in the contract")]
    Loss {
        /// The certainty found.
        certainty: u8,
        /// The cause found.
        cause: u8,
    },
    /// A verdict that is not in the contract.
    #[error("verdict number {got} is not in the contract")]
    Verdict {
        /// The number found.
        got: u8,
    },
    /// A detail that is too long or no UTF-8.
    #[error("verdict detail of {got} bytes is over {DETAIL_MAX} or no UTF-8")]
    Detail {
        /// The length announced.
        got: u8,
    },
}

/// Writes `header` and `path` into `out`; returns the record's length.
///
/// Sets `len`, `version`, `path_len` and the path bits of `present`; everything else is taken as it
/// stands. A path over [`PATH_MAX`] bytes is cut.
///
/// # Panics
///
/// If `out` is shorter than [`QUESTION_MAX`].
pub fn write_event(header: &mut EventHeader, path: Option<&[u8]>, out: &mut [u8]) -> usize {
    let whole = path.unwrap_or_default();
    let kept = &whole[..whole.len().min(PATH_MAX)];
    let len = (EVENT_HEADER + kept.len()).next_multiple_of(8);
    header.len = u32::try_from(len).expect("a record is shorter than EVENT_MAX").into();
    header.version = VERSION.into();
    header.path_len = u32::try_from(kept.len()).expect("a path is shorter than PATH_MAX").into();
    let mut bits = header.present.get() & !(present::PATH | present::PATH_CUT);
    if path.is_some() {
        bits |= present::PATH;
    }
    if kept.len() < whole.len() {
        bits |= present::PATH_CUT;
    }
    header.present = bits.into();
    out[..EVENT_HEADER].copy_from_slice(header.as_bytes());
    out[EVENT_HEADER..EVENT_HEADER + kept.len()].copy_from_slice(kept);
    out[EVENT_HEADER + kept.len()..len].fill(0);
    len
}

impl EventHeader {
    /// The header of the record that `bytes` are, its path, and all that follows the header.
    fn split(bytes: &[u8]) -> Result<(&Self, &[u8], &[u8]), RecordError> {
        let short = RecordError::Length { got: bytes.len(), want: EVENT_HEADER };
        let (header, rest) = Self::ref_from_prefix(bytes).map_err(|_| short)?;
        let path_len = header.path_len.get() as usize;
        let path = rest.get(..path_len).filter(|_| path_len <= PATH_MAX);
        match path.filter(|_| header.len.get() as usize == bytes.len()) {
            None => Err(RecordError::Length {
                got: bytes.len(),
                want: (header.len.get() as usize).max(EVENT_HEADER.saturating_add(path_len)),
            }),
            Some(_) if header.version.get() != VERSION => {
                Err(RecordError::Version { got: header.version.get() })
            }
            Some(path) => Ok((header, path, rest)),
        }
    }
}

impl EventRecord {
    /// Reads one question from `bytes`, which hold it exactly.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the bytes are no question of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let (header, path, _) = EventHeader::split(bytes)?;
        let bits = header.present.get();
        let has = |bit: u64| bits & bit != 0;
        Ok(Self {
            event: Event::from_number(header.event.get()),
            case: CaseId::new(header.case.get()).ok_or(RecordError::NoCase)?,
            sequence: header.sequence.get(),
            host_time: header.host_time.get(),
            deadline: header.deadline.get(),
            process: has(present::PROCESS).then_some(ProcessKey(header.process)),
            file: has(present::FILE).then_some(FileKey(header.file)),
            pid: has(present::PID).then(|| header.pid.get()),
            credentials: has(present::CREDENTIALS).then(|| (header.uid.get(), header.gid.get())),
            attributes: has(present::ATTRIBUTES).then(|| (header.size.get(), header.changed.get())),
            path: has(present::PATH).then(|| path.to_vec()),
            content: if has(present::CONTENT) {
                Ok(())
            } else {
                Err(ContentAbsent::from_number(header.content_absent)
                    .unwrap_or(ContentAbsent::NotGranted))
            },
            may_block: has(present::MAY_BLOCK),
        })
    }
}

/// The bytes of a verdict. Written by one engine, read by the host.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct VerdictLayout {
    len: U32,
    version: U16,
    verdict: u8,
    detail_len: u8,
    case: U64,
    /// Time the engine spent, ns, by its own clock: shown, not believed.
    spent: U64,
    detail: [u8; DETAIL_MAX],
}

/// An engine's vote on one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerdictRecord {
    /// The case it speaks of, as claimed.
    pub case: CaseId,
    /// The vote.
    pub verdict: Verdict,
    /// ns that the engine says it spent.
    pub spent: u64,
    /// What the engine says of it.
    pub detail: Detail,
}

/// A short text, at most [`DETAIL_MAX`] bytes, held in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    len: u8,
    bytes: [u8; DETAIL_MAX],
}

impl Default for Detail {
    fn default() -> Self {
        Self { len: 0, bytes: [0; DETAIL_MAX] }
    }
}

impl Detail {
    /// `text`, cut to [`DETAIL_MAX`] bytes at a character's edge.
    pub fn new(text: &str) -> Self {
        let cut = text.floor_char_boundary(DETAIL_MAX);
        let mut detail = Self::default();
        detail.bytes[..cut].copy_from_slice(&text.as_bytes()[..cut]);
        detail.len = u8::try_from(cut).expect("DETAIL_MAX fits a byte");
        detail
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("checked when it was made")
    }
}

impl std::fmt::Debug for Detail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

impl VerdictRecord {
    /// The record's bytes.
    pub fn to_bytes(&self) -> [u8; VERDICT_SIZE] {
        let layout = VerdictLayout {
            len: u32::try_from(VERDICT_SIZE).expect("a verdict is short").into(),
            version: VERSION.into(),
            verdict: self.verdict as u8,
            detail_len: self.detail.len,
            case: self.case.get().into(),
            spent: self.spent.into(),
            detail: self.detail.bytes,
        };
        zerocopy::transmute!(layout)
    }

    /// Reads one record from `bytes`, which hold it exactly.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if the bytes are no verdict record of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let layout = VerdictLayout::ref_from_bytes(bytes)
            .map_err(|_| RecordError::Length { got: bytes.len(), want: VERDICT_SIZE })?;
        if layout.len.get() as usize != VERDICT_SIZE {
            return Err(RecordError::Length { got: bytes.len(), want: layout.len.get() as usize });
        }
        if layout.version.get() != VERSION {
            return Err(RecordError::Version { got: layout.version.get() });
        }
        let bad_detail = RecordError::Detail { got: layout.detail_len };
        let text = layout.detail.get(..usize::from(layout.detail_len)).ok_or(bad_detail)?;
        let text = str::from_utf8(text).map_err(|_| bad_detail)?;
        Ok(Self {
            case: CaseId::new(layout.case.get()).ok_or(RecordError::NoCase)?,
            verdict: Verdict::from_number(layout.verdict)
                .ok_or(RecordError::Verdict { got: layout.verdict })?,
            spent: layout.spent.get(),
            detail: Detail::new(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> EventHeader {
        let mut header = EventHeader::new_zeroed();
        header.event = Event::FileOpen.number().into();
        header.case = 7.into();
        header.present = (present::PID | present::CONTENT).into();
        header.pid = 42.into();
        header
    }

    use zerocopy::FromZeros;

    #[test]
    fn an_event_comes_back_as_it_was_written() {
        let mut out = [0; QUESTION_MAX];

        let len = write_event(&mut header(), Some(b"/bin/true"), &mut out);
        let read = EventRecord::parse(&out[..len]).expect("a written record parses");

        assert_eq!(read.event, Some(Event::FileOpen));
        assert_eq!(read.pid, Some(42));
        assert_eq!(read.path.as_deref(), Some(b"/bin/true".as_slice()));
        assert_eq!(read.content, Ok(()));
        assert_eq!(read.credentials, None);
        assert!(!read.may_block);
    }

    #[test]
    fn a_content_that_can_keep_its_reader_waiting_is_told() {
        let mut out = [0; QUESTION_MAX];
        let mut header = header();
        header.present = (present::CONTENT | present::MAY_BLOCK).into();

        let len = write_event(&mut header, None, &mut out);
        let read = EventRecord::parse(&out[..len]).expect("a written record parses");

        assert_eq!((read.content, read.may_block), (Ok(()), true));
    }

    #[test]
    fn a_path_over_the_limit_is_cut_and_said_to_be() {
        let mut out = [0; QUESTION_MAX];
        let mut header = header();

        let len = write_event(&mut header, Some(&[b'a'; PATH_MAX + 1]), &mut out);

        assert_eq!(len, QUESTION_MAX);
        assert_ne!(header.present.get() & present::PATH_CUT, 0);
    }

    #[test]
    fn a_verdict_comes_back_as_it_was_written() {
        let verdict = VerdictRecord {
            case: CaseId::new(9).expect("nine is not zero"),
            verdict: Verdict::Deny,
            spent: 12,
            detail: Detail::new("deny list: eicar"),
        };

        assert_eq!(VerdictRecord::parse(&verdict.to_bytes()), Ok(verdict));
    }

    #[test]
    fn a_detail_is_cut_between_characters() {
        assert_eq!(Detail::new(&"ä".repeat(40)).as_str(), "ä".repeat(32));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..EVENT_HEADER + 64)) {
            let _ = EventRecord::parse(&bytes);
            let _ = VerdictRecord::parse(&bytes);
        }

        #[test]
        fn a_damaged_verdict_never_panics(at in 0..VERDICT_SIZE, value: u8) {
            let verdict = VerdictRecord {
                case: CaseId::new(1).expect("one is not zero"),
                verdict: Verdict::Allow,
                spent: 0,
                detail: Detail::new("x"),
            };
            let mut bytes = verdict.to_bytes();
            bytes[at] = value;
            let _ = VerdictRecord::parse(&bytes);
        }
    }
}
