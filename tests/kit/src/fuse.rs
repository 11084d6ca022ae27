//! A FUSE file system of two read-only files, whose server can be stopped at any time, and never answers
//! a read of the second file.
//!
//! The protocol is `include/uapi/linux/fuse.h`, version 7.31; all numbers are the machine's own. Names
//! stay valid for ever and attributes not at all, so that a path still resolves while the server is
//! stopped, and whoever asks for the file's size or content waits.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};

use crate::agent::Agent;
use crate::clock::wait_for;

/// The file that is served as long as the server is not stopped.
pub const FILE: &str = "served";
/// The file that can be opened and looked at, and never read.
pub const UNREADABLE: &str = "unreadable";
/// The content of the first.
const CONTENT: &[u8] = b"served by a process\n";

const ROOT: u64 = 1;
const FILE_NODE: u64 = 2;
const UNREADABLE_NODE: u64 = 3;
const FOR_EVER: u64 = 1 << 30;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// Largest request: a header and more than the largest write announced.
const REQUEST_MAX: usize = 1 << 18;

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
    let (header, body) = request.split_at(40);
    let opcode = u32_at(header, 4);
    let unique = u64_at(header, 8);
    let node = u64_at(header, 16);
    let reply = match opcode {
        INIT => Ok(init(body)),
        LOOKUP => match body.strip_suffix(b"\0") {
            Some(name) if name == FILE.as_bytes() => Ok(entry(FILE_NODE)),
            Some(name) if name == UNREADABLE.as_bytes() => Ok(entry(UNREADABLE_NODE)),
            _ => Err(libc::ENOENT),
        },
        GETATTR => Ok([zeroes(16), attributes(node)].concat()),
        OPEN | OPENDIR => Ok(zeroes(16)),
        READ if node == UNREADABLE_NODE => return Ok(()),
        READ => Ok(read(body)),
        RELEASE | RELEASEDIR | FLUSH => Ok(Vec::new()),
        FORGET | BATCH_FORGET | INTERRUPT => return Ok(()),
        _ => Err(libc::ENOSYS),
    };
    let (error, body) = reply.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
    let len = u32::try_from(16 + body.len())?;
    let mut out = Vec::with_capacity(16 + body.len());
    out.extend_from_slice(&len.to_ne_bytes());
    out.extend_from_slice(&error.to_ne_bytes());
    out.extend_from_slice(&unique.to_ne_bytes());
    out.extend_from_slice(&body);
    match (&*device).write_all(&out) {
        // The one who asked has gone.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        done => Ok(done?),
    }
}

/// `struct fuse_init_out`: version, the kernel's read-ahead, no flags, writes of 128 KiB.
fn init(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    for word in [7, 31, u32_at(body, 8), 0, 0x0030_0040, 128 << 10] {
        out.extend_from_slice(&u32::to_ne_bytes(word));
    }
    out.resize(64, 0);
    out
}

/// `struct fuse_entry_out` of a file.
fn entry(node: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    for word in [node, 0, FOR_EVER, 0, 0] {
        out.extend_from_slice(&u64::to_ne_bytes(word));
    }
    out.extend_from_slice(&attributes(node));
    out
}

/// `struct fuse_attr`.
fn attributes(node: u64) -> Vec<u8> {
    let (mode, size) = if node == ROOT { (0o40755, 0) } else { (0o100_644, CONTENT.len() as u64) };
    let mut out = Vec::with_capacity(88);
    for word in [node, size, 1, 0, 0, 0] {
        out.extend_from_slice(&u64::to_ne_bytes(word));
    }
    for word in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
        out.extend_from_slice(&u32::to_ne_bytes(word));
    }
    out
}

fn read(body: &[u8]) -> Vec<u8> {
    let offset = usize::try_from(u64_at(body, 8)).unwrap_or(usize::MAX);
    CONTENT.get(offset..).unwrap_or_default().to_vec()
}

fn zeroes(count: usize) -> Vec<u8> {
    vec![0; count]
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}
