//! What the new process and the host say to each other until the program runs.
//!
//! One `SOCK_SEQPACKET` pair, closed on exec. The child says `Ready` once it is in its user
//! namespace, the host answers with any packet once the identity maps are written, the child sends
//! `Filtered` with the listener; then either the socket closes (the program runs) or `Failed` comes.
//! The child's side allocates nothing.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::error::Step;

/// A packet from the child.
#[derive(Debug)]
pub(crate) enum Packet {
    /// In its root and namespaces; errno of the user namespace, 0 if it has one.
    /// `pivoted` is false where it only could change its root.
    Ready { user_namespace: i32, pivoted: bool },
    /// The filter is in place.
    Filtered(OwnedFd),
    /// A step failed.
    Failed(Step, Errno),
}

const READY: u32 = 1;
const FILTERED: u32 = 2;
const FAILED: u32 = 3;
const SIZE: usize = 12;

/// Sends a packet without a descriptor.
pub(crate) fn send_ready(
    socket: BorrowedFd<'_>,
    user_namespace: i32,
    pivoted: bool,
) -> Result<(), Errno> {
    send(socket, encode(READY, u32::from(pivoted), user_namespace), &[])
}

/// Hands the listener over.
pub(crate) fn send_listener(socket: BorrowedFd<'_>, listener: BorrowedFd<'_>) -> Result<(), Errno> {
    send(socket, encode(FILTERED, 0, 0), &[listener])
}

/// Says which step failed; nobody is left to tell if this fails too.
pub(crate) fn send_failure(socket: BorrowedFd<'_>, step: Step, errno: Errno) {
    let _ = send(socket, encode(FAILED, step.number(), errno.raw_os_error()), &[]);
}

fn encode(kind: u32, number: u32, errno: i32) -> [u8; SIZE] {
    let mut packet = [0; SIZE];
    packet[..4].copy_from_slice(&kind.to_ne_bytes());
    packet[4..8].copy_from_slice(&number.to_ne_bytes());
    packet[8..].copy_from_slice(&errno.to_ne_bytes());
    packet
}

fn send(socket: BorrowedFd<'_>, packet: [u8; SIZE], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS);
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(&packet)], &mut control, SendFlags::NOSIGNAL)
    })
    .map(|_| ())
}

/// Receives the child's next packet; `None` once the socket is closed.
pub(crate) fn receive(socket: &OwnedFd) -> Result<Option<Packet>, Errno> {
    let mut bytes = [0; SIZE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let [kind, number, errno] = decode(bytes);
    let errno = errno.cast_signed();
    match (kind, fd) {
        (READY, None) => Ok(Some(Packet::Ready { user_namespace: errno, pivoted: number == 1 })),
        (FILTERED, Some(listener)) => Ok(Some(Packet::Filtered(listener))),
        (FAILED, None) => {
            let step = Step::from_number(number).ok_or(Errno::PROTO)?;
            Ok(Some(Packet::Failed(step, Errno::from_raw_os_error(errno))))
        }
        _ => Err(Errno::PROTO),
    }
}

fn decode(bytes: [u8; SIZE]) -> [u32; 3] {
    let word =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    [word(0), word(4), word(8)]
}
