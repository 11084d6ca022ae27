//! Engines that do not keep to the contract.

use std::os::fd::AsFd;

use outrigger_api::FailureReason;
use outrigger_api::control::EngineState;
use outrigger_api::frame::v1;

use crate::world::{Engine, World};

#[test]
fn a_packet_of_garbage_is_counted_and_eight_end_in_quarantine() {
    let (mut world, engine) = World::docked();

    (0..7).for_each(|_| engine.send(b"\xff\xff\xff", &[]).expect("sent"));
    world.run();
    let borne = world.state();
    engine.send(b"\xff\xff\xff", &[]).expect("sent");
    world.run();

    assert_eq!(borne, EngineState::Docked);
    assert_eq!(world.state(), EngineState::Quarantined);
    assert_eq!(world.status().faults.get("garbage"), Some(&8));
    let told = world.told();
    assert_eq!(told[..7], ["fault 0 garbage"; 7]);
    assert_eq!(told[7], "lost 0 garbage");
    assert!(told[8].starts_with("quarantined 0: 8 times garbage"), "{told:?}");
    assert!(engine.has_ended());
}

#[test]
fn descriptors_from_an_engine_are_garbage() {
    let (mut world, engine) = World::docked();
    let file = tempfile::tempfile().expect("a file");

    engine.send(b"x", &[file.as_fd()]).expect("sent");
    world.run();

    assert_eq!(world.status().faults.get("garbage"), Some(&1));
}

#[test]
fn messages_out_of_turn_are_garbage() {
    let (mut world, engine) = World::docked();

    engine.say(engine.hello());
    engine.say(Engine::docked());
    engine.say(Engine::heartbeat(99));
    world.run();

    assert_eq!(world.status().faults.get("garbage"), Some(&3));
    assert_eq!(world.told(), ["fault 0 garbage"; 3]);
}

#[test]
fn a_corrupt_ring_ends_the_process_and_the_next_one_gets_new_rings() {
    let (mut world, engine) = World::docked();

    world.fault(FailureReason::RingCorrupt);
    world.dock();

    assert!(engine.has_ended());
    assert_eq!(world.told(), ["lost 0 ring-corrupt", "starting 0", "docked 0"]);
    assert_eq!(world.links.len(), 2);
}

#[test]
fn foreign_answers_end_in_quarantine_and_late_ones_are_only_counted() {
    let (mut world, _engine) = World::docked();

    (0..100).for_each(|_| world.fault(FailureReason::LateAnswer));
    let after_late = world.state();
    (0..8).for_each(|_| world.fault(FailureReason::ForeignAnswer));

    assert_eq!(after_late, EngineState::Docked);
    assert_eq!(world.state(), EngineState::Quarantined);
    assert_eq!(world.status().faults.get("late-answer"), Some(&100));
}

#[test]
fn misses_up_to_the_limit_end_in_quarantine() {
    let (mut world, _engine) = World::docked();

    world.misses(3);
    let borne = world.state();
    world.misses(1);

    assert_eq!(borne, EngineState::Docked);
    let why = "quarantined 0: 4 questions missed within 10000 ms, the limit is 4";
    assert_eq!(world.told(), ["lost 0 engine-slow", why]);
    assert_eq!(world.status().misses, 4);
}

#[test]
fn misses_spread_over_more_than_the_window_are_borne() {
    let (mut world, mut engine) = World::docked();

    for _ in 0..20 {
        world.misses(1);
        for _ in 0..4 {
            world.pass(1000);
            let nonce = engine.hear_ping();
            engine.say(Engine::heartbeat(nonce));
            world.run();
        }
    }

    assert_eq!(world.state(), EngineState::Docked);
}

#[test]
fn a_flood_of_frames_is_read_in_bounds_and_ends_the_process() {
    let (mut world, engine) = World::docked();
    engine.do_not_wait();
    let log = outrigger_api::frame::encode_to_host(Engine::log("x"));
    let mut most = 0;

    while world.state() == EngineState::Docked {
        while engine.send(&log, &[]).is_ok() {}
        world.serve_readable();
        most = most.max(world.told().len());
    }

    assert!(most <= 64, "{most} happenings of one call");
    assert!(world.status().last_fault.expect("a fault").contains("1000 control frames"));
    assert!(engine.has_ended());
}

#[test]
fn lines_over_the_rate_are_left_out_and_counted() {
    let (mut world, engine) = World::docked();

    (0..60).for_each(|n| engine.say(Engine::log(&format!("line {n}"))));
    world.run();
    let told = world.told();
    world.pass(999);
    let within = world.told();
    world.pass(1);

    assert_eq!(told.len(), 50);
    assert_eq!(told[49], "log 0: line 49");
    assert!(within.is_empty());
    assert_eq!(world.told(), ["log 0: 10 more lines of it were left out"]);
}

#[test]
fn an_engine_that_prints_without_end_waits_for_the_host_and_not_the_host_for_it() {
    let (mut world, mut engine) = World::docked();
    let pipe_bytes = 64 << 10;

    engine.print(&"y\n".repeat(pipe_bytes / 2));
    world.run();

    assert!(world.told().len() <= 50);
    assert_eq!(world.state(), EngineState::Docked);
}

#[test]
fn refused_calls_are_told_by_name_up_to_the_rate_and_then_summed_up() {
    let (mut world, engine) = World::docked();

    (0..25).for_each(|_| engine.call("connect"));
    world.run();
    let told = world.told();
    world.pass(1000);

    assert_eq!(told, vec!["call 0: connect"; 20]);
    assert_eq!(world.told(), ["log 0: 5 more calls of it were refused"]);
    assert_eq!(world.status().refused_calls, 25);
}

#[test]
fn calls_refused_just_before_the_end_are_told() {
    let (mut world, engine) = World::docked();
    engine.call("ptrace");

    world.fault(FailureReason::RingCorrupt);

    assert_eq!(world.told(), ["call 0: ptrace", "lost 0 ring-corrupt"]);
}

#[test]
fn a_burst_of_forks_is_one_strike_and_the_rest_of_it_one_more() {
    let (mut world, engine) = World::docked();

    (0..25).for_each(|_| {
        engine.call("clone");
        world.run();
    });
    let told = world.told();
    world.pass(1000);

    assert_eq!(told.iter().filter(|line| *line == "fault 0 fork-bomb").count(), 1);
    assert_eq!(world.status().faults.get("fork-bomb"), Some(&2));
    let last = world.status().last_fault.expect("a fault");
    assert!(last.contains("24 times"), "{last}");
}

#[test]
fn an_engine_that_goes_on_forking_ends_in_quarantine() {
    let (mut world, mut engine) = World::docked();

    for _ in 0..8 {
        engine.call("fork");
        world.run();
        if world.state() == EngineState::Docked {
            world.pass(1000);
            let nonce = engine.hear_ping();
            engine.say(Engine::heartbeat(nonce));
        }
    }

    assert_eq!(world.state(), EngineState::Quarantined);
    assert_eq!(world.status().faults.get("fork-bomb"), Some(&8));
    assert!(world.told().contains(&"lost 0 fork-bomb".to_owned()));
}

#[test]
fn threads_over_the_limit_are_found_at_the_next_heartbeat_and_told_once() {
    let (mut world, mut engine) = World::docked();

    engine.refuse_threads(984);
    for _ in 0..3 {
        world.pass(1000);
        let nonce = engine.hear_ping();
        engine.say(Engine::heartbeat(nonce));
    }

    assert_eq!(world.told(), ["fault 0 fork-bomb"]);
    let last = world.status().last_fault.expect("a fault");
    assert!(last.contains("984"), "{last}");
}

#[test]
fn forks_just_before_the_end_are_told_and_cost_no_more_than_the_end() {
    let (mut world, engine) = World::docked();
    engine.refuse_threads(1);

    engine.crash();
    world.serve_readable();

    assert_eq!(world.told(), ["fault 0 fork-bomb", "lost 0 engine-crashed"]);
    assert!(world.status().last_fault.expect("a fault").starts_with("engine-crashed"));
}

#[test]
fn an_engine_without_a_descriptor_left_at_two_heartbeats_is_ended() {
    let (mut world, mut engine) = World::docked();
    engine.hold(64);

    world.pass(1000);
    let first = world.state();
    let nonce = engine.hear_ping();
    engine.say(Engine::heartbeat(nonce));
    world.pass(1000);

    assert_eq!(first, EngineState::Docked);
    assert!(engine.has_ended());
    assert_eq!(world.told(), ["lost 0 fd-leak", "starting 0"]);
    assert_eq!(world.status().faults.get("fd-leak"), Some(&1));
}

#[test]
fn a_peak_of_descriptors_is_no_leak() {
    let (mut world, mut engine) = World::docked();

    for held in [64, 63, 64, 9] {
        engine.hold(held);
        world.pass(1000);
        let nonce = engine.hear_ping();
        engine.say(Engine::heartbeat(nonce));
    }
    world.run();

    assert_eq!(world.state(), EngineState::Docked);
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn new_content_is_told_and_refused_content_leaves_the_old() {
    let (mut world, engine) = World::docked();
    let loaded = |content: &str, refused: &str| {
        v1::to_host::Message::ContentLoaded(v1::ContentLoaded {
            content: content.to_owned(),
            refused: refused.to_owned(),
        })
    };

    engine.say(loaded("4 deny", ""));
    engine.say(loaded("", "deny.txt:3: no hash"));
    world.run();

    assert_eq!(world.told(), ["content 0: 4 deny", "content refused 0: deny.txt:3: no hash"]);
    assert_eq!(world.status().content.as_deref(), Some("4 deny"));
    assert_eq!(world.status().faults.get("content-rejected"), Some(&1));
}
