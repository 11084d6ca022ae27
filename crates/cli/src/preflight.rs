//! `outrigger preflight`: tries an engine and its content as an update would, and installs nothing.
//!
//! For a vendor before a release, and for an administrator who wants to know again what an update found.
//! It is the very preflight of `outrigger update`, in the sandbox that the host gives the engine.

mod evidence;
mod rules;
mod sandboxed;

use std::fs::File;
use std::io::{Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use outrigger_api::release::Part;
use outrigger_api::settings::{
    FILE_MAX, Manifest, PreflightConfig, RELEASE_FILE, Release, UpdatesConfig,
};
use outrigger_sensor::recording::Corpus;
use outrigger_update::content::{Code, Declaration};
use outrigger_update::preflight::{self, Candidate, Corpora, Limits, Offered, Progress, Report};
use semver::Version;

use crate::replay::{self, BUDGET_MS, shown};
use crate::run::{Outcome, UsageError};
use crate::text;
pub(crate) use evidence::Events;
pub(crate) use sandboxed::Sandboxed;

/// What is tried, and on what.
#[derive(Debug, clap::Args)]
pub(crate) struct PreflightArguments {
    /// The engine's manifest
    #[arg(long, value_name = "MANIFEST")]
    engine: PathBuf,
    /// The folder with the engine's rules or signatures; with the `release.toml` of a package in it, what
    /// that says of the content counts as well
    #[arg(long, value_name = "DIR")]
    content_dir: Option<PathBuf>,
    /// The corpus of what is known to be good
    #[arg(long, value_name = "CORPUS")]
    known_good: Option<PathBuf>,
    /// A recording of this machine's own events
    #[arg(long, value_name = "CORPUS")]
    own: Option<PathBuf>,
    /// Longest time for one question; 500 where the engine reads content, else 50
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    budget_ms: Option<u64>,
    /// Fewest recorded events that must have been answered; the default of `updates.toml`
    #[arg(long, value_name = "N")]
    samples_min: Option<u32>,
    /// Longest time for the whole of it; the default of `updates.toml`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1000..=600_000))]
    total_ms: Option<u32>,
    /// Longest verdict of 99 in a hundred; the default of `updates.toml`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    p99_ms: Option<u32>,
}

/// Tries, and prints the report to `out`.
///
/// # Errors
///
/// [`UsageError`] for a manifest or a recording that is none.
pub(crate) fn run(
    arguments: &PreflightArguments,
    json: bool,
    out: &mut impl Write,
) -> Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        bail!(UsageError(
            "run outrigger preflight as root: engines are tried in their sandbox".into()
        ));
    }
    let usage = |error: &dyn std::fmt::Display| UsageError(error.to_string());
    let manifest = Manifest::read(&arguments.engine).map_err(|errors| usage(&errors))?;
    let version: Version = manifest.version.parse().map_err(|error| {
        let engine = shown(&arguments.engine);
        UsageError(format!("{engine}: version {:?} is not like 1.2.3: {error}", manifest.version))
    })?;
    let content = arguments.content_dir.as_deref().map(std::fs::canonicalize).transpose();
    let content = content.context(UsageError("the content folder".into()))?;
    let release = content.as_deref().map(release).transpose()?.flatten();
    let head = release.as_ref().and_then(|release| release.content.as_ref());
    let declared = head.map(Declaration::from);
    let config = config(arguments);
    let limits = Limits::new(&config, budget(arguments, &manifest));
    let scratch = scratch(&std::env::temp_dir())?;
    let candidate = Candidate {
        part: if content.is_some() { Part::Content } else { Part::Code },
        code: Code { version: &version, manifest: &manifest },
        content: content.as_deref().map(|folder| Offered {
            version: release.as_ref().map(|release| &release.version),
            folder,
            declared: declared.as_ref(),
        }),
        scratch: scratch.path(),
    };
    let open = |path: &Option<PathBuf>| path.as_deref().map(replay::open).transpose();
    let (known_good, own) = (open(&arguments.known_good)?, open(&arguments.own)?);
    let bar = replay::bar(0, "{msg}");
    let mut progress = |Progress { check, done, of }: Progress| {
        bar.set_message(check.name());
        bar.set_length(of.unwrap_or_default().max(done));
        bar.set_position(done);
    };
    let report = tried(&candidate, known_good.as_ref(), own.as_ref(), &limits, &mut progress)?;
    bar.finish_and_clear();
    if json {
        writeln!(out, "{}", text::visible_json(&serde_json::to_string(&report)?))?;
    } else {
        out.write_all(text::visible_lines(&report.to_string()).as_bytes())?;
    }
    Ok(if report.passed { Outcome::Good } else { Outcome::Bad })
}

/// What the content in `folder` says of itself, if it is a package's.
fn release(folder: &Path) -> Result<Option<Release>> {
    let file = folder.join(RELEASE_FILE);
    if !file.try_exists().with_context(|| shown(&file))? {
        return Ok(None);
    }
    let mut text = String::new();
    // One more than is taken, so that too long a file shows.
    let opened = File::open(&file).map(|file| file.take(FILE_MAX + 1));
    let read = opened.and_then(|mut file| file.read_to_string(&mut text));
    read.with_context(|| UsageError(shown(&file)))?;
    Ok(Some(Release::parse(&text, &file).map_err(|errors| UsageError(errors.to_string()))?))
}

/// Tries `candidate` on what is in the two corpora, in its sandbox; `progress` is told how far it is.
///
/// # Errors
///
/// If a corpus cannot be read.
pub(crate) fn tried(
    candidate: &Candidate<'_>,
    known_good: Option<&Corpus>,
    own: Option<&Corpus>,
    limits: &Limits,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    let with_content = candidate.code.manifest.content;
    let mut known_good = Events::of(known_good, with_content, true)?;
    let mut own = Events::of(own, with_content, false)?;
    let corpora = Corpora { known_good: &mut known_good, own: &mut own };
    let mut engine = Sandboxed::new(candidate.code.manifest.clone(), limits.budget);
    Ok(preflight::run(candidate, corpora, &mut engine, limits, progress))
}

/// An empty folder in `parent` that an engine's user can look into, for content that is made up.
///
/// # Errors
///
/// If it cannot be made.
pub(crate) fn scratch(parent: &Path) -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("outrigger-preflight-").tempdir_in(parent);
    let folder = folder.with_context(|| format!("no folder in {}", parent.display()))?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
        .with_context(|| shown(folder.path()))?;
    Ok(folder)
}

fn config(arguments: &PreflightArguments) -> PreflightConfig {
    let config = UpdatesConfig::default().preflight;
    PreflightConfig {
        samples_min: arguments.samples_min.unwrap_or(config.samples_min),
        total_ms: arguments.total_ms.unwrap_or(config.total_ms),
        p99_ms: arguments.p99_ms.unwrap_or(config.p99_ms),
        ..config
    }
}

fn budget(arguments: &PreflightArguments, manifest: &Manifest) -> Duration {
    let (with_content, without) = BUDGET_MS;
    let default = if manifest.content { with_content } else { without };
    Duration::from_millis(arguments.budget_ms.unwrap_or(default))
}
