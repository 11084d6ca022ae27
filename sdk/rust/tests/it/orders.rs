//! What the host asks for between questions.

use std::time::Duration;

use outrigger_api::frame::v1::{Heartbeat, to_host};
use outrigger_sdk::kit::{Ask, Host};
use outrigger_sdk::{Event, Judgement};

use crate::{Judge, allow, puppet};

#[test]
fn an_idle_engine_answers_a_ping() {
    let host = Host::dock(Judge(allow), "/nowhere");

    host.ping(41);
    host.ping(42);

    assert_eq!(host.message(), to_host::Message::Heartbeat(Heartbeat { nonce: 41 }));
    assert_eq!(host.message(), to_host::Message::Heartbeat(Heartbeat { nonce: 42 }));
}

#[test]
fn a_ping_is_not_answered_while_the_judge_is_busy() {
    let (engine, strings) = puppet();
    let mut host = Host::dock(engine, "/nowhere");
    let case = host.ask(Ask::new(Event::FileOpen));
    assert_eq!(strings.asked(), case);

    host.ping(7);
    let silent = host.silent_for(Duration::from_millis(100));
    strings.judge(Judgement::allow());

    assert!(silent);
    assert_eq!(host.message(), to_host::Message::Heartbeat(Heartbeat { nonce: 7 }));
    assert_eq!(host.verdict().case, case);
}

#[test]
fn pings_and_questions_at_once_lose_neither() {
    let mut host = Host::dock(Judge(allow), "/nowhere");

    for nonce in 1..=5000 {
        let case = host.ask(Ask::new(Event::FileOpen));
        host.ping(nonce);
        assert_eq!(host.message(), to_host::Message::Heartbeat(Heartbeat { nonce }));
        assert_eq!(host.verdict().case, case);
    }
}

#[test]
fn a_reload_puts_new_content_in_force() {
    let (engine, strings) = puppet();
    let host = Host::dock(engine, "/nowhere");
    strings.load.send(Ok("13 deny".to_owned())).expect("the engine lives");

    assert_eq!(host.reload(), Ok("13 deny".to_owned()));
}

#[test]
fn a_refused_reload_is_told_and_the_engine_goes_on() {
    let (engine, strings) = puppet();
    let mut host = Host::dock(engine, "/nowhere");
    strings.load.send(Err("b.deny:9: no hash".to_owned())).expect("the engine lives");

    let refused = host.reload();
    let case = host.ask(Ask::new(Event::FileOpen));
    strings.judge(Judgement::allow());

    assert_eq!(refused, Err("b.deny:9: no hash".to_owned()));
    assert_eq!(host.verdict().case, case);
}

#[test]
fn texts_over_the_limit_are_cut() {
    let (engine, strings) = puppet();
    let host = Host::dock(engine, "/nowhere");
    strings.load.send(Err("ä".repeat(100_000))).expect("the engine lives");

    assert_eq!(host.reload(), Err("ä".repeat(512)));
}
