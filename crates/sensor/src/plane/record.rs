//! The records of the plane's programs, read in one place.
//!
//! They come from our own programs, through memory that only the kernel writes. They are read like
//! strangers' bytes all the same: every length is checked, and what does not fit is an error that says so.

use std::net::{IpAddr, Ipv6Addr};

use outrigger_api::Event;
use outrigger_api::attribute::Place;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::bpf::record::{Id, file_key};
use crate::identity::Credentials;
use crate::notice::{Endpoint, Notice, RuleOutcome, Ruled};

/// Longest path that a record holds (`plane.h`: `FACTS_PATH`), and longest text (`FACTS_SHORT`).
const PATH_MAX: usize = 4096;
const TEXT_MAX: usize = 256;

/// `enum plane_flags`.
const HAS_FILE: u8 = 1;
const FILTERED: u8 = 2;
const HAS_TARGET: u8 = 4;

/// What a record begins with (`plane_record.h`: `struct plane_record`), in the machine's byte order.
#[derive(Debug, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Header {
    time: u64,
    lost: u64,
    has: u64,
    values: [u64; 2],
    wanted: u64,
    generation: u64,
    inode: u64,
    process: Id,
    parent: Id,
    target: Id,
    device: u32,
    uid: u32,
    gid: u32,
    cpu: u32,
    address: [u8; 16],
    family: u16,
    port: u16,
    path_len: u16,
    new_path_len: u16,
    text_len: u16,
    rule: u16,
    event: u16,
    outcome: u8,
    flags: u8,
}

/// A record that could not be read: the program and the host do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Shorter than its header.
    #[error("a record of {len} bytes is shorter than its header of {}", size_of::<Header>())]
    Short {
        /// Its length.
        len: usize,
    },
    /// Its texts are not as long as what follows the header, or one is over its limit.
    #[error(
        "texts said to be {path}, {new_path} and {text} bytes long (limits {PATH_MAX}, {PATH_MAX} and \
         {TEXT_MAX}) stand in {there} bytes"
    )]
    Texts {
        /// The length of the path that the header says.
        path: usize,
        /// That of the other path.
        new_path: usize,
        /// That of the text.
        text: usize,
        /// The bytes behind the header.
        there: usize,
    },
    /// No event has this number.
    #[error("no event has the number {event:#06x}")]
    Event {
        /// The number.
        event: u16,
    },
    /// Rules make no such thing of an event.
    #[error("rules make nothing of an event that has the number {outcome}")]
    Outcome {
        /// The number.
        outcome: u8,
    },
}

/// What one record says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) notice: Notice,
    /// The processor on which it was written.
    pub(super) cpu: u32,
    /// How many records of this event were dropped there before it.
    pub(super) lost: u64,
}

/// Reads one record: what happened.
///
/// # Errors
///
/// If it is none.
pub fn parse(bytes: &[u8]) -> Result<Notice, RecordError> {
    read(bytes).map(|parsed| parsed.notice)
}

/// Reads one record.
pub(super) fn read(bytes: &[u8]) -> Result<Parsed, RecordError> {
    let (header, rest) =
        Header::read_from_prefix(bytes).map_err(|_| RecordError::Short { len: bytes.len() })?;
    let event =
        Event::from_number(header.event).ok_or(RecordError::Event { event: header.event })?;
    let [path, new_path, text] = texts(&header, rest)?;
    let has = |place: Place| header.has & 1 << place as u64 != 0;

    let mut notice = Notice::new(event, header.time);
    notice.process = header.process.key();
    notice.pid = header.process.pid;
    notice.parent = header.parent.key();
    notice.parent_pid = (header.parent.pid != 0).then_some(header.parent.pid);
    notice.credentials = Some(Credentials { uid: header.uid, gid: header.gid });
    if header.flags & HAS_FILE != 0 {
        notice.file = Some(file_key(header.device, header.inode));
    }
    // A path that is not known has no bytes, and one that is known has at least one.
    notice.path = (!path.is_empty()).then(|| path.to_vec());
    notice.new_path = (!new_path.is_empty()).then(|| new_path.to_vec());
    if header.flags & HAS_TARGET != 0 {
        notice.target = header.target.key();
        notice.target_pid = header.target.pid;
    }
    let values = [Place::Value0, Place::Value1].into_iter().zip(header.values);
    for (into, (place, value)) in notice.values.iter_mut().zip(values) {
        *into = has(place).then_some(value);
    }
    notice.endpoint = has(Place::Family).then(|| endpoint(&header, has(Place::Address)));
    notice.text = has(Place::Text).then(|| text.to_vec());
    notice.ruled = ruled(&header)?;
    notice.wanted = (header.flags & FILTERED != 0).then_some(header.wanted);
    Ok(Parsed { notice, cpu: header.cpu, lost: header.lost })
}

/// The texts behind a header: path, other path, text.
fn texts<'bytes>(header: &Header, rest: &'bytes [u8]) -> Result<[&'bytes [u8]; 3], RecordError> {
    let path: usize = header.path_len.into();
    let new_path: usize = header.new_path_len.into();
    let text: usize = header.text_len.into();
    let wrong = RecordError::Texts { path, new_path, text, there: rest.len() };
    if path > PATH_MAX || new_path > PATH_MAX || text > TEXT_MAX {
        return Err(wrong);
    }
    let (path, rest) = rest.split_at_checked(path).ok_or(wrong)?;
    let (new_path, rest) = rest.split_at_checked(new_path).ok_or(wrong)?;
    if rest.len() != text {
        return Err(wrong);
    }
    Ok([path, new_path, rest])
}

fn endpoint(header: &Header, has_address: bool) -> Endpoint {
    let address = Ipv6Addr::from(header.address).to_canonical();
    // An IPv6 socket's address stays what its family says, unless it maps an IPv4 one.
    Endpoint {
        family: header.family,
        address: has_address.then_some(match address {
            IpAddr::V4(four) => IpAddr::V4(four),
            IpAddr::V6(six) => IpAddr::V6(six),
        }),
        port: header.port,
    }
}

fn ruled(header: &Header) -> Result<Option<Ruled>, RecordError> {
    let outcome = match header.outcome {
        0 => return Ok(None),
        1 => RuleOutcome::Allowed,
        2 => RuleOutcome::Denied,
        3 => RuleOutcome::WouldDeny,
        outcome => return Err(RecordError::Outcome { outcome }),
    };
    Ok(Some(Ruled { outcome, generation: header.generation, rule: header.rule }))
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use libbpf_rs::btf::{Btf, HasSize, types};
    use proptest::prelude::*;

    use super::super::{KINDS, SLOTS};
    use super::super::{rules, subject};
    use super::*;
    use crate::bpf::sys;

    const LEN: usize = size_of::<Header>();
    const OBJECT: &str = concat!(env!("OUT_DIR"), "/lsm-identity.bpf.o");
    const HOOKS: &str = concat!(env!("OUT_DIR"), "/lsm-file.bpf.o");

    type Losses = sys::Losses<KINDS>;
    type Shared = sys::Shared<KINDS, SLOTS>;

    fn offset(btf: &Btf<'_>, structure: &str, field: &str) -> usize {
        let structure: types::Struct<'_> =
            btf.type_by_name(structure).expect("the program has this type");
        let member = structure
            .iter()
            .find(|member| member.name.is_some_and(|name| name == field))
            .expect("the type has this field");
        let types::MemberAttr::Normal { offset } = member.attr else {
            panic!("no field is a bit field")
        };
        offset as usize / 8
    }

    fn size(btf: &Btf<'_>, structure: &str) -> usize {
        let structure: types::Struct<'_> =
            btf.type_by_name(structure).expect("the program has this type");
        structure.size()
    }

    macro_rules! same {
        ($btf:expr, $structure:literal, $rust:ty, $($field:ident),+) => {
            $( assert_eq!(
                offset($btf, $structure, stringify!($field)),
                offset_of!($rust, $field),
                "{}.{}", $structure, stringify!($field),
            ); )+
        };
    }

    #[test]
    fn both_sides_see_the_same_fields_at_the_same_places() {
        let btf = Btf::from_path(HOOKS).expect("the program carries its types");

        same!(
            &btf,
            "plane_record",
            Header,
            time,
            lost,
            has,
            values,
            wanted,
            generation,
            inode,
            process,
            parent,
            target,
            device,
            uid,
            gid,
            cpu,
            address,
            family,
            port,
            path_len,
            new_path_len,
            text_len,
            rule,
            event,
            outcome,
            flags
        );
        same!(&btf, "plane_shared", Shared, wake_at, losses);
        same!(&btf, "plane_losses", Losses, lost);
        same!(&btf, "plane_front", rules::Page, generation, words, want, by, acting);
        same!(&btf, "rules_header", rules::RawHeader, magic, generation, words, events);
        same!(&btf, "rules_event", rules::RawEvent, vector_at, numbers, tables, acting_at);
        assert_eq!(size(&btf, "plane_front"), size_of::<rules::Page>());
        assert_eq!(size(&btf, "plane_record"), LEN);
        assert_eq!(size(&btf, "plane_shared"), size_of::<Shared>());
        assert_eq!(size(&btf, "plane_losses"), size_of::<Losses>());
        assert!(Event::ALL.len() <= KINDS, "there is a counter for each");
    }

    #[test]
    fn what_is_remembered_of_a_process_stands_where_it_is_read() {
        let btf = Btf::from_path(OBJECT).expect("the program carries its types");

        same!(
            &btf,
            "subject",
            subject::Raw,
            parent,
            inherited,
            marks,
            ready,
            execs,
            flags,
            exe_len,
            lineage,
            exe
        );
        same!(&btf, "mark_set", subject::RawMarks, bits, until, put);
        same!(&btf, "lineage_set", subject::RawLineage, programs, len, cut);
    }

    #[test]
    fn events_have_the_numbers_that_the_programs_were_built_with() {
        let header = include_str!(concat!(env!("OUT_DIR"), "/catalogue.h"));

        let mut places = header.lines().filter_map(|line| line.trim().strip_prefix("EVENT_"));
        let mut numbers = header.lines().filter_map(|line| line.trim().strip_prefix("NUMBER_"));
        for event in Event::ALL {
            let name = event.name().to_uppercase().replace('.', "_");
            assert_eq!(places.next(), Some(format!("{name},").as_str()));
            assert_eq!(numbers.next(), Some(format!("{name} = {:#06x},", event.number()).as_str()));
        }
        assert_eq!((places.next(), numbers.next()), (None, None));
    }

    /// A record of a rename with its texts.
    fn record(path: &[u8], new_path: &[u8], text: &[u8]) -> Vec<u8> {
        let mut bytes = [0; LEN];
        let len = |text: &[u8]| u16::try_from(text.len()).expect("it is short").to_ne_bytes();
        bytes[offset_of!(Header, path_len)..][..2].copy_from_slice(&len(path));
        bytes[offset_of!(Header, new_path_len)..][..2].copy_from_slice(&len(new_path));
        bytes[offset_of!(Header, text_len)..][..2].copy_from_slice(&len(text));
        let event = Event::FileRename.number().to_ne_bytes();
        bytes[offset_of!(Header, event)..][..2].copy_from_slice(&event);
        [&bytes[..], path, new_path, text].concat()
    }

    #[test]
    fn texts_stand_behind_each_other() {
        let notice = parse(&record(b"/a", b"/b/c", b"")).expect("it is well formed");

        assert_eq!(notice.path.as_deref(), Some(&b"/a"[..]));
        assert_eq!(notice.new_path.as_deref(), Some(&b"/b/c"[..]));
        assert_eq!((notice.text, notice.ruled, notice.wanted), (None, None, None));
    }

    #[test]
    fn texts_of_another_length_than_said_are_refused() {
        let mut bytes = record(b"/a", b"", b"");
        bytes.push(0);

        let refused = parse(&bytes);

        assert_eq!(refused, Err(RecordError::Texts { path: 2, new_path: 0, text: 0, there: 3 }));
    }

    #[test]
    fn what_no_rule_does_is_refused() {
        let mut bytes = record(b"", b"", b"");
        bytes[offset_of!(Header, outcome)] = 4;

        assert_eq!(parse(&bytes), Err(RecordError::Outcome { outcome: 4 }));
    }

    #[test]
    fn an_ipv4_address_is_one_whatever_the_sockets_family() {
        let mut bytes = record(b"", b"", b"");
        let has = 1u64 << Place::Family as u64 | 1 << Place::Address as u64;
        bytes[offset_of!(Header, has)..][..8].copy_from_slice(&has.to_ne_bytes());
        bytes[offset_of!(Header, address)..][10..16].copy_from_slice(&[255, 255, 10, 0, 0, 1]);

        let notice = parse(&bytes).expect("it is well formed");

        let address = notice.endpoint.and_then(|endpoint| endpoint.address);
        assert_eq!(address, Some(IpAddr::from([10, 0, 0, 1])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..LEN * 3)) {
            if let Ok(notice) = parse(&bytes) {
                prop_assert!(bytes.len() >= LEN);
                let texts = [notice.path, notice.new_path, notice.text];
                prop_assert!(texts.into_iter().flatten().map(|text| text.len()).sum::<usize>() <= bytes.len() - LEN);
            }
        }
    }
}
