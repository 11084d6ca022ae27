use outrigger_api::settings::Approval;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

fn candidate(text: &str, published: &str) -> Candidate {
    let mut package = [0; 32];
    package[..text.len()].copy_from_slice(text.as_bytes());
    Candidate {
        version: version(text),
        published: at(published),
        package: Digest(package),
        refused: false,
    }
}

fn rollout(ring: u32, freeze: Vec<Freeze>) -> RolloutConfig {
    RolloutConfig { ring, seed: None, ring_hours: 24, freeze, approval: Approval::Nothing }
}

fn week(from: (u8, u8), to: (u8, u8)) -> Freeze {
    let time = |(day, hour)| WeekTime { day, hour, minute: 0 };
    Freeze::Week { from: time(from), to: time(to) }
}

/// Saturday 2026-12-26 to Sunday 2027-01-03.
const HOLIDAYS: Freeze = Freeze::Days {
    first: Day { year: 2026, month: 12, day: 26 },
    last: Day { year: 2027, month: 1, day: 3 },
};
const FRIDAY: u8 = 4;

/// What is decided by `rollout` and `pin` at `now`, with 1.0.0 in force.
fn decided<'c>(
    rollout: &RolloutConfig,
    pin: Option<&Pin>,
    offered: &'c [Candidate],
    now: &str,
) -> Decision<'c> {
    let policy = Policy { rollout, pin, seed: &Seed::new("a machine"), emergency: false };
    decide(&policy, Some(&version("1.0.0")), offered, at(now))
}

#[test]
fn without_rings_the_newest_is_taken_when_it_is_published() {
    let offered = [
        candidate("1.1.0", "2026-11-01T10:00:00Z"),
        candidate("1.2.0", "2026-11-02T10:00:00Z"),
        candidate("1.0.0", "2026-10-01T10:00:00Z"),
    ];

    let taken = decided(&rollout(0, vec![]), None, &offered, "2026-11-02T10:00:00Z");

    assert_eq!(taken, Decision::Take(&offered[1]));
}

#[test]
fn what_is_not_newer_is_nothing() {
    let offered = [candidate("1.0.0", "2026-10-01T10:00:00Z")];

    let decision = decided(&rollout(0, vec![]), None, &offered, "2026-11-02T10:00:00Z");

    assert_eq!(decision, Decision::Nothing);
}

#[test]
fn a_clock_set_back_a_year_lets_nothing_in() {
    let offered = [candidate("1.1.0", "2026-11-01T10:00:00Z")];

    let decision = decided(&rollout(0, vec![]), None, &offered, "2025-11-02T10:00:00Z");

    let (next, until) = (&offered[0], offered[0].published);
    assert_eq!(decision, Decision::Wait { next, until, why: Wait::Published });
}

#[test]
fn a_ring_takes_the_newest_whose_turn_has_come_and_does_not_wait_for_the_newest_of_all() {
    let offered = [
        candidate("1.1.0", "2026-11-01T10:00:00Z"),
        candidate("1.2.0", "2026-11-03T10:00:00Z"),
        candidate("1.3.0", "2026-11-06T09:00:00Z"),
    ];

    let taken = decided(&rollout(1, vec![]), None, &offered, "2026-11-06T10:00:00Z");

    assert_eq!(taken, Decision::Take(&offered[1]));
}

#[test]
fn what_is_known_to_be_bad_makes_room_for_the_next() {
    let mut offered =
        [candidate("1.1.0", "2026-11-01T10:00:00Z"), candidate("1.2.0", "2026-11-02T10:00:00Z")];
    offered[1].refused = true;

    let taken = decided(&rollout(0, vec![]), None, &offered, "2026-11-06T10:00:00Z");

    assert_eq!(taken, Decision::Take(&offered[0]));
}

#[test]
fn one_behind_is_the_second_newest_and_never_an_older_than_the_one_in_force() {
    let offered =
        [candidate("1.1.0", "2026-11-01T10:00:00Z"), candidate("1.2.0", "2026-11-02T10:00:00Z")];
    let (pin, now) = (Pin::Behind(1), "2026-11-06T10:00:00Z");

    let taken = decided(&rollout(0, vec![]), Some(&pin), &offered, now);
    let held = decided(&rollout(0, vec![]), Some(&Pin::Behind(2)), &offered, now);

    assert_eq!(taken, Decision::Take(&offered[0]));
    let why = Hold::Pinned(Pin::Behind(2));
    assert_eq!(held, Decision::Held { version: version("1.2.0"), why });
}

#[test]
fn a_pinned_version_is_the_only_one_even_if_it_is_older() {
    let offered = [
        candidate("0.9.0", "2026-10-01T10:00:00Z"),
        candidate("1.0.0", "2026-11-01T10:00:00Z"),
        candidate("1.2.0", "2026-11-02T10:00:00Z"),
    ];
    let now = "2026-11-06T10:00:00Z";
    let pinned = |text| {
        let pin = Pin::Version(version(text));
        decided(&rollout(0, vec![]), Some(&pin), &offered, now)
    };

    assert_eq!(pinned("0.9.0"), Decision::Take(&offered[0]));
    let why = Hold::Pinned(Pin::Version(version("1.0.0")));
    assert_eq!(pinned("1.0.0"), Decision::Held { version: version("1.2.0"), why });
    assert_eq!(
        pinned("1.1.0"),
        Decision::Held { version: version("1.1.0"), why: Hold::NotOffered }
    );
}

#[test]
fn nothing_is_taken_in_a_weekend_that_is_frozen() {
    let offered = [candidate("1.1.0", "2026-11-01T10:00:00Z")];
    let weekend = week((FRIDAY, 18), (0, 6));
    let by = rollout(0, vec![weekend]);
    let on = |now| decided(&by, None, &offered, now);

    assert_eq!(on("2026-11-06T17:59:59Z"), Decision::Take(&offered[0]));
    let frozen = Decision::Wait {
        next: &offered[0],
        until: at("2026-11-09T06:00:00Z"),
        why: Wait::Freeze(weekend),
    };
    assert_eq!(on("2026-11-06T18:00:00Z"), frozen);
    assert_eq!(on("2026-11-09T05:59:59.5Z"), frozen);
    assert_eq!(on("2026-11-09T06:00:00Z"), Decision::Take(&offered[0]));
}

#[test]
fn one_freeze_that_ends_in_another_goes_on_to_its_end() {
    let offered = [candidate("1.1.0", "2026-11-01T10:00:00Z")];
    let by = rollout(0, vec![week((FRIDAY, 18), (0, 6)), HOLIDAYS]);

    let decision = decided(&by, None, &offered, "2026-12-25T19:00:00Z");

    let Decision::Wait { until, .. } = decision else { panic!("{decision:?}") };
    assert_eq!(until, at("2027-01-04T06:00:00Z"));
}

#[test]
fn times_that_leave_none_between_them_hold_for_good() {
    let offered = [candidate("1.1.0", "2026-11-01T10:00:00Z")];
    let by = rollout(0, vec![week((0, 0), (FRIDAY, 0)), week((FRIDAY, 0), (0, 0))]);

    let decision = decided(&by, None, &offered, "2026-12-25T19:00:00Z");

    assert_eq!(decision, Decision::Held { version: version("1.1.0"), why: Hold::AlwaysFrozen });
}

#[test]
fn an_emergency_waits_for_no_ring_and_no_freeze_and_keeps_to_a_pin() {
    let offered = [candidate("1.1.0", "2026-12-27T10:00:00Z")];
    let rollout = rollout(9, vec![HOLIDAYS]);
    let seed = Seed::new("a machine");
    let active = version("1.0.0");
    let mut policy = Policy { rollout: &rollout, pin: None, seed: &seed, emergency: true };
    let now = at("2026-12-27T10:00:01Z");

    assert_eq!(decide(&policy, Some(&active), &offered, now), Decision::Take(&offered[0]));
    let pin = Pin::Version(active.clone());
    policy.pin = Some(&pin);
    let held = decide(&policy, Some(&active), &offered, now);
    assert_eq!(held, Decision::Held { version: version("1.1.0"), why: Hold::Pinned(pin.clone()) });
}

#[test]
fn waves_spread_machines_evenly_and_anew_for_each_release() {
    let releases = ["1.1.0", "1.2.0"].map(|text| candidate(text, "2026-11-01T10:00:00Z").package);
    let mut tenths = [[0_u32; 10]; 2];
    let mut same = 0;
    for machine in 0..2000 {
        let seed = Seed::new(&format!("machine {machine}"));
        let places = releases.map(|package| seed.place(&package, 1000) / 100);
        for (counts, place) in tenths.iter_mut().zip(places) {
            counts[usize::try_from(place).expect("a place in the ring")] += 1;
        }
        same += u32::from(places[0] == places[1]);
    }

    // 200 are expected in each; five standard deviations of 13.4 are 67.
    assert!(tenths.as_flattened().iter().all(|count| (133..=267).contains(count)), "{tenths:?}");
    assert!((133..=267).contains(&same), "{same} of 2000 have the same tenth in both waves");
}

#[test]
fn a_seed_is_not_shown() {
    assert_eq!(format!("{:?}", Seed::new("0123456789abcdef")), "Seed(…)");
}

fn any_freeze() -> impl Strategy<Value = Freeze> {
    let time = || {
        (0_u8..7, 0_u8..24, 0_u8..60).prop_map(|(day, hour, minute)| WeekTime { day, hour, minute })
    };
    prop_oneof![
        (time(), time())
            .prop_filter("some time", |(from, to)| from != to)
            .prop_map(|(from, to)| Freeze::Week { from, to }),
        (1_i8..=28, 1_i8..=28).prop_map(|(a, b)| {
            let day = |day| Day { year: 2026, month: 11, day };
            Freeze::Days { first: day(a.min(b)), last: day(a.max(b)) }
        }),
    ]
}

fn any_rollout() -> impl Strategy<Value = RolloutConfig> {
    (0_u32..10, 1_u32..=720, prop::collection::vec(any_freeze(), 0..4)).prop_map(
        |(ring, ring_hours, freeze)| RolloutConfig {
            ring,
            seed: None,
            ring_hours,
            freeze,
            approval: Approval::Nothing,
        },
    )
}

fn any_pin() -> impl Strategy<Value = Option<Pin>> {
    prop_oneof![
        Just(None),
        (1_u32..4).prop_map(|count| Some(Pin::Behind(count))),
        (0_u64..6).prop_map(|minor| Some(Pin::Version(Version::new(1, minor, 0)))),
    ]
}

/// Seconds in and around November 2026.
fn any_time() -> impl Strategy<Value = Timestamp> {
    (1_790_000_000_i64..1_800_000_000)
        .prop_map(|second| Timestamp::from_second(second).expect("in range"))
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::btree_map(0_u64..6, (any_time(), any::<[u8; 32]>(), any::<bool>()), 0..6)
        .prop_map(|all| {
            let made = all.into_iter().map(|(minor, (published, package, refused))| Candidate {
                version: Version::new(1, minor, 0),
                published,
                package: Digest(package),
                refused: refused && minor % 2 == 0,
            });
            made.collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_taken_that_must_not_be(
        rollout in any_rollout(),
        pin in any_pin(),
        offered in any_candidates(),
        active in prop::option::of(0_u64..6),
        now in any_time(),
        emergency in any::<bool>(),
    ) {
        let seed = Seed::new("a machine");
        let active = active.map(|minor| Version::new(1, minor, 0));
        let policy = Policy { rollout: &rollout, pin: pin.as_ref(), seed: &seed, emergency };

        let decision = decide(&policy, active.as_ref(), &offered, now);

        if let Decision::Take(taken) = decision {
            prop_assert!(taken.published <= now, "before it was published");
            prop_assert!(!taken.refused);
            prop_assert!(emergency || rollout.freeze.iter().all(|one| ends(one, now).is_none()));
            let waits = i64::from(rollout.ring) * i64::from(rollout.ring_hours) * HOUR;
            prop_assert!(emergency || now >= later(taken.published, waits), "before its ring");
            match &pin {
                Some(Pin::Version(pinned)) => prop_assert_eq!(&taken.version, pinned),
                _ => prop_assert!(active.is_none_or(|active| taken.version > active)),
            }
        }
        if let Decision::Wait { until, .. } = decision {
            prop_assert!(until > now);
        }
    }

    #[test]
    fn what_waits_is_taken_at_just_the_time_that_was_told(
        rollout in any_rollout(),
        published in any_time(),
        package in any::<[u8; 32]>(),
        now in any_time(),
    ) {
        let seed = Seed::new("a machine");
        let policy = Policy { rollout: &rollout, pin: None, seed: &seed, emergency: false };
        let version = Version::new(1, 0, 0);
        let offered = [Candidate { version, published, package: Digest(package), refused: false }];

        if let Decision::Wait { until, .. } = decide(&policy, None, &offered, now) {
            let just_before = Timestamp::from_second(until.as_second() - 1).expect("in range");
            prop_assert_eq!(decide(&policy, None, &offered, until), Decision::Take(&offered[0]));
            if just_before >= now {
                let early = decide(&policy, None, &offered, just_before);
                prop_assert!(matches!(early, Decision::Wait { .. }), "{:?}", early);
            }
            let latest = i64::from(rollout.ring + 1) * i64::from(rollout.ring_hours) * HOUR;
            prop_assert!(!rollout.freeze.is_empty() || until < later(published, latest.max(1)));
        }
    }
}
