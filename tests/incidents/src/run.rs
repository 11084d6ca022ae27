//! The scenarios one after the other, each in a world of its own.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_testkit::floor;
use outrigger_testkit::matrix::{self, say};

use crate::outcome::Outcome;
use crate::play::play;
use crate::scenario::{Scenario, all};
use crate::settings::Settings;
use crate::{page, table};

/// Plays what `settings` says; `flags` are what a process inside a world is told of it.
///
/// # Errors
///
/// If a scenario cannot be played at all.
pub fn run(settings: &Settings, flags: &[String]) -> Result<ExitCode> {
    let all = all()?;
    if let Some(id) = &settings.inside {
        let scenario = all.iter().find(|scenario| scenario.id == *id);
        let scenario = scenario.context("there is no such scenario")?;
        let file = settings.outcome.as_ref().context("--inside needs --outcome")?;
        return matrix::inside(id, file, |lab| play(lab, scenario, settings));
    }
    let wanted = |scenario: &&Scenario| {
        let named = settings.filters.iter().any(|word| scenario.id.contains(word));
        (settings.filters.is_empty() || named) && (!settings.quick || scenario.quick)
    };
    let scenarios: Vec<&Scenario> = all.iter().filter(wanted).collect();
    ensure!(!scenarios.is_empty(), "no scenario has one of {:?} in its name", settings.filters);
    if settings.list {
        scenarios.iter().for_each(|scenario| say(settings.json, &scenario.id));
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        settings.page.is_none() || scenarios.len() == all.len(),
        "a page tells of all scenarios: leave the filters out"
    );
    ensure!(rustix::process::geteuid().is_root(), "needs root: only root may answer for files");
    floor::available()?;

    let start = Instant::now();
    tell(settings, &table::head());
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        let outcome = again_if_late(scenario, settings, flags)?;
        tell(settings, &table::of(&outcome));
        outcomes.push(outcome);
    }
    let skipped = outcomes.iter().filter(|outcome| outcome.skipped.is_some()).count();
    let held = outcomes.iter().filter(|outcome| outcome.holds()).count() - skipped;
    let broken = outcomes.len() - held - skipped;
    let took = start.elapsed().as_secs_f64();
    tell(
        settings,
        &format!("{held} scenarios held, {broken} did not, {skipped} SKIPPED, in {took:.0} s"),
    );
    let report = serde_json::to_string_pretty(&outcomes)?;
    if settings.json {
        say(false, &report);
    }
    if let Some(folder) = settings.report.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&settings.report, report + "\n")
        .with_context(|| format!("cannot write {}", settings.report.display()))?;
    if let Some(file) = &settings.page {
        fs::write(file, page::of(&outcomes)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says it, in colours where that is a terminal.
fn tell(settings: &Settings, text: &str) {
    let choice = match settings.json {
        true => anstream::AutoStream::choice(&std::io::stderr()),
        false => anstream::AutoStream::choice(&std::io::stdout()),
    };
    if choice == anstream::ColorChoice::Never {
        say(settings.json, &anstream::adapter::strip_str(text).to_string());
    } else {
        say(settings.json, text);
    }
}

/// Plays a scenario, and once more if all that was wrong is that something took too long: other work on the machine
/// can do that too, but hardly twice.
fn again_if_late(scenario: &Scenario, settings: &Settings, flags: &[String]) -> Result<Outcome> {
    let outcome = in_a_world(scenario, settings, flags)?;
    if outcome.late.is_empty() || !outcome.wrong.is_empty() {
        return Ok(outcome);
    }
    tell(settings, &format!("{}\n    it is played AGAIN", table::of(&outcome)));
    in_a_world(scenario, settings, flags)
}

fn in_a_world(scenario: &Scenario, settings: &Settings, flags: &[String]) -> Result<Outcome> {
    let played = matrix::apart(&scenario.id, flags, Duration::from_secs(settings.limit_s))?;
    let broken = |why: String| Outcome {
        id: scenario.id.clone(),
        like: scenario.like.clone(),
        what: scenario.what.clone(),
        wrong: vec![why],
        ..Outcome::default()
    };
    Ok(played.unwrap_or_else(broken))
}
