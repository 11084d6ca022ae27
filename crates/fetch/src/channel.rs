//! The socket to the updater.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use outrigger_api::fetch::{BODY_MAX, CHUNK_MAX, Cause, PREFIX, Reply, Request, body_length};
use rustix::io::Errno;

/// Frames in and out.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    chunk: Vec<u8>,
}

/// Why a file did not come, for the updater.
pub(crate) type Failure = (Cause, String);

impl Channel {
    pub(crate) fn standard_input() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self { socket, chunk: vec![0; CHUNK_MAX] })
    }

    /// The next request; `None` when the updater has hung up or does not speak the protocol.
    pub(crate) fn request(&mut self) -> Option<Request<'static>> {
        let mut prefix = [0; PREFIX];
        self.read(&mut prefix)?;
        let mut body = vec![0; body_length(prefix).ok()?.min(BODY_MAX)];
        self.read(&mut body)?;
        Some(match Request::parse(&body).ok()? {
            Request::Start { metadata, targets, silence_ms } => Request::Start {
                metadata: metadata.into_owned().into(),
                targets: targets.into_owned().into(),
                silence_ms,
            },
            Request::Get { place, path, limit } => {
                Request::Get { place, path: path.into_owned().into(), limit }
            }
        })
    }

    /// Sends one frame; `None` when the updater has hung up.
    pub(crate) fn say(&mut self, reply: &Reply<'_>) -> Option<()> {
        let frame = reply.frame();
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(&self.socket, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// Sends what `next` reads until its end, at most `limit` bytes, of which `of` were announced.
    pub(crate) fn copy(
        &mut self,
        of: Option<u64>,
        limit: u64,
        mut next: impl FnMut(&mut [u8]) -> Result<usize, Failure>,
    ) -> Result<(), Failure> {
        let gone = || (Cause::Unreachable, "the updater has hung up".to_owned());
        if of.is_some_and(|of| of > limit) {
            return Err((Cause::TooLong, String::new()));
        }
        self.say(&Reply::Begin(of)).ok_or_else(gone)?;
        let mut sent = 0_u64;
        loop {
            let mut chunk = std::mem::take(&mut self.chunk);
            let read = next(&mut chunk);
            let said = match &read {
                Ok(0) | Err(_) => Some(()),
                Ok(length) if sent + *length as u64 > limit => Some(()),
                Ok(length) => self.say(&Reply::Data(&chunk[..*length])),
            };
            self.chunk = chunk;
            said.ok_or_else(gone)?;
            match read? {
                0 => break,
                length => sent += length as u64,
            }
            if sent > limit {
                return Err((Cause::TooLong, String::new()));
            }
        }
        match of {
            Some(of) if sent < of => {
                Err((Cause::Truncated, format!("{sent} of the {of} bytes that were announced")))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, buffer: &mut [u8]) -> Option<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::read(&self.socket, &mut buffer[filled..]) {
                Ok(0) => return None,
                Ok(got) => filled += got,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        Some(())
    }
}
