//! Where an act is done and on what: a folder of its own, and in it the object or one that nearly is it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_api::Event;
use outrigger_api::catalogue::ObjectKind;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

/// A file system of its own, in which objects lie: their paths lead over a mount.
pub(crate) const OBJECTS: &str = "/world/objects";
/// The program that acts, and another one of the same content.
pub(super) const ACTOR: &str = "/world/actor";
pub(super) const OTHER_ACTOR: &str = "/world/actor-too";
/// The program that begins the one that acts, and another one of the same content.
pub(super) const BEGINNER: &str = "/world/begun";
pub(super) const OTHER_BEGINNER: &str = "/world/begun-too";
/// What the kernel runs to load a module here.
pub(super) const LOADER: &str = "/world/modprobe";
/// The user that rules are about, and another one.
pub(super) const USER: u32 = 1000;
pub(super) const OTHER_USER: u32 = 1001;

/// How an act is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// On the object and not on what is nearly it.
    pub(super) object: bool,
    /// As the user that rules are about.
    pub(super) user: bool,
    /// By a process that began as the program that rules are about.
    pub(super) lineage: bool,
}

/// A folder for one act.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) event: Event,
    pub(super) way: Way,
    pub(super) folder: PathBuf,
}

/// Makes what all scenes share.
pub(crate) fn build() -> Result<()> {
    fs::create_dir_all(OBJECTS)?;
    mount("tmpfs", OBJECTS, "tmpfs", MountFlags::empty(), None)?;
    // So that a mount can be moved, and another namespace's stay there.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let own = std::env::current_exe()?;
    for (from, to) in [
        (own.as_path(), ACTOR),
        (own.as_path(), OTHER_ACTOR),
        (Path::new("/usr/bin/env"), BEGINNER),
        (Path::new("/usr/bin/env"), OTHER_BEGINNER),
    ] {
        fs::copy(from, to).with_context(|| format!("cannot copy {} to {to}", from.display()))?;
    }
    fs::write(LOADER, "#!/bin/sh\n: >/world/objects/asked\n")?;
    fs::set_permissions(LOADER, fs::Permissions::from_mode(0o755))?;
    fs::write("/proc/sys/kernel/modprobe", LOADER)?;
    Ok(())
}

impl Scene {
    /// Makes a folder for an act, with what it is done on.
    pub(super) fn new(event: Event, way: Way, number: usize) -> Result<Self> {
        let folder = Path::new(OBJECTS).join(format!("{number}-{}", event.name()));
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        let scene = Self { event, way, folder };
        scene.furnish()?;
        Ok(scene)
    }

    /// What the act is done on.
    pub(super) fn object(&self) -> PathBuf {
        self.folder.join(if self.way.object { "object" } else { "nearly" })
    }

    fn furnish(&self) -> Result<()> {
        let object = self.object();
        match self.event {
            Event::FileCreate
            | Event::FileMkdir
            | Event::FileSymlink
            | Event::FileMknod
            | Event::UnixConnect => {}
            Event::FileRmdir
            | Event::MountMount
            | Event::MountUmount
            | Event::MountRemount
            | Event::MountPivot
            | Event::MountChroot => fs::create_dir(&object)?,
            Event::MountMove => {
                fs::create_dir(&object)?;
                fs::create_dir(self.folder.join("from"))?;
            }
            Event::ProcessExec => copy_program("/usr/bin/true", &object)?,
            event if event.object() == ObjectKind::Process => {
                copy_program("/usr/bin/sleep", &object)?;
            }
            event if event.object() == ObjectKind::File => {
                fs::write(&object, [b'x'; 4096])?;
                fs::set_permissions(&object, fs::Permissions::from_mode(0o666))?;
            }
            _ => {}
        }
        let mounted = match self.event {
            Event::MountUmount | Event::MountRemount | Event::MountPivot => Some(object.clone()),
            Event::MountMove => Some(self.folder.join("from")),
            _ => None,
        };
        if let Some(place) = mounted {
            mount("tmpfs", &place, "tmpfs", MountFlags::empty(), None)?;
        }
        if self.event == Event::MountPivot {
            fs::create_dir(object.join("old"))?;
        }
        if self.event == Event::FileRemovexattr {
            let set = rustix::fs::XattrFlags::CREATE;
            rustix::fs::setxattr(&object, super::acts::ATTRIBUTE, b"value", set)?;
        }
        Ok(())
    }

    /// The command by which the process that acts begins.
    pub(super) fn command(&self, target: &str) -> Command {
        let on_system = self.event.object() == ObjectKind::System;
        let actor = if on_system && !self.way.object { OTHER_ACTOR } else { ACTOR };
        let user = if self.way.user { USER } else { OTHER_USER };
        let mut command = Command::new(if self.way.lineage { BEGINNER } else { OTHER_BEGINNER });
        command
            .args([actor, "act", self.event.name(), &user.to_string()])
            .arg(self.object())
            .arg(target);
        command
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // In memory, and of one act only. Mounted there is what the act left.
        for place in [self.object(), self.folder.join("from")] {
            let _ = unmount(place, UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn copy_program(from: &str, to: &Path) -> Result<()> {
    let copied = fs::copy(from, to).with_context(|| format!("cannot copy {from}"))?;
    ensure!(copied > 0, "{from} is empty");
    Ok(())
}
