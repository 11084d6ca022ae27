//! The ring does what a queue of its size does, whatever is pushed and popped in whatever order.

use std::collections::VecDeque;

use outrigger_api::record::EVENT_MAX;
use outrigger_dock::{EventReader, EventWriter, PushError};
use proptest::prelude::*;

use crate::record;

const RING: u32 = 32_768;

#[derive(Debug, Clone)]
enum Step {
    /// Push a record of this many bytes, filled with this byte.
    Push(usize, u8),
    Publish,
    Pop,
}

fn step() -> impl Strategy<Value = Step> {
    let words = prop_oneof![4 => 1_usize..40, 1 => 40_usize..=EVENT_MAX / 8];
    prop_oneof![
        5 => (words, any::<u8>()).prop_map(|(words, fill)| Step::Push(words * 8, fill)),
        3 => Just(Step::Publish),
        4 => Just(Step::Pop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_ring_is_a_queue(steps in prop::collection::vec(step(), 1..600)) {
        let (mut writer, fd) = EventWriter::create(RING).expect("a ring");
        let mut reader = EventReader::map(fd, RING).expect("mapped");
        let mut buf = Vec::new();
        let mut pushed = VecDeque::new();
        let mut published = VecDeque::new();

        for step in steps {
            match step {
                Step::Push(len, fill) => {
                    let bytes = record(len, fill);
                    match writer.push(&bytes) {
                        Ok(()) => pushed.push_back(bytes),
                        Err(PushError::Full) => {
                            // A pad is shorter than the record that it makes way for.
                            let unread = writer.unread_bytes().expect("an honest reader") as usize;
                            prop_assert!(unread + 2 * len > RING as usize);
                        }
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                Step::Publish => {
                    writer.publish();
                    published.append(&mut pushed);
                }
                Step::Pop => {
                    prop_assert_eq!(reader.is_empty(), published.is_empty());
                    let got = reader.pop(&mut buf).expect("an honest writer");
                    let want = published.pop_front();
                    prop_assert_eq!(got, want.as_deref());
                }
            }
        }

        writer.publish();
        published.append(&mut pushed);
        while let Some(want) = published.pop_front() {
            prop_assert_eq!(reader.pop(&mut buf).expect("an honest writer"), Some(&want[..]));
        }
        prop_assert_eq!(reader.pop(&mut buf), Ok(None));
        prop_assert_eq!(writer.unread_bytes(), Ok(0));
    }
}

#[test]
fn cursors_wrap_past_four_gigabytes_without_a_seam() {
    // 2^32 bytes in records of 4,240: the cursors' own wrap, which no short run reaches.
    let (mut writer, fd) = EventWriter::create(1 << 16).expect("a ring");
    let mut reader = EventReader::map(fd, 1 << 16).expect("mapped");
    let mut buf = Vec::new();
    let bytes = record(EVENT_MAX, 7);
    let rounds = (1_u64 << 32) / EVENT_MAX as u64 + 100;

    for round in 0..rounds {
        writer.push(&bytes).expect("room for one record");
        writer.publish();
        let got = reader.pop(&mut buf).expect("an honest writer").map(<[u8]>::len);
        assert_eq!(got, Some(EVENT_MAX), "round {round}");
    }

    assert_eq!(reader.pop(&mut buf), Ok(None));
}

#[test]
fn what_is_pushed_is_not_seen_before_it_is_published() {
    let (mut writer, fd) = EventWriter::create(RING).expect("a ring");
    let mut reader = EventReader::map(fd, RING).expect("mapped");
    let mut buf = Vec::new();

    writer.push(&record(64, 1)).expect("room");
    let before = reader.pop(&mut buf).expect("an honest writer").map(<[u8]>::len);
    writer.publish();
    let after = reader.pop(&mut buf).expect("an honest writer").map(<[u8]>::len);

    assert_eq!((before, after), (None, Some(64)));
}

#[test]
fn a_full_ring_takes_no_more_and_loses_nothing() {
    let (mut writer, fd) = EventWriter::create(RING).expect("a ring");
    let mut reader = EventReader::map(fd, RING).expect("mapped");
    let mut buf = Vec::new();

    for fill in 0..32 {
        writer.push(&record(1024, fill)).expect("room for thirty-two");
    }
    let over = writer.push(&record(8, 99));
    writer.publish();
    let fills = std::iter::from_fn(|| reader.pop(&mut buf).expect("honest").map(|r| r[1023]));
    let fills: Vec<u8> = fills.collect();

    assert_eq!(over, Err(PushError::Full));
    assert_eq!(fills, (0..32).collect::<Vec<u8>>());
    assert_eq!(writer.push(&record(8, 99)), Ok(()));
}

#[test]
fn bytes_that_are_no_record_are_not_pushed() {
    let (mut writer, _fd) = EventWriter::create(RING).expect("a ring");
    let mut wrong_length = record(64, 0);
    wrong_length[0] = 56;
    let over_half = record(RING as usize / 2 + 8, 0);

    for bytes in [&[][..], &[8, 0, 0, 0], &record(64, 0)[..60], &wrong_length, &over_half] {
        assert_eq!(writer.push(bytes), Err(PushError::NoRecord { len: bytes.len() }));
    }
    assert_eq!(writer.unread_bytes(), Ok(0));
}
