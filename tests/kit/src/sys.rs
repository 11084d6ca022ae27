//! The system calls that neither the standard library nor rustix makes for us.

#![expect(
    unsafe_code,
    reason = "namespaces at exec, fanotify, file handles, io_uring, shared memory, priority, others' processes"
)]

mod fanotify;
mod handle;
mod memory;
mod namespace;
mod scheduler;
mod trespass;
mod uring;

pub(crate) use fanotify::BareGroup;
pub(crate) use handle::open_by_handle;
pub(crate) use memory::Mapping;
pub(crate) use namespace::{enter_session_on_exec, enter_world_on_exec};
pub(crate) use scheduler::above_all_ordinary_threads;
pub(crate) use trespass::on_process;
pub(crate) use uring::open_by_ring;
