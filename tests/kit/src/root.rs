//! A world whose only file system is a tmpfs of its own.
//!
//! Agents that are not ours put marks on whole mounts, or on every file system of a kind, and wait
//! without limit. Where the machine's own file systems are not even mounted, none of that reaches them.
//! [`fill`] makes such a root from an archive, [`exec_in`] enters it and leaves the machine's behind.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::process::{chdir, pivot_root};

use crate::volume::run;
use crate::{World, bait, world};

/// Kinds that may be mounted there besides the one tmpfs: no files of anybody's are in them.
const BESIDES: [&str; 3] = ["proc", "cgroup", "cgroup2"];

/// A tmpfs in `world` with the content of the tar archive, its own `/proc`, and the machine's control groups.
///
/// # Errors
///
/// If it cannot be mounted or the archive not unpacked.
pub fn fill(world: &World, archive: &Path) -> Result<PathBuf> {
    let root = world.folder().join("root");
    fs::create_dir(&root)?;
    mount("root", &root, "tmpfs", MountFlags::empty(), Some(c"mode=0755,size=4g"))
        .context("cannot mount the private root")?;
    run(Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--numeric-owner"])
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(&root))?;
    mount("proc", root.join("proc"), "proc", MountFlags::empty(), None)
        .context("cannot mount /proc in the private root")?;
    for point in mounts()?.iter().filter(|mounted| mounted.kind.starts_with("cgroup")) {
        let inside = root.join(point.point.strip_prefix("/")?);
        fs::create_dir_all(&inside)?;
        mount_bind(&point.point, &inside)
            .with_context(|| format!("cannot bind {}", point.point.display()))?;
    }
    Ok(root)
}

/// Copies a file into the root, executable by everybody.
///
/// # Errors
///
/// If it cannot be read or written.
pub fn copy_into(root: &Path, folder: &str, file: &Path) -> Result<PathBuf> {
    let inside = root.join(folder.trim_start_matches('/'));
    fs::create_dir_all(&inside)?;
    let name = file.file_name().context("a file has a name")?;
    bait::put(&inside.join(name), &fs::read(file)?)?;
    Ok(Path::new(folder).join(name))
}

/// Makes `root` the root of this process's mount namespace, unmounts everything else, and executes
/// `command` there. Returns only if that fails.
///
/// # Errors
///
/// Always: the reason.
pub fn exec_in(root: &Path, command: &mut Command) -> Result<()> {
    // pivot_root(2) refuses mounts whose changes others see.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    chdir(root)?;
    pivot_root(".", ".").context("cannot enter the private root")?;
    // The old root lies over the new one now, and goes with all that is mounted in it.
    unmount(".", UnmountFlags::DETACH).context("cannot leave the machine's root")?;
    chdir("/")?;
    // As on a machine with systemd: what is mounted later is seen by the namespaces made from this one.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)?;
    Err(command.env_remove(world::VARIABLE).exec()).context("cannot start in the private root")
}

/// Whether nothing but a tmpfs and what holds no files is mounted here.
///
/// # Errors
///
/// If something else is; says what and where.
pub fn check_alone() -> Result<()> {
    let mounts = mounts()?;
    let is_root = |mounted: &&Mounted| mounted.point == Path::new("/");
    let root = mounts.iter().filter(is_root).collect::<Vec<_>>();
    ensure!(root.len() == 1 && root[0].kind == "tmpfs", "the root is no tmpfs: {root:?}");
    let is_foreign =
        |mounted: &&Mounted| !is_root(mounted) && !BESIDES.contains(&mounted.kind.as_str());
    let foreign = mounts.iter().filter(is_foreign).collect::<Vec<_>>();
    ensure!(foreign.is_empty(), "the machine's file systems are still in reach: {foreign:?}");
    ensure!(std::process::id() == 1, "this is not the first process of a namespace of its own");
    let own = rustix::fs::statat(CWD, "/proc/1/root", rustix::fs::AtFlags::empty())?;
    let here = rustix::fs::stat("/")?;
    ensure!((own.st_dev, own.st_ino) == (here.st_dev, here.st_ino), "/proc shows another root");
    Ok(())
}

/// One line of the mount table.
#[derive(Debug)]
struct Mounted {
    point: PathBuf,
    kind: String,
}

/// The mount table, proc_pid_mountinfo(5): the fifth field is where, the one after ` - ` the kind.
fn mounts() -> Result<Vec<Mounted>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mounted = |line: &str| {
        let (place, what) = line.split_once(" - ")?;
        let point = PathBuf::from(place.split(' ').nth(4)?);
        Some(Mounted { point, kind: what.split(' ').next()?.to_owned() })
    };
    table.lines().map(|line| mounted(line).with_context(|| format!("not read: {line}"))).collect()
}
