//! Acts on processes.

use std::process::Command;

use anyhow::{Context, Result, bail};
use outrigger_api::Event;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::{Act, Stage};
use crate::events::sys;

pub(super) fn prepare(event: Event, stage: &Stage) -> Result<Act> {
    let number = i32::try_from(stage.target)?;
    Ok(match event {
        Event::ProcessFork => Box::new(|| Command::new("/usr/bin/true").status().map(drop)),
        Event::ProcessExit => Box::new(|| Ok(())),
        Event::ProcessPtrace => Box::new(move || sys::seize(number)),
        // The address is of no page, so that what is allowed fails by that.
        Event::ProcessMemory => Box::new(move || match sys::read_memory(number) {
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
            other => other,
        }),
        Event::ProcessSignal | Event::ProcessLimits => {
            let pid = Pid::from_raw(number).context("there is no process 0")?;
            if event == Event::ProcessSignal {
                Box::new(move || Ok(kill_process(pid, Signal::CONT)?))
            } else {
                let limit = Rlimit { current: Some(100), maximum: Some(1000) };
                Box::new(move || Ok(prlimit(Some(pid), Resource::Nofile, limit).map(drop)?))
            }
        }
        other => bail!("nothing causes {other}"),
    })
}
