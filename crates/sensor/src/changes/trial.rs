//! Which changes this kernel tells, found by making each on a file system that nobody else can reach.

use std::os::fd::{AsFd, OwnedFd};

use outrigger_api::coverage::{EventCoverage, Gap, Level};
use outrigger_api::settings::ProtectMode;
use outrigger_api::{Event, EventSet};
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use super::{EVENTS, FileSensor, MarkError};
use crate::coverage::{TrialError, call, private_tmpfs};
use crate::notice::Seen;
use crate::volumes::Volume;

/// Why a trial did not prove what it tried.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error(transparent)]
    Mark(#[from] MarkError),
    #[error("it happened and the kernel told nothing of it")]
    NotTold,
    #[error("the kernel told of it without its path")]
    NoPath,
    #[error("the kernel told of it without its file")]
    NoFile,
}

/// Coverage of each of [`EVENTS`] on this kernel, by trial. Needs root.
pub fn probe() -> Vec<EventCoverage> {
    EVENTS.iter().map(|event| covered(event, try_event(event))).collect()
}

fn covered(event: Event, trial: Result<(), Failure>) -> EventCoverage {
    let (level, reason) = match trial {
        Ok(()) => (Level::Notify, None),
        Err(error) => (Level::Missing, Some(error.to_string())),
    };
    EventCoverage {
        event: event.name().to_owned(),
        level,
        sensor: "fanotify".to_owned(),
        told_by: (level == Level::Notify).then(|| "fanotify".to_owned()),
        not_told: reason.clone(),
        ruled_by: None,
        not_ruled: None,
        reason,
        gaps: gaps(event),
    }
}

fn try_event(event: Event) -> Result<(), Failure> {
    let root = private_tmpfs()?;
    let file = make(&root, "trial")?;
    if event != Event::FileCloseWrite {
        drop(file);
        return observe(event, &root, || change(event, &root));
    }
    observe(event, &root, || {
        drop(file);
        Ok(())
    })
}

/// Marks the file system, has the change made, and looks whether it is told.
fn observe(
    event: Event,
    root: &OwnedFd,
    change: impl FnOnce() -> Result<(), TrialError>,
) -> Result<(), Failure> {
    let mut sensor =
        FileSensor::open(EventSet::EMPTY.with(event)).map_err(call("fanotify_init"))?;
    let volume = Volume {
        device: 0,
        point: "/".into(),
        fs_type: "tmpfs".to_owned(),
        group: None,
        mode: ProtectMode::Enforce,
        cacheable: false,
        reason: None,
    };
    sensor.mark(&volume, root.as_fd())?;
    change()?;
    let mut seen = Vec::new();
    // Nothing to wait for: the kernel queues an event before the call that causes it returns.
    sensor.drain(&mut seen).map_err(call("read"))?;
    let told = seen.iter().find_map(|seen| match seen {
        Seen::Notice(notice) if notice.event == event => Some(notice),
        _ => None,
    });
    let told = told.ok_or(Failure::NotTold)?;
    let moved = event == Event::FileRename;
    let name: &[u8] = if event == Event::FileCreate { b"/made" } else { b"/trial" };
    let new_name: Option<&[u8]> = moved.then_some(b"/moved");
    if told.path.as_deref() != Some(name) || told.new_path.as_deref() != new_name {
        return Err(Failure::NoPath);
    }
    if told.file.is_none() { Err(Failure::NoFile) } else { Ok(()) }
}

fn change(event: Event, root: &OwnedFd) -> Result<(), TrialError> {
    match event {
        Event::FileCreate => make(root, "made").map(drop),
        Event::FileRename => renameat(root, "trial", root, "moved").map_err(call("renameat")),
        _ => unlinkat(root, "trial", AtFlags::empty()).map_err(call("unlinkat")),
    }
}

fn make(root: &OwnedFd, name: &str) -> Result<OwnedFd, TrialError> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(root, name, flags, Mode::from(0o600)).map_err(call("openat"))
}

/// What the sensor does not show of an event, on any kernel (`docs/limitations.md`).
pub fn gaps(event: Event) -> Vec<Gap> {
    let gap = |name: &str, why: &str, remedy: Option<&str>| Gap {
        name: name.to_owned(),
        why: why.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    let mut gaps = vec![
        gap(
            "unmarked-file-system",
            "a file system mounted only in another mount namespace, such as a container's overlay, is not \
             under a protected tree and is not told of; nor is one that has no handles or waits for a server",
            Some(
                "protect the tree that holds the container's layers, or mount it where it is seen",
            ),
        ),
        gap(
            "merged",
            "the kernel merges changes of one file under one name by one process while they wait to be read",
            None,
        ),
    ];
    match event {
        Event::FileUnlink => gaps.push(gap(
            "replaced",
            "a file that a rename puts another in the place of loses its name without an event of its own",
            Some("take the new path of a file.rename as unlinked"),
        )),
        Event::FileCloseWrite => gaps.push(gap(
            "mapped-writes",
            "what is written through a mapping after the descriptor was closed makes no event",
            None,
        )),
        _ => {}
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_found_by_trial_or_says_why_not() {
        let found = probe();

        assert_eq!(found.len(), EVENTS.iter().count());
        assert!(found.iter().all(|entry| (entry.level == Level::Notify) == entry.reason.is_none()));
    }
}
