//! The records of the rings: verdicts as a hostile engine writes them, events as an engine reads them.

use outrigger_api::record::notice::{
    NoticeExtra, NoticeRecord, NoticeTail, RingRecord, write_notice,
};
use outrigger_api::record::{
    Arguments, DETAIL_MAX, EVENT_MAX, EventHeader, EventRecord, PATH_MAX, RULE_NAME_MAX, TEXT_MAX,
    VerdictRecord, write_event,
};
use zerocopy::{FromBytes, FromZeros};

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
            let text = notice.text.as_ref().map_or(0, Vec::len);
            assert!(text <= TEXT_MAX);
            assert!(paths.iter().sum::<usize>() + text <= bytes.len());
            // Bytes that are no UTF-8 are shown as three others each.
            assert!(notice.rule.as_ref().map_or(0, String::len) <= 3 * RULE_NAME_MAX);
            again(bytes, &notice);
        }
        Ok(RingRecord::Question(event)) => assert_eq!(EventRecord::parse(bytes), Ok(event)),
        Ok(RingRecord::Gap(_) | RingRecord::Pressure(_)) => {}
        Err(error) => crate::assert_showable(&error.to_string(), MESSAGE_MAX),
    }
}

/// What an engine read of a notice, written again, reads the same.
fn again(bytes: &[u8], notice: &NoticeRecord) {
    let (mut header, _) = EventHeader::read_from_prefix(bytes).expect("it was read");
    let mut extra = NoticeExtra::new_zeroed();
    extra.parent = notice.parent.map_or([0; 16], |parent| parent.0);
    extra.parent_pid = notice.parent_pid.unwrap_or(0).into();
    extra.status = notice.status.unwrap_or(0).cast_unsigned().into();
    let known = notice.parent.is_some() || notice.parent_pid.is_some() || notice.status.is_some();
    let arguments = Arguments {
        target: notice.target,
        target_pid: notice.target_pid,
        values: notice.values,
        endpoint: notice.endpoint,
        text: notice.text.as_deref(),
        ruled: notice.ruled,
        rule: notice.rule.as_deref(),
    };
    let tail = NoticeTail {
        path: notice.path.as_deref(),
        extra: known.then_some(extra),
        new_path: notice.new_path.as_deref(),
        arguments,
    };
    let mut out = [0; EVENT_MAX];
    let len = write_notice(&mut header, tail, &mut out);
    let Ok(RingRecord::Notice(read)) = RingRecord::parse(&out[..len]) else {
        panic!("a notice that was read and written is none")
    };
    let cut = |rule: &String| rule.len() > RULE_NAME_MAX;
    if !notice.rule.as_ref().is_some_and(cut) {
        assert_eq!(read, *notice);
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
