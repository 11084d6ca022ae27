//! How a process comes into being: behind a trait, so that a supervisor can be tested without one.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use outrigger_sandbox::{
    Bind, Confined, Confinement, Exit, Limits, RefusedCall, StartError, Usage,
};

use crate::happening::EngineSpec;

/// Where an engine finds its content folder in its root.
const CONTENT_DIR: &str = "/content";

/// What a process is started with.
#[derive(Debug)]
pub struct Start<'a> {
    /// The engine.
    pub spec: &'a EngineSpec,
    /// The user and group that it runs as; no other engine's.
    pub uid: u32,
    /// Nobody waits for it: it takes its processor time from a share of its own.
    pub apart: bool,
    /// Descriptors that become 3, 4, … in this order: control socket, content socket.
    pub descriptors: Vec<OwnedFd>,
    /// Becomes its standard output and error.
    pub output: OwnedFd,
}

/// Starts processes.
pub trait Launcher: fmt::Debug + Send {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// [`LaunchError`]; nothing is left running. [`LaunchError::Altered`] is final: the engine has failed
    /// then, since it would be altered the next time too.
    fn launch(&mut self, start: Start<'_>) -> Result<Box<dyn Process>, LaunchError>;
}

/// A process that was started. Dropping it ends it.
pub trait Process: fmt::Debug + Send {
    /// Its number in the host's pid namespace.
    fn pid(&self) -> u32;

    /// Readable (`poll(2)`) once it has ended.
    fn ended(&self) -> BorrowedFd<'_>;

    /// How it ended; `None` while it runs. Never waits.
    ///
    /// # Errors
    ///
    /// What `waitid(2)` gives.
    fn exit(&self) -> io::Result<Option<Exit>>;

    /// Ends it. Comes back at once.
    fn kill(&self);

    /// Lets it make nothing executable any more: it has loaded its code, and what it is given from now on
    /// is not its vendor's.
    fn refuse_code(&self);

    /// Readable (`poll(2)`) while [`Process::next_call`] has something; `None` if it never will.
    fn calls(&self) -> Option<BorrowedFd<'_>>;

    /// The oldest refused call that was not read yet. Never waits.
    fn next_call(&self) -> Option<RefusedCall>;

    /// Refused calls since its start that were not kept.
    fn lost_calls(&self) -> u64;

    /// Descriptors that it has open; `None` where that cannot be told.
    fn descriptors(&self) -> Option<u64>;

    /// Threads since its start that it was refused at its limit; 0 where nobody counts them.
    fn refused_threads(&self) -> u64;

    /// What it uses now; nothing where that is not known.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// What of its sandbox does not hold on this machine; empty if all does.
    fn sandbox_missing(&self) -> Vec<String>;
}

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The sandbox refused or failed.
    #[error("its sandbox failed")]
    Sandbox(#[from] StartError),
    /// What it would run from is not what was put there; see [`Launcher`].
    #[error("{} was altered: {why}", folder.display())]
    Altered {
        /// The folder.
        folder: PathBuf,
        /// What was found.
        why: String,
    },
    /// A descriptor or another resource of the host was not to be had.
    #[error("the host lacks a resource for it")]
    Resource(#[from] io::Error),
}

/// Starts processes in a sandbox.
pub struct SandboxLauncher {
    ignore_groups: Box<dyn Fn() -> Vec<RawFd> + Send>,
    ignore_mask: u64,
}

impl fmt::Debug for SandboxLauncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxLauncher")
            .field("ignore_mask", &self.ignore_mask)
            .finish_non_exhaustive()
    }
}

impl SandboxLauncher {
    /// What engines open in their own root makes no event of `ignore_mask` in `ignore_groups`
    /// (fanotify groups, which stay open as long as this value lives; asked for at each start, since a
    /// file system that is mounted later may have got one of its own).
    pub fn new(ignore_groups: impl Fn() -> Vec<RawFd> + Send + 'static, ignore_mask: u64) -> Self {
        Self { ignore_groups: Box::new(ignore_groups), ignore_mask }
    }

    fn confinement(&self, start: Start<'_>) -> Confinement {
        let Start { spec: EngineSpec { manifest, config, .. }, uid, apart, descriptors, output } =
            start;
        let read = manifest.read.iter().map(|path| Bind::data(path, path));
        let content = config.content_dir.iter().map(|dir| Bind::data(dir, Path::new(CONTENT_DIR)));
        Confinement {
            name: manifest.name.as_str().to_owned(),
            program: manifest.program.clone(),
            arguments: manifest.arguments.clone(),
            uid,
            gid: uid,
            apart,
            read_only: read.chain(content).collect(),
            limits: Limits {
                memory_bytes: manifest.limits.memory_bytes,
                threads: manifest.limits.threads,
                descriptors: manifest.limits.descriptors,
                cpu_percent: None,
            },
            descriptors,
            input: None,
            log: Some(output),
            ignore_groups: (self.ignore_groups)(),
            ignore_mask: self.ignore_mask,
        }
    }
}

impl Launcher for SandboxLauncher {
    fn launch(&mut self, start: Start<'_>) -> Result<Box<dyn Process>, LaunchError> {
        let confined = outrigger_sandbox::start(self.confinement(start))?;
        Ok(Box::new(Sandboxed(confined)))
    }
}

#[derive(Debug)]
struct Sandboxed(Confined);

impl Process for Sandboxed {
    fn pid(&self) -> u32 {
        self.0.pid
    }

    fn ended(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }

    fn exit(&self) -> io::Result<Option<Exit>> {
        self.0.exit()
    }

    fn kill(&self) {
        self.0.kill();
    }

    fn refuse_code(&self) {
        self.0.refuse_code();
    }

    fn calls(&self) -> Option<BorrowedFd<'_>> {
        self.0.calls.descriptor()
    }

    fn next_call(&self) -> Option<RefusedCall> {
        self.0.calls.next()
    }

    fn lost_calls(&self) -> u64 {
        self.0.calls.lost()
    }

    fn descriptors(&self) -> Option<u64> {
        self.0.descriptors()
    }

    fn refused_threads(&self) -> u64 {
        self.0.refused_threads().unwrap_or(0)
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }

    fn sandbox_missing(&self) -> Vec<String> {
        let weak = self.0.enforced.weak();
        weak.map(|(mechanism, enforcement)| format!("{mechanism}: {enforcement}")).collect()
    }
}
