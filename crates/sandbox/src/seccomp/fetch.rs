//! What the child that downloads may call: it parses what the network says, and copies it to its socket.
//!
//! It is one thread, and is fully started when the list is put on: no program is started, no thread made, no
//! library loaded, nothing mapped to be executed. Files are opened to be read alone, and Landlock says which.
//! Sockets are of the internet protocols alone: no Unix socket of this machine's services (a name service
//! daemon among them; the C library then asks the DNS itself), no netlink, no raw packets; and no call that
//! waits for connections.

use libc::c_int;

use super::list::{Allowed, CallList, always, case, equal, masked, when};

/// The list of `outrigger-fetch`.
pub static FETCH: CallList =
    CallList { kind: "fetch", otherwise: "fails with `EPERM`", allowed: ALLOWED, judged: &[] };

const ALLOWED: &[Allowed] = &[
    always(
        "memory of its own, bounded by `RLIMIT_AS`",
        &[libc::SYS_brk, libc::SYS_madvise, libc::SYS_mremap, libc::SYS_munmap],
    ),
    when(
        "memory to read and write, never to execute",
        &[libc::SYS_mmap, libc::SYS_mprotect],
        &[case("without `PROT_EXEC`", &[masked(2, libc::PROT_EXEC, 0)])],
    ),
    when(
        "files, to read: how names are resolved, and a repository that is a folder; Landlock knows which",
        &[libc::SYS_openat],
        &[case("without a flag that writes or makes", &[masked(2, WRITING, 0)])],
    ),
    always(
        "reading them",
        &[
            libc::SYS_close,
            libc::SYS_fstat,
            libc::SYS_lseek,
            libc::SYS_newfstatat, // has `resolv.conf` changed?
            libc::SYS_pread64,
            libc::SYS_read,
            libc::SYS_readv,
            libc::SYS_statx,
        ],
    ),
    always(
        "its socket to the updater, and those to the network",
        &[libc::SYS_write, libc::SYS_writev],
    ),
    when(
        "sockets to the network: TCP, and UDP for the DNS",
        &[libc::SYS_socket],
        &[
            case("IPv4 streams", &[equal(0, libc::AF_INET), masked(1, TYPE, libc::SOCK_STREAM)]),
            case("IPv4 datagrams", &[equal(0, libc::AF_INET), masked(1, TYPE, libc::SOCK_DGRAM)]),
            case("IPv6 streams", &[equal(0, libc::AF_INET6), masked(1, TYPE, libc::SOCK_STREAM)]),
            case("IPv6 datagrams", &[equal(0, libc::AF_INET6), masked(1, TYPE, libc::SOCK_DGRAM)]),
        ],
    ),
    always(
        "connecting them, and what comes and goes over them",
        &[
            libc::SYS_connect,
            libc::SYS_getpeername,
            libc::SYS_getsockname, // which of our addresses would be used to get there?
            libc::SYS_getsockopt,
            libc::SYS_recvfrom,
            libc::SYS_recvmsg,
            libc::SYS_sendmmsg, // the C library asks for both kinds of address at once
            libc::SYS_sendmsg,
            libc::SYS_setsockopt,
            libc::SYS_shutdown,
        ],
    ),
    when(
        "sending over connected sockets",
        &[libc::SYS_sendto],
        &[case("without an address", &[equal(4, 0)])],
    ),
    when(
        "connecting within a time; how much of an answer is there",
        &[libc::SYS_ioctl],
        &[case("`FIONBIO`", &[equal(1, FIONBIO)]), case("`FIONREAD`", &[equal(1, FIONREAD)])],
    ),
    when(
        "descriptor flags and status flags",
        &[libc::SYS_fcntl],
        &[
            case("`F_GETFD`", &[equal(1, libc::F_GETFD)]),
            case("`F_SETFD`", &[equal(1, libc::F_SETFD)]),
            case("`F_GETFL`", &[equal(1, libc::F_GETFL)]),
            case(
                "`F_SETFL` without `O_ASYNC` and `O_DIRECT`",
                &[equal(1, libc::F_SETFL), masked(2, libc::O_ASYNC | libc::O_DIRECT, 0)],
            ),
        ],
    ),
    always("waiting for them", &[libc::SYS_ppoll, libc::SYS_futex, libc::SYS_restart_syscall]),
    always(
        "time and chance",
        &[
            libc::SYS_clock_gettime,
            libc::SYS_clock_nanosleep,
            libc::SYS_getrandom,
            libc::SYS_gettimeofday,
        ],
    ),
    always(
        "who it is: the cryptography asks, to notice a fork; the C library, to name its questions",
        &[
            libc::SYS_getegid,
            libc::SYS_geteuid,
            libc::SYS_getgid,
            libc::SYS_getpid,
            libc::SYS_gettid,
            libc::SYS_getuid,
            libc::SYS_uname,
        ],
    ),
    always(
        "signals to itself",
        &[
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_sigaltstack,
        ],
    ),
    always("the end", &[libc::SYS_exit, libc::SYS_exit_group]),
    #[cfg(target_arch = "x86_64")]
    always(
        "the older forms of the above, which newer architectures do not have",
        &[libc::SYS_poll],
    ),
];

/// `open(2)` flags of which none may be set.
const WRITING: c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;

/// The part of `socket(2)`'s second argument that is the type; the rest are flags.
const TYPE: c_int = 0xf;

/// `ioctl_fionbio(2)` and `tcp(7)`, on every architecture that the platform builds for.
const FIONBIO: c_int = 0x5421;
const FIONREAD: c_int = 0x541b;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::list::tests::{every_call_has_a_name, no_call_stands_twice};

    #[test]
    fn its_list_is_sound() {
        no_call_stands_twice(&FETCH);
        every_call_has_a_name(&FETCH);
    }

    #[test]
    fn it_cannot_execute_trace_listen_or_change_files() {
        let rules = FETCH.rules().unwrap();

        let barred = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_openat2,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_mkdirat,
            libc::SYS_fchmodat,
            libc::SYS_kill,
            libc::SYS_tgkill,
            libc::SYS_prctl,
            libc::SYS_setuid,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_memfd_create,
        ];
        assert!(barred.iter().all(|number| !rules.contains_key(number)));
    }
}
