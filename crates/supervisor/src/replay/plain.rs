//! Starts an engine as an ordinary user can: for replays where nobody is root.
//!
//! It is no sandbox. What is left of one: no new privileges, no writing to any file, no TCP, no signals to
//! others (Landlock, as far as the kernel has it), no core dumps, the manifest's limits of memory and
//! descriptors, an environment of its own. What is missing is listed by [`Process::sandbox_missing`].

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use outrigger_sandbox::{Enforcement, Exit, RefusedCall, Usage};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::launcher::{LaunchError, Launcher, Process, Start};

/// Tells an engine where its content folder is, which has no root of its own to find it in.
const CONTENT_VARIABLE: &str = "OUTRIGGER_CONTENT_DIR";
/// What an ordinary user cannot give.
const MISSING: &str = "root, namespaces, seccomp, control groups: an ordinary user's process, which \
                       sees and reads what its user can";

/// Starts processes without a sandbox, as whoever runs this.
#[derive(Debug, Default)]
pub struct PlainLauncher;

impl Launcher for PlainLauncher {
    fn launch(&mut self, start: Start<'_>) -> Result<Box<dyn Process>, LaunchError> {
        // What is given up is the thread's, for good, and inherited: so by a thread that is nothing else.
        let started = std::thread::scope(|scope| {
            scope
                .spawn(|| -> io::Result<_> {
                    let enforcement = outrigger_sandbox::hold_back()?;
                    Ok((spawn(start)?, enforcement))
                })
                .join()
        });
        let (child, enforcement) =
            started.map_err(|_| io::Error::other("the thread that starts it panicked"))??;
        Ok(Box::new(Plain::new(child, &enforcement)?))
    }
}

/// Starts the program with its sockets as descriptors 3 and 4. The shell moves them there: to do it between
/// fork and exec takes unsafe code.
fn spawn(start: Start<'_>) -> io::Result<Child> {
    let Start { spec, descriptors, output, .. } = start;
    let [control, content]: [OwnedFd; 2] = descriptors
        .try_into()
        .map_err(|_| io::Error::other("an engine starts with two sockets"))?;
    let limits = spec.manifest.limits;
    let mut script = String::from("ulimit -c 0; ulimit -f 0; ");
    // Writing into a string does not fail.
    let _ = write!(script, "ulimit -n {}; ", limits.descriptors);
    let _ = write!(script, "ulimit -d {}; ", limits.memory_bytes / 1024);
    script.push_str(r#"exec 3<&0 4<&1 </dev/null >&2; exec "$0" "$@""#);
    let mut command = Command::new("/bin/sh");
    command.env_clear().arg("-c").arg(script).arg(&spec.manifest.program);
    command.args(&spec.manifest.arguments).current_dir("/");
    if let Some(folder) = &spec.config.content_dir {
        command.env(CONTENT_VARIABLE, folder);
    }
    command.stdin(control).stdout(content).stderr(Stdio::from(output)).spawn()
}

#[derive(Debug)]
struct Plain {
    pid: Pid,
    pidfd: OwnedFd,
    end: OnceLock<Exit>,
    missing: Vec<String>,
}

impl Plain {
    fn new(mut child: Child, enforcement: &Enforcement) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
            // Nobody else will end it.
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let mut missing = vec![MISSING.to_owned()];
        match enforcement {
            Enforcement::Full => {}
            Enforcement::Partial(why) | Enforcement::Missing(why) => missing.push(why.clone()),
        }
        Ok(Self { pid, pidfd, end: OnceLock::new(), missing })
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if self.end.get().is_none() {
            self.kill();
            // A killed process of an ordinary user ends, so this does not wait for long.
            let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

impl Process for Plain {
    fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn ended(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn exit(&self) -> io::Result<Option<Exit>> {
        if let Some(end) = self.end.get() {
            return Ok(Some(*end));
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Some(status) = waitid(WaitId::PidFd(self.pidfd.as_fd()), options)? else {
            return Ok(None);
        };
        let end = match status.exit_status() {
            Some(code) => Exit::Code(code),
            None => Exit::Signal(status.terminating_signal().unwrap_or_default()),
        };
        Ok(Some(*self.end.get_or_init(|| end)))
    }

    fn kill(&self) {
        // One that has ended needs none.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    fn refuse_code(&self) {}

    fn calls(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn next_call(&self) -> Option<RefusedCall> {
        None
    }

    fn lost_calls(&self) -> u64 {
        0
    }

    fn descriptors(&self) -> Option<u64> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).ok()?.count();
        u64::try_from(open).ok()
    }

    fn refused_threads(&self) -> u64 {
        0
    }

    /// From `/proc`: of its first thread and those that ended the processor time in clock ticks.
    fn usage(&self) -> Usage {
        let file = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.pid())).ok();
        let resident = file("statm").and_then(|text| pages(&text));
        let ticks = file("stat").and_then(|text| ticks(&text));
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let second = rustix::param::clock_ticks_per_second().max(1);
        Usage {
            cpu_ns: ticks.map(|ticks| ticks.saturating_mul(1_000_000_000 / second)),
            memory_bytes: resident.map(|pages| pages.saturating_mul(page)),
        }
    }

    fn sandbox_missing(&self) -> Vec<String> {
        self.missing.clone()
    }
}

/// Resident pages in `/proc/PID/statm`.
fn pages(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// User and system time in `/proc/PID/stat`, clock ticks. The name before them can hold anything but ends
/// with the last parenthesis.
fn ticks(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut numbers = rest.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    Some(numbers.next()?.ok()?.saturating_add(numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_are_found_behind_any_name() {
        let stat = "7 (a) b ) c) S 1 1 1 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0 5 6 7";

        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (cut"), None);
        assert_eq!(pages("100 23 5"), Some(23));
    }
}
