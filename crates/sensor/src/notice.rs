//! What sensors tell without waiting for an answer: things that have happened, and losses.
//!
//! A sensor gives its notices in the order in which the kernel made them, and says a [`Loss`] at the
//! place where notices are missing. Two sensors have no order between them but [`Notice::kernel_time`].

pub use outrigger_api::record::{Endpoint, RuleOutcome};
use outrigger_api::{Event, FileKey, Loss, ProcessKey};

use crate::identity::Credentials;

/// One thing that has happened. What the sensor could not find out is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub event: Event,
    /// When, ns of `CLOCK_MONOTONIC`.
    pub kernel_time: u64,
    /// Who did it, by the key that questions carry ([`crate::identity::Subjects::key`]); of a fork the
    /// new process, of an exit the one that ended. Always a process, never a thread.
    pub process: Option<ProcessKey>,
    /// Its process id in the host's pid namespace; 0 where that was not to be found out.
    pub pid: u32,
    /// Its parent at that time: of a fork, who forked.
    pub parent: Option<ProcessKey>,
    /// The parent's process id in the host's pid namespace.
    pub parent_pid: Option<u32>,
    /// The user and group it did that as.
    pub credentials: Option<Credentials>,
    /// The object, where it is a file; of an exec the program.
    pub file: Option<FileKey>,
    /// The object's path as bytes; of a rename the old one.
    pub path: Option<Vec<u8>>,
    /// The object's new path after a rename.
    pub new_path: Option<Vec<u8>>,
    /// How a process ended, as `wait(2)` has it.
    pub status: Option<i32>,
    /// The object, where it is a process.
    pub target: Option<ProcessKey>,
    /// Its process id in the host's pid namespace; 0 where that was not to be found out.
    pub target_pid: u32,
    /// The numbers of the event, as [`outrigger_api::attribute::arguments`] names them.
    pub values: [Option<u64>; 2],
    /// The object, where it is an address: family, address if it is one of IP, port.
    pub endpoint: Option<Endpoint>,
    /// The text of the event, as [`outrigger_api::attribute::arguments`] names it.
    pub text: Option<Vec<u8>>,
    /// What a rule made of it, and the rule's number in the set in force at that time.
    pub ruled: Option<Ruled>,
    /// The engines that want to be told, a bit each; `None` where the sensor does not filter.
    pub wanted: Option<u64>,
}

/// What a rule made of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruled {
    /// What it did.
    pub outcome: RuleOutcome,
    /// The set of rules, by its generation.
    pub generation: u64,
    /// The rule's number in the set.
    pub rule: u16,
}

impl Notice {
    /// A notice of which nothing is known but what happened and when.
    pub const fn new(event: Event, kernel_time: u64) -> Self {
        Self {
            event,
            kernel_time,
            process: None,
            pid: 0,
            parent: None,
            parent_pid: None,
            credentials: None,
            file: None,
            path: None,
            new_path: None,
            status: None,
            target: None,
            target_pid: 0,
            values: [None; 2],
            endpoint: None,
            text: None,
            ruled: None,
            wanted: None,
        }
    }
}

/// One thing that a sensor says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are notices: a box for each would cost more"
)]
pub enum Seen {
    /// Something happened.
    Notice(Notice),
    /// Notices are missing here.
    Loss(Loss),
}
