use std::path::Path;

use outrigger_api::record::{Detail, EVENT_MAX, EventHeader};
use outrigger_api::settings::{HostConfig, Manifest};
use outrigger_api::{Answer, CaseId, Event, FailureReason, FileKey, Verdict};
use outrigger_decision::policy::Policies;
use outrigger_dock::{EventReader, EventWriter, Feed, VerdictReader, VerdictWriter};
use outrigger_sensor::identity::Object;
use zerocopy::FromBytes as _;

use super::*;
use crate::host::core::Intake;
use crate::host::engines::{Engine, Presence};

const RING: u32 = 1 << 19;
const SCAN: EngineIndex = EngineIndex::FIRST;

/// An engine's end of its rings.
struct Process {
    events: EventReader,
    verdicts: VerdictWriter,
}

impl Process {
    fn new() -> (Link, Self) {
        let (events, their_events) = EventWriter::create(RING).expect("a ring");
        let (verdicts, their_verdicts) = VerdictReader::create(RING).expect("a ring");
        let process = Self {
            events: EventReader::map(their_events, RING).expect("a ring"),
            verdicts: VerdictWriter::map(their_verdicts, RING).expect("a ring"),
        };
        (Link::new(Feed::new(events), verdicts, None), process)
    }

    /// The questions that lie in its ring.
    fn take(&mut self) -> Vec<CaseId> {
        let mut cases = Vec::new();
        let mut buf = Vec::with_capacity(EVENT_MAX);
        while let Some(record) = self.events.pop(&mut buf).expect("a sound ring") {
            let (header, _) = EventHeader::read_from_prefix(record).expect("a header");
            cases.extend(CaseId::new(header.case.get()));
        }
        cases
    }

    fn say(&mut self, case: CaseId, verdict: Verdict) {
        let record = VerdictRecord { case, verdict, spent: 0, detail: Detail::new("") };
        self.verdicts.push(&record.to_bytes()).expect("room");
        self.verdicts.publish_and_wake();
    }
}

/// One engine that judges opens, docked, with one question in its hands.
fn asked() -> (Core, Process, CaseId) {
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

fn ask(core: &mut Core, file: u8) {
    let object = Object {
        key: FileKey([file; 32]),
        device: 1,
        size: 1,
        changed: 1,
        mode: 0o100_644,
        owner: 0,
    };
    let intake = Intake {
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
        read_at: 1,
        deadline: 1000,
        empty: false,
        stand_in: None,
        content: Vec::new(),
    };
    let mut ended = Vec::new();
    core.put(intake, 1, &mut ended);
    core.publish(1);
    assert!(ended.is_empty(), "it waits for the engine");
}

/// What ended by what has come until `now`, and what the control thread hears.
fn collect(core: &mut Core, now: u64) -> (Vec<(CaseId, Answer)>, Vec<News>) {
    let (mut ended, mut news) = (Vec::new(), Vec::new());
    core.collect(now, &mut ended);
    core.take_news(&mut news);
    (ended.iter().map(|finished| (finished.case, finished.answer)).collect(), news)
}

fn swapped() -> (Core, Process, Process, CaseId) {
    let (mut core, old, case) = asked();
    let (link, new) = Process::new();
    core.replace(SCAN, link, 2);
    (core, old, new, case)
}

const DONE: News = News::FormerDone { engine: SCAN };

#[test]
fn what_the_old_one_has_in_hand_is_put_to_the_new_one_too_and_nothing_else_to_the_old() {
    let (mut core, mut old, mut new, case) = swapped();

    ask(&mut core, 8);

    let (to_old, to_new) = (old.take(), new.take());
    assert!(to_old.is_empty());
    assert_eq!((to_new.len(), to_new[0]), (2, case));
    assert_eq!(core.engines[0].books.sums(0).asked, 2, "a question is counted once");
}

#[test]
fn the_first_answer_counts_and_the_second_is_nobodys_fault() {
    let (mut core, mut old, mut new, case) = swapped();

    old.say(case, Verdict::Deny);
    assert_eq!(collect(&mut core, 3), (vec![(case, Answer::Deny)], vec![DONE]));
    new.say(case, Verdict::Allow);
    assert_eq!(collect(&mut core, 4), (vec![], vec![]));

    let (mut core, mut old, mut new, case) = swapped();
    new.say(case, Verdict::Allow);
    assert_eq!(collect(&mut core, 3), (vec![(case, Answer::Allow)], vec![DONE]));
    old.say(case, Verdict::Deny);
    assert_eq!(collect(&mut core, 4), (vec![], vec![]));
}

#[test]
fn an_old_process_that_answers_nothing_costs_no_question() {
    let (mut core, _old, mut new, case) = swapped();
    core.drop_former(SCAN);

    new.say(case, Verdict::Allow);

    assert_eq!(collect(&mut core, 3).0, [(case, Answer::Allow)]);
}

#[test]
fn the_old_one_may_not_speak_of_what_it_was_not_handed() {
    let (mut core, mut old, mut new, case) = swapped();
    ask(&mut core, 8);
    let later = new.take()[1];

    old.say(later, Verdict::Deny);
    old.say(case, Verdict::Deny);

    assert_eq!(collect(&mut core, 3), (vec![], vec![DONE]));
    new.say(later, Verdict::Allow);
    assert_eq!(collect(&mut core, 4).0, [(later, Answer::Allow)]);
}

#[test]
fn a_question_that_neither_answers_ends_at_its_deadline_and_is_no_miss() {
    let (mut core, _old, _new, case) = swapped();

    let (ended, news) = collect(&mut core, 1000);

    assert_eq!(ended, [(case, Answer::Allow)]);
    assert_eq!(news, [], "the old one has not even read what it was handed");
}

#[test]
fn the_old_one_has_finished_when_it_has_read_what_lies_in_its_ring() {
    let (mut core, mut old, case) = asked();
    ask(&mut core, 8);
    let (link, mut new) = Process::new();
    core.replace(SCAN, link, 2);
    for case in new.take() {
        new.say(case, Verdict::Allow);
    }

    let (ended, news) = collect(&mut core, 3);
    assert_eq!((ended.len(), ended[0].0, news), (2, case, vec![]));
    old.take();

    assert_eq!(collect(&mut core, 4).1, [DONE]);
}

#[test]
fn nothing_decided_before_the_change_is_cached_after_it() {
    let (mut core, mut old, mut new, case) = swapped();
    ask(&mut core, 8);
    let later = new.take()[1];
    old.say(case, Verdict::Allow);
    new.say(later, Verdict::Allow);

    let mut ended = Vec::new();
    core.collect(3, &mut ended);

    let epochs: Vec<u64> = ended.iter().map(|finished| finished.epoch).collect();
    assert!(ended.len() == 2 && epochs.iter().filter(|epoch| **epoch == core.epoch).count() == 1);
}

#[test]
fn one_that_was_away_has_no_former() {
    let (mut core, _old, _case) = asked();
    let away = Presence::Away(FailureReason::Quarantined);
    core.lose(SCAN, FailureReason::Quarantined, away, 1, &mut Vec::new());
    let (link, mut new) = Process::new();

    core.replace(SCAN, link, 2);
    ask(&mut core, 8);

    assert!(core.engines[0].former.is_none());
    assert_eq!(new.take().len(), 1);
}
