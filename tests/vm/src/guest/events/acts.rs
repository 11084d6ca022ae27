//! The acts that cause events: what a process does that takes orders.
//!
//! It takes the user that it is to be, with all of root's capabilities, prepares what the act needs, says so, waits
//! to be let go, acts, says the errno of that, or 0, and stays until its orders end: who is gone cannot be looked at. What
//! it prepares may cause other events, never the one that it is about.

mod files;
mod machine;
mod mounts;
mod net;
mod processes;

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use outrigger_api::Event;
use outrigger_api::catalogue::ObjectKind;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_res_gid,
    set_thread_res_uid,
};

/// An extended attribute that every file system of a guest takes.
pub(super) const ATTRIBUTE: &str = "trusted.outrigger";
/// What the one says who prepared.
pub(super) const READY: &str = "ready";
/// The status of one who could not do what it had to.
pub(super) const UNPREPARED: u8 = 255;

/// What is done when it is let go.
type Act = Box<dyn FnOnce() -> io::Result<()>>;

/// What an act is done on.
struct Stage {
    /// The object's path; its folder is the act's own.
    object: PathBuf,
    /// A process or a port, where the object is one.
    target: u32,
}

impl Stage {
    /// Another name in the object's folder.
    fn beside(&self, name: &str) -> PathBuf {
        self.object.with_file_name(name)
    }
}

/// Runs as the process that acts: `act EVENT USER OBJECT TARGET`.
pub(super) fn play(event: &str, user: &str, object: &str, target: &str) -> ExitCode {
    let prepared = (|| {
        let stage = Stage { object: Path::new(object).to_owned(), target: target.parse()? };
        become_user(user.parse()?)?;
        prepare(event.parse()?, &stage)
    })();
    let act = match prepared {
        Ok(act) => act,
        Err(error) => {
            super::super::report::say(format_args!("cannot prepare {event}: {error:#}"));
            return ExitCode::from(UNPREPARED);
        }
    };
    let mut line = String::new();
    let mut out = io::stdout().lock();
    let told = writeln!(out, "{READY}").and_then(|()| out.flush());
    if told.and_then(|()| io::stdin().lock().read_line(&mut line)).is_err() {
        return ExitCode::from(UNPREPARED);
    }
    let number = match act() {
        // It has nothing more to say, and ends.
        Ok(()) if event == Event::ProcessExit.name() => return ExitCode::SUCCESS,
        Ok(()) => 0,
        Err(error) => match error.raw_os_error() {
            Some(number) => number,
            None => return ExitCode::from(UNPREPARED),
        },
    };
    let stayed = writeln!(out, "{number}")
        .and_then(|()| out.flush())
        .and_then(|()| io::stdin().lock().read_line(&mut line));
    if stayed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(UNPREPARED) }
}

fn become_user(user: u32) -> Result<()> {
    let sets = capabilities(None)?;
    set_keep_capabilities(true)?;
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_capabilities(None, CapabilitySets { effective: sets.permitted, ..sets })?;
    Ok(())
}

fn prepare(event: Event, stage: &Stage) -> Result<Act> {
    match event.object() {
        ObjectKind::Process => processes::prepare(event, stage),
        ObjectKind::Endpoint => net::prepare(event, stage),
        ObjectKind::System => machine::prepare(event, stage),
        ObjectKind::File => match event.name().split_once('.') {
            Some(("mount", _)) => mounts::prepare(event, stage),
            Some(("kernel", _)) => machine::prepare(event, stage),
            Some(("unix", _)) => net::prepare(event, stage),
            Some(_) => files::prepare(event, stage),
            None => bail!("it has no name"),
        },
    }
    .with_context(|| format!("{event} on {}", stage.object.display()))
}
