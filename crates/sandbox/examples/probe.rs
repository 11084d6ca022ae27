//! Tries one act, named by its first argument, and says on standard output what came of it: `ok`
//! or `errno N`. The refusal tests run it confined. With `host` it is itself the host of a probe.
#![expect(clippy::print_stdout, reason = "its output is what the tests read")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use outrigger_sandbox::{
    Confinement, GATE, Limits, Otherwise, confine_self, lock_memory, set_parent_death_signal, start,
};

/// The descriptor that the tests grant: a file, open for reading.
const GRANTED: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["hello"] => println!("hello"),
        ["facts"] => facts(),
        ["stay"] => stay(),
        ["host"] => host(),
        ["own", "errno"] => own(Otherwise::Errno(libc::EXDEV)),
        ["own", "kill"] => own(Otherwise::Kill),
        ["lock-memory"] => say(lock_memory()),
        ["death-signal", signal] => {
            say(set_parent_death_signal(signal.parse().unwrap_or_default()));
        }
        ["fill", mib] => fill(mib.parse().unwrap_or(1)),
        ["threads"] => println!("{}", threads()),
        ["descriptors"] => println!("{}", descriptors()),
        ["die"] => std::process::abort(),
        ["open", path] => say(File::open(path).map(drop)),
        ["list", path] => say(std::fs::read_dir(path).map(drop)),
        ["write", path] => say(std::fs::write(path, "x")),
        ["map-code", path] => say(code::map_file(path)),
        ["map-code-later", path] => {
            println!("here");
            code::wait_for_a_byte();
            say(code::map_file(path));
        }
        ["map-granted-later"] => {
            println!("here");
            code::wait_for_a_byte();
            say(code::map_granted(GRANTED + 1));
        }
        ["remove", path] => say(std::fs::remove_file(path)),
        ["mdwe"] => println!("{}", code::mdwe()),
        [act] => say(code::act(act).unwrap_or_else(|| calls::act(act))),
        _ => println!("no such act"),
    }
}

fn say(result: io::Result<()>) {
    match result {
        Ok(()) => println!("ok"),
        Err(error) => println!("errno {}", error.raw_os_error().unwrap_or_default()),
    }
}

/// What a process can say about itself without `/proc`.
fn facts() {
    let open: Vec<_> = (0..64).filter(|fd| calls::is_open(*fd)).collect();
    println!("descriptors {open:?}");
    println!("environment {}", std::env::vars_os().count());
    println!("pid {}", std::process::id());
    println!("name {}", std::env::args().next().unwrap_or_default());
}

/// Says that it runs, and waits to be killed.
fn stay() {
    println!("here");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Starts a probe that stays, says its pid, and stays itself.
fn host() {
    let confined = start(Confinement {
        name: "probe-of-probe".into(),
        program: std::env::current_exe().expect("its own path"),
        arguments: vec!["stay".into()],
        uid: 61_322,
        gid: 61_322,
        apart: false,
        read_only: Vec::new(),
        limits: Limits { memory_bytes: 64 << 20, threads: 4, descriptors: 32, cpu_percent: None },
        descriptors: Vec::new(),
        input: None,
        log: None,
        ignore_groups: Vec::new(),
        ignore_mask: 0,
    });
    println!("{}", confined.as_ref().map_or(0, |confined| confined.pid));
    thread::park();
}

/// Confines itself as the gate does, and then does something else.
fn own(otherwise: Otherwise) {
    if let Err(error) = confine_self(&GATE, otherwise) {
        return say(Err(error));
    }
    say(calls::act("kill"));
}

/// Uses this much memory.
fn fill(mib: usize) {
    let mut held = Vec::new();
    for _ in 0..mib {
        held.push(vec![1_u8; 1 << 20]);
    }
    println!("held {}", held.len());
}

/// Threads that could be made, the first one included.
fn threads() -> usize {
    let mut count = 1;
    while thread::Builder::new().stack_size(64 << 10).spawn(thread::park).is_ok() && count < 1000 {
        count += 1;
    }
    count
}

/// The highest descriptor number that could be had.
fn descriptors() -> i32 {
    let mut held = Vec::new();
    while let Ok(file) = File::open(Path::new("/dev/null")) {
        held.push(file);
    }
    held.iter().map(AsRawFd::as_raw_fd).max().unwrap_or(-1)
}

/// Ways to make memory that can be executed.
mod code {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    use super::calls::{map, number};
    use super::{GRANTED, sys::call};

    const PAGE: usize = 4096;
    const CODE: i32 = libc::PROT_READ | libc::PROT_EXEC;
    const DATA: i32 = libc::PROT_READ | libc::PROT_WRITE;
    const OWN: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

    /// The file at `path`, to execute.
    pub(crate) fn map_file(path: &str) -> io::Result<()> {
        let file = File::open(path)?;
        let fd = usize::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
        map(CODE, libc::MAP_PRIVATE, fd).map(|_| ())
    }

    /// The granted descriptor, to execute.
    pub(crate) fn map_granted(fd: usize) -> io::Result<()> {
        map(CODE, libc::MAP_PRIVATE, fd).map(|_| ())
    }

    /// Waits until the granted descriptor, a pipe, holds something.
    pub(crate) fn wait_for_a_byte() {
        let mut byte = [0_u8; 1];
        let _ = call(libc::SYS_read, [GRANTED, byte.as_mut_ptr().addr(), 1, 0, 0]);
    }

    pub(crate) fn act(name: &str) -> Option<io::Result<()>> {
        let done = |result: io::Result<usize>| result.map(|_| ());
        let change = |call_number, before: i32, after: i32| {
            let at = map(before, OWN, usize::MAX)?;
            // The fifth is the key of pkey_mprotect; -1 makes it mprotect.
            done(call(call_number, [at, PAGE, number(after), usize::MAX, 0]))
        };
        Some(match name {
            "code-writable" => done(map(CODE | libc::PROT_WRITE, OWN, usize::MAX)),
            "code-anonymous" => done(map(CODE, OWN, usize::MAX)),
            "code-granted-shared" => done(map(CODE, libc::MAP_SHARED, GRANTED)),
            "code-added" => change(libc::SYS_mprotect, DATA, CODE | libc::PROT_WRITE),
            "code-swapped" => change(libc::SYS_mprotect, DATA, CODE),
            "code-from-nothing" => change(libc::SYS_mprotect, libc::PROT_NONE, CODE),
            "code-key" => change(libc::SYS_pkey_mprotect, DATA, CODE),
            "code-personality" => {
                done(call(libc::SYS_personality, [number(libc::READ_IMPLIES_EXEC), 0, 0, 0, 0]))
            }
            "code-shmget" => done(call(libc::SYS_shmget, [0, PAGE, 0o1700, 0, 0])),
            "code-shmat" => done(call(libc::SYS_shmat, [0, 0, number(libc::SHM_EXEC), 0, 0])),
            "code-remap" => done(call(libc::SYS_remap_file_pages, [0, PAGE, number(CODE), 0, 0])),
            "code-secret" => done(call(libc::SYS_memfd_secret, [0, 0, 0, 0, 0])),
            "code-written-from-outside" => {
                let own = [0_u64; 2];
                let own = own.as_ptr().addr();
                done(call(libc::SYS_process_vm_writev, [1, own, 1, own, 1]))
            }
            _ => return None,
        })
    }

    /// What the kernel says of memory that turns from written to executed; negative if it does not know.
    pub(crate) fn mdwe() -> i64 {
        let asked = call(libc::SYS_prctl, [number(libc::PR_GET_MDWE), 0, 0, 0, 0]);
        asked.map_or(-1, |rule| i64::try_from(rule).unwrap_or(-1))
    }
}

mod calls {
    use std::io;

    use super::{GRANTED, sys::call};

    pub(crate) fn is_open(fd: usize) -> bool {
        call(libc::SYS_fcntl, [fd, number(libc::F_GETFD), 0, 0, 0]).is_ok()
    }

    /// One call that an engine has no business with. Numbers and pointers are such that the call
    /// would do something, or fail with another errno than EPERM, if it were let through.
    pub(crate) fn act(name: &str) -> io::Result<()> {
        let path = c"/engine".as_ptr().addr();
        let lock = [0_u64; 4];
        let lock = lock.as_ptr().addr();
        let nobody = 4_000_000; // a pid that does not exist anywhere
        let (nr, args) = match name {
            "socket" => (libc::SYS_socket, [number(libc::AF_INET), 1, 0, 0, 0]),
            "socket-unix" => (libc::SYS_socket, [number(libc::AF_UNIX), 1, 0, 0, 0]),
            "connect" => (libc::SYS_connect, [GRANTED, lock, 16, 0, 0]),
            "ptrace" => (libc::SYS_ptrace, [16, nobody, 0, 0, 0]),
            "process_vm_readv" => (libc::SYS_process_vm_readv, [nobody, lock, 1, lock, 1]),
            "pidfd_open" => (libc::SYS_pidfd_open, [1, 0, 0, 0, 0]),
            "pidfd_getfd" => (libc::SYS_pidfd_getfd, [GRANTED, 0, 0, 0, 0]),
            "kill" => (libc::SYS_kill, [nobody, 9, 0, 0, 0]),
            "tgkill" => (libc::SYS_tgkill, [nobody, nobody, 9, 0, 0]),
            "fork" => (libc::SYS_clone, [number(libc::SIGCHLD), 0, 0, 0, 0]),
            "execve" => (libc::SYS_execve, [path, 0, 0, 0, 0]),
            "execveat" => (libc::SYS_execveat, [GRANTED, path, 0, 0, 0]),
            "flock" => (libc::SYS_flock, [GRANTED, number(libc::LOCK_SH), 0, 0, 0]),
            "lock" => fcntl(libc::F_OFD_SETLK, lock),
            "lease" => fcntl(libc::F_SETLEASE, number(libc::F_RDLCK)),
            "owner" => fcntl(libc::F_SETOWN, 1),
            "watch" => fcntl(libc::F_NOTIFY, 1),
            "async" => fcntl(libc::F_SETFL, number(libc::O_ASYNC)),
            "ioctl" => (libc::SYS_ioctl, [GRANTED, 0x8008_6601, lock, 0, 0]),
            "fsync" => (libc::SYS_fsync, [GRANTED, 0, 0, 0, 0]),
            "mount" => (libc::SYS_mount, [path, path, path, 0, 0]),
            "umount2" => (libc::SYS_umount2, [path, 2, 0, 0, 0]),
            "pivot_root" => (libc::SYS_pivot_root, [path, path, 0, 0, 0]),
            "chroot" => (libc::SYS_chroot, [path, 0, 0, 0, 0]),
            "chdir" => (libc::SYS_chdir, [c"/dev".as_ptr().addr(), 0, 0, 0, 0]),
            "unshare" => (libc::SYS_unshare, [number(libc::CLONE_NEWUSER), 0, 0, 0, 0]),
            "setns" => (libc::SYS_setns, [GRANTED, 0, 0, 0, 0]),
            "setuid" => (libc::SYS_setuid, [0, 0, 0, 0, 0]),
            "setpriority" => (libc::SYS_setpriority, [0, 0, 0, 0, 0]),
            "memfd_create" => (libc::SYS_memfd_create, [path, 0, 0, 0, 0]),
            "io_uring_setup" => (libc::SYS_io_uring_setup, [8, lock, 0, 0, 0]),
            "bpf" => (libc::SYS_bpf, [0, lock, 32, 0, 0]),
            "perf_event_open" => (libc::SYS_perf_event_open, [lock, 0, 0, 0, 0]),
            "userfaultfd" => (libc::SYS_userfaultfd, [1, 0, 0, 0, 0]),
            "keyctl" => (libc::SYS_keyctl, [0, 0, 0, 0, 0]),
            "open_by_handle_at" => (libc::SYS_open_by_handle_at, [GRANTED, lock, 0, 0, 0]),
            "name_to_handle_at" => (libc::SYS_name_to_handle_at, [GRANTED, path, lock, lock, 0]),
            "fanotify_init" => (libc::SYS_fanotify_init, [0, 0, 0, 0, 0]),
            "seccomp" => (libc::SYS_seccomp, [0, 0, 0, 0, 0]),
            "unknown" => (100_467, [0, 0, 0, 0, 0]),
            "modify_ldt" => (libc::SYS_modify_ldt, [1, lock, 16, 0, 0]),
            "ioprio_set" => (libc::SYS_ioprio_set, [1, 0, 0, 0, 0]),
            "sched_setaffinity" => (libc::SYS_sched_setaffinity, [0, 8, lock, 0, 0]),
            "sched_setscheduler" => (libc::SYS_sched_setscheduler, [0, 0, lock, 0, 0]),
            "process_vm_writev" => (libc::SYS_process_vm_writev, [nobody, lock, 1, lock, 1]),
            "process_madvise" => (libc::SYS_process_madvise, [GRANTED, lock, 1, 4, 0]),
            "pidfd_send_signal" => (libc::SYS_pidfd_send_signal, [GRANTED, 9, 0, 0, 0]),
            "rt_sigqueueinfo" => (libc::SYS_rt_sigqueueinfo, [nobody, 9, lock, 0, 0]),
            "kcmp" => (libc::SYS_kcmp, [1, nobody, 0, 0, 0]),
            "socketpair" => (libc::SYS_socketpair, [number(libc::AF_UNIX), 1, 0, lock, 0]),
            "bind" => (libc::SYS_bind, [GRANTED, lock, 16, 0, 0]),
            "inotify_init1" => (libc::SYS_inotify_init1, [0, 0, 0, 0, 0]),
            "ftruncate" => (libc::SYS_ftruncate, [GRANTED, 0, 0, 0, 0]),
            "pwrite64" => (libc::SYS_pwrite64, [GRANTED, lock, 1, 0, 0]),
            "fallocate" => (libc::SYS_fallocate, [GRANTED, 0, 0, 1, 0]),
            "fsetxattr" => (libc::SYS_fsetxattr, [GRANTED, path, lock, 1, 0]),
            "fchmod" => (libc::SYS_fchmod, [GRANTED, 0o777, 0, 0, 0]),
            "linkat" => (libc::SYS_linkat, [GRANTED, path, GRANTED, path, 0x1000]),
            "symlinkat" => (libc::SYS_symlinkat, [path, GRANTED, path, 0, 0]),
            "mkdirat" => (libc::SYS_mkdirat, [GRANTED, path, 0o700, 0, 0]),
            "mknodat" => (libc::SYS_mknodat, [GRANTED, path, 0o600, 0, 0]),
            "renameat2" => (libc::SYS_renameat2, [GRANTED, path, GRANTED, path, 0]),
            "sendfile" => (libc::SYS_sendfile, [1, GRANTED, 0, 1, 0]),
            "splice" => (libc::SYS_splice, [GRANTED, 0, 1, 0, 1]),
            "name-of-machine" => (libc::SYS_sethostname, [path, 1, 0, 0, 0]),
            "clock_settime" => (libc::SYS_clock_settime, [0, lock, 0, 0, 0]),
            "init_module" => (libc::SYS_finit_module, [GRANTED, path, 0, 0, 0]),
            "kexec_load" => (libc::SYS_kexec_load, [0, 0, 0, 0, 0]),
            "reboot" => (libc::SYS_reboot, [0, 0, 0, 0, 0]),
            "syslog" => (libc::SYS_syslog, [10, 0, 0, 0, 0]),
            "quotactl" => (libc::SYS_quotactl, [0, path, 0, 0, 0]),
            "swapon" => (libc::SYS_swapon, [path, 0, 0, 0, 0]),
            "acct" => (libc::SYS_acct, [path, 0, 0, 0, 0]),
            "fsopen" => (libc::SYS_fsopen, [path, 0, 0, 0, 0]),
            "open_tree" => (libc::SYS_open_tree, [GRANTED, path, 1, 0, 0]),
            "move_mount" => (libc::SYS_move_mount, [GRANTED, path, GRANTED, path, 0]),
            "mount_setattr" => (libc::SYS_mount_setattr, [GRANTED, path, 0, lock, 32]),
            "capset" => (libc::SYS_capset, [lock, lock, 0, 0, 0]),
            "set_dumpable" => (libc::SYS_prctl, [number(libc::PR_SET_DUMPABLE), 1, 0, 0, 0]),
            "strict-seccomp" => (libc::SYS_prctl, [number(libc::PR_SET_SECCOMP), 1, 0, 0, 0]),
            "landlock" => (libc::SYS_landlock_restrict_self, [GRANTED, 0, 0, 0, 0]),
            "shmget" => (libc::SYS_shmget, [1, 4096, 0o1700, 0, 0]),
            "msgget" => (libc::SYS_msgget, [1, 0o1700, 0, 0, 0]),
            "semget" => (libc::SYS_semget, [1, 1, 0o1700, 0, 0]),
            "mq_open" => (libc::SYS_mq_open, [path, 0o102, 0o600, 0, 0]),
            "timer_create" => (libc::SYS_timer_create, [0, 0, lock, 0, 0]),
            "clone-namespace" => {
                let flags = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
                (libc::SYS_clone, [number(flags | libc::CLONE_NEWNET), 0, 0, 0, 0])
            }
            "raise-limit" => (libc::SYS_prlimit64, [0, 7, lock, 0, 0]),
            _ => return Err(io::Error::other("no such act")),
        };
        call(nr, args).map(|_| ())
    }

    fn fcntl(command: i32, argument: usize) -> (i64, [usize; 5]) {
        (libc::SYS_fcntl, [GRANTED, number(command), argument, 0, 0])
    }

    /// Maps a page with these rights; `usize::MAX` for no file.
    pub(crate) fn map(rights: i32, flags: i32, fd: usize) -> io::Result<usize> {
        call(libc::SYS_mmap, [0, 4096, number(rights), number(flags), fd])
    }

    pub(crate) fn number(flag: i32) -> usize {
        usize::try_from(flag).unwrap_or(usize::MAX)
    }
}

mod sys {
    #![expect(unsafe_code, reason = "forbidden calls have no safe wrapper")]

    use std::io;

    /// Makes one system call.
    pub(crate) fn call(number: i64, [a, b, c, d, e]: [usize; 5]) -> io::Result<usize> {
        // SAFETY: the calls are meant to be refused; those that are not get numbers, or the address
        // of memory that outlives the call, and map nothing over memory that is in use.
        let result = unsafe { libc::syscall(number, a, b, c, d, e, 0_usize) };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }
}
