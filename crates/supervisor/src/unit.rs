//! One process of an engine and the sockets to it.
//!
//! A unit reads, writes and closes; what a message means for the engine is `engine.rs`'s. It lives
//! as long as the process' word counts: when that ends, the sockets are closed and what is left of
//! the process becomes [`Remains`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use outrigger_api::frame::{self, FRAME_MAX, v1};
use outrigger_api::settings::ContentGrant;
use outrigger_dock::{EventWriter, Feed, VERDICT_RING_BYTES, VerdictReader, content, control};
use rustix::pipe::PipeFlags;

use crate::happening::{EngineSpec, Link};
use crate::launcher::{LaunchError, Launcher, Process, Start};
use crate::text::Lines;

/// Most bytes of output that are read in one call.
const OUTPUT_MAX: usize = 4096;

/// A process whose word counts.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) process: Box<dyn Process>,
    control: OwnedFd,
    /// Held until the engine has docked.
    content: Option<OwnedFd>,
    /// Held until the engine has docked; `None` before the Welcome, too.
    rings: Option<(Feed, VerdictReader)>,
    /// `None` once the engine has closed it.
    output: Option<OwnedFd>,
    lines: Lines,
    /// Whether the engine was welcomed.
    pub(crate) greeted: bool,
    /// When the engine closed its control socket, if it has.
    pub(crate) closed: Option<u64>,
}

/// What came on the control socket.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message of the contract.
    Message(v1::to_host::Message),
    /// Something else; what.
    Garbage(String),
    /// The engine has closed its end.
    Closed,
    /// Nothing now.
    Nothing,
}

impl Unit {
    /// Starts a process for the engine of `spec`, `apart` if nobody is to wait for it.
    pub(crate) fn start(
        spec: &EngineSpec,
        uid: u32,
        apart: bool,
        launcher: &mut dyn Launcher,
    ) -> Result<Self, LaunchError> {
        let (control, their_control) = control::pair()?;
        let (content, their_content) = content::pair()?;
        let (output, their_output) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&output, true).map_err(io::Error::from)?;
        let descriptors = vec![their_control, their_content];
        let process =
            launcher.launch(Start { spec, uid, apart, descriptors, output: their_output })?;
        let granted = spec.manifest.content && spec.config.content != ContentGrant::None;
        Ok(Self {
            process,
            control,
            content: granted.then_some(content),
            rings: None,
            output: Some(output),
            lines: Lines::default(),
            greeted: false,
            closed: None,
        })
    }

    /// The control socket, while there is something to expect from it.
    pub(crate) fn control(&self) -> Option<BorrowedFd<'_>> {
        self.closed.is_none().then(|| self.control.as_fd())
    }

    /// The pipe of its standard output and error, while it is open.
    pub(crate) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Reads one packet of the control socket.
    pub(crate) fn receive(&self) -> Received {
        if self.closed.is_some() {
            return Received::Nothing;
        }
        let mut packet = [0; FRAME_MAX];
        match control::recv_bare(self.control.as_fd(), &mut packet) {
            Ok(len) => match frame::decode_to_host(&packet[..len]) {
                Ok(message) => Received::Message(message),
                Err(error) => Received::Garbage(error.to_string()),
            },
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Received::Nothing,
                io::ErrorKind::InvalidData => Received::Garbage(error.to_string()),
                _ => Received::Closed,
            },
        }
    }

    /// Sends `message`. One that the engine does not take is an error, never a wait.
    pub(crate) fn send(&self, message: v1::to_engine::Message) -> io::Result<()> {
        control::send(self.control.as_fd(), &frame::encode_to_engine(message), &[])
    }

    /// Makes the rings and sends them with `welcome`.
    pub(crate) fn welcome(&mut self, welcome: v1::Welcome) -> io::Result<()> {
        let (events, their_events) = EventWriter::create(welcome.event_ring_bytes)?;
        let (verdicts, their_verdicts) = VerdictReader::create(VERDICT_RING_BYTES)?;
        let packet = frame::encode_to_engine(v1::to_engine::Message::Welcome(welcome));
        // Before it has memory that it could write, and files of others: neither may become its code.
        self.process.refuse_code();
        let rings = [their_events.as_fd(), their_verdicts.as_fd()];
        control::send(self.control.as_fd(), &packet, &rings)?;
        self.rings = Some((Feed::new(events), verdicts));
        self.greeted = true;
        Ok(())
    }

    /// The host's ends for the questions; `None` before the Welcome and the second time.
    pub(crate) fn link(&mut self) -> Option<Link> {
        let (events, verdicts) = self.rings.take()?;
        Some(Link { events, verdicts, content: self.content.take() })
    }

    /// Lines of its output, of at most [`OUTPUT_MAX`] bytes read now.
    pub(crate) fn read_output(&mut self) -> Vec<String> {
        let Some(output) = &self.output else { return Vec::new() };
        let mut bytes = [0; OUTPUT_MAX];
        match rustix::io::read(output, &mut bytes) {
            Ok(len @ 1..) => self.lines.take(&bytes[..len]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Vec::new(),
            Ok(0) | Err(_) => {
                self.output = None;
                self.lines.finish().into_iter().collect()
            }
        }
    }

    /// Closes the sockets; its process has until `kill_at` to end by itself, `None` for no time.
    pub(crate) fn end(self, kill_at: Option<u64>) -> Remains {
        if kill_at.is_none() {
            self.process.kill();
        }
        Remains { process: self.process, kill_at }
    }
}

/// A process whose word does not count any more and that is not gone yet.
///
/// It is kept until it is gone: the next one would share its user and its limits.
#[derive(Debug)]
pub(crate) struct Remains {
    process: Box<dyn Process>,
    /// When it is killed if it has not ended; `None` if it was.
    kill_at: Option<u64>,
}

impl Remains {
    /// Readable once it has ended.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.process.ended()
    }

    /// When it is to be killed.
    pub(crate) const fn kill_at(&self) -> Option<u64> {
        self.kill_at
    }

    /// Kills it if its time is over; whether it is gone.
    pub(crate) fn is_gone(&mut self, now: u64) -> bool {
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill();
        }
        // An error means that there is no such child any more.
        !matches!(self.process.exit(), Ok(None))
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.kill_at = None;
        self.process.kill();
    }
}
