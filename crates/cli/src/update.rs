//! `outrigger update`: what is offered, getting it, trying it out, putting it in force.
//!
//! ```text
//!  source ──▶ course ────────────────────────────────▶ force
//!  a publisher's   one engine's releases: offered,     the host swaps the engine's process and makes the
//!  repository      verified, staged, tried out         release active; without a host the journal alone does
//! ```
//!
//! All of it happens in this process. The host is asked only at the end, for a release that has passed
//! everything, so whatever becomes of an update, by a crash, a kill or a full disk, deciding goes on as it was.

mod course;
mod force;
mod source;
mod story;
mod trial;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::settings::{RepositoryConfig, SettingsErrors, UpdatesConfig};
use outrigger_update::store::{Store, StoreError};

use crate::arguments::{Arguments, UpdateCommand};
use crate::run::Outcome;
use crate::steps::{Step, Steps};
use source::Source;

/// What the commands work on.
struct Site<'a> {
    arguments: &'a Arguments,
    config: UpdatesConfig,
}

/// The command line names what `updates.toml` does not, or that file is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    /// The file.
    #[error(transparent)]
    Settings(#[from] SettingsErrors),
    /// An engine that no repository releases.
    #[error("no repository in {} releases {engine}; it releases: {known}", file.display())]
    Unknown {
        /// The engine.
        engine: EngineName,
        /// The file.
        file: PathBuf,
        /// What it names.
        known: String,
    },
    /// Slots and journal are root's.
    #[error("run outrigger update as root: it changes what engines run")]
    NotRoot,
}

/// Whether `error` is one of this machine's folders and files, and not of the host.
pub(crate) fn is_trouble(error: &anyhow::Error) -> bool {
    error.is::<StoreError>() || error.is::<std::io::Error>() || error.is::<SettingsErrors>()
}

/// Does `command` as `file` says, and prints what comes of it to `out`.
pub(crate) fn run(
    arguments: &Arguments,
    command: &UpdateCommand,
    file: &Path,
    out: &mut impl Write,
) -> Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        return Err(UpdateError::NotRoot.into());
    }
    let config = UpdatesConfig::read(file).map_err(UpdateError::Settings)?;
    let mut steps = Steps::new(out, arguments.json);
    let site = Site { arguments, config };
    match command {
        UpdateCommand::History { engine } => {
            let reader = Store::open_read(&site.config.state_dir)?;
            story::tell(&reader, engine.as_ref(), &mut steps)
        }
        UpdateCommand::Check { engines } => {
            known(&site.config, engines, file)?;
            check(&site, engines, &mut steps)
        }
        UpdateCommand::Apply { engines, part } => {
            known(&site.config, engines, file)?;
            let mut good = true;
            each(&site, engines, &mut steps, &mut good, |source, engine, steps| {
                course::take(&site, source, engine, *part, steps)
            })?;
            Ok(Outcome::good_if(good))
        }
    }
}

/// Refuses an engine that nobody releases here: a typing error must not look like "nothing new".
fn known(config: &UpdatesConfig, engines: &[EngineName], file: &Path) -> Result<(), UpdateError> {
    let unknown = engines.iter().find(|engine| config.repository_of(engine).is_none());
    let Some(engine) = unknown else { return Ok(()) };
    let all = config.repositories.iter().flat_map(|repository| &repository.engines);
    let known: Vec<&str> = all.map(EngineName::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(UpdateError::Unknown { engine: engine.clone(), file: file.to_owned(), known })
}

/// Asks each repository once, and has `act` done for each of the `engines` wanted that it releases (all, if
/// none is named). A repository that refuses is told and does not stop the others.
fn each(
    site: &Site<'_>,
    engines: &[EngineName],
    steps: &mut Steps<'_>,
    good: &mut bool,
    mut act: impl FnMut(&mut Source, &EngineName, &mut Steps<'_>) -> Result<bool>,
) -> Result<()> {
    for repository in &site.config.repositories {
        let wanted: Vec<&EngineName> = repository
            .engines
            .iter()
            .filter(|engine| engines.is_empty() || engines.contains(engine))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let mut source = match ask(site, repository, steps)? {
            Some(source) => source,
            None => {
                *good = false;
                continue;
            }
        };
        for engine in wanted {
            *good &= act(&mut source, engine, steps)?;
        }
    }
    Ok(())
}

/// The repository, asked; `None` if it was refused, which is told.
fn ask(
    site: &Site<'_>,
    repository: &RepositoryConfig,
    steps: &mut Steps<'_>,
) -> Result<Option<Source>> {
    steps.turning(&format!("asking {}", repository.name));
    match Source::open(&site.config, repository, Timestamp::now()) {
        Ok(source) => Ok(Some(source)),
        Err(refusal) => {
            let detail = format!("{}: {refusal}. {}", refusal.name(), refusal.advice());
            steps.done(&Step {
                step: "refused",
                of: &repository.name,
                good: false,
                detail: &detail,
            })?;
            Ok(None)
        }
    }
}

fn check(site: &Site<'_>, engines: &[EngineName], steps: &mut Steps<'_>) -> Result<Outcome> {
    let reader = Store::open_read(&site.config.state_dir)
        .with_context(|| format!("cannot read {}", site.config.state_dir.display()))?;
    let mut rows = Vec::new();
    let mut good = true;
    each(site, engines, steps, &mut good, |source, engine, steps| {
        story::offered(&reader, source, engine, steps, &mut rows)
    })?;
    story::tell_offers(&rows, steps)?;
    Ok(Outcome::good_if(good))
}
