//! Files of the real machine that no engine may deny, brought onto a protected file system for one world.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::mount::mount_bind;
use serde::Deserialize;

use crate::{Volume, binaries};

/// A file that no engine may deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victim {
    /// One that every program looks into.
    System,
    /// The package manager, which brings the next update.
    Updater,
    /// The program of the engine that attacks (`engines/hostile`).
    Itself,
    /// The program of the engine of the hash lists.
    OtherEngine,
}

impl Victim {
    /// The file, with every link resolved; `None` if this machine has none.
    ///
    /// # Errors
    ///
    /// If an engine is not built.
    pub fn path(self) -> Result<Option<PathBuf>> {
        let known = |names: &[&str]| names.iter().map(PathBuf::from).find(|path| path.is_file());
        let path = match self {
            Self::System => known(&["/etc/passwd"]),
            Self::Updater => known(&["/usr/bin/dpkg", "/usr/bin/rpm", "/sbin/apk"]),
            Self::Itself => Some(binaries::path(binaries::HOSTILE)?),
            Self::OtherEngine => Some(binaries::path(binaries::HASHLIST)?),
        };
        Ok(path.map(|path| path.canonicalize()).transpose()?)
    }

    /// Puts a copy of the real file on `volume` in the file's place, for this world alone: only there is it guarded,
    /// and only `volume` is asked about. Gives that place; `None` if this machine has no such file.
    ///
    /// # Errors
    ///
    /// If the copy cannot be made or mounted.
    pub fn bring(self, volume: &Volume) -> Result<Option<PathBuf>> {
        let Some(path) = self.path()? else { return Ok(None) };
        let copy = volume.put(&format!("victim-{self:?}"), &fs::read(&path)?)?;
        mount_bind(&copy, &path)
            .with_context(|| format!("cannot mount over {}", path.display()))?;
        Ok(Some(path))
    }
}
