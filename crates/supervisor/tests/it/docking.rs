//! From a start to a docked engine, and what can go wrong between.

use outrigger_api::control::EngineState;
use outrigger_api::frame::v1;
use outrigger_api::record::{EVENT_MAX, EventHeader, EventRecord};
use outrigger_api::settings::ContentGrant;
use outrigger_dock::{EVENT_RING_BYTES, EventReader, content};
use rustix::fd::AsFd;
use zerocopy::FromZeros;

use crate::world::{Engine, World, spec};

#[test]
fn an_engine_that_keeps_to_the_handshake_is_docked() {
    let mut world = World::new(vec![spec("scanner")]);

    world.dock();

    assert_eq!(world.told(), ["starting 0", "docked 0"]);
    let status = world.status();
    assert_eq!(status.state, EngineState::Docked);
    assert_eq!(status.pid, Some(4711));
    assert_eq!(status.starts, 1);
    assert_eq!(status.restarts_left, (3, 3));
    assert_eq!(status.content.as_deref(), Some("3 deny"));
    assert_eq!(status.events, ["file.open"]);
    assert_eq!(status.sandbox_missing, ["landlock: missing: a test"]);
}

#[test]
fn an_engine_may_load_code_until_it_is_welcomed() {
    let mut world = World::new(vec![spec("scanner")]);

    let mut engine = world.started();
    let at_its_start = engine.may_load_code();
    engine.say(engine.hello());
    world.run();
    engine.hear_welcome();

    assert_eq!((at_its_start, engine.may_load_code()), (true, false));
}

#[test]
fn the_link_carries_events_and_content_to_the_engine() {
    let mut world = World::new(vec![spec("scanner")]);
    let mut engine = world.dock();
    let mut link = world.links.pop().expect("docked");
    let mut buffer = Vec::new();
    let file = tempfile::tempfile().expect("a file");
    let case = outrigger_api::CaseId::new(1).expect("not zero");

    let mut header = EventHeader::new_zeroed();
    header.case = case.get().into();
    let mut scratch = [0; EVENT_MAX];
    link.events.ask(&mut header, None, &mut scratch).expect("an empty ring has room");
    link.events.publish();
    let socket = link.content.as_ref().expect("content was granted");
    content::send(socket.as_fd(), case, file.as_fd()).expect("an empty socket has room");

    let events = engine.rings.remove(0);
    let mut events = EventReader::map(events, EVENT_RING_BYTES).expect("the ring of the Welcome");
    let read = events.pop(&mut buffer).expect("a sound ring");
    let read = read.map(|bytes| EventRecord::parse(bytes).expect("a question"));
    assert_eq!(read.map(|question| (question.case, question.sequence)), Some((case, 1)));
    let (got, _) = content::recv(engine.content.as_fd()).expect("open").expect("a descriptor");
    assert_eq!(got, case);
}

#[test]
fn an_engine_without_a_grant_gets_no_content() {
    let mut spec = spec("scanner");
    spec.config.content = ContentGrant::None;
    let mut world = World::new(vec![spec]);

    let engine = world.dock();

    assert!(world.links[0].content.is_none());
    assert!(content::recv(engine.content.as_fd()).is_err(), "the host's end is closed");
}

#[test]
fn a_contract_that_the_host_does_not_speak_fails_with_the_reason() {
    let mut world = World::new(vec![spec("scanner")]);
    let mut engine = world.started();
    let v1::to_host::Message::Hello(hello) = engine.hello() else { unreachable!() };
    let other = v1::Hello { contract_min: 7, contract_max: 9, ..hello };

    engine.say(v1::to_host::Message::Hello(other));
    world.run();

    let v1::to_engine::Message::Refused(refused) = engine.hear() else { panic!("not refused") };
    assert!(refused.why.contains("the engine speaks 7 to 9"), "{}", refused.why);
    let failed = format!("failed 0: {}", refused.why);
    assert_eq!(world.told(), ["starting 0", "lost 0 not-docked", &failed]);
    assert_eq!(world.state(), EngineState::Failed);
}

#[test]
fn an_engine_that_was_refused_is_ended_and_not_started_again() {
    let mut world = World::new(vec![spec("scanner")]);
    let engine = world.started();
    engine.say(Engine::docked());

    world.pass(60_000);

    assert!(engine.has_ended());
    assert_eq!(world.supervisor.next_wake(), None);
    let why = world.status().last_fault.expect("a fault");
    assert!(why.contains("the first message of an engine is Hello"), "{why}");
}

#[test]
fn an_engine_that_cannot_be_started_is_tried_as_often_as_its_budget_says() {
    let mut world = World::new(vec![spec("scanner")]);
    world.fail_starts(10);

    world.pass(1000);

    let told = world.told();
    let tried = told.iter().filter(|line| line.starts_with("log 0: cannot be started")).count();
    assert_eq!(tried, 4, "{told:?}");
    assert!(told.last().is_some_and(|line| line.starts_with("failed 0:")), "{told:?}");
    assert!(told.last().is_some_and(|line| line.contains("no such program")), "{told:?}");
}

#[test]
fn an_engine_that_is_silent_at_its_start_is_ended_at_the_limit_and_tried_again() {
    let mut world = World::new(vec![spec("scanner")]);
    let silent = world.started();

    world.pass(4999);
    assert!(!silent.has_ended());
    world.pass(1);

    assert!(silent.has_ended());
    assert_eq!(world.told(), ["starting 0", "lost 0 engine-hung", "starting 0"]);
}

#[test]
fn a_tick_starts_one_engine_at_most() {
    let mut world = World::new(vec![spec("one"), spec("two"), spec("three")]);

    world.tick();
    assert_eq!(world.told(), ["starting 0"]);
    world.tick();
    assert_eq!(world.told(), ["starting 1"]);
    world.tick();
    assert_eq!(world.told(), ["starting 2"]);
}

#[test]
fn no_two_engines_run_as_the_same_user() {
    let mut configured = spec("one");
    configured.config.uid = Some(61_001);
    let mut world = World::new(vec![configured, spec("two"), spec("three")]);

    let mut uids = vec![world.started().uid, world.started().uid, world.started().uid];
    uids.sort_unstable();
    uids.dedup();

    assert_eq!(uids.len(), 3);
    assert!(uids.contains(&61_001));
}
