//! What the bare kernel costs: one process that allows every question of a file system at once.

use std::path::Path;

use anyhow::{Context, Result};

use crate::Volume;
use crate::agent::Agent;
use crate::sys::BareGroup;

/// Starts a process that answers for `volume`; its marks go with it. Execs ask too if `exec`.
///
/// # Errors
///
/// If permission events are not to be had (`EPERM` without root).
pub fn start(volume: &Volume, exec: bool) -> Result<Agent> {
    let path = volume.path().to_str().context("the path is not UTF-8")?;
    let mut responder = Agent::start_service("floor", &[path, if exec { "exec" } else { "open" }])?;
    responder.ready()?;
    Ok(responder)
}

/// Whether this process may ask the kernel for permission events.
///
/// # Errors
///
/// The kernel's refusal: `EPERM` without root, `ENOSYS` or `EINVAL` where it was built without.
pub fn available() -> Result<()> {
    BareGroup::open().map(drop).context("this kernel gives no fanotify permission events")
}

/// Answers for the file system of `path` until it is killed.
pub(crate) fn serve(path: &Path, exec: bool) -> Result<()> {
    let mut group = BareGroup::open()?;
    group.mark_file_system(path, exec)?;
    Agent::say_ready()?;
    loop {
        group.answer_some()?;
    }
}
