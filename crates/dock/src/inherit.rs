//! The two sockets with which an engine starts.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;

use crate::sys;
use crate::{CONTENT_FD, CONTROL_FD};

/// Takes over the control and the content socket that this process was started with, once.
///
/// # Errors
///
/// `NotFound` if descriptors [`CONTROL_FD`] and [`CONTENT_FD`] are no sockets: the process was not
/// started as an engine; `AlreadyExists` at the second call.
pub fn inherited() -> io::Result<(OwnedFd, OwnedFd)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    for number in [CONTROL_FD, CONTENT_FD] {
        let mode = sys::stat_of(number).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if mode != Ok(FileType::Socket) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("descriptor {number} is no socket: an engine is started by outriggerd"),
            ));
        }
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the sockets of this engine were taken over before",
        ));
    }
    Ok((sys::own(CONTROL_FD), sys::own(CONTENT_FD)))
}
