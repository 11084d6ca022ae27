//! The volumes under the protected trees, and their marks.
//!
//! A volume is a file system. It is marked as a whole (`FAN_MARK_FILESYSTEM`): a mark on a mount can
//! be walked around by any user. The trees are paths of the mount namespace in which protection was
//! started; what is mounted below them later is found in that namespace's mount table and marked then.
//!
//! File systems whose server can keep a reader waiting (FUSE, network) get a group of their own, so
//! that a server that is stopped holds up nobody but its own users.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use outrigger_api::Event;
use outrigger_api::coverage::VolumeCoverage;
use outrigger_api::settings::{ProtectConfig, ProtectMode};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::group::{Group, Mask, descriptor_path};
use crate::identity;
use crate::mounts::{Mount, device_name, mount_of};
use crate::page::{GROUPS_MAX, Page};

/// Types that hold no files of anybody's: nothing there is opened for its content.
const PSEUDO: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];
/// Types whose opens never wait for a server. Any other type is taken to wait for one.
const LOCAL: &[&str] = &[
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660",
    "jfs", "ntfs3", "overlay", "ramfs", "reiserfs", "squashfs", "tmpfs", "udf", "vfat", "xfs",
    "zfs",
];
/// Types on which the race test proved that a cached verdict never lies (`docs/adr/0003`).
const CACHEABLE: &[&str] = &["ext4", "tmpfs"];

/// One file system under a protected tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `major << 32 | minor`.
    pub device: u64,
    /// Where it is mounted; the first place found.
    pub point: PathBuf,
    /// Its type.
    pub fs_type: String,
    /// Index of the group that asks about it; `None` if it is not covered.
    pub group: Option<usize>,
    /// How it is protected.
    pub mode: ProtectMode,
    /// Whether an Allow may be cached.
    pub cacheable: bool,
    /// Why it is not covered or not cached.
    pub reason: Option<String>,
}

impl Volume {
    /// The file system of `mount`, not covered yet.
    fn of(mount: &Mount, mode: ProtectMode) -> Self {
        Self {
            device: mount.device,
            point: mount.point.clone(),
            fs_type: mount.fs_type.clone(),
            group: None,
            mode,
            cacheable: CACHEABLE.contains(&mount.fs_type.as_str()),
            reason: None,
        }
    }

    /// Whether opening a file of it can wait for a server.
    pub fn can_block(&self) -> bool {
        !LOCAL.contains(&self.fs_type.as_str())
    }

    /// The volume as the operator sees it.
    pub fn coverage(&self) -> VolumeCoverage {
        VolumeCoverage {
            path: self.point.display().to_string(),
            fs_type: self.fs_type.clone(),
            device: device_name(self.device),
            covered: self.group.is_some(),
            cached: self.group.is_some() && self.cacheable,
            left_out: self.mode == ProtectMode::Off,
            reason: self.reason.clone(),
        }
    }
}

/// The marks in force.
#[derive(Debug)]
pub struct Volumes {
    page: Page,
    /// The root directory of the namespace that protection was started in.
    origin: OwnedFd,
    mask: Mask,
    /// Whether groups made here report pidfds.
    pidfds: bool,
    marked: BTreeMap<u64, Volume>,
    /// Whether marks of a host before this one were looked for.
    inherited_looked_at: bool,
}

/// What a [`Volumes::refresh`] changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Volumes that are asked about from now on.
    pub covered: Vec<Volume>,
    /// Volumes under a protected tree that are not, new since the last refresh.
    pub uncovered: Vec<Volume>,
    /// Volumes that the configuration leaves out, new since the last refresh.
    pub left_out: Vec<Volume>,
    /// Volumes that left the protected trees.
    pub gone: Vec<Volume>,
}

/// Opens the root directory of this process's mount namespace, for look-ups from another one.
///
/// # Errors
///
/// Those of `open(2)`.
pub fn namespace_root() -> io::Result<OwnedFd> {
    Ok(openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

impl Volumes {
    /// No volume yet. `origin` is the namespace's root that paths are looked up from.
    pub fn new(page: Page, origin: OwnedFd, mask: Mask, pidfds: bool) -> Self {
        Self { page, origin, mask, pidfds, marked: BTreeMap::new(), inherited_looked_at: false }
    }

    /// Asks about other events from now on, on every volume that is covered; [`Volumes::refresh`] covers those
    /// that nobody was asked about before.
    ///
    /// # Errors
    ///
    /// What hindered the last volume that hindered it: that one is asked about what it was before, and is
    /// covered no more, so that the next refresh tries it again.
    pub fn ask(&mut self, mask: Mask) -> io::Result<()> {
        let before = std::mem::replace(&mut self.mask, mask);
        if before == mask {
            return Ok(());
        }
        let mut result = Ok(());
        let (more, less) = (mask.without(before), before.without(mask));
        let covered: Vec<Volume> =
            self.marked.values().filter(|volume| volume.group.is_some()).cloned().collect();
        for volume in covered {
            if let Err(error) = self.change_mark(&volume, more, less) {
                result = Err(error);
            }
            if mask == Mask::default() {
                self.forget_cover(volume.device);
            }
        }
        result
    }

    fn change_mark(&mut self, volume: &Volume, more: Mask, less: Mask) -> io::Result<()> {
        let changed = || {
            let point = self.open_point(&volume.point)?;
            let path = descriptor_path(point.as_raw_fd());
            let group = volume.group.and_then(|index| self.page.header().group(index));
            let group = group.ok_or(io::ErrorKind::NotFound)?;
            if more != Mask::default() {
                group.mark_file_system(&path, more)?;
            }
            if less != Mask::default() {
                group.unmark_file_system(&path, less)?;
            }
            Ok(())
        };
        changed().inspect_err(|_: &io::Error| self.forget_cover(volume.device))
    }

    /// The volume is not asked about, as far as is known.
    fn forget_cover(&mut self, device: u64) {
        if let Some(volume) = self.marked.get_mut(&device) {
            volume.group = None;
        }
    }

    /// The volumes known, covered or not.
    pub fn iter(&self) -> impl Iterator<Item = &Volume> {
        self.marked.values()
    }

    /// Marks what is under `trees` now and was not, drops what is not any more.
    ///
    /// `opened` is told of a group that was made for a file system that can block, before that asks
    /// anything: whoever must not wait for it has its mounts ignored there.
    pub fn refresh(
        &mut self,
        mounts: &[Mount],
        protect: &ProtectConfig,
        opened: &dyn Fn(Group),
    ) -> Changes {
        let wanted = wanted(mounts, &protect.trees);
        let mut changes = Changes::default();
        if !std::mem::replace(&mut self.inherited_looked_at, true) {
            self.drop_inherited(mounts, &wanted, protect);
        }
        for (device, mount) in &wanted {
            let known = self.marked.get(device);
            if known.is_some_and(|volume| volume.group.is_some()) {
                continue;
            }
            let mode = protect.volume(&mount.point, &mount.fs_type);
            let volume = self.cover(mount, mounts, mode, opened);
            if known == Some(&volume) {
                continue;
            }
            let list = match volume.group {
                Some(_) => &mut changes.covered,
                None if mode == ProtectMode::Off => &mut changes.left_out,
                None => &mut changes.uncovered,
            };
            list.push(volume.clone());
            self.marked.insert(*device, volume);
        }
        let gone: Vec<u64> =
            self.marked.keys().copied().filter(|device| !wanted.contains_key(device)).collect();
        for device in gone {
            if let Some(volume) = self.marked.remove(&device) {
                self.uncover(&volume);
                changes.gone.push(volume);
            }
        }
        changes
    }

    /// Makes the groups of file systems that can block and are protected, and marks nothing. For who
    /// starts processes that are to ignore every group, before he does.
    pub fn make_groups(
        &mut self,
        mounts: &[Mount],
        protect: &ProtectConfig,
        opened: &dyn Fn(Group),
    ) {
        if self.mask == Mask::default() {
            return;
        }
        for mount in wanted(mounts, &protect.trees).into_values() {
            let mode = protect.volume(&mount.point, &mount.fs_type);
            let volume = Volume::of(mount, mode);
            if mode != ProtectMode::Off && volume.can_block() {
                // What hinders it is told when the volume cannot be covered.
                let _ = self.group_for(&volume, opened);
            }
        }
    }

    /// Takes away the marks that a host before this one set under another configuration.
    fn drop_inherited(
        &self,
        mounts: &[Mount],
        wanted: &BTreeMap<u64, &Mount>,
        protect: &ProtectConfig,
    ) {
        let every = Mask::of(Event::ALL.iter().copied().collect());
        let stays = |mount: &&Mount| {
            wanted.contains_key(&mount.device)
                && protect.volume(&mount.point, &mount.fs_type) != ProtectMode::Off
        };
        for mount in mounts.iter().filter(|mount| !stays(mount)) {
            let Ok(point) = self.open_point(&mount.point) else { continue };
            let path = descriptor_path(point.as_raw_fd());
            for (_, group) in self.page.header().groups() {
                // Most have none.
                let _ = group.unmark_file_system(&path, every);
            }
        }
    }

    fn cover(
        &self,
        mount: &Mount,
        mounts: &[Mount],
        mode: ProtectMode,
        opened: &dyn Fn(Group),
    ) -> Volume {
        let mut volume = Volume::of(mount, mode);
        if mode == ProtectMode::Off {
            volume.reason = Some("left out by the configuration".to_owned());
            return volume;
        }
        if !volume.cacheable {
            volume.reason = Some(format!("no cache on {}: every open is asked", volume.fs_type));
        }
        if mode == ProtectMode::Monitor {
            let why = volume.reason.take().map(|why| format!("; {why}")).unwrap_or_default();
            volume.reason = Some(format!("monitor: nothing is refused here{why}"));
        }
        match self.mark(&volume, mounts, opened) {
            Ok(group) => volume.group = Some(group),
            Err(error) => volume.reason = Some(error.to_string()),
        }
        volume
    }

    fn mark(
        &self,
        volume: &Volume,
        mounts: &[Mount],
        opened: &dyn Fn(Group),
    ) -> Result<usize, CoverError> {
        if self.mask == Mask::default() {
            return Err(CoverError::NobodyAsked);
        }
        let below_blocking = mounts.iter().any(|other| {
            !LOCAL.contains(&other.fs_type.as_str())
                && !PSEUDO.contains(&other.fs_type.as_str())
                && volume.point.starts_with(&other.point)
                && volume.point != other.point
        });
        if below_blocking {
            return Err(CoverError::BelowBlocking);
        }
        let point = self.open_point(&volume.point).map_err(CoverError::Reach)?;
        let found = identity::object(point.as_fd()).map_err(CoverError::Reach)?;
        if found.device != volume.device && volume.fs_type != "btrfs" {
            return Err(CoverError::Hidden);
        }
        let index = self.group_for(volume, opened)?;
        let group = self.page.header().group(index).ok_or(CoverError::Groups)?;
        let path = descriptor_path(point.as_raw_fd());
        group.mark_file_system(&path, self.mask).map_err(CoverError::Mark)?;
        let every = Mask::of(Event::askable().collect());
        if every != self.mask {
            // A host before this one may have asked about more. Most have not.
            let _ = group.unmark_file_system(&path, every.without(self.mask));
        }
        Ok(index)
    }

    /// Group 0 for local file systems; for another its own, made at first need and found again by a
    /// later host through the shared page.
    fn group_for(&self, volume: &Volume, opened: &dyn Fn(Group)) -> Result<usize, CoverError> {
        if !volume.can_block() {
            return Ok(0);
        }
        let header = self.page.header();
        let device = |index: usize| header.devices[index].load(Ordering::Acquire);
        if let Some(index) = (1..GROUPS_MAX)
            .find(|&index| device(index) == volume.device && header.group(index).is_some())
        {
            return Ok(index);
        }
        let index = (1..GROUPS_MAX)
            .find(|&index| header.group(index).is_none())
            .ok_or(CoverError::Groups)?;
        let group = Group::open(self.pidfds).map_err(CoverError::Mark)?;
        if let Some(slot) = self.page.slot(group.number()) {
            slot.set(crate::page::SlotState::Fixed);
            self.page.note_used(group.number());
        }
        header.devices[index].store(volume.device, Ordering::Release);
        header.set_group(index, Some(group));
        opened(group);
        Ok(index)
    }

    fn uncover(&self, volume: &Volume) {
        let Some(index) = volume.group else { return };
        let Some(group) = self.page.header().group(index) else { return };
        // Where the file system is gone, its mark went with it.
        if let Ok(point) = self.open_point(&volume.point) {
            let same = identity::object(point.as_fd()).is_ok_and(|o| o.device == volume.device);
            if same {
                let _ = group.unmark_file_system(&descriptor_path(point.as_raw_fd()), self.mask);
            }
        }
    }

    /// Opens a mount point of the origin's namespace without asking anybody (`O_PATH`).
    ///
    /// # Errors
    ///
    /// Those of `open(2)`.
    pub fn open_point(&self, point: &Path) -> io::Result<OwnedFd> {
        let relative = point.strip_prefix("/").unwrap_or(point);
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let path = CString::new(relative.as_os_str().as_bytes())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(openat(&self.origin, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
    }
}

/// Why a volume is not covered.
#[derive(Debug, thiserror::Error)]
enum CoverError {
    #[error("no engine is asked about any event")]
    NobodyAsked,
    #[error("its mount point cannot be reached: {0}")]
    Reach(io::Error),
    #[error("it is hidden under another mount")]
    Hidden,
    #[error("it is mounted below a file system that can block")]
    BelowBlocking,
    #[error("the kernel refused the mark: {0}")]
    Mark(io::Error),
    #[error("more than {} file systems that can block", GROUPS_MAX - 1)]
    Groups,
}

/// The file systems that hold the trees or are mounted below them, each at its first place.
fn wanted<'a>(mounts: &'a [Mount], trees: &[PathBuf]) -> BTreeMap<u64, &'a Mount> {
    let mut wanted = BTreeMap::new();
    for tree in trees {
        let holding = mount_of(mounts, tree);
        let below = mounts.iter().filter(|mount| mount.point.starts_with(tree));
        for mount in holding.into_iter().chain(below) {
            if !PSEUDO.contains(&mount.fs_type.as_str()) {
                wanted.entry(mount.device).or_insert(mount);
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(device: u64, point: &str, fs_type: &str) -> Mount {
        Mount { device, point: point.into(), fs_type: fs_type.into() }
    }

    #[test]
    fn a_tree_wants_its_own_volume_and_those_below_it_but_no_pseudo_ones() {
        let table = [
            mount(1, "/", "ext4"),
            mount(2, "/data", "xfs"),
            mount(3, "/data/proc", "proc"),
            mount(4, "/data/more", "tmpfs"),
            mount(5, "/other", "tmpfs"),
        ];

        let wanted = wanted(&table, &["/data/sub".into(), "/data".into()]);

        assert_eq!(wanted.keys().copied().collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_type_nobody_knows_is_taken_to_block() {
        let volume = |fs_type| Volume::of(&mount(1, "/x", fs_type), ProtectMode::Enforce);

        assert!(volume("newfs").can_block());
        assert!(volume("fuse").can_block());
        assert!(!volume("ext4").can_block());
    }
}
