//! Who asks and about what: keys and attributes from descriptors, without a path look-up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use outrigger_api::{FileKey, ProcessKey};
use rustix::fs::{AtFlags, StatxFlags, fstat, statx};

use crate::sys;

/// The subject's effective user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// What an object is, from its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its key: device and inode.
    pub key: FileKey,
    /// Its device, `major << 32 | minor`.
    pub device: u64,
    /// Bytes.
    pub size: u64,
    /// Change time, ns since the epoch.
    pub changed: u64,
    /// Type and permission bits (`st_mode`).
    pub mode: u32,
    /// The user whom it belongs to.
    pub owner: u32,
}

impl Object {
    /// Whether it is a regular file.
    pub const fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }
}

/// The object behind an event's descriptor, as the kernel has it cached: no server is asked.
///
/// # Errors
///
/// `EBADF` if the descriptor was closed.
pub fn object(file: BorrowedFd<'_>) -> io::Result<Object> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let wanted = StatxFlags::TYPE
        | StatxFlags::UID
        | StatxFlags::MODE
        | StatxFlags::INO
        | StatxFlags::SIZE
        | StatxFlags::CTIME;
    let stat = statx(file, c"", flags, wanted)?;
    let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    let seconds = u64::try_from(stat.stx_ctime.tv_sec).unwrap_or(0);
    let nanos = u64::from(stat.stx_ctime.tv_nsec);
    Ok(Object {
        key: file_key(device, stat.stx_ino),
        device,
        size: stat.stx_size,
        changed: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        mode: u32::from(stat.stx_mode),
        owner: stat.stx_uid,
    })
}

/// The key of the file with this inode number on this device (`major << 32 | minor`).
pub(crate) fn file_key(device: u64, inode: u64) -> FileKey {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&device.to_le_bytes());
    key[8..16].copy_from_slice(&inode.to_le_bytes());
    FileKey(key)
}

/// How this kernel tells processes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subjects {
    /// Pidfds have an inode number of their own per process (Linux 6.9 and later).
    unique_pidfds: bool,
    /// Credentials come from the pidfd (Linux 6.13 and later).
    pidfd_info: bool,
}

impl Subjects {
    /// Finds out by trial on this process.
    pub fn probe() -> Self {
        use rustix::process::{PidfdFlags, getpid, pidfd_open};
        let Ok(own) = pidfd_open(getpid(), PidfdFlags::empty()) else {
            return Self { unique_pidfds: false, pidfd_info: false };
        };
        let unique = rustix::fs::fstatfs(&own).is_ok_and(|fs| fs.f_type == PIDFS_MAGIC);
        Self { unique_pidfds: unique, pidfd_info: sys::pidfd_info(own.as_fd()).is_ok() }
    }

    /// Whether a process's key is the inode number of its pidfds; else it is its start time.
    pub(crate) const fn by_pidfd(self) -> bool {
        self.unique_pidfds
    }

    /// The key of a process whose question waits, from its pidfd.
    pub fn key(self, pid: u32, pidfd: BorrowedFd<'_>) -> ProcessKey {
        let unique = if self.unique_pidfds {
            fstat(pidfd).map_or(0, |stat| stat.st_ino)
        } else {
            start_time(pid).unwrap_or(0)
        };
        let mut key = Self::passing_key(pid);
        key.0[..8].copy_from_slice(&unique.to_le_bytes());
        key
    }

    /// A key that holds only as long as the process waits: for what is forgotten within a second.
    pub fn passing_key(pid: u32) -> ProcessKey {
        let mut key = [0; 16];
        key[8..12].copy_from_slice(&pid.to_le_bytes());
        ProcessKey(key)
    }

    /// Effective credentials of a process whose question waits.
    pub fn credentials(self, pid: u32, pidfd: Option<BorrowedFd<'_>>) -> Option<Credentials> {
        if self.pidfd_info
            && let Some(info) = pidfd.and_then(|pidfd| sys::pidfd_info(pidfd).ok())
        {
            return Some(Credentials { uid: info.euid, gid: info.egid });
        }
        status_credentials(&std::fs::read(format!("/proc/{pid}/status")).ok()?)
    }

    /// Key and effective credentials of a process that does not wait, so that it can end any moment: what
    /// can only be found out by its pid is left out once it has ended, since the pid may be another's.
    pub fn of_running(
        self,
        pid: u32,
        pidfd: BorrowedFd<'_>,
    ) -> (Option<ProcessKey>, Option<Credentials>) {
        if self.pidfd_info {
            let info = sys::pidfd_info(pidfd).ok();
            let credentials = info.map(|info| Credentials { uid: info.euid, gid: info.egid });
            return (Some(self.key(pid, pidfd)), credentials);
        }
        let (key, credentials) = (self.key(pid, pidfd), self.credentials(pid, None));
        if has_ended(pidfd) {
            return (self.unique_pidfds.then_some(key), None);
        }
        (Some(key), credentials)
    }
}

/// Whether the process behind a pidfd has ended, reaped or not.
fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // If that cannot be told, it counts as ended: then nothing is said of it that may be wrong.
    poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&at_once)) != Ok(0)
}

/// The user whom a process's folder in `/proc` belongs to: its effective user, or root for a process
/// that may not be looked into. Cheap; for sharing fairly, not for deciding.
pub fn owner(pid: u32) -> Option<u32> {
    Some(rustix::fs::stat(format!("/proc/{pid}")).ok()?.st_uid)
}

/// A handle on a process whose question waits, where the group reports none.
///
/// # Errors
///
/// `ESRCH` if it was killed meanwhile.
pub fn handle(pid: u32) -> io::Result<std::os::fd::OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// `linux/magic.h`: PID_FS_MAGIC.
const PIDFS_MAGIC: i64 = 0x5049_4446;

/// Field 22 of `/proc/PID/stat`: clock ticks after boot (`man 5 proc_pid_stat`).
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|&byte| byte == b')')?;
    let text = str::from_utf8(&stat[after_name + 1..]).ok()?;
    text.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn status_credentials(status: &[u8]) -> Option<Credentials> {
    let id = |name: &str| -> Option<u32> {
        let text = str::from_utf8(status).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some(Credentials { uid: id("Uid:")?, gid: id("Gid:")? })
}

/// The path of an open file, as the kernel names it; `None` if it cannot.
pub fn path(file: i32) -> Option<PathBuf> {
    let link = crate::group::descriptor_path(file);
    let path = rustix::fs::readlink(&link, Vec::new()).ok()?;
    Some(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(
        path.into_bytes(),
    )))
}

/// The program that a process runs; `None` where it cannot be told.
pub fn program(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_has_the_same_key_through_two_descriptors() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        let again = std::fs::File::open(file.path()).expect("it can be opened");

        let first = object(file.as_file().as_fd()).expect("it can be looked at");
        let second = object(again.as_fd()).expect("it can be looked at");

        assert_eq!(first.key, second.key);
        assert!(first.is_regular());
    }

    #[test]
    fn own_credentials_are_read_from_the_status_file_as_from_the_pidfd() {
        let pid = std::process::id();
        let slow = Subjects { unique_pidfds: false, pidfd_info: false };

        let credentials = slow.credentials(pid, None);

        assert_eq!(credentials.map(|c| c.uid), Some(rustix::process::geteuid().as_raw()));
    }

    #[test]
    fn two_processes_have_two_keys() {
        let slow = Subjects { unique_pidfds: false, pidfd_info: false };

        let (own, init) = (handle(std::process::id()), handle(1));
        let own = slow.key(std::process::id(), own.expect("it lives").as_fd());
        let init = slow.key(1, init.expect("it lives").as_fd());

        assert_ne!(own, init);
    }

    #[test]
    fn of_a_process_that_ended_nothing_is_said_that_only_its_pid_tells() {
        let slow = Subjects { unique_pidfds: false, pidfd_info: false };
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat starts");
        let pidfd = handle(child.id()).expect("it waits for words");

        let key = slow.key(child.id(), pidfd.as_fd());
        let running = slow.of_running(child.id(), pidfd.as_fd());
        drop(child.stdin.take());
        child.wait().expect("it ends at the end of its words");
        let ended = slow.of_running(child.id(), pidfd.as_fd());

        assert_eq!(running.0, Some(key));
        assert_eq!(running.1.map(|who| who.uid), Some(rustix::process::geteuid().as_raw()));
        assert_eq!(ended, (None, None));
    }

    #[test]
    fn the_start_time_is_found_behind_a_name_with_spaces() {
        assert!(start_time(std::process::id()).is_some());
    }
}
