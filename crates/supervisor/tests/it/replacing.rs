//! Another version takes an engine's place, or does not.

use outrigger_api::FailureReason;
use outrigger_api::control::{EngineAction, EngineState};
use outrigger_api::frame::v1::to_engine::Message as ToEngine;
use outrigger_sandbox::Exit;
use outrigger_supervisor::{EngineSpec, ReplaceError};

use crate::world::{Engine, World, spec};

/// The next version, which may take two seconds to dock.
fn next() -> EngineSpec {
    let mut spec = spec("scanner");
    "2.0.0".clone_into(&mut spec.manifest.version);
    spec.manifest.limits.start_ms = 2000;
    spec
}

/// A docked engine, and a process of the next version that was started and has said nothing.
fn rivals() -> (World, Engine, Engine) {
    let (mut world, old) = World::docked();
    world.replace(next()).expect("nothing is under way");
    let new = world.started();
    assert_eq!(new.version, "2.0.0");
    (world, old, new)
}

/// The same, and the new one has taken the place; the old one has 500 ms to finish.
fn replaced() -> (World, Engine, Engine) {
    let (mut world, old, new) = rivals();
    let new = world.greet(new);
    assert!(world.promote(500));
    world.told();
    (world, old, new)
}

#[test]
fn the_next_version_docks_beside_and_takes_the_place_when_told() {
    let (mut world, mut old, new) = rivals();

    let _new = world.greet(new);
    assert_eq!(world.told(), ["ready 0"]);
    assert_eq!(world.status().version, "1.0.0");
    assert!(world.promote(500));

    assert_eq!(world.told(), ["replaced 0"]);
    assert_eq!((world.state(), &*world.status().version), (EngineState::Docked, "2.0.0"));
    assert_eq!(world.links.len(), 2);
    assert!(!old.has_ended(), "it answers what it has in hand");
    world.dismiss();
    assert!(matches!(old.hear(), ToEngine::Stop(_)));
    assert_eq!(world.told(), ["former ended 0"]);
}

#[test]
fn what_is_started_after_it_is_the_next_version() {
    let (mut world, old, new) = replaced();
    world.dismiss();
    old.exit(Exit::Code(0));

    new.crash();
    let again = world.dock();

    assert_eq!(again.version, "2.0.0");
    assert_eq!(world.told(), ["former ended 0", "lost 0 engine-crashed", "starting 0", "docked 0"]);
}

#[test]
fn both_run_as_the_engines_user_and_neither_may_make_code_once_docked() {
    let (mut world, old, new) = rivals();

    let new = world.greet(new);

    assert_eq!(old.uid, new.uid);
    assert!(!old.may_load_code() && !new.may_load_code());
}

/// What the next version does instead of docking, and what is told of it.
type Misdeed = (&'static str, fn(&mut World, &mut Engine), &'static str);

#[test]
fn whatever_the_next_version_does_wrong_the_engine_goes_on_untouched() {
    let table: [Misdeed; 9] = [
        ("crashes", |_, new| new.crash(), "engine-crashed: scanner 2.0.0: ended by signal 11"),
        (
            "says why",
            |_, new| {
                new.print("no such rule\n");
                new.exit(Exit::Code(1));
            },
            "engine-crashed: scanner 2.0.0: ended with status 1; its last line: no such rule",
        ),
        (
            "takes all memory",
            |_, new| new.exit(Exit::OutOfMemory),
            "out-of-memory: scanner 2.0.0: ",
        ),
        (
            "hangs",
            |world, _| world.pass(2000),
            "engine-hung: scanner 2.0.0: not docked 2000 ms after",
        ),
        (
            "hangs once welcomed",
            |world, new| {
                new.say(new.hello());
                world.pass(2000);
            },
            "engine-hung: scanner 2.0.0: not docked 2000 ms after",
        ),
        ("garbles", |_, new| new.send(b"\xff\xff", &[]).expect("sent"), "garbage: scanner 2.0.0: "),
        ("skips Hello", |_, new| new.say(Engine::docked()), "not-docked: scanner 2.0.0: the first"),
        (
            "is of another engine",
            |_, new| {
                let outrigger_api::frame::v1::to_host::Message::Hello(mut hello) = new.hello()
                else {
                    unreachable!("it says Hello")
                };
                "other".clone_into(&mut hello.engine);
                new.say(outrigger_api::frame::v1::to_host::Message::Hello(hello));
            },
            "not-docked: scanner 2.0.0: ",
        ),
        (
            "closes its socket",
            |_, new| new.close_control(),
            "engine-crashed: scanner 2.0.0: closed",
        ),
    ];
    for (what, misdeed, told) in table {
        let (mut world, old, mut new) = rivals();

        misdeed(&mut world, &mut new);
        world.run();

        let happened = world.told();
        let expected = format!("not replaced 0 {told}");
        assert!(happened.iter().any(|line| line.starts_with(&expected)), "{what}: {happened:?}");
        assert!(!happened.iter().any(|line| line.starts_with("ready")), "{what}: {happened:?}");
        assert!(!old.has_ended(), "{what}");
        assert!(!world.promote(500), "{what}: there is none to promote");
        let status = world.status();
        assert_eq!((status.state, status.restarts_left), (EngineState::Docked, (3, 3)), "{what}");
        assert_eq!((&*status.version, status.last_fault), ("1.0.0", None), "{what}");
    }
}

#[test]
fn one_that_is_ready_and_then_crashes_or_speaks_out_of_turn_is_no_replacement() {
    for misdeed in [Engine::crash as fn(&Engine), |new| new.say(Engine::heartbeat(7))] {
        let (mut world, old, new) = rivals();
        let new = world.greet(new);

        misdeed(&new);
        world.run();

        let told = world.told();
        assert_eq!(told[0], "ready 0");
        assert!(told[1].starts_with("not replaced 0 "), "{told:?}");
        assert!(!world.promote(500));
        assert!(new.has_ended() && !old.has_ended());
    }
}

#[test]
fn a_start_that_fails_is_told_and_changes_nothing() {
    let (mut world, _old) = World::docked();
    world.fail_starts(1);
    world.replace(next()).expect("nothing is under way");

    world.run();

    let told = world.told();
    assert!(told[0].starts_with("not replaced 0 not-docked: scanner 2.0.0: cannot be"), "{told:?}");
    assert_eq!(world.state(), EngineState::Docked);
    world.replace(next()).expect("the next try is another");
}

#[test]
fn an_abandoned_replacement_ends_in_silence() {
    let (mut world, _old, new) = rivals();
    let mut new = world.greet(new);
    world.told();

    world.supervisor.abandon(0, world.now);
    world.pass(100);

    assert!(matches!(new.hear(), ToEngine::Stop(_)));
    assert!(new.has_ended() && world.told().is_empty());
}

#[test]
fn the_engines_own_crash_meanwhile_is_a_crash_as_any_other() {
    let (mut world, old, new) = rivals();

    old.crash();
    let old = world.dock();
    let _new = world.greet(new);
    assert!(world.promote(500));

    assert_eq!(old.version, "1.0.0");
    let told = ["lost 0 engine-crashed", "starting 0", "docked 0", "ready 0", "replaced 0"];
    assert_eq!(world.told(), told);
    assert_eq!(world.status().restarts_left, (3, 3), "another version has a budget of its own");
}

#[test]
fn a_process_that_was_still_starting_has_nothing_to_finish() {
    let (mut world, old, new) = rivals();
    old.crash();
    let starting = world.started();
    let _new = world.greet(new);

    assert!(world.promote(500));

    assert!(starting.has_ended());
}

#[test]
fn one_that_was_replaced_ends_by_itself_or_when_its_time_is_over() {
    let (mut world, old, _new) = replaced();
    old.crash();
    world.run();
    let told = world.told();
    assert!(told[0].starts_with("log 0: the version before it ended by signal 11"), "{told:?}");
    assert_eq!(told[1..], ["former ended 0"]);
    assert_eq!(world.status().restarts_left, (3, 3));

    let (mut world, old, _new) = replaced();
    world.pass(499);
    assert!(world.told().is_empty());
    world.pass(101);
    assert_eq!(world.told(), ["former ended 0"]);
    assert!(old.has_ended(), "killed, since it did not stop");
    assert_eq!(world.state(), EngineState::Docked);
}

#[test]
fn what_one_that_was_replaced_garbles_ends_it_and_counts_against_nobody() {
    let (mut world, old, _new) = replaced();

    old.send(b"\xff\xff", &[]).expect("sent");
    world.run();

    assert_eq!(world.told(), ["former ended 0"]);
    assert!(world.status().faults.is_empty());
}

#[test]
fn an_engine_never_has_more_than_two_processes() {
    let (mut world, old, new) = replaced();
    world.replace(next()).expect("nothing is under way");
    assert!(!world.has_started(), "the first is not gone");

    old.survive_kill();
    world.dismiss();
    world.pass(1999);
    assert!(!world.has_started(), "it was told to stop and is not gone");
    world.pass(1);
    let told = world.told();
    let why = "not replaced 0 engine-hung: scanner 2.0.0: a process of the engine's would not end";
    assert!(told[1].starts_with(why), "{told:?}");
    old.exit(Exit::Signal(9));
    world.replace(next()).expect("nothing is under way");

    assert!(world.has_started() && !new.has_ended());
}

#[test]
fn one_is_replaced_at_a_time_and_by_its_like() {
    let (mut world, _old, _new) = rivals();
    let busy = world.replace(next()).expect_err("one is under way");
    assert!(matches!(busy, ReplaceError::Busy(_)));

    let (mut world, _old) = World::docked();
    let other = world.replace(spec("other")).expect_err("another engine");
    let text = "other cannot take the place of scanner: an engine keeps its name";
    assert_eq!(other.to_string(), text);
    assert!(!world.has_started());
}

#[test]
fn an_operator_who_quarantines_the_engine_gets_no_other_version_docked() {
    let (mut world, _old, new) = rivals();
    let new = world.greet(new);
    world.told();

    world.command(EngineAction::Quarantine).expect("possible");
    world.pass(100);

    let told = world.told();
    assert!(told[0].starts_with("not replaced 0 not-docked: not replaced: it was"), "{told:?}");
    assert!(new.has_ended());
    assert_eq!(world.state(), EngineState::Quarantined);
}

#[test]
fn another_version_takes_the_place_of_one_in_quarantine() {
    let (mut world, _old) = World::docked();
    world.misses(4);
    world.run();
    world.replace(next()).expect("nothing is under way");
    world.dock();
    assert_eq!(world.state(), EngineState::Quarantined);

    assert!(world.promote(500));

    assert_eq!((world.state(), world.status().misses), (EngineState::Docked, 0));
}

#[test]
fn what_is_not_installed_is_not_started_until_it_is() {
    let mut world = World::new(vec![spec("scanner")]);
    world.supervisor.withhold(0, "no release is in force");

    world.pass(10_000);
    assert!(!world.has_started());
    assert_eq!(world.state(), EngineState::NotInstalled);
    assert_eq!(world.status().last_fault.as_deref(), Some("no release is in force"));
    let refused = world.command(EngineAction::Restart).expect_err("nothing to start").to_string();
    assert!(refused.starts_with("scanner is not installed: put a release in force"), "{refused}");
    world.replace(next()).expect("nothing is under way");
    world.dock();

    assert!(world.promote(500));
    assert_eq!(world.state(), EngineState::Docked);
}

#[test]
fn a_version_that_must_be_in_force_is_started_though_none_of_it_is_ready() {
    let (mut world, mut old, new) = rivals();
    new.crash();
    world.run();
    world.told();

    world.restart_as(next());
    assert!(matches!(old.hear(), ToEngine::Stop(_)));
    old.exit(Exit::Code(0));
    let new = world.dock();

    assert_eq!(new.version, "2.0.0");
    assert_eq!(world.told(), ["lost 0 not-docked", "starting 0", "docked 0"]);
}

#[test]
fn faults_after_it_are_those_of_the_version_in_force() {
    let (mut world, old, new) = replaced();

    world.fault(FailureReason::RingCorrupt);
    world.run();

    assert!(new.has_ended() && !old.has_ended());
    assert!(world.told().contains(&"lost 0 ring-corrupt".to_owned()));
}

#[test]
fn stopping_ends_both() {
    let (mut world, old, new) = replaced();
    world.supervisor.stop_all(world.now);
    assert!(old.has_ended() && new.has_ended());

    let (mut world, old, new) = rivals();
    world.supervisor.stop_all(world.now);
    world.pass(10_000);
    assert!(old.has_ended() && new.has_ended() && !world.has_started());
}
