//! Every event of the catalogue, caused: is it told, and do rules decide it?
//!
//! Each is caused by a process of its own that is of a known user and began as a known program. Once it has to be told,
//! with the right subject and object. Then rules deny it, by its object, by the user and by the lineage in turn: the act
//! that one of them matches fails with EPERM, and the one that none matches succeeds.
//!
//! What was seen is told as a fact per event. What [`outrigger_sensor::coverage`] claims and was not seen is a
//! failure.

mod actor;
mod acts;
mod expected;
mod eyes;
mod scene;
mod sys;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use outrigger_api::Event;
use outrigger_api::coverage::{EventCoverage, Level};
use outrigger_vm_tests::{COVERAGE, Proven, fact};

use self::actor::Actor;
use self::eyes::Eyes;
use self::scene::{Scene, Way};
use crate::report::{Report, say};

/// The process that acts, by its arguments.
pub(crate) fn act(event: &str, user: &str, object: &str, target: &str) -> ExitCode {
    acts::play(event, user, object, target)
}

/// Causes every event with nobody looking.
pub(crate) fn causes(report: &mut Report) -> Result<()> {
    scene::build()?;
    for (number, &event) in Event::ALL.iter().enumerate() {
        report.test(&format!("{event}::is_caused"), || {
            let way = Way { object: number % 2 == 0, user: true, lineage: true };
            let scene = Scene::new(event, way, number)?;
            let errno = Actor::prepare(&scene)?.act()?;
            ensure!(errno == 0, "it failed: {}", std::io::Error::from_raw_os_error(errno));
            Ok(String::new())
        });
    }
    Ok(())
}

/// Causes every event, and tells what came of it.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    scene::build()?;
    let claims = outrigger_sensor::coverage::probe();
    let mut eyes = Eyes::open()?;
    for (number, &event) in Event::ALL.iter().enumerate() {
        let claim = claims.iter().find(|claim| claim.event == event.name());
        let claim = claim.with_context(|| format!("nothing is claimed of {event}"))?;
        let proven = prove(report, &mut eyes, event, claim, number * 10)?;
        say(fact(COVERAGE, &serde_json::to_string(&proven)?));
    }
    Ok(())
}

fn prove(
    report: &mut Report,
    eyes: &mut Eyes,
    event: Event,
    claim: &EventCoverage,
    number: usize,
) -> Result<Proven> {
    let told = is_told(eyes, event, number);
    judge(report, &format!("{event}::is_told"), &told, claim.told_by.is_some());
    Ok(Proven {
        event: event.name().to_owned(),
        told: told.is_ok(),
        ruled: false,
        // The probe had an agent refuse one, and saw it refused.
        asked: claim.level == Level::Ask,
        missing: claim.not_told.clone().or_else(|| claim.not_ruled.clone()),
    })
}

/// Tells what came of a trial where something was claimed, or seen without a claim.
fn judge(report: &mut Report, name: &str, seen: &Result<()>, claimed: bool) {
    match (seen, claimed) {
        (Ok(()), _) => report.test(name, || Ok(String::new())),
        (Err(error), true) => report.fail(name, &format!("{error:#}")),
        (Err(_), false) => {}
    }
}

fn is_told(eyes: &mut Eyes, event: Event, number: usize) -> Result<()> {
    let way = Way { object: true, user: true, lineage: true };
    let scene = Scene::new(event, way, number)?;
    let mut actor = Actor::prepare(&scene)?;
    let (pid, target) = (actor.pid(), actor.target());
    eyes.forget()?;
    let errno = actor.act()?;
    ensure!(errno == 0, "the act failed: {}", std::io::Error::from_raw_os_error(errno));
    eyes.find(event, pid, &|notice| expected::check(notice, &scene, target))
}
