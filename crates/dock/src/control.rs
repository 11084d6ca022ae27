//! Control packets: one message per packet of a `SOCK_SEQPACKET` socket, rarely with descriptors.
//!
//! The bytes are those of [`outrigger_api::frame`]; this module moves them and looks at none. The only
//! packet with descriptors is the host's `Welcome` (event ring, verdict ring).
//!
//! Threat position: [`recv_bare`] is the host's. It takes no descriptor at all: one that a hostile
//! engine sends never enters the host's table, so that it can neither fill the table nor make the host
//! wait where closing a file waits (a FUSE file's last word goes to its server).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use outrigger_api::frame::FRAME_MAX;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Most descriptors that one packet carries.
pub const DESCRIPTORS_MAX: usize = 2;
const TOO_MANY: &str = "packet with more descriptors than can be taken";

/// What came in one packet.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the packet, now at the beginning of the buffer.
    pub len: usize,
    /// The descriptors that came with it, close-on-exec, at most [`DESCRIPTORS_MAX`].
    pub fds: Vec<OwnedFd>,
}

/// A connected pair: the host's end, non-blocking, and the engine's. Both are close-on-exec; whoever
/// starts the engine moves its end to [`crate::CONTROL_FD`].
///
/// # Errors
///
/// `EMFILE`, `ENFILE` at the limits.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (host, engine) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::io::ioctl_fionbio(&host, true)?;
    Ok((host, engine))
}

/// Sends one packet and the descriptors with it.
///
/// # Errors
///
/// `InvalidInput` for an empty packet (it would read as the end), one over [`FRAME_MAX`] bytes or
/// over [`DESCRIPTORS_MAX`] descriptors; `WouldBlock` if the peer does not read and the socket does not
/// block; `BrokenPipe` or `ConnectionReset` if the peer has closed.
pub fn send(sock: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if packet.is_empty() || packet.len() > FRAME_MAX || fds.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "control packet of {} bytes and {} descriptors: 1 to {FRAME_MAX} bytes and up to \
                 {DESCRIPTORS_MAX} descriptors can be sent",
                packet.len(),
                fds.len()
            ),
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits, "the space is for as many as were checked above");
    }
    let packet = [IoSlice::new(packet)];
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(sock, &packet, &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one packet, descriptors included: the engine's way to read.
///
/// # Errors
///
/// `UnexpectedEof` if the peer has closed; `InvalidData` if the packet is longer than `buf` or brings
/// more than [`DESCRIPTORS_MAX`] descriptors (they are closed); `WouldBlock` if there is none and the
/// socket does not block.
pub fn recv(sock: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let len = recv_into(sock, buf, &mut ancillary, RecvFlags::empty())?;
    let fds: Vec<_> = descriptors(&mut ancillary).collect();
    // The kernel rounds the space up and may have put one more in.
    if fds.len() > DESCRIPTORS_MAX {
        return Err(cut(TOO_MANY.to_owned()));
    }
    Ok(Received { len, fds })
}

/// Receives one packet that brings no descriptor: the host's way to read. The packet's length.
///
/// # Errors
///
/// As [`recv`]; `InvalidData` if a descriptor came, which the kernel has closed.
pub fn recv_bare(sock: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    recv_into(sock, buf, &mut RecvAncillaryBuffer::default(), RecvFlags::empty())
}

/// One packet into `buf`, refused if anything of it was cut off.
pub(crate) fn recv_into(
    sock: BorrowedFd<'_>,
    buf: &mut [u8],
    ancillary: &mut RecvAncillaryBuffer<'_>,
    flags: RecvFlags,
) -> io::Result<usize> {
    let limit = buf.len();
    let mut into = [IoSliceMut::new(buf)];
    let got = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(sock.as_fd(), &mut into, ancillary, flags | RecvFlags::CMSG_CLOEXEC)
    });
    let got = match got {
        // A peer that closed with packets unread resets; it is gone all the same.
        Err(Errno::CONNRESET) => return Err(closed()),
        got => got?,
    };
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(cut(format!("packet over the limit of {limit} bytes")));
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(cut(TOO_MANY.to_owned()));
    }
    if got.bytes == 0 {
        return Err(closed());
    }
    Ok(got.bytes)
}

/// The descriptors in `ancillary`, which close where they are not taken.
pub(crate) fn descriptors(
    ancillary: &mut RecvAncillaryBuffer<'_>,
) -> impl Iterator<Item = OwnedFd> {
    ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer has closed its end of the socket")
}

fn cut(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
