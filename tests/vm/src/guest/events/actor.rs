//! A process that acts: begun, prepared, let go, ended.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_api::Event;
use outrigger_api::catalogue::ObjectKind;

use super::acts;
use super::expected::{OTHER_PORT, PORT};
use super::scene::Scene;

/// How long a program may be busy that was just written.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// A process that has prepared its act. It is killed, with what it acts on, when the value is dropped.
#[derive(Debug)]
pub(super) struct Actor {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    target: Target,
}

/// What the act is done on, as long as that has to be there.
#[derive(Debug)]
enum Target {
    Process(Child),
    /// A port, and what answers there.
    Port(
        u16,
        #[expect(dead_code, reason = "it answers as long as it is there")] Option<TcpListener>,
    ),
    Socket(#[expect(dead_code, reason = "it answers as long as it is there")] UnixListener),
    Nothing,
}

impl Actor {
    /// Begins a process and waits until it has prepared its act.
    pub(super) fn prepare(scene: &Scene) -> Result<Self> {
        let target = Target::of(scene)?;
        let mut child = scene
            .command(&target.number().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot begin the process that acts")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut actor = Self { child, output: BufReader::new(output), target };
        let mut line = String::new();
        actor.output.read_line(&mut line)?;
        ensure!(line.trim_end() == acts::READY, "it said: {line:?}");
        Ok(actor)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Process or port that it acts on.
    pub(super) fn target(&self) -> u32 {
        self.target.number()
    }

    /// Lets it act; the errno of the act, 0 if it succeeded. It is still there afterwards, unless the act was to
    /// become another program or to end.
    pub(super) fn act(&mut self) -> Result<i32> {
        let orders = self.child.stdin.as_mut().context("its orders are a pipe")?;
        orders.write_all(b"go\n")?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? > 0 {
            return line.trim_end().parse().with_context(|| format!("it said: {line:?}"));
        }
        let status: ExitStatus = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(0)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Begins a program that was just written. A process that another thread forked meanwhile has it open for writing
/// until it runs its own program: a moment, for which it is busy.
fn begun(command: &mut Command) -> std::io::Result<Child> {
    let until = Instant::now() + BUSY_LIMIT;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < until =>
            {
                std::thread::yield_now();
            }
            done => return done,
        }
    }
}

impl Target {
    fn of(scene: &Scene) -> Result<Self> {
        Ok(match (scene.event.object(), scene.event) {
            (_, Event::ProcessFork | Event::ProcessExit) => Self::Nothing,
            (ObjectKind::Process, _) => Self::Process(
                begun(Command::new(scene.object()).arg("1000").stdin(Stdio::null()))
                    .context("cannot begin the process that is acted on")?,
            ),
            (ObjectKind::Endpoint, event) => {
                let port = if scene.way.object { PORT } else { OTHER_PORT };
                let answers = event == Event::NetConnect;
                let listener = answers.then(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
                Self::Port(port, listener.transpose().context("the port is taken")?)
            }
            (_, Event::UnixConnect) => {
                let listener = UnixListener::bind(scene.object())?;
                fs::set_permissions(scene.object(), fs::Permissions::from_mode(0o777))?;
                Self::Socket(listener)
            }
            _ => Self::Nothing,
        })
    }

    fn number(&self) -> u32 {
        match self {
            Self::Process(child) => child.id(),
            Self::Port(port, _) => u32::from(*port),
            Self::Socket(_) | Self::Nothing => 0,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::Process(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
