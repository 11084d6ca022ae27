//! An engine that lies to its host: through its rings, its control socket, its answers.

use std::time::Duration;

use anyhow::{Result, ensure};
use outrigger_api::control::{EngineState, EngineStatus};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup};

use crate::scene::{Scene, expect, timed_open};

const ENGINE: &str = "liar";

/// The hash lists and a liar that begins as told.
fn start(lab: &Lab, scene: &Scene, behaviour: &str) -> Result<Host> {
    let liar = EngineSetup::faulty(ENGINE, behaviour).optional().restarts_max(1000);
    let setup = Setup::protecting(scene.path()).budget_ms(300).fail_closed().uncached();
    let host = lab.start(&setup.engine(EngineSetup::hashlist()).engine(liar))?;
    Ok(host)
}

/// The other engine is untouched: it refuses what is bad and serves what is clean.
fn nothing_else_changed(host: &Host, scene: &Scene) -> Result<()> {
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    let other = host.engine("hashlist")?;
    ensure!(other.starts == 1 && other.faults.is_empty(), "the other engine: {other:?}");
    Ok(())
}

/// Opens clean files until the host counts a fault of this reason against the liar.
fn wait_fault(host: &Host, scene: &Scene, reason: &str) -> Result<EngineStatus> {
    let mut opens = scene.clean.iter().cycle();
    wait_for(&format!("a fault {reason}"), Duration::from_secs(10), || {
        if let Some(path) = opens.next() {
            timed_open(path);
        }
        let engine = host.engine(ENGINE)?;
        Ok(engine.faults.contains_key(reason).then_some(engine))
    })
}

/// The liar is found out for `reason`, the log names it, and nothing else changes.
fn is_found(lab: &Lab, lie: &str, reason: &str) -> Result<()> {
    let scene = Scene::new(lab, 20)?;
    let host = start(lab, &scene, &format!("attack {lie}"))?;

    let engine = wait_fault(&host, &scene, reason)?;

    say(format_args!("faults: {:?}, {}", engine.faults, engine.last_fault.unwrap_or_default()));
    let log = host.log();
    ensure!(log.lines().any(|line| line.contains(ENGINE)), "the log does not name the engine");
    nothing_else_changed(&host, &scene)?;
    host.end()
}

/// The ring's memory can be neither grown nor cut, and a store behind it ends the engine alone.
pub(crate) fn growing_its_ring_is_refused(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, "attack grow-ring")?;

    let engine = host.wait_engine(ENGINE, EngineState::Docked, Duration::from_secs(5))?;

    let said = engine.content.unwrap_or_default();
    say(&said);
    ensure!(said.contains("refused"), "the engine says: {said:?}");
    nothing_else_changed(&host, &scene)?;

    host.restart_with(ENGINE, "attack store-behind-ring")?;
    let engine = wait_fault(&host, &scene, "engine-crashed")?;
    say(format_args!("faults: {:?}", engine.faults));
    nothing_else_changed(&host, &scene)?;
    host.end()
}

/// The ring is memory that it writes: mapped once more to be executed, it would be code of its own making.
pub(crate) fn executing_its_ring_is_refused(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, "attack execute-ring")?;

    let engine = host.wait_engine(ENGINE, EngineState::Docked, Duration::from_secs(5))?;

    let said = engine.content.unwrap_or_default();
    say(&said);
    ensure!(said.contains("refused"), "the engine says: {said:?}");
    ensure!(engine.refused_calls > 0, "no refused call is counted");
    nothing_else_changed(&host, &scene)?;
    host.end()
}

pub(crate) fn a_corrupt_cursor_is_found(lab: &Lab) -> Result<()> {
    is_found(lab, "cursor", "ring-corrupt")
}

pub(crate) fn a_garbage_record_is_found(lab: &Lab) -> Result<()> {
    is_found(lab, "record", "garbage")
}

pub(crate) fn a_garbage_frame_is_found(lab: &Lab) -> Result<()> {
    is_found(lab, "frame", "garbage")
}

/// A Deny first and an Allow after it for the same case: the first counts.
pub(crate) fn a_second_answer_changes_nothing(lab: &Lab) -> Result<()> {
    is_found(lab, "double", "foreign-answer")
}

/// Allows every case near those that it is asked about, so also those that only others are asked.
pub(crate) fn a_forged_answer_changes_nothing(lab: &Lab) -> Result<()> {
    is_found(lab, "forge", "foreign-answer")
}

pub(crate) fn a_late_answer_changes_nothing(lab: &Lab) -> Result<()> {
    is_found(lab, "late", "late-answer")
}
