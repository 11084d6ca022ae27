//! The control socket: the operator's protocol, one thread per connection.
//!
//! Only root may connect (the socket's mode, and the peer's credentials besides). What can be answered
//! from shared state is answered here; what acts on engines or configuration goes to the control
//! thread and waits for its answer.

use std::io::{BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use outrigger_api::control::{Request, Response};

use crate::host::request::{self, Incoming};

/// Connections served at a time; further ones are told so and closed.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long the control thread may take to act.
const ACTION_LIMIT: Duration = Duration::from_secs(30);

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
///
/// A socket left behind by an earlier host is replaced, by renaming, so that there is always one.
pub(crate) fn serve<D: Desk>(path: &Path, desk: Arc<D>) -> Result<()> {
    let folder = path.parent().context("the control socket's path has no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let fresh = path.with_extension(format!("{}", std::process::id()));
    // A file of that name can only be left from a host with the same pid.
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)
        .with_context(|| format!("cannot listen at {}", fresh.display()))?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)
        .with_context(|| format!("cannot listen at {}", path.display()))?;
    std::thread::Builder::new().name("control".into()).spawn(move || accept(&listener, &desk))?;
    Ok(())
}

fn accept<D: Desk>(listener: &UnixListener, desk: &Arc<D>) {
    let connected = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors for a moment; a connection that waits is not lost.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if connected.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            connected.fetch_sub(1, Ordering::AcqRel);
            let message =
                format!("{CONNECTIONS_MAX} connections are open, the limit; close one first");
            let _ = send(&stream, &Response::Error { message });
            continue;
        }
        let (desk, connected) = (Arc::clone(desk), Arc::clone(&connected));
        let thread = std::thread::Builder::new().name("connection".into()).stack_size(256 << 10);
        let count = Arc::clone(&connected);
        let started = thread.spawn(move || {
            // A connection that breaks is its own end.
            let _ = connection(stream, &*desk);
            count.fetch_sub(1, Ordering::AcqRel);
        });
        if started.is_err() {
            connected.fetch_sub(1, Ordering::AcqRel);
        }
    }
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
    desk.hand_in(Errand { request, reply });
    answer.recv_timeout(ACTION_LIMIT).unwrap_or_else(|_| Response::Error {
        message: format!("the host did not act within {} s", ACTION_LIMIT.as_secs()),
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
