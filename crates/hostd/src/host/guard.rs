//! The guard rails, applied to a real object.
//!
//! A path alone proves nothing: in a mount namespace of his own any user can make a file of his appear
//! at `/usr/bin/sudo`. So the path that the kernel gives for the object is looked up again in the
//! namespace in which protection was started, and must name the same file there.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use outrigger_api::FileKey;
use outrigger_api::settings::{HostConfig, Manifest};
use outrigger_decision::guard::GuardRails;

use super::grants::key_of;

/// The guard rails of this machine.
#[derive(Debug)]
pub(crate) struct Guard {
    rails: GuardRails,
}

impl Guard {
    /// What the machine needs to live, the platform's own files and the engines' among it, less what
    /// the administrator lifted.
    pub(crate) fn new(config: &HostConfig, manifests: &[Manifest]) -> Self {
        let mut extra: Vec<PathBuf> = config.guard.extra.clone();
        extra.extend(std::env::current_exe().ok());
        extra.push(config.state_dir.clone());
        extra.extend(manifests.iter().map(|manifest| manifest.program.clone()));
        Self { rails: GuardRails::new(&extra, &config.guard.lifted) }
    }

    /// Whether the object is guarded, under the path that the kernel gives for it.
    pub(crate) fn covers(&self, origin: BorrowedFd<'_>, path: &Path, key: FileKey) -> bool {
        let key_at = |path: &[u8]| key_of(origin, Path::new(OsStr::from_bytes(path)));
        self.rails.check(path.as_os_str().as_bytes(), key, key_at)
    }
}
