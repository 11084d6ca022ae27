//! Confinement of the host's own trusted processes.

use std::collections::BTreeMap;
use std::io;

use rustix::mm::MlockAllFlags;
use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// What happens to a call that is not on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// The call fails with this errno.
    Errno(i32),
    /// The process ends with `SIGSYS`.
    Kill,
}

/// Allows this thread, and what it makes from now on, only the calls with these numbers.
///
/// Meant for the gate and the keeper, which have one thread: another thread of the same process
/// keeps its rights. The filter is inherited by clones and by `execve` (so a keeper that clones hosts
/// binds them too), and sets `no_new_privs`; neither can be taken back.
///
/// # Errors
///
/// `InvalidInput` if the list cannot be compiled (over 4,096 instructions); what `prctl(2)` and
/// `seccomp(2)` give. Nothing is confined then.
pub fn confine_self(allowed: &[i64], otherwise: Otherwise) -> io::Result<()> {
    let program = compile(allowed, otherwise)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

fn compile(allowed: &[i64], otherwise: Otherwise) -> io::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let rules: BTreeMap<_, _> = allowed.iter().map(|number| (*number, Vec::new())).collect();
    let mismatch = match otherwise {
        Otherwise::Errno(errno) => SeccompAction::Errno(errno.unsigned_abs()),
        Otherwise::Kill => SeccompAction::KillProcess,
    };
    SeccompFilter::new(rules, mismatch, SeccompAction::Allow, architecture)
        .and_then(TryInto::try_into)
        .map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))
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
