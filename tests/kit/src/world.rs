//! A private world: mount and process namespaces of their own, ended as a whole.
//!
//! The program starts itself again inside (`World::run`), finds itself there by an environment variable
//! (`World::entered`), and is the first process of its namespace. When it ends, or its time limit
//! passes, the kernel ends every process of the world, whatever it waits for, and with the last one its
//! mounts, marks and groups are gone. Nothing that happens inside outlives the world.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::{proc, sys};

/// Names the world's folder to the process inside.
pub(crate) const VARIABLE: &str = "OUTRIGGER_WORLD";
/// How long the kernel may take to end a world whose time is up.
const GRACE: Duration = Duration::from_secs(10);

/// The world that this process is the first process of.
#[derive(Debug)]
pub struct World {
    folder: PathBuf,
}

/// How a world ended.
#[derive(Debug)]
pub enum Ended {
    /// Its first process ended by itself.
    By(ExitStatus),
    /// Its time limit passed. Holds what its processes were doing, a line each.
    TimedOut(Vec<String>),
}

impl World {
    /// The world around this process, if [`World::run`] started it; separates its mounts.
    ///
    /// # Errors
    ///
    /// If the namespaces cannot be set up.
    pub fn entered() -> Result<Option<Self>> {
        let Some(folder) = env::var_os(VARIABLE).map(PathBuf::from) else { return Ok(None) };
        ensure!(std::process::id() == 1, "{VARIABLE} is set outside of a world");
        // Cut off from the machine first; then shared within the world, as on a machine with systemd,
        // so that what is mounted later is seen by processes with a mount namespace of their own.
        for kind in [MountPropagationFlags::PRIVATE, MountPropagationFlags::SHARED] {
            mount_change("/", kind | MountPropagationFlags::REC)
                .context("cannot separate the mounts")?;
        }
        mount("proc", "/proc", "proc", MountFlags::empty(), None).context("cannot mount /proc")?;
        mount("world", &folder, "tmpfs", MountFlags::empty(), Some(c"mode=0755"))
            .context("cannot mount the world's folder")?;
        Ok(Some(Self { folder }))
    }

    /// A folder on a file system that is the world's own and that nothing protects.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts this program again inside a new world, with `arguments`, and waits for its end.
    ///
    /// # Errors
    ///
    /// If the world cannot be made (`EPERM` without root) or does not end although its time is up.
    pub fn run(arguments: &[String], limit: Duration) -> Result<Ended> {
        let folder = tempfile::Builder::new().prefix("outrigger-world-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).env(VARIABLE, folder.path());
        sys::enter_world_on_exec(&mut command);
        let mut child = command.spawn().context("cannot enter a world of its own")?;

        if wait(&child, limit)? {
            return Ok(Ended::By(child.wait()?));
        }
        // All of them, not only the first, whose end brings that of the others: it may be waiting, in a
        // way that no signal ends, for one of them (an opener, for the server of its FUSE file).
        let inhabitants = inhabitants(child.id());
        let doing = inhabitants.iter().map(|pid| proc::describe(*pid)).collect();
        inhabitants.into_iter().for_each(kill);
        if !wait(&child, GRACE)? {
            kill(child.id());
        }
        child.wait()?;
        Ok(Ended::TimedOut(doing))
    }

    /// Runs `body` inside a world made for it; for the `main` of a program.
    ///
    /// The first call starts the program again inside and gives its exit code; inside, it runs `body`.
    pub fn within(
        limit: Duration,
        body: impl FnOnce(Self) -> Result<ExitCode>,
    ) -> Result<ExitCode> {
        if let Some(world) = Self::entered()? {
            return body(world);
        }
        let arguments: Vec<String> = env::args().skip(1).collect();
        match Self::run(&arguments, limit)? {
            Ended::By(status) => {
                let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
                Ok(ExitCode::from(u8::try_from(code.unwrap_or(1)).unwrap_or(1)))
            }
            Ended::TimedOut(doing) => {
                let seconds = limit.as_secs();
                anyhow::bail!(
                    "ended after {seconds} s, its limit; it was doing:\n{}",
                    doing.join("\n")
                )
            }
        }
    }
}

/// Waits for the end of `child`; false if `limit` passes first.
fn wait(child: &Child, limit: Duration) -> Result<bool> {
    let pid = Pid::from_raw(i32::try_from(child.id())?).context("a child has a pid")?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let timeout = Timespec::try_from(limit)?;
    let mut polled = [PollFd::new(&handle, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut polled, Some(&timeout)))? > 0)
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The processes of the world whose outermost process is `outer`, seen from outside.
fn inhabitants(outer: u32) -> Vec<u32> {
    let space = |name: String| fs::read_link(name).ok();
    let Some(wanted) = space(format!("/proc/{outer}/ns/pid_for_children")) else {
        return Vec::new();
    };
    let lives_there = |pid: &u32| space(format!("/proc/{pid}/ns/pid")).as_ref() == Some(&wanted);
    proc::all().into_iter().filter(lives_there).collect()
}
