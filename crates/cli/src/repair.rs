//! `outrigger repair`: safe mode, and signed instructions for machines that cannot be reached otherwise.
//!
//! Signing needs the administrator's private key and no host: it is done wherever that key is kept. Checking and
//! listing need what the host has, its settings and its state folder, and no host that runs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use jiff::Timestamp;
use outrigger_api::control::Request;
use outrigger_api::key::EngineName;
use outrigger_api::settings::{SettingsErrors, UpdatesConfig};
use outrigger_update::publish::{Key, KeyError, PublicKey};
use outrigger_update::repair::{
    self, Circumstances, REPAIR_ENDING, REPAIR_FILE_MAX, RepairRefusal, SignRepairError,
};

use crate::run::{Outcome, UsageError};
use crate::steps::{Step, Steps};

/// Longest reason that is shown of an instruction, in bytes.
const REASON_MAX: u64 = 16 << 10;

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum RepairCommand {
    /// Have engines docked again that are kept off the dock
    LeaveSafeMode {
        /// This engine, which is kept off by name; if not given, safe mode ends for all others
        #[arg(value_name = "ENGINE")]
        engine: Option<EngineName>,
    },
    /// End an engine, or all of them, and dock it no more until that is taken back
    EnterSafeMode {
        /// Only this engine; all of them if not given
        #[arg(value_name = "ENGINE")]
        engine: Option<EngineName>,
    },
    /// Check and sign an instruction; asks no host
    Sign {
        /// The administrator's private key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The instruction
        instruction: PathBuf,
        /// Where what is dropped is written; its name must end in `.repair`
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Say what a signed instruction does, and whether this machine would obey it; asks no host
    Check {
        /// The signed instruction
        file: PathBuf,
    },
    /// Show the instructions that were dropped here, and what became of each; asks no host
    List,
}

/// Something was looked at and refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub(crate) struct RepairFailed {
    act: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

/// Whether a host is asked.
pub(crate) const fn asks(command: &RepairCommand) -> bool {
    matches!(command, RepairCommand::LeaveSafeMode { .. } | RepairCommand::EnterSafeMode { .. })
}

/// What the host is asked.
///
/// # Errors
///
/// If it is asked nothing.
pub(crate) fn request(command: &RepairCommand) -> Result<Request> {
    Ok(match command {
        RepairCommand::LeaveSafeMode { engine } => {
            Request::LeaveSafeMode { engine: engine.clone() }
        }
        RepairCommand::EnterSafeMode { engine } => {
            Request::EnterSafeMode { engine: engine.clone() }
        }
        _ => anyhow::bail!("no host is asked for that"),
    })
}

/// Does what `command` says without a host.
///
/// # Errors
///
/// What was refused, or could not be read or written; [`is_refusal`] tells.
pub(crate) fn run(
    command: &RepairCommand,
    config: &Path,
    json: bool,
    out: &mut impl Write,
) -> Result<Outcome> {
    let mut steps = Steps::new(out, json);
    match command {
        RepairCommand::Sign { key, instruction, out } => sign(key, instruction, out, &mut steps),
        RepairCommand::Check { file } => check(file, config, &mut steps),
        RepairCommand::List => list(config, &mut steps),
        RepairCommand::LeaveSafeMode { .. } | RepairCommand::EnterSafeMode { .. } => {
            anyhow::bail!("a host is asked for that")
        }
    }
}

/// Whether `error` says that something was looked at and refused.
pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<SignRepairError>()
            || cause.is::<RepairRefusal>()
            || cause.is::<KeyError>()
            || cause.is::<SettingsErrors>()
            || cause.is::<RepairFailed>()
    })
}

fn sign(key: &Path, instruction: &Path, out: &Path, steps: &mut Steps<'_>) -> Result<Outcome> {
    if out.extension().is_none_or(|ending| ending != REPAIR_ENDING) {
        let message =
            format!("{}: a host looks at names that end in .{REPAIR_ENDING} alone", out.display());
        return Err(UsageError(message).into());
    }
    let bytes = read(instruction)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| RepairRefusal::Garbage("it is not UTF-8"))
        .with_context(|| instruction.display().to_string())?;
    let key = Key::read(key)?;
    let signed = repair::sign(&key, &text, instruction)?;
    write_new(out, &signed)?;
    let file = out.display().to_string();
    step(steps, "signed", &file, true, &format!("with the key {}", key.id()))?;
    Ok(Outcome::Good)
}

fn check(file: &Path, config: &Path, steps: &mut Steps<'_>) -> Result<Outcome> {
    let updates = UpdatesConfig::read(config)?;
    let name = file.display().to_string();
    let none = || RepairRefusal::NoKey(config.display().to_string());
    let key = PublicKey::read(&updates.repair.key.ok_or_else(none)?)?;
    let instruction = repair::open(&read(file)?, &key, file)?;
    for action in &instruction.actions {
        step(steps, "does", &action.to_string(), true, "")?;
    }
    // The serial of the last that was obeyed is the host's to know.
    let machine = fs::read_to_string("/etc/machine-id").ok();
    let machine = machine.as_deref().map(str::trim);
    let at = Circumstances { last: 0, cut_short: false, now: Timestamp::now(), machine };
    let serial = instruction.serial;
    match repair::judge(&instruction, at) {
        Ok(()) => {
            let detail = format!(
                "serial {serial}: obeyed here, unless one with this serial or a later one was before"
            );
            step(steps, "good", &name, true, &detail)?;
            Ok(Outcome::Good)
        }
        Err(refusal) => {
            step(steps, "refused", &name, false, &refusal.to_string())?;
            Ok(Outcome::Bad)
        }
    }
}

fn list(config: &Path, steps: &mut Steps<'_>) -> Result<Outcome> {
    let updates = match fs::symlink_metadata(config) {
        Ok(_) => UpdatesConfig::read(config)?,
        Err(_) => UpdatesConfig::default(),
    };
    let folder = updates.state_dir.join("repair");
    let failed = |source| RepairFailed { act: "list", path: folder.clone(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.path());
    }
    names.sort();
    let mut outcome = Outcome::Good;
    for path in names {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let state = match ending {
            REPAIR_ENDING => "waits",
            "done" => "done",
            "refused" => "refused",
            _ => continue,
        };
        if state != "done" {
            outcome = Outcome::Bad;
        }
        let told = path.with_extension(format!("{ending}.txt"));
        let mut text = String::new();
        if let Ok(file) = File::open(&told) {
            // One that is not text is not the host's.
            let _ = file.take(REASON_MAX).read_to_string(&mut text);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        step(steps, state, &name, state == "done", text.trim_end())?;
    }
    Ok(outcome)
}

fn step(
    steps: &mut Steps<'_>,
    step: &'static str,
    of: &str,
    good: bool,
    detail: &str,
) -> Result<()> {
    Ok(steps.done(&Step { step, of, good, detail })?)
}

/// The bytes of `path`, one more than any instruction may have at most.
fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| RepairFailed { act: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // Asked before it is opened: to open a pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("not a regular file")).into());
    }
    let file = File::open(path).map_err(failed)?;
    file.take(REPAIR_FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// As a whole or not at all: it may be written to the very folder that a host looks at.
fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| RepairFailed { act: "write", path: path.to_owned(), source };
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&fresh);
        failed(source).into()
    })
}
