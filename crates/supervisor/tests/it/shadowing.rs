//! A version in shadow runs beside an engine, and whatever becomes of it the engine is not touched.

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

/// A docked engine, and a process of the next version that is to run in shadow and has said nothing.
fn begun() -> (World, Engine, Engine) {
    let (mut world, engine) = World::docked();
    world.shadow(next()).expect("none is in shadow");
    let shadow = world.started();
    assert_eq!(shadow.version, "2.0.0");
    (world, engine, shadow)
}

/// The same, and it has docked.
fn shadowed() -> (World, Engine, Engine) {
    let (mut world, engine, shadow) = begun();
    let shadow = world.greet(shadow);
    assert_eq!(world.told(), ["shadow docked 0"]);
    (world, engine, shadow)
}

/// Lets `ms` pass in which the engine answers its pings.
fn pass(world: &mut World, engine: &mut Engine, ms: u64) {
    for _ in 0..ms / 1000 {
        world.pass(1000);
        engine.answer_pings();
        world.run();
    }
}

#[test]
fn it_docks_beside_as_the_engines_user_and_stays_there() {
    let (mut world, mut engine, mut shadow) = shadowed();

    for _ in 0..5 {
        world.pass(1000);
        engine.answer_pings();
        shadow.answer_pings();
        world.run();
    }

    assert_eq!(engine.uid, shadow.uid);
    assert!(shadow.apart && !engine.apart, "its processor time is not the engine's");
    assert!(!shadow.may_load_code() && !shadow.has_ended());
    assert!(world.told().is_empty());
    let status = world.status();
    assert_eq!((status.state, &*status.version), (EngineState::Docked, "1.0.0"));
    assert!(!world.promote(500), "it is no rival");
}

#[test]
fn it_is_ended_without_a_word_when_told() {
    let (mut world, engine, mut shadow) = shadowed();

    world.end_shadow();
    world.pass(100);

    assert!(matches!(shadow.hear(), ToEngine::Stop(_)));
    assert!(shadow.has_ended() && !engine.has_ended());
    assert!(world.told().is_empty());
    world.shadow(next()).expect("the next may come");
    assert!(world.has_started());
}

/// What it does, and what is told of it.
type Misdeed = (&'static str, fn(&mut World, &mut Engine, &mut Engine), &'static str);

const BEFORE_IT_DOCKED: [Misdeed; 7] = [
    ("crashes", |_, _, shadow| shadow.crash(), "engine-crashed: scanner 2.0.0: ended by signal 11"),
    (
        "takes all memory",
        |_, _, shadow| shadow.exit(Exit::OutOfMemory),
        "out-of-memory: scanner 2.0.0: ",
    ),
    (
        "never docks",
        |world, engine, _| pass(world, engine, 2000),
        "engine-hung: scanner 2.0.0: not docked 2000 ms after",
    ),
    (
        "never docks once welcomed",
        |world, engine, shadow| {
            shadow.say(shadow.hello());
            pass(world, engine, 2000);
        },
        "engine-hung: scanner 2.0.0: not docked 2000 ms after",
    ),
    (
        "garbles",
        |_, _, shadow| shadow.send(b"\xff\xff", &[]).expect("sent"),
        "garbage: scanner 2.0.0: ",
    ),
    (
        "skips Hello",
        |_, _, shadow| shadow.say(Engine::docked()),
        "not-docked: scanner 2.0.0: the first",
    ),
    (
        "closes its socket",
        |_, _, shadow| shadow.close_control(),
        "engine-crashed: scanner 2.0.0: closed",
    ),
];

const ONCE_DOCKED: [Misdeed; 13] = [
    (
        "crashes",
        |_, _, shadow| {
            shadow.print("index 21 of 20\n");
            shadow.crash();
        },
        "engine-crashed: scanner 2.0.0: ended by signal 11; its last line: index 21 of 20",
    ),
    (
        "takes all memory",
        |_, _, shadow| shadow.exit(Exit::OutOfMemory),
        "out-of-memory: scanner 2.0.0: ",
    ),
    (
        "ends",
        |_, _, shadow| shadow.exit(Exit::Code(0)),
        "engine-crashed: scanner 2.0.0: ended with",
    ),
    (
        "hangs",
        |world, engine, _| pass(world, engine, 4000),
        "engine-hung: scanner 2.0.0: gave no sign of life for 3000 ms",
    ),
    (
        "garbles",
        |_, _, shadow| shadow.send(b"\xff\xff", &[]).expect("sent"),
        "garbage: scanner 2.0.0: ",
    ),
    (
        "speaks out of turn",
        |_, _, shadow| shadow.say(Engine::docked()),
        "garbage: scanner 2.0.0: a control message out of turn",
    ),
    (
        "answers no ping",
        |_, _, shadow| shadow.say(Engine::heartbeat(99)),
        "garbage: scanner 2.0.0: a heartbeat that answers no ping: 99",
    ),
    (
        "floods its control socket",
        |world, _, shadow| {
            shadow.do_not_wait();
            for _ in 0..2000 {
                if shadow.try_say(Engine::log("again")).is_err() {
                    world.serve_readable();
                }
            }
        },
        "garbage: scanner 2.0.0: 1000 control frames within a second",
    ),
    (
        "closes its socket",
        |_, _, shadow| shadow.close_control(),
        "engine-crashed: scanner 2.0.0: closed",
    ),
    (
        "forks",
        |_, _, shadow| (0..8).for_each(|_| shadow.call("fork")),
        "fork-bomb: scanner 2.0.0: refused a process",
    ),
    (
        "makes threads",
        |world, engine, shadow| {
            shadow.refuse_threads(8);
            pass(world, engine, 1000);
        },
        "fork-bomb: scanner 2.0.0: refused a process",
    ),
    (
        "leaks descriptors",
        |world, engine, shadow| {
            shadow.hold(64);
            for _ in 0..2 {
                pass(world, engine, 1000);
                shadow.answer_pings();
                world.run();
            }
        },
        "fd-leak: scanner 2.0.0: holds all 64",
    ),
    (
        "breaks its rings",
        |world, _, _| world.shadow_fault(FailureReason::RingCorrupt),
        "ring-corrupt: scanner 2.0.0: seen by the host",
    ),
];

/// Plays each misdeed on what `begin` gives, and looks at what is left.
fn play(table: &[Misdeed], begin: fn() -> (World, Engine, Engine)) {
    for (what, misdeed, told) in table {
        let (mut world, mut engine, mut shadow) = begin();

        misdeed(&mut world, &mut engine, &mut shadow);
        world.run();

        let happened = world.told();
        let failures: Vec<_> =
            happened.iter().filter(|line| line.starts_with("shadow failed")).collect();
        assert_eq!(failures.len(), 1, "{what}: {happened:?}");
        let expected = format!("shadow failed 0 {told}");
        assert!(failures[0].starts_with(&expected), "{what}: {happened:?}");
        let others = happened.iter().filter(|line| !line.starts_with("log 0: in shadow: "));
        assert_eq!(others.count(), 1, "{what}: {happened:?}");
        world.pass(100);
        assert!(shadow.has_ended(), "{what}");
        assert!(!engine.has_ended(), "{what}");
        let status = world.status();
        assert_eq!((status.state, status.restarts_left), (EngineState::Docked, (3, 3)), "{what}");
        assert_eq!((status.last_fault, status.refused_calls), (None, 0), "{what}");
        assert!(status.faults.is_empty() && status.starts == 1, "{what}");
        world.shadow(next()).expect("the next may come");
        assert!(world.has_started(), "{what}");
    }
}

#[test]
fn whatever_it_does_wrong_before_it_docked_ends_it_alone() {
    play(&BEFORE_IT_DOCKED, begun);
}

#[test]
fn whatever_it_does_wrong_once_docked_ends_it_alone() {
    play(&ONCE_DOCKED, shadowed);
}

#[test]
fn a_start_that_fails_is_told_and_changes_nothing() {
    let (mut world, _engine) = World::docked();
    world.fail_starts(1);
    world.shadow(next()).expect("none is in shadow");

    world.run();

    let told = world.told();
    assert!(
        told[0].starts_with("shadow failed 0 not-docked: scanner 2.0.0: cannot be"),
        "{told:?}"
    );
    assert_eq!((told.len(), world.state()), (1, EngineState::Docked));
}

#[test]
fn one_whose_end_the_kernel_delays_holds_up_the_next_shadow_and_nothing_of_the_engines() {
    let (mut world, engine, shadow) = shadowed();
    shadow.survive_kill();
    shadow.say(Engine::docked());
    world.run();
    world.told();

    engine.crash();
    let again = world.dock();
    assert_eq!(again.version, "1.0.0");
    world.shadow(next()).expect("none is in shadow");
    assert!(!world.has_started(), "the one before is not gone");
    shadow.exit(Exit::Signal(9));

    assert!(world.has_started());
}

#[test]
fn what_it_prints_uses_up_no_line_of_the_engines() {
    let (mut world, mut engine, mut shadow) = shadowed();

    (0..200).for_each(|_| shadow.print("again and again\n"));
    world.run();
    engine.print("the engine's own\n");
    world.run();

    let told = world.told();
    let of_shadow = told.iter().filter(|line| line.starts_with("log 0: in shadow: ")).count();
    assert!((1..=50).contains(&of_shadow), "{of_shadow}");
    assert!(told.contains(&"log 0: the engine's own".to_owned()), "{told:?}");
}

#[test]
fn a_crash_of_the_engine_is_not_the_shadows() {
    let (mut world, engine, shadow) = shadowed();

    engine.crash();
    let _engine = world.dock();

    assert!(!shadow.has_ended());
    assert_eq!(world.told(), ["lost 0 engine-crashed", "starting 0", "docked 0"]);
    assert_eq!(world.status().restarts_left, (2, 3));
}

#[test]
fn it_runs_while_the_engine_is_in_quarantine_or_not_installed() {
    let (mut world, engine, shadow) = shadowed();
    world.command(EngineAction::Quarantine).expect("possible");
    world.pass(200);
    assert!(engine.has_ended() && !shadow.has_ended());

    let mut world = World::new(vec![spec("scanner")]);
    world.supervisor.withhold(0, "no release is in force");
    world.shadow(next()).expect("none is in shadow");
    world.dock();
    assert_eq!(world.told(), ["shadow docked 0"]);
    assert_eq!(world.state(), EngineState::NotInstalled);
}

#[test]
fn time_in_which_the_host_stood_still_is_not_held_against_it() {
    let (mut world, mut engine, mut shadow) = shadowed();
    world.pass(1000);

    world.now += 60_000 * crate::world::MS;
    world.run();
    engine.answer_pings();
    shadow.answer_pings();
    world.run();

    assert!(!shadow.has_ended(), "{:?}", world.told());
}

#[test]
fn there_is_one_and_none_beside_a_rival_and_only_of_the_engine() {
    let (mut world, _engine, _shadow) = shadowed();
    assert!(matches!(world.shadow(next()), Err(ReplaceError::Shadowed(_))));

    let (mut world, _engine) = World::docked();
    world.replace(next()).expect("nothing is under way");
    assert!(matches!(world.shadow(next()), Err(ReplaceError::Busy(_))));
    let other = World::docked().0.shadow(spec("other"));
    assert!(matches!(other, Err(ReplaceError::Name { .. })));
}

#[test]
fn a_rival_comes_when_it_is_gone() {
    let (mut world, _engine, shadow) = shadowed();
    shadow.survive_kill();
    world.end_shadow();
    world.replace(next()).expect("nothing is under way");
    assert!(!world.has_started(), "three would use more than the engine may");

    shadow.exit(Exit::Code(0));
    let rival = world.started();
    world.greet(rival);

    assert_eq!(world.told(), ["ready 0"]);
}

#[test]
fn its_use_is_told_apart() {
    let (mut world, engine, shadow) = shadowed();
    engine.use_cpu(5_000_000);
    shadow.use_cpu(7_000_000);

    let both = (world.supervisor.usage()[0].cpu_ns, world.supervisor.shadow_usage(0));
    assert_eq!(both.0, Some(5_000_000));
    assert_eq!(both.1.and_then(|usage| usage.cpu_ns), Some(7_000_000));
    assert_eq!(world.supervisor.shadow_pid(0), Some(4711));
    world.end_shadow();
    world.pass(200);

    assert_eq!(world.supervisor.usage()[0].cpu_ns, Some(5_000_000));
    assert!(world.supervisor.shadow_usage(0).is_none());
}

#[test]
fn stopping_ends_it_too() {
    let (mut world, engine, shadow) = shadowed();

    world.supervisor.stop_all(world.now);
    world.pass(10_000);

    assert!(engine.has_ended() && shadow.has_ended() && !world.has_started());
}
