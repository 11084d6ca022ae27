//! A peer that writes anything anywhere in the shared memory, through the descriptor it was given.

use std::fs::File;
use std::os::unix::fs::FileExt;

use outrigger_api::Event;
use outrigger_api::record::{EVENT_MAX, EventHeader, VERDICT_SIZE};
use outrigger_dock::{
    EventReader, EventWriter, Feed, NOTICE_RING_BYTES, PushError, RingCorrupt, Told, VerdictReader,
    VerdictWriter,
};
use proptest::prelude::*;
use zerocopy::FromZeros;

use crate::{TimeLimit, record, verdict};

const RING: u32 = 16_384;
const PRODUCED: u64 = 0;
const CONSUMED: u64 = 128;
const HANDLED: u64 = 384;
const DATA: u64 = 4096;

/// The engine's side of a ring, written raw.
struct Forger(File);

impl Forger {
    fn cursor(&self, at: u64, value: u32) {
        self.bytes(at, &value.to_le_bytes());
    }

    fn bytes(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).expect("a memfd can be written");
    }
}

fn verdict_ring() -> (VerdictReader, Forger) {
    let (reader, fd) = VerdictReader::create(RING).expect("a ring");
    (reader, Forger(File::from(fd)))
}

/// An event ring in which `bytes` are unread.
fn event_ring(bytes: usize) -> (EventWriter, Forger) {
    let (mut writer, fd) = EventWriter::create(RING).expect("a ring");
    writer.push(&record(bytes, 0)).expect("room");
    writer.publish();
    (writer, Forger(File::from(fd)))
}

#[test]
fn a_read_cursor_past_what_was_published_is_corrupt() {
    let (mut writer, engine) = event_ring(64);
    writer.push(&record(64, 0)).expect("room");

    engine.cursor(CONSUMED, 72);

    assert_eq!(writer.unread_bytes(), Err(RingCorrupt::Cursor { moved: 72, limit: 64 }));
}

#[test]
fn a_read_cursor_that_goes_backwards_is_corrupt() {
    let (mut writer, engine) = event_ring(8192);
    engine.cursor(CONSUMED, 8192);
    // Does not fit without a look at the cursor, which the writer remembers.
    writer.push(&record(8192, 0)).expect("room");
    writer.push(&record(8192, 0)).expect("room");

    engine.cursor(CONSUMED, 8184);
    let unread = writer.unread_bytes();
    let pushed = writer.push(&record(64, 0));

    let corrupt = RingCorrupt::Cursor { moved: 8_u32.wrapping_neg(), limit: 0 };
    assert_eq!(unread, Err(corrupt));
    assert_eq!(pushed, Err(PushError::Corrupt(corrupt)));
}

#[test]
fn a_count_of_handled_notices_that_cannot_be_is_corrupt() {
    let (writer, fd) = EventWriter::create(NOTICE_RING_BYTES).expect("a ring");
    let (mut feed, engine) = (Feed::new(writer), Forger(File::from(fd)));
    let told = feed.tell(Event::FileCreate, &mut record(64, 0), 1);

    engine.cursor(HANDLED, 72);

    assert_eq!(told, Ok(Told::Yes));
    let corrupt = RingCorrupt::Cursor { moved: 72, limit: 64 };
    assert_eq!(feed.waiting(), Err(corrupt));
    let told = feed.tell(Event::FileCreate, &mut record(64, 0), 1);
    assert_eq!(told, Err(PushError::Corrupt(corrupt)));
}

#[test]
fn an_engine_that_says_it_handled_all_keeps_no_question_out() {
    let (writer, fd) = EventWriter::create(NOTICE_RING_BYTES).expect("a ring");
    let (mut feed, engine) = (Feed::new(writer), Forger(File::from(fd)));
    let mut told = 0;
    while feed.tell(Event::FileCreate, &mut record(1024, 0), 1) == Ok(Told::Yes) {
        feed.publish();
        told += 1024;
        engine.cursor(HANDLED, told);
    }

    let mut scratch = [0; EVENT_MAX];
    let path = [b'a'; 4096];
    for case in 1..=16_u64 {
        let mut header = EventHeader::new_zeroed();
        header.case = case.into();
        assert_eq!(feed.ask(&mut header, Some(&path), &mut scratch), Ok(()));
    }
}

#[test]
fn a_read_cursor_within_a_word_is_corrupt() {
    let (writer, engine) = event_ring(64);

    engine.cursor(CONSUMED, 12);

    assert_eq!(writer.unread_bytes(), Err(RingCorrupt::Cursor { moved: 12, limit: 64 }));
}

#[test]
fn the_writer_never_reads_its_own_cursor_back() {
    let (mut writer, fd) = EventWriter::create(RING).expect("a ring");
    let engine = Forger(File::from(fd.try_clone().expect("a second descriptor")));
    let mut reader = EventReader::map(fd, RING).expect("mapped");
    writer.push(&record(64, 1)).expect("room");
    writer.publish();

    engine.cursor(PRODUCED, 0xffff_fff8);
    writer.push(&record(64, 2)).expect("room");
    writer.publish();
    let mut buf = Vec::new();
    let fills = std::iter::from_fn(|| reader.pop(&mut buf).expect("restored").map(|r| r[63]));

    assert_eq!(fills.collect::<Vec<u8>>(), [1, 2]);
}

#[test]
fn the_reader_never_reads_its_own_cursor_back() {
    let (mut reader, fd) = VerdictReader::create(RING).expect("a ring");
    let engine = Forger(File::from(fd.try_clone().expect("a second descriptor")));
    let mut writer = VerdictWriter::map(fd, RING).expect("mapped");

    for case in 1..=3 {
        writer.push(&verdict(case).to_bytes()).expect("room");
        writer.publish_and_wake();
    }
    let first = reader.pop();
    engine.cursor(CONSUMED, 0);
    let second = reader.pop();

    assert_eq!(first, Ok(Some(verdict(1).to_bytes())));
    assert_eq!(second, Ok(Some(verdict(2).to_bytes())));
}

#[test]
fn a_write_cursor_more_than_the_ring_ahead_is_corrupt() {
    let (mut reader, engine) = verdict_ring();

    engine.cursor(PRODUCED, RING + 8);

    assert_eq!(reader.pop(), Err(RingCorrupt::Cursor { moved: RING + 8, limit: RING }));
}

#[test]
fn a_write_cursor_within_a_word_is_corrupt() {
    let (mut reader, engine) = verdict_ring();

    engine.cursor(PRODUCED, 3);

    assert_eq!(reader.pop(), Err(RingCorrupt::Cursor { moved: 3, limit: RING }));
}

#[test]
fn lengths_that_do_not_fit_are_corrupt() {
    // produced, length written, limit told
    let table = [
        (88, 0, 88),
        (88, 7, 88),
        (88, 96, 88),
        (88, u32::MAX, 88),
        (88, 0xffff_fff8, 88),
        (RING, RING + 8, RING),
        (RING, 96, 88),
    ];
    for (produced, len, limit) in table {
        let (mut reader, engine) = verdict_ring();
        engine.bytes(DATA, &record(88, 1));
        engine.cursor(DATA, len);
        engine.cursor(PRODUCED, produced);

        assert_eq!(reader.pop(), Err(RingCorrupt::Length { len, limit }), "length {len}");
    }
}

#[test]
fn a_verdict_shorter_than_a_verdict_is_corrupt() {
    let (mut reader, engine) = verdict_ring();
    engine.bytes(DATA, &record(80, 1));
    engine.cursor(PRODUCED, 80);

    assert_eq!(reader.pop(), Err(RingCorrupt::Length { len: 80, limit: 88 }));
}

#[test]
fn a_pad_before_the_end_is_corrupt() {
    let (mut reader, engine) = verdict_ring();
    engine.bytes(DATA, &16_u64.to_le_bytes());
    engine.bytes(DATA + 16, &record(88, 1));
    engine.cursor(PRODUCED, 16 + 88);

    assert_eq!(reader.pop(), Err(RingCorrupt::Pad { len: 16 }));
}

#[test]
fn pads_alone_cannot_keep_the_reader_busy() {
    let (mut reader, engine) = verdict_ring();
    engine.bytes(DATA, &u64::from(RING).to_le_bytes());
    engine.cursor(PRODUCED, RING);

    assert_eq!(reader.pop(), Err(RingCorrupt::Length { len: RING, limit: 0 }));
}

#[test]
fn a_punched_hole_is_corrupt_and_not_a_fault() {
    let (mut reader, engine) = verdict_ring();
    engine.bytes(DATA, &record(88, 1));
    engine.cursor(PRODUCED, 88);

    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&engine.0, flags, DATA, 4096).expect("memfds can have holes");

    assert_eq!(reader.pop(), Err(RingCorrupt::Length { len: 0, limit: 88 }));
}

#[test]
fn a_writer_that_never_rests_harms_nobody() {
    let _limit = TimeLimit::new(60);
    let (mut reader, engine) = verdict_ring();
    let stop = std::sync::atomic::AtomicBool::new(false);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 1_u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                engine.cursor(DATA + u64::from(value >> 20) * 4 % u64::from(RING), value % 256);
                engine.cursor(PRODUCED, (value % (RING * 2)) & !7);
            }
        });
        for _ in 0..300_000 {
            if let Ok(Some(bytes)) = reader.pop() {
                assert_eq!(&bytes[..4], 88_u32.to_le_bytes());
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Where an honest ring of verdicts is damaged, and how.
fn damage() -> impl Strategy<Value = (u64, u32)> {
    let places = prop_oneof![
        1 => Just(PRODUCED),
        1 => Just(CONSUMED),
        1 => (0_u64..1024).prop_map(|word| word * 4),
        3 => (0_u64..u64::from(RING) / 4).prop_map(|word| DATA + word * 4),
    ];
    let values = prop_oneof![any::<u32>(), 0_u32..RING, (0_u32..RING / 8).prop_map(|w| w * 8)];
    (places, values)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_of_a_verdict_ring_panics_or_yields_more_than_was_written(
        written in 1_u64..180,
        read in 0_usize..180,
        damages in prop::collection::vec(damage(), 1..8),
    ) {
        let (mut reader, fd) = VerdictReader::create(RING).expect("a ring");
        let engine = Forger(File::from(fd.try_clone().expect("a second descriptor")));
        let mut writer = VerdictWriter::map(fd, RING).expect("mapped");
        for case in 1..=written {
            writer.push(&verdict(case).to_bytes()).expect("room for 180");
        }
        writer.publish_and_wake();
        for _ in 0..read {
            reader.pop().expect("honest so far");
        }

        for (at, value) in damages {
            engine.cursor(at, value);
        }

        let mut yielded = 0;
        while let Ok(Some(bytes)) = reader.pop() {
            prop_assert_eq!(&bytes[..4], 88_u32.to_le_bytes());
            yielded += 1;
        }
        prop_assert!(yielded <= 2 * RING as usize / VERDICT_SIZE);
    }

    #[test]
    fn no_damage_of_an_event_ring_panics_or_makes_room(
        lengths in prop::collection::vec(1_usize..100, 1..40),
        damages in prop::collection::vec(damage(), 1..8),
    ) {
        let (mut writer, fd) = EventWriter::create(RING).expect("a ring");
        let engine = Forger(File::from(fd));
        for words in lengths {
            let _ = writer.push(&record(words * 8, 0));
        }
        writer.publish();

        for (at, value) in damages {
            engine.cursor(at, value);
        }

        let mut room = 0;
        while writer.push(&record(64, 0)).is_ok() {
            room += 64;
        }
        prop_assert!(room <= RING);
        match writer.unread_bytes() {
            Ok(unread) => prop_assert!(unread <= RING),
            Err(RingCorrupt::Cursor { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
