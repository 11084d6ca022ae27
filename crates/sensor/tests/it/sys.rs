//! What no library does: forks, and ends a thread and not its process.
#![expect(unsafe_code, reason = "fork(2), and exit(2) of a thread, have no safe wrapper")]

use rustix::process::{Pid, WaitOptions, waitpid};

/// Runs `first` as the first thread of a forked process; gives the code it ended with.
///
/// For a process that does nothing else meanwhile: what other threads hold is held for ever in the fork.
pub(crate) fn in_a_fork(first: impl FnOnce()) -> i32 {
    // SAFETY: the one other thread of this process waits for this one and holds nothing.
    let child = unsafe { libc::fork() };
    if child == 0 {
        first();
        end_this_thread();
    }
    let child = Pid::from_raw(child).expect("a process can be forked");
    let ended = waitpid(Some(child), WaitOptions::empty()).expect("it can be waited for");
    ended.and_then(|(_, status)| status.exit_status()).unwrap_or(-1)
}

/// Ends the calling thread, also the first one, whose process goes on.
fn end_this_thread() -> ! {
    // SAFETY: takes an integer. What this thread owns is used by no other, and the process ends without
    // unwinding it.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("a thread that ended does not go on")
}
