//! The connection to the host: one request line out, answer lines in, each within limits.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use outrigger_api::control::{REQUEST_MAX, Request, Response};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Longest answer line read, in bytes.
pub(crate) const RESPONSE_MAX: usize = 16 << 20;
/// How much is read at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// Why the host gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Nobody takes connections there.
    #[error("cannot reach the host at {socket}: {cause}; {}", advice(cause))]
    Unreachable {
        /// Where it was looked for.
        socket: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The connection stands, and the host let the time limit pass.
    #[error(
        "the host at {socket} did not answer within {limit:?}; \
         see its log, or wait longer with --timeout SECONDS"
    )]
    Silent {
        /// Where it is.
        socket: String,
        /// The limit that passed.
        limit: Duration,
    },
    /// The host closed the connection without an answer, or in the middle of one.
    #[error("the host at {socket} closed the connection{}", unfinished(*got))]
    Closed {
        /// Where it was.
        socket: String,
        /// Bytes of the unfinished answer.
        got: usize,
    },
    /// The connection broke.
    #[error("lost the host at {socket}")]
    Broken {
        /// Where it was.
        socket: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The request does not fit the protocol; nothing was sent.
    #[error("the request is {len} bytes long, over the limit of {REQUEST_MAX}: shorten its path")]
    RequestTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The answer's line does not end within the limit.
    #[error("the host at {socket} sent an answer of more than {RESPONSE_MAX} bytes")]
    TooLong {
        /// Where it is.
        socket: String,
    },
    /// The answer is no response of this contract.
    #[error(
        "the host at {socket} answered what outrigger {} does not understand; \
         are tool and host of the same release?",
        env!("CARGO_PKG_VERSION")
    )]
    NotUnderstood {
        /// Where it is.
        socket: String,
        /// The parser's reason.
        source: serde_json::Error,
    },
}

/// What to do when connecting failed with `cause`.
fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => "run outrigger as root",
        io::ErrorKind::WouldBlock => {
            "a host is there and takes no connections: it hangs or is overloaded"
        }
        _ => {
            "is outriggerd running? start it with `outriggerd run`, or `outriggerd try` to look at it"
        }
    }
}

fn unfinished(got: usize) -> String {
    if got == 0 { " without an answer".into() } else { format!(" after {got} bytes of an answer") }
}

/// A connection that carries one request.
pub(crate) struct Link {
    stream: UnixStream,
    socket: String,
    /// Longest wait for an answer; `None` waits for ever.
    limit: Option<Duration>,
    /// What was read and not yet taken.
    buffer: Vec<u8>,
}

/// One answer: as it was sent, and what it means.
pub(crate) struct Received {
    /// The line, without its end.
    pub(crate) line: String,
    /// Its meaning.
    pub(crate) response: Response,
}

impl Link {
    /// Connects to the host at `socket` and sends `request`, within `limit`.
    ///
    /// # Errors
    ///
    /// [`LinkError::Unreachable`] if nobody listens there or nobody takes the connection in time,
    /// [`LinkError::RequestTooLong`], and [`LinkError::Broken`] if it could not be sent.
    pub(crate) fn open(
        socket: &Path,
        request: &Request,
        limit: Duration,
    ) -> Result<Self, LinkError> {
        let mut line = serde_json::to_string(request).expect("a request is plain data");
        line.push('\n');
        if line.len() > REQUEST_MAX {
            return Err(LinkError::RequestTooLong { len: line.len() });
        }
        let shown = socket.display().to_string();
        let stream = connect_within(socket, limit)
            .map_err(|cause| LinkError::Unreachable { socket: shown.clone(), cause })?;
        let mut link = Self { stream, socket: shown, limit: Some(limit), buffer: Vec::new() };
        link.stream.write_all(line.as_bytes()).map_err(|source| link.broken(source))?;
        Ok(link)
    }

    /// Waits for answers without a limit from now on: for a stream of them.
    pub(crate) fn wait_for_ever(&mut self) {
        self.limit = None;
    }

    /// Reads the next answer.
    ///
    /// # Errors
    ///
    /// Any [`LinkError`] but `Unreachable` and `RequestTooLong`.
    pub(crate) fn receive(&mut self) -> Result<Received, LinkError> {
        let line = self.read_line()?;
        let misread = |source| LinkError::NotUnderstood { socket: self.socket.clone(), source };
        let response = serde_json::from_slice(&line).map_err(misread)?;
        // JSON that was read from bytes is UTF-8.
        Ok(Received { line: String::from_utf8_lossy(&line).into_owned(), response })
    }

    fn read_line(&mut self) -> Result<Vec<u8>, LinkError> {
        let until = self.limit.map(|limit| Instant::now() + limit);
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                line.pop();
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > RESPONSE_MAX {
                return Err(LinkError::TooLong { socket: self.socket.clone() });
            }
            if self.read_more(until)? == 0 {
                return Err(LinkError::Closed { socket: self.socket.clone(), got: searched });
            }
        }
    }

    fn read_more(&mut self, until: Option<Instant>) -> Result<usize, LinkError> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(self.silent());
        }
        self.stream.set_read_timeout(left).map_err(|source| self.broken(source))?;
        let start = self.buffer.len();
        self.buffer.resize(start + CHUNK, 0);
        let read = self.stream.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
        read.or_else(|error| match error.kind() {
            io::ErrorKind::Interrupted => self.read_more(until),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(self.silent()),
            io::ErrorKind::ConnectionReset => Ok(0),
            _ => Err(self.broken(error)),
        })
    }

    fn silent(&self) -> LinkError {
        let limit = self.limit.unwrap_or_default();
        LinkError::Silent { socket: self.socket.clone(), limit }
    }

    fn broken(&self, source: io::Error) -> LinkError {
        LinkError::Broken { socket: self.socket.clone(), source }
    }
}

/// Connects, and gives writing the same limit: a host that hangs with a full queue of connections
/// must not hang its operator. (`UnixStream::connect` has no limit; Linux applies the send timeout
/// to `connect`, see `socket(7)`.)
fn connect_within(socket: &Path, limit: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(socket)?;
    let flags = SocketFlags::CLOEXEC;
    let descriptor = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&descriptor, Timeout::Send, Some(limit))?;
    connect(&descriptor, &address)?;
    Ok(descriptor.into())
}
