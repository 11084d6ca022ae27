//! The records of the rings: verdicts as a hostile engine writes them, events as an engine reads them.

use outrigger_api::record::notice::RingRecord;
use outrigger_api::record::{
    DETAIL_MAX, EVENT_MAX, EventHeader, EventRecord, PATH_MAX, VerdictRecord, write_event,
};
use zerocopy::FromBytes;

/// Longest error about a record, in bytes.
const MESSAGE_MAX: usize = 160;

/// Reads `bytes` as each kind of record, and as the fields of an event that a host writes.
pub fn check(bytes: &[u8]) {
    match VerdictRecord::parse(bytes) {
        Ok(verdict) => {
            assert!(verdict.detail.as_str().len() <= DETAIL_MAX);
            assert_eq!(VerdictRecord::parse(&verdict.to_bytes()), Ok(verdict));
        }
        Err(error) => crate::assert_showable(&error.to_string(), MESSAGE_MAX),
    }
    match EventRecord::parse(bytes) {
        Ok(event) => {
            let header = EventHeader::read_from_prefix(bytes);
            let (mut header, _) = header.expect("a record that was read has a header");
            let mut out = [0; EVENT_MAX];
            let len = write_event(&mut header, event.path.as_deref(), &mut out);
            assert_eq!(EventRecord::parse(&out[..len]), Ok(event));
        }
        Err(error) => crate::assert_showable(&error.to_string(), MESSAGE_MAX),
    }
    told(bytes);
    write(bytes);
}

/// Reads `bytes` as whatever may lie in an event ring: what an engine is told is no longer than it came.
fn told(bytes: &[u8]) {
    match RingRecord::parse(bytes) {
        Ok(RingRecord::Notice(notice)) => {
            let paths =
                [&notice.path, &notice.new_path].map(|path| path.as_ref().map_or(0, Vec::len));
            assert!(paths.iter().all(|len| *len <= PATH_MAX));
            assert!(paths.iter().sum::<usize>() <= bytes.len());
        }
        Ok(RingRecord::Question(event)) => assert_eq!(EventRecord::parse(bytes), Ok(event)),
        Ok(RingRecord::Gap(_) | RingRecord::Pressure(_)) => {}
        Err(error) => crate::assert_showable(&error.to_string(), MESSAGE_MAX),
    }
}

/// Whatever the host knows of an event, an engine reads it as it was written.
fn write(bytes: &[u8]) {
    let Ok((mut header, path)) = EventHeader::read_from_prefix(bytes) else { return };
    let mut out = [0xff; EVENT_MAX];
    let len = write_event(&mut header, Some(path), &mut out);
    assert!(len.is_multiple_of(8));
    match EventRecord::parse(&out[..len]) {
        Ok(event) => {
            assert_eq!(event.case.get(), header.case.get());
            assert_eq!(event.path.as_deref(), Some(&path[..path.len().min(PATH_MAX)]));
        }
        Err(error) => assert_eq!(header.case.get(), 0, "{error}"),
    }
}
