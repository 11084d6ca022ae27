//! How processes end, and what follows.

use outrigger_api::control::EngineState;
use outrigger_sandbox::Exit;

use crate::world::{Engine, MS, World};

#[test]
fn a_crash_is_told_at_once_and_the_next_process_starts_at_once() {
    let (mut world, engine) = World::docked();

    engine.crash();
    world.serve_readable();
    assert_eq!(world.told(), ["lost 0 engine-crashed"]);
    world.tick();

    assert_eq!(world.told(), ["starting 0"]);
    world.dock();
    assert_eq!(world.state(), EngineState::Docked);
    assert_eq!(world.status().restarts_left, (2, 3));
}

#[test]
fn a_restart_that_waits_is_told_with_its_time() {
    let (mut world, engine) = World::docked();
    engine.crash();
    let engine = world.dock();
    world.told();

    engine.crash();
    world.run();

    assert_eq!(world.told(), ["lost 0 engine-crashed", "waiting 0"]);
    assert_eq!(world.supervisor.start_due(0), Some(world.now + 10 * MS));
}

#[test]
fn a_crash_loop_waits_longer_each_time_and_ends_in_quarantine() {
    let (mut world, mut engine) = World::docked();
    let mut waits = Vec::new();
    for _ in 0..3 {
        engine.crash();
        let crashed = world.now;
        while !world.has_started() {
            world.now = world.supervisor.next_wake().expect("a start waits");
        }
        waits.push((world.now - crashed) / MS);
        engine = world.dock();
    }
    world.told();

    engine.crash();
    world.pass(1000);

    assert_eq!(waits, [0, 10, 20]);
    let told = world.told();
    assert_eq!(told[0], "lost 0 engine-crashed");
    assert_eq!(told[1], "fault 0 budget-exhausted");
    assert!(told[2].starts_with("quarantined 0: 3 restarts within 60 s are used up"), "{told:?}");
    assert_eq!(told.len(), 3);
    assert_eq!(world.status().faults.get("budget-exhausted"), Some(&1));
    assert_eq!(world.status().faults.get("engine-crashed"), Some(&4));
}

#[test]
fn quarantine_costs_nothing() {
    let (mut world, engine) = World::docked();

    world.misses(4);
    world.run();

    assert!(engine.has_ended());
    assert_eq!(world.state(), EngineState::Quarantined);
    assert_eq!(world.status().pid, None);
    assert_eq!(world.supervisor.descriptors().len(), 0);
    assert_eq!(world.supervisor.next_wake(), None);
}

#[test]
fn a_process_that_the_kernel_ended_at_its_memory_limit_is_told_apart() {
    let (mut world, engine) = World::docked();

    engine.exit(Exit::OutOfMemory);
    world.serve_readable();

    assert_eq!(world.told(), ["lost 0 out-of-memory"]);
}

#[test]
fn an_exit_without_an_error_is_a_loss_all_the_same() {
    let (mut world, mut engine) = World::docked();
    engine.print("panicked at main.rs\nno newline");

    engine.exit(Exit::Code(0));
    world.run();

    let told = world.told();
    assert!(told.contains(&"lost 0 engine-crashed".to_owned()), "{told:?}");
    let fault = world.status().last_fault.expect("a fault");
    assert!(fault.contains("ended with status 0; its last line: panicked at main.rs"), "{fault}");
}

#[test]
fn an_engine_that_leaves_a_ping_without_answer_is_killed_at_its_limit() {
    let (mut world, mut engine) = World::docked();

    world.pass(1000);
    engine.hear_ping();
    world.pass(2999);
    assert!(!engine.has_ended());
    world.pass(1);

    assert!(engine.has_ended());
    assert_eq!(world.told(), ["lost 0 engine-hung", "starting 0"]);
}

#[test]
fn an_engine_that_answers_its_pings_lives() {
    let (mut world, mut engine) = World::docked();

    for _ in 0..20 {
        world.pass(1000);
        let nonce = engine.hear_ping();
        engine.say(Engine::heartbeat(nonce));
        world.run();
    }

    assert_eq!(world.state(), EngineState::Docked);
    assert!(world.told().is_empty());
}

#[test]
fn an_answer_that_lies_in_the_socket_when_the_host_comes_late_counts() {
    let (mut world, mut engine) = World::docked();
    world.pass(1000);
    let nonce = engine.hear_ping();
    engine.say(Engine::heartbeat(nonce));

    world.now += 3000 * MS;
    world.tick();

    assert_eq!(world.state(), EngineState::Docked);
}

#[test]
fn an_engine_is_not_blamed_for_time_in_which_its_host_stood_still() {
    let (mut world, mut engine) = World::docked();
    world.pass(1000);
    engine.hear_ping();

    world.now += 60_000 * MS;
    world.tick();
    let first = world.state();
    world.pass(3000);

    assert_eq!(first, EngineState::Docked);
    assert_eq!(world.told(), ["lost 0 engine-hung", "starting 0"]);
}

#[test]
fn an_engine_that_closes_its_control_socket_is_ended() {
    let (mut world, mut engine) = World::docked();

    engine.close_control();
    world.serve_readable();
    assert!(engine.has_ended());
    world.run();

    assert_eq!(world.told(), ["lost 0 engine-crashed", "starting 0"]);
}

#[test]
fn a_closed_socket_is_a_loss_even_if_the_kernel_delays_the_exit() {
    let (mut world, mut engine) = World::docked();
    engine.survive_kill();

    engine.close_control();
    world.pass(10);

    assert_eq!(world.told(), ["lost 0 engine-crashed"]);
}

#[test]
fn no_process_starts_before_the_last_one_is_gone() {
    let (mut world, engine) = World::docked();
    engine.survive_kill();
    world.fault(outrigger_api::FailureReason::RingCorrupt);

    world.pass(10_000);
    assert!(!world.has_started());
    engine.exit(Exit::Signal(9));

    assert!(world.has_started());
}

#[test]
fn crashes_that_are_pardoned_never_end_in_quarantine() {
    let (mut world, mut engine) = World::docked();

    for _ in 0..50 {
        engine.crash();
        engine = world.dock();
        engine.crash();
        world.serve_readable();
        world.supervisor.pardon(0, world.now);
        engine = world.dock();
    }

    assert_eq!(world.state(), EngineState::Docked);
    assert_eq!(world.status().restarts_left, (3, 3));
    assert_eq!(world.status().starts, 101);
}

#[test]
fn a_hang_that_a_tick_finds_can_be_pardoned_before_the_next_one() {
    let (mut world, engine) = World::docked();
    let mut engines = vec![engine];
    (0..3).for_each(|_| {
        world.fault(outrigger_api::FailureReason::EngineHung);
        world.pass(30);
        engines.push(world.dock());
    });
    world.pass(1000);
    world.told();

    world.now = world.supervisor.next_wake().expect("the limit of a ping");
    world.tick();
    assert_eq!(world.told(), ["lost 0 engine-hung"]);
    world.supervisor.pardon(0, world.now);
    world.tick();

    assert_eq!(world.told(), ["starting 0"]);
}

#[test]
fn stopping_ends_every_process_and_starts_none() {
    let (mut world, engine) = World::docked();

    world.supervisor.stop_all(world.now);
    world.pass(10_000);

    assert!(engine.has_ended());
    assert!(!world.has_started());
}
