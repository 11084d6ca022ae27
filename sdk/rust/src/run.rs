//! From the start of the process to its end: the handshake, the first load, the judging.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use outrigger_api::frame::v1::{Hello, Welcome, to_engine, to_host};
use outrigger_api::frame::{CONTRACT, FRAME_MAX, FrameError, decode_to_engine};
use outrigger_dock::{Doorbell, EventReader, RingCorrupt, VerdictWriter, control, inherited};

use crate::desk::{self, Desk};
use crate::engine::Engine;
use crate::inbox::Inbox;
use crate::listener;
use crate::loading::Loading;
use crate::shift;
use crate::table::Table;

/// Where an engine finds its content folder.
pub const CONTENT_DIR: &str = "/content";

/// Where a host that gives an engine no root of its own says that the folder is instead: a replay without
/// root. An engine in its sandbox has no environment.
const CONTENT_VARIABLE: &str = "OUTRIGGER_CONTENT_DIR";

/// Where the content folder is: [`CONTENT_DIR`], or where a host says that gives an engine no root of its
/// own. Whoever uses [`run`] need not know.
pub fn content_dir() -> PathBuf {
    std::env::var_os(CONTENT_VARIABLE).map_or_else(|| PathBuf::from(CONTENT_DIR), PathBuf::from)
}

/// Why an engine ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The host told it to stop.
    Stopped,
    /// The host is gone.
    HostGone,
}

/// Why an engine could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The process was not started by the host.
    #[error("the sockets of the dock are not there")]
    NotDocked(#[source] io::Error),
    /// The host refused this engine.
    #[error("the host refused the engine: {why}")]
    Refused {
        /// The host's reason.
        why: String,
    },
    /// The control socket failed.
    #[error("the control socket failed")]
    Control(#[source] io::Error),
    /// The host sent bytes that are no message.
    #[error("the host sent what is no message")]
    Frame(#[source] FrameError),
    /// The host sent a message that has no place here.
    #[error("the host sent a message out of place")]
    Unexpected,
    /// The rings could not be mapped, or sleeping on them failed.
    #[error("the rings cannot be used")]
    Rings(#[source] io::Error),
    /// The host wrote what no host writes.
    #[error("the event ring is corrupt")]
    EventsCorrupt(#[source] RingCorrupt),
    /// The host moved its cursor to where it cannot be.
    #[error("the verdict ring is corrupt")]
    VerdictsCorrupt(#[source] RingCorrupt),
    /// No thread could be started to judge on.
    #[error("no thread can be started to judge on")]
    Thread(#[source] io::Error),
    /// What the engine gave to judge returned before its time.
    #[error("a judge has left though nobody relieved him")]
    JudgeLeft,
    /// The content could not be loaded at the start.
    #[error("the content was refused: {why}")]
    Content {
        /// The engine's reason.
        why: String,
    },
}

/// Docks and judges until the host ends it: what an engine's `main` returns. The content is at
/// [`CONTENT_DIR`].
pub fn run(engine: impl Engine) -> ExitCode {
    run_in(engine, Path::new(CONTENT_DIR))
}

/// As [`run`], with the content folder elsewhere.
pub fn run_in(engine: impl Engine, content_dir: &Path) -> ExitCode {
    let ended = inherited()
        .map_err(RunError::NotDocked)
        .and_then(|(control, content)| run_on(control, content, engine, content_dir));
    match ended {
        Ok(Ended::Stopped | Ended::HostGone) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// As [`run`], over sockets at hand: for tests, and for programs that start engines their own way.
///
/// # Errors
///
/// [`RunError`] if the engine could not dock, or could not go on.
pub fn run_on(
    control: OwnedFd,
    content: OwnedFd,
    mut engine: impl Engine,
    content_dir: &Path,
) -> Result<Ended, RunError> {
    let elsewhere =
        std::env::var_os(CONTENT_VARIABLE).filter(|_| content_dir == Path::new(CONTENT_DIR));
    let content_dir = elsewhere.as_deref().map_or(content_dir, Path::new);
    let Some((welcome, rings)) = shake_hands(control.as_fd(), &engine)? else {
        return Ok(Ended::HostGone);
    };
    let [event_ring, verdict_ring] = rings;
    let events = EventReader::map(event_ring, welcome.event_ring_bytes).map_err(RunError::Rings)?;
    let verdicts =
        VerdictWriter::map(verdict_ring, welcome.verdict_ring_bytes).map_err(RunError::Rings)?;

    let description = match Loading::first(&mut engine, content_dir) {
        Ok(description) => description,
        Err(why) => {
            // The host hears it before the engine ends; if it is gone, nobody needs to.
            let _ = desk::report(control.as_fd(), desk::error_line(&why));
            return Err(RunError::Content { why });
        }
    };
    let control = Arc::new(control);
    let table = Table::new(events, verdicts, Inbox::new(content));
    let judges = engine.judges();
    let bell = match &judges {
        // The bell of the ring is the judges'.
        Some(_) => Doorbell::new().map_err(RunError::Rings)?,
        None => table.bell(),
    };
    let orders = listener::start(Arc::clone(&control), bell.clone()).map_err(RunError::Control)?;
    let desk = Desk::new(orders, control);
    let loading = Loading::new(content_dir, bell.clone());
    match judges {
        Some(judges) => shift::serve(desk, table, bell, &mut engine, judges, loading, description),
        None => desk.serve(table, &mut engine, loading, description),
    }
}

/// Opens the negotiation; `None` if the host went away meanwhile.
fn shake_hands(
    control: BorrowedFd<'_>,
    engine: &impl Engine,
) -> Result<Option<(Welcome, [OwnedFd; 2])>, RunError> {
    let hello = to_host::Message::Hello(Hello {
        contract_min: *CONTRACT.start(),
        contract_max: *CONTRACT.end(),
        capabilities: Vec::new(),
        sdk: concat!("outrigger-sdk ", env!("CARGO_PKG_VERSION")).to_owned(),
        engine: engine.name().to_owned(),
        version: engine.version().to_owned(),
    });
    if !desk::report(control, hello)? {
        return Ok(None);
    }
    let mut packet = [0; FRAME_MAX];
    let received = match control::recv(control, &mut packet) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(RunError::Control(error)),
    };
    match decode_to_engine(&packet[..received.len]).map_err(RunError::Frame)? {
        to_engine::Message::Welcome(welcome) => {
            let rings = received.fds.try_into().map_err(|_| RunError::Unexpected)?;
            Ok(Some((welcome, rings)))
        }
        to_engine::Message::Refused(refused) => Err(RunError::Refused { why: refused.why }),
        to_engine::Message::Ping(_)
        | to_engine::Message::Reload(_)
        | to_engine::Message::Stop(_) => Err(RunError::Unexpected),
    }
}

/// The error and what led to it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |line, source| format!("{line}: {source}"))
}
