//! System calls that the acts make and that no safe crate has.

#![expect(unsafe_code, reason = "rustix has none of these calls, or leaves them unsafe")]

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect};
use rustix::thread::{UnshareFlags, unshare_unsafe};

const PAGE: usize = 4096;
/// `PTRACE_SEIZE`.
const SEIZE: c_long = 0x4206;
/// `BPF_PROG_LOAD`, and its smallest program: `r0 = 0; exit`.
const BPF_PROG_LOAD: c_long = 5;
const NOTHING: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
/// `BPF_PROG_TYPE_SOCKET_FILTER`.
pub(super) const SOCKET_FILTER: u32 = 1;
/// `PERF_TYPE_SOFTWARE`.
pub(super) const PERF_SOFTWARE: u32 = 1;
/// `sizeof(struct perf_event_attr)` of its first version.
const PERF_ATTR: u32 = 64;

fn done(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Traces a process without stopping it.
pub(super) fn seize(pid: i32) -> io::Result<()> {
    // SAFETY: PTRACE_SEIZE takes a pid and two numbers, and touches no memory of this process.
    done(unsafe { libc::syscall(libc::SYS_ptrace, SEIZE, c_long::from(pid), 0, 0) }).map(drop)
}

/// Reads memory of another process, of a page that no process has.
pub(super) fn read_memory(pid: i32) -> io::Result<()> {
    let mut byte = 0_u8;
    let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: PAGE as *mut _, iov_len: 1 };
    // SAFETY: both lists hold one entry, and `here` is a byte of this frame.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    done(read as c_long).map(drop)
}

/// Maps a page of `file`, executable or not; it stays mapped.
pub(super) fn map(file: impl AsFd, executable: bool) -> io::Result<*mut libc::c_void> {
    let protection = if executable { ProtFlags::READ | ProtFlags::EXEC } else { ProtFlags::READ };
    // SAFETY: a mapping at an address that the kernel chooses replaces none that is there.
    Ok(unsafe { mmap(null_mut(), PAGE, protection, MapFlags::PRIVATE, file, 0) }?)
}

/// Makes a page that [`map`] gave executable.
pub(super) fn make_executable(page: *mut libc::c_void) -> io::Result<()> {
    // SAFETY: the page was mapped by `map`, and nobody holds a reference to it.
    Ok(unsafe { mprotect(page, PAGE, MprotectFlags::READ | MprotectFlags::EXEC) }?)
}

/// Loads a BPF program that does nothing.
pub(super) fn load_program() -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        instructions: u32,
        code: *const u64,
        license: *const libc::c_char,
        rest: [u64; 12],
    }
    let attributes = Attributes {
        kind: SOCKET_FILTER,
        instructions: 2,
        code: NOTHING.as_ptr(),
        license: c"GPL".as_ptr(),
        rest: [0; 12],
    };
    // SAFETY: the attributes are laid out as the beginning of `union bpf_attr`, the rest of it zero, and what they
    // point to outlives the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<Attributes>())
    };
    owned(fd)
}

/// Opens a performance event of this process: its processor clock.
pub(super) fn open_performance_event() -> io::Result<OwnedFd> {
    let mut attributes = [0_u32; PERF_ATTR as usize / 4];
    attributes[0] = PERF_SOFTWARE;
    attributes[1] = PERF_ATTR;
    // SAFETY: the attributes are as long as they say, as the kernel's first version of them.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) };
    owned(fd)
}

/// Offers `kernel` to be started in place of this one.
pub(super) fn load_kernel(kernel: impl AsFd) -> io::Result<()> {
    /// `KEXEC_FILE_NO_INITRAMFS`.
    const NO_INITRAMFS: c_long = 4;
    let kernel = kernel.as_fd().as_raw_fd();
    // SAFETY: the command line is a string with its zero byte, as long as is said.
    let result = unsafe {
        libc::syscall(libc::SYS_kexec_file_load, kernel, -1, 1, c"".as_ptr(), NO_INITRAMFS)
    };
    done(result).map(drop)
}

/// Opens a socket of a family by its number, which may have no module yet.
pub(super) fn open_family(family: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three numbers.
    owned(unsafe { libc::socket(family, libc::SOCK_STREAM, 0) }.into())
}

/// Takes this process into namespaces of its own.
pub(super) fn unshare(what: UnshareFlags) -> io::Result<()> {
    // SAFETY: what is dangerous is to unshare descriptors of which somebody has only the number; these namespaces
    // have nothing to do with them.
    Ok(unsafe { unshare_unsafe(what) }?)
}

fn owned(fd: c_long) -> io::Result<OwnedFd> {
    let fd = c_int::try_from(done(fd)?).map_err(io::Error::other)?;
    // SAFETY: the call that gave it succeeded, so it is open, and this is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
