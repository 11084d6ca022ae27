//! The folder in which kernels and root file systems are kept from one run to the next.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};

/// The folder, held by this process alone while something is made in it.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// The folder `wanted`, else `outrigger-vm` in the user's cache folder.
    pub(crate) fn open(wanted: Option<PathBuf>) -> Result<Self> {
        let folder = match wanted {
            Some(folder) => folder,
            None => users_cache()?.join("outrigger-vm"),
        };
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// What is kept under `name`; made by `make`, in a folder that it is given and in which it leaves it
    /// under the name that it returns, if it is not there.
    pub(crate) fn get(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<PathBuf>,
    ) -> Result<PathBuf> {
        let kept = self.folder.join(name);
        let lock = File::create(self.folder.join("lock"))?;
        rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
        if !kept.exists() {
            let workshop = tempfile::tempdir_in(&self.folder)?;
            let made = make(workshop.path())?;
            // As a whole or not at all: whoever finds it may use it.
            fs::rename(&made, &kept)?;
        }
        Ok(kept)
    }
}

fn users_cache() -> Result<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("XDG_CACHE_HOME")
        .or_else(|| Some(named("HOME")?.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: name a folder in OUTRIGGER_VM_CACHE")
}

/// Runs a command; gives what it printed.
///
/// # Errors
///
/// If it is not there or fails; holds the end of what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = match command.output() {
        Ok(done) => done,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("{program} is not installed; run: tools/setup.sh vm")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot start {program}")),
    };
    let said = String::from_utf8_lossy(&done.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let end = lines[lines.len().saturating_sub(10)..].join("\n");
    ensure!(done.status.success(), "{program} ended with {}:\n{end}", done.status);
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
