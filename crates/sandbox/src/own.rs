//! Confinement of the host's own trusted processes.

use std::io;

use rustix::mm::MlockAllFlags;
use rustix::process::Signal;
use seccompiler::SeccompAction;

use crate::seccomp;
use crate::seccomp::list::CallList;

/// What happens to a call that is not on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// The call fails with this errno.
    Errno(i32),
    /// The process ends with `SIGSYS`.
    Kill,
}

/// Allows this thread, and what it makes from now on, only the calls of `list`.
///
/// Meant for a process with one thread: another thread of the same process keeps its rights. The filter
/// is inherited by clones and by `execve`, and sets `no_new_privs`; neither can be taken back.
///
/// # Errors
///
/// `InvalidInput` if the list cannot be compiled (over 4,096 instructions); what `prctl(2)` and
/// `seccomp(2)` give. Nothing is confined then.
pub fn confine_self(list: &CallList, otherwise: Otherwise) -> io::Result<()> {
    let otherwise = match otherwise {
        Otherwise::Errno(errno) => SeccompAction::Errno(errno.unsigned_abs()),
        Otherwise::Kill => SeccompAction::KillProcess,
    };
    let program = seccomp::own_filter(list, otherwise)
        .map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// Closes every descriptor from `first` on, in a program that has just begun: what a parent left open by
/// mistake is no channel of this process.
///
/// Call it before anything is opened: what owns a descriptor that is closed here would close another's later.
///
/// # Errors
///
/// `ENOSYS` before Linux 5.9.
pub fn close_inherited(first: u32) -> io::Result<()> {
    crate::sys::close_range(first, u32::MAX).map_err(Into::into)
}

/// Locks all memory of this process, present and future, so that serving never waits for swap or a
/// file system.
///
/// # Errors
///
/// `ENOMEM` over `RLIMIT_MEMLOCK` without `CAP_IPC_LOCK` (`mlockall(2)`).
pub fn lock_memory() -> io::Result<()> {
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(Into::into)
}

/// Has the kernel send `signal` to this process when the *thread* that made it ends.
///
/// Cleared by a change of credentials and in children. A parent that is dead already sends nothing:
/// check that it lives after the call.
///
/// # Errors
///
/// `EINVAL` for a number that is not a signal.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
    rustix::process::set_parent_process_death_signal(Some(signal)).map_err(Into::into)
}
