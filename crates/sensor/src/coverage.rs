//! What this kernel lets us do, found by trying it.
//!
//! The trial puts a real mark on a file system of its own (a detached tmpfs that nobody else can
//! reach), has a thread open and execute a file there, and looks whether the question comes and
//! whether a Deny is obeyed. A list of features is never read.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use outrigger_api::coverage::{EventCoverage, Gap, Level};
use outrigger_api::reason::chain;
use outrigger_api::{Answer, Event, EventSet};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::group::{Batch, Group, Mask, descriptor_path};
use crate::plane::{self, Trial};
use crate::{bpf, changes};
use crate::{clock, sys};

/// How long one trial may take, ns; it takes well under a millisecond.
const TRIAL_LIMIT: u64 = clock::ms(2_000);

/// Why a trial did not prove what it tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A call that the trial needs was refused.
    #[error("{call}: {source}")]
    Call {
        /// The call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The operation went ahead without a question.
    #[error("no question came within {} s", TRIAL_LIMIT / 1_000_000_000)]
    NotAsked,
    /// The question came, and the Deny was not obeyed.
    #[error("the kernel did not obey a Deny")]
    NotObeyed,
}

pub(crate) fn call<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> TrialError {
    move |source| TrialError::Call { call, source: source.into() }
}

/// Coverage of every event of the catalogue on this kernel, by trial. Needs root.
pub fn probe() -> Vec<EventCoverage> {
    with_plane(plane::probe().map_err(|error| chain(&error)))
}

/// The same where the second plane was tried already.
pub fn with_plane(plane: Result<Vec<Trial>, String>) -> Vec<EventCoverage> {
    let processes = processes();
    let changes = changes::probe();
    Event::ALL
        .iter()
        .map(|&event| {
            let told = processes.iter().find(|(known, _)| *known == event).map(|(_, told)| told);
            let entry = match event {
                Event::FileOpen | Event::ProcessExec => asked(event, try_event(event), told),
                _ => changes
                    .iter()
                    .find(|entry| entry.event == event.name())
                    .cloned()
                    .unwrap_or_else(|| told_of(event, told)),
            };
            let trial = match &plane {
                Ok(trials) => trials.iter().find(|trial| trial.event == event).ok_or(NO_RULES),
                Err(why) => Err(why.as_str()),
            };
            with_trial(event, entry, trial)
        })
        .collect()
}

/// An entry, and what the second plane adds to it.
fn with_trial(
    event: Event,
    mut entry: EventCoverage,
    trial: Result<&Trial, &str>,
) -> EventCoverage {
    let told = trial
        .map_err(str::to_owned)
        .and_then(|trial| trial.told.clone().map(|()| trial).map_err(|refused| refused.why));
    let ruled = trial
        .map_err(str::to_owned)
        .and_then(|trial| trial.ruled.clone().map(|()| trial).map_err(|refused| refused.why));
    match (&entry.told_by, told) {
        (Some(_), _) => {}
        (None, Ok(trial)) => {
            entry.told_by = Some(trial.sensor.to_owned());
            entry.not_told = None;
            entry.gaps.extend(trial.gaps.iter().cloned());
        }
        // Where another sensor tells of it, that one's reason is the one that counts.
        (None, Err(why)) if entry.not_told.as_deref() == Some(NO_SENSOR) => {
            entry.not_told = Some(why);
        }
        (None, Err(_)) => {}
    }
    match ruled {
        Ok(trial) => {
            entry.ruled_by = Some(trial.sensor.to_owned());
            entry.not_ruled = None;
        }
        // The host decides questions by the rules before anybody is asked.
        Err(_) if entry.level == Level::Ask => {
            entry.ruled_by = Some("fanotify".to_owned());
            entry.not_ruled = None;
        }
        Err(why) => entry.not_ruled = Some(why),
    }
    if !entry.level.reaches(Level::Rule) && entry.ruled_by.is_some() {
        entry.level = Level::Rule;
        entry.sensor = entry.ruled_by.clone().unwrap_or_default();
    }
    if !entry.level.reaches(Level::Notify) && entry.told_by.is_some() {
        entry.level = Level::Notify;
        entry.sensor = entry.told_by.clone().unwrap_or_default();
    }
    entry.reason = match (entry.level.reaches(event.strongest()), event.strongest()) {
        (true, _) => None,
        (false, Level::Ask) => entry.reason,
        (false, Level::Rule) => entry.not_ruled.clone(),
        (false, _) => entry.not_told.clone(),
    };
    entry
}

/// Whether processes are told of, or why not.
fn processes() -> Vec<(Event, Result<(), String>)> {
    match bpf::probe() {
        Ok(tried) => tried
            .into_iter()
            .map(|(event, tried)| (event, tried.map_err(|why| chain(&why))))
            .collect(),
        Err(error) => {
            let why = chain(&error);
            bpf::EVENTS.iter().map(|event| (*event, Err(why.clone()))).collect()
        }
    }
}

/// Why rules decide nothing where no BPF program of ours can.
const NO_RULES: &str = "no program that evaluates rules is built in";
/// Why an event is not told of for which there is neither fanotify nor the process sensor.
const NO_SENSOR: &str = "no sensor for it is built in";

/// An event that can only be told of.
fn told_of(event: Event, told: Option<&Result<(), String>>) -> EventCoverage {
    let not_told = match told {
        Some(told) => told.as_ref().err().cloned(),
        None => Some(NO_SENSOR.to_owned()),
    };
    EventCoverage {
        event: event.name().to_owned(),
        level: if not_told.is_none() { Level::Notify } else { Level::Missing },
        sensor: "bpf".to_owned(),
        reason: not_told.clone(),
        told_by: not_told.is_none().then(|| "bpf".to_owned()),
        not_told,
        ruled_by: None,
        not_ruled: Some(NO_RULES.to_owned()),
        gaps: Vec::new(),
    }
}

fn asked(
    event: Event,
    trial: Result<(), TrialError>,
    told: Option<&Result<(), String>>,
) -> EventCoverage {
    let (level, reason) = match trial {
        Ok(()) => (Level::Ask, None),
        Err(error) => (Level::Missing, Some(error.to_string())),
    };
    // Of an open the answer is told; of an exec, by who sees that it succeeded.
    let (told_by, not_told) = match told {
        None => ("fanotify", reason.clone()),
        Some(told) => ("bpf", told.as_ref().err().cloned()),
    };
    EventCoverage {
        event: event.name().to_owned(),
        level,
        sensor: "fanotify".to_owned(),
        reason,
        told_by: not_told.is_none().then(|| told_by.to_owned()),
        not_told,
        ruled_by: None,
        not_ruled: Some(NO_RULES.to_owned()),
        gaps: gaps(event),
    }
}

/// Tries to deny one event on a file system made for it.
fn try_event(event: Event) -> Result<(), TrialError> {
    let root = private_tmpfs()?;
    let group = Group::open(true).map_err(call("fanotify_init"))?;
    let result = deny_once(event, group, &root);
    // Lets a trial thread that still waits go on: the kernel allows what a closed group held.
    group.close();
    result
}

pub(crate) fn private_tmpfs() -> Result<OwnedFd, TrialError> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(call("fsopen"))?;
    fsconfig_create(&context).map_err(call("fsconfig"))?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(call("fsmount"))
}

fn deny_once(event: Event, group: Group, root: &OwnedFd) -> Result<(), TrialError> {
    let name = "trial";
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, name, flags, Mode::from(0o755)).map_err(call("openat"))?;
    rustix::io::write(&file, b"no program").map_err(call("write"))?;
    drop(file);
    let root_path = descriptor_path(root.as_raw_fd());
    let mut path = root_path.as_bytes().to_vec();
    path.extend(b"/trial");
    let path = CString::new(path).expect("the path has no zero byte");
    group
        .mark_file_system(&root_path, Mask::of(EventSet::EMPTY.with(event)))
        .map_err(call("fanotify_mark"))?;
    let opener = std::thread::spawn(move || match event {
        Event::ProcessExec => sys::exec_trial(&path).raw_os_error(),
        _ => rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .err()
            .map(rustix::io::Errno::raw_os_error),
    });
    let mut batch = Batch::new();
    let asked = group.wait(Some(TRIAL_LIMIT)).map_err(call("poll"))?
        && group.read(&mut batch).map_err(call("read"))?;
    if !asked {
        return Err(TrialError::NotAsked);
    }
    for question in batch.questions() {
        group.answer(question.file, Answer::Deny).map_err(call("write"))?;
        sys::close(question.file);
        if question.pidfd >= 0 {
            sys::close(question.pidfd);
        }
    }
    match opener.join() {
        Ok(Some(libc::EPERM)) => Ok(()),
        _ => Err(TrialError::NotObeyed),
    }
}

/// What fanotify does not show of an event that it asks about, on any kernel (`docs/limitations.md`).
pub fn gaps(event: Event) -> Vec<Gap> {
    let gap = |name: &str, why: &str, remedy: Option<&str>| Gap {
        name: name.to_owned(),
        why: why.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    let mut gaps = vec![
        gap(
            "unmarked-file-system",
            "a file system mounted only in another mount namespace, such as a container's overlay, is \
             not under a protected tree and is not asked about",
            Some(
                "protect the tree that holds the container's layers, or mount it where it is seen",
            ),
        ),
        gap(
            "cached",
            "where the cache is on, a file that engines found clean is opened without a question until somebody opens it for \
             writing; such opens are not in the event stream",
            Some("set cache.enabled = false"),
        ),
    ];
    match event {
        Event::ProcessExec => gaps.push(gap(
            "memfd-exec",
            "a program executed from memory (memfd_create) lies on no file system that can be marked",
            Some("forbid memfd execution: sysctl vm.memfd_noexec=2 (Linux 6.3 and later)"),
        )),
        _ => gaps.push(gap(
            "open-before-mark",
            "a descriptor opened before protection began keeps reading its file",
            Some("start protection before the services that it protects"),
        )),
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::Refused;

    #[test]
    fn every_event_is_found_by_trial_or_says_why_not() {
        let found = probe();

        assert_eq!(found.len(), Event::ALL.len());
        let most = |entry: &EventCoverage| {
            entry.event.parse().map(Event::strongest).is_ok_and(|most| entry.level == most)
        };
        assert!(found.iter().all(|entry| most(entry) == entry.reason.is_none()));
        assert!(found.iter().all(|entry| entry.told_by.is_some() == entry.not_told.is_none()));
        assert!(found.iter().all(|entry| entry.ruled_by.is_some() == entry.not_ruled.is_none()));
    }

    fn trial(event: Event, refused: Option<&str>) -> Trial {
        let result = refused.map_or(Ok(()), |why| Err(Refused { event, why: why.to_owned() }));
        Trial { event, sensor: "lsm", told: result.clone(), ruled: result, gaps: Vec::new() }
    }

    #[test]
    fn rules_in_the_kernel_make_more_of_an_event_that_is_only_told() {
        let entry = told_of(Event::ProcessSignal, None);

        let ruled =
            with_trial(Event::ProcessSignal, entry.clone(), Ok(&trial(Event::ProcessSignal, None)));
        let refused =
            with_trial(Event::ProcessSignal, entry, Ok(&trial(Event::ProcessSignal, Some("no"))));

        assert_eq!((ruled.level, ruled.ruled_by.as_deref()), (Level::Rule, Some("lsm")));
        assert_eq!((ruled.reason, ruled.not_ruled, ruled.not_told), (None, None, None));
        assert_eq!(refused.level, Level::Missing);
        assert_eq!(refused.reason.as_deref(), Some("no"));
        assert_eq!(refused.not_told.as_deref(), Some("no"));
    }

    #[test]
    fn what_is_asked_about_stays_asked_and_its_own_sensor_tells_of_it() {
        let entry = asked(Event::FileOpen, Ok(()), None);

        let with = with_trial(Event::FileOpen, entry.clone(), Ok(&trial(Event::FileOpen, None)));
        let without = with_trial(Event::FileOpen, entry, Err("no plane"));

        assert_eq!((with.level, with.sensor.as_str()), (Level::Ask, "fanotify"));
        assert_eq!(with.told_by.as_deref(), Some("fanotify"));
        assert_eq!(with.ruled_by.as_deref(), Some("lsm"));
        assert_eq!(without.ruled_by.as_deref(), Some("fanotify"));
    }
}
