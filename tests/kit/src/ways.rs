//! The ways in which a program comes to a file's content or runs it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{bait, sys};

/// What became of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It got through: the content was given or the program ran.
    Through,
    /// It was refused with `EPERM`.
    Refused,
    /// It failed in another way, with this error number.
    Failed(i32),
}

impl Outcome {
    fn of<T>(result: &io::Result<T>) -> Self {
        match result {
            Ok(_) => Self::Through,
            Err(error) => match error.raw_os_error() {
                Some(libc::EPERM) => Self::Refused,
                other => Self::Failed(other.unwrap_or(0)),
            },
        }
    }

    /// What a shell's exit status and words say: 0 or a bad program's status is through.
    fn of_command(output: &Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(status) if [0, i32::from(bait::PROGRAM_STATUS)].contains(&status) => Self::Through,
            _ if said.contains("Operation not permitted") => Self::Refused,
            code => Self::Failed(code.unwrap_or(-1)),
        }
    }
}

/// Opens it for reading.
pub fn open(path: &Path) -> Outcome {
    Outcome::of(&File::open(path))
}

/// Runs it.
pub fn exec(path: &Path) -> Outcome {
    Outcome::of(&Command::new(path).stdin(Stdio::null()).output())
}

/// Opens it through io_uring; by a worker thread of the kernel if `by_worker`.
pub fn io_uring(path: &Path, by_worker: bool) -> Outcome {
    Outcome::of(&sys::open_by_ring(path, by_worker))
}

/// Opens it by its handle.
///
/// # Errors
///
/// If its folder cannot be opened.
pub fn handle(path: &Path) -> Result<Outcome> {
    let folder = File::open(path.parent().context("the path has a folder")?)?;
    Ok(Outcome::of(&sys::open_by_handle(folder.as_fd(), path)))
}

/// Runs it from a copy in anonymous memory, which no file system holds.
///
/// # Errors
///
/// If the copy cannot be made.
pub fn memfd_exec(program: &[u8]) -> Result<Outcome> {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let copy = rustix::fs::memfd_create("copy", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut copy = File::from(copy);
    copy.write_all(program)?;
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(Outcome::of(&Command::new(path).stdin(Stdio::null()).output()))
}

/// Has a shell run `script`, as `uid` if given; `$1` is `path`.
///
/// # Errors
///
/// If the shell cannot be started.
pub fn shell(script: &str, path: &Path, uid: Option<u32>) -> Result<Outcome> {
    command(Command::new("/bin/sh").args(["-c", script, "sh"]).arg(path), uid)
}

/// Has a shell run `script` in namespaces that `unshare` makes by `flags`, as `uid` if given.
///
/// # Errors
///
/// If `unshare` cannot be started.
pub fn unshared(flags: &[&str], script: &str, path: &Path, uid: Option<u32>) -> Result<Outcome> {
    let mut unshare = Command::new("unshare");
    command(unshare.args(flags).args(["/bin/sh", "-c", script, "sh"]).arg(path), uid)
}

fn command(command: &mut Command, uid: Option<u32>) -> Result<Outcome> {
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    // The words of refusals are compared, so they must not be translated.
    let output = command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null()).output();
    Ok(Outcome::of_command(&output.with_context(|| format!("cannot start {command:?}"))?))
}
