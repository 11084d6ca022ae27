use proptest::prelude::*;

use super::*;

const MAX: u32 = 3;

fn first() -> Record {
    let mut record = Record::default();
    start(&mut record, "boot-0");
    record
}

/// A start after one of which nobody saw the end.
fn start(record: &mut Record, boot: &str) -> Begun {
    record.begin(boot, Before::Unknown, MAX)
}

fn engine() -> EngineName {
    "acme-av".parse().expect("a name")
}

fn good(package: u8) -> Good {
    let package = Digest([package; 32]).to_string();
    Good { engine: engine(), part: Part::Code, package }
}

#[test]
fn boots_without_health_lead_to_known_good_and_then_to_none() {
    let mut record = first();

    let levels: Vec<Level> =
        (1..=7).map(|boot| start(&mut record, &format!("b{boot}")).level).collect();

    use Level::{All, KnownGood, Nothing};
    assert_eq!(levels, [All, All, KnownGood, KnownGood, KnownGood, Nothing, Nothing]);
    assert!(record.safe_mode.is_some());
}

#[test]
fn the_very_first_start_follows_nothing() {
    let mut record = Record::default();

    let begun = start(&mut record, "b");

    assert_eq!(begun, Begun { level: Level::All, counted: false, ends_probation: false });
}

#[test]
fn health_breaks_the_row() {
    let mut record = first();
    for boot in 1..=4 {
        start(&mut record, &format!("b{boot}"));
    }

    record.healthy(Some(vec![good(1)]));
    let next = start(&mut record, "b5");

    assert_eq!((next.level, next.counted, record.unclean), (Level::All, false, 0));
}

#[test]
fn a_stop_is_clean_and_breaks_the_row_only_after_long_enough() {
    let mut record = first();
    start(&mut record, "b1");
    start(&mut record, "b2");

    record.stopped(false);
    let soon = start(&mut record, "b3");
    let after_soon = record.unclean;
    record.stopped(true);
    let later = start(&mut record, "b4");

    assert!(!soon.counted && !later.counted);
    assert_eq!((after_soon, record.unclean), (2, 0));
}

#[test]
fn making_way_neither_counts_nor_breaks_the_row() {
    let mut record = first();
    start(&mut record, "b1");

    record.makes_way();
    let next = start(&mut record, "b1");

    assert_eq!((next.counted, record.unclean), (false, 1));
}

#[test]
fn within_a_boot_a_host_that_somebody_killed_does_not_count() {
    let mut record = first();

    let killed = record.begin("boot-0", Before::Unknown, MAX);

    assert!(!killed.counted && !killed.ends_probation);
    assert_eq!(record.unclean, 0);
}

#[test]
fn a_host_that_crashes_again_and_again_within_a_boot_comes_to_safe_mode() {
    let mut record = first();

    let levels: Vec<Level> =
        (0..6).map(|_| record.begin("boot-0", Before::Crashed, MAX).level).collect();

    use Level::{All, KnownGood, Nothing};
    assert_eq!(levels, [All, All, KnownGood, KnownGood, KnownGood, Nothing]);
}

#[test]
fn a_crash_after_health_ends_a_probation_and_does_not_count() {
    let mut record = first();
    record.healthy(Some(Vec::new()));

    let begun = record.begin("boot-0", Before::Crashed, MAX);

    assert_eq!((begun.counted, begun.ends_probation, record.unclean), (false, true, 0));
}

#[test]
fn a_boot_that_cannot_be_named_is_another_one() {
    let mut record = first();

    let begun = record.begin("", Before::Unknown, MAX);
    let again = record.begin("", Before::Unknown, MAX);

    assert!(begun.counted && again.counted);
}

#[test]
fn safe_mode_is_left_by_hand_alone() {
    let mut record = first();
    record.enter_safe_mode(None, "by a test", false);

    record.healthy(None);
    record.stopped(true);
    let still = start(&mut record, "b1").level;
    let left = record.leave_safe_mode(None);
    record.stopped(false);
    let after = start(&mut record, "b2").level;

    assert_eq!((still, left, after), (Level::Nothing, true, Level::All));
    assert!(!record.leave_safe_mode(None), "there was nothing to leave");
}

#[test]
fn an_engine_that_is_withheld_by_name_is_let_dock_by_name() {
    let mut record = first();
    record.enter_safe_mode(Some(&engine()), "by a test", false);

    assert!(!record.leave_safe_mode(Some(&"other".parse().expect("a name"))));
    record.enter_safe_mode(None, "by a test", true);
    assert!(record.leave_safe_mode(None));
    assert!(record.withheld.contains_key(&engine()), "it is kept off while the others dock");
    assert!(record.leave_safe_mode(Some(&engine())));
    assert!(record.withheld.is_empty());
}

#[test]
fn what_is_known_good_is_what_was_in_force_at_the_last_healthy_start() {
    let mut record = first();
    let knows =
        |record: &Record, package| record.knows(&engine(), Part::Code, &Digest([package; 32]));

    let before = knows(&record, 9);
    record.healthy(Some(vec![good(1)]));
    record.healthy(None);

    assert!(before, "nothing speaks against anything");
    assert!(knows(&record, 1) && !knows(&record, 9));
    assert!(!record.knows(&engine(), Part::Content, &Digest([1; 32])));
}

#[test]
fn a_damaged_record_brings_about_caution_and_counts_on() {
    let mut record = Record::unknown(MAX);

    let levels: Vec<Level> =
        (1..=4).map(|boot| start(&mut record, &format!("b{boot}")).level).collect();

    use Level::{KnownGood, Nothing};
    assert_eq!(levels, [KnownGood, KnownGood, KnownGood, Nothing]);
}

#[test]
fn of_two_places_the_later_whole_one_counts() {
    let (old, new) = (first(), Record { sequence: 2, ..first() });
    let (old_bytes, new_bytes) = (old.to_bytes(), new.to_bytes());
    let mut half = new_bytes.clone();
    half.truncate(100);

    assert_eq!(Record::later([&old_bytes, &new_bytes]), Some(new));
    assert_eq!(Record::later([&old_bytes, &half]), Some(old));
    assert_eq!(Record::later([&half, b""]), None);
}

#[test]
fn a_record_of_a_later_version_reads_as_far_as_it_is_known() {
    let body = r#"{"sequence":7,"starts":7,"boot":"b","start":"healthy","unclean":2,"known_good":null,"safe_mode":{"why":"x","unclean":true},
        "withheld":{},"serial":9,"obeying":0,"later":[1]}"#.replace('\n', "");
    let text = format!("{HEAD}{}\n{body}\n", hex::encode(Sha256::digest(&body)));

    let read = Record::parse(text.as_bytes()).expect("it is read");

    assert_eq!((read.sequence, read.serial, read.safe_mode.is_some()), (7, 9, true));
}

#[test]
fn a_record_of_more_than_there_is_room_for_keeps_what_is_withheld() {
    let many: Vec<Good> = (0..1000).map(|_| good(1)).collect();
    let mut record = Record { known_good: Some(many), ..first() };
    record.enter_safe_mode(Some(&engine()), &"x".repeat(5000), false);

    let bytes = record.to_bytes();
    let read = Record::parse(&bytes).expect("it is read");

    assert_eq!(bytes.len(), RECORD_BYTES);
    assert_eq!(read.withheld, record.withheld);
    assert!(read.withheld[&engine()].why.len() <= WHY_MAX);
}

/// Anything that may happen between two starts.
fn events() -> impl Strategy<Value = Vec<(u8, bool, bool)>> {
    prop::collection::vec((0..5_u8, any::<bool>(), any::<bool>()), 0..60)
}

proptest! {
    #[test]
    fn a_record_reads_as_it_was_written(record in records()) {
        prop_assert_eq!(Record::parse(&record.to_bytes()), Ok(record));
    }

    #[test]
    fn a_record_of_which_any_bit_was_changed_is_none_or_the_same(
        record in records(), at in any::<prop::sample::Index>(), bit in 0..8_u8
    ) {
        let mut bytes = record.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;

        // After its end there is nothing that matters.
        prop_assert!(Record::parse(&bytes).is_err() || Record::parse(&bytes) == Ok(record));
    }

    #[test]
    fn safe_mode_and_what_is_withheld_never_end_by_themselves(events in events()) {
        let mut record = first();
        record.enter_safe_mode(Some(&engine()), "by a test", false);
        let mut was_safe = false;
        for (number, (event, crashed, same)) in events.into_iter().enumerate() {
            match event {
                0 => record.healthy(None),
                1 => record.stopped(crashed),
                2 => record.makes_way(),
                _ => {}
            }
            let boot = if same { "same".to_owned() } else { format!("b{number}") };
            let before = if crashed { Before::Crashed } else { Before::Unknown };
            let begun = record.begin(&boot, before, MAX);
            prop_assert!(!was_safe || begun.level == Level::Nothing);
            was_safe = begun.level == Level::Nothing;
            prop_assert_eq!(was_safe, record.safe_mode.is_some());
        }
        prop_assert!(record.withheld.contains_key(&engine()));
    }
}

fn records() -> impl Strategy<Value = Record> {
    let names = prop::sample::select(vec!["acme-av", "other", "a"]);
    let withheld = prop::collection::btree_map(
        names.prop_map(|name| name.parse().expect("a name")),
        reason(),
        0..3,
    );
    let start =
        prop::sample::select(vec![Start::Begun, Start::Healthy, Start::Stopped, Start::MadeWay]);
    let known = prop::option::of(prop::collection::vec(any::<u8>().prop_map(good), 0..5));
    (
        any::<u64>(),
        "[a-z0-9-]{0,36}",
        start,
        any::<u32>(),
        known,
        prop::option::of(reason()),
        withheld,
    )
        .prop_map(|(sequence, boot, start, unclean, known_good, safe_mode, withheld)| Record {
            sequence,
            starts: sequence / 3,
            boot,
            start,
            unclean,
            known_good,
            safe_mode,
            withheld,
            serial: sequence / 2,
            obeying: unclean % 3,
        })
}

fn reason() -> impl Strategy<Value = Withheld> {
    (".{0,40}", any::<bool>()).prop_map(|(why, unclean)| Withheld { why, unclean })
}
