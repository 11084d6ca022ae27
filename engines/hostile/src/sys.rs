//! Calls that an engine has no business to make, and its ring mapped behind the dock's back.

#![expect(unsafe_code, reason = "the calls that a sandbox must refuse have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::FileType;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect};

/// Bytes of a ring before its data; the producer's cursor is its first word (`dock`, `memory.rs`).
const HEADER: usize = 4096;
/// As many descriptors as the engine may have at most by its manifest's default.
const DESCRIPTORS: RawFd = 256;

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives `act` the descriptor of the file that is judged: the only regular file that is open, since the
/// SDK lends no descriptor and the rings are closed once they are mapped.
pub(crate) fn with_content_descriptor<T>(act: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
    for number in 0..DESCRIPTORS {
        // SAFETY: takes integers; it fails for a number that is not open.
        if done(unsafe { libc::fcntl(number, libc::F_GETFD) }).is_err() {
            continue;
        }
        // SAFETY: the descriptor is open, and this thread, the only one that closes files, keeps it so
        // for the borrow's life.
        let file = unsafe { BorrowedFd::borrow_raw(number) };
        let kind = rustix::fs::fstat(file).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind == Ok(FileType::RegularFile) {
            return Some(act(file));
        }
    }
    None
}

/// Makes a socket that could connect.
pub(crate) fn internet_socket() -> io::Result<()> {
    // SAFETY: takes integers only; the descriptor is left to the process' end.
    done(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) })
}

/// Attaches to `pid`.
pub(crate) fn attach(pid: libc::pid_t) -> io::Result<()> {
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE takes no pointers.
    let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Kills every process that it may signal.
pub(crate) fn kill_all() -> io::Result<()> {
    // SAFETY: takes integers only.
    done(unsafe { libc::kill(-1, libc::SIGKILL) })
}

/// Forks; the child ends at once.
pub(crate) fn fork() -> io::Result<()> {
    // SAFETY: the child makes one system call and is gone.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child without touching what it shares with nobody.
        unsafe { libc::_exit(0) };
    }
    done(child)
}

/// Writes a page and makes it executable.
pub(crate) fn make_code() -> io::Result<()> {
    let len = HEADER;
    // SAFETY: the kernel chooses where the new mapping lies; nothing else is there.
    let page = unsafe {
        mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }?;
    let code = MprotectFlags::READ | MprotectFlags::EXEC;
    // SAFETY: the page is this function's alone and lives to the process' end.
    Ok(unsafe { mprotect(page, len, code) }?)
}

/// Maps the file to be executed.
pub(crate) fn map_code(file: BorrowedFd<'_>) -> io::Result<()> {
    let code = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: the kernel chooses where the new mapping lies; it is never read.
    unsafe { mmap(ptr::null_mut(), HEADER, code, MapFlags::PRIVATE, file, 0) }?;
    Ok(())
}

/// Locks the file.
pub(crate) fn lock(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes integers only.
    done(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })
}

/// Takes a read lease on the file.
pub(crate) fn lease(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes integers only.
    done(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) })
}

/// A ring mapped once more, a page longer than it is.
#[derive(Debug)]
pub(crate) struct StolenRing {
    start: NonNull<u8>,
    len: usize,
}

impl StolenRing {
    pub(crate) fn map(ring: &OwnedFd, data_bytes: u32) -> io::Result<Self> {
        let len = HEADER + usize::try_from(data_bytes).map_err(io::Error::other)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start =
            unsafe { mmap(ptr::null_mut(), len + HEADER, access, MapFlags::SHARED, ring, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, len })
    }

    /// Moves the producer's cursor far ahead and into a word.
    pub(crate) fn move_cursor(&self) {
        // SAFETY: the word lies in the mapping, which is never undone, and is aligned as a page is.
        let cursor = unsafe { self.start.cast::<AtomicU32>().as_ref() };
        cursor.fetch_add(0x1234_5671, Ordering::SeqCst);
    }

    /// Stores behind the end of the ring's memory, which ends this process.
    pub(crate) fn store_behind(&self) {
        // SAFETY: the address lies in the mapping made above; that no memory is behind it, and the
        // kernel ends the process for it, is what the test is about.
        let behind = unsafe { self.start.add(self.len) };
        // SAFETY: as above.
        unsafe { behind.write_volatile(1) };
    }
}
