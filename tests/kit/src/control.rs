//! The operator's protocol, as the operator's tool speaks it.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::control::{Decision, Request, Response};

/// Longest wait for a line of the host.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for a line of a watch before what leads to it is done again.
const PATIENCE: Duration = Duration::from_millis(200);

/// Sends one request to the host at `socket`; gives its response.
///
/// # Errors
///
/// If the host does not listen, does not answer in time, or says no.
pub fn ask(socket: &Path, request: &Request) -> Result<Response> {
    ask_within(LIMIT, socket, request)
}

/// As [`ask`], and waits no longer than `limit` for the response: for a host that may be stopped.
///
/// # Errors
///
/// As [`ask`].
pub fn ask_within(limit: Duration, socket: &Path, request: &Request) -> Result<Response> {
    let mut lines = connect(socket, request)?;
    lines.get_ref().set_read_timeout(Some(limit))?;
    match read(&mut lines)? {
        Response::Error { message } => bail!("the host says no: {message}"),
        response => Ok(response),
    }
}

/// Decisions of the host.
#[derive(Debug)]
pub struct Watch {
    lines: BufReader<UnixStream>,
    /// What was read of a line whose end has not come.
    partial: String,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// If the host does not listen.
    pub fn start(socket: &Path) -> Result<Self> {
        let lines = connect(socket, &Request::Watch)?;
        lines.get_ref().set_read_timeout(Some(PATIENCE))?;
        Ok(Self { lines, partial: String::new() })
    }

    /// Does `act` until a decision comes for which `wanted` holds; gives what the last act gave, and
    /// the decision.
    ///
    /// More than once, because the host does not say from when on it is watched.
    ///
    /// # Errors
    ///
    /// If none comes in time, or `act` fails.
    pub fn find<T>(
        &mut self,
        mut act: impl FnMut() -> Result<T>,
        wanted: impl Fn(&Decision) -> bool,
    ) -> Result<(T, Decision)> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let acted = act()?;
            while let Some(response) = self.next()? {
                match response {
                    Response::Decision(decision) if wanted(&decision) => {
                        return Ok((acted, *decision));
                    }
                    Response::Error { message } => bail!("the host says no: {message}"),
                    _ => {}
                }
            }
        }
        bail!("no such decision came within {} s", LIMIT.as_secs())
    }

    /// The next line; `None` if none comes soon.
    fn next(&mut self) -> Result<Option<Response>> {
        match self.lines.read_line(&mut self.partial) {
            Ok(0) => bail!("the host closed the connection"),
            Ok(_) => {
                let line = std::mem::take(&mut self.partial);
                Ok(Some(serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn connect(socket: &Path, request: &Request) -> Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("the host does not listen at {}", socket.display()))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(BufReader::new(stream))
}

fn read(lines: &mut BufReader<UnixStream>) -> Result<Response> {
    let mut line = String::new();
    lines.read_line(&mut line).context("the host did not answer")?;
    ensure!(!line.is_empty(), "the host closed the connection without an answer");
    serde_json::from_str(&line).with_context(|| format!("the host said {line:?}"))
}
