//! System calls that no library wraps: fanotify, leases, clone with a shared descriptor table.
#![expect(unsafe_code, reason = "fanotify, leases and clone have no safe wrapper")]

use std::ffi::{CStr, c_int, c_uint, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::page::{Header, Slot};

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `fanotify_init(2)`.
pub(crate) fn fanotify_init(flags: c_uint, event_flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and no pointer, so no argument can be dangling.
    let fd = check(unsafe { libc::fanotify_init(flags, event_flags.cast_unsigned()) })?;
    // SAFETY: the call above succeeded, so `fd` is open, and this is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `fanotify_mark(2)` on a path, absolute or of the working directory.
pub(crate) fn fanotify_mark(
    group: BorrowedFd<'_>,
    flags: c_uint,
    mask: u64,
    path: Option<&CStr>,
) -> io::Result<()> {
    let path = path.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: `path` is null (which a flush takes) or points to a string that outlives the call.
    let result =
        unsafe { libc::fanotify_mark(group.as_raw_fd(), flags, mask, libc::AT_FDCWD, path) };
    check(result).map(drop)
}

/// `fanotify_mark(2)` on the file behind a descriptor.
pub(crate) fn fanotify_mark_file(
    group: BorrowedFd<'_>,
    flags: c_uint,
    mask: u64,
    file: RawFd,
) -> io::Result<()> {
    // SAFETY: without a path the kernel takes the file itself; a number that names no open descriptor
    // gives `EBADF`.
    let result =
        unsafe { libc::fanotify_mark(group.as_raw_fd(), flags, mask, file, std::ptr::null()) };
    check(result).map(drop)
}

/// `struct file_handle` with room for the longest handle there is.
#[repr(C)]
struct FileHandle {
    len: c_uint,
    kind: c_int,
    bytes: [u8; HANDLE_MAX],
}

/// `MAX_HANDLE_SZ`.
const HANDLE_MAX: usize = 128;

/// Kind and bytes of the handle of an open file (`name_to_handle_at(2)`).
pub(crate) fn name_to_handle(file: BorrowedFd<'_>) -> io::Result<(c_int, Vec<u8>)> {
    const { assert!(size_of::<FileHandle>() == 8 + HANDLE_MAX) };
    let room = c_uint::try_from(HANDLE_MAX).unwrap_or(0);
    let mut handle = FileHandle { len: room, kind: 0, bytes: [0; HANDLE_MAX] };
    let mut mount_id = 0;
    // SAFETY: `handle` is laid out as `struct file_handle` with `len` bytes of room; it, the mount's id and
    // the empty path outlive the call.
    check(unsafe {
        libc::name_to_handle_at(
            file.as_raw_fd(),
            c"".as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    })?;
    let len = usize::try_from(handle.len).unwrap_or(HANDLE_MAX).min(HANDLE_MAX);
    Ok((handle.kind, handle.bytes[..len].to_vec()))
}

/// Opens a file by its handle (`open_by_handle_at(2)`); `mount` is any file on a mount of its file system.
pub(crate) fn open_by_handle(
    mount: BorrowedFd<'_>,
    kind: c_int,
    bytes: &[u8],
    flags: c_int,
) -> io::Result<OwnedFd> {
    let mut handle = FileHandle { len: 0, kind, bytes: [0; HANDLE_MAX] };
    let room = handle.bytes.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
    room.copy_from_slice(bytes);
    handle.len = c_uint::try_from(bytes.len()).unwrap_or(0);
    // SAFETY: `handle` is laid out as `struct file_handle`, `len` of its bytes are set, and it outlives the
    // call; a number that names no open descriptor gives `EBADF`.
    let fd = check(unsafe {
        libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags)
    })?;
    Ok(own(fd))
}

/// `fcntl(2)` with an integer argument.
pub(crate) fn fcntl(fd: RawFd, command: c_int, argument: c_int) -> io::Result<c_int> {
    // SAFETY: the commands used in this crate take an integer; a number that names no open
    // descriptor gives `EBADF`.
    check(unsafe { libc::fcntl(fd, command, argument) })
}

/// `fcntl(2)` without an argument.
pub(crate) fn fcntl_get(fd: RawFd, command: c_int) -> io::Result<c_int> {
    // SAFETY: as above; the commands used take no argument.
    check(unsafe { libc::fcntl(fd, command) })
}

/// Closes a descriptor by number.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: closing a number touches no memory of this process; that nobody else uses the number
    // is what the slot table of `page` is for.
    unsafe { libc::close(fd) };
}

/// Borrows a descriptor of the shared table by its number.
pub(crate) fn borrow<'a>(fd: RawFd) -> Option<BorrowedFd<'a>> {
    if fd < 0 {
        return None;
    }
    // SAFETY: the number is not -1. Whether it is open can change under us, since the table is
    // shared with other processes; every call on it copes with `EBADF`.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Takes ownership of a descriptor that the kernel just gave by number.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass numbers that a system call of theirs has just returned.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// What `clone` returned.
pub(crate) enum Clone {
    Parent { pid: u32, pidfd: OwnedFd },
    Child,
}

/// A new process with memory of its own (copied, as by fork) and this process's descriptor table.
pub(crate) fn clone_sharing_descriptors() -> io::Result<Clone> {
    let flags =
        c_ulong::from((libc::CLONE_FILES | libc::CLONE_PIDFD | libc::SIGCHLD).cast_unsigned());
    let mut pidfd: c_int = -1;
    // SAFETY: without CLONE_VM and with a null stack the call is a fork: the child runs on its own
    // copy of this stack. The callers are single-threaded, so no lock is held across it. The pointer
    // is to a local that outlives the call.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, flags, 0, std::ptr::addr_of_mut!(pidfd), 0, 0) };
    match pid {
        0 => Ok(Clone::Child),
        pid if pid > 0 => {
            Ok(Clone::Parent { pid: u32::try_from(pid).unwrap_or(0), pidfd: own(pidfd) })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// `PR_SET_NAME`.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: the kernel reads at most 16 bytes of a string that outlives the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Blocks `signals` in this thread and those it will make; returns a descriptor that reads them.
pub(crate) fn signal_descriptor(signals: &[c_int]) -> io::Result<OwnedFd> {
    let set = block(signals)?;
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set was initialised by `block` and outlives the call.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
    Ok(own(fd))
}

fn block(signals: &[c_int]) -> io::Result<libc::sigset_t> {
    // SAFETY: a signal set is plain data for which all zeroes is a value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for &signal in signals {
        // SAFETY: the set is initialised; an invalid signal gives an error.
        check(unsafe { libc::sigaddset(&raw mut set, signal) })?;
    }
    // SAFETY: the set is initialised and outlives the call; a null old set is allowed.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    Ok(set)
}

/// One signal read from a signal descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signal {
    pub(crate) number: u32,
    pub(crate) descriptor: RawFd,
}

/// Reads up to `out.len()` signals; 0 where none waits.
pub(crate) fn read_signals(fd: BorrowedFd<'_>, out: &mut [Signal]) -> io::Result<usize> {
    const MAX: usize = 16;
    // SAFETY: the structure is plain data for which all zeroes is a value.
    let mut raw: [libc::signalfd_siginfo; MAX] = unsafe { std::mem::zeroed() };
    let want = out.len().min(MAX);
    // SAFETY: the buffer has room for `want` structures and outlives the call.
    let got = unsafe {
        libc::read(
            fd.as_raw_fd(),
            raw.as_mut_ptr().cast(),
            want * size_of::<libc::signalfd_siginfo>(),
        )
    };
    let Ok(got) = usize::try_from(got) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
    };
    let count = got / size_of::<libc::signalfd_siginfo>();
    for (to, from) in out.iter_mut().zip(&raw[..count]) {
        *to = Signal { number: from.ssi_signo, descriptor: from.ssi_fd };
    }
    Ok(count)
}

/// Maps the page of [`crate::page`]: its header and `slots` slots, all zero, shared with every clone.
pub(crate) fn map_page(slots: usize) -> io::Result<(&'static Header, &'static [Slot])> {
    let offset = size_of::<Header>().next_multiple_of(64);
    let bytes = offset + slots * size_of::<Slot>();
    // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is page-aligned, zeroed, large enough and never unmapped; `Header` is made
    // of atomics only, so zeroes are a value and writes by other processes are no data race.
    let header = unsafe { &*address.cast::<Header>() };
    // SAFETY: the offset is inside the mapping, by the sum above.
    let table = unsafe { address.cast::<u8>().add(offset) };
    // SAFETY: `slots` slots fit behind the offset, which is aligned to 64; `Slot` is made of atomics.
    let table = unsafe { std::slice::from_raw_parts(table.cast::<Slot>(), slots) };
    Ok((header, table))
}

/// `PIDFD_GET_INFO`'s answer, as Linux 6.13 has it.
#[repr(C)]
#[derive(Default, Clone, Copy)]
pub(crate) struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    pub(crate) euid: u32,
    pub(crate) egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

/// Credentials of the process behind a pidfd (Linux 6.13 and later; `ENOTTY` before).
pub(crate) fn pidfd_info(pidfd: BorrowedFd<'_>) -> io::Result<PidfdInfo> {
    // _IOWR(0xFF, 11, struct pidfd_info) with the structure's first published size of 64 bytes.
    const PIDFD_GET_INFO: c_ulong = 0xc040_ff0b;
    const { assert!(size_of::<PidfdInfo>() == 64) };
    let mut info = PidfdInfo { mask: 1 | 2, ..PidfdInfo::default() };
    // SAFETY: the request's size field says 64 bytes, which is what `info` has.
    check(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) })?;
    Ok(info)
}

/// `execve(2)`, for a trial that is refused or fails: returns only its error. For a thread of its own.
///
/// While a thread executes a file, no other that shares its root and working directory can start a thread:
/// the kernel gives `EAGAIN` (`copy_fs` in `kernel/fork.c`), here for as long as the trial waits for its
/// answer. So this thread gets its own first.
pub(crate) fn exec_trial(path: &CStr) -> io::Error {
    // SAFETY: the call takes an integer; it changes what this thread shares and nothing in memory.
    if unsafe { libc::unshare(libc::CLONE_FS) } != 0 {
        return io::Error::last_os_error();
    }
    let empty: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: the path is a string and both lists end with null. The callers name a file that is no
    // program, so that the call cannot succeed and replace this process.
    unsafe { libc::execve(path.as_ptr(), empty.as_ptr(), empty.as_ptr()) };
    io::Error::last_os_error()
}

extern "C" fn wake_up(_: c_int) {}

/// Installs a handler that does nothing, without `SA_RESTART`, so that the signal interrupts a call.
pub(crate) fn install_interruption(signal: c_int) -> io::Result<()> {
    // SAFETY: the structure is plain data for which all zeroes is a value (no flags, an empty mask).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = wake_up as *const () as libc::sighandler_t;
    // SAFETY: the handler does nothing, so it is safe in any context; a null old action is allowed.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }).map(drop)
}

/// Sends `signal` to one thread of this process.
pub(crate) fn signal_thread(thread: c_int, signal: c_int) -> io::Result<()> {
    let process = rustix::process::getpid().as_raw_pid();
    // SAFETY: the call takes integers; a thread that is gone gives `ESRCH`.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives this thread the lowest real-time priority, in turn with others of it, or its nice value again. What it
/// forks has no real-time priority.
pub(crate) fn set_real_time(real_time: bool) -> io::Result<()> {
    let (policy, priority) = if real_time { (libc::SCHED_RR, 1) } else { (libc::SCHED_OTHER, 0) };
    let param = libc::sched_param { sched_priority: priority };
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one `sched_param`; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const param) }).map(drop)
}

/// A mount namespace of its own for the calling thread, a copy of the one it was in.
pub(crate) fn new_mount_namespace() -> io::Result<()> {
    // SAFETY: the call takes an integer; a new mount namespace touches neither memory nor descriptors.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map(drop)
}
