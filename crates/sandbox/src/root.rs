//! The root of a confined process, made ahead of it.
//!
//! The host makes every mount detached: cloned from the source, attributes set, ignored by its
//! fanotify groups, on no path. The child only moves them into place. So nothing is looked up, or
//! opened, by a process that has no ignore marks yet.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, mkdirat, mknodat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use crate::confinement::Bind;
use crate::error::StartError;
use crate::sys;

/// The mounts of a new root, detached.
#[derive(Debug)]
pub(crate) struct Root {
    /// What the others stand on.
    pub(crate) tmpfs: OwnedFd,
    pub(crate) places: Vec<Place>,
}

/// One mount and where it goes.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) mount: OwnedFd,
    /// Relative to the root.
    pub(crate) target: CString,
    pub(crate) kind: Kind,
}

/// What may be done with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Code,
    Device,
}

/// What the tmpfs may hold: folders and empty files to mount on.
const TMPFS_BYTES: &str = "256k";

const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// Marks to set: the groups and the events that they ignore on every mount of the root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ignore<'a> {
    pub(crate) groups: &'a [RawFd],
    pub(crate) mask: u64,
}

impl Root {
    /// The attribute that the tmpfs gets once everything stands on it.
    pub(crate) const FROZEN: u64 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as u64;

    /// Makes the mounts of `binds` and of the devices. All descriptors get numbers from `least` up.
    pub(crate) fn build(
        binds: &[Bind],
        ignore: Ignore<'_>,
        least: RawFd,
    ) -> Result<Self, StartError> {
        let tmpfs = new_tmpfs(least).map_err(StartError::prepare("make a tmpfs"))?;
        ignore.mount(&tmpfs)?;
        let devices = DEVICES.map(|path| (Bind::data(path, path), Kind::Device));
        let named = binds
            .iter()
            .map(|bind| (bind.clone(), if bind.execute { Kind::Code } else { Kind::Data }));
        let mut wanted: Vec<_> = devices.into_iter().chain(named).collect();
        wanted.sort_by(|(a, _), (b, _)| a.target.cmp(&b.target));
        wanted.dedup();
        refuse_overlap(wanted.iter().map(|(bind, _)| bind.target.as_path()))?;

        let places = wanted
            .into_iter()
            .map(|(bind, kind)| Place::make(&tmpfs, &bind, kind, ignore, least))
            .collect::<Result<_, _>>()?;
        Ok(Self { tmpfs, places })
    }
}

impl Place {
    fn make(
        tmpfs: &OwnedFd,
        bind: &Bind,
        kind: Kind,
        ignore: Ignore<'_>,
        least: RawFd,
    ) -> Result<Self, StartError> {
        let source = bind.source.display();
        let mount = clone_mount(&bind.source, kind, least)
            .map_err(StartError::prepare(format!("bind {source}")))?;
        ignore.mount(&mount)?;
        let relative = bind.target.strip_prefix("/").unwrap_or(&bind.target);
        make_mount_point(tmpfs, relative, &mount).map_err(StartError::prepare(format!(
            "make the mount point {}",
            bind.target.display()
        )))?;
        let target = CString::new(relative.as_os_str().as_bytes())
            .map_err(|_| StartError::Nul(bind.target.display().to_string()))?;
        Ok(Self { mount, target, kind })
    }
}

impl Ignore<'_> {
    fn mount(self, mount: &OwnedFd) -> Result<(), StartError> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let path = CString::new(format!("/proc/self/fd/{}", mount.as_raw_fd()))
            .map_err(|reason| StartError::Nul(reason.to_string()))?;
        self.groups.iter().try_for_each(|group| {
            sys::ignore_mount(*group, self.mask, &path)
                .map_err(StartError::prepare("have the fanotify groups ignore a mount"))
        })
    }
}

fn new_tmpfs(least: RawFd) -> io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"size", TMPFS_BYTES)?;
    fsconfig_set_string(&context, c"mode", c"0755")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(fcntl_dupfd_cloexec(&mount, least)?)
}

/// A detached clone of the mount that `source` lies on, with `source` as its root.
fn clone_mount(source: &Path, kind: Kind, least: RawFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, source, flags)?;
    let common = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let attributes = common
        | match kind {
            Kind::Data => MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            Kind::Code => MountAttrFlags::MOUNT_ATTR_NODEV,
            Kind::Device => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        };
    sys::set_mount_attributes(mount.as_fd(), u64::from(attributes.bits()))?;
    Ok(fcntl_dupfd_cloexec(&mount, least)?)
}

/// Makes the folders down to `target`, and there a folder or an empty file, as `mount` is.
///
/// The file is made by mknod, not opened: an open could be a question to the host's own sensor.
fn make_mount_point(tmpfs: &OwnedFd, target: &Path, mount: &OwnedFd) -> io::Result<()> {
    let folder = Mode::from_raw_mode(0o755);
    let mut parents: Vec<_> = target.ancestors().skip(1).collect();
    parents.reverse();
    for parent in parents.into_iter().filter(|p| !p.as_os_str().is_empty()) {
        accept_existing(mkdirat(tmpfs, parent, folder))?;
    }
    let stat = rustix::fs::statat(mount, c"", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return accept_existing(mkdirat(tmpfs, target, folder));
    }
    let file = Mode::from_raw_mode(0o444);
    accept_existing(mknodat(tmpfs, target, FileType::RegularFile, file, 0))
}

fn accept_existing(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Refuses a target at or below another one. The targets come sorted.
fn refuse_overlap<'a>(targets: impl Iterator<Item = &'a Path>) -> Result<(), StartError> {
    let mut last: Option<&Path> = None;
    for target in targets {
        if last.is_some_and(|last| target.starts_with(last)) {
            return Err(StartError::Overlap(target.to_owned()));
        }
        last = Some(target);
    }
    Ok(())
}

/// The paths that exist in a root made of these binds: what may be opened without a refusal.
pub(crate) fn visible(binds: &[Bind]) -> Vec<PathBuf> {
    let devices = DEVICES.iter().map(PathBuf::from);
    binds.iter().map(|bind| bind.target.clone()).chain(devices).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_with_a_common_beginning_do_not_overlap() {
        let targets = ["/content", "/content2", "/lib/a", "/lib/b"].map(Path::new);

        assert!(refuse_overlap(targets.into_iter()).is_ok());
    }

    #[test]
    fn a_target_below_another_is_refused() {
        let targets = ["/content", "/content/more"].map(Path::new);

        assert!(matches!(refuse_overlap(targets.into_iter()), Err(StartError::Overlap(_))));
    }
}
