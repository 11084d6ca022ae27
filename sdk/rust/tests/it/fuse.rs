//! A FUSE file system whose server can be stopped.
//!
//! The server is a process of its own, this test's binary once more. If it were a thread here, a test
//! that is killed while it waits for the server would wait for ever: for itself. As it is, the kernel
//! ends the server with the test, and everybody's wait with the server.
//!
//! The file system is mounted nowhere (`fsmount(2)`), so nothing is left of it either. Every name that
//! is a number names a file. The protocol is `include/uapi/linux/fuse.h`, version 7.31; all numbers are
//! the machine's own.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::mount::{fsconfig_create, fsconfig_set_string, fsmount, fsopen};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// The file of this number is over what the SDK reads ahead.
pub(crate) const LARGE: u64 = 70;
/// Closing the file of this number is never answered.
pub(crate) const UNCLOSABLE: u64 = 71;

const SERVER: &str = "OUTRIGGER_TEST_FUSE";

/// The file system and its server, which ends with it.
pub(crate) struct Fuse {
    mount: OwnedFd,
    server: Child,
    prepared: RefCell<Option<OwnedFd>>,
}

impl Fuse {
    /// `None`, and said aloud, where nobody may mount one.
    pub(crate) fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: mounting a FUSE file system needs root");
            return None;
        }
        let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                eprintln!("SKIPPED: /dev/fuse: {error}");
                return None;
            }
        };
        let system = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC).expect("FUSE");
        let number = device.as_raw_fd().to_string();
        let options =
            [("fd", number.as_str()), ("rootmode", "40000"), ("user_id", "0"), ("group_id", "0")];
        for (key, value) in options {
            fsconfig_set_string(&system, key, value).expect(key);
        }
        fsconfig_create(&system).expect("a FUSE file system");
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let mount = fsmount(&system, flags, MountAttrFlags::empty()).expect("a mount");
        let server = Command::new(std::env::current_exe().expect("this test has a path"))
            .args(["--exact", "fuse::the_server", "--ignored"])
            .env(SERVER, "")
            .stdin(device)
            .stdout(Stdio::null())
            .spawn();
        let server = server.expect("this test starts again");
        Some(Self { mount, server, prepared: RefCell::default() })
    }

    /// The file of this number, open; its content is [`content`].
    pub(crate) fn open(&self, number: u64) -> OwnedFd {
        if let Some(file) = self.prepared.take() {
            return file;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&self.mount, number.to_string(), flags, Mode::empty()).expect("a served file")
    }

    /// Opens the file that the next [`Self::open`] is to give, the server stopped or not. A test that fails
    /// meanwhile leaves it here, where closing it waits for nobody.
    pub(crate) fn prepare(&self, number: u64) {
        let file = self.open(number);
        self.prepared.replace(Some(file));
    }

    /// Returns when the server answers nobody any more.
    pub(crate) fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).expect("a child of ours");
        waitid(WaitId::Pid(self.pid()), WaitIdOptions::STOPPED).expect("a child of ours");
    }

    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).expect("a child of ours");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.server)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.server.kill().expect("a child of ours");
        self.server.wait().expect("a child of ours");
    }
}

/// What the file of this number holds.
pub(crate) fn content(number: u64) -> String {
    format!("content of {number}")
}

const LARGE_BYTES: u64 = 9 << 20;

const ROOT: u64 = 1;
/// The file of number N has the node N + 100.
const FIRST: u64 = 100;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// `FOPEN_DIRECT_IO`: every read is the server's.
const DIRECT: u64 = 1;

#[test]
#[ignore = "the server of the other tests, which they start"]
fn the_server() {
    if std::env::var_os(SERVER).is_none() {
        return;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("a signal");
    let device = rustix::io::dup(std::io::stdin()).expect("a descriptor");
    let mut device = File::from(device);
    let mut request = vec![0; 1 << 18];
    loop {
        let len = match device.read(&mut request) {
            Ok(len) => len,
            // The one who asked has gone; or the file system has.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => continue,
            Err(_) => return,
        };
        if let Some(answer) = answer(&request[..len])
            && let Err(error) = device.write_all(&answer)
        {
            assert_eq!(error.raw_os_error(), Some(Errno::NOENT.raw_os_error()));
        }
    }
}

fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let (header, body) = request.split_at(40);
    let node = u64_at(header, 16);
    let reply = match u32_at(header, 4) {
        INIT => Ok(init(body)),
        LOOKUP => file_named(body).map(entry).ok_or(Errno::NOENT),
        GETATTR => Ok([vec![0; 16], attributes(node)].concat()),
        OPEN => Ok([0, DIRECT].map(u64::to_ne_bytes).concat()),
        READ => Ok(read(node, body)),
        FLUSH if node == FIRST + UNCLOSABLE => return None,
        FLUSH | RELEASE => Ok(Vec::new()),
        FORGET | BATCH_FORGET | INTERRUPT => return None,
        _ => Err(Errno::NOSYS),
    };
    let (error, body) = match reply {
        Ok(body) => (0, body),
        Err(errno) => (-errno.raw_os_error(), Vec::new()),
    };
    let len = u32::try_from(16 + body.len()).expect("a short answer");
    let unique = u64_at(header, 8);
    Some([&len.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes(), &body].concat())
}

/// `struct fuse_init_out`: version, the kernel's read-ahead, no flags, writes of 128 KiB.
fn init(body: &[u8]) -> Vec<u8> {
    let words = [7, 31, u32_at(body, 8), 0, 0x0030_0040, 128 << 10];
    let mut out = words.map(u32::to_ne_bytes).concat();
    out.resize(64, 0);
    out
}

fn file_named(name: &[u8]) -> Option<u64> {
    let name = str::from_utf8(name.strip_suffix(b"\0")?).ok()?;
    name.parse::<u64>().ok().map(|number| number + FIRST)
}

/// `struct fuse_entry_out` of a file; nothing of it stays valid.
fn entry(node: u64) -> Vec<u8> {
    [[node, 0, 0, 0, 0].map(u64::to_ne_bytes).concat(), attributes(node)].concat()
}

/// `struct fuse_attr`.
fn attributes(node: u64) -> Vec<u8> {
    let mode = if node == ROOT { 0o40755 } else { 0o100_644 };
    let size = if node == FIRST + LARGE { LARGE_BYTES } else { 64 };
    let long = [node, size, 1, 0, 0, 0].map(u64::to_ne_bytes).concat();
    let short = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat();
    [long, short].concat()
}

fn read(node: u64, body: &[u8]) -> Vec<u8> {
    let (offset, len) = (u64_at(body, 8), u64::from(u32_at(body, 16)));
    if node == FIRST + LARGE {
        let len = len.min(LARGE_BYTES.saturating_sub(offset));
        return vec![0; usize::try_from(len).expect("a short read")];
    }
    let content = content(node - FIRST).into_bytes();
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    content.get(offset..).unwrap_or_default().to_vec()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}
