//! Questions and verdicts.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use outrigger_api::Verdict;
use outrigger_api::record::ContentAbsent as Reason;
use outrigger_sdk::kit::{Ask, Host};
use outrigger_sdk::{Event, Judgement, Question};

use crate::{Judge, allow, puppet, text};

/// Denies by the path, allows by the event, abstains otherwise.
fn by_path(question: &Question<'_>) -> Judgement {
    match (question.path(), question.event()) {
        (Some(path), _) => Judgement::deny(path.to_string_lossy()),
        (None, Event::ProcessExec) => Judgement::allow(),
        _ => Judgement::abstain("no path"),
    }
}

#[test]
fn each_question_gets_its_verdict_and_detail() {
    let mut host = Host::dock(Judge(by_path), "/nowhere");

    let cases = host.ask_all([
        Ask::new(Event::FileOpen).path("/etc/shadow"),
        Ask::new(Event::ProcessExec),
        Ask::new(Event::FileOpen),
    ]);
    let verdicts = [host.verdict(), host.verdict(), host.verdict()];

    assert_eq!(verdicts.map(|v| v.case).to_vec(), cases);
    assert_eq!(verdicts.map(|v| v.verdict), [Verdict::Deny, Verdict::Allow, Verdict::Abstain]);
    assert_eq!(verdicts.each_ref().map(|v| v.detail.as_str()), ["/etc/shadow", "", "no path"]);
}

#[test]
fn a_question_can_be_seen_whole() {
    let (see, seen) = channel();
    let judge = move |question: &Question<'_>| {
        let about = (question.pid(), question.path().map(PathBuf::from), question.remaining());
        see.send(about).expect("the test looks");
        assert_eq!((question.subject(), question.file()), (None, None));
        assert_eq!((question.size(), question.changed()), (None, None));
        assert_eq!(question.credentials(), None);
        Judgement::allow()
    };
    let mut host = Host::dock(Judge(judge), "/nowhere");

    host.ask(Ask::new(Event::FileOpen).path("/tmp/x").within(Duration::from_secs(5)));
    host.verdict();

    let (pid, path, remaining) = seen.recv().expect("the judge saw it");
    assert_eq!(pid, Some(std::process::id()));
    assert_eq!(path, Some(PathBuf::from("/tmp/x")));
    assert!(remaining.is_some_and(|left| left <= Duration::from_secs(5) && !left.is_zero()));
}

#[test]
fn content_is_that_of_the_question() {
    let judge = |question: &Question<'_>| Judgement::deny(text(question));
    let mut host = Host::dock(Judge(judge), "/nowhere");

    host.ask_all([
        Ask::new(Event::FileOpen).content(b"first content"),
        Ask::new(Event::FileOpen).absent(Reason::KeyMaterial),
        Ask::new(Event::FileOpen).content(b""),
        Ask::new(Event::FileOpen).content_lost(),
        Ask::new(Event::FileOpen).absent(Reason::NotRegular),
        Ask::new(Event::FileOpen).content(b"last"),
    ]);
    let told: Vec<_> = (0..6).map(|_| host.verdict().detail).collect();

    assert_eq!(
        told.iter().map(|detail| detail.as_str()).collect::<Vec<_>>(),
        [
            "first content",
            "content is key material",
            "",
            "the content descriptor was lost",
            "not a regular file",
            "last"
        ]
    );
}

#[test]
fn a_late_question_is_neither_judged_nor_answered() {
    let (engine, strings) = puppet();
    let mut host = Host::dock(engine, "/nowhere");
    strings.judge(Judgement::deny("second"));

    let cases = host.ask_all([
        Ask::new(Event::FileOpen).content(b"late").overdue(),
        Ask::new(Event::FileOpen).content(b"in time"),
    ]);
    let verdict = host.verdict();

    assert_eq!(verdict.case, cases[1]);
    assert_eq!(strings.asked(), cases[1]);
    assert!(!host.has_verdict());
}

#[test]
fn a_question_whose_deadline_passes_in_the_judge_is_not_answered() {
    let (engine, strings) = puppet();
    let mut host = Host::dock(engine, "/nowhere");
    let late = host.ask(Ask::new(Event::FileOpen).within(Duration::from_millis(200)));
    assert_eq!(strings.asked(), late);
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(200) {
        std::thread::yield_now();
    }

    strings.judge(Judgement::allow());
    let next = host.ask(Ask::new(Event::FileOpen));
    strings.judge(Judgement::allow());

    assert_eq!(host.verdict().case, next);
    assert!(!host.has_verdict());
}

#[test]
fn reading_ends_with_the_deadline() {
    let judge = |question: &Question<'_>| {
        let content = question.content().expect("content");
        let mut chunks = 0;
        let read = content.each_chunk(&mut [0; 1], |_| {
            chunks += 1;
            while question.remaining().is_some_and(|left| !left.is_zero()) {
                std::thread::yield_now();
            }
        });
        assert_eq!(chunks, 1);
        assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
        Judgement::allow()
    };
    let mut host = Host::dock(Judge(judge), "/nowhere");

    let ask = Ask::new(Event::FileOpen).content(b"many bytes");
    host.ask(ask.within(Duration::from_millis(200)));

    // A judge that panicked would not stop in good order.
    host.stop().expect("the judge found what it should");
}

#[test]
fn an_event_that_the_sdk_does_not_know_is_abstained_from() {
    let mut host = Host::dock(Judge(allow), "/nowhere");

    let case = host.ask(Ask::numbered(0xfff0));
    let verdict = host.verdict();

    assert_eq!((verdict.case, verdict.verdict), (case, Verdict::Abstain));
}

#[test]
fn more_questions_than_verdicts_fit_are_all_answered() {
    let mut host = Host::dock(Judge(allow), "/nowhere");

    // The verdict ring holds 186; nobody reads it until all are asked.
    let cases = host.ask_all((0..600).map(|_| Ask::new(Event::FileOpen)));
    let answered: Vec<_> = cases.iter().map(|_| host.verdict().case).collect();

    assert_eq!(answered, cases);
}

#[test]
fn a_panic_of_the_judge_is_not_caught() {
    let (see, seen) = channel();
    let judge = move |question: &Question<'_>| {
        see.send(question.case()).expect("the test listens");
        panic!("on purpose")
    };
    let mut host = Host::dock(Judge(judge), "/nowhere");

    let case = host.ask(Ask::new(Event::FileOpen));
    assert_eq!(seen.recv(), Ok(case));

    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.stop()));
    assert!(gone.is_err());
}
