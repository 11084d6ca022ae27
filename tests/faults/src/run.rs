//! The rows one after the other, each in a world of its own.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_testkit::floor;
use outrigger_testkit::matrix::{self, say};

use crate::outcome::Outcome;
use crate::play::play;
use crate::row::{ROWS, Row};
use crate::settings::Settings;
use crate::table;

/// Plays what `settings` says; `flags` are what a process inside a world is told of it.
///
/// # Errors
///
/// If a row cannot be played at all.
pub fn run(settings: &Settings, flags: &[String]) -> Result<ExitCode> {
    if let Some(fault) = &settings.inside {
        return inside(fault, settings);
    }
    let wanted = |row: &&Row| {
        settings.filters.is_empty() || settings.filters.iter().any(|word| row.fault.contains(word))
    };
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    ensure!(!rows.is_empty(), "no row has one of {:?} in its name", settings.filters);
    if settings.list {
        rows.iter().for_each(|row| say(settings.json, row.fault));
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(rustix::process::geteuid().is_root(), "needs root: only root may answer for files");
    floor::available()?;

    let start = Instant::now();
    say(settings.json, &table::head());
    let mut outcomes = Vec::new();
    for row in rows {
        let outcome = again_if_late(row, settings, flags)?;
        say(settings.json, &table::of(&outcome));
        outcomes.push(outcome);
    }
    let skipped = outcomes.iter().filter(|outcome| outcome.skipped.is_some()).count();
    let held = outcomes.iter().filter(|outcome| outcome.holds()).count() - skipped;
    let broken = outcomes.len() - held - skipped;
    let took = start.elapsed().as_secs_f64();
    let sum = format!("{held} rows held, {broken} did not, {skipped} SKIPPED, in {took:.0} s");
    say(settings.json, &sum);
    if settings.json {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &outcomes)?;
        writeln!(out)?;
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays a row, and once more if all that was wrong is that something took too long: other work on the machine can
/// do that too, but hardly twice.
fn again_if_late(row: &Row, settings: &Settings, flags: &[String]) -> Result<Outcome> {
    let outcome = in_a_world(row, settings, flags)?;
    if outcome.late.is_empty() || !outcome.wrong.is_empty() {
        return Ok(outcome);
    }
    say(settings.json, &format!("{}\n    it is played AGAIN", table::of(&outcome)));
    in_a_world(row, settings, flags)
}

fn in_a_world(row: &Row, settings: &Settings, flags: &[String]) -> Result<Outcome> {
    let played = matrix::apart(row.fault, flags, Duration::from_secs(settings.limit_s))?;
    let broken = |why: String| Outcome {
        fault: row.fault.to_owned(),
        wrong: vec![why],
        ..Outcome::default()
    };
    Ok(played.unwrap_or_else(broken))
}

/// In the world: plays the row, and leaves what came of it where it is told.
fn inside(fault: &str, settings: &Settings) -> Result<ExitCode> {
    let row = ROWS.iter().find(|row| row.fault == fault).context("there is no such row")?;
    let file = settings.outcome.as_ref().context("--inside needs --outcome")?;
    matrix::inside(fault, file, |lab| play(lab, row, settings))
}
