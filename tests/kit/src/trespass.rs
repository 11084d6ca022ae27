//! What a user may not do to processes and files of others, tried as an agent of that user.
//!
//! Each act is tried for real, so a test that tries it on a process of the user's own first sees that it
//! is let there: an act that nobody could do would show nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::sys;

/// Files of a process (`man 5 proc`) that show its memory, its files or its secrets.
const SECRETS: &[&str] = &[
    "auxv",
    "environ",
    "fd",
    "fdinfo",
    "io",
    "map_files",
    "maps",
    "mem",
    "numa_maps",
    "pagemap",
    "personality",
    "smaps",
    "stack",
    "syscall",
    "timers",
];
/// Links of a process that lead to its files.
const LINKS: &[&str] = &["cwd", "exe", "root", "ns/mnt", "ns/net", "ns/pid", "ns/user"];
/// Files of a process that change how it runs.
const CONTROLS: &[(&str, &str)] = &[
    ("autogroup", "5"),
    ("clear_refs", "1"),
    ("coredump_filter", "0x33"),
    ("mem", ""),
    ("oom_score_adj", "900"),
    ("timerslack_ns", "50001"),
];

/// What to try on a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Reading it.
    Read,
    /// Stopping it.
    Stop,
    /// Slowing it or making it weaker.
    Slow,
}

/// What to try on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// Opening it to read, or listing it.
    Read,
    /// Opening it to write.
    Write,
    /// Removing and renaming it.
    Remove,
    /// Connecting to it.
    Connect,
}

/// One act and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tried {
    /// What was tried, on which process or file.
    pub act: String,
    /// The errno; `None` if it was let.
    pub errno: Option<i32>,
}

impl Tried {
    fn new(act: String, result: &io::Result<()>) -> Self {
        // An error without a number is none that the kernel gave.
        let errno = result.as_ref().err().map(|error| error.raw_os_error().unwrap_or(0));
        Self { act, errno }
    }

    /// Whether the kernel refused it for who asked.
    pub fn is_refused(&self) -> bool {
        matches!(self.errno, Some(libc::EPERM | libc::EACCES))
    }

    /// Whether this kernel does not have what was tried.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno, Some(libc::ENOENT | libc::ENOSYS))
    }
}

impl Aim {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Read, "read"), (Self::Stop, "stop"), (Self::Slow, "slow")];

    fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Read => &[
                "ptrace",
                "process_vm_readv",
                "process_vm_writev",
                "pidfd_getfd",
                "kcmp",
                "move_pages",
            ],
            // What ends it comes last.
            Self::Stop => &[
                "signal 0",
                "tgkill",
                "pidfd_send_signal",
                "SIGCONT",
                "SIGSTOP",
                "SIGCONT",
                "SIGIO",
                "SIGHUP",
                "SIGTERM",
                "SIGKILL",
            ],
            Self::Slow => &[
                "setpriority",
                "sched_setaffinity",
                "sched_setscheduler",
                "ioprio_set",
                "prlimit64",
            ],
        }
    }
}

impl Touch {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::Remove, "remove"),
        (Self::Connect, "connect"),
    ];
}

/// Tries all that `aim` names on the process `pid` as the user and group `uid`.
///
/// # Errors
///
/// If the agent fails.
pub fn on_process(uid: u32, aim: Aim, pid: u32) -> Result<Vec<Tried>> {
    let word = Aim::ALL.iter().find(|(known, _)| *known == aim).map_or("", |(_, word)| word);
    Agent::start_as("trespass", &[word, &pid.to_string()], uid)?.result()
}

/// Tries `touch` on each of `paths` as the user and group `uid`.
///
/// # Errors
///
/// If the agent fails.
pub fn on_paths(uid: u32, touch: Touch, paths: &[&Path]) -> Result<Vec<Tried>> {
    let word = Touch::ALL.iter().find(|(known, _)| *known == touch).map_or("", |(_, word)| word);
    let mut arguments = vec![word];
    for path in paths {
        ensure!(path.to_str().is_some(), "{} is no text", path.display());
        arguments.extend(path.to_str());
    }
    Agent::start_as("touch", &arguments, uid)?.result()
}

/// The role of [`on_process`].
pub(crate) fn try_process(word: &str, pid: u32) -> Result<Vec<Tried>> {
    let aim = Aim::ALL.iter().find(|(_, known)| *known == word).map(|(aim, _)| *aim);
    let Some(aim) = aim else { anyhow::bail!("no aim is called {word:?}") };
    let at = |name: &str| format!("/proc/{pid}/{name}");
    let mut tried = Vec::new();
    match aim {
        Aim::Read => {
            tried.extend(SECRETS.iter().map(|name| touch_one(Touch::Read, &at(name))));
            tried.extend(LINKS.iter().map(|name| {
                Tried::new(format!("link {}", at(name)), &fs::read_link(at(name)).map(drop))
            }));
        }
        Aim::Slow => tried.extend(CONTROLS.iter().map(|(name, value)| {
            let write =
                || OpenOptions::new().write(true).open(at(name))?.write_all(value.as_bytes());
            Tried::new(format!("write {}", at(name)), &write())
        })),
        Aim::Stop => {}
    }
    tried.extend(
        aim.calls()
            .iter()
            .map(|name| Tried::new(format!("{name} on {pid}"), &sys::on_process(name, pid))),
    );
    Ok(tried)
}

/// The role of [`on_paths`].
pub(crate) fn try_paths(word: &str, paths: &[&str]) -> Result<Vec<Tried>> {
    let touch = Touch::ALL.iter().find(|(_, known)| *known == word).map(|(touch, _)| *touch);
    let Some(touch) = touch else { anyhow::bail!("no touch is called {word:?}") };
    Ok(paths.iter().map(|path| touch_one(touch, path)).collect())
}

fn touch_one(touch: Touch, path: &str) -> Tried {
    let result = match touch {
        Touch::Read => read(Path::new(path)),
        Touch::Write => OpenOptions::new().append(true).open(path).map(drop),
        Touch::Remove => {
            let renamed = fs::rename(path, format!("{path}.gone"));
            renamed.and_then(|()| fs::remove_file(format!("{path}.gone")))
        }
        Touch::Connect => UnixStream::connect(path).map(drop),
    };
    Tried::new(format!("{touch:?} {path}"), &result)
}

/// Opening a file of `/proc` can be let and reading it refused, and the other way round.
fn read(path: &Path) -> io::Result<()> {
    use std::io::Read as _;

    if fs::metadata(path)?.is_dir() {
        return match fs::read_dir(path)?.next() {
            Some(entry) => entry.map(drop),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        };
    }
    let mut file = File::open(path)?;
    match file.read(&mut [0; 64]) {
        // Nothing is mapped at the beginning of memory.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(()),
        result => result.map(drop),
    }
}
