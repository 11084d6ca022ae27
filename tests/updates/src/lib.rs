//! What a power cut or a kill at any moment of an install leaves behind, and whether one can live with it.
//!
//! ```text
//!  Scenario: command ──▶ trace ──▶ log ──▶ cuts ──▶ disk ──▶ a folder ──▶ Scenario: check
//!   what is run            every system call    at each      what the disk        one version in force,
//!   on a prepared          that changes the     change of    may hold then        whole; the journal
//!   folder                 folder               the log                           readable; goes on
//! ```
//!
//! [`Scenario`] is all that there is to replace: what is run, on what, and what must hold afterwards. It may be any
//! program, with threads and children; [`install`] is a small one, and [`deeds`] what comes after an install.
//!
//! Besides, [`kill`] kills the program as each of its system calls begins, [`full`] refuses it everything that takes
//! room from there on, or fills a disk for real, and [`cut::explore_after_kills`] cuts off the run that follows upon a killed one.
//!
//! # The model of the disk
//!
//! A disk holds what was made durable, and of the rest anything:
//!
//! - `fsync` of a file makes its content, size and mode durable, `fdatasync` its content and size, `fsync` of a
//!   folder its entries: names made, removed, renamed *in it*. `sync_file_range` makes nothing durable. A new file's
//!   name is durable by its folder alone, although ext4, xfs and btrfs keep it with the file, too.
//! - Content that is not durable is there or not by 512-byte sectors, each for itself. The size is there or not for
//!   itself: a sector that the size covers and that is not there is zeros.
//! - Every change of a name that is not durable has happened or not, each for itself, whatever came before or after
//!   it. A rename happens as a whole or not at all; one between two folders is durable when both are.
//! - What is mapped and shared (SQLite's `-shm`) holds rubbish after a cut.
//!
//! This is more than the file systems do that are in use: it allows all of their outcomes that we know of, and some
//! that none has. What it leaves out: a sector is never half written, and one that is written beside others does not
//! damage them (what SQLite calls powersafe overwrite); a disk that says that something is durable does not lie;
//! what is durable does not rot; owners, times and attributes are as they were.
//!
//! Of the states that a cut at one place may leave, these are looked at: nothing that was not durable, all
//! of it, all but one change and one change alone for each of them, and random ones. Which are random follows
//! from a seed, which a failure names.
//!
//! Threat position: none. This crate is run by developers and never by the product.

pub mod command;
pub mod cut;
pub mod deeds;
pub mod disk;
pub mod full;
pub mod install;
pub mod kill;
pub mod log;
pub mod scenario;
pub mod small;
mod sys;
pub mod trace;
pub mod tree;

mod calls;
mod chance;
mod turns;

pub use scenario::{Effort, Scenario};
