//! What tests of the core share: an engine's end of its rings, and questions.

use std::os::fd::OwnedFd;
use std::path::Path;

use outrigger_api::record::{Detail, EVENT_MAX, EventHeader, VERDICT_SIZE, VerdictRecord};
use outrigger_api::settings::{HostConfig, Manifest};
use outrigger_api::{CaseId, Event, FileKey, Verdict};
use outrigger_decision::EngineIndex;
use outrigger_decision::policy::Policies;
use outrigger_dock::{EventReader, EventWriter, Feed, VerdictReader, VerdictWriter};
use outrigger_sensor::identity::Object;
use zerocopy::FromBytes as _;

use super::{Core, Intake, Link};
use crate::host::engines::Engine;
use crate::host::policy::Ruling;

/// Data bytes of a ring.
pub(crate) const RING: u32 = 1 << 19;
pub(crate) const SCAN: EngineIndex = EngineIndex::FIRST;

/// An engine's end of its rings.
pub(crate) struct Process {
    events: EventReader,
    verdicts: VerdictWriter,
    /// The memory of both, as it has it.
    memory: [OwnedFd; 2],
}

impl Process {
    pub(crate) fn new() -> (Link, Self) {
        let (events, their_events) = EventWriter::create(RING).expect("a ring");
        let (verdicts, their_verdicts) = VerdictReader::create(RING).expect("a ring");
        let copy = |fd: &OwnedFd| fd.try_clone().expect("a descriptor");
        let process = Self {
            memory: [copy(&their_events), copy(&their_verdicts)],
            events: EventReader::map(their_events, RING).expect("a ring"),
            verdicts: VerdictWriter::map(their_verdicts, RING).expect("a ring"),
        };
        (Link::new(Feed::new(events), verdicts, None), process)
    }

    /// The questions that lie in its ring.
    pub(crate) fn take(&mut self) -> Vec<CaseId> {
        let mut cases = Vec::new();
        let mut buf = Vec::with_capacity(EVENT_MAX);
        while let Some(record) = self.events.pop(&mut buf).expect("a sound ring") {
            let (header, _) = EventHeader::read_from_prefix(record).expect("a header");
            cases.extend(CaseId::new(header.case.get()));
        }
        cases
    }

    /// How many records of any kind lie in its ring; they are handled at once.
    pub(crate) fn take_all(&mut self) -> usize {
        let mut buf = Vec::with_capacity(EVENT_MAX);
        let mut count = 0;
        while let Some(record) = self.events.pop(&mut buf).expect("a sound ring") {
            let len = record.len();
            self.events.handled(len);
            count += 1;
        }
        count
    }

    /// It goes to sleep, or says that it does.
    pub(crate) fn doze(&mut self) {
        self.events.doorbell().arm();
    }

    pub(crate) fn say(&mut self, case: CaseId, verdict: Verdict) {
        self.say_why(case, verdict, "");
    }

    pub(crate) fn say_why(&mut self, case: CaseId, verdict: Verdict, why: &str) {
        let record = VerdictRecord { case, verdict, spent: 0, detail: Detail::new(why) };
        self.say_bytes(&record.to_bytes());
    }

    pub(crate) fn say_bytes(&mut self, record: &[u8; VERDICT_SIZE]) {
        self.verdicts.push(record).expect("room");
        self.verdicts.publish_and_wake();
    }

    /// Overwrites the cursors of its event ring (0) or its verdict ring (1), and whatever else lies with them.
    pub(crate) fn corrupt(&self, ring: usize) {
        rustix::io::pwrite(&self.memory[ring], &[0xee; 4096], 0).expect("it may write there");
    }
}

/// One engine that judges opens, docked, with one question in its hands.
pub(crate) fn asked() -> (Core, Process, CaseId) {
    let text = "name = \"scan\"\nvendor = \"V\"\nversion = \"1\"\ncontract = \"1\"\n\
                verdict = \"content\"\nentry.program = \"a\"\nevents.\"file.open\".needs = \"ask\"\n";
    let manifest = Manifest::parse(text, Path::new("m.toml")).expect("a manifest");
    let config = HostConfig::parse("[[engine]]\nmanifest = \"/m.toml\"\n", Path::new("c.toml"));
    let config = config.expect("a configuration");
    let engine = Engine::new(&manifest, &config.engines[0]);
    let mut core = Core::new(vec![engine], Policies::new(&config), 64);
    let (link, mut process) = Process::new();
    core.dock(SCAN, link, 0);
    ask(&mut core, 7);
    let cases = process.take();
    (core, process, cases[0])
}

pub(crate) fn ask(core: &mut Core, file: u8) {
    let mut ended = Vec::new();
    core.put(intake(file, 1), 1, &mut ended);
    core.publish();
    assert!(ended.is_empty(), "it waits for the engine");
}

/// An open of a file of which nothing is known but its key.
pub(crate) fn intake(file: u8, now: u64) -> Intake {
    let object = Object {
        key: FileKey([file; 32]),
        device: 1,
        size: 1,
        changed: 1,
        mode: 0o100_644,
        owner: 0,
    };
    Intake {
        event: Event::FileOpen,
        file: -1,
        pidfd: -1,
        group: 0,
        pid: 1,
        process: None,
        user: Some(0),
        credentials: None,
        object,
        path: None,
        leased: false,
        may_block: false,
        read_at: now,
        deadline: now + 999,
        empty: false,
        stand_in: None,
        ruling: Ruling::default(),
        content: Vec::new(),
    }
}
