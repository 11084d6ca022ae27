//! What an engine may call. Everything else is refused and reported.
//!
//! An entry needs a reason that an engine, its language's runtime or its C library has, and it must
//! give no way to another process, to another file than the granted ones, or to the kernel's larger
//! interfaces. A call whose arguments matter is allowed with conditions on them, which the kernel
//! checks on registers: what lies behind a pointer cannot be checked here and is not.
//!
//! Looking at files (`stat`, `access`, `readlink`) is allowed: the root holds nothing else.
//! `open` and `openat` are not on the list, so that the host can log them; see `calls.rs`.

use std::collections::BTreeMap;

use libc::c_int;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// The rules by call number; a call without rules is allowed whatever its arguments are.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The whole list.
pub(super) fn allow_list() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALWAYS.iter().map(|number| (*number, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend(ALWAYS_X86_64.iter().map(|number| (*number, Vec::new())));
    for (number, conditions) in CONDITIONAL {
        let conditions: Vec<_> =
            conditions.iter().map(Condition::compile).collect::<Result<_, _>>()?;
        rules.entry(*number).or_default().push(SeccompRule::new(conditions)?);
    }
    Ok(rules)
}

/// Allowed with any arguments.
const ALWAYS: &[i64] = &[
    // Memory of its own. New memory is bounded by the control group. (mmap, mprotect: below.)
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mlock, // key material; bounded by RLIMIT_MEMLOCK
    libc::SYS_mremap,
    libc::SYS_munlock,
    libc::SYS_munmap,
    // Waiting and waking among its threads, and on the rings that it shares with the host.
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity, // how many threads make sense
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Reading, by position or in order, from what it was given: content, pipes, sockets.
    libc::SYS_fadvise64,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    // Writing: its log, its sockets. No file that it can open may be written.
    libc::SYS_sendmsg,
    libc::SYS_write,
    libc::SYS_writev,
    // Waiting for descriptors.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2, // to wake its own event loop
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Descriptors of its own, bounded by RLIMIT_NOFILE.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    // Looking at what its root holds.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_statx,
    // Time and chance.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Who and where it is: answers within its own namespaces.
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_sysinfo, // C libraries size their sorting by it
    libc::SYS_uname,
    // Signals to itself: faults, aborts, a runtime's own. (tgkill: below.)
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // The end.
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The older forms of the above, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const ALWAYS_X86_64: &[i64] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
];

/// Allowed if all conditions of one of the entries hold.
const CONDITIONAL: &[(i64, &[Condition])] = &[
    // Memory that can be written or executed, never both at once. A just-in-time compiler works:
    // it writes, then makes executable.
    (libc::SYS_mmap, &[masked(2, WRITE_EXECUTE, 0)]),
    (libc::SYS_mmap, &[masked(2, WRITE_EXECUTE, libc::PROT_WRITE)]),
    (libc::SYS_mmap, &[masked(2, WRITE_EXECUTE, libc::PROT_EXEC)]),
    (libc::SYS_mprotect, &[masked(2, WRITE_EXECUTE, 0)]),
    (libc::SYS_mprotect, &[masked(2, WRITE_EXECUTE, libc::PROT_WRITE)]),
    (libc::SYS_mprotect, &[masked(2, WRITE_EXECUTE, libc::PROT_EXEC)]),
    // Threads: it must share memory and signal handlers, and make no namespace and no tracee.
    // clone3 hides its flags behind a pointer and is answered ENOSYS: C libraries then use clone.
    (libc::SYS_clone, &[masked(0, THREAD_FLAGS | FORBIDDEN_CLONE_FLAGS, THREAD_FLAGS)]),
    // Signals to its own threads alone: in its pid namespace it is process 1.
    (libc::SYS_tgkill, &[equal(0, 1)]),
    // Connected sockets need no address; there is none to send to.
    (libc::SYS_sendto, &[equal(4, 0)]),
    // Descriptor flags, status flags, copies. No locks, leases, owners, signals, sealing, sizes.
    (libc::SYS_fcntl, &[equal(1, libc::F_GETFD)]),
    (libc::SYS_fcntl, &[equal(1, libc::F_SETFD)]),
    (libc::SYS_fcntl, &[equal(1, libc::F_GETFL)]),
    (libc::SYS_fcntl, &[equal(1, libc::F_SETFL), masked(2, libc::O_ASYNC | libc::O_DIRECT, 0)]),
    (libc::SYS_fcntl, &[equal(1, libc::F_DUPFD_CLOEXEC)]),
    (libc::SYS_fcntl, &[equal(1, libc::F_GET_SEALS)]), // is the ring sealed as promised?
    // Its own limits, to read: C libraries ask for the stack's size.
    (libc::SYS_prlimit64, &[equal(0, 0), equal(2, 0)]),
    // A thread's name; and to hide its memory from debuggers of the same user.
    (libc::SYS_prctl, &[equal(0, libc::PR_SET_NAME)]),
    (libc::SYS_prctl, &[equal(0, libc::PR_SET_DUMPABLE), equal(1, 0)]),
    // Where thread-local memory begins.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_arch_prctl, &[equal(0, ARCH_SET_FS)]),
];

const WRITE_EXECUTE: c_int = libc::PROT_WRITE | libc::PROT_EXEC;

const THREAD_FLAGS: c_int = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;

const FORBIDDEN_CLONE_FLAGS: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_IO
    | libc::CLONE_PTRACE
    | libc::CLONE_VFORK;

/// `arch_prctl(2)`; not in libc.
#[cfg(target_arch = "x86_64")]
const ARCH_SET_FS: c_int = 0x1002;

/// Bits of one argument's low 32 that must have a value.
struct Condition {
    argument: u8,
    mask: u32,
    value: u32,
}

const fn equal(argument: u8, value: c_int) -> Condition {
    Condition { argument, mask: u32::MAX, value: value.cast_unsigned() }
}

const fn masked(argument: u8, mask: c_int, value: c_int) -> Condition {
    Condition { argument, mask: mask.cast_unsigned(), value: value.cast_unsigned() }
}

impl Condition {
    fn compile(&self) -> Result<SeccompCondition, seccompiler::BackendError> {
        let operator = SeccompCmpOp::MaskedEq(u64::from(self.mask));
        let width = SeccompCmpArgLen::Dword;
        SeccompCondition::new(self.argument, width, operator, u64::from(self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_compiles() {
        assert!(allow_list().is_ok());
    }

    #[test]
    fn what_reaches_others_is_not_on_the_list() {
        let rules = allow_list().unwrap();

        let reaching = [
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_kill,
            libc::SYS_ptrace,
            libc::SYS_execve,
            libc::SYS_openat,
            libc::SYS_flock,
            libc::SYS_ioctl,
            libc::SYS_clone3,
            libc::SYS_memfd_create,
            libc::SYS_io_uring_setup,
        ];
        assert!(reaching.iter().all(|number| !rules.contains_key(number)));
    }
}
