//! What an engine is told without being asked.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use outrigger_api::record::notice::{DecidedBy, NoticeRecord, PressureRecord};
use outrigger_api::record::{Endpoint, RuleOutcome};
use outrigger_api::{Answer, CaseId, Event, FileKey, ProcessKey, attribute};

/// Something that has happened. Nobody waits for the engine. What the manifest did not ask for, or the
/// sensor does not know, is `None`: absent is not empty.
#[derive(Debug)]
pub struct Notice<'a> {
    event: Event,
    record: &'a NoticeRecord,
}

impl<'a> Notice<'a> {
    pub(crate) fn new(event: Event, record: &'a NoticeRecord) -> Self {
        Self { event, record }
    }

    /// What has happened.
    pub fn event(&self) -> Event {
        self.event
    }

    /// When the kernel saw it, ns of `CLOCK_MONOTONIC`. Notices of one sensor come in its order; those of
    /// two have no other common one.
    pub fn kernel_time(&self) -> Option<u64> {
        self.record.kernel_time
    }

    /// The notice's place in what the engine is told. It grows by one for every question, notice and gap,
    /// and for every notice that found no room.
    pub fn sequence(&self) -> u64 {
        self.record.sequence
    }

    /// Who did it: of a fork the new process, of an exit the one that ended. The same key as that of
    /// questions.
    pub fn subject(&self) -> Option<ProcessKey> {
        self.record.process
    }

    /// The subject's process id in the host's namespace: to show, never a key.
    pub fn pid(&self) -> Option<u32> {
        self.record.pid
    }

    /// The subject's parent at that time: of a fork, who forked.
    pub fn parent(&self) -> Option<ProcessKey> {
        self.record.parent
    }

    /// The parent's process id in the host's namespace: to show, never a key.
    pub fn parent_pid(&self) -> Option<u32> {
        self.record.parent_pid
    }

    /// The subject's effective user and group id.
    pub fn credentials(&self) -> Option<(u32, u32)> {
        self.record.credentials
    }

    /// What it was done to; of an exec, the program.
    pub fn file(&self) -> Option<FileKey> {
        self.record.file
    }

    /// The object's path as the host sees it, of a rename the old one: to show, and not to open. Bytes,
    /// which need not be UTF-8; cut at 4,096.
    pub fn path(&self) -> Option<&'a Path> {
        self.record.path.as_deref().map(as_path)
    }

    /// The other path of the event, as [`Self::path`]: of a rename the new one.
    pub fn new_path(&self) -> Option<&'a Path> {
        self.record.new_path.as_deref().map(as_path)
    }

    /// How a process ended, as `wait(2)` has it.
    pub fn status(&self) -> Option<i32> {
        self.record.status
    }

    /// The process that it was done to, where it was done to one.
    pub fn target(&self) -> Option<ProcessKey> {
        self.record.target
    }

    /// That process's id in the host's namespace: to show, never a key.
    pub fn target_pid(&self) -> Option<u32> {
        self.record.target_pid
    }

    /// The address that it was done to, where it was done to one.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.record.endpoint
    }

    /// The argument called `name`, as the catalogue's page has it, if it is a number or a flag (0 or 1).
    /// `None` too where the event has no such argument.
    pub fn number(&self, name: &str) -> Option<u64> {
        match argument(self.event, name)? {
            attribute::Place::Value0 => self.record.values[0],
            attribute::Place::Value1 => self.record.values[1],
            _ => None,
        }
    }

    /// The argument called `name`, as the catalogue's page has it, if it is a text: bytes, which need not be
    /// UTF-8; cut at 4,096. `None` too where the event has no such argument.
    pub fn text(&self, name: &str) -> Option<&'a [u8]> {
        match argument(self.event, name)? {
            attribute::Place::Text => self.record.text.as_deref(),
            attribute::Place::NewPath => self.record.new_path.as_deref(),
            _ => None,
        }
    }

    /// What a rule did about it, if one did, and the rule's name where the host told it.
    pub fn ruled(&self) -> Option<(RuleOutcome, Option<&'a str>)> {
        self.record.ruled.map(|outcome| (outcome, self.record.rule.as_deref()))
    }

    /// Where the operation was decided: what became of it, and who decided.
    pub fn outcome(&self) -> Option<(Answer, DecidedBy)> {
        self.record.outcome
    }

    /// The case in which the operation was asked about, if it was.
    pub fn case(&self) -> Option<CaseId> {
        self.record.case
    }
}

/// Notices wait to be handled, and soon some will be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    waiting: u32,
    share: u32,
}

impl Pressure {
    pub(crate) fn new(record: &PressureRecord) -> Self {
        Self { waiting: record.waiting, share: record.share }
    }

    /// Bytes of notices that wait to be handled.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Most bytes that may wait; further notices are dropped.
    pub fn share(&self) -> u32 {
        self.share
    }
}

/// Where the argument of this name stands.
fn argument(event: Event, name: &str) -> Option<attribute::Place> {
    attribute::arguments(event).iter().find(|one| one.name == name).map(|one| one.place)
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
