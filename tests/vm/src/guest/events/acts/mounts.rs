//! Acts on mounts, in a mount namespace that ends with the process.

use anyhow::{Result, bail};
use outrigger_api::Event;
use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount, mount_change,
    mount_remount, move_mount, unmount,
};
use rustix::thread::UnshareFlags;

use super::{Act, Stage};

pub(super) fn prepare(event: Event, stage: &Stage) -> Result<Act> {
    let object = stage.object.clone();
    // Nobody has a reference to what another thread shares: there is one thread.
    super::super::sys::unshare(UnshareFlags::NEWNS)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    let tmpfs = |place: &std::path::Path| mount("tmpfs", place, "tmpfs", MountFlags::empty(), None);
    Ok(match event {
        Event::MountMount => {
            Box::new(move || Ok(mount("tmpfs", object, "tmpfs", MountFlags::NOSUID, None)?))
        }
        Event::MountUmount => {
            tmpfs(&object)?;
            Box::new(move || Ok(unmount(object, UnmountFlags::DETACH)?))
        }
        Event::MountMove => {
            let from = stage.beside("from");
            tmpfs(&from)?;
            let flags = MoveMountFlags::empty();
            Box::new(move || Ok(move_mount(CWD, from, CWD, object, flags)?))
        }
        Event::MountRemount => {
            tmpfs(&object)?;
            Box::new(move || Ok(mount_remount(object, MountFlags::NOSUID, "")?))
        }
        Event::MountPivot => {
            tmpfs(&object)?;
            let old = object.join("old");
            std::fs::create_dir(&old)?;
            Box::new(move || Ok(rustix::process::pivot_root(object, old)?))
        }
        Event::MountChroot => Box::new(move || Ok(rustix::process::chroot(object)?)),
        other => bail!("nothing causes {other}"),
    })
}
