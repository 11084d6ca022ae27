//! The platform at work: started, asked, broken, ended.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::control::{
    Counters, EngineAction, EngineState, EngineStatus, Pids, ReleaseName, Request, Response,
    Status, Trial,
};
use outrigger_api::coverage::EventCoverage;
use outrigger_api::{Coverage, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::wait_for;
use crate::control::{self, Watch};
use crate::setup::{Setup, content_folder, control_socket, put_policy};
use crate::{binaries, proc, sys};

/// How long the platform may take until it serves. On an emulated processor everything takes longer.
const START: Duration = Duration::from_secs(10);
const START_EMULATED: Duration = Duration::from_secs(180);
/// How long it may take to end.
const END: Duration = Duration::from_secs(5);
/// There it has programs in the kernel to take back as well.
const END_EMULATED: Duration = Duration::from_secs(60);

/// How long another process may take to come to an engine's place.
const SWAP: Duration = Duration::from_secs(30);
/// Longest wait for a status.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_EMULATED: Duration = Duration::from_secs(60);
/// The same while the host that was asked may be dead.
const IMPATIENCE: Duration = Duration::from_millis(100);
/// Longest trial of a kernel: some sixty programs, on a processor that has other things to do.
const COVERAGE_LIMIT: Duration = Duration::from_secs(60);
const COVERAGE_LIMIT_EMULATED: Duration = Duration::from_secs(1200);

/// One of the platform's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first process.
    Keeper,
    /// The one that answers when the host does not.
    Gate,
    /// The one that decides.
    Host,
}

/// A running platform; it is killed when the value is dropped.
#[derive(Debug)]
pub struct Host {
    keeper: Child,
    folder: PathBuf,
    engines: Vec<String>,
}

impl Host {
    /// Starts the platform with `setup`, whose files are written below `folder`, and waits until it
    /// serves with every engine docked.
    ///
    /// # Errors
    ///
    /// If it is not built, ends, or does not serve in time; holds the end of its log.
    pub fn start(folder: &Path, setup: &Setup) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let config = setup.write(folder)?;
        Self::start_binary(&binaries::path(binaries::HOST)?, folder, &config, setup)
    }

    fn start_binary(binary: &Path, folder: &Path, config: &Path, setup: &Setup) -> Result<Self> {
        let log = File::create(folder.join("log"))?;
        let (ready, say_ready) = pipe_with(PipeFlags::CLOEXEC)?;
        // The platform is told the number; no other process is started meanwhile.
        fcntl_setfd(&say_ready, FdFlags::empty())?;
        let mut command = Command::new(binary);
        command
            .arg("run")
            .arg("--config")
            .arg(config)
            .args(["--ready-fd", &say_ready.as_raw_fd().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        sys::enter_session_on_exec(&mut command);
        let keeper =
            command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
        drop(say_ready);
        let engines = setup.engine_names().map(str::to_owned).collect();
        let host = Self { keeper, folder: folder.to_owned(), engines };

        let start = if emulated() { START_EMULATED } else { START };
        let timeout = Timespec::try_from(start)?;
        let mut polled = [PollFd::new(&ready, PollFlags::IN)];
        let polled = rustix::io::retry_on_intr(|| poll(&mut polled, Some(&timeout)))?;
        ensure!(
            polled > 0,
            "the platform did not serve within {} s\n{}",
            start.as_secs(),
            host.log()
        );
        let mut word = [0; 16];
        let len = rustix::io::read(&ready, &mut word)?;
        ensure!(&word[..len] == b"ready\n", "the platform ended before it served\n{}", host.log());
        Ok(host)
    }

    /// Sends one request to the host.
    ///
    /// # Errors
    ///
    /// If it does not answer or says no.
    pub fn ask(&self, request: &Request) -> Result<Response> {
        control::ask(&control_socket(&self.folder), request)
    }

    /// The state of the whole.
    ///
    /// # Errors
    ///
    /// If the host does not answer.
    pub fn status(&self) -> Result<Status> {
        self.status_within(if emulated() { PATIENCE_EMULATED } else { PATIENCE })
    }

    fn status_within(&self, limit: Duration) -> Result<Status> {
        match control::ask_within(limit, &control_socket(&self.folder), &Request::Status)? {
            Response::Status(status) => Ok(*status),
            other => bail!("the host answered {other:?}"),
        }
    }

    /// Counts since the keeper started.
    ///
    /// # Errors
    ///
    /// If the host does not answer.
    pub fn counters(&self) -> Result<Counters> {
        Ok(self.status()?.counters)
    }

    /// The state of one engine.
    ///
    /// # Errors
    ///
    /// If the host does not answer or has no such engine.
    pub fn engine(&self, name: &str) -> Result<EngineStatus> {
        let engines = self.status()?.engines;
        let found = engines.into_iter().find(|engine| engine.name.as_str() == name);
        found.with_context(|| format!("the host knows no engine {name}"))
    }

    /// Waits until the engine is in `state`; gives its status then.
    ///
    /// # Errors
    ///
    /// If that does not come about in time.
    pub fn wait_engine(
        &self,
        name: &str,
        state: EngineState,
        limit: Duration,
    ) -> Result<EngineStatus> {
        wait_for(&format!("engine {name} {state:?}"), limit, || {
            Ok(self.engine(name).ok().filter(|engine| engine.state == state))
        })
    }

    /// Does something to an engine.
    ///
    /// # Errors
    ///
    /// If the host does not answer or says no.
    pub fn engine_action(&self, name: &str, action: EngineAction) -> Result<()> {
        let name = name.parse()?;
        self.ask(&Request::Engine { name, action }).map(drop)
    }

    /// Has the engine's process replaced by one of what is in force; gives what the host says that it did.
    ///
    /// # Errors
    ///
    /// If the host does not answer or says no.
    pub fn swap(&self, engine: &str) -> Result<String> {
        self.done(&Request::Swap { engine: engine.parse()? })
    }

    /// Has `releases` tried; gives what the host says when they run in shadow.
    ///
    /// # Errors
    ///
    /// If the host does not answer or says no.
    pub fn try_out(&self, engine: &str, releases: Vec<ReleaseName>) -> Result<String> {
        self.done(&Request::Trial { engine: engine.parse()?, releases, emergency: false })
    }

    /// Ends an engine's trial; gives what the host says that it did.
    ///
    /// # Errors
    ///
    /// If the host does not answer or says no.
    pub fn stop_trial(&self, engine: &str) -> Result<String> {
        self.done(&Request::StopTrial { engine: engine.parse()? })
    }

    /// Goes back to what was in force before; gives what the host says that it did.
    ///
    /// # Errors
    ///
    /// If the host does not answer or says no.
    pub fn go_back(&self, engine: &str) -> Result<String> {
        self.done(&Request::GoBack { engine: engine.parse()?, part: None })
    }

    /// Every trial under way.
    ///
    /// # Errors
    ///
    /// If the host does not answer.
    pub fn trials(&self) -> Result<Vec<Trial>> {
        match self.ask(&Request::Trials)? {
            Response::Trials { trials } => Ok(trials),
            other => bail!("the host answered {other:?}"),
        }
    }

    fn done(&self, request: &Request) -> Result<String> {
        match control::ask_within(SWAP, &control_socket(&self.folder), request)? {
            Response::Done { message } => Ok(message),
            other => bail!("the host answered {other:?}"),
        }
    }

    /// Gives a faulty engine another behaviour; does not wait for it.
    ///
    /// # Errors
    ///
    /// If the host does not answer or says no.
    pub fn tell(&self, engine: &str, behaviour: &str) -> Result<()> {
        fs::write(content_folder(&self.folder, engine).join("behaviour"), behaviour)?;
        self.engine_action(engine, EngineAction::Reload)
    }

    /// Restarts a faulty engine, which has another behaviour from its start on.
    ///
    /// # Errors
    ///
    /// If the host does not answer or says no.
    pub fn restart_with(&self, engine: &str, behaviour: &str) -> Result<()> {
        fs::write(content_folder(&self.folder, engine).join("behaviour"), behaviour)?;
        self.engine_action(engine, EngineAction::Restart)
    }

    /// Gives a faulty engine another behaviour and waits until it says that it has it.
    ///
    /// # Errors
    ///
    /// If it does not say so in time.
    pub fn behave(&self, engine: &str, behaviour: &str) -> Result<String> {
        self.tell(engine, behaviour)?;
        wait_for(&format!("behaviour {behaviour:?}"), Duration::from_secs(5), || {
            let content = self.engine(engine)?.content.unwrap_or_default();
            Ok(content.starts_with(behaviour).then_some(content))
        })
    }

    /// Writes a file of policies and has the folder put in force; gives what the host says that it did.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or the host does not answer or says no.
    pub fn apply_policy(&self, name: &str, text: &str) -> Result<String> {
        put_policy(&self.folder, name, text)?;
        self.done(&Request::ApplyPolicy)
    }

    /// Watches its decisions.
    ///
    /// # Errors
    ///
    /// If the host does not listen.
    pub fn watch(&self) -> Result<Watch> {
        Watch::start(&control_socket(&self.folder))
    }

    /// The process ids of keeper, gate and host now.
    ///
    /// # Errors
    ///
    /// If the host does not answer.
    pub fn pids(&self) -> Result<Pids> {
        Ok(self.status()?.pids)
    }

    /// As [`Self::pids`], but `None` if the host does not answer soon: for one that may be dead or that
    /// hands over.
    pub fn pids_soon(&self) -> Option<Pids> {
        self.status_within(IMPATIENCE).ok().map(|status| status.pids)
    }

    /// Sends `signal` to one of the processes.
    ///
    /// # Errors
    ///
    /// If the host does not tell which it is, or it is gone.
    pub fn signal(&self, part: Part, signal: Signal) -> Result<u32> {
        let pids = self.pids()?;
        let pid = match part {
            Part::Keeper => pids.keeper,
            Part::Gate => pids.gate,
            Part::Host => pids.host,
        };
        send(pid, signal)?;
        Ok(pid)
    }

    /// Waits until another host than `old` answers requests; gives its pids.
    ///
    /// # Errors
    ///
    /// If none does in time.
    pub fn wait_successor(&self, old: u32, limit: Duration) -> Result<Pids> {
        wait_for("a new host", limit, || Ok(self.pids_soon().filter(|pids| pids.host != old)))
    }

    /// Where the setup's files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the platform wrote so far: its output, then its journal.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("log") + &read("state/journal.jsonl")
    }

    /// What it says that this kernel gives, which it finds out after it began to serve.
    ///
    /// # Errors
    ///
    /// If the host does not say so in time.
    pub fn coverage(&self) -> Result<Coverage> {
        let limit = if emulated() { COVERAGE_LIMIT_EMULATED } else { COVERAGE_LIMIT };
        wait_for("coverage of every event", limit, || {
            let coverage = self.status()?.coverage;
            let tried = |event: &EventCoverage| {
                event.not_ruled.as_deref().is_none_or(|why| !why.contains("being tried"))
            };
            let all = coverage.events.len() == Event::ALL.len();
            Ok((all && coverage.events.iter().all(tried)).then_some(coverage))
        })
    }

    /// Ends the platform as an operator does, and checks that nothing of it is left.
    ///
    /// # Errors
    ///
    /// If it fails, takes too long, or leaves a process behind.
    pub fn end(mut self) -> Result<()> {
        let status = self.status()?;
        let engines = status.engines.iter().filter_map(|engine| engine.pid);
        let pids: Vec<u32> = [status.pids.keeper, status.pids.gate, status.pids.host]
            .into_iter()
            .chain(engines)
            .collect();
        send(self.keeper.id(), Signal::TERM)?;
        let limit = if emulated() { END_EMULATED } else { END };
        let status = wait_for("the keeper's end", limit, || Ok(self.keeper.try_wait()?))?;
        ensure!(status.success(), "the keeper ended with {status}\n{}", self.log());
        let left: Vec<String> =
            pids.into_iter().filter(|pid| proc::is_alive(*pid)).map(proc::describe).collect();
        ensure!(left.is_empty(), "left behind: {}", left.join(", "));
        Ok(())
    }

    /// Waits for the keeper's end; gives the signal that ended it.
    ///
    /// # Errors
    ///
    /// If it does not end in time.
    pub fn wait_keeper_end(&mut self) -> Result<Option<i32>> {
        Ok(wait_for("the keeper's end", END, || Ok(self.keeper.try_wait()?))?.signal())
    }

    /// Names of the engines, as configured.
    pub fn engine_names(&self) -> &[String] {
        &self.engines
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pids = self.pids().unwrap_or_default();
        let _ = self.keeper.kill();
        // The keeper may be another than the one that was started: a new build that took over.
        for pid in [pids.keeper, pids.gate, pids.host] {
            let _ = send(pid, Signal::KILL);
        }
        let _ = self.keeper.wait();
    }
}

/// Whether this is a machine whose processors are emulated, as that of `tests/vm` says it is.
fn emulated() -> bool {
    std::env::var_os("OUTRIGGER_TEST_EMULATED").is_some()
}

/// Sends `signal` to a process of this world.
///
/// # Errors
///
/// If there is no such process.
pub fn send(pid: u32, signal: Signal) -> Result<()> {
    ensure!(pid > 1, "no process to send {signal:?} to");
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a pid is not zero")?;
    Ok(kill_process(pid, signal)?)
}
