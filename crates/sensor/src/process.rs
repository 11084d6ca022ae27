//! Processes that share one descriptor table, and the signals they hear.
//!
//! Keeper, gate and host are clones of one single-threaded process with memories of their own and one
//! table of descriptors, so that no death closes a group (`docs/adr/0001`).

use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use crate::sys;

/// What [`clone_sharing_descriptors`] returned, in each of the two processes.
#[derive(Debug)]
pub enum Cloned {
    /// In the process that called.
    Parent {
        /// The child's process id.
        pid: u32,
        /// A handle on the child, in the shared table.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child,
}

/// Clones this process: memory copied, descriptor table shared (`CLONE_FILES`).
///
/// The caller must be single-threaded.
///
/// # Errors
///
/// `EAGAIN` or `ENOMEM` at a limit.
pub fn clone_sharing_descriptors() -> io::Result<Cloned> {
    Ok(match sys::clone_sharing_descriptors()? {
        sys::Clone::Parent { pid, pidfd } => Cloned::Parent { pid, pidfd },
        sys::Clone::Child => Cloned::Child,
    })
}

/// Moves this process, which must be single-threaded, into a copy of its mount namespace.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn enter_new_mount_namespace() -> io::Result<()> {
    sys::new_mount_namespace()
}

/// Names this thread for `ps` and `top`; 15 bytes are kept.
pub fn set_name(name: &CStr) {
    sys::set_name(name);
}

/// Signals read from a descriptor instead of interrupting.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

/// One signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Its number.
    pub number: u32,
    /// The descriptor it speaks of, for [`crate::lease::BREAK_SIGNAL`].
    pub descriptor: RawFd,
}

impl Signals {
    /// Blocks `signals` in this thread and those it makes, and reads them from now on.
    ///
    /// # Errors
    ///
    /// `EMFILE` at the limit of descriptors.
    pub fn block(signals: &[i32]) -> io::Result<Self> {
        Ok(Self { fd: sys::signal_descriptor(signals)? })
    }

    /// The signals that wait, at most 16, one after the other.
    ///
    /// # Errors
    ///
    /// Those of `read(2)`.
    pub fn read(&self, mut each: impl FnMut(Signal)) -> io::Result<usize> {
        let mut raw = [sys::Signal { number: 0, descriptor: -1 }; 16];
        let count = sys::read_signals(self.fd.as_fd(), &mut raw)?;
        for signal in &raw[..count] {
            each(Signal { number: signal.number, descriptor: signal.descriptor });
        }
        Ok(count)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Raises this thread above what it watches, so that a busy machine does not make it late.
pub fn become_important() {
    // Without CAP_SYS_NICE it stays as it is; nothing depends on it but latency under load.
    let _ = rustix::process::setpriority_process(None, -10);
}

thread_local! {
    /// This thread is urgent for good.
    static URGENT: Cell<bool> = const { Cell::new(false) };
}

/// Raises this thread above every ordinary one, for short work that others wait for: it goes on running though it
/// has just woken many. What it starts is ordinary again.
///
/// # Errors
///
/// `EPERM` without `CAP_SYS_NICE`, or where the control group has no real time. It is as important as can be then.
pub fn become_urgent() -> io::Result<()> {
    sys::set_real_time(true).inspect_err(|_| become_important())?;
    URGENT.set(true);
    Ok(())
}

/// Does `work` as a thread that is urgent would, and is what it was after it. It costs two system calls.
pub fn urgently(work: impl FnOnce()) {
    let raised = !URGENT.get() && sys::set_real_time(true).is_ok();
    work();
    if raised {
        // What may raise may lower.
        let _ = sys::set_real_time(false);
    }
}

/// A thread whose blocking call can be interrupted.
#[derive(Debug, Clone, Copy)]
pub struct Interruptible {
    thread: i32,
}

impl Interruptible {
    /// Makes the calling thread interruptible.
    ///
    /// # Errors
    ///
    /// Those of `sigaction(2)`.
    pub fn this_thread() -> io::Result<Self> {
        sys::install_interruption(libc::SIGUSR2)?;
        Ok(Self { thread: rustix::thread::gettid().as_raw_pid() })
    }

    /// Makes a blocking call of that thread return early. A call about to begin is not reached: repeat
    /// until the thread says that it has seen what it was interrupted for.
    pub fn interrupt(self) {
        // A thread that is gone blocks nowhere.
        let _ = sys::signal_thread(self.thread, libc::SIGUSR2);
    }
}

/// Closes a number of the shared table that the caller knows to be nobody else's.
pub fn close_number(number: RawFd) {
    sys::close(number);
}

/// A number of the shared table, for calls that cope with its being closed meanwhile.
pub fn borrow_number<'a>(number: RawFd) -> Option<BorrowedFd<'a>> {
    sys::borrow(number)
}

/// Takes ownership of a number of the shared table.
pub fn own_number(number: RawFd) -> OwnedFd {
    sys::own(number)
}
