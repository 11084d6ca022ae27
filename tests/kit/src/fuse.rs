//! A FUSE file system of two read-only files, whose server can be stopped at any time, and never answers
//! a read of the second file.
//!
//! Names stay valid for ever and attributes not at all, so that a path still resolves while the server
//! is stopped, and whoever asks for the file's size or content waits.

pub mod wire;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};

use self::wire::{
    BATCH_FORGET, FLUSH, FORGET, GETATTR, INIT, INTERRUPT, LOOKUP, OPEN, OPENDIR, READ, RELEASE,
    RELEASEDIR, REQUEST_MAX, ROOT, Request,
};
use crate::agent::Agent;
use crate::clock::wait_for;

/// The file that is served as long as the server is not stopped.
pub const FILE: &str = "served";
/// The file that can be opened and looked at, and never read.
pub const UNREADABLE: &str = "unreadable";
/// The content of the first.
const CONTENT: &[u8] = b"served by a process\n";

const FILE_NODE: u64 = 2;
const UNREADABLE_NODE: u64 = 3;
const FOR_EVER: u64 = 1 << 30;

/// Starts a server for a new FUSE file system on the folder `path`; gives it and the
/// served file.
///
/// # Errors
///
/// If there is no `/dev/fuse` or the file cannot be read.
pub fn start(path: &Path) -> Result<(Agent, PathBuf)> {
    fs::create_dir(path)?;
    let mut server = Agent::start("fuse", &[path.to_str().context("the path is not UTF-8")?])?;
    server.ready()?;
    let file = path.join(FILE);
    wait_for("the FUSE file", Duration::from_secs(5), || {
        Ok(fs::read(&file).ok().filter(|content| content == CONTENT))
    })?;
    Ok((server, file))
}

/// Mounts the file system on `path` and serves it until it is unmounted.
///
/// # Errors
///
/// If it cannot be mounted, or the kernel cannot be talked to.
pub(crate) fn serve(path: &Path) -> Result<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    let options =
        format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let options = std::ffi::CString::new(options)?;
    mount("outrigger-test", path, "fuse", MountFlags::empty(), Some(options.as_c_str()))?;
    Agent::say_ready()?;
    let mut request = vec![0; REQUEST_MAX];
    loop {
        let len = match (&device).read(&mut request) {
            Ok(len) => len,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        answer(&device, &request[..len])?;
    }
}

fn answer(device: &File, request: &[u8]) -> Result<()> {
    let request = Request::parse(request);
    let size = |node| if node == ROOT { 0 } else { CONTENT.len() as u64 };
    let reply = match request.opcode {
        INIT => Ok(request.init()),
        LOOKUP => match request.name() {
            Some(name) if name == FILE.as_bytes() => Ok(FILE_NODE),
            Some(name) if name == UNREADABLE.as_bytes() => Ok(UNREADABLE_NODE),
            _ => Err(libc::ENOENT),
        }
        .map(|node| wire::entry(node, size(node), FOR_EVER)),
        GETATTR => Ok(wire::attributes_now(request.node, size(request.node))),
        OPEN | OPENDIR => Ok(wire::opened(0)),
        READ if request.node == UNREADABLE_NODE => return Ok(()),
        READ => Ok(read(request.range().0)),
        RELEASE | RELEASEDIR | FLUSH => Ok(Vec::new()),
        FORGET | BATCH_FORGET | INTERRUPT => return Ok(()),
        _ => Err(libc::ENOSYS),
    };
    match (&*device).write_all(&request.reply(reply)) {
        // The one who asked has gone.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        done => Ok(done?),
    }
}

fn read(offset: u64) -> Vec<u8> {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    CONTENT.get(offset..).unwrap_or_default().to_vec()
}
