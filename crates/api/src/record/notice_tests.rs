use proptest::prelude::*;

use std::net::IpAddr;

use super::super::{RULE_NAME_MAX, TEXT_MAX};
use super::*;

fn extra() -> NoticeExtra {
    let mut extra = NoticeExtra::new_zeroed();
    extra.parent = [7; 16];
    extra.parent_pid = 41.into();
    extra.status = 256.into();
    extra
}

fn header(event: Event, bits: u64) -> EventHeader {
    let mut header = EventHeader::new_zeroed();
    header.event = event.number().into();
    header.present = bits.into();
    header.pid = 42.into();
    header
}

fn notice(bytes: &[u8]) -> NoticeRecord {
    match RingRecord::parse(bytes) {
        Ok(RingRecord::Notice(notice)) => notice,
        other => panic!("no notice: {other:?}"),
    }
}

#[test]
fn a_notice_comes_back_as_it_was_written() {
    let mut out = [0; NOTICE_MAX];
    let bits = present::PID | present::PARENT | present::PARENT_PID;
    let mut header = header(Event::FileRename, bits);

    let tail = NoticeTail {
        path: Some(b"/a/old"),
        extra: Some(extra()),
        new_path: Some(b"/b/new"),
        ..NoticeTail::default()
    };

    let len = write_notice(&mut header, tail, &mut out);
    let read = notice(&out[..len]);

    assert_eq!((read.event, read.case, read.pid), (Some(Event::FileRename), None, Some(42)));
    assert_eq!((read.parent, read.parent_pid), (Some(ProcessKey([7; 16])), Some(41)));
    assert_eq!(read.path.as_deref(), Some(&b"/a/old"[..]));
    assert_eq!(read.new_path.as_deref(), Some(&b"/b/new"[..]));
    // Its bit was not set, so it is absent, whatever stands there.
    assert_eq!(read.status, None);
}

#[test]
fn the_longest_notice_has_two_cut_paths_and_cut_arguments() {
    let mut out = [0; NOTICE_MAX];
    let long = [b'a'; PATH_MAX + 1];

    let rule = "r".repeat(RULE_NAME_MAX + 1);
    let arguments = Arguments {
        text: Some(&long),
        ruled: Some(RuleOutcome::Denied),
        rule: Some(&rule),
        ..Arguments::default()
    };
    let tail =
        NoticeTail { path: Some(&long), new_path: Some(&long), arguments, ..NoticeTail::default() };

    let len = write_notice(&mut header(Event::FileRename, 0), tail, &mut out);
    let read = notice(&out[..len]);

    assert_eq!(len, NOTICE_MAX);
    assert_eq!(read.new_path.map(|path| path.len()), Some(PATH_MAX));
    assert_eq!(read.text.map(|text| text.len()), Some(TEXT_MAX));
    assert_eq!(read.rule.map(|rule| rule.len()), Some(RULE_NAME_MAX));
}

#[test]
fn a_notice_of_what_was_asked_names_its_case_and_what_became_of_it() {
    let mut out = [0; NOTICE_MAX];
    let mut header = header(Event::FileOpen, 0);
    header.case = 9.into();
    (header.outcome, header.decided_by) = (2, DecidedBy::Fallback as u8);

    let len = write_notice(&mut header, NoticeTail::default(), &mut out);
    let read = notice(&out[..len]);

    assert_eq!(read.case, CaseId::new(9));
    assert_eq!(read.outcome, Some((Answer::Deny, DecidedBy::Fallback)));
}

#[test]
fn an_exit_status_keeps_its_sign() {
    let mut out = [0; NOTICE_MAX];
    let mut extra = extra();
    extra.status = (-2_i32).cast_unsigned().into();

    let mut header = header(Event::ProcessExit, present::STATUS);
    let tail = NoticeTail { extra: Some(extra), ..NoticeTail::default() };
    let len = write_notice(&mut header, tail, &mut out);

    assert_eq!(notice(&out[..len]).status, Some(-2));
}

#[test]
fn gaps_and_pressure_come_back_as_they_were_written() {
    let events = EventSet::EMPTY.with(Event::ProcessFork).with(Event::FileUnlink);
    for lost in [Lost::Exactly(7), Lost::AtLeast(1), Lost::Unknown] {
        let loss = Loss { events, lost, cause: LossCause::KernelQueue };
        let bytes = GapLayout::new(&loss, 5);
        let read = RingRecord::parse(bytes.as_bytes());
        assert_eq!(read, Ok(RingRecord::Gap(GapRecord { sequence: 0, host_time: 5, loss })));
    }

    let pressure = PressureRecord { sequence: 0, host_time: 3, waiting: 75, share: 100 };
    let read = RingRecord::parse(PressureLayout::new(75, 100, 3).as_bytes());
    assert_eq!(read, Ok(RingRecord::Pressure(pressure)));
}

#[test]
fn a_loss_that_means_nothing_is_refused() {
    let events = EventSet::EMPTY.with(Event::ProcessFork);
    let loss = Loss { events, lost: Lost::Unknown, cause: LossCause::HostBusy };
    let mut layout = GapLayout::new(&loss, 5);
    layout.certainty = 4;

    let read = RingRecord::parse(layout.as_bytes());

    assert_eq!(read, Err(RecordError::Loss { certainty: 4, cause: 2 }));
}

fn arguments() -> Arguments<'static> {
    Arguments {
        target: Some(ProcessKey([9; 16])),
        target_pid: Some(77),
        values: [Some(9), None],
        endpoint: Some(Endpoint {
            family: 2,
            address: Some(IpAddr::from([192, 0, 2, 7])),
            port: 443,
        }),
        text: Some(b"user.\xff"),
        ruled: Some(RuleOutcome::WouldDeny),
        rule: Some("no-outside"),
    }
}

#[test]
fn arguments_come_back_as_they_were_written_and_absent_is_not_empty() {
    let mut out = [0; NOTICE_MAX];
    let tail = NoticeTail { arguments: arguments(), ..NoticeTail::default() };
    let len = write_notice(&mut header(Event::NetConnect, 0), tail, &mut out);
    let read = notice(&out[..len]);

    assert_eq!((read.target, read.target_pid), (Some(ProcessKey([9; 16])), Some(77)));
    assert_eq!(read.values, [Some(9), None]);
    assert_eq!(read.endpoint, arguments().endpoint);
    assert_eq!(read.text.as_deref(), Some(&b"user.\xff"[..]));
    assert_eq!(
        (read.ruled, read.rule.as_deref()),
        (Some(RuleOutcome::WouldDeny), Some("no-outside"))
    );

    let empty = Arguments { text: Some(b""), values: [Some(0), None], ..Arguments::default() };
    let tail = NoticeTail { arguments: empty, ..NoticeTail::default() };
    let len = write_notice(&mut header(Event::UnixConnect, 0), tail, &mut out);
    let read = notice(&out[..len]);

    assert_eq!((read.text.as_deref(), read.values), (Some(&b""[..]), [Some(0), None]));
    assert_eq!((read.target, read.target_pid, read.endpoint), (None, None, None));
    assert_eq!((read.ruled, read.rule), (None, None));
}

#[test]
fn a_socket_without_an_ip_address_has_a_family_and_no_address() {
    let mut out = [0; NOTICE_MAX];
    let endpoint = Some(Endpoint { family: 16, address: None, port: 0 });
    let arguments = Arguments { endpoint, ..Arguments::default() };
    let tail = NoticeTail { arguments, ..NoticeTail::default() };

    let len = write_notice(&mut header(Event::NetBind, 0), tail, &mut out);

    assert_eq!(notice(&out[..len]).endpoint, endpoint);
}

#[test]
fn an_engine_that_knows_no_arguments_reads_the_rest_and_skips_them() {
    let mut out = [0; NOTICE_MAX];
    let tail = NoticeTail {
        path: Some(b"/a"),
        extra: Some(extra()),
        new_path: Some(b"/b"),
        arguments: arguments(),
    };
    let len = write_notice(&mut header(Event::FileRename, present::PARENT), tail, &mut out);
    let whole = notice(&out[..len]);
    let mut known = header(Event::FileRename, 0);
    known.as_mut_bytes().copy_from_slice(&out[..EVENT_HEADER]);
    // As a reader that has never heard of the bits.
    known.present = (known.present.get() & !argument::BITS).into();
    out[..EVENT_HEADER].copy_from_slice(known.as_bytes());

    let read = notice(&out[..len]);

    assert_eq!(read.new_path, whole.new_path);
    assert_eq!((read.parent, read.target), (whole.parent, None));
}

#[test]
fn lengths_that_lie_about_arguments_are_refused() {
    let mut out = [0; NOTICE_MAX];
    let tail = NoticeTail { arguments: arguments(), ..NoticeTail::default() };
    let len = write_notice(&mut header(Event::NetConnect, 0), tail, &mut out);
    let text_len_at = EVENT_HEADER + 16 + 16 + 16 + 4;
    let rule_len_at = text_len_at + 4 + 2 + 2;

    for (at, bytes) in [(text_len_at, &[0xff; 4][..]), (rule_len_at, &[0xff; 2][..])] {
        let mut lie = out;
        lie[at..at + bytes.len()].copy_from_slice(bytes);
        let read = RingRecord::parse(&lie[..len]);
        assert!(matches!(read, Err(RecordError::Length { .. })), "{at}: {read:?}");
    }

    let short = EVENT_HEADER + 8;
    out[..4].copy_from_slice(&u32::try_from(short).unwrap().to_le_bytes());
    let read = RingRecord::parse(&out[..short]);
    assert!(matches!(read, Err(RecordError::Length { .. })), "{read:?}");
}

proptest! {
    #[test]
    fn any_bytes_parse_or_are_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..EVENT_HEADER + EXTRA + ARGUMENTS_MAX),
        kind in 0_u16..3,
    ) {
        if let Some(place) = bytes.get_mut(6..8).filter(|_| kind > 0) {
            place.copy_from_slice(&kind.to_le_bytes());
        }
        if let Some(place) = bytes.get_mut(..0) {
            place.fill(0);
        }
        let _ = RingRecord::parse(&bytes);
    }

    #[test]
    fn a_damaged_notice_never_panics(at in 0..EVENT_HEADER + EXTRA + 112, value: u8) {
        let mut out = [0; NOTICE_MAX];
        let mut header = header(Event::FileRename, present::PARENT);
        let tail = NoticeTail {
            path: Some(b"/old"),
            extra: Some(extra()),
            new_path: Some(b"/new"),
            arguments: arguments(),
        };
        let len = write_notice(&mut header, tail, &mut out);
        out[at] = value;
        let _ = RingRecord::parse(&out[..len]);
    }
}
