//! One scenario, played in a world of its own.
//!
//! The release before is in force and decides, beside an engine of somebody else's. Eight threads open files all the
//! time. Each release is published to a signed repository, spoilt where the scenario says so, and taken by
//! `outrigger update apply`; as soon as preflight is over the repository is gone, so that whatever follows happens
//! without it. A release that preflight would stop, and that a scenario wants to see further, is laid into its slot as
//! preflight leaves it, and the host is asked for its trial as the command asks it.

use std::cell::Cell;
use std::fs;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outrigger_api::control::{EngineState, Request, Response, Status};
use outrigger_api::release::{Part, State};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::publisher::{Told, update, update_watched};
use outrigger_testkit::{Lab, clock};
use outrigger_update::store::Release as Entry;

use crate::bad;
use crate::judge;
use crate::load::Load;
use crate::outcome::{Ended, Outcome};
use crate::scenario::{Release, Scenario, Stage, Supply};
use crate::settings::Settings;
use crate::site::{self, Site};
use crate::watch::{self, Watched};

/// Longest wait for something that must come about.
const PATIENCE: Duration = Duration::from_secs(40);

/// Plays `scenario`.
pub(crate) fn play(lab: &Lab, scenario: &Scenario, settings: &Settings) -> Result<Outcome> {
    let began = Instant::now();
    let mut outcome = Outcome {
        id: scenario.id.clone(),
        like: scenario.like.clone(),
        what: scenario.what.clone(),
        ..Outcome::default()
    };
    let site = match Site::start(lab, scenario, settings)? {
        Ok(site) => site,
        Err(why) => return Ok(Outcome { skipped: Some(why), ..outcome }),
    };
    ensure!(!site.lets_through(), "the release before does not decide");
    let before = site.host.status()?;
    let load = Load::start(site.files.clone());
    let mut course = Course {
        site: &site,
        scenario,
        load: &load,
        in_force: [site::CODE.to_owned(), site::CONTENT.to_owned()],
    };
    for (number, release) in scenario.release.iter().enumerate() {
        let ended = course.offer(number, release, &mut outcome.wrong)?;
        outcome.releases.push(ended);
    }
    judge::history(&site, scenario, &mut outcome)?;
    let after = site.host.status()?;
    let seen = load.stop()?;
    judge::all(&mut outcome, scenario, settings, [&before, &after], &seen);
    if site.lets_through() {
        outcome.wrong.push("what must be refused is let through after it".to_owned());
    }
    site.host.end()?;
    outcome.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(outcome)
}

struct Course<'a> {
    site: &'a Site,
    scenario: &'a Scenario,
    load: &'a Load,
    /// The versions in force, of code and of content.
    in_force: [String; 2],
}

/// What the way of a release left.
struct Went {
    /// What the command said; `None` where there was no command.
    told: Option<Told>,
    offline: bool,
}

impl Course<'_> {
    /// Offers `release`, the scenario's `number`th, and follows it to its end.
    fn offer(
        &mut self,
        number: usize,
        release: &Release,
        wrong: &mut Vec<String>,
    ) -> Result<Ended> {
        let site = self.site;
        let engine = self.scenario.engine.name();
        let place = usize::from(release.part == Part::Content);
        let version = match release.part {
            Part::Code => format!("0.{}.0", number + 2),
            Part::Content => format!("1.{}.0", number + 1),
        };
        let copy = site.publisher.folder().join("before");
        if release.supply == Supply::RolledBack {
            bad::copy(&site.publisher, &copy)?;
        }
        site.publish(release, &version)?;
        let package = site.package(release, &version);
        bad::spoil(release.supply, &site.publisher, Some(&copy), &package, &site.config)?;

        let shared = self.load.shared();
        // It is done from this release's own step on.
        shared.rare.store(false, SeqCst);
        let refused = shared.wrong.load(SeqCst);
        let watched = Watched {
            engine,
            part: release.part,
            version: &version,
            before: &self.in_force[place],
            blind: site::is_blind(&release.words),
            rare_from: self.scenario.rare.map(|rare| rare.from),
        };
        let began = Instant::now();
        let (way, noticed) = watch::over(site, shared, &watched, || {
            let way = match release.preflight_passes {
                true => self.past_preflight(release, &version)?,
                false => self.by_command(release)?,
            };
            self.settle(&watched)?;
            Ok(way)
        })?;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let entry = watch::entry(site, engine, release.part, &version)?;
        let recovery_ms = match &entry {
            Some(entry) => noticed.recovery_ms(site, engine, entry)?,
            None => None,
        };
        let ended = Ended {
            release: format!("{} {version}", release.part),
            what: release.what.clone(),
            stage: stage(entry.as_ref()),
            expected: release.expect.stage,
            steps: steps(entry.as_ref()),
            told: told(&way, entry.as_ref()),
            told_again: self.again(release)?,
            recovery_ms,
            took_ms,
            offline: way.offline,
            wrong_denials: shared.wrong.load(SeqCst) - refused,
        };
        judge::release(&ended, release, &noticed, wrong);
        if ended.stage == Stage::Active {
            self.in_force[place] = version;
        } else {
            let active = site.releases.active(engine, release.part)?.version.to_string();
            let before = &self.in_force[place];
            if active != *before {
                wrong.push(format!("{active} is in force and not {before}"));
            }
        }
        Ok(ended)
    }

    /// Has it taken by the command that operators use.
    fn by_command(&self, release: &Release) -> Result<Went> {
        let repository = self.site.publisher.repository();
        let away = repository.with_extension("away");
        let offline = Cell::new(false);
        let arguments = ["apply", self.scenario.engine.name(), "--part", release.part.name()];
        let told = update_watched(&self.site.config, &arguments, |line| {
            // Nothing that follows may need it.
            if line["step"] == "preflight" && !offline.get() {
                fs::rename(&repository, &away)?;
                offline.set(true);
            }
            Ok(())
        })?;
        if offline.get() {
            fs::rename(&away, &repository)?;
        }
        Ok(Went { told: Some(told), offline: offline.get() })
    }

    /// Has it tried as if it had passed preflight.
    fn past_preflight(&self, release: &Release, version: &str) -> Result<Went> {
        let site = self.site;
        let package = fs::read(site.package(release, version))?;
        let staged = site.releases.stage_package(&package)?;
        let repository = site.publisher.repository();
        let away = repository.with_extension("away");
        fs::rename(&repository, &away)?;
        let engine = self.scenario.engine.name().parse()?;
        let releases = vec![staged.name.clone()];
        site.host.ask(&Request::Trial { engine, releases, emergency: false })?;
        wait_for("the trial's end", PATIENCE, || {
            let Response::Trials { trials } = site.host.ask(&Request::Trials)? else {
                anyhow::bail!("the host does not tell its trials")
            };
            Ok(trials.is_empty().then_some(()))
        })?;
        fs::rename(&away, &repository)?;
        Ok(Went { told: None, offline: true })
    }

    /// Waits until nothing is under way any more: the journal has its end, and every engine is docked.
    fn settle(&self, watched: &Watched<'_>) -> Result<()> {
        wait_for("the end of its way", PATIENCE, || {
            let entry = watch::entry(self.site, watched.engine, watched.part, watched.version)?;
            let under_way = entry.is_some_and(|entry| {
                matches!(entry.state, State::Preflight | State::Shadow | State::Probation)
            });
            let Status { engines, .. } = self.site.host.status()?;
            let docked = engines.iter().all(|engine| engine.state == EngineState::Docked);
            Ok((!under_way && docked).then_some(()))
        })?;
        // The watcher looks once more, after this.
        clock::sleep_until(clock::now() + 20_000_000);
        Ok(())
    }

    /// Has it offered again, if it is to be remembered; what the operator reads then.
    fn again(&self, release: &Release) -> Result<Option<String>> {
        let expect = &release.expect;
        let was_seen = !matches!(expect.stage, Stage::Repository | Stage::Active);
        if !was_seen || !expect.remembered {
            return Ok(None);
        }
        let arguments = ["apply", self.scenario.engine.name(), "--part", release.part.name()];
        let told = update(&self.site.config, &arguments)?;
        Ok(Some(last(&told)))
    }
}

fn stage(entry: Option<&Entry>) -> Stage {
    let Some(entry) = entry else { return Stage::Repository };
    let last = entry.transitions.last();
    match entry.state {
        State::Active | State::Retired => Stage::Active,
        State::Rejected => match last.and_then(|step| step.from) {
            Some(State::Probation | State::Active) => Stage::Probation,
            Some(State::Shadow) => Stage::Shadow,
            Some(State::Preflight) => {
                let reason = last.and_then(|step| step.reason.as_deref());
                if reason == Some("schema") { Stage::Schema } else { Stage::Preflight }
            }
            _ => Stage::Package,
        },
        // It was offered, and what was sent of it was not taken.
        _ => Stage::Repository,
    }
}

fn steps(entry: Option<&Entry>) -> Vec<String> {
    let steps = entry.into_iter().flat_map(|entry| &entry.transitions);
    steps.map(|step| step.to.name().to_owned()).collect()
}

/// The last line that the operator reads: of the command, or of the history.
fn told(way: &Went, entry: Option<&Entry>) -> String {
    if let Some(told) = &way.told {
        return last(told);
    }
    let step = entry.and_then(|entry| entry.transitions.last());
    step.map_or_else(String::new, |step| {
        let reason = step.reason.as_deref().map(|reason| format!("{reason}: "));
        format!("{}: {}{}", step.to, reason.unwrap_or_default(), step.detail)
    })
}

/// The last step that it told which did not go well; else the last, else its errors.
fn last(told: &Told) -> String {
    let steps = || told.lines.iter().rev().filter(|line| line.get("step").is_some());
    let line = steps().find(|line| line["good"] == false).or_else(|| steps().next());
    line.map_or_else(
        || told.errors.trim().to_owned(),
        |line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("step"), text("detail"))
        },
    )
}
