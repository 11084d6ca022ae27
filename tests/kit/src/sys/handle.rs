//! Opening a file by its handle, past every path.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `struct file_handle` with room for the longest handle there is.
#[repr(C)]
struct Handle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    handle: [u8; 128],
}

/// Opens `path` for reading by the handle that its file system gives for it; `mount` is any
/// descriptor of a file on the same mount.
pub(crate) fn open_by_handle(mount: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut handle = Handle { bytes: 128, kind: 0, handle: [0; 128] };
    let mut mount_id = 0;
    const { assert!(size_of::<Handle>() == 136, "the layout of struct file_handle") };
    // SAFETY: `handle` is laid out as `struct file_handle` with `bytes` bytes of room, and both places
    // and the path outlive the call.
    let named = unsafe {
        libc::name_to_handle_at(
            libc::AT_FDCWD,
            path.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount_id,
            0,
        )
    };
    if named != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: `handle` was filled by the call above and outlives this one.
    let opened =
        unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the descriptor is open, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}
