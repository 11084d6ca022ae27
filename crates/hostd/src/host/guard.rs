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
use outrigger_decision::guard::{GuardRails, Layout, Spare};

use super::grants::key_of;

/// The guard rails of this machine.
#[derive(Debug)]
pub(crate) struct Guard {
    rails: GuardRails,
    /// The platform's own programs and the engines'.
    programs: Vec<PathBuf>,
}

impl Guard {
    /// What the machine needs to live, the platform's own files and the engines' among it, less what
    /// the administrator lifted.
    pub(crate) fn new(config: &HostConfig, manifests: &[Manifest]) -> Self {
        let mut extra: Vec<PathBuf> = config.guard.extra.clone();
        extra.push(config.state_dir.clone());
        extra.extend(config.engines.iter().filter_map(|engine| engine.content_dir.clone()));
        let engines = manifests.iter().map(|manifest| manifest.program.clone());
        let programs: Vec<PathBuf> = std::env::current_exe().into_iter().chain(engines).collect();
        extra.extend(programs.iter().cloned());
        Self { rails: GuardRails::new(&extra, &config.guard.lifted), programs }
    }

    /// Whether a file that is said to be called `path` would be guarded.
    pub(crate) fn claims(&self, path: &[u8]) -> bool {
        self.rails.covers(path)
    }

    /// The guard as it goes into the rules of engines.
    pub(crate) fn spare(&self) -> Spare {
        let programs = self.programs.iter().map(|path| path.as_os_str().as_bytes());
        self.rails.spare(&layout(), programs)
    }

    /// Whether the object is guarded, under the path that the kernel gives for it.
    pub(crate) fn covers(&self, origin: BorrowedFd<'_>, path: &Path, key: FileKey) -> bool {
        let key_at = |path: &[u8]| key_of(origin, Path::new(OsStr::from_bytes(path)));
        self.rails.check(path.as_os_str().as_bytes(), key, key_at)
    }
}

/// Where this machine keeps its programs and libraries.
fn layout() -> Layout {
    let is_link =
        |path: &str| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let multiarch = below.map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-"))
    });
    let folders = ["lib", "lib32", "lib64", "libx32"];
    let folders = folders.iter().flat_map(|name| [format!("/usr/{name}"), format!("/{name}")]);
    let folders = folders.map(PathBuf::from).chain(multiarch);
    let real = folders.filter_map(|path| std::fs::canonicalize(path).ok());
    let mut libraries: Vec<String> =
        real.filter_map(|path| path.into_os_string().into_string().ok()).collect();
    libraries.sort_unstable();
    libraries.dedup();
    Layout { is_merged: is_link("/bin"), libraries }
}
