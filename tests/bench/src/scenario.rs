//! What answers for the files while they are opened, or watches what is done to them: nobody, the bare
//! responder, the bare file sensor, or the platform.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use anyhow::Result;
use outrigger_testkit::agent::Agent;
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, Volume, floor};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::grouped::Grouped;
use crate::watcher::Watcher;

/// Files that are opened in turn.
pub(crate) const FILES: usize = 1000;
/// Bytes of each.
pub(crate) const FILE_BYTES: usize = 4096;

/// The world of the bench and its files.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) volume: Volume,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Nobody is asked.
    None,
    /// One process that allows everything.
    Floor,
    /// The file sensor and a thread that takes its notices.
    Watched,
    /// One engine that is given no content, nothing cached.
    Asked,
    /// One engine that is given each file's descriptor, nothing cached.
    AskedContent,
    /// Three engines without content, nothing cached.
    AskedThree,
    /// The hash lists, nothing cached: the file is read and hashed.
    Hashed,
    /// One engine that is given each file's descriptor, verdicts cached.
    Cached,
    /// One engine that is asked nothing and told of every process.
    Told,
    /// Programs of a control group that have nothing to do where a socket connects: what the kernel takes to call one.
    Called,
    /// Rules on connecting, by programs of a control group.
    Ruled,
}

/// Whoever answers, at work; ends with the value.
#[derive(Debug)]
pub(crate) enum Running {
    None,
    Floor { _responder: Agent },
    Watched(Watcher),
    Grouped(Box<Grouped>),
    Platform(Host),
}

impl Scenario {
    /// Starts who answers, on the processors that this process may use.
    pub(crate) fn start(self, bench: &Bench) -> Result<Running> {
        let protecting = || Setup::protecting(bench.volume.path());
        let allow = |name| EngineSetup::faulty(name, "allow");
        let setup = match self {
            Self::None => return Ok(Running::None),
            Self::Floor => {
                return Ok(Running::Floor { _responder: floor::start(&bench.volume, false)? });
            }
            Self::Watched => return Ok(Running::Watched(Watcher::start(&bench.volume)?)),
            Self::Called => return Ok(Running::Grouped(Box::new(Grouped::start(false)?))),
            Self::Ruled => return Ok(Running::Grouped(Box::new(Grouped::start(true)?))),
            Self::Asked => protecting().uncached().engine(allow("one")),
            Self::AskedContent => {
                protecting().uncached().engine(EngineSetup::faulty_reader("one", "allow"))
            }
            Self::AskedThree => protecting()
                .uncached()
                .engine(allow("one"))
                .engine(allow("two"))
                .engine(allow("three")),
            Self::Hashed => protecting().uncached().engine(EngineSetup::hashlist()),
            Self::Cached => protecting().engine(EngineSetup::faulty_reader("one", "allow")),
            Self::Told => {
                let told = |engine: EngineSetup, event| engine.subscribed(event, "notify", None);
                let one = allow("one").field("path").without_events();
                let events = ["process.fork", "process.exec", "process.exit"];
                protecting().engine(events.into_iter().fold(one, told))
            }
        };
        Ok(Running::Platform(bench.lab.start(&setup)?))
    }
}

impl Running {
    /// Ends who answers.
    pub(crate) fn end(self) -> Result<()> {
        match self {
            Self::Platform(host) => host.end(),
            Self::Watched(watcher) => watcher.end(),
            Self::Grouped(grouped) => grouped.end(),
            Self::None | Self::Floor { .. } => Ok(()),
        }
    }
}

impl Bench {
    /// The paths of the files, in order.
    pub(crate) fn paths(&self) -> Result<Vec<CString>> {
        let path =
            |index| CString::new(self.volume.join(&format!("f{index}")).as_os_str().as_bytes());
        Ok((0..FILES).map(path).collect::<Result<_, _>>()?)
    }
}

/// Keeps this process, and what it starts from now on, on one processor; gives those it had.
pub(crate) fn pin_to_one() -> Result<CpuSet> {
    let all = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap_or(0);
    one.set(first);
    sched_setaffinity(None, &one)?;
    Ok(all)
}

/// Lets this process use `all` again.
pub(crate) fn unpin(all: &CpuSet) -> Result<()> {
    Ok(sched_setaffinity(None, all)?)
}
