//! A question to put to an engine.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use outrigger_api::record::{ContentAbsent, EventHeader, present};
use outrigger_api::{CaseId, Event};
use rustix::fs::{MemfdFlags, memfd_create};
use zerocopy::FromZeros;

use crate::clock;

/// One question, with the pinch of everything that the real host sends: without more said, of no path,
/// no content, and with ten seconds to answer.
#[derive(Debug)]
pub struct Ask {
    event: u16,
    path: Option<Vec<u8>>,
    content: Result<OwnedFd, ContentAbsent>,
    announced: bool,
    may_block: bool,
    wait: Wait,
}

#[derive(Debug)]
enum Wait {
    For(Duration),
    Over,
}

impl Ask {
    /// A question about `event`.
    pub fn new(event: Event) -> Self {
        Self::numbered(event.number())
    }

    /// A question about the open of a file that holds `bytes`.
    pub fn open(bytes: &[u8]) -> Self {
        Self::new(Event::FileOpen).content(bytes)
    }

    /// A question about the event of this number, which need not exist.
    pub fn numbered(event: u16) -> Self {
        Self {
            event,
            path: None,
            content: Err(ContentAbsent::NotGranted),
            announced: false,
            may_block: false,
            wait: Wait::For(Duration::from_secs(10)),
        }
    }

    /// Of the object at `path`.
    #[must_use]
    pub fn path(self, path: impl AsRef<Path>) -> Self {
        let path: &OsStr = path.as_ref().as_os_str();
        Self { path: Some(path.as_bytes().to_vec()), ..self }
    }

    /// With a file that holds `bytes`.
    #[must_use]
    pub fn content(self, bytes: &[u8]) -> Self {
        let file = memfd_create("outrigger-kit", MemfdFlags::CLOEXEC).expect("a memfd");
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest).expect("a memfd can be written");
            rest = &rest[written..];
        }
        self.file_of(file)
    }

    /// With the content of any open file.
    #[must_use]
    pub fn file_of(self, file: impl Into<OwnedFd>) -> Self {
        Self { content: Ok(file.into()), announced: true, ..self }
    }

    /// Whose content, the host says, can keep a reader waiting.
    #[must_use]
    pub fn may_block(self) -> Self {
        Self { may_block: true, ..self }
    }

    /// Without content, for this reason.
    #[must_use]
    pub fn absent(self, reason: ContentAbsent) -> Self {
        Self { content: Err(reason), announced: false, ..self }
    }

    /// With content announced that never comes.
    #[must_use]
    pub fn content_lost(self) -> Self {
        Self { announced: true, ..self.absent(ContentAbsent::Backlog) }
    }

    /// To be answered within `budget`.
    #[must_use]
    pub fn within(self, budget: Duration) -> Self {
        Self { wait: Wait::For(budget), ..self }
    }

    /// Whose deadline has passed before the engine hears of it.
    #[must_use]
    pub fn overdue(self) -> Self {
        Self { wait: Wait::Over, ..self }
    }

    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.content.as_ref().ok().map(OwnedFd::as_fd)
    }

    /// The file that closing may wait for.
    pub(super) fn into_blocking_file(self) -> Option<OwnedFd> {
        self.content.ok().filter(|_| self.may_block)
    }

    pub(super) fn path_bytes(&self) -> Option<&[u8]> {
        self.path.as_deref()
    }

    pub(super) fn header(&self, case: CaseId) -> EventHeader {
        let now = clock::now();
        let mut header = EventHeader::new_zeroed();
        header.event = self.event.into();
        header.case = case.get().into();
        header.host_time = now.into();
        header.deadline = match self.wait {
            Wait::For(budget) => now + super::ns(budget),
            Wait::Over => now - 1,
        }
        .into();
        header.pid = std::process::id().into();
        let mut bits = present::PID;
        if self.may_block {
            bits |= present::MAY_BLOCK;
        }
        if self.announced {
            bits |= present::CONTENT;
        } else if let Err(reason) = self.content {
            header.content_absent = reason as u8;
        }
        header.present = bits.into();
        header
    }
}
