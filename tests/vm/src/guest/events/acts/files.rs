//! Acts on files and folders.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, bail};
use outrigger_api::Event;
use rustix::fs::{CWD, FileType, Gid, Mode, Uid, XattrFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::{ATTRIBUTE, Act, Stage};
use crate::events::sys;

pub(super) fn prepare(event: Event, stage: &Stage) -> Result<Act> {
    let object = stage.object.clone();
    // So that what is asked for is what is made.
    rustix::process::umask(Mode::empty());
    Ok(match event {
        Event::ProcessExec => Box::new(move || Err(Command::new(object).exec())),
        Event::FileOpen => Box::new(move || File::open(object).map(drop)),
        Event::FileCreate => Box::new(move || {
            OpenOptions::new().write(true).create_new(true).mode(0o666).open(object).map(drop)
        }),
        Event::FileCloseWrite => {
            let file = OpenOptions::new().write(true).open(object)?;
            Box::new(move || {
                drop(file);
                Ok(())
            })
        }
        Event::FileRename => {
            let to = stage.beside("renamed");
            Box::new(move || fs::rename(object, to))
        }
        Event::FileUnlink => Box::new(move || fs::remove_file(object)),
        Event::FileLink => {
            let to = stage.beside("linked");
            Box::new(move || fs::hard_link(object, to))
        }
        Event::FileSetattr => {
            Box::new(move || fs::set_permissions(object, fs::Permissions::from_mode(0o640)))
        }
        Event::FileSetxattr => Box::new(move || {
            Ok(rustix::fs::setxattr(object, ATTRIBUTE, b"value", XattrFlags::empty())?)
        }),
        Event::FileRemovexattr => Box::new(move || Ok(rustix::fs::removexattr(object, ATTRIBUTE)?)),
        Event::FileTruncate => {
            let file = OpenOptions::new().write(true).open(object)?;
            Box::new(move || file.set_len(10))
        }
        Event::FileMmapExec => {
            let file = File::open(object)?;
            Box::new(move || sys::map(file, true).map(drop))
        }
        Event::MemoryMprotectExec => {
            let page = sys::map(File::open(object)?, false)?;
            Box::new(move || sys::make_executable(page))
        }
        Event::FileMkdir => {
            Box::new(move || Ok(rustix::fs::mkdir(object, Mode::from_raw_mode(0o755))?))
        }
        Event::FileRmdir => Box::new(move || fs::remove_dir(object)),
        Event::FileSymlink => Box::new(move || std::os::unix::fs::symlink("/nowhere", object)),
        Event::FileMknod => Box::new(move || {
            let mode = Mode::from_raw_mode(0o644);
            Ok(rustix::fs::mknodat(CWD, object, FileType::Fifo, mode, 0)?)
        }),
        Event::FileChown => Box::new(move || {
            let (owner, group) = (Uid::from_raw(5), Gid::from_raw(6));
            Ok(rustix::fs::chown(object, Some(owner), Some(group))?)
        }),
        Event::FileReceive => receive(File::open(object)?)?,
        other => bail!("nothing causes {other}"),
    })
}

/// Sends itself a descriptor; takes it when it is let go. One that is refused does not come, and that is all
/// that the kernel says.
fn receive(file: File) -> Result<Act> {
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    let files = [std::os::fd::AsFd::as_fd(&file)];
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut sent = SendAncillaryBuffer::new(&mut room);
    anyhow::ensure!(sent.push(SendAncillaryMessage::ScmRights(&files)), "no room for a descriptor");
    rustix::net::sendmsg(&far, &[io::IoSlice::new(b"x")], &mut sent, SendFlags::empty())?;
    drop(file);
    Ok(Box::new(move || {
        // Whoever sent it stays, or the end of the stream would come with it.
        let _far = far;
        let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut got = RecvAncillaryBuffer::new(&mut room);
        let mut byte = [0];
        rustix::net::recvmsg(
            &near,
            &mut [io::IoSliceMut::new(&mut byte)],
            &mut got,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let came = got.drain().any(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next().is_some(),
            _ => false,
        });
        if came { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
    }))
}
