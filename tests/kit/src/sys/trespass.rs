//! System calls on a process of somebody else's.

use std::io;

use libc::c_int;

/// Makes one system call on the process `pid`, by the name that tests give it.
pub(crate) fn on_process(name: &str, pid: u32) -> io::Result<()> {
    let pid = pid as usize;
    let number = |value: c_int| usize::try_from(value).unwrap_or(0);
    let words = [0_usize; 4];
    let zeroes = words.as_ptr().expose_provenance();
    let every_processor = [usize::MAX; 16];
    let mask = every_processor.as_ptr().expose_provenance();
    // One part of 8 bytes each; nothing is mapped at the address there, so whoever may gets EFAULT.
    let (here, there) = ([zeroes, 8], [8_usize, 8]);
    let (here, there) = (here.as_ptr().expose_provenance(), there.as_ptr().expose_provenance());
    let signal = |signal| (libc::SYS_kill, [pid, number(signal), 0, 0, 0]);
    let (call, arguments) = match name {
        "ptrace" => (libc::SYS_ptrace, [number(PTRACE_SEIZE), pid, 0, 0, 0]),
        "process_vm_readv" => (libc::SYS_process_vm_readv, [pid, here, 1, there, 1]),
        "process_vm_writev" => (libc::SYS_process_vm_writev, [pid, here, 1, there, 1]),
        "kcmp" => (libc::SYS_kcmp, [std::process::id() as usize, pid, KCMP_VM, 0, 0]),
        "move_pages" => (libc::SYS_move_pages, [pid, 0, 0, 0, 0]),
        "signal 0" => signal(0),
        "SIGHUP" => signal(libc::SIGHUP),
        "SIGIO" => signal(libc::SIGIO),
        "SIGSTOP" => signal(libc::SIGSTOP),
        "SIGCONT" => signal(libc::SIGCONT),
        "SIGTERM" => signal(libc::SIGTERM),
        "SIGKILL" => signal(libc::SIGKILL),
        "tgkill" => (libc::SYS_tgkill, [pid, pid, 0, 0, 0]),
        "setpriority" => (libc::SYS_setpriority, [0, pid, 5, 0, 0]),
        "sched_setaffinity" => (libc::SYS_sched_setaffinity, [pid, 128, mask, 0, 0]),
        "sched_setscheduler" => {
            (libc::SYS_sched_setscheduler, [pid, number(libc::SCHED_BATCH), zeroes, 0, 0])
        }
        "ioprio_set" => (libc::SYS_ioprio_set, [1, pid, 2 << 13 | 7, 0, 0]),
        "prlimit64" => (libc::SYS_prlimit64, [pid, libc::RLIMIT_CORE as usize, zeroes, 0, 0]),
        "pidfd_getfd" | "pidfd_send_signal" => return by_handle(name, pid),
        _ => return Err(io::Error::other("no such act")),
    };
    make(call, arguments).map(|_| ())
}

/// `ptrace(2)`; attaches without stopping.
const PTRACE_SEIZE: c_int = 0x4206;
/// `kcmp(2)`: whether two processes share their memory.
const KCMP_VM: usize = 1;

fn by_handle(name: &str, pid: usize) -> io::Result<()> {
    let handle = make(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0])?;
    let result = if name == "pidfd_getfd" {
        make(libc::SYS_pidfd_getfd, [handle, 0, 0, 0, 0])
    } else {
        make(libc::SYS_pidfd_send_signal, [handle, 0, 0, 0, 0])
    };
    make(libc::SYS_close, [handle, 0, 0, 0, 0])?;
    result.map(|_| ())
}

fn make(number: libc::c_long, [a, b, c, d, e]: [usize; 5]) -> io::Result<usize> {
    // The sixth is the flags of process_vm_readv(2), a whole register.
    // SAFETY: every argument is a number or the address of words that outlive the call, and no call here
    // changes memory of this process.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, 0_usize) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
