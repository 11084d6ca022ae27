//! Files whose file system does not answer.

use std::time::{Duration, Instant};

use outrigger_api::Verdict;
use outrigger_api::frame::v1::{Heartbeat, to_host};
use outrigger_sdk::kit::{Ask, Host, PATIENCE, VerdictRecord};
use outrigger_sdk::{Ended, Event, Judgement, Question};

use crate::fuse::{Fuse, LARGE, UNCLOSABLE, content};
use crate::{Judge, text};

const NO_ANSWER: &str = "its file system does not answer";

/// Denies with the content as the detail, or with why there is none.
fn tell(question: &Question<'_>) -> Judgement {
    Judgement::deny(text(question))
}

fn host() -> Host {
    Host::dock(Judge(tell), "/nowhere")
}

/// A question about the file of this number.
fn slow(fuse: &Fuse, number: u64) -> Ask {
    Ask::new(Event::FileOpen).file_of(fuse.open(number)).may_block()
}

fn quick() -> Ask {
    Ask::new(Event::FileOpen).content(b"quick")
}

fn said(verdict: &VerdictRecord) -> (Verdict, &str) {
    (verdict.verdict, verdict.detail.as_str())
}

#[test]
fn a_file_of_a_server_is_judged_by_its_content() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();

    let case = host.ask(slow(&fuse, 3));
    let verdict = host.verdict();

    assert_eq!(verdict.case, case);
    assert_eq!(said(&verdict), (Verdict::Deny, content(3).as_str()));
}

#[test]
fn others_are_judged_while_a_server_does_not_answer() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();
    let stuck = slow(&fuse, 1);
    fuse.stop();

    let stuck = host.ask(stuck);
    let others: Vec<_> = (0..100).map(|_| (host.ask(quick()), host.verdict())).collect();
    host.ping(7);

    assert!(others.iter().all(|(case, verdict)| verdict.case == *case));
    assert!(others.iter().all(|(_, verdict)| said(verdict) == (Verdict::Deny, "quick")));
    assert_eq!(host.message(), to_host::Message::Heartbeat(Heartbeat { nonce: 7 }));
    assert!(!host.has_verdict(), "{stuck:?} was answered");
}

#[test]
fn a_stuck_question_is_abstained_from_before_its_deadline() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();
    let budget = Duration::from_secs(1);
    let stuck = slow(&fuse, 1).within(budget);
    fuse.stop();

    let begun = Instant::now();
    let case = host.ask(stuck);
    let verdict = host.verdict();
    let took = begun.elapsed();

    assert_eq!((verdict.case, said(&verdict)), (case, (Verdict::Abstain, NO_ANSWER)));
    assert!(took >= budget / 2 && took < budget, "abstained after {took:?} of {budget:?}");
}

#[test]
fn five_stuck_questions_hold_nobody_up_and_the_sixth_is_not_kept_waiting() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();
    let stuck: Vec<_> =
        (1..=5).map(|number| slow(&fuse, number).within(Duration::from_secs(1))).collect();
    fuse.prepare(6);
    fuse.stop();

    let mut cases = host.ask_all(stuck);
    cases.push(host.ask(quick()));
    let verdicts: Vec<_> = (0..6).map(|_| host.verdict()).collect();
    let sixth = host.ask(slow(&fuse, 6).within(PATIENCE * 2));
    let last = host.verdict();

    cases.rotate_right(1);
    assert_eq!(said(&verdicts[0]), (Verdict::Deny, "quick"));
    assert!(verdicts[1..].iter().all(|verdict| said(verdict) == (Verdict::Abstain, NO_ANSWER)));
    assert!(cases.iter().all(|case| verdicts.iter().any(|verdict| verdict.case == *case)));
    assert_eq!((last.case, said(&last)), (sixth, (Verdict::Abstain, NO_ANSWER)));
}

#[test]
fn files_are_judged_again_once_their_server_answers() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();
    let stuck: Vec<_> =
        (1..=5).map(|number| slow(&fuse, number).within(Duration::from_secs(1))).collect();
    fuse.stop();
    host.ask_all(stuck);
    let abstained = (0..5).all(|_| host.verdict().verdict == Verdict::Abstain);

    fuse.resume();
    let begun = Instant::now();
    let judged = std::iter::repeat_with(|| {
        host.ask(slow(&fuse, 9));
        host.verdict()
    })
    .take_while(|_| begun.elapsed() < PATIENCE)
    .find(|verdict| verdict.verdict != Verdict::Abstain);

    assert!(abstained);
    let judged = judged.expect("the threads come back");
    assert_eq!(said(&judged), (Verdict::Deny, content(9).as_str()));
}

#[test]
fn more_stuck_questions_than_the_engine_may_hold_are_all_abstained_from() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();
    let stuck: Vec<_> =
        (0..60).map(|number| slow(&fuse, number).within(Duration::from_secs(1))).collect();
    fuse.stop();

    host.ask_all(stuck);
    let abstained: Vec<_> = (0..60).map(|_| host.verdict()).collect();
    host.ask(quick());
    let next = host.verdict();

    assert!(abstained.iter().all(|verdict| said(verdict) == (Verdict::Abstain, NO_ANSWER)));
    assert_eq!(said(&next), (Verdict::Deny, "quick"));
}

#[test]
fn a_late_question_of_a_stopped_server_holds_nobody_up() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();
    let stuck: Vec<_> = (0..30).map(|number| slow(&fuse, number).overdue()).collect();
    fuse.stop();

    host.ask_all(stuck);
    host.ask(quick());

    assert_eq!(said(&host.verdict()), (Verdict::Deny, "quick"));
}

#[test]
fn a_file_that_cannot_be_closed_is_judged_and_holds_nobody_up() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();

    host.ask(slow(&fuse, UNCLOSABLE));
    let judged = host.verdict();
    host.ask(quick());
    let next = host.verdict();
    host.ask(slow(&fuse, 2));
    let last = host.verdict();

    assert_eq!(said(&judged), (Verdict::Deny, content(UNCLOSABLE).as_str()));
    assert_eq!(said(&next), (Verdict::Deny, "quick"));
    assert_eq!(said(&last), (Verdict::Deny, content(2).as_str()));
}

#[test]
fn a_file_that_is_too_large_to_read_ahead_is_judged_without_its_content() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();

    host.ask(slow(&fuse, LARGE));
    let verdict = host.verdict();

    let why = "over 8 MiB, and its file system can keep readers waiting";
    assert_eq!(said(&verdict), (Verdict::Deny, why));
}

#[test]
fn an_engine_ends_when_told_though_its_files_are_stuck() {
    let Some(fuse) = Fuse::start() else { return };
    let mut host = host();
    let stuck: Vec<_> = (1..=6).map(|number| slow(&fuse, number)).collect();
    fuse.stop();
    host.ask_all(stuck);
    host.ask(quick());
    host.verdict();

    let ended = host.stop();

    assert!(matches!(ended, Ok(Ended::Stopped)));
}
