//! The system calls that no library wraps safely. Everything unsafe of this crate is here.
#![expect(unsafe_code, reason = "clone3, seccomp, close_range and the like have no safe wrapper")]

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_char, c_int, c_long, c_uint, seccomp_notif, seccomp_notif_resp};
use rustix::io::Errno;
use seccompiler::sock_filter;

/// Clears the handlers of the parent in the child (`clone3(2)`); wider than libc's type for it.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

const NAMESPACES: c_int = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Clones this process into new namespaces and runs `child` in the copy; returns the pid and pidfd.
///
/// The copy has one thread: a lock that another thread held stays locked for ever. `child` must
/// therefore not allocate, take a lock or panic; it gets everything ready-made. It cannot return.
pub(crate) fn clone_confined(child: impl FnOnce() -> Infallible) -> io::Result<(u32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let flags = (NAMESPACES | libc::CLONE_PIDFD).cast_unsigned();
    // SAFETY: all fields of `clone_args` are integers, for which zero is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(flags) | CLONE_CLEAR_SIGHAND;
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    let size = size_of::<libc::clone_args>();
    // SAFETY: `args` is valid for `size` bytes and `pidfd` lives until the call is over. Without
    // CLONE_VM and with no stack given the child goes on here, on its own copy of this stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    if pid == 0 {
        child();
    }
    let pid = u32::try_from(pid).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the call succeeded, so the kernel stored a new descriptor, and nobody else has it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Ends this process without running anything else.
pub(crate) fn exit_now(status: c_int) -> ! {
    // SAFETY: takes an integer and does not return; no destructor or handler runs.
    unsafe { libc::_exit(status) }
}

/// Closes the descriptors from `first` to `last`, both included.
///
/// Only for the child between clone and exec, whose table is its own copy and where no value that owns one
/// of these descriptors is ever dropped; and for a program that has just begun, where there is none.
pub(crate) fn close_range(first: c_uint, last: c_uint) -> Result<(), Errno> {
    // SAFETY: takes integers alone; the caller's duty about owners is in the doc comment.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(|_| ())
}

/// Makes `number` a copy of `fd` that stays open on exec. For the child alone, as [`close_range`].
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: `fd` is open; what stood at `number` has no owner that is ever dropped in the child.
    checked(c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(|_| ())
}

/// Gives every signal its default action and blocks none.
pub(crate) fn reset_signals() -> Result<(), Errno> {
    // The kernel's own `struct sigaction`: a handler, of which 0 is SIG_DFL, flags and a mask. libc's
    // function would leave out the two signals that it keeps for itself.
    let default = [0_u64; 4];
    let mask_bytes = 8;
    for signal in 1..=64 {
        // SAFETY: `default` is as large as the structure is anywhere, and outlives the call; the old
        // action is not asked for. SIGKILL and SIGSTOP refuse, and need nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                mask_bytes,
            )
        };
    }
    // SAFETY: `sigset_t` is a plain array of integers.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` is valid for writing.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: `none` is initialised, the old set is not asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
    checked(c_long::from(result)).map(|_| ())
}

/// Leaves for a new user namespace.
pub(crate) fn unshare_user() -> Result<(), Errno> {
    // SAFETY: takes an integer; a user namespace changes no memory and no descriptor.
    checked(c_long::from(unsafe { libc::unshare(libc::CLONE_NEWUSER) })).map(|_| ())
}

/// Gives up whatever a parent set by `personality(2)`.
pub(crate) fn take_plain_personality() -> Result<(), Errno> {
    // SAFETY: takes an integer; it changes how later mappings and programs are made, none that is there.
    checked(c_long::from(unsafe { libc::personality(0) })).map(|_| ())
}

/// Has the kernel refuse to make memory executable that was not (`PR_SET_MDWE`, Linux 6.3), for good and
/// across exec. Does nothing on a kernel without it: the system call filter refuses the same.
pub(crate) fn refuse_exec_gain() -> Result<(), Errno> {
    let zero = 0_usize;
    let refuse = libc::PR_MDWE_REFUSE_EXEC_GAIN as usize;
    // SAFETY: takes integers alone and binds this process' own mappings.
    let result = unsafe { libc::prctl(libc::PR_SET_MDWE, refuse, zero, zero, zero) };
    match checked(c_long::from(result)) {
        Ok(_) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Sets attributes (`MOUNT_ATTR_*`) on the mount that `mount` is the root of.
pub(crate) fn set_mount_attributes(mount: BorrowedFd<'_>, attributes: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let change = MountAttr { set: attributes, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: `change` has the layout of `struct mount_attr` (mount_setattr(2)) and outlives the
    // call, which gets its size; the path is a constant empty string.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const change,
            size_of::<MountAttr>(),
        )
    })
    .map(|_| ())
}

/// Has the fanotify group ignore `mask` on the mount at `path`, whatever is changed there.
pub(crate) fn ignore_mount(group: RawFd, mask: u64, path: &CStr) -> io::Result<()> {
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_MOUNT | libc::FAN_MARK_IGNORE_SURV;
    // SAFETY: `path` is a valid string; a `group` that is no fanotify group gives EBADF or EINVAL.
    let result = unsafe { libc::fanotify_mark(group, flags, mask, libc::AT_FDCWD, path.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Restricts this thread to the Landlock ruleset.
pub(crate) fn enter_landlock(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes an open descriptor and flags.
    checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
        .map(|_| ())
}

/// Installs the filter on this thread and returns the listener of its notifications.
///
/// A caller whose call is being looked at is woken by nothing but a fatal signal.
pub(crate) fn install_filter(program: &[sock_filter]) -> Result<OwnedFd, Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    // The kernel only reads the program; `sock_fprog` has no const pointer.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: `program` points to `len` instructions that outlive the call; seccompiler's
    // `sock_filter` has the layout of the kernel's.
    let fd = checked(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the call returned a new descriptor, and this is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Argument strings with the pointer table that `execve` reads, made ahead of the clone.
#[derive(Debug)]
pub(crate) struct Arguments {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

impl Arguments {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _strings: strings }
    }
}

/// Runs the program with an empty environment; returns only if that failed.
pub(crate) fn execute(program: &CStr, arguments: &Arguments) -> Errno {
    let environment: [*const c_char; 1] = [ptr::null()];
    let arguments = arguments.pointers.as_ptr();
    // SAFETY: all three are valid and end in NUL; `Arguments` owns the strings it points to.
    unsafe { libc::execve(program.as_ptr(), arguments, environment.as_ptr()) };
    last_errno()
}

/// Takes the next notification; `None` if its caller is gone already.
pub(crate) fn receive_call(listener: BorrowedFd<'_>) -> io::Result<Option<seccomp_notif>> {
    // SAFETY: the structure holds integers alone; the kernel insists on zeroes.
    let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `call` is what this request writes.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
    if result == 0 {
        return Ok(Some(call));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(None),
        _ => Err(error),
    }
}

/// Answers a notification: `errno` for the caller, or `None` to let the call go on. A caller that
/// is gone (`ENOENT`) is no error.
pub(crate) fn answer_call(
    listener: BorrowedFd<'_>,
    id: u64,
    errno: Option<c_int>,
) -> io::Result<()> {
    let flags = if errno.is_none() { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE } else { 0 };
    let flags = u32::try_from(flags).unwrap_or_default();
    let mut answer = seccomp_notif_resp { id, val: 0, error: -errno.unwrap_or(0), flags };
    // SAFETY: `answer` is what this request reads.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) }
}

/// Whether the caller of this notification still waits, so that its pid still means it.
pub(crate) fn call_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: `id` is what this request reads.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id)
    };
    result == 0
}

fn checked(result: c_long) -> Result<c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

fn last_errno() -> Errno {
    // `last_os_error` reads errno and makes a value without a heap.
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
