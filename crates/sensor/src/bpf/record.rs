//! The records of `process.bpf.c`, read in one place.
//!
//! They come from our own program, through memory that only the kernel writes. They are read like
//! strangers' bytes all the same: every length is checked, and what does not fit is an error that says so.

use outrigger_api::{Event, FileKey, ProcessKey};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::identity::Credentials;
use crate::notice::Notice;

/// Kinds of record, and counters of losses (`process.h`: `PROCESS_KINDS`).
pub(super) const KINDS: usize = 3;

/// The events by the kind that stands for them (`process.h`: `enum process_kind`).
pub const EVENTS: [Event; KINDS] = [Event::ProcessFork, Event::ProcessExec, Event::ProcessExit];

/// Longest path that a record holds.
const PATH_MAX: usize = 4096;

/// The device and inode are the program's.
const HAS_FILE: u8 = 1;
/// The path is complete.
const HAS_PATH: u8 = 2;
/// The program has no name any more.
const UNLINKED: u8 = 4;
/// What the kernel prints behind the path of such a file.
const DELETED: &[u8] = b" (deleted)";

/// A process's key as the program writes it.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Id {
    pub(crate) unique: u64,
    pub(crate) pid: u32,
    zero: u32,
}

impl Id {
    /// As [`crate::identity::Subjects::key`] makes it.
    pub(crate) fn key(self) -> Option<ProcessKey> {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.unique.to_le_bytes());
        key[8..12].copy_from_slice(&self.pid.to_le_bytes());
        (self.unique != 0).then_some(ProcessKey(key))
    }
}

/// What a record begins with (`process.h`: `struct process_record`), in the machine's byte order.
#[derive(Debug, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Header {
    time: u64,
    lost: [u64; KINDS],
    process: Id,
    parent: Id,
    uid: u32,
    gid: u32,
    inode: u64,
    device: u32,
    status: i32,
    cpu: u32,
    path_len: u16,
    kind: u8,
    flags: u8,
}

/// A record that could not be read: the program and the host do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// Shorter than its header.
    #[error("a record of {len} bytes is shorter than its header of {}", size_of::<Header>())]
    Short {
        /// Its length.
        len: usize,
    },
    /// Its path is not as long as what follows the header, or over the limit.
    #[error("a path said to be {said} bytes long stands in {there} bytes (limit {PATH_MAX})")]
    Path {
        /// The length that the header says.
        said: usize,
        /// The bytes behind the header.
        there: usize,
    },
    /// No event has this kind.
    #[error("a record of kind {kind} is none of {KINDS}")]
    Kind {
        /// The kind.
        kind: u8,
    },
}

/// What one record says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// What happened.
    pub(super) notice: Notice,
    /// The processor on which it was written.
    pub(super) cpu: u32,
    /// How many records of each kind were dropped there before it.
    pub(super) lost: [u64; KINDS],
}

/// Reads one record.
pub(super) fn parse(bytes: &[u8]) -> Result<Record, RecordError> {
    let (header, names) =
        Header::read_from_prefix(bytes).map_err(|_| RecordError::Short { len: bytes.len() })?;
    let said = usize::from(header.path_len);
    if said != names.len() || said > PATH_MAX {
        return Err(RecordError::Path { said, there: names.len() });
    }
    let event =
        *EVENTS.get(usize::from(header.kind)).ok_or(RecordError::Kind { kind: header.kind })?;

    let mut notice = Notice::new(event, header.time);
    notice.process = header.process.key();
    notice.pid = header.process.pid;
    notice.parent = header.parent.key();
    notice.parent_pid = (header.parent.pid != 0).then_some(header.parent.pid);
    notice.credentials = Some(Credentials { uid: header.uid, gid: header.gid });
    if event == Event::ProcessExit {
        notice.status = Some(header.status);
    }
    if header.flags & HAS_FILE != 0 {
        notice.file = Some(file_key(header.device, header.inode));
    }
    if header.flags & HAS_PATH != 0 {
        notice.path = Some(path(names, header.flags & UNLINKED != 0));
    }
    Ok(Record { notice, cpu: header.cpu, lost: header.lost })
}

/// As [`crate::identity::object`] makes it, from the kernel's own form of a device number.
pub(crate) fn file_key(device: u32, inode: u64) -> FileKey {
    const MINOR_BITS: u32 = 20;
    let (major, minor) = (device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1));
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(u64::from(major) << 32 | u64::from(minor)).to_le_bytes());
    key[8..16].copy_from_slice(&inode.to_le_bytes());
    FileKey(key)
}

/// Puts names, the file's first, in the order of a path.
fn path(names: &[u8], unlinked: bool) -> Vec<u8> {
    let mut path = Vec::with_capacity(names.len() + DELETED.len());
    for name in names.strip_suffix(b"\0").unwrap_or(names).rsplit(|&byte| byte == 0) {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if unlinked {
        path.extend_from_slice(DELETED);
    }
    path
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use libbpf_rs::HasSize;
    use libbpf_rs::btf::{Btf, types};
    use proptest::prelude::*;

    use super::super::{OBJECT_PATH, SLOTS, sys};
    use super::*;

    const LEN: usize = size_of::<Header>();

    /// A record with `names` behind its header.
    fn record(kind: u8, flags: u8, names: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        let len = u16::try_from(names.len()).expect("names are short").to_ne_bytes();
        bytes[offset_of!(Header, path_len)..][..2].copy_from_slice(&len);
        bytes[offset_of!(Header, kind)] = kind;
        bytes[offset_of!(Header, flags)] = flags;
        bytes.extend_from_slice(names);
        bytes
    }

    fn path_of(flags: u8, names: &[u8]) -> Option<String> {
        let record = parse(&record(1, flags, names)).expect("it is well formed");
        record.notice.path.map(|path| String::from_utf8(path).expect("the names are text"))
    }

    type Losses = sys::Losses<KINDS>;
    type Shared = sys::Shared<KINDS, SLOTS>;

    #[test]
    fn both_sides_see_the_same_fields_at_the_same_places() {
        let btf = Btf::from_path(OBJECT_PATH).expect("the program carries its types");
        let offset = |structure: &str, field: &str| {
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
        };
        let size = |structure: &str| {
            let structure: types::Struct<'_> =
                btf.type_by_name(structure).expect("the program has this type");
            structure.size()
        };
        let own = [
            ("process_record", "time", offset_of!(Header, time)),
            ("process_record", "lost", offset_of!(Header, lost)),
            ("process_record", "process", offset_of!(Header, process)),
            ("process_record", "parent", offset_of!(Header, parent)),
            ("process_record", "uid", offset_of!(Header, uid)),
            ("process_record", "gid", offset_of!(Header, gid)),
            ("process_record", "inode", offset_of!(Header, inode)),
            ("process_record", "device", offset_of!(Header, device)),
            ("process_record", "status", offset_of!(Header, status)),
            ("process_record", "cpu", offset_of!(Header, cpu)),
            ("process_record", "path_len", offset_of!(Header, path_len)),
            ("process_record", "kind", offset_of!(Header, kind)),
            ("process_record", "flags", offset_of!(Header, flags)),
            ("process_id", "unique", offset_of!(Id, unique)),
            ("process_id", "pid", offset_of!(Id, pid)),
            ("process_shared", "wake_at", offset_of!(Shared, wake_at)),
            ("process_shared", "losses", offset_of!(Shared, losses)),
            ("process_losses", "lost", offset_of!(Losses, lost)),
        ];

        for (structure, field, at) in own {
            assert_eq!(offset(structure, field), at, "{structure}.{field}");
        }
        assert_eq!(size("process_record"), LEN);
        assert_eq!(size("process_id"), size_of::<Id>());
        assert_eq!(size("process_losses"), size_of::<Losses>());
        assert_eq!(size("process_shared"), size_of::<Shared>());
    }

    #[test]
    fn names_become_a_path_from_the_root() {
        assert_eq!(path_of(HAS_PATH, b"sh\0bin\0usr\0").as_deref(), Some("/usr/bin/sh"));
        assert_eq!(
            path_of(HAS_PATH | UNLINKED, b"memfd:x\0").as_deref(),
            Some("/memfd:x (deleted)")
        );
    }

    #[test]
    fn an_incomplete_path_is_absent() {
        assert_eq!(path_of(0, b"").as_deref(), None);
    }

    #[test]
    fn a_file_is_named_as_questions_name_it() {
        let key = file_key(8 << 20 | 3, 12);

        assert_eq!(key.0[..8], (8u64 << 32 | 3).to_le_bytes());
        assert_eq!(key.0[8..16], 12u64.to_le_bytes());
    }

    #[test]
    fn a_path_of_another_length_than_said_is_refused() {
        let mut bytes = record(1, HAS_PATH, b"sh\0");
        bytes.push(0);

        assert_eq!(parse(&bytes), Err(RecordError::Path { said: 3, there: 4 }));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        assert_eq!(parse(&record(3, 0, b"")), Err(RecordError::Kind { kind: 3 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..LEN * 3)) {
            if let Ok(record) = parse(&bytes) {
                prop_assert!(bytes.len() >= LEN);
                prop_assert!(record.notice.path.is_none_or(|path| path.len() <= bytes.len() + 2 + DELETED.len()));
            }
        }

        #[test]
        fn any_names_make_a_path_of_as_many_bytes(names in proptest::collection::vec("[a-z]{1,9}", 1..20)) {
            let there: Vec<u8> = names.iter().flat_map(|name| [name.as_bytes(), b"\0"].concat()).collect();

            let record = parse(&record(1, HAS_PATH, &there)).expect("it is well formed");

            let wanted: String = names.iter().rev().map(|name| format!("/{name}")).collect();
            prop_assert_eq!(record.notice.path, Some(wanted.into_bytes()));
        }
    }
}
