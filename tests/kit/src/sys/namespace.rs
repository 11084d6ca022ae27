//! Splits a process off into namespaces or a session of its own, between `fork` and `exec`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Makes `command` start as the first process of new mount and process namespaces.
///
/// The process that `Command` knows waits outside and ends as the one inside did (128 + the signal's
/// number if one ended it). Each ends with its parent.
pub(crate) fn enter_world_on_exec(command: &mut Command) {
    // SAFETY: `split_off` makes system calls only; it allocates nothing and takes no lock, which is
    // what may be done in the child of a process with other threads.
    unsafe { command.pre_exec(split_off) };
}

/// Makes `command` start in a session of its own, as a service does.
pub(crate) fn enter_session_on_exec(command: &mut Command) {
    // SAFETY: `setsid` is one system call; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
}

fn split_off() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // SAFETY: takes an integer; a process between fork and exec has one thread, so no other thread
    // sees its namespaces change.
    if unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the child goes on to `exec` by system calls only, the parent never leaves `wait_outside`.
    match unsafe { libc::fork() } {
        0 => Ok(set_parent_process_death_signal(Some(Signal::KILL))?),
        inside if inside > 0 => wait_outside(inside),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends as `inside` ends.
fn wait_outside(inside: libc::pid_t) -> ! {
    // The pipe by which `Command` learns of a failed exec is among them: it must see the end of it.
    // SAFETY: takes integers; nothing in this process uses a descriptor any more.
    unsafe { libc::close_range(3, u32::MAX, 0) };
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the whole call.
        let ended = unsafe { libc::waitpid(inside, &raw mut status, 0) };
        if ended == inside {
            break;
        }
    }
    let code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    };
    // SAFETY: ends the process without running handlers that belong to the one it was forked from.
    unsafe { libc::_exit(code) }
}
