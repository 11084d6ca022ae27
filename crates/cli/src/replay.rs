//! `outrigger replay`: recorded events through one engine, without a kernel and without root.
//!
//! The report says nothing that another run would not say: counts, denials, disagreements, a sum over all
//! samples and verdicts. Times are on standard error, or in the report if asked for.

pub(crate) mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use outrigger_api::settings::Manifest;
use outrigger_sensor::recording::{Corpus, Kept};
use outrigger_supervisor::replay::{
    IN_FLIGHT_MAX, Limits, PlainLauncher, Replay, ReplayError, spec,
};

use crate::run::{Outcome, UsageError};
use crate::text;
use report::{Made, Report, Timings};

/// Budget where the engine reads content, and where it does not; the host's own defaults.
pub(crate) const BUDGET_MS: (u64, u64) = (500, 50);
/// How many samples pass between two looks at the progress bar.
const PROGRESS_STEP: u64 = 1024;

/// What is replayed, and by what rules.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArguments {
    /// The recorded events: what `outrigger record` writes
    #[arg(value_name = "CORPUS")]
    corpus: PathBuf,
    /// The engine's manifest
    #[arg(long, value_name = "MANIFEST")]
    engine: PathBuf,
    /// The folder with the engine's rules or signatures
    #[arg(long, value_name = "DIR")]
    content_dir: Option<PathBuf>,
    /// Longest time for one question; 500 where the engine reads content, else 50
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    budget_ms: Option<u64>,
    /// Questions in flight at a time; with 1 each latency is exact
    #[arg(long, value_name = "N", default_value_t = IN_FLIGHT_MAX)]
    in_flight: usize,
    /// Say how long it took in the report as well, which then differs from run to run
    #[arg(long)]
    timings: bool,
}

/// The engine could not be replayed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ReplayFailed(String);

/// Replays, and prints the report to `out`.
///
/// # Errors
///
/// [`UsageError`] for a manifest or a recording that is none, [`ReplayFailed`] for an engine that does not
/// dock.
pub(crate) fn run(
    arguments: &ReplayArguments,
    json: bool,
    out: &mut impl std::io::Write,
) -> Result<Outcome> {
    let manifest = Manifest::read(&arguments.engine).map_err(|errors| usage(&errors))?;
    let corpus = open(&arguments.corpus)?;
    let spec = spec(manifest, arguments.content_dir.as_deref().map(absolute).transpose()?);
    let with_content = spec.manifest.content;
    let budget_ms =
        arguments.budget_ms.unwrap_or(if with_content { BUDGET_MS.0 } else { BUDGET_MS.1 });
    let limits = Limits {
        budget: budget_ms.saturating_mul(1_000_000),
        in_flight: arguments.in_flight,
        ..Limits::default()
    };
    let mut report = Report::new(Made {
        engine: spec.manifest.name.to_string(),
        version: spec.manifest.version.clone(),
        budget_ms,
        corpus: &corpus,
    });
    let mut replay =
        Replay::start(spec, Box::new(PlainLauncher), limits).map_err(|error| failed(&error))?;
    let bar = bar(corpus.counts().samples, "samples");
    let mut samples = corpus.samples(with_content).with_context(|| shown(&arguments.corpus))?;
    let began = Instant::now();
    let asked = replay.ask(&mut samples, &mut |outcome| {
        if outcome.place % PROGRESS_STEP == 0 {
            bar.set_position(outcome.place);
        }
        report.take(outcome);
    });
    let took = began.elapsed();
    bar.finish_and_clear();
    if let Some(error) = samples.take_failure() {
        return Err(anyhow::Error::new(error).context(shown(&arguments.corpus)));
    }
    match asked {
        // How far it came is in the report.
        Ok(()) | Err(ReplayError::Gone { .. }) => {}
        Err(error) => return Err(failed(&error).into()),
    }
    report.end(replay.end(), samples.lacking());
    let timings = report.timings(took);
    let shown_timings = arguments.timings.then_some(&timings);
    if json {
        writeln!(out, "{}", text::visible_json(&report.to_json(shown_timings)))?;
    } else {
        out.write_all(report.to_text(shown_timings).as_bytes())?;
    }
    if !arguments.timings {
        say_timings(&timings);
    }
    Ok(if report.is_good() { Outcome::Good } else { Outcome::Bad })
}

/// Opens a recording, with a progress bar while it is read for the first time.
pub(crate) fn open(path: &Path) -> Result<Corpus> {
    let bar = bar(0, "bytes");
    let corpus = Corpus::open(path, &mut |read, all| {
        bar.set_length(all);
        bar.set_position(read);
    });
    bar.finish_and_clear();
    corpus.map_err(|error| anyhow::Error::new(error).context(UsageError(shown(path))))
}

/// A progress bar on a terminal's standard error; nothing elsewhere.
pub(crate) fn bar(length: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let template = format!("{{wide_bar}} {{human_pos}} of {{human_len}} {what} {{eta}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

fn say_timings(timings: &Timings) {
    use std::io::Write as _;
    // Nothing is left to do if even the error stream is closed.
    let _ = writeln!(anstream::stderr(), "{}", text::visible(&timings.line()));
}

fn failed(error: &ReplayError) -> ReplayFailed {
    let mut told = error.to_string();
    if let ReplayError::NotDocked { lines, .. } = error {
        for line in lines {
            told.push_str("\n  it said: ");
            told.push_str(line);
        }
    }
    ReplayFailed(told)
}

fn usage(error: &impl std::fmt::Display) -> UsageError {
    UsageError(error.to_string())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    // The engine is started elsewhere.
    std::fs::canonicalize(path).with_context(|| UsageError(shown(path)))
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What is kept of a corpus, for a person.
pub(crate) fn kept(kept: Kept) -> &'static str {
    match kept {
        Kept::Nothing => "no content",
        Kept::Sums => "content by its sums",
        Kept::Bytes => "content",
    }
}

/// Events per second.
pub(crate) fn rate(events: u64, took: Duration) -> u64 {
    let ns = took.as_nanos().max(1);
    u64::try_from(u128::from(events).saturating_mul(1_000_000_000) / ns).unwrap_or(u64::MAX)
}
