//! The host's own fanotify groups hear nothing of what a confined process opens.
//!
//! Everything happens on a tmpfs of the test's own, in a mount namespace of its own. A watchdog
//! closes the group, and so lets every waiter go, if the test takes too long.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use outrigger_sandbox::{Bind, Exit};

use crate::harness::{end, probe, probe_path, read_all};

const ASKED: u64 = libc::FAN_OPEN_PERM | libc::FAN_OPEN_EXEC_PERM;

/// A group that asks about each open on the file system of a folder, and answers nothing.
struct Watched {
    group: i32,
    _watchdog: mpsc::Sender<()>,
}

fn watch(folder: &Path) -> Watched {
    let path = CString::new(folder.to_str().expect("text")).expect("no NUL");
    let group: OwnedFd = sys::fanotify_group().expect("a group");
    let number = group.as_raw_fd();
    let own = libc::FAN_MARK_MOUNT | libc::FAN_MARK_IGNORE_SURV;
    sys::mark(number, own, ASKED, &path).expect("an ignore mark");
    sys::mark(number, libc::FAN_MARK_FILESYSTEM, ASKED, &path).expect("a mark");
    let (watchdog, end) = mpsc::channel();
    thread::spawn(move || {
        let _ = end.recv_timeout(Duration::from_secs(15));
        drop(group);
    });
    Watched { group: number, _watchdog: watchdog }
}

/// Makes a tmpfs with the probe and some content, in a namespace of this thread's own.
fn private_tmpfs(folder: &Path) {
    sys::unshare_mounts().expect("a mount namespace");
    let private =
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).expect("private mounts");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", folder, "tmpfs", flags, None).expect("a tmpfs");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::create_dir(folder.join("content")).expect("a folder");
    fs::write(folder.join("content/list"), "harmless\n").expect("a file");
    fs::copy(probe_path(), folder.join("probe")).expect("a copy of the probe");
}

#[test]
fn an_engine_on_a_watched_file_system_asks_nothing() {
    let Some(mut probe) = probe(&["open", "/content/list"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    private_tmpfs(folder.path());
    let watched = watch(folder.path());
    probe.confinement.program = folder.path().join("probe");
    probe.confinement.read_only = vec![Bind::data(folder.path().join("content"), "/content")];
    probe.confinement.ignore_groups = vec![watched.group];
    probe.confinement.ignore_mask = ASKED;

    let (mut output, confined) = probe.start();
    let said = read_all(&mut output);

    assert_eq!(said, "ok\n");
    assert_eq!(end(&confined), Exit::Code(0));
    assert!(sys::no_event(watched.group), "an open of the engine was asked about");
    drop(confined);
    rustix::mount::unmount(folder.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
}

mod sys {
    #![expect(unsafe_code, reason = "fanotify and unshare have no safe wrapper")]

    use std::ffi::CStr;
    use std::io;
    use std::os::fd::{FromRawFd, OwnedFd};

    pub(super) fn unshare_mounts() -> io::Result<()> {
        // SAFETY: takes an integer; it parts this thread's mounts and working folder, no descriptor.
        checked(unsafe { libc::unshare(libc::CLONE_NEWNS) })
    }

    pub(super) fn fanotify_group() -> io::Result<OwnedFd> {
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        // SAFETY: takes two integers.
        let group = unsafe { libc::fanotify_init(flags, 0) };
        checked(group)?;
        // SAFETY: the call succeeded, and this is the descriptor's only owner.
        Ok(unsafe { OwnedFd::from_raw_fd(group) })
    }

    pub(super) fn mark(group: i32, kind: u32, mask: u64, path: &CStr) -> io::Result<()> {
        let flags = libc::FAN_MARK_ADD | kind;
        // SAFETY: `path` is a valid string; a wrong group is an error and no more.
        checked(unsafe { libc::fanotify_mark(group, flags, mask, libc::AT_FDCWD, path.as_ptr()) })
    }

    /// Whether a read of the group finds nothing.
    pub(super) fn no_event(group: i32) -> bool {
        let mut event = [0_u8; 256];
        // SAFETY: `event` is valid for its length.
        let got = unsafe { libc::read(group, event.as_mut_ptr().cast(), event.len()) };
        got < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
    }

    fn checked(result: i32) -> io::Result<()> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
