//! What the gate may call: nothing that opens, maps, connects or executes.

use super::list::{Allowed, CallList, always};

/// The gate's list. It is compiled when the gate starts, and a call that is not on it returns `EPERM`.
pub static GATE: CallList =
    CallList { kind: "gate", otherwise: "fails with `EPERM`", allowed: ALLOWED, judged: &[] };

const ALLOWED: &[Allowed] = &[
    always(
        "waiting, and the time",
        &[libc::SYS_ppoll, libc::SYS_clock_gettime, libc::SYS_restart_syscall],
    ),
    always("signals and wake-ups in; answers and wake-ups out", &[libc::SYS_read, libc::SYS_write]),
    always(
        "leases, marks, descriptors",
        &[libc::SYS_fcntl, libc::SYS_fanotify_mark, libc::SYS_close],
    ),
    always("the sweep through the descriptor table", &[libc::SYS_lseek, libc::SYS_getdents64]),
    always("ending a hung host, and itself", &[libc::SYS_pidfd_send_signal, libc::SYS_exit_group]),
    always(
        "what the C library needs to abort",
        &[
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_getpid,
            libc::SYS_gettid,
            libc::SYS_tgkill,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::list::tests::{every_call_has_a_name, no_call_stands_twice};

    #[test]
    fn its_list_is_sound() {
        no_call_stands_twice(&GATE);
        every_call_has_a_name(&GATE);
    }

    #[test]
    fn it_cannot_open_map_connect_or_execute() {
        let rules = GATE.rules().unwrap();

        let barred = [
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_brk,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_execve,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_ptrace,
        ];
        assert!(barred.iter().all(|number| !rules.contains_key(number)));
    }
}
