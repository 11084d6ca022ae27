//! Runs a program under ptrace: to its end, with a log of what it did to a folder, or until it is killed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use libc::pid_t;

use crate::calls::{Pending, Watch};
use crate::log::Log;
use crate::sys::{self, Call, News};

/// How a traced program ended.
#[derive(Debug)]
pub struct Run {
    /// System calls begun, by all of its processes and threads.
    pub calls: u64,
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub said: String,
    /// What it wrote to its standard error.
    pub complained: String,
}

/// Runs `command` to its end and notes every change of `root`, which nobody else may touch meanwhile.
///
/// # Errors
///
/// If it does a thing to the folder that the model does not know.
pub fn record(command: &mut Command, root: &Path) -> Result<(Run, Log)> {
    let mut watch = Watch::new(root)?;
    let run = trace(command, Some(&mut watch), u64::MAX)?;
    Ok((run, watch.log))
}

/// Runs `command` and kills it, with all its children, as its system call number `last` begins, from 1.
///
/// # Errors
///
/// If it cannot be started or traced.
pub fn kill_at(command: &mut Command, last: u64) -> Result<Run> {
    trace(command, None, last)
}

fn trace(command: &mut Command, mut watch: Option<&mut Watch>, last: u64) -> Result<Run> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    if let Some(watch) = watch.as_deref_mut() {
        watch.listen_to(&out)?;
    }
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
    sys::traced_from_exec(command);
    let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let root = pid_t::try_from(child.id())?;
    let (code, calls) = follow(root, watch, last)?;
    Ok(Run { calls, code, said: all_of(&mut out)?, complained: all_of(&mut err)? })
}

fn all_of(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn follow(root: pid_t, mut watch: Option<&mut Watch>, last: u64) -> Result<(Option<i32>, u64)> {
    // Every task that is traced, and the call in whose middle it is.
    let mut tasks: HashMap<pid_t, Option<Pending>> = HashMap::new();
    let (mut calls, mut code, mut failure) = (0, None, None);
    loop {
        let (pid, news) = match sys::wait() {
            Ok(told) => told,
            // No tracee is left.
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
            Err(error) => return Err(error).context("cannot wait for the traced program"),
        };
        let signal = match news {
            News::Exited(status) => {
                tasks.remove(&pid);
                if pid == root {
                    code = Some(status);
                }
                continue;
            }
            News::Killed => {
                tasks.remove(&pid);
                continue;
            }
            News::Event => 0,
            // The first stop of the program (it was executed) and of each child.
            News::Signal(_) if !tasks.contains_key(&pid) => {
                tasks.insert(pid, None);
                if pid == root {
                    sys::follow(pid).context("cannot trace")?;
                }
                0
            }
            News::Signal(signal) => signal,
            News::AtCall => {
                let pending = tasks.entry(pid).or_default();
                match sys::call(pid) {
                    Ok(Call::Entry(number, arguments)) => {
                        calls += 1;
                        if calls >= last && failure.is_none() {
                            end(&tasks);
                            continue;
                        }
                        if let Some(watch) = watch.as_deref_mut() {
                            match watch.begin(pid, number, arguments) {
                                Ok(begun) => *pending = begun,
                                Err(error) => failure = Some(error),
                            }
                        }
                    }
                    Ok(Call::Exit(result)) => {
                        if let (Some(watch), Some(begun)) = (watch.as_deref_mut(), pending.take())
                            && result >= 0
                            && let Err(error) = watch.end(pid, begun, result)
                        {
                            failure = Some(error);
                        }
                    }
                    // Killed meanwhile.
                    Ok(Call::None) | Err(_) => {}
                }
                if failure.is_some() {
                    end(&tasks);
                    continue;
                }
                0
            }
        };
        // One that was killed meanwhile is told of at the next turn.
        let _ = sys::go_on(pid, signal);
    }
    match failure {
        Some(error) => Err(error),
        None if code.is_none() && last == u64::MAX => bail!("the traced program was killed"),
        None => Ok((code, calls)),
    }
}

/// Kills every task of the program; stopped or not, none of them makes another step.
fn end(tasks: &HashMap<pid_t, Option<Pending>>) {
    for &pid in tasks.keys() {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // A thread of a process that is dying already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
