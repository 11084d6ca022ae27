//! Every event of the catalogue, caused: is it told, and do rules decide it?
//!
//! Each is caused by a process of its own that is of a known user and began as a known program. Once it has to be told,
//! with the right subject and object. Then rules deny it, by its object, by the user and by the lineage in turn: the act
//! that one of them matches fails with EPERM, and the one that none matches succeeds.
//!
//! What was seen is told as a fact per event. What the platform claims and was not seen is a failure.

mod actor;
mod acts;
mod expected;
mod eyes;
pub(crate) mod scene;
mod sys;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use outrigger_api::coverage::{EventCoverage, Level};
use outrigger_api::{Event, Mode};
use outrigger_decision::rules::{Effect, Rule, Source};
use outrigger_sensor::notice::RuleOutcome;
use outrigger_sensor::plane::Trial;
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
            cause(event, number)?;
            Ok(String::new())
        });
    }
    Ok(())
}

/// Causes an event, in a folder of this number.
pub(crate) fn cause(event: Event, number: usize) -> Result<()> {
    let way = Way { object: number.is_multiple_of(2), user: true, lineage: true };
    let scene = Scene::new(event, way, number)?;
    let errno = Actor::prepare(&scene)?.act()?;
    ensure!(errno == 0, "it failed: {}", std::io::Error::from_raw_os_error(errno));
    Ok(())
}

/// Causes every event, and tells what came of it.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    scene::build()?;
    let asked = outrigger_sensor::coverage::probe();
    let mut eyes = Eyes::open()?;
    for (number, &event) in Event::ALL.iter().enumerate() {
        let asked = asked.iter().find(|claim| claim.event == event.name());
        let claim = Claim::of(event, eyes.trials(), asked.context("it is not in the coverage")?);
        let proven = prove(report, &mut eyes, &claim, number * 10)?;
        say(fact(COVERAGE, &serde_json::to_string(&proven)?));
    }
    Ok(())
}

/// What the platform says that it can do about an event here.
struct Claim {
    event: Event,
    told: bool,
    ruled: bool,
    asked: bool,
    missing: Option<String>,
}

impl Claim {
    fn of(event: Event, trials: &[Trial], coverage: &EventCoverage) -> Self {
        let trial = trials.iter().find(|trial| trial.event == event);
        let refused = |trial: &Trial| {
            let refused = trial.told.as_ref().err().or_else(|| trial.ruled.as_ref().err());
            refused.map(|refused| refused.why.clone())
        };
        Self {
            event,
            told: coverage.told_by.is_some() || trial.is_some_and(|trial| trial.told.is_ok()),
            ruled: trial.is_some_and(|trial| trial.ruled.is_ok()),
            // The probe had an agent refuse one, and saw it refused.
            asked: coverage.level == Level::Ask,
            missing: match trial {
                Some(trial) => refused(trial),
                None => Some("the plane has not tried it".to_owned()),
            },
        }
    }
}

fn prove(report: &mut Report, eyes: &mut Eyes, claim: &Claim, number: usize) -> Result<Proven> {
    let event = claim.event;
    let told = is_told(eyes, event, number, claim.told);
    judge(report, &format!("{event}::is_told"), &told, claim.told);
    let ruled = match claim.ruled {
        true => are_obeyed(eyes, event, number + 1),
        false => Err(anyhow::anyhow!("no program decides it")),
    };
    eyes.let_pass()?;
    judge(report, &format!("{event}::obeys_rules"), &ruled, claim.ruled);
    Ok(Proven {
        event: event.name().to_owned(),
        told: told.is_ok(),
        ruled: ruled.is_ok(),
        asked: claim.asked,
        missing: claim.missing.clone(),
    })
}

/// Rules on the object, the user and the lineage: each alone denies the act that it matches, and says so; an act
/// that is nearly each of them succeeds.
fn are_obeyed(eyes: &mut Eyes, event: Event, number: usize) -> Result<()> {
    let neither = Way { object: false, user: false, lineage: false };
    let tried = [
        ("object", Way { object: true, ..neither }, expected::on_object(event)),
        ("user", Way { user: true, ..neither }, expected::by_user(event)),
        ("lineage", Way { lineage: true, ..neither }, expected::by_lineage(event)),
    ];
    let rules: Vec<Rule> = tried
        .iter()
        .map(|(name, _, when)| Rule {
            name: (*name).to_owned(),
            source: Source::Administrator,
            mode: Mode::Enforce,
            effect: Effect::Deny,
            events: vec![event],
            when: when.clone(),
        })
        .collect();
    let ways = tried.iter().map(|(name, way, _)| (*name, *way)).chain([("none", neither)]);
    for (place, (name, way)) in ways.enumerate() {
        let why = || format!("the rule on {name}");
        // The process comes as far as its act without rules.
        eyes.let_pass()?;
        let scene = Scene::new(event, way, number + place)?;
        let mut actor = Actor::prepare(&scene).with_context(why)?;
        let pid = actor.pid();
        eyes.forget()?;
        eyes.decide(event, &rules)?;
        let errno = actor.act().with_context(why)?;
        if way == neither {
            let error = std::io::Error::from_raw_os_error(errno);
            ensure!(errno == 0, "an act that no rule matches failed: {error}");
            continue;
        }
        ensure!(errno == libc::EPERM, "{}: errno {errno} and not EPERM", why());
        eyes.find(event, pid, true, &|notice| {
            let said = notice.ruled.map(|ruled| (ruled.outcome, usize::from(ruled.rule)));
            let wanted = Some((RuleOutcome::Denied, place));
            ensure!(said == wanted, "of it is said {said:?} and not {wanted:?}");
            Ok(())
        })
        .with_context(why)?;
    }
    Ok(())
}

/// Tells what came of a trial where something was claimed, or seen without a claim.
fn judge(report: &mut Report, name: &str, seen: &Result<()>, claimed: bool) {
    match (seen, claimed) {
        (Ok(()), _) => report.test(name, || Ok(String::new())),
        (Err(error), true) => report.fail(name, &format!("{error:#}")),
        (Err(_), false) => {}
    }
}

fn is_told(eyes: &mut Eyes, event: Event, number: usize, patient: bool) -> Result<()> {
    let way = Way { object: true, user: true, lineage: true };
    let scene = Scene::new(event, way, number)?;
    let mut actor = Actor::prepare(&scene)?;
    let (pid, target) = (actor.pid(), actor.target());
    eyes.forget()?;
    let errno = actor.act()?;
    ensure!(errno == 0, "the act failed: {}", std::io::Error::from_raw_os_error(errno));
    eyes.find(event, pid, patient, &|notice| expected::check(notice, &scene, target))
}
