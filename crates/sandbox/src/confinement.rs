//! What a caller grants to a confined process.

use std::os::fd::{OwnedFd, RawFd};
use std::path::{Component, Path, PathBuf};

use crate::error::StartError;

/// Where the program stands in the root of the confined process.
pub const PROGRAM: &str = "/engine";

/// Descriptors that the process needs besides the granted ones: 0, 1, 2, the loader's and the
/// seccomp listener's, which all must fit under the limit before the program runs.
const SPARE_DESCRIPTORS: usize = 8;

/// Everything a confined process gets. What is not here, it does not have.
#[derive(Debug)]
pub struct Confinement {
    /// Name for the control group, the host's threads and errors: letters, digits, `-`, `_`, `.`;
    /// at most 64 bytes.
    pub name: String,
    /// The program on the host; the process sees it as [`PROGRAM`]. An ELF file; the loader and the
    /// libraries that it needs are found and bound by [`start`](crate::start).
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub arguments: Vec<String>,
    /// Its user, 1 or higher; no other process on the machine should have it.
    pub uid: u32,
    /// Its group, 1 or higher.
    pub gid: u32,
    /// Whether it begins a session of its own: for one that nobody waits for. The kernel shares processors between
    /// sessions first (`man 7 sched`, autogroup), so it takes none of its caller's share; a way from session to
    /// session and back is dearer.
    pub apart: bool,
    /// What its root holds besides the program and its libraries.
    pub read_only: Vec<Bind>,
    /// What it may use up.
    pub limits: Limits,
    /// Descriptors that become 3, 4, … in this order.
    pub descriptors: Vec<OwnedFd>,
    /// Standard input (a pipe's reading end); `/dev/null` if `None`.
    pub input: Option<OwnedFd>,
    /// Standard output and error (a pipe's writing end); `/dev/null` if `None`.
    pub log: Option<OwnedFd>,
    /// fanotify groups that must not hear of what is opened in the new root: each of its mounts
    /// gets a mount ignore mark that survives modification in each of these groups, before the
    /// program is opened. The descriptors stay the caller's and are open during the call.
    pub ignore_groups: Vec<RawFd>,
    /// The events of these marks (`FAN_OPEN_PERM | FAN_OPEN_EXEC_PERM | …`).
    pub ignore_mask: u64,
}

/// A file or folder of the host that stands, read-only, in the root of the confined process.
///
/// One mount is shown: a file system mounted below `source` on the host is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Path on the host.
    pub source: PathBuf,
    /// Absolute path in the root, without `.` or `..`, not below another bind's.
    pub target: PathBuf,
    /// Whether it may be executed or mapped as code.
    pub execute: bool,
}

impl Bind {
    /// Data: cannot be executed nor mapped as code.
    #[must_use]
    pub fn data(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), execute: false }
    }

    /// Code: a program, a library, or a folder of them.
    #[must_use]
    pub fn code(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), execute: true }
    }
}

/// What a confined process may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes, page cache that it causes included. Over it, the process is killed.
    pub memory_bytes: u64,
    /// Threads, the first one included; at least 1.
    pub threads: u32,
    /// Descriptor numbers: the highest one is `descriptors - 1`.
    pub descriptors: u32,
    /// CPU time in percent of one CPU; `None` for no limit.
    pub cpu_percent: Option<u32>,
}

impl Confinement {
    /// Refuses what could not be confined as written, before anything was made.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty()
            || self.name.len() > 64
            || self.name.starts_with('.')
            || !self.name.chars().all(plain)
        {
            return Err(StartError::Name(self.name.clone()));
        }
        if self.uid == 0 || self.gid == 0 || self.uid == u32::MAX || self.gid == u32::MAX {
            return Err(StartError::Identity { uid: self.uid, gid: self.gid });
        }
        if self.limits.threads == 0 {
            return Err(StartError::Threads);
        }
        let least = 3 + self.descriptors.len() + SPARE_DESCRIPTORS;
        if usize::try_from(self.limits.descriptors).unwrap_or(usize::MAX) < least {
            return Err(StartError::Descriptors { limit: self.limits.descriptors, least });
        }
        self.read_only.iter().try_for_each(|bind| check_target(&bind.target))
    }
}

fn check_target(target: &Path) -> Result<(), StartError> {
    let mut parts = target.components();
    let absolute = parts.next() == Some(Component::RootDir);
    let mut names = 0;
    let plain = parts.all(|part| {
        names += 1;
        matches!(part, Component::Normal(_))
    });
    if absolute && plain && names > 0 {
        return Ok(());
    }
    Err(StartError::Target(target.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confinement() -> Confinement {
        Confinement {
            name: "scanner".into(),
            program: "/bin/true".into(),
            arguments: Vec::new(),
            uid: 61_000,
            gid: 61_000,
            apart: false,
            read_only: Vec::new(),
            limits: Limits { memory_bytes: 1, threads: 1, descriptors: 11, cpu_percent: None },
            descriptors: Vec::new(),
            input: None,
            log: None,
            ignore_groups: Vec::new(),
            ignore_mask: 0,
        }
    }

    #[test]
    fn the_smallest_confinement_is_accepted() {
        assert!(confinement().check().is_ok());
    }

    #[test]
    fn root_is_refused_as_identity() {
        let root = Confinement { uid: 0, ..confinement() };

        assert!(matches!(root.check(), Err(StartError::Identity { uid: 0, .. })));
    }

    #[test]
    fn a_name_that_leaves_its_folder_is_refused() {
        let climbing = Confinement { name: "../x".into(), ..confinement() };

        assert!(matches!(climbing.check(), Err(StartError::Name(_))));
    }

    #[test]
    fn a_descriptor_limit_without_room_for_the_loader_is_refused() {
        let mut tight = confinement();
        tight.limits.descriptors = 10;

        assert!(matches!(tight.check(), Err(StartError::Descriptors { limit: 10, least: 11 })));
    }

    #[test]
    fn a_target_with_dots_is_refused() {
        let bind = Bind::data("/tmp", "/content/../etc");
        let climbing = Confinement { read_only: vec![bind], ..confinement() };

        assert!(matches!(climbing.check(), Err(StartError::Target(_))));
    }
}
