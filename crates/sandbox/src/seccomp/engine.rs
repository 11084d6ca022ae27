//! What an engine may call. Everything else is refused and reported.
//!
//! An entry needs a reason that an engine, its language's runtime or its C library has, and it must
//! give no way to another process, to another file than the granted ones, or to the kernel's larger
//! interfaces. A call whose arguments matter is allowed with conditions on them, which the kernel
//! checks on registers: what lies behind a pointer cannot be checked here and is not.
//!
//! **No code but its files.** No call here makes memory executable. Mapping a file to be executed is the
//! host's to answer (`judge.rs`): as long as the engine has nothing but its own files, that is its loader;
//! from the moment it is given rings and content, it is refused. So what an engine reads, or writes, never
//! becomes what it executes.
//!
//! Looking at files (`stat`, `access`, `readlink`) is allowed: the root holds nothing else.
//! `open` and `openat` are not on the list, so that the host can log them; see `calls.rs`.

use libc::c_int;

use super::list::{Allowed, CallList, Judged, always, case, equal, masked, when};

/// The engine's list.
pub static ENGINE: CallList = CallList {
    kind: "engine",
    otherwise: "fails with `EPERM`, and is told with the engine's name, the call's, and its arguments \
                where they say more",
    allowed: ALLOWED,
    judged: JUDGED,
};

const ALLOWED: &[Allowed] = &[
    always(
        "memory of its own, bounded by the control group",
        &[libc::SYS_brk, libc::SYS_madvise, libc::SYS_mremap, libc::SYS_munmap],
    ),
    always(
        "memory that is not swapped, for key material; bounded by `RLIMIT_MEMLOCK`",
        &[libc::SYS_mlock, libc::SYS_munlock],
    ),
    when(
        "memory to read and write, never to execute",
        &[libc::SYS_mmap, libc::SYS_mprotect],
        &[case("without `PROT_EXEC`", &[masked(2, libc::PROT_EXEC, 0)])],
    ),
    always(
        "waiting and waking among its threads, and on the rings that it shares with the host",
        &[
            libc::SYS_futex,
            libc::SYS_futex_waitv,
            libc::SYS_membarrier,
            libc::SYS_rseq,
            libc::SYS_sched_getaffinity, // how many threads make sense
            libc::SYS_sched_yield,
            libc::SYS_set_robust_list,
            libc::SYS_set_tid_address,
        ],
    ),
    when(
        "threads: memory and signal handlers shared, no namespace, no tracee",
        &[libc::SYS_clone],
        &[case(
            "with the flags of a thread",
            &[masked(0, THREAD_FLAGS | FORBIDDEN_CLONE_FLAGS, THREAD_FLAGS)],
        )],
    ),
    always(
        "reading, by position or in order, from what it was given: content, pipes, sockets",
        &[
            libc::SYS_fadvise64,
            libc::SYS_lseek,
            libc::SYS_pread64,
            libc::SYS_preadv,
            libc::SYS_read,
            libc::SYS_readv,
            libc::SYS_recvfrom,
            libc::SYS_recvmsg,
        ],
    ),
    always(
        "writing: its log, its sockets. No file that it can open may be written",
        &[libc::SYS_sendmsg, libc::SYS_write, libc::SYS_writev],
    ),
    when(
        "writing to connected sockets; there is no other to send to",
        &[libc::SYS_sendto],
        &[case("without an address", &[equal(4, 0)])],
    ),
    always(
        "waiting for descriptors",
        &[
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_pwait,
            libc::SYS_eventfd2,
            libc::SYS_pipe2, // to wake its own event loop
            libc::SYS_ppoll,
            libc::SYS_pselect6,
        ],
    ),
    always(
        "descriptors of its own, bounded by `RLIMIT_NOFILE`",
        &[libc::SYS_close, libc::SYS_close_range, libc::SYS_dup, libc::SYS_dup3],
    ),
    when(
        "descriptor flags, status flags, copies. No locks, leases, owners, signals, seals, sizes",
        &[libc::SYS_fcntl],
        &[
            case("`F_GETFD`", &[equal(1, libc::F_GETFD)]),
            case("`F_SETFD`", &[equal(1, libc::F_SETFD)]),
            case("`F_GETFL`", &[equal(1, libc::F_GETFL)]),
            case(
                "`F_SETFL` without `O_ASYNC` and `O_DIRECT`",
                &[equal(1, libc::F_SETFL), masked(2, libc::O_ASYNC | libc::O_DIRECT, 0)],
            ),
            case("`F_DUPFD_CLOEXEC`", &[equal(1, libc::F_DUPFD_CLOEXEC)]),
            // Is the ring sealed as promised?
            case("`F_GET_SEALS`", &[equal(1, libc::F_GET_SEALS)]),
        ],
    ),
    always(
        "looking at what its root holds",
        &[
            libc::SYS_faccessat,
            libc::SYS_faccessat2,
            libc::SYS_fstat,
            libc::SYS_fstatfs,
            libc::SYS_getcwd,
            libc::SYS_getdents64,
            libc::SYS_newfstatat,
            libc::SYS_readlinkat,
            libc::SYS_statx,
        ],
    ),
    always(
        "time and chance",
        &[
            libc::SYS_clock_getres,
            libc::SYS_clock_gettime,
            libc::SYS_clock_nanosleep,
            libc::SYS_getrandom,
            libc::SYS_gettimeofday,
            libc::SYS_nanosleep,
        ],
    ),
    always(
        "who and where it is, answered within its own namespaces",
        &[
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
        ],
    ),
    when(
        "its own limits, to read: C libraries ask for the stack's size",
        &[libc::SYS_prlimit64],
        &[case("of itself, without a new limit", &[equal(0, 0), equal(2, 0)])],
    ),
    when(
        "a thread's name; to hide its memory from debuggers; what a runtime asks about its own process",
        &[libc::SYS_prctl],
        &[
            case("`PR_SET_NAME`", &[equal(0, libc::PR_SET_NAME)]),
            case("`PR_SET_DUMPABLE` to 0", &[equal(0, libc::PR_SET_DUMPABLE), equal(1, 0)]),
            // The page size and the like without a C library; the same bytes lie on its stack.
            case("`PR_GET_AUXV`", &[equal(0, PR_GET_AUXV)]),
            // May I compile, or must I interpret?
            case("`PR_GET_MDWE`", &[equal(0, libc::PR_GET_MDWE)]),
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    when(
        "where thread-local memory begins",
        &[libc::SYS_arch_prctl],
        &[case("`ARCH_SET_FS`", &[equal(0, ARCH_SET_FS)])],
    ),
    always(
        "signals to itself: faults, aborts, a runtime's own",
        &[
            libc::SYS_restart_syscall,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_rt_sigtimedwait,
            libc::SYS_sigaltstack,
        ],
    ),
    when(
        "signals to its own threads alone: in its pid namespace it is process 1",
        &[libc::SYS_tgkill],
        &[case("to process 1", &[equal(0, 1)])],
    ),
    always("the end", &[libc::SYS_exit, libc::SYS_exit_group]),
    #[cfg(target_arch = "x86_64")]
    always(
        "the older forms of the above, which newer architectures do not have",
        &[
            libc::SYS_access,
            libc::SYS_dup2,
            libc::SYS_epoll_wait,
            libc::SYS_lstat,
            libc::SYS_poll,
            libc::SYS_readlink,
            libc::SYS_select,
            libc::SYS_stat,
            libc::SYS_time,
        ],
    ),
];

/// What the host answers by itself; see `judge.rs`, whose tests hold it to this.
const JUDGED: &[Judged] = &[
    Judged {
        call: libc::SYS_execve,
        answer: "the first goes on, which is the start of the engine's program; every other is refused",
    },
    #[cfg(target_arch = "x86_64")]
    Judged { call: libc::SYS_open, answer: "as `openat`" },
    Judged {
        call: libc::SYS_openat,
        answer: "refused for writing; goes on for reading, since the root holds nothing but what was \
                 granted, and is told if the path is not in it",
    },
    Judged { call: libc::SYS_openat2, answer: "as `openat` for reading" },
    Judged {
        call: libc::SYS_mmap,
        answer: "with `PROT_EXEC`: goes on for a private mapping of a file, not to be written, until the \
                 engine is given its rings; refused from then on, and for anything else",
    },
    Judged {
        call: libc::SYS_clone3,
        answer: "`ENOSYS`: its flags lie behind a pointer; C libraries then use `clone`",
    },
    Judged {
        call: libc::SYS_ioctl,
        answer: "`ENOTTY` for `TCGETS`, asked by C libraries before the first line of output; every other is \
                 refused",
    },
    #[cfg(target_arch = "x86_64")]
    Judged {
        call: libc::SYS_arch_prctl,
        answer: "`EINVAL` for what is not allowed above: shadow stacks and the like, tried by the loader",
    },
];

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

/// `PR_GET_AUXV(2const)`, Linux 6.4; not in libc.
const PR_GET_AUXV: c_int = 0x4155_5856;

/// `arch_prctl(2)`; not in libc.
#[cfg(target_arch = "x86_64")]
const ARCH_SET_FS: c_int = 0x1002;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::list::tests::{every_call_has_a_name, no_call_stands_twice};

    #[test]
    fn its_list_is_sound() {
        no_call_stands_twice(&ENGINE);
        every_call_has_a_name(&ENGINE);
    }

    #[test]
    fn what_reaches_others_is_not_on_the_list() {
        let rules = ENGINE.rules().unwrap();

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
            libc::SYS_pkey_mprotect,
            libc::SYS_personality,
        ];
        assert!(reaching.iter().all(|number| !rules.contains_key(number)));
    }
}
