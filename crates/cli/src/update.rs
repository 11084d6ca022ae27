//! `outrigger update`: what is offered, getting it, trying it out, sending it on its trial; and the administrator's hand.
//!
//! ```text
//!  source ──▶ choice ──▶ course ───────────────▶ settle ─────────────▶ follow
//!  a publisher's  which     one engine's releases:   tried out, approved,   the host tries it in shadow, then on
//!  repository     release,  offered, verified,       handed to the host     probation, and puts it in force or goes
//!                 when      staged                                          back; here it is looked at
//! ```
//!
//! All of it up to the trial happens in this process, and nothing of it touches what decides. The trial is the
//! host's: whatever becomes of this process, deciding goes on, and so does the trial.

mod choice;
mod course;
mod follow;
mod host;
mod offers;
mod preflight;
mod source;
mod standing;
mod steer;
mod story;
mod turn;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::settings::{RepositoryConfig, SettingsErrors, UpdatesConfig};
use outrigger_update::rollout::Seed;
use outrigger_update::store::{Store, StoreError};
use semver::Version;

use crate::arguments::{Arguments, UpdateCommand};
use crate::run::Outcome;
use crate::steps::{Step, Steps};
use course::Taken;
use source::Source;

/// What the commands work on.
struct Site<'a> {
    arguments: &'a Arguments,
    config: UpdatesConfig,
    /// What tells this machine from others.
    seed: Seed,
    /// Rings and times without updates are not waited for, and the shadow is short.
    emergency: bool,
    /// A trial that has begun is not looked at.
    no_wait: bool,
}

/// The command line names what there is not, or `updates.toml` is wrong.
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
    /// A machine that stands in a ring has nothing that tells it from others.
    #[error(
        "nothing tells this machine from others in its ring: {file}: {why}; write `seed = \"…\"` below [rollout]"
    )]
    NoSeed {
        /// Where that is looked for.
        file: &'static str,
        /// Why it is not there.
        why: String,
    },
    /// No such release was ever offered here.
    #[error(
        "no {version} of {engine} was ever offered here; `outrigger update history {engine}` lists what was"
    )]
    NoSuchRelease {
        /// The engine.
        engine: EngineName,
        /// The version.
        version: Version,
    },
    /// What names neither one package nor one release.
    #[error(
        "{what:?} names no package: give the 64 hexadecimal digits of its SHA-256, or an engine and a version; \
         `outrigger update status` lists what is known to be bad"
    )]
    NoPackage {
        /// What was written.
        what: String,
    },
}

/// Whether `error` is one of this machine's folders and files, and not of the host.
pub(crate) fn is_trouble(error: &anyhow::Error) -> bool {
    error.is::<StoreError>()
        || error.is::<std::io::Error>()
        || error.is::<SettingsErrors>()
        || error.is::<turn::Busy>()
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
    let seed = choice::seed(&config)?;
    let mut site = Site { arguments, config, seed, emergency: false, no_wait: false };
    match command {
        UpdateCommand::History { engine, version } => {
            let reader = Store::open_read(&site.config.state_dir)?;
            story::tell(&reader, engine.as_ref(), version.as_ref(), &mut steps)
        }
        UpdateCommand::Check { engines } => {
            known(&site.config, engines, file)?;
            check(&site, engines, &mut steps)
        }
        UpdateCommand::Apply { engines, part, emergency, no_wait } => {
            known(&site.config, engines, file)?;
            (site.emergency, site.no_wait) = (*emergency, *no_wait);
            // The store makes the folder, where there is none yet.
            drop(turn::open(&site.config.state_dir)?);
            let _turn = turn::Turn::take(&site.config.state_dir)?;
            let mut good = true;
            each(&site, engines, &mut steps, &mut good, |source, engine, steps| {
                course::take(&site, source, engine, *part, steps)
            })?;
            Ok(Outcome::good_if(good))
        }
        UpdateCommand::Status => standing::tell(&site, &mut steps),
        UpdateCommand::Stop { engine } => steer::stop(&site, engine, &mut steps),
        UpdateCommand::Back { engine, part } => steer::back(&site, engine, *part, &mut steps),
        UpdateCommand::Approve { engine, part, version } => {
            steer::approve(&site, engine, *part, version.as_ref(), &mut steps)
        }
        UpdateCommand::ForgetBad { what, version } => {
            steer::forget_bad(&site, what, version.as_ref(), &mut steps)
        }
    }
}

/// A time of the wall clock, to the second, in UTC.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
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
    mut act: impl FnMut(&mut Source, &EngineName, &mut Steps<'_>) -> Result<Taken>,
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
            let taken = act(&mut source, engine, steps)?;
            *good &= taken == Taken::Well;
            if taken == Taken::Left {
                return Ok(());
            }
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
        let asked = offers::look(site, &reader, source, engine, steps, &mut rows)?;
        Ok(if asked { Taken::Well } else { Taken::Badly })
    })?;
    offers::tell(&rows, steps)?;
    Ok(Outcome::good_if(good))
}
