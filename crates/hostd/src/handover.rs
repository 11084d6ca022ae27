//! Handing the groups over to a new build of the platform, without a moment in which nobody answers.
//!
//! The host of the old build starts the new binary with one end of a socket as its standard input and
//! passes it the groups. The new build starts its own gate, host and engines; its host says "ready"
//! while the old one still answers. Then the old host stops reading, ends what it has read, drops its
//! cache, ends its gate and says "drained": only then the new host reads. Never two readers.
//!
//! If the new build ends before it says ready, nothing has happened. If the old host dies before it
//! says drained, the new build gives up, and the old keeper starts another old host.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use anyhow::{Context as _, Result, bail};
use outrigger_sensor::Group;
use outrigger_sensor::mounts::MountTable;
use outrigger_sensor::page::GROUPS_MAX;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// First words of the message, so that a foreign socket is refused.
const MAGIC: &[u8; 8] = b"outrig1\0";
/// Groups, the origin's root and its mount table.
const DESCRIPTORS_MAX: usize = GROUPS_MAX + 2;
const MESSAGE_MAX: usize = MAGIC.len() + GROUPS_MAX * 8;

/// Said by the new host when its engines are docked.
pub(crate) const READY: &[u8] = b"ready";
/// Said by the old host when nothing of its is open any more; the time since when nobody reads
/// follows (8 bytes, ns of the monotonic clock).
pub(crate) const DRAINED: &[u8] = b"drained";

/// What a new build gets from the old one.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// The groups with the device of each (0 for the first).
    pub(crate) groups: Vec<(Group, u64)>,
    /// The root of the namespace in which protection was started.
    pub(crate) origin: OwnedFd,
    /// Its mount table.
    pub(crate) mounts: MountTable,
}

/// Sends the groups to a new build.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    groups: &[(Group, u64)],
    origin: BorrowedFd<'_>,
    mounts: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut message = MAGIC.to_vec();
    for (_, device) in groups {
        message.extend(device.to_le_bytes());
    }
    let mut descriptors: Vec<BorrowedFd<'_>> =
        groups.iter().map(|(group, _)| group.as_fd()).collect();
    descriptors.extend([origin, mounts]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives the groups from the old build.
pub(crate) fn receive(socket: &OwnedFd) -> Result<Inherited> {
    let mut bytes = [0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .context("cannot receive the groups from the running build")?;
    let mut descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let Some(devices) = bytes[..received.bytes].strip_prefix(MAGIC) else {
        bail!("standard input is no handover socket; --takeover is for the running host alone");
    };
    let devices: Vec<u64> = devices
        .chunks_exact(8)
        .map(|device| u64::from_le_bytes(device.try_into().expect("chunks of eight")))
        .collect();
    if descriptors.len() != devices.len() + 2 || devices.is_empty() {
        bail!(
            "the running build passed {} descriptors for {} groups",
            descriptors.len(),
            devices.len()
        );
    }
    let mounts = descriptors.pop().map(MountTable::from_descriptor).context("no mount table")?;
    let origin = descriptors.pop().context("no root directory")?;
    let groups = descriptors
        .into_iter()
        .map(|group| Group::from_number(group.into_raw_fd()))
        .zip(devices)
        .collect();
    Ok(Inherited { groups, origin, mounts })
}

/// Sends one short word.
pub(crate) fn say(socket: BorrowedFd<'_>, word: &[u8]) -> io::Result<()> {
    rustix::net::send(socket, word, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for one short word; empty at the end of the other side.
pub(crate) fn listen(socket: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut word = [0; 32];
    let (len, _) = rustix::net::recv(socket, &mut word[..], RecvFlags::empty())?;
    Ok(word[..len].to_vec())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a socket pair can be made")
    }

    #[test]
    fn a_new_build_gets_every_group_with_its_device() {
        let (old, new) = pair();
        let stand_in = std::fs::File::open("/dev/null").expect("it is there");
        let group = Group::from_number(std::os::fd::AsRawFd::as_raw_fd(&stand_in));

        send(old.as_fd(), &[(group, 0), (group, 77)], stand_in.as_fd(), stand_in.as_fd())
            .expect("it can be sent");
        let inherited = receive(&new).expect("it can be received");

        let devices: Vec<u64> = inherited.groups.iter().map(|(_, device)| *device).collect();
        assert_eq!(devices, [0, 77]);
        inherited.groups.iter().for_each(|(group, _)| group.close());
    }

    #[test]
    fn a_foreign_socket_is_refused() {
        let (old, new) = pair();

        say(old.as_fd(), b"hello").expect("it can be sent");

        assert!(receive(&new).is_err());
    }
}
