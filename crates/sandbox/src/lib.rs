//! Starts one confined process and tells what it was refused.
//!
//! [`start`] makes the process of an engine: an untrusted program that may read what its host hands
//! it, and nothing else. The host keeps a [`Confined`]: the process' pidfd, its control group and
//! the calls that it was refused.
//!
//! **Threat position.** Everything that runs after `execve` is hostile. The host reads three things
//! from it: the registers of a refused system call (from the kernel), the path of an `open` (from
//! the process' memory: bounded, never trusted, for the log alone) and its exit status.
//!
//! **How a process is confined**, in the order in which it happens (`child.rs` is the list in code):
//!
//! 1. a clone with its own pid, mount, network, IPC, UTS and control-group namespaces and its own
//!    copy of the descriptor table, of which all but the granted descriptors are closed at once;
//! 2. a root of its own: a small read-only tmpfs on which what the caller names is bound read-only.
//!    No `/proc`, no `/sys`. The mount namespace belongs to the initial user namespace, so the
//!    process has no rights over it, whatever it becomes in a user namespace;
//! 3. limits: control groups (version 2 or 1) for memory, threads and CPU, resource limits for the rest;
//! 4. identity: a user namespace that holds one uid and one gid, no capability, `no_new_privs`;
//! 5. Landlock, as far as this kernel has it;
//! 6. a seccomp allow-list (`seccomp/engine.rs`). What is not on it is refused, by name, to the log.
//!
//! **No code but its files**: memory can be written or executed, never one after the other. What the loader
//! does when the program starts is let go on until [`Confined::refuse_code`]: call it before the process
//! is given bytes that are not its vendor's.
//!
//! What the kernel did not give is in [`Enforced`], never assumed.
//!
//! The crate also confines the host's own trusted processes: [`confine_self`], [`lock_memory`],
//! [`set_parent_death_signal`].
//!
//! Kernel: Linux 6.1 or later. Privilege: root in the initial user namespace.

mod access;
mod calls;
mod cgroup;
mod channel;
mod child;
mod confined;
mod confinement;
mod error;
mod libraries;
mod own;
mod plain;
mod root;
mod seccomp;
mod start;
mod sys;

pub use calls::{Calls, RefusedCall};
pub use confined::{Confined, Enforced, Enforcement, Exit, Usage};
pub use confinement::{Bind, Confinement, Limits, PROGRAM};
pub use error::{StartError, Step};
pub use libraries::needed_libraries;
pub use own::{Otherwise, close_inherited, confine_self, lock_memory, set_parent_death_signal};
pub use plain::hold_back;
pub use seccomp::engine::ENGINE;
pub use seccomp::fetch::FETCH;
pub use seccomp::gate::GATE;
pub use seccomp::list::{CallList, CallRow};
pub use start::start;
