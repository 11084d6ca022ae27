//! Sensors: where events come from and where answers go.
//!
//! This crate owns everything that is particular to the kernel's interface: fanotify groups and their
//! marks, the leases under the verdict cache, the identity of subjects and objects, the page that keeper,
//! gate and host share, the BPF programs that tell of processes, and the trials by which
//! [`outrigger_api::Coverage`] is found. It decides nothing and keeps no clock but [`clock::now`].
//!
//! Threat position: the bytes read here come from the kernel. What an opener controls (its pid, its
//! path, its file system) is treated as hostile: paths are bytes, and no call of this crate waits for
//! a file system that a user may serve (attributes are read with `AT_STATX_DONT_SYNC`).

pub mod bpf;
pub mod changes;
pub mod clock;
pub mod coverage;
pub mod group;
pub mod identity;
pub mod lease;
pub mod mounts;
pub mod notice;
pub mod page;
pub mod plane;
pub mod process;
pub mod recording;
mod sys;
pub mod volumes;

pub use group::{Batch, Group, RawQuestion};
