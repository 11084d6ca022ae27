//! A confined process, as its host holds it.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::calls::Calls;
use crate::cgroup::Groups;

/// A running process, or one that has ended and was not let go of yet.
///
/// Dropping it kills the process, waits for its end for at most a second, and removes its control
/// groups.
#[derive(Debug)]
pub struct Confined {
    /// Its pid in the host's pid namespace.
    pub pid: u32,
    /// Readable (`poll(2)`) once it has ended.
    pub pidfd: OwnedFd,
    /// The calls that it was refused.
    pub calls: Calls,
    /// What this machine's kernel made of the confinement.
    pub enforced: Enforced,
    pub(crate) groups: Groups,
    pub(crate) end: OnceLock<Exit>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this status.
    Code(i32),
    /// A signal ended it. A process that is the first of its pid namespace cannot be ended by its
    /// own `SIGABRT`: `abort(3)` shows as `SIGSEGV` (11) or `SIGILL` (4).
    Signal(i32),
    /// The kernel killed it at its memory limit.
    OutOfMemory,
}

/// What a process uses, where control groups tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time since its start, ns.
    pub cpu_ns: Option<u64>,
    /// Memory charged to it now, bytes.
    pub memory_bytes: Option<u64>,
}

/// How far one mechanism holds on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcement {
    /// As meant.
    Full,
    /// In part; what is missing.
    Partial(String),
    /// Not at all; why.
    Missing(String),
}

/// How far each mechanism holds that a kernel or its configuration may lack. Namespaces, the
/// identity, dropped capabilities and seccomp are not listed: without them nothing is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforced {
    /// A root that nothing of the host's lies under.
    pub root: Enforcement,
    /// A user namespace with one uid.
    pub user_namespace: Enforcement,
    /// The Landlock domain.
    pub landlock: Enforcement,
    /// The memory limit.
    pub memory: Enforcement,
    /// The limit of threads.
    pub threads: Enforcement,
    /// The limit of CPU time.
    pub cpu: Enforcement,
}

impl Confined {
    /// Kills the process, threads and all. Comes back at once; [`exit`](Self::exit) tells when it
    /// has ended. No effect on one that has.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.groups.kill();
    }

    /// How it ended, or `None` while it runs. Never waits.
    ///
    /// # Errors
    ///
    /// `ECHILD` if somebody else in this process waited for it (`waitid(2)`).
    pub fn exit(&self) -> io::Result<Option<Exit>> {
        if let Some(end) = self.end.get() {
            return Ok(Some(*end));
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Some(status) = waitid(WaitId::PidFd(self.pidfd.as_fd()), options)? else {
            return Ok(None);
        };
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(libc::SIGKILL)) if self.groups.ran_out_of_memory() => Exit::OutOfMemory,
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        };
        Ok(Some(*self.end.get_or_init(|| end)))
    }

    /// Lets it map no more files to execute them; nothing else ever becomes code in it.
    ///
    /// Until this is called its loader, and whatever it loads by itself, maps files of its root. Call it
    /// before it is given bytes that are not its vendor's: a descriptor that it got could be mapped as
    /// well, and a call that was let go on a moment before may still be on its way in the kernel.
    pub fn refuse_code(&self) {
        self.calls.refuse_code();
    }

    /// What it uses now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.groups.usage()
    }

    /// Descriptors that it has open now; `None` once it was waited for.
    #[must_use]
    pub fn descriptors(&self) -> Option<u64> {
        // Without a pid of its own it would be another process that is looked at.
        self.exit().ok()?.is_none().then(|| open_descriptors(self.pid))?
    }

    /// How often it was refused a thread at its limit; `None` where no control group counts that.
    #[must_use]
    pub fn refused_threads(&self) -> Option<u64> {
        self.groups.refused_threads()
    }

    /// Waits until it has ended, at most `limit`; false if it still runs then.
    pub(crate) fn ended_within(&self, limit: Timespec) -> bool {
        let mut pidfd = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // An interrupted wait counts as a short one: the caller is cleaning up.
        matches!(poll(&mut pidfd, Some(&limit)), Ok(1..)) && matches!(self.exit(), Ok(Some(_)))
    }
}

/// The open descriptors of a process. Since Linux 6.2 the folder's size says it, at no cost; before, the
/// size is 0 and the entries are counted.
fn open_descriptors(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    match fs::metadata(&folder).ok()?.len() {
        0 => u64::try_from(fs::read_dir(&folder).ok()?.count()).ok(),
        count => Some(count),
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        self.kill();
        if self.ended_within(Timespec { tv_sec: 1, tv_nsec: 0 }) {
            self.groups.remove();
        }
    }
}

impl Enforced {
    /// Every mechanism by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Enforcement)> {
        [
            ("root", &self.root),
            ("user namespace", &self.user_namespace),
            ("landlock", &self.landlock),
            ("memory limit", &self.memory),
            ("thread limit", &self.threads),
            ("cpu limit", &self.cpu),
        ]
        .into_iter()
    }

    /// The mechanisms that do not hold as meant.
    pub fn weak(&self) -> impl Iterator<Item = (&'static str, &Enforcement)> {
        self.iter().filter(|(_, enforcement)| **enforcement != Enforcement::Full)
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Partial(what) => write!(f, "partial: {what}"),
            Self::Missing(why) => write!(f, "missing: {why}"),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with status {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::OutOfMemory => f.write_str("killed at its memory limit"),
        }
    }
}
