use std::os::fd::AsRawFd as _;

use outrigger_api::record::ContentAbsent;
use outrigger_api::{Answer, FileKey};
use outrigger_decision::poison::Object as PoisonObject;

use super::*;
use crate::host::core::test_kit::{Process, RING, SCAN, ask_at, asked, intake};
use crate::host::core::{Finished, poison_object};
use crate::host::engines::Presence;
use crate::host::history::Decider;

/// ns in a millisecond.
const MS: u64 = 1_000_000;

/// A docked engine with nothing in hand, and a version of it in shadow.
fn shadowed() -> (Core, Process, Process) {
    let (mut core, mut active, case) = asked();
    active.say(case, Verdict::Allow);
    assert_eq!(collect(&mut core, 2).0.len(), 1);
    let (link, shadow) = Process::new();
    core.begin_shadow(SCAN, link, opens(), 2);
    (core, active, shadow)
}

fn opens() -> Wants {
    let asked = EventSet::EMPTY.with(Event::FileOpen);
    let told = EventSet::EMPTY.with(Event::FileRename);
    Wants { asked, told, fields: Fields::default() }
}

/// The same, and both were asked about one file at 10, with time until 1009.
fn both_asked() -> (Core, Process, Process, CaseId) {
    let (mut core, mut active, mut shadow) = shadowed();
    ask_at(&mut core, 8, 10);
    let (cases, shown) = (active.take(), shadow.take());
    assert_eq!((cases.len(), &shown), (1, &cases));
    (core, active, shadow, cases[0])
}

/// What ended by what has come until `now`, and what the control thread hears of it.
fn collect(core: &mut Core, now: u64) -> (Vec<Finished>, Vec<News>) {
    let (mut ended, mut news) = (Vec::new(), Vec::new());
    core.collect(now, &mut ended);
    core.take_news(&mut news);
    (ended, news)
}

/// What the thread of shadows hears at `now`, and hands over 50 ms later.
fn hear(core: &mut Core, now: u64) -> Vec<News> {
    let mut news = Vec::new();
    core.collect_shadows(now);
    core.collect_shadows(now + 60 * MS);
    core.take_news(&mut news);
    news
}

/// The same, of what was compared alone.
fn judged(core: &mut Core, now: u64) -> Vec<Judged> {
    comparisons(hear(core, now))
}

fn comparisons(news: Vec<News>) -> Vec<Judged> {
    let batches = news.into_iter().map(|news| match news {
        News::Judged { engine: SCAN, batch } => batch,
        other => panic!("nothing but comparisons: {other:?}"),
    });
    batches.flatten().collect()
}

fn verdicts(judged: &[Judged]) -> Vec<(Option<Verdict>, Option<Verdict>, bool)> {
    judged.iter().map(|one| (one.active, one.shadow, one.late)).collect()
}

const ALLOW: Option<Verdict> = Some(Verdict::Allow);
const DENY: Option<Verdict> = Some(Verdict::Deny);

#[test]
fn what_both_said_is_compared_whoever_was_faster() {
    for order in [[0, 1], [1, 0]] {
        let (mut core, mut active, mut shadow, case) = both_asked();

        for who in order {
            match who {
                0 => {
                    active.say(case, Verdict::Allow);
                    let (ended, _) = collect(&mut core, 30);
                    assert_eq!((ended.len(), ended[0].answer), (1, Answer::Allow));
                }
                _ => {
                    shadow.say_why(case, Verdict::Deny, "rule 7");
                    core.collect_shadows(40);
                }
            }
        }

        let judged = judged(&mut core, 50);
        let expected = Judged {
            event: Event::FileOpen,
            object: FileKey([8; 32]),
            path: None,
            active: ALLOW,
            shadow: DENY,
            rule: "rule 7".to_owned(),
            took_ns: 30,
            late: false,
        };
        assert_eq!(judged, [expected]);
    }
}

#[test]
fn the_rule_is_the_denying_ones() {
    let (mut core, mut active, mut shadow, case) = both_asked();

    active.say_why(case, Verdict::Deny, "old rule");
    collect(&mut core, 30);
    shadow.say_why(case, Verdict::Allow, "looked at");

    assert_eq!(judged(&mut core, 40)[0].rule, "old rule");
}

#[test]
fn a_shadow_decides_nothing() {
    let (mut core, _active, mut shadow, case) = both_asked();
    let before = core.engines[0].books.sums(20);

    shadow.say(case, Verdict::Deny);
    core.collect_shadows(20);
    let (ended, news) = collect(&mut core, 21);

    assert!(ended.is_empty() && news.is_empty());
    assert_eq!(core.in_flight(), 1);
    let after = core.engines[0].books.sums(20);
    assert_eq!((after.asked, after.denies), (before.asked, 0));
    let (ended, news) = collect(&mut core, 1009);
    assert_eq!(ended[0].answer, Answer::Allow, "the fallback");
    assert_eq!(news, [News::Misses { engine: SCAN, count: 1 }], "the one that decides missed it");
    assert_eq!(verdicts(&judged(&mut core, 1009)), [(None, DENY, false)]);
}

#[test]
fn a_verdict_within_the_budget_counts_though_the_case_has_ended_and_one_after_it_does_not() {
    for (at, shadow_said) in [(1008, (ALLOW, ALLOW, false)), (1009, (ALLOW, None, true))] {
        let (mut core, mut active, mut shadow, case) = both_asked();
        active.say(case, Verdict::Allow);
        assert_eq!(collect(&mut core, 20).0.len(), 1);
        assert_eq!(core.in_flight(), 0);

        shadow.say(case, Verdict::Allow);
        core.collect_shadows(at);

        assert_eq!(verdicts(&judged(&mut core, at)), [shadow_said]);
    }
}

#[test]
fn silence_is_told_at_the_deadline_once_and_a_late_word_is_no_foul() {
    let (mut core, mut active, mut shadow, case) = both_asked();
    active.say(case, Verdict::Allow);
    collect(&mut core, 20);

    assert_eq!(verdicts(&judged(&mut core, 1009)), [(ALLOW, None, true)]);
    shadow.say(case, Verdict::Deny);

    assert_eq!(hear(&mut core, 5000), []);
    assert_eq!(core.shadow_bells(&mut Vec::new()), None, "nothing is due");
}

/// What a version in shadow does instead of answering, and what is told of it.
type Misdeed = (&'static str, fn(&mut Process, CaseId), FailureReason);

const MISDEEDS: [Misdeed; 5] = [
    (
        "answers twice",
        |shadow, case| (0..2).for_each(|_| shadow.say(case, Verdict::Allow)),
        FailureReason::ForeignAnswer,
    ),
    (
        "answers what it was not shown",
        |shadow, case| {
            let other = CaseId::new(case.0.get() + (1 << 40)).expect("not zero");
            shadow.say(other, Verdict::Deny);
        },
        FailureReason::ForeignAnswer,
    ),
    (
        "writes what is no verdict",
        |shadow, case| {
            let record = VerdictRecord {
                case,
                verdict: Verdict::Allow,
                spent: 0,
                detail: outrigger_api::record::Detail::new(""),
            };
            let mut bytes = record.to_bytes();
            bytes[6] = 99;
            shadow.say_bytes(&bytes);
        },
        FailureReason::Garbage,
    ),
    ("breaks its verdict ring", |shadow, _| shadow.corrupt(1), FailureReason::RingCorrupt),
    ("breaks its event ring", |shadow, _| shadow.corrupt(0), FailureReason::RingCorrupt),
];

#[test]
fn a_foul_is_told_once_and_leaves_deciding_as_it_is() {
    for (what, misdeed, expected) in MISDEEDS {
        let (mut core, mut active, mut shadow, case) = both_asked();

        active.say(case, Verdict::Allow);
        misdeed(&mut shadow, case);
        let mut faults = hear(&mut core, 20);
        // Until the room that was known of is used up, nobody looks at what the reader says.
        for at in 0..10_000 {
            let questions = active.take();
            questions.iter().for_each(|case| active.say(*case, Verdict::Allow));
            let (_, news) = collect(&mut core, 30 + at);
            faults.extend(news);
            ask_at(&mut core, 9, 30 + at);
        }
        faults.extend(hear(&mut core, 10_030));

        let fouls: Vec<_> = faults
            .iter()
            .filter_map(|news| match news {
                News::ShadowFault { engine: SCAN, reason, .. } => Some(*reason),
                News::Judged { .. } => None,
                other => panic!("{what}: {other:?}"),
            })
            .collect();
        assert_eq!(fouls, [expected], "{what}");
        assert_eq!(core.engines[0].books.sums(0).asked, 10_002, "{what}");
        assert!(core.engines[0].link().is_some_and(|link| link.is_sound()), "{what}");
    }
}

#[test]
fn one_that_takes_nothing_keeps_nobody_waiting_and_is_told_as_such() {
    let (mut core, mut active, _shadow) = shadowed();
    let mut told = Vec::new();

    for at in 10..10_010 {
        ask_at(&mut core, 8, at);
        active.take().iter().for_each(|case| active.say(*case, Verdict::Allow));
        let (ended, news) = collect(&mut core, at);
        assert_eq!((ended.len(), ended[0].answer), (1, Answer::Allow));
        told.extend(comparisons(news));
        core.collect_shadows(at);
    }
    told.extend(judged(&mut core, 20_000));

    let late = told.iter().filter(|one| one.late).count();
    let unshown = told.iter().filter(|one| !one.late && one.shadow.is_none()).count();
    assert_eq!(late + unshown, 10_000, "each comes out once");
    assert!(unshown > 5000, "its ring was full: {unshown}");
    assert!(late <= RING as usize / 64, "what it holds: {late}");
}

#[test]
fn one_that_reads_and_says_nothing_is_remembered_within_a_bound() {
    let (mut core, mut active, mut shadow) = shadowed();
    let mut shown = Vec::new();

    // Nothing comes to its deadline meanwhile.
    for _ in 0..5000 {
        ask_at(&mut core, 8, 10);
        shown.extend(shadow.take());
        active.take().iter().for_each(|case| active.say(*case, Verdict::Allow));
        collect(&mut core, 10);
    }
    let fallen_out = judged(&mut core, 10);
    let first = verdicts(&fallen_out)[0];
    let of_the_rest = fallen_out.len();

    assert_eq!(shown.len(), 5000);
    assert_eq!(first, (ALLOW, None, false));
    assert_eq!(of_the_rest, 5000, "904 fell out and the rest came to their deadline");
    let outs = fallen_out.iter().filter(|one| !one.late).count();
    assert_eq!(outs, 904);
    shown.iter().for_each(|case| shadow.say(*case, Verdict::Allow));
    for _ in 0..100 {
        assert_eq!(hear(&mut core, 6000), [], "late answers are no fouls");
    }
    shadow.say(shown[0], Verdict::Allow);
    assert!(matches!(hear(&mut core, 6000)[..], [News::ShadowFault { .. }]), "a second one is");
}

#[test]
fn verdicts_are_taken_a_bounded_number_at_a_time() {
    let (mut core, mut active, mut shadow) = shadowed();
    let mut shown = Vec::new();
    for _ in 0..200 {
        ask_at(&mut core, 8, 10);
        active.take().iter().for_each(|case| active.say(*case, Verdict::Allow));
        collect(&mut core, 10);
        shown.extend(shadow.take());
    }
    shown.iter().for_each(|case| shadow.say(*case, Verdict::Allow));

    core.collect_shadows(20);

    assert!(core.has_shadow_verdicts());
    let mut news = Vec::new();
    core.take_news(&mut news);
    assert!(matches!(&news[..], [News::Judged { batch, .. }] if batch.len() == VERDICTS_MAX));
}

#[test]
fn what_is_answered_without_the_engine_is_not_shown() {
    let (mut core, mut active, mut shadow) = shadowed();
    core.engines[0].grant = outrigger_api::settings::ContentGrant::All;
    let empty = |now| {
        let mut intake = intake(8, now);
        (intake.empty, intake.leased) = (true, true);
        intake.content = vec![(SCAN, Ok::<(), ContentAbsent>(()))];
        intake
    };
    core.put(empty(10), 10, &mut Vec::new());
    core.publish(10);
    let first = active.take();
    active.say(first[0], Verdict::Allow);
    collect(&mut core, 20);
    assert_eq!(shadow.take(), first, "the first one is asked about");

    let mut ended = Vec::new();
    core.put(empty(30), 30, &mut ended);
    core.publish(30);

    assert_eq!(ended[0].decided_by, Decider::EmptyFile);
    assert!(shadow.take().is_empty());
}

#[test]
fn an_object_that_the_engine_ended_on_twice_is_not_shown() {
    let (mut core, _active, mut shadow) = shadowed();
    let object: PoisonObject = poison_object(&intake(8, 10).object);
    for _ in 0..2 {
        core.poison.note(SCAN, object, FailureReason::EngineCrashed);
    }

    core.put(intake(8, 10), 10, &mut Vec::new());
    core.publish(10);

    assert!(shadow.take().is_empty());
}

#[test]
fn what_an_engine_in_quarantine_would_be_asked_is_shown() {
    let (mut core, _active, mut shadow) = shadowed();
    let away = Presence::Away(FailureReason::Quarantined);
    core.lose(SCAN, FailureReason::Quarantined, away, 5, &mut Vec::new());

    let mut ended = Vec::new();
    core.put(intake(8, 10), 10, &mut ended);
    core.publish(10);
    let shown = shadow.take();
    shadow.say(shown[0], Verdict::Allow);

    assert_eq!((ended.len(), ended[0].case), (1, shown[0]));
    assert_eq!(verdicts(&judged(&mut core, 20)), [(None, ALLOW, false)]);
}

#[test]
fn a_question_that_waited_for_its_turn_is_shown_when_it_is_asked() {
    let (mut core, mut active, mut shadow) = shadowed();
    (0..40).for_each(|_| ask_at(&mut core, 8, 10));
    let (first, shown) = (active.take(), shadow.take());
    assert!(first.len() < 40);
    assert_eq!(first, shown);

    first.iter().for_each(|case| active.say(*case, Verdict::Allow));
    collect(&mut core, 20);

    let next = active.take();
    assert!(!next.is_empty());
    assert_eq!(shadow.take(), next);
}

#[test]
fn it_gets_content_by_its_own_socket_and_one_that_takes_none_holds_up_nobody() {
    let (mut core, _active, _) = asked();
    core.end_all(FailureReason::HostDead, 2, &mut Vec::new());
    let (mut link, mut shadow) = Process::new();
    let (ours, theirs) = outrigger_dock::content::pair().expect("a socket");
    link.content = Some(ours);
    core.begin_shadow(SCAN, link, opens(), 2);
    let file = tempfile::tempfile().expect("a file");

    let mut ended = Vec::new();
    for _ in 0..600 {
        let mut intake = intake(8, 10);
        intake.file = file.as_raw_fd();
        intake.content = vec![(SCAN, Ok(()))];
        core.put(intake, 10, &mut ended);
        core.publish(10);
        core.end_all(FailureReason::HostDead, 10, &mut ended);
    }

    let shown = shadow.take();
    let first = outrigger_dock::content::recv(std::os::fd::AsFd::as_fd(&theirs));
    assert_eq!(ended.len(), 600);
    assert_eq!(shown.len(), 600);
    assert!(matches!(first, Ok(Some((case, _))) if case == shown[0]));
}

#[test]
fn what_was_compared_and_not_told_is_told_at_the_end_and_nothing_is_shown_after_it() {
    let (mut core, mut active, mut shadow, case) = both_asked();
    active.say(case, Verdict::Allow);
    collect(&mut core, 20);
    shadow.say(case, Verdict::Allow);
    core.collect_shadows(20);

    core.end_shadow(SCAN);
    ask_at(&mut core, 8, 30);

    let mut news = Vec::new();
    core.take_news(&mut news);
    assert!(matches!(&news[..], [News::Judged { batch, .. }] if batch.len() == 1));
    assert_eq!(active.take().len(), 1);
    assert!(shadow.take().is_empty() && core.fresh.is_empty());
    assert_eq!(core.shadows(), 0);
}

#[test]
fn nothing_that_a_shadow_says_is_cached() {
    let (mut core, mut active, mut shadow) = shadowed();
    let mut leased = intake(8, 10);
    leased.leased = true;
    core.put(leased, 10, &mut Vec::new());
    core.publish(10);
    let case = active.take()[0];

    shadow.say(case, Verdict::Allow);
    core.collect_shadows(20);
    active.say(case, Verdict::Abstain);
    let (ended, _) = collect(&mut core, 30);

    assert!(!ended[0].cacheable);
}

#[test]
fn what_its_engine_is_told_it_is_told_too_and_nothing_else() {
    let (mut core, mut active, mut shadow) = shadowed();
    core.engines[0].told = [Event::FileRename, Event::FileUnlink].into_iter().collect();
    let before = core.engines[0].books.account(Event::FileOpen).is_some();
    let notice = |event| Seen::Notice(outrigger_sensor::notice::Notice::new(event, 5));

    core.tell(&[notice(Event::FileRename), notice(Event::FileUnlink)], 10);

    assert!(before);
    assert_eq!((active.take_all(), shadow.take_all()), (2, 1));
}

#[test]
fn notices_that_it_does_not_take_are_dropped_for_it_alone() {
    let (mut core, mut active, mut shadow) = shadowed();
    core.engines[0].told = EventSet::EMPTY.with(Event::FileRename);
    let notice = Seen::Notice(outrigger_sensor::notice::Notice::new(Event::FileRename, 5));

    for now in 10..10_010 {
        core.tell(std::slice::from_ref(&notice), now);
        assert_eq!(active.take_all(), 1);
    }

    assert!(core.owes_shadows());
    assert!((1..9000).contains(&shadow.take_all()), "what it has room for");
    core.settle(20_000);
    assert!(!core.owes_shadows(), "it is told how many it missed");
}
