//! Real-time priority.

use std::io;

/// Puts the calling thread above every thread of ordinary priority.
pub(crate) fn above_all_ordinary_threads() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters outlive the call, which only reads them; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
