//! A notice to give to an engine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use outrigger_api::attribute::{Place, arguments};
use outrigger_api::record::notice::{NoticeExtra, NoticeTail, write_notice};
use outrigger_api::record::{Arguments, Endpoint, EventHeader, RuleOutcome, present};
use outrigger_api::{Event, ProcessKey};
use zerocopy::FromZeros;

use crate::clock;

/// One notice, with the pinch of everything that the real host sends: without more said, of the test's
/// own process and of no path.
#[derive(Debug, Clone)]
pub struct Tell {
    pub(super) event: Event,
    header: EventHeader,
    extra: NoticeExtra,
    path: Option<Vec<u8>>,
    new_path: Option<Vec<u8>>,
    arguments: Arguments<'static>,
    text: Option<Vec<u8>>,
    rule: Option<String>,
}

impl Tell {
    /// A notice of `event`.
    pub fn new(event: Event) -> Self {
        let mut header = EventHeader::new_zeroed();
        header.event = event.number().into();
        header.pid = std::process::id().into();
        let tell = Self {
            event,
            header,
            extra: NoticeExtra::new_zeroed(),
            path: None,
            new_path: None,
            arguments: Arguments::default(),
            text: None,
            rule: None,
        };
        tell.with(present::PID)
    }

    /// Of what this process did.
    #[must_use]
    pub fn pid(mut self, pid: u32) -> Self {
        self.header.pid = pid.into();
        self
    }

    /// Of the object at `path`.
    #[must_use]
    pub fn path(self, path: impl AsRef<Path>) -> Self {
        Self { path: Some(bytes(path.as_ref().as_os_str())), ..self }
    }

    /// That went to `path`.
    #[must_use]
    pub fn new_path(self, path: impl AsRef<Path>) -> Self {
        Self { new_path: Some(bytes(path.as_ref().as_os_str())), ..self }
    }

    /// Of a child of this process.
    #[must_use]
    pub fn parent(mut self, parent: ProcessKey, pid: u32) -> Self {
        self.extra.parent = parent.0;
        self.extra.parent_pid = pid.into();
        self.with(present::PARENT | present::PARENT_PID | present::EXTRA)
    }

    /// Of a process that ended so.
    #[must_use]
    pub fn status(mut self, status: i32) -> Self {
        self.extra.status = status.cast_unsigned().into();
        self.with(present::STATUS | present::EXTRA)
    }

    /// Done to this process.
    #[must_use]
    pub fn target(mut self, target: ProcessKey, pid: u32) -> Self {
        (self.arguments.target, self.arguments.target_pid) = (Some(target), Some(pid));
        self
    }

    /// Done to this address.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.arguments.endpoint = Some(endpoint);
        self
    }

    /// With this number as the argument `name`.
    ///
    /// # Panics
    ///
    /// If the event has no number or flag of that name.
    #[must_use]
    pub fn number(mut self, name: &str, value: u64) -> Self {
        match self.place(name) {
            Some(Place::Value0) => self.arguments.values[0] = Some(value),
            Some(Place::Value1) => self.arguments.values[1] = Some(value),
            _ => panic!("{} has no number {name:?}", self.event),
        }
        self
    }

    /// With this text as the argument `name`.
    ///
    /// # Panics
    ///
    /// If the event has no text of that name.
    #[must_use]
    pub fn text(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        match self.place(name) {
            Some(Place::Text) => self.text = Some(value.into()),
            Some(Place::NewPath) => self.new_path = Some(value.into()),
            _ => panic!("{} has no text {name:?}", self.event),
        }
        self
    }

    /// About which the rule of this name did that.
    #[must_use]
    pub fn ruled(mut self, outcome: RuleOutcome, rule: impl Into<String>) -> Self {
        self.arguments.ruled = Some(outcome);
        self.rule = Some(rule.into());
        self
    }

    fn place(&self, name: &str) -> Option<Place> {
        arguments(self.event).iter().find(|one| one.name == name).map(|one| one.place)
    }

    fn with(mut self, bits: u64) -> Self {
        self.header.present = (self.header.present.get() | bits).into();
        self
    }

    /// Writes it into `out`; the record's length.
    pub(super) fn write(mut self, out: &mut [u8]) -> usize {
        let now = clock::now();
        self.header.host_time = now.into();
        self.header.kernel_time = now.into();
        let told = self.with(present::KERNEL_TIME);
        let Self { mut header, extra, path, new_path, arguments, text, rule, .. } = told;
        let tail = NoticeTail {
            path: path.as_deref(),
            extra: (header.present.get() & present::EXTRA != 0).then_some(extra),
            new_path: new_path.as_deref(),
            arguments: Arguments { text: text.as_deref(), rule: rule.as_deref(), ..arguments },
        };
        write_notice(&mut header, tail, out)
    }
}

fn bytes(text: &OsStr) -> Vec<u8> {
    text.as_bytes().to_vec()
}
