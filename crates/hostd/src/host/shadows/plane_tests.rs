use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};

use outrigger_api::CaseId;
use outrigger_api::record::Detail;
use outrigger_sensor::identity;
use outrigger_sensor::notice::Notice;

use super::super::pairs::OPEN_MAX;
use super::super::{Counted, Held, Said};
use super::*;
use crate::host::core::test_kit::{Process, RING, SCAN, intake};

/// ns in a millisecond.
const MS: u64 = 1_000_000;
const ALLOW: Option<Verdict> = Some(Verdict::Allow);
const DENY: Option<Verdict> = Some(Verdict::Deny);

/// A version in shadow that is shown opens and told of renames.
fn shadowed() -> (Plane, Process) {
    let (link, process) = Process::new();
    (begun(link), process)
}

fn begun(link: Link) -> Plane {
    let mut plane = Plane::default();
    let asked = EventSet::EMPTY.with(Event::FileOpen);
    let told = EventSet::EMPTY.with(Event::FileRename);
    plane.begin(SCAN, link, Wants { asked, told, fields: Fields::default() }, 2);
    plane
}

fn case(number: u64) -> CaseId {
    CaseId::new(number).expect("not zero")
}

/// A question of which the engine said `active`.
fn question(number: u64, active: Option<Verdict>) -> Shown {
    let active = active.map(|verdict| (verdict, "old rule".to_owned()));
    Shown {
        intake: intake(8, 1),
        file: None,
        case: case(number),
        budget: 999,
        said: vec![Said { engine: SCAN, active }],
    }
}

/// Shows it question `number` at `now`, with 999 ns to answer.
fn show(plane: &mut Plane, number: u64, active: Option<Verdict>, now: u64) {
    plane.show(question(number, active), now);
    plane.publish(&mut Vec::new());
}

/// What is heard of it at `now`, handed over 60 ms later.
fn hear(plane: &mut Plane, now: u64) -> Vec<News> {
    let mut news = Vec::new();
    plane.look(now);
    plane.look(now + 60 * MS);
    plane.take_news(&mut news);
    news
}

/// The same, of what was compared alone.
fn judged(plane: &mut Plane, now: u64) -> Vec<Judged> {
    let batches = hear(plane, now).into_iter().map(|news| match news {
        News::Judged { engine: SCAN, batch } => batch,
        other => panic!("nothing but comparisons: {other:?}"),
    });
    batches.flatten().collect()
}

fn verdicts(judged: &[Judged]) -> Vec<(Option<Verdict>, Option<Verdict>, bool)> {
    judged.iter().map(|one| (one.active, one.shadow, one.late)).collect()
}

#[test]
fn what_both_said_is_compared() {
    let (mut plane, mut shadow) = shadowed();
    show(&mut plane, 1, ALLOW, 10);
    assert_eq!(shadow.take(), [case(1)]);

    shadow.say_why(case(1), Verdict::Deny, "rule 7");

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
    assert_eq!(judged(&mut plane, 40), [expected]);
}

#[test]
fn the_rule_is_the_denying_ones() {
    let (mut plane, mut shadow) = shadowed();
    show(&mut plane, 1, DENY, 10);
    show(&mut plane, 2, ALLOW, 10);

    shadow.say_why(case(1), Verdict::Allow, "looked at");
    shadow.say_why(case(2), Verdict::Allow, "looked at");

    let rules: Vec<String> = judged(&mut plane, 40).into_iter().map(|one| one.rule).collect();
    assert_eq!(rules, ["old rule", ""]);
}

#[test]
fn a_verdict_counts_that_is_there_at_the_first_look_after_the_deadline_and_no_later_one() {
    let (mut plane, mut shadow) = shadowed();
    (1..=2).for_each(|number| show(&mut plane, number, ALLOW, 10));

    plane.look(1008);
    shadow.say(case(1), Verdict::Allow);
    // The host is late, which is not its fault.
    plane.look(3000);
    shadow.say(case(2), Verdict::Allow);

    let judged = judged(&mut plane, 3001);
    assert_eq!(verdicts(&judged), [(ALLOW, ALLOW, false), (ALLOW, None, true)]);
    assert_eq!(judged[0].took_ns, 999, "at most the budget");
}

#[test]
fn silence_is_told_at_the_deadline_once_and_a_late_word_is_no_foul() {
    let (mut plane, mut shadow) = shadowed();
    show(&mut plane, 1, ALLOW, 10);
    assert_eq!(plane.bells(&mut Vec::new()), Some(1009));

    assert_eq!(verdicts(&judged(&mut plane, 1009)), [(ALLOW, None, true)]);
    shadow.say(case(1), Verdict::Deny);

    assert_eq!(hear(&mut plane, 5000), []);
    assert_eq!(plane.bells(&mut Vec::new()), None, "nothing is due");
}

#[test]
fn beside_an_engine_that_said_nothing_it_is_heard_all_the_same() {
    let (mut plane, mut shadow) = shadowed();
    show(&mut plane, 1, None, 10);

    shadow.say(case(1), Verdict::Deny);

    assert_eq!(verdicts(&judged(&mut plane, 20)), [(None, DENY, false)]);
}

/// What it does, and what is told of it.
type Misdeed = (&'static str, fn(&mut Process), FailureReason);

const MISDEEDS: [Misdeed; 5] = [
    (
        "answers twice",
        |shadow| (0..2).for_each(|_| shadow.say(case(1), Verdict::Allow)),
        FailureReason::ForeignAnswer,
    ),
    (
        "answers what it was not shown",
        |shadow| shadow.say(case(1 << 40), Verdict::Deny),
        FailureReason::ForeignAnswer,
    ),
    (
        "writes what is no verdict",
        |shadow| {
            let detail = Detail::new("");
            let record = VerdictRecord { case: case(1), verdict: Verdict::Allow, spent: 0, detail };
            let mut bytes = record.to_bytes();
            bytes[6] = 99;
            shadow.say_bytes(&bytes);
        },
        FailureReason::Garbage,
    ),
    ("breaks its verdict ring", |shadow| shadow.corrupt(1), FailureReason::RingCorrupt),
    ("breaks its event ring", |shadow| shadow.corrupt(0), FailureReason::RingCorrupt),
];

#[test]
fn a_foul_is_told_once_and_it_is_not_listened_to_again() {
    for (what, misdeed, expected) in MISDEEDS {
        let (mut plane, mut shadow) = shadowed();
        show(&mut plane, 1, ALLOW, 10);

        misdeed(&mut shadow);
        let mut news = hear(&mut plane, 20);
        // Until the room that was known of is used up, nobody looks at what the reader says.
        for number in 2..10_000 {
            show(&mut plane, number, ALLOW, 1000 * number);
            plane.look(1000 * number);
            plane.take_news(&mut news);
        }

        let fouls: Vec<_> = news
            .iter()
            .filter_map(|news| match news {
                News::ShadowFault { engine: SCAN, reason, .. } => Some(*reason),
                News::Judged { .. } => None,
                other => panic!("{what}: {other:?}"),
            })
            .collect();
        assert_eq!(fouls, [expected], "{what}");
        assert!(!plane.has_verdicts(), "{what}");
        let mut bells = Vec::new();
        plane.bells(&mut bells);
        assert!(bells.is_empty(), "{what}: nobody sleeps on what it writes");
    }
}

#[test]
fn one_that_takes_nothing_is_late_with_everything_within_bounds() {
    let (mut plane, _shadow) = shadowed();
    let mut told = Vec::new();

    for number in 1..=10_000 {
        show(&mut plane, number, ALLOW, 1000 * number);
        plane.look(1000 * number);
        plane.take_news(&mut told);
    }
    told.extend(hear(&mut plane, 20_000_000));

    let told: Vec<Judged> = told
        .into_iter()
        .flat_map(|news| match news {
            News::Judged { batch, .. } => batch,
            other => panic!("nothing but comparisons: {other:?}"),
        })
        .collect();
    assert_eq!(told.len(), 10_000, "each comes out once");
    assert!(told.iter().all(|one| one.late && one.shadow.is_none()));
    let shown = told.iter().filter(|one| one.took_ns > 0).count();
    assert!((100..=RING as usize / 64).contains(&shown), "what its ring holds: {shown}");
}

#[test]
fn one_that_reads_and_says_nothing_is_remembered_within_a_bound() {
    let (mut plane, mut shadow) = shadowed();
    let mut shown = Vec::new();
    for number in 1..=5000 {
        show(&mut plane, number, ALLOW, 1000 * number);
        shown.extend(shadow.take());
        plane.look(1000 * number);
    }
    plane.look(10_000_000);
    plane.take_news(&mut Vec::new());

    assert_eq!(shown.len(), 5000);
    assert!(OPEN_MAX < shown.len(), "some were forgotten");
    shown.iter().for_each(|case| shadow.say(*case, Verdict::Allow));
    for _ in 0..100 {
        let news = hear(&mut plane, 10_000_000);
        assert!(!matches!(news[..], [News::ShadowFault { .. }, ..]), "late answers are no fouls");
    }
    shadow.say(shown[0], Verdict::Allow);
    assert!(matches!(hear(&mut plane, 10_000_000)[..], [News::ShadowFault { .. }]), "a second is");
}

#[test]
fn it_has_a_bounded_number_in_hand_and_what_comes_meanwhile_is_counted() {
    let (mut plane, mut shadow) = shadowed();
    (1..=100).for_each(|number| show(&mut plane, number, ALLOW, 10));
    let shown = shadow.take();
    assert_eq!(shown.len(), IN_HAND_MAX);

    shown[..10].iter().for_each(|case| shadow.say(*case, Verdict::Allow));
    plane.look(20);
    (101..=200).for_each(|number| show(&mut plane, number, ALLOW, 30));

    assert_eq!(shadow.take().len(), 10);
    let tally = plane.end(SCAN);
    assert_eq!(tally, Some(Tally { shown: 26, left_out: 174 }));
}

#[test]
fn verdicts_are_taken_a_bounded_number_at_a_look() {
    let (mut plane, mut shadow) = shadowed();
    for first in (1..=192).step_by(IN_HAND_MAX) {
        (first..first + 16).for_each(|number| show(&mut plane, number, ALLOW, 1000 * first));
        plane.look(1000 * first + 1000);
    }
    let shown = shadow.take();
    assert_eq!(shown.len(), 192);
    shown.into_iter().for_each(|case| shadow.say(case, Verdict::Allow));

    let looks = (0..10).take_while(|_| {
        let before = plane.has_verdicts();
        plane.look(200_000);
        before
    });

    assert_eq!(looks.count(), 192 / VERDICTS_MAX);
}

#[test]
fn a_verdict_on_what_the_object_has_become_since_is_compared_with_nothing() {
    let (mut plane, mut shadow) = shadowed();
    let mut file = tempfile::tempfile().expect("a file");
    for number in 1..=3 {
        let mut shown = question(number, ALLOW);
        shown.intake.object = identity::object(file.as_fd()).expect("it is open");
        let copy = file.as_fd().try_clone_to_owned().expect("a descriptor");
        let share = std::sync::Arc::new(());
        shown.file = Some(Held(std::sync::Arc::new(Counted { file: copy, _share: share })));
        plane.show(shown, 10);
    }
    shadow.say(case(1), Verdict::Deny);
    plane.look(20);
    file.write_all(b"what was allowed was empty").expect("room");

    shadow.say(case(2), Verdict::Deny);
    shadow.say(case(3), Verdict::Allow);

    let judged = verdicts(&judged(&mut plane, 30));
    let (void, same) = ((ALLOW, None, false), (ALLOW, ALLOW, false));
    assert_eq!(judged, [(ALLOW, DENY, false), void, same]);
}

#[test]
fn it_gets_content_by_its_own_socket_and_one_that_takes_none_holds_up_nobody() {
    let (mut link, mut shadow) = Process::new();
    let (ours, theirs) = outrigger_dock::content::pair().expect("a socket");
    link.content = Some(ours);
    let mut plane = begun(link);
    let file = tempfile::tempfile().expect("a file");

    for number in 1..=600 {
        let mut shown = question(number, ALLOW);
        shown.intake.file = file.as_raw_fd();
        shown.intake.content = vec![(SCAN, Ok(()))];
        plane.show(shown, 1000 * number);
        plane.look(1000 * number);
    }
    plane.publish(&mut Vec::new());

    assert_eq!(shadow.take().len(), 600);
    let first = outrigger_dock::content::recv(theirs.as_fd());
    assert!(matches!(first, Ok(Some((number, _))) if number == case(1)));
}

#[test]
fn events_that_it_does_not_want_are_not_shown() {
    let (mut plane, mut shadow) = shadowed();
    let mut exec = question(1, ALLOW);
    exec.intake.event = Event::ProcessExec;
    plane.show(exec, 10);
    let mut of_another = question(2, ALLOW);
    of_another.said[0].engine = EngineIndex::new(1).expect("a place");
    plane.show(of_another, 10);
    plane.publish(&mut Vec::new());

    assert!(shadow.take().is_empty());
}

#[test]
fn what_was_compared_and_not_told_is_told_at_the_end_and_nothing_is_shown_after_it() {
    let (mut plane, mut shadow) = shadowed();
    show(&mut plane, 1, ALLOW, 10);
    shadow.say(case(1), Verdict::Allow);
    plane.look(20);

    plane.end(SCAN);
    show(&mut plane, 2, ALLOW, 30);

    let mut news = Vec::new();
    plane.take_news(&mut news);
    assert!(matches!(&news[..], [News::Judged { batch, .. }] if batch.len() == 1));
    assert_eq!((shadow.take(), plane.count()), (vec![case(1)], 0));
}

#[test]
fn of_what_happens_it_is_told_what_it_wants_and_what_it_missed() {
    let (mut plane, mut shadow) = shadowed();
    let notice = |event| Seen::Notice(Notice::new(event, 5));
    let both = [notice(Event::FileRename), notice(Event::FileUnlink)];

    plane.tell(both.iter().map(|seen| (seen, None)), 10);
    plane.publish(&mut Vec::new());
    assert_eq!(shadow.take_all(), 1);
    for now in 10..10_010 {
        plane.tell(std::iter::once((&both[0], None)), now);
    }
    plane.publish(&mut Vec::new());

    let taken = shadow.take_all();
    assert!((1..9000).contains(&taken), "what it has room for: {taken}");
    plane.look(20_000);
    plane.publish(&mut Vec::new());
    assert_eq!(shadow.take_all(), 1, "it is told how many it missed");
}

#[test]
fn it_is_woken_when_it_sleeps_and_something_is_there_and_not_else() {
    let (mut plane, mut shadow) = shadowed();
    shadow.doze();
    let mut wakes = Vec::new();

    plane.look(10);
    plane.publish(&mut wakes);
    assert!(wakes.is_empty());
    plane.show(question(1, ALLOW), 10);
    plane.publish(&mut wakes);

    assert_eq!(wakes.len(), 1);
}
