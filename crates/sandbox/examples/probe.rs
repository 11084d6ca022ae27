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
    Confinement, Limits, Otherwise, confine_self, lock_memory, set_parent_death_signal, start,
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
        ["remove", path] => say(std::fs::remove_file(path)),
        [act] => say(calls::act(act)),
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
        read_only: Vec::new(),
        limits: Limits { memory_bytes: 64 << 20, threads: 4, descriptors: 32, cpu_percent: None },
        descriptors: Vec::new(),
        log: None,
        ignore_groups: Vec::new(),
        ignore_mask: 0,
    });
    println!("{}", confined.as_ref().map_or(0, |confined| confined.pid));
    thread::park();
}

/// Allows itself to write and to end, and then does something else.
fn own(otherwise: Otherwise) {
    let allowed = [libc::SYS_write, libc::SYS_exit_group, libc::SYS_sigaltstack, libc::SYS_munmap];
    if let Err(error) = confine_self(&allowed, otherwise) {
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

mod calls {
    use std::io;
    use std::ptr::null;

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
        let page = 4096;
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
            "mmap" => (libc::SYS_mmap, [0, page, 7, 0x22, usize::MAX]),
            "mprotect" => return write_and_execute(page),
            "raise-limit" => (libc::SYS_prlimit64, [0, 7, lock, 0, 0]),
            _ => return Err(io::Error::other("no such act")),
        };
        call(nr, args).map(|_| ())
    }

    fn fcntl(command: i32, argument: usize) -> (i64, [usize; 5]) {
        (libc::SYS_fcntl, [GRANTED, number(command), argument, 0, 0])
    }

    /// Memory that was asked for writing, made executable too.
    fn write_and_execute(page: usize) -> io::Result<()> {
        let anonymous = number(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let writable = number(libc::PROT_READ | libc::PROT_WRITE);
        let nowhere = null::<u8>().addr();
        let at = call(libc::SYS_mmap, [nowhere, page, writable, anonymous, usize::MAX])?;
        let both = writable | number(libc::PROT_EXEC);
        call(libc::SYS_mprotect, [at, page, both, 0, 0]).map(|_| ())
    }

    fn number(flag: i32) -> usize {
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
        let result = unsafe { libc::syscall(number, a, b, c, d, e, 0) };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }
}
