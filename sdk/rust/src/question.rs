//! One question, as the judge sees it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use outrigger_api::record::EventRecord;
use outrigger_api::{CaseId, Event, FileKey, ProcessKey};

use crate::clock;
use crate::content::{Content, ContentAbsent};

/// Something that is about to happen, and that waits for the engine's judgement. What the manifest did
/// not ask for, or the sensor does not know, is `None`: absent is not empty.
#[derive(Debug)]
pub struct Question<'a> {
    event: Event,
    record: &'a EventRecord,
    content: Result<Content, ContentAbsent>,
}

impl<'a> Question<'a> {
    pub(crate) fn new(
        event: Event,
        record: &'a EventRecord,
        content: Result<Content, ContentAbsent>,
    ) -> Self {
        Self { event, record, content }
    }

    /// What is about to happen.
    pub fn event(&self) -> Event {
        self.event
    }

    /// The case's number, by which the operator finds it again.
    pub fn case(&self) -> CaseId {
        self.record.case
    }

    /// The object's path at the time of the event, as the host sees it: to show, and not to open.
    /// Bytes, which need not be UTF-8; cut at 4,096.
    pub fn path(&self) -> Option<&'a Path> {
        self.record.path.as_deref().map(|bytes| Path::new(OsStr::from_bytes(bytes)))
    }

    /// Who is about to do it.
    pub fn subject(&self) -> Option<ProcessKey> {
        self.record.process
    }

    /// The subject's process id in the host's namespace: to show, never a key.
    pub fn pid(&self) -> Option<u32> {
        self.record.pid
    }

    /// The subject's effective user and group id.
    pub fn credentials(&self) -> Option<(u32, u32)> {
        self.record.credentials
    }

    /// What it is done to.
    pub fn file(&self) -> Option<FileKey> {
        self.record.file
    }

    /// The object's size in bytes, at the time of the event.
    pub fn size(&self) -> Option<u64> {
        self.record.attributes.map(|(size, _)| size)
    }

    /// The object's change time, ns since the epoch, at the time of the event.
    pub fn changed(&self) -> Option<u64> {
        self.record.attributes.map(|(_, changed)| changed)
    }

    /// The object's content, or why there is none to read.
    ///
    /// # Errors
    ///
    /// [`ContentAbsent`].
    pub fn content(&self) -> Result<&Content, ContentAbsent> {
        self.content.as_ref().map_err(|absent| *absent)
    }

    /// How long the answer is still waited for; `None` if nobody waits.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.record.deadline.saturating_sub(clock::now());
        (self.record.deadline != 0).then(|| Duration::from_nanos(left))
    }
}
