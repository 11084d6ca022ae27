//! What a read of the sensor's group gives: `struct fanotify_event_metadata` and the records behind it
//! (`man 7 fanotify`, `linux/fanotify.h`).
//!
//! The only place that looks at these bytes. They come from the kernel, but a name in them is any user's:
//! it is bytes without a zero and without a slash, and nothing more is known of it. Whatever the bytes are,
//! no reading goes past them, nothing is allocated, and an event that cannot be read is said
//! ([`Record::Unreadable`]), never skipped.

use std::os::fd::RawFd;

use outrigger_api::Event;

/// Bytes of one read. The longest event has a little under 1,000 (two names of 255 bytes, three handles of
/// 128), the shortest 92: so a read gives 8 events at least, and opens 89 pidfds at most.
pub(super) const READ_BYTES: usize = 8192;

const METADATA_LEN: usize = 24;
const METADATA_VERSION: u8 = 3;
const INFO_HEADER_LEN: usize = 4;
const FILE_SYSTEM_LEN: usize = 8;
const HANDLE_HEADER_LEN: usize = 8;

const INFO_FID: u8 = 1;
const INFO_DFID_NAME: u8 = 2;
const INFO_PIDFD: u8 = 4;
const INFO_OLD_DFID_NAME: u8 = 10;
const INFO_NEW_DFID_NAME: u8 = 12;

pub(super) const FAN_CLOSE_WRITE: u64 = 0x08;
pub(super) const FAN_CREATE: u64 = 0x0100;
pub(super) const FAN_DELETE: u64 = 0x0200;
pub(super) const FAN_Q_OVERFLOW: u64 = 0x4000;
pub(super) const FAN_RENAME: u64 = 0x1000_0000;
pub(super) const FAN_ONDIR: u64 = 0x4000_0000;

/// The bit of each event, in the order in which events that the kernel merged are told: a file is made,
/// written, moved, and goes.
pub(super) const BITS: [(u64, Event); 4] = [
    (FAN_CREATE, Event::FileCreate),
    (FAN_CLOSE_WRITE, Event::FileCloseWrite),
    (FAN_RENAME, Event::FileRename),
    (FAN_DELETE, Event::FileUnlink),
];

/// A file system as `statfs(2)` names it (`f_fsid`), as two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileSystemId(pub [u32; 2]);

impl FileSystemId {
    /// The id that `statvfs(3)` puts together as `number`: the first word is the lower half.
    pub(super) fn from_number(number: u64) -> Self {
        let word = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0);
        Self([word(number), word(number >> 32)])
    }
}

/// A file's handle, which its file system can find it by: `struct file_handle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The file system's own number for this kind of handle.
    pub kind: i32,
    len: u8,
    /// Zero behind `len`, so that equal handles are equal.
    bytes: [u8; Self::MAX],
}

impl Handle {
    /// Most bytes of a handle (`MAX_HANDLE_SZ`).
    pub const MAX: usize = 128;

    /// The handle of this kind with these bytes; `None` if they are more than [`Handle::MAX`].
    pub fn new(kind: i32, bytes: &[u8]) -> Option<Self> {
        let mut handle = Self { kind, len: u8::try_from(bytes.len()).ok()?, bytes: [0; Self::MAX] };
        handle.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(handle)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A name in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The file system of both.
    pub file_system: FileSystemId,
    /// The folder.
    pub folder: Handle,
    /// The name; `.` is the folder itself.
    pub name: &'a [u8],
}

/// One change, as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// What happened (`FAN_CREATE`, …): more than one bit where the kernel merged events.
    pub mask: u64,
    /// The thread group id of who did it, or 0.
    pub pid: u32,
    /// A pidfd of it, now the reader's to close; `None` where it is gone or there was none to give.
    pub pidfd: Option<RawFd>,
    /// The name that it happened to; of a rename the old one.
    pub at: Option<Entry<'a>>,
    /// The new name, of a rename.
    pub to: Option<Entry<'a>>,
    /// The file itself.
    pub object: Option<(FileSystemId, Handle)>,
}

impl Change<'_> {
    /// Whether the file is a folder.
    pub const fn is_folder(&self) -> bool {
        self.mask & FAN_ONDIR != 0
    }

    /// Whether it has a new name.
    pub const fn is_rename(&self) -> bool {
        self.mask & FAN_RENAME != 0
    }

    /// Whether it lost a name.
    pub const fn is_unlink(&self) -> bool {
        self.mask & FAN_DELETE != 0
    }

    /// The events that it is of, in the order in which they are told.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        let mask = self.mask;
        BITS.into_iter().filter(move |(bit, _)| mask & bit != 0).map(|(_, event)| event)
    }
}

/// One event of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "looked at one by one and never kept")]
pub enum Record<'a> {
    /// A change.
    Change(Change<'a>),
    /// The queue was full: events are missing here.
    Overflow,
    /// Something that this build cannot read, so at least one event is missing here.
    Unreadable {
        /// A pidfd that came with it, now the reader's to close.
        pidfd: Option<RawFd>,
    },
}

/// The events of one read, in the kernel's order.
#[derive(Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// The events in what one `read(2)` gave.
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.bytes.is_empty() {
            return None;
        }
        let len = u32_at(self.bytes, 0).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        if len < METADATA_LEN || len > self.bytes.len() {
            // Where the next event begins is not known, so this is the last.
            self.bytes = &[];
            return Some(Record::Unreadable { pidfd: None });
        }
        let (event, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        Some(read(event))
    }
}

/// Reads one event, which has all of its metadata.
fn read(event: &[u8]) -> Record<'_> {
    let mut change = Change { mask: 0, pid: 0, pidfd: None, at: None, to: None, object: None };
    let whole = fill(event, &mut change).is_some();
    let Change { pidfd, .. } = change;
    if change.mask & FAN_Q_OVERFLOW != 0 {
        return pidfd.map_or(Record::Overflow, |_| Record::Unreadable { pidfd });
    }
    let is_of_ours = change.events().next().is_some();
    if whole && is_of_ours { Record::Change(change) } else { Record::Unreadable { pidfd } }
}

/// Fills in what there is; `None` where the event ends too early. Then there may be a pidfd all the same.
fn fill<'a>(event: &'a [u8], change: &mut Change<'a>) -> Option<()> {
    let metadata_len = usize::from(u16_at(event, 6)?);
    if event[4] != METADATA_VERSION || metadata_len < METADATA_LEN {
        return None;
    }
    change.mask = u64::from_ne_bytes(event.get(8..16)?.try_into().ok()?);
    change.pid = u32_at(event, 20)?;
    let mut infos = event.get(metadata_len..)?;
    let mut whole = Some(());
    while !infos.is_empty() {
        let len = usize::from(u16_at(infos, 2)?);
        if len < INFO_HEADER_LEN || len > infos.len() {
            return None;
        }
        let (info, rest) = infos.split_at(len);
        infos = rest;
        // The rest is read even so: a pidfd must not be left open.
        whole = note(info[0], &info[INFO_HEADER_LEN..], change).and(whole);
    }
    whole
}

/// Takes in one record behind the metadata. One of a kind that was not asked for is none of ours.
fn note<'a>(kind: u8, info: &'a [u8], change: &mut Change<'a>) -> Option<()> {
    match kind {
        INFO_PIDFD => {
            let number = u32_at(info, 0)?.cast_signed();
            if number >= 0 {
                change.pidfd = Some(number);
            }
        }
        INFO_FID => {
            let (file_system, handle, _) = file(info)?;
            change.object = Some((file_system, handle));
        }
        INFO_DFID_NAME | INFO_OLD_DFID_NAME => change.at = Some(entry(info)?),
        INFO_NEW_DFID_NAME => change.to = Some(entry(info)?),
        _ => {}
    }
    Some(())
}

fn entry(info: &[u8]) -> Option<Entry<'_>> {
    let (file_system, folder, rest) = file(info)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    let name = &rest[..end];
    if name.is_empty() || name.contains(&b'/') {
        return None;
    }
    Some(Entry { file_system, folder, name })
}

/// `struct fanotify_event_info_fid` without its header, and what follows the handle.
fn file(info: &[u8]) -> Option<(FileSystemId, Handle, &[u8])> {
    let file_system = FileSystemId([u32_at(info, 0)?, u32_at(info, 4)?]);
    let len = usize::try_from(u32_at(info, FILE_SYSTEM_LEN)?).ok()?;
    let kind = u32_at(info, FILE_SYSTEM_LEN + 4)?.cast_signed();
    let rest = info.get(FILE_SYSTEM_LEN + HANDLE_HEADER_LEN..)?;
    let (bytes, rest) = rest.split_at_checked(len)?;
    Some((file_system, Handle::new(kind, bytes)?, rest))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE_SYSTEM: FileSystemId = FileSystemId([7, 9]);

    fn info(kind: u8, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let len = u16::try_from(INFO_HEADER_LEN + padded).expect("short");
        let mut bytes = vec![kind, 0];
        bytes.extend(len.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(usize::from(len), 0);
        bytes
    }

    fn file_body(handle: &[u8], name: Option<&[u8]>) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(7_u32.to_ne_bytes());
        body.extend(9_u32.to_ne_bytes());
        body.extend(u32::try_from(handle.len()).expect("short").to_ne_bytes());
        body.extend(1_i32.to_ne_bytes());
        body.extend(handle);
        if let Some(name) = name {
            body.extend(name);
            body.push(0);
        }
        body
    }

    fn event(mask: u64, infos: &[Vec<u8>]) -> Vec<u8> {
        let infos = infos.concat();
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(METADATA_LEN + infos.len()).expect("short").to_ne_bytes());
        bytes.extend([METADATA_VERSION, 0, 24, 0]);
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend(77_i32.to_ne_bytes());
        bytes.extend(infos);
        bytes
    }

    fn handle(bytes: &[u8]) -> Handle {
        Handle::new(1, bytes).expect("short")
    }

    #[test]
    fn a_rename_has_both_names_its_file_and_its_process() {
        let bytes = event(
            FAN_RENAME | FAN_ONDIR,
            &[
                info(INFO_OLD_DFID_NAME, &file_body(b"folder-a", Some(b"old"))),
                info(INFO_NEW_DFID_NAME, &file_body(b"folder-b", Some(b"\xff new"))),
                info(INFO_FID, &file_body(b"file", None)),
                info(INFO_PIDFD, &5_i32.to_ne_bytes()),
            ],
        );

        let records: Vec<_> = Records::of(&bytes).collect();

        let entry = |folder, name| Entry { file_system: FILE_SYSTEM, folder: handle(folder), name };
        assert_eq!(
            records,
            [Record::Change(Change {
                mask: FAN_RENAME | FAN_ONDIR,
                pid: 77,
                pidfd: Some(5),
                at: Some(entry(b"folder-a", b"old")),
                to: Some(entry(b"folder-b", b"\xff new")),
                object: Some((FILE_SYSTEM, handle(b"file"))),
            })]
        );
    }

    #[test]
    fn what_the_kernel_merged_is_told_in_the_order_of_a_files_life() {
        let bytes = event(FAN_DELETE | FAN_CREATE | FAN_CLOSE_WRITE, &[]);

        let Some(Record::Change(change)) = Records::of(&bytes).next() else { panic!("a change") };

        assert_eq!(
            change.events().collect::<Vec<_>>(),
            [Event::FileCreate, Event::FileCloseWrite, Event::FileUnlink]
        );
    }

    #[test]
    fn an_overflow_and_what_follows_it_are_told() {
        let mut bytes = event(FAN_Q_OVERFLOW, &[info(INFO_PIDFD, &(-1_i32).to_ne_bytes())]);
        bytes.extend(event(FAN_CREATE, &[]));

        let records: Vec<_> = Records::of(&bytes).collect();

        assert_eq!(records[0], Record::Overflow);
        assert!(matches!(records[1], Record::Change(_)));
    }

    #[test]
    fn an_event_that_cannot_be_read_gives_its_pidfd_back_and_the_next_is_read() {
        let no_end = file_body(b"folder", None);
        let mut bytes = event(
            FAN_CREATE,
            &[info(INFO_DFID_NAME, &no_end), info(INFO_PIDFD, &6_i32.to_ne_bytes())],
        );
        bytes.extend(event(FAN_CREATE, &[]));

        let records: Vec<_> = Records::of(&bytes).collect();

        assert_eq!(records[0], Record::Unreadable { pidfd: Some(6) });
        assert!(matches!(records[1], Record::Change(_)));
    }

    #[test]
    fn a_cut_event_is_said_and_is_the_last() {
        let mut bytes = event(FAN_CREATE, &[]);
        bytes.truncate(20);

        let records: Vec<_> = Records::of(&bytes).collect();

        assert_eq!(records, [Record::Unreadable { pidfd: None }]);
    }

    #[test]
    fn a_handle_over_the_limit_is_not_taken() {
        assert!(Handle::new(1, &[1; Handle::MAX]).is_some());
        assert!(Handle::new(1, &[1; Handle::MAX + 1]).is_none());
    }

    #[test]
    fn a_name_that_is_a_path_is_not_taken() {
        let bytes = event(FAN_CREATE, &[info(INFO_DFID_NAME, &file_body(b"f", Some(b"../x")))]);

        assert_eq!(Records::of(&bytes).next(), Some(Record::Unreadable { pidfd: None }));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Records::of(&bytes).count() <= 1 + bytes.len() / METADATA_LEN);
        }
    }
}
