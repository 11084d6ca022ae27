//! Runs a program under ptrace: to its end, with a log of what it did to a folder, or until it is killed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use libc::pid_t;

use crate::calls::{self, Pending, Watch};
use crate::log::Log;
use crate::small::Filler;
use crate::sys::{self, Call, News};

/// How a traced program ended.
#[derive(Debug)]
pub struct Run {
    /// System calls begun, by all of its processes and threads.
    pub calls: u64,
    /// Of these, those that make something of the folder durable, if its changes were noted.
    pub syncs: u64,
    /// Of these, those that were refused for want of room.
    pub refused: u64,
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub said: String,
    /// What it wrote to its standard error.
    pub complained: String,
}

/// Traces programs on one folder, one after the other.
#[derive(Debug)]
pub struct Tracer {
    watch: Option<Watch>,
    filler: Option<Filler>,
}

/// What is done to a program while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Spared,
    /// It is killed, with all its children, as its system call of this number begins, from 1.
    KilledAt(u64),
    /// The same at its call of this number that would make something of the folder durable, from 1: whatever it has
    /// done since the one before is there to be seen, and may still be lost.
    KilledAtSync(u64),
    /// From its system call of this number on, nothing of the folder may grow: `ENOSPC`.
    FullFrom(u64),
    /// As its system call of this number begins, the disk is filled, for real.
    FilledAt(u64),
}

impl Tracer {
    /// One that notes every change of `root`, which nobody else may touch from now on.
    ///
    /// # Errors
    ///
    /// If something in it cannot be read.
    pub fn noting(root: &Path) -> Result<Self> {
        Ok(Self { watch: Some(Watch::new(root)?), filler: None })
    }

    /// One that only counts.
    pub fn counting() -> Self {
        Self { watch: None, filler: None }
    }

    /// One that only counts, and fills a disk.
    pub fn filling(filler: Filler) -> Self {
        Self { watch: None, filler: Some(filler) }
    }

    /// What was noted.
    pub fn into_log(self) -> Log {
        self.watch.map_or_else(Log::default, |watch| watch.log)
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// If it cannot be started or traced, or does a thing to the folder that the model does not know.
    pub fn run(&mut self, command: &mut Command, fate: Fate) -> Result<Run> {
        let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        if let Some(watch) = &mut self.watch {
            watch.listen_to(&out)?;
        }
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
        sys::traced_from_exec(command);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let root = pid_t::try_from(child.id())?;
        let mut follower = Follower {
            watch: self.watch.as_mut(),
            filler: self.filler.as_ref(),
            fate,
            root,
            tasks: HashMap::new(),
            calls: 0,
            syncs: 0,
            refused: 0,
            code: None,
        };
        let followed = follower.follow();
        let Follower { calls, syncs, refused, code, .. } = follower;
        followed?;
        let (said, complained) = (all_of(&mut out)?, all_of(&mut err)?);
        if code.is_none() && !matches!(fate, Fate::KilledAt(_) | Fate::KilledAtSync(_)) {
            bail!("the traced program was killed: {complained}");
        }
        Ok(Run { calls, syncs, refused, code, said, complained })
    }
}

fn all_of(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// In the middle of what a task is.
#[derive(Debug)]
enum Middle {
    /// A call that matters not.
    Nothing,
    /// A call that changes the folder.
    Change(Pending),
    /// A call that is refused for want of room.
    Refused,
    /// A call that asks for the room that is left, and where in the task's memory the answer comes.
    RoomAsked(u64),
}

struct Follower<'watch> {
    watch: Option<&'watch mut Watch>,
    filler: Option<&'watch Filler>,
    fate: Fate,
    root: pid_t,
    /// Every task that is traced.
    tasks: HashMap<pid_t, Middle>,
    calls: u64,
    syncs: u64,
    refused: u64,
    code: Option<i32>,
}

impl Follower<'_> {
    fn follow(&mut self) -> Result<()> {
        let mut failure = None;
        loop {
            let (pid, news) = match sys::wait() {
                Ok(told) => told,
                // No tracee is left.
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                Err(error) => return Err(error).context("cannot wait for the traced program"),
            };
            let signal = match news {
                News::Exited(_) | News::Killed => {
                    self.tasks.remove(&pid);
                    if let (News::Exited(status), true) = (news, pid == self.root) {
                        self.code = Some(status);
                    }
                    continue;
                }
                News::Event => 0,
                // The first stop of the program (it was executed) and of each child.
                News::Signal(_) if !self.tasks.contains_key(&pid) => {
                    self.tasks.insert(pid, Middle::Nothing);
                    if pid == self.root {
                        sys::follow(pid).context("cannot trace")?;
                    }
                    0
                }
                News::Signal(signal) => signal,
                News::AtCall => match self.at_call(pid) {
                    Ok(true) => 0,
                    Ok(false) => {
                        self.end();
                        continue;
                    }
                    Err(error) => {
                        failure.get_or_insert(error);
                        self.end();
                        continue;
                    }
                },
            };
            // One that was killed meanwhile is told of at the next turn.
            let _ = sys::go_on(pid, signal);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether the program lives on.
    fn at_call(&mut self, pid: pid_t) -> Result<bool> {
        match sys::call(pid) {
            Ok(Call::Entry(number, arguments)) => {
                self.calls += 1;
                if matches!(self.fate, Fate::KilledAt(last) if self.calls >= last) {
                    return Ok(false);
                }
                if let (Fate::FilledAt(number), Some(filler)) = (self.fate, self.filler)
                    && self.calls == number
                {
                    filler.fill()?;
                }
                let full = matches!(self.fate, Fate::FullFrom(first) if self.calls >= first);
                let Some(watch) = &self.watch else { return Ok(true) };
                let begun = watch.begin(pid, number, arguments)?;
                if begun.as_ref().is_some_and(Pending::is_sync) {
                    self.syncs += 1;
                    if matches!(self.fate, Fate::KilledAtSync(last) if self.syncs >= last) {
                        return Ok(false);
                    }
                }
                let middle = match begun {
                    Some(Pending::RoomAsked { answer }) if full => Middle::RoomAsked(answer),
                    Some(pending) if full && pending.takes_room() => {
                        sys::skip(pid).context("cannot skip a system call")?;
                        self.refused += 1;
                        Middle::Refused
                    }
                    Some(pending) => Middle::Change(pending),
                    None => Middle::Nothing,
                };
                self.tasks.insert(pid, middle);
            }
            Ok(Call::Exit(result)) => match self.tasks.insert(pid, Middle::Nothing) {
                Some(Middle::Refused) => {
                    sys::fail(pid, libc::ENOSPC).context("cannot fail a system call")?;
                }
                Some(Middle::RoomAsked(answer)) if result == 0 => calls::no_room(pid, answer)?,
                Some(Middle::Change(pending)) if result >= 0 => {
                    if let Some(watch) = &mut self.watch {
                        watch.end(pid, pending, result)?;
                    }
                }
                _ => {}
            },
            // Killed meanwhile.
            Ok(Call::None) | Err(_) => {}
        }
        Ok(true)
    }

    /// Kills every task of the program; stopped or not, none of them makes another step.
    fn end(&self) {
        for &pid in self.tasks.keys() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // It may be a thread of a process that is dying already.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
