//! The system calls of a tracer, which neither the standard library nor rustix makes for us.

#![expect(unsafe_code, reason = "ptrace and waiting for traced threads have no safe wrapper")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use libc::{c_int, c_long, c_uint, c_void, pid_t};

/// Has the process that `command` starts wait to be traced by the thread that starts it.
pub(crate) fn traced_from_exec(command: &mut Command) {
    let trace_me = || {
        let none = ptr::null_mut::<c_void>();
        // SAFETY: this request takes no pointer; the three arguments behind it are ignored.
        let result = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, none, none) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes one system call and, in an error, reads errno; it takes no
    // lock and allocates nothing.
    unsafe { command.pre_exec(trace_me) };
}

/// Gives this thread mounts of its own, and the processes and threads that it starts from now on.
pub(crate) fn own_mounts() -> io::Result<()> {
    // SAFETY: takes an integer. The other threads of the process keep the mounts, root and working folder that they
    // have; this one's become its own, and nothing is shared with it that is referred to by them.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn request(request: c_uint, pid: pid_t, address: usize, data: usize) -> io::Result<c_long> {
    // SAFETY: every caller below passes numbers for both arguments, but for `call`, whose buffer outlives the request.
    let result = unsafe {
        libc::ptrace(
            request,
            pid,
            ptr::without_provenance_mut::<c_void>(address),
            ptr::with_exposed_provenance_mut::<c_void>(data),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Follow children and threads of a stopped tracee, tell its system calls from signals, and end it with the tracer.
pub(crate) fn follow(pid: pid_t) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS, pid, 0, options.cast_unsigned() as usize).map(drop)
}

/// Lets a stopped tracee go on to its next system call's beginning or end, with a signal, if not 0.
pub(crate) fn go_on(pid: pid_t, signal: c_int) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, pid, 0, signal.cast_unsigned() as usize).map(drop)
}

/// Where in a system call a stopped tracee is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    /// Its beginning: number and arguments.
    Entry(u64, [u64; 6]),
    /// Its end: what it returned, negative for an error.
    Exit(i64),
    /// In none.
    None,
}

pub(crate) fn call(pid: pid_t) -> io::Result<Call> {
    // `struct ptrace_syscall_info`: op (1 byte), padding, arch; two pointers; number and arguments, or the result.
    let mut info = [0u64; 12];
    let size = size_of_val(&info);
    let buffer = info.as_mut_ptr().expose_provenance();
    request(libc::PTRACE_GET_SYSCALL_INFO, pid, size, buffer)?;
    let [head, _, _, first, arguments @ ..] = info;
    let [a, b, c, d, e, f, ..] = arguments;
    Ok(match head.to_ne_bytes()[0] {
        libc::PTRACE_SYSCALL_INFO_ENTRY => Call::Entry(first, [a, b, c, d, e, f]),
        libc::PTRACE_SYSCALL_INFO_EXIT => Call::Exit(first.cast_signed()),
        _ => Call::None,
    })
}

/// Where the registers of a call lie in the user area of a tracee, in bytes.
#[cfg(target_arch = "x86_64")]
mod register {
    use std::mem::offset_of;

    pub(super) const NUMBER: usize = offset_of!(libc::user, regs.orig_rax);
    pub(super) const RESULT: usize = offset_of!(libc::user, regs.rax);
}

/// Has the kernel do nothing for a call that begins.
#[cfg(target_arch = "x86_64")]
pub(crate) fn skip(pid: pid_t) -> io::Result<()> {
    request(libc::PTRACE_POKEUSER, pid, register::NUMBER, usize::MAX).map(drop)
}

/// Has a call that ends return an error.
#[cfg(target_arch = "x86_64")]
pub(crate) fn fail(pid: pid_t, errno: c_int) -> io::Result<()> {
    let result = 0usize.wrapping_sub(errno.unsigned_abs() as usize);
    request(libc::PTRACE_POKEUSER, pid, register::RESULT, result).map(drop)
}

/// Has the kernel do nothing for a call that begins.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn skip(_: pid_t) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Has a call that ends return an error.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fail(_: pid_t, _: c_int) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// What became of a tracee.
#[derive(Debug, Clone, Copy)]
pub(crate) enum News {
    /// It ended by itself, with this code.
    Exited(c_int),
    /// It was ended by a signal.
    Killed,
    /// It is stopped at the beginning or end of a system call.
    AtCall,
    /// It is stopped by ptrace: a new child, an exec.
    Event,
    /// It is stopped by a signal that it is to get.
    Signal(c_int),
}

/// Waits for any tracee of this thread.
pub(crate) fn wait() -> io::Result<(pid_t, News)> {
    let mut status = 0;
    // SAFETY: `status` outlives the call and is what the call writes to.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let news = if libc::WIFEXITED(status) {
        News::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        News::Killed
    } else if status >> 16 != 0 {
        News::Event
    } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
        News::AtCall
    } else {
        News::Signal(libc::WSTOPSIG(status))
    };
    Ok((pid, news))
}
