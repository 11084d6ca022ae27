//! Acts on the machine as a whole, and on the process's own standing.

use std::fs::{self, File};
use std::io;

use anyhow::{Result, bail};
use outrigger_api::Event;
use rustix::process::Uid;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use rustix::time::{ClockId, clock_gettime, clock_settime};

use super::{Act, Stage};
use crate::events::expected::NEW_USER;
use crate::events::{scene, sys};

/// A family of sockets that the kernel has numbered and not built in: `AF_X25`.
const UNBUILT: i32 = 9;

pub(super) fn prepare(event: Event, stage: &Stage) -> Result<Act> {
    let object = stage.object.clone();
    Ok(match event {
        Event::ProcessCredentials => Box::new(|| {
            let own = rustix::process::getuid();
            Ok(rustix::thread::set_thread_res_uid(own, Uid::from_raw(NEW_USER), own)?)
        }),
        Event::KernelBpfLoad => Box::new(|| sys::load_program().map(drop)),
        Event::KernelPerfOpen => Box::new(|| sys::open_performance_event().map(drop)),
        Event::KernelLockdown => Box::new(|| File::open("/proc/kcore").map(drop)),
        Event::KernelSettime => {
            let now = clock_gettime(ClockId::Realtime);
            Box::new(move || Ok(clock_settime(ClockId::Realtime, now)?))
        }
        // What is allowed fails by what it is: no module, no kernel.
        Event::KernelModuleLoad => {
            let file = File::open(object)?;
            Box::new(move || no_such(rustix::system::finit_module(file, c"", 0)))
        }
        Event::KernelKexec => {
            let file = File::open(object)?;
            Box::new(move || {
                no_such(sys::load_kernel(file).map_err(|error| {
                    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
                }))
            })
        }
        Event::KernelModuleRequest => Box::new(request),
        Event::NamespaceCreate => Box::new(|| sys::unshare(UnshareFlags::NEWUSER)),
        Event::NamespaceEnter => {
            let namespace = File::open("/proc/self/ns/uts")?;
            let kind = Some(LinkNameSpaceType::HostNameAndNISDomainName);
            Box::new(move || {
                Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)?)
            })
        }
        other => bail!("nothing causes {other}"),
    })
}

/// The file was read and is nothing of the kind: it was let through.
fn no_such(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(rustix::io::Errno::NOEXEC | rustix::io::Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// Has the kernel ask for a module. What it says is the same either way; whether it asked is seen by the program
/// that it asks with.
fn request() -> io::Result<()> {
    let asked = format!("{}/asked", scene::OBJECTS);
    let _ = fs::remove_file(&asked);
    // There is no such module, whoever asks.
    let _ = sys::open_family(UNBUILT);
    match fs::metadata(asked) {
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}
