//! What a read of the file sensor's group gives, with names that any user chose.

use outrigger_sensor::changes::record::{Change, Entry, FileSystemId, Handle, Record, Records};

use crate::memory;

/// Bytes of an event without what may follow it.
const PLAIN: usize = 24;

/// Reads `bytes` as what the kernel gave, without any memory; what was read and is laid out again must read
/// the same.
pub fn check(bytes: &[u8]) {
    let (count, peak) = memory::peak_of(|| Records::of(bytes).inspect(check_one).count());

    assert_eq!(peak, 0, "{} bytes of input took memory", bytes.len());
    assert!(count <= 1 + bytes.len() / PLAIN);
    for record in Records::of(bytes) {
        let Record::Change(change) = record else { continue };
        let laid = lay(&change);
        assert_eq!(Records::of(&laid).collect::<Vec<_>>(), [record]);
        // An event that is cut is told as one that cannot be read, never as another.
        let cut = &laid[..laid.len() - 1];
        assert_eq!(Records::of(cut).collect::<Vec<_>>(), [Record::Unreadable { pidfd: None }]);
    }
}

fn check_one(record: &Record<'_>) {
    match record {
        Record::Change(change) => {
            assert!(change.events().next().is_some(), "a change of nothing");
            assert!(change.pidfd.is_none_or(|number| number >= 0), "{change:?}");
            for entry in [change.at, change.to].into_iter().flatten() {
                assert!(!entry.name.is_empty() && !entry.name.contains(&b'/'), "{entry:?}");
                assert!(!entry.name.contains(&0), "{entry:?}");
            }
        }
        Record::Overflow => {}
        Record::Unreadable { pidfd } => assert!(pidfd.is_none_or(|number| number >= 0)),
    }
}

/// `struct fanotify_event_metadata` and the records behind it (`man 7 fanotify`).
fn lay(change: &Change<'_>) -> Vec<u8> {
    let mut infos = Vec::new();
    for (kind, entry) in [(2, change.at), (12, change.to)] {
        if let Some(Entry { file_system, folder, name }) = entry {
            let mut body = file(file_system, &folder);
            body.extend(name);
            body.push(0);
            infos.extend(info(kind, &body));
        }
    }
    if let Some((file_system, handle)) = change.object {
        infos.extend(info(1, &file(file_system, &handle)));
    }
    if let Some(pidfd) = change.pidfd {
        infos.extend(info(4, &pidfd.to_ne_bytes()));
    }
    let mut bytes = Vec::new();
    let len = u32::try_from(PLAIN + infos.len()).expect("it came from fewer");
    bytes.extend(len.to_ne_bytes());
    bytes.extend([3, 0, 24, 0]);
    bytes.extend(change.mask.to_ne_bytes());
    bytes.extend((-1_i32).to_ne_bytes());
    bytes.extend(change.pid.to_ne_bytes());
    bytes.extend(infos);
    bytes
}

fn file(FileSystemId(words): FileSystemId, handle: &Handle) -> Vec<u8> {
    let len = u32::try_from(handle.bytes().len()).expect("at most 128");
    let mut body = Vec::new();
    body.extend(words[0].to_ne_bytes());
    body.extend(words[1].to_ne_bytes());
    body.extend(len.to_ne_bytes());
    body.extend(handle.kind.to_ne_bytes());
    body.extend(handle.bytes());
    body
}

fn info(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + body.len()).expect("it came from fewer");
    let mut bytes = vec![kind, 0];
    bytes.extend(len.to_ne_bytes());
    bytes.extend(body);
    bytes
}
