use proptest::prelude::*;

use super::*;
use crate::readings::QUIET;

const MS: u64 = 1_000_000;

fn limits() -> Limits {
    Limits::new(&UpdatesConfig::default(), 50 * MS, false)
}

fn shadow() -> Shadow {
    Shadow::begin(limits(), true, 0)
}

fn object(number: u16) -> FileKey {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_le_bytes());
    FileKey(key)
}

fn said(number: u16, active: Option<Verdict>, shadow: Option<Verdict>) -> Judged<'static> {
    Judged {
        event: Event::FileOpen,
        object: object(number),
        path: Some("/srv/file"),
        active,
        shadow,
        rule: "Rule.1",
        late: false,
        guarded: false,
    }
}

fn sign(shadow: &Shadow, now_ms: u64) -> Option<Sign> {
    match shadow.look(&QUIET, None, now_ms * MS) {
        Standing::Failed(finding) => Some(finding.sign),
        Standing::Running | Standing::Waiting(_) | Standing::Passed => None,
    }
}

use Verdict::{Abstain, Allow, Deny};

#[test]
fn who_says_the_same_passes_when_its_time_is_over() {
    let mut shadow = shadow();
    for number in 0..100 {
        shadow.judge(&said(number, Some(Allow), Some(Allow)));
    }
    for number in 100..200 {
        shadow.judge(&said(number, Some(Deny), Some(Deny)));
    }

    assert_eq!(shadow.look(&QUIET, None, 9_999 * MS), Standing::Running);
    assert_eq!(shadow.look(&QUIET, None, 10_000 * MS), Standing::Passed);
    assert_eq!(shadow.counts(), (200, 0, 0));
}

#[test]
fn new_denials_are_counted_by_object_and_listed_by_rule() {
    let mut shadow = shadow();
    for _ in 0..50 {
        shadow.judge(&said(1, Some(Allow), Some(Deny)));
    }
    for number in 2..4 {
        shadow.judge(&said(number, Some(Allow), Some(Deny)));
    }
    let before = sign(&shadow, 1);

    let finding = shadow.judge(&said(4, Some(Allow), Some(Deny))).cloned();

    assert_eq!(before, None);
    let finding = finding.expect("four objects are over the limit of three");
    assert_eq!(finding.sign, Sign::NewDenials);
    let listed = "file.open allow → deny by \"Rule.1\": 53 questions, 4 objects, first /srv/file";
    assert!(finding.text.contains(listed), "{}", finding.text);
}

#[test]
fn one_denial_of_what_the_machine_needs_is_enough() {
    let mut shadow = shadow();

    shadow.judge(&Judged { guarded: true, ..said(1, Some(Allow), Some(Deny)) });

    assert_eq!(sign(&shadow, 1), Some(Sign::DeniedGuarded));
}

#[test]
fn a_guarded_denial_counts_where_the_other_one_was_silent_or_denied_too() {
    for active in [None, Some(Deny)] {
        let mut shadow = shadow();

        shadow.judge(&Judged { guarded: true, ..said(1, active, Some(Deny)) });

        assert_eq!(sign(&shadow, 1), Some(Sign::DeniedGuarded), "{active:?}");
    }
}

#[test]
fn a_release_that_has_gone_blind_does_not_pass() {
    let mut shadow = shadow();
    for number in 0..3 {
        shadow.judge(&said(number, Some(Deny), Some(Allow)));
    }
    let before = sign(&shadow, 10_000);

    shadow.judge(&said(3, Some(Allow), Some(Abstain)));

    assert_eq!(before, None);
    assert_eq!(sign(&shadow, 1), Some(Sign::LostVerdicts));
}

#[test]
fn a_question_that_nobody_answered_tells_nothing() {
    let mut shadow = shadow();

    for number in 0..100 {
        shadow.judge(&said(number, None, None));
    }

    assert_eq!(shadow.look(&QUIET, None, 10_000 * MS), Standing::Passed);
    assert_eq!(shadow.counts(), (0, 0, 100));
}

#[test]
fn what_it_was_not_shown_is_no_miss() {
    let mut shadow = shadow();

    for number in 0..100 {
        shadow.judge(&said(number, Some(Allow), None));
    }

    assert_eq!(shadow.look(&QUIET, None, 10_000 * MS), Standing::Passed);
    assert_eq!(shadow.counts(), (0, 0, 100));
}

#[test]
fn late_and_missing_verdicts_are_both_misses() {
    let mut shadow = shadow();
    let late = |number, own| Judged { late: true, ..said(number, Some(Allow), own) };
    shadow.judge(&late(0, None));
    shadow.judge(&late(1, Some(Allow)));
    shadow.judge(&late(2, None));
    let before = sign(&shadow, 10_000);

    shadow.judge(&late(3, None));

    assert_eq!(before, None);
    assert_eq!(sign(&shadow, 9_999), None, "a cold start is not held against it");
    assert_eq!(sign(&shadow, 10_000), Some(Sign::Misses));
}

#[test]
fn who_says_nothing_to_many_questions_fails_at_once() {
    let mut shadow = shadow();

    for number in 0..200 {
        shadow.judge(&Judged { late: true, ..said(number, Some(Allow), None) });
    }

    assert_eq!(sign(&shadow, 1), Some(Sign::Misses));
}

#[test]
fn beside_nothing_each_denial_is_new() {
    let mut shadow = Shadow::begin(limits(), false, 0);

    for number in 0..4 {
        shadow.judge(&said(number, None, Some(Deny)));
    }

    assert_eq!(sign(&shadow, 1), Some(Sign::NewDenials));
}

#[test]
fn too_few_questions_prolong_it_and_end_it_without_blame() {
    let limits = Limits { events_min: 1, longest: 60_000 * MS, ..limits() };
    let mut shadow = Shadow::begin(limits, true, 0);

    let waits = shadow.look(&QUIET, None, 10_000 * MS);
    let ends = sign(&shadow, 60_000);
    shadow.judge(&said(1, Some(Allow), Some(Allow)));

    assert_eq!(waits, Standing::Waiting("0 of 1 questions judged".to_owned()));
    assert_eq!(ends, Some(Sign::TooFewEvents));
    assert!(!Sign::TooFewEvents.is_the_releases());
    assert_eq!(shadow.look(&QUIET, None, 10_000 * MS), Standing::Passed);
}

#[test]
fn what_it_took_is_judged_at_the_end() {
    let shadow = shadow();
    let slow = Readings { timed: 100, p50_ns: 40 * MS, p99_ns: 40 * MS, ..QUIET };
    let old = Readings { timed: 100, p99_ns: MS, ..QUIET };

    assert_eq!(shadow.look(&slow, Some(&old), 9_999 * MS), Standing::Running);
    let end = shadow.look(&slow, Some(&old), 10_000 * MS);
    assert!(matches!(end, Standing::Failed(Finding { sign: Sign::Slow, .. })), "{end:?}");
}

#[test]
fn an_emergency_is_shorter() {
    let config = UpdatesConfig::default();
    let (usual, emergency) =
        (Limits::new(&config, MS, false).length, Limits::new(&config, MS, true).length);

    assert!(0 < emergency && emergency < usual, "{emergency} {usual}");
}

#[test]
fn what_an_engine_calls_its_rules_is_bounded_and_cleaned() {
    let mut shadow = Shadow::begin(Limits { objects_max: 1_000_000, ..limits() }, true, 0);

    for number in 0..2000 {
        let rule = format!("\u{1b}[31m{number}{}", "x".repeat(5000));
        shadow.judge(&Judged { rule: &rule, ..said(number, Some(Allow), Some(Deny)) });
    }

    let (rows, more) = shadow.differences();
    assert_eq!(rows.len(), 32);
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>() + more, 2000);
    assert!(rows.iter().all(|row| row.rule.chars().count() <= 160 && !row.rule.contains('\u{1b}')));
    assert!(shadow.summary().len() < 4096, "{}", shadow.summary().len());
}

fn verdict() -> impl Strategy<Value = Option<Verdict>> {
    prop_oneof![Just(None), Just(Some(Allow)), Just(Some(Deny)), Just(Some(Abstain))]
}

proptest! {
    #[test]
    fn every_question_is_counted_once_and_a_finding_stands(
        questions in proptest::collection::vec((0..8_u16, verdict(), verdict(), any::<bool>()), 0..200),
    ) {
        let mut shadow = shadow();
        let mut first: Option<Finding> = None;
        for (number, active, own, late) in &questions {
            let one = Judged { late: *late, ..said(*number, *active, *own) };
            let found = shadow.judge(&one).cloned();
            prop_assert!(first.is_none() || found == first, "{first:?} became {found:?}");
            first = found;
        }

        let (judged, missed, uncompared) = shadow.counts();

        prop_assert_eq!(judged + missed + uncompared, questions.len() as u64);
        let standing = shadow.look(&QUIET, None, MS);
        prop_assert_eq!(matches!(standing, Standing::Failed(_)), first.is_some());
    }

    #[test]
    fn who_never_differs_and_never_misses_never_fails(
        questions in proptest::collection::vec((0..8_u16, verdict(), verdict()), 0..200),
    ) {
        let mut shadow = shadow();
        for (number, active, own) in questions {
            let own = if active.is_some() { active } else { own };
            shadow.judge(&said(number, active, own));
        }

        prop_assert_eq!(shadow.look(&QUIET, None, 10_000 * MS), Standing::Passed);
    }
}
