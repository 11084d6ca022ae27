//! Acts on mounts, in the machine's own mount namespace, by which paths are told.

use anyhow::{Result, bail};
use outrigger_api::Event;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MoveMountFlags, UnmountFlags, mount, mount_remount, move_mount, unmount,
};
use rustix::thread::UnshareFlags;

use super::{Act, Stage};
use crate::events::sys;

pub(super) fn prepare(event: Event, stage: &Stage) -> Result<Act> {
    let object = stage.object.clone();
    Ok(match event {
        Event::MountMount => {
            Box::new(move || Ok(mount("tmpfs", object, "tmpfs", MountFlags::NOSUID, None)?))
        }
        Event::MountUmount => Box::new(move || Ok(unmount(object, UnmountFlags::DETACH)?)),
        Event::MountMove => {
            let from = stage.beside("from");
            let flags = MoveMountFlags::empty();
            Box::new(move || Ok(move_mount(CWD, from, CWD, object, flags)?))
        }
        Event::MountRemount => Box::new(move || Ok(mount_remount(object, MountFlags::NOSUID, "")?)),
        Event::MountPivot => {
            // Or the whole machine would have another root.
            sys::unshare(UnshareFlags::NEWNS)?;
            let old = object.join("old");
            Box::new(move || Ok(rustix::process::pivot_root(object, old)?))
        }
        Event::MountChroot => Box::new(move || Ok(rustix::process::chroot(object)?)),
        other => bail!("nothing causes {other}"),
    })
}
