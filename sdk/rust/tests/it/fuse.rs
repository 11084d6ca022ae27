//! A FUSE file system whose server can be stopped.
//!
//! The server is a process of its own, this test's binary once more. If it were a thread here, a test
//! that is killed while it waits for the server would wait for ever: for itself. As it is, the kernel
//! ends the server with the test, and everybody's wait with the server.
//!
//! The file system is mounted nowhere (`fsmount(2)`), so nothing is left of it either. Every name that
//! is a number names a file.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use outrigger_testkit::fuse::wire::{
    self, BATCH_FORGET, DIRECT, FLUSH, FORGET, GETATTR, INIT, INTERRUPT, LOOKUP, OPEN, READ,
    RELEASE, REQUEST_MAX, Request,
};
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

/// The file of number N has the node N + 100.
const FIRST: u64 = 100;

#[test]
#[ignore = "the server of the other tests, which they start"]
fn the_server() {
    if std::env::var_os(SERVER).is_none() {
        return;
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("a signal");
    let device = rustix::io::dup(std::io::stdin()).expect("a descriptor");
    let mut device = File::from(device);
    let mut request = vec![0; REQUEST_MAX];
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
    let request = Request::parse(request);
    let size = |node| if node == FIRST + LARGE { LARGE_BYTES } else { 64 };
    let reply = match request.opcode {
        INIT => Ok(request.init()),
        // Nothing of it stays valid.
        LOOKUP => file_named(request.name())
            .map(|node| wire::entry(node, size(node), 0))
            .ok_or(Errno::NOENT.raw_os_error()),
        GETATTR => Ok(wire::attributes_now(request.node, size(request.node))),
        OPEN => Ok(wire::opened(DIRECT)),
        READ => Ok(read(&request)),
        FLUSH if request.node == FIRST + UNCLOSABLE => return None,
        FLUSH | RELEASE => Ok(Vec::new()),
        FORGET | BATCH_FORGET | INTERRUPT => return None,
        _ => Err(Errno::NOSYS.raw_os_error()),
    };
    Some(request.reply(reply))
}

fn file_named(name: Option<&[u8]>) -> Option<u64> {
    let name = str::from_utf8(name?).ok()?;
    name.parse::<u64>().ok().map(|number| number + FIRST)
}

fn read(request: &Request<'_>) -> Vec<u8> {
    let (offset, len) = request.range();
    if request.node == FIRST + LARGE {
        let len = u64::from(len).min(LARGE_BYTES.saturating_sub(offset));
        return vec![0; usize::try_from(len).expect("a short read")];
    }
    let content = content(request.node - FIRST).into_bytes();
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    content.get(offset..).unwrap_or_default().to_vec()
}
