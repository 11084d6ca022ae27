//! What an operator may do, in every state of an engine.

use outrigger_api::control::{EngineAction, EngineState};
use outrigger_api::frame::v1;

use crate::world::{Engine, World, spec};

fn world_in(state: EngineState) -> (World, Option<Engine>) {
    let mut world = World::new(vec![spec("scanner")]);
    let engine = match state {
        EngineState::Starting => Some(world.started()),
        EngineState::Docked => Some(world.dock()),
        EngineState::Restarting => {
            world.fail_starts(2);
            world.tick();
            world.tick();
            None
        }
        EngineState::Quarantined => {
            let engine = world.dock();
            world.misses(4);
            world.run();
            Some(engine)
        }
        EngineState::Failed => {
            world.fail_starts(4);
            world.pass(1000);
            None
        }
        EngineState::NotInstalled => {
            world.supervisor.withhold(0, "no release is in force");
            None
        }
        EngineState::Withheld => {
            let engine = world.dock();
            world.keep_off();
            Some(engine)
        }
    };
    assert_eq!(world.state(), state);
    world.told();
    (world, engine)
}

#[test]
fn every_command_in_every_state_does_its_work_or_says_why_not() {
    use EngineAction::{Quarantine, Release, Reload, Restart};
    use EngineState::{Docked, Failed, NotInstalled, Quarantined, Restarting, Starting, Withheld};
    // state, command, what is answered, the state after it
    let table = [
        (Starting, Restart, "scanner is started again", Starting),
        (Starting, Quarantine, "scanner is in quarantine until", Quarantined),
        (Starting, Release, "scanner is starting: only an engine in quarantine", Starting),
        (Starting, Reload, "scanner is starting: only a docked engine", Starting),
        (Docked, Restart, "scanner is started again", Starting),
        (Docked, Quarantine, "scanner is in quarantine until", Quarantined),
        (Docked, Release, "scanner is docked: only an engine in quarantine", Docked),
        (Docked, Reload, "scanner was told to read its content again", Docked),
        (Restarting, Restart, "scanner is started again", Starting),
        (Restarting, Quarantine, "scanner is in quarantine until", Quarantined),
        (Restarting, Release, "scanner is waiting for its next start: only an", Restarting),
        (Restarting, Reload, "scanner is waiting for its next start: only a", Restarting),
        (Quarantined, Restart, "scanner is in quarantine: release it first", Quarantined),
        (Quarantined, Quarantine, "scanner is in quarantine: there is nothing", Quarantined),
        (Quarantined, Release, "scanner is released and starts", Starting),
        (Quarantined, Reload, "scanner is in quarantine: only a docked", Quarantined),
        (Failed, Restart, "scanner is started again", Starting),
        (Failed, Quarantine, "scanner is in quarantine until", Quarantined),
        (Failed, Release, "scanner is failed: only an engine in quarantine", Failed),
        (Failed, Reload, "scanner is failed: only a docked engine", Failed),
        (NotInstalled, Restart, "scanner is not installed: put a release", NotInstalled),
        (NotInstalled, Quarantine, "scanner is not installed: put a release", NotInstalled),
        (NotInstalled, Release, "scanner is not installed: put a release", NotInstalled),
        (NotInstalled, Reload, "scanner is not installed: put a release", NotInstalled),
        (Withheld, Restart, "scanner is kept off the dock: see `outrigger status`", Withheld),
        (Withheld, Quarantine, "scanner is kept off the dock: see `outrigger status`", Withheld),
        (Withheld, Release, "scanner is kept off the dock: see `outrigger status`", Withheld),
        (Withheld, Reload, "scanner is kept off the dock: see `outrigger status`", Withheld),
    ];
    for (state, action, answer, after) in table {
        let (mut world, engine) = world_in(state);

        let told = world.command(action).unwrap_or_else(|error| error.to_string());
        if after != Restarting {
            // An engine that is told to stop does.
            if after != state || action == Restart {
                engine.iter().for_each(Engine::crash);
            }
            world.run();
        }

        assert!(told.starts_with(answer), "{action:?} while {state:?}: {told}");
        assert_eq!(world.state(), after, "{action:?} while {state:?}");
    }
}

#[test]
fn a_restart_is_told_to_the_engine_and_takes_nothing_from_its_budget() {
    let (mut world, mut engine) = {
        let (world, engine) = world_in(EngineState::Docked);
        (world, engine.expect("docked"))
    };

    world.command(EngineAction::Restart).expect("possible");
    let heard = engine.hear();
    assert!(!world.has_started(), "the old process has a moment to end");
    engine.exit(outrigger_sandbox::Exit::Code(0));

    assert!(matches!(heard, v1::to_engine::Message::Stop(_)));
    world.dock();
    assert_eq!(world.told(), ["lost 0 not-docked", "starting 0", "docked 0"]);
    assert_eq!(world.status().restarts_left, (3, 3));
}

#[test]
fn an_engine_that_does_not_stop_when_told_is_killed_a_moment_later() {
    let (mut world, engine) = world_in(EngineState::Docked);
    let engine = engine.expect("docked");

    world.command(EngineAction::Restart).expect("possible");
    world.pass(99);
    assert!(!engine.has_ended());
    world.pass(1);

    assert!(engine.has_ended());
    assert!(world.has_started());
}

#[test]
fn a_released_engine_docks_again_with_a_fresh_budget() {
    let (mut world, _engine) = world_in(EngineState::Quarantined);

    world.command(EngineAction::Release).expect("possible");
    world.dock();

    assert_eq!(world.told(), ["released 0", "starting 0", "docked 0"]);
    assert_eq!(world.status().restarts_left, (3, 3));
}

#[test]
fn a_docked_engine_is_told_to_read_its_content_again() {
    let (mut world, engine) = world_in(EngineState::Docked);

    world.command(EngineAction::Reload).expect("possible");

    let heard = engine.expect("docked").hear();
    assert!(matches!(heard, v1::to_engine::Message::Reload(_)));
}

#[test]
fn an_engine_that_does_not_exist_is_said_to() {
    let mut world = World::new(Vec::new());

    let error = world.command(EngineAction::Restart).expect_err("no engine");

    assert_eq!(error.to_string(), "there is no engine number 0");
}
