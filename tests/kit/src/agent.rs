//! Helper processes: this same program, started again to play one role.
//!
//! What must be a process of its own (another user, something to stop or kill, a writer whose opens are
//! not the test's) is a role here. An agent prints `ready` when it is, and may print one line of result.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::sleep_until;
use crate::histogram::Summary;
use crate::openers::{Tally, Target};
use crate::{Histogram, clock, floor, fuse, race, sys, trespass};

/// The first argument of a program that is to be an agent.
const WORD: &str = "agent";

/// A helper process; it is killed when the value is dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    said: BufReader<ChildStdout>,
}

/// What the role `open` saw.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Opened {
    /// How long the opens took.
    pub waits: Summary,
    /// Opens that gave a descriptor.
    pub served: u64,
    /// Opens that were refused.
    pub refused: u64,
    /// Opens that failed in another way.
    pub failed: u64,
}

impl Agent {
    /// Starts an agent in `role`.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(role: &str, arguments: &[&str]) -> Result<Self> {
        Self::spawn(role, arguments, |_| {})
    }

    /// Starts an agent in `role` in a session of its own, as a service runs: the kernel shares
    /// processors between sessions first, and only then between their threads (`man 7 sched`,
    /// autogroup).
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start_service(role: &str, arguments: &[&str]) -> Result<Self> {
        Self::spawn(role, arguments, sys::enter_session_on_exec)
    }

    /// Starts an agent in `role` as the user and group `uid`, in a session of its own, as a login does.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start_as(role: &str, arguments: &[&str], uid: u32) -> Result<Self> {
        Self::spawn(role, arguments, |command| {
            command.uid(uid).gid(uid);
            sys::enter_session_on_exec(command);
        })
    }

    fn spawn(role: &str, arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Result<Self> {
        // Not current_exe(): another user may not be able to reach the file that it names.
        let mut command = Command::new("/proc/self/exe");
        command.args([WORD, role]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        prepare(&mut command);
        let mut child =
            command.spawn().with_context(|| format!("cannot start the agent {role}"))?;
        let said = BufReader::new(child.stdout.take().context("the agent's output is a pipe")?);
        Ok(Self { child, said })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// If it ends before that.
    pub fn ready(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(line == "ready", "the agent said {line:?} instead of `ready`");
        Ok(())
    }

    /// Waits for its result.
    ///
    /// # Errors
    ///
    /// If it ends without one.
    pub fn result<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the agent said {line:?}"))
    }

    /// Sends it `signal`.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?).context("a child has a pid")?;
        Ok(kill_process(pid, signal)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        if line.is_empty() {
            let status = self.child.wait()?;
            bail!("the agent ended ({status}) without a word");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Says `ready` to the test; for agents.
    ///
    /// # Errors
    ///
    /// If nobody listens any more.
    pub(crate) fn say_ready() -> Result<()> {
        say("ready")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays the role that this program was started for, if it was started as an agent.
///
/// Call it first in `main`.
pub fn played() -> Option<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (word, rest) = arguments.split_first()?;
    if word != WORD {
        return None;
    }
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    Some(match play(&rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "agent {}: {error:#}", rest.join(" "));
            ExitCode::FAILURE
        }
    })
}

fn play(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["floor", path, what] => floor::serve(Path::new(path), *what == "exec"),
        ["fuse", path] => fuse::serve(Path::new(path)),
        ["open", path, times] => open(path, times.parse()?),
        ["pace", folder, first, count, gap_us] => {
            pace(Path::new(folder), first.parse()?, count.parse()?, gap_us.parse()?)
        }
        ["idle"] => {
            Agent::say_ready()?;
            loop {
                std::thread::park();
            }
        }
        ["trespass", aim, pid] => {
            say(&serde_json::to_string(&trespass::try_process(aim, pid.parse()?)?)?)
        }
        ["touch", touch, paths @ ..] => {
            say(&serde_json::to_string(&trespass::try_paths(touch, paths)?)?)
        }
        ["flood", folder, count, threads] => {
            flood(Path::new(folder), count.parse()?, threads.parse()?)
        }
        ["rate", folder, count, first, start, stop, read] => {
            let turn = Turn { first: first.parse()?, start: start.parse()?, stop: stop.parse()? };
            rate(Path::new(folder), count.parse()?, &turn, *read == "read")
        }
        ["each", folder, count, passes] => each(Path::new(folder), count.parse()?, passes.parse()?),
        ["exec", path] => exec(Path::new(path)),
        ["write-race", way, folder, flags] => {
            race::write(way.parse()?, Path::new(folder), Path::new(flags))
        }
        _ => bail!("no such role"),
    }
}

/// Opens one file `times` times.
fn open(path: &str, times: u64) -> Result<()> {
    let target = Target::clean(path);
    let mut tally = Tally::default();
    (0..times).for_each(|_| tally.open(&target));
    say_opened(&tally)
}

/// Opens `count` files, each once, with a pause of `gap_us` µs between them.
fn pace(folder: &Path, first: usize, count: usize, gap_us: u64) -> Result<()> {
    let mut tally = Tally::default();
    Agent::say_ready()?;
    for index in first..first + count {
        let due = clock::now() + gap_us * 1000;
        tally.open(&Target::clean(folder.join(format!("f{index}"))));
        sleep_until(due);
    }
    say_opened(&tally)
}

/// Opens the folder's files with several threads until it is killed.
fn flood(folder: &Path, count: usize, threads: usize) -> Result<()> {
    let targets = (0..count).map(|index| Target::clean(folder.join(format!("f{index}")))).collect();
    let _openers = crate::openers::Openers::start(threads, targets);
    Agent::say_ready()?;
    loop {
        std::thread::park();
    }
}

/// Which part an agent has in a measurement of several: where it begins, and from when to when.
struct Turn {
    first: usize,
    start: u64,
    stop: u64,
}

/// Opens (and reads) the folder's files as fast as it can; tells how many.
fn rate(folder: &Path, count: usize, turn: &Turn, read: bool) -> Result<()> {
    let paths: Vec<_> = (0..count)
        .map(|index| folder.join(format!("f{}", (turn.first + index) % count)))
        .map(|path| std::ffi::CString::new(path.into_os_string().into_encoded_bytes()))
        .collect::<Result<_, _>>()?;
    let mut waits = Histogram::default();
    Agent::say_ready()?;
    sleep_until(turn.start);
    for path in paths.iter().cycle() {
        if clock::now() >= turn.stop {
            break;
        }
        waits.add(crate::openers::open_once(path, read)?);
    }
    say(&serde_json::to_string(&waits.summary())?)
}

/// Opens, reads and closes each of the folder's files: once, and then `passes` times more. Tells how long
/// the first and the later ones took.
fn each(folder: &Path, count: usize, passes: usize) -> Result<()> {
    let paths: Vec<_> = (0..count)
        .map(|index| folder.join(format!("f{index}")))
        .map(|path| std::ffi::CString::new(path.into_os_string().into_encoded_bytes()))
        .collect::<Result<_, _>>()?;
    let (mut first, mut again) = (Histogram::default(), Histogram::default());
    for path in &paths {
        first.add(crate::openers::open_once(path, true)?);
    }
    for path in paths.iter().cycle().take(count * passes) {
        again.add(crate::openers::open_once(path, true)?);
    }
    say(&serde_json::to_string(&[first.summary(), again.summary()])?)
}

/// Executes a program; tells what came of it.
fn exec(path: &Path) -> Result<()> {
    say(&serde_json::to_string(&crate::ways::exec(path))?)
}

fn say_opened(tally: &Tally) -> Result<()> {
    let opened = Opened {
        waits: tally.waits.summary(),
        served: tally.served,
        refused: tally.wrongly_refused + tally.refused,
        failed: tally.failed,
    };
    say(&serde_json::to_string(&opened)?)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
