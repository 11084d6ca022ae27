//! Content descriptors: the files that an engine may read, one per question.
//!
//! A packet is a case number (u64, little-endian) and one descriptor. The host sends it before it
//! publishes the question that announces it, so an engine that has the question has the descriptor, or
//! never gets it; neither side ever waits. Nothing goes the other way: the host's end is shut for
//! reading.
//!
//! Threat position: the host only sends. An engine that does not take its descriptors fills its own
//! socket and is told `Backlog`.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use outrigger_api::CaseId;
use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType,
};

use crate::control::{descriptors, recv_into};

/// Bytes that the kernel may hold for the socket. It cuts this to its own limit (`wmem_max`), which
/// leaves room for several hundred descriptors.
const BUFFER_BYTES: usize = 1 << 20;

/// The descriptor was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The engine has too many that it did not take.
    #[error("the engine does not take its content descriptors fast enough")]
    Backlog,
    /// The engine's end is closed, or the kernel refuses this descriptor.
    #[error("the engine's content socket takes nothing any more")]
    Gone(#[source] Errno),
}

/// A connected pair: the host's end, for [`send`] alone, and the engine's. Both are close-on-exec;
/// whoever starts the engine moves its end to [`crate::CONTENT_FD`].
///
/// # Errors
///
/// `EMFILE`, `ENFILE` at the limits.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (host, engine) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&host, BUFFER_BYTES)?;
    rustix::net::shutdown(&host, Shutdown::Read)?;
    Ok((host, engine))
}

/// Sends the content of `case`. Never waits, never allocates; `file` stays the caller's.
///
/// # Errors
///
/// [`SendError`]; nothing was sent then.
pub fn send(sock: BorrowedFd<'_>, case: CaseId, file: BorrowedFd<'_>) -> Result<(), SendError> {
    let number = case.get().to_le_bytes();
    let file = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(&file));
    debug_assert!(fits, "the space is for one descriptor");
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::net::sendmsg(sock, &[IoSlice::new(&number)], &mut ancillary, flags) {
        Ok(_) => Ok(()),
        // ETOOMANYREFS: as many of our descriptors as RLIMIT_NOFILE are in sockets, not yet taken.
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS) => {
            Err(SendError::Backlog)
        }
        Err(other) => Err(SendError::Gone(other)),
    }
}

/// A file without content that nobody can give any, whoever holds its descriptor.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOMEM` at the limits.
pub fn empty() -> io::Result<OwnedFd> {
    let file = crate::memory::memfd("outrigger-empty")?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// Takes the next content descriptor; `None` if there is none now. Never waits.
///
/// # Errors
///
/// `UnexpectedEof` if the host has closed; `InvalidData` for a packet that is not a case number with
/// one descriptor; `EMFILE` is not told apart from that: the kernel then drops the descriptor.
pub fn recv(sock: BorrowedFd<'_>) -> io::Result<Option<(CaseId, OwnedFd)>> {
    let mut number = [0; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    match recv_into(sock, &mut number, &mut ancillary, RecvFlags::DONTWAIT) {
        Ok(8) => {}
        Ok(short) => return Err(no_content(format!("content packet of {short} bytes, not 8"))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    }
    let case = CaseId::new(u64::from_le_bytes(number));
    let file = descriptors(&mut ancillary).next();
    case.zip(file).map(Some).ok_or_else(|| {
        no_content("content packet without a case number or without a descriptor".to_owned())
    })
}

fn no_content(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
