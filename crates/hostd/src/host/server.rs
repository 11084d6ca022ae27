//! The control socket: the operator's protocol, one thread per connection.
//!
//! Only root may connect (the socket's mode, and the peer's credentials besides). What can be answered
//! from shared state is answered here; what acts on engines or configuration goes to the control
//! thread and waits for its answer.

use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::Result;
use outrigger_api::control::{Request, Response};

use super::request::{self, Incoming};
use super::socket::{self, Service};

/// Connections served at a time; further ones are told so and closed.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long the control thread may take to act.
const ACTION_LIMIT: Duration = Duration::from_secs(30);
/// The same where it waits for an engine's process, which may have a minute to dock, and for another's end.
const SWAP_LIMIT: Duration = Duration::from_secs(150);

/// A request for the control thread, and where its response goes.
#[derive(Debug)]
pub(crate) struct Errand {
    /// What is asked.
    pub(crate) request: Request,
    /// Where the response goes.
    pub(crate) reply: Sender<Response>,
}

/// What the connections need of the host.
pub(crate) trait Desk: Send + Sync + 'static {
    /// Hands a request to the control thread.
    fn hand_in(&self, errand: Errand);
    /// How one case was decided.
    fn explain(&self, case: u64) -> Response;
    /// Calls `each` with every decision from now on until it returns false; `None` asks whether the
    /// reader is still there.
    fn watch(&self, each: &mut dyn FnMut(Option<Response>) -> bool);
}

/// Listens at `path` and serves in threads of its own.
pub(crate) fn serve<D: Desk>(path: &Path, desk: Arc<D>) -> Result<()> {
    let service = Service {
        name: "control",
        thread: "connection",
        connections_max: CONNECTIONS_MAX,
        serve: connection,
        turn_away: |stream| {
            let message =
                format!("{CONNECTIONS_MAX} connections are open, the limit; close one first");
            let _ = send(stream, &Response::Error { message });
        },
    };
    socket::listen(path, service, desk)
}

fn connection<D: Desk>(stream: UnixStream, desk: &D) -> std::io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    if !peer.uid.is_root() {
        let message = "only root may control the host".to_owned();
        return send(&stream, &Response::Error { message });
    }
    stream.set_read_timeout(Some(REQUEST_LIMIT))?;
    stream.set_write_timeout(Some(REQUEST_LIMIT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        match request::read(&mut reader)? {
            Incoming::End => return Ok(()),
            Incoming::TooLong(message) => return send(&stream, &Response::Error { message }),
            Incoming::Refused(message) => send(&stream, &Response::Error { message })?,
            Incoming::Request(Request::Watch) => {
                desk.watch(&mut |response| match response {
                    Some(response) => send(&stream, &response).is_ok(),
                    None => is_connected(&stream),
                });
                return Ok(());
            }
            Incoming::Request(Request::Explain { case }) => send(&stream, &desk.explain(case))?,
            Incoming::Request(request) => send(&stream, &act(desk, request))?,
        }
    }
}

fn act<D: Desk>(desk: &D, request: Request) -> Response {
    let (reply, answer) = channel();
    let limit = match request {
        Request::Swap { .. }
        | Request::Trial { .. }
        | Request::StopTrial { .. }
        | Request::GoBack { .. } => SWAP_LIMIT,
        _ => ACTION_LIMIT,
    };
    desk.hand_in(Errand { request, reply });
    answer.recv_timeout(limit).unwrap_or_else(|_| Response::Error {
        message: format!("the host did not act within {} s", limit.as_secs()),
    })
}

/// Whether the peer has not closed its end.
fn is_connected(stream: &UnixStream) -> bool {
    use rustix::net::RecvFlags;
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    !matches!(rustix::net::recv(stream, &mut [0_u8; 1][..], flags), Ok((0, _)))
}

fn send(mut stream: &UnixStream, response: &Response) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    stream.write_all(&line)
}
