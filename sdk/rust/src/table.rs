//! What is to be judged, and the answers: questions and notices off the ring, verdicts onto it.
//!
//! A question comes with its content. Where reading that can wait for a file system it comes once the content
//! is there ([`Lane`]), and is abstained from here if that takes too long.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use outrigger_api::CaseId;
use outrigger_api::record::notice::{GapRecord, NoticeRecord, PressureRecord, RingRecord};
use outrigger_api::record::{EventRecord, VerdictRecord};
use outrigger_dock::{Doorbell, EventReader, PushError, VerdictWriter};

use crate::clock;
use crate::content::{Content, ContentAbsent};
use crate::engine::Judgement;
use crate::inbox::Inbox;
use crate::lane::{Lane, Out};
use crate::question::Question;
use crate::run::RunError;

/// The engine's ends of the dock, but for the control socket.
#[derive(Debug)]
pub(crate) struct Table {
    events: EventReader,
    verdicts: VerdictWriter,
    inbox: Inbox,
    lane: Lane,
    bell: Doorbell,
    record: Vec<u8>,
}

/// What came off the ring.
#[derive(Debug)]
pub(crate) enum Taken {
    /// To be judged now.
    Task(Box<Task>),
    /// Nobody waits for these; each with the length of its record, for [`Table::handled`].
    Notice(Box<NoticeRecord>, usize),
    /// As [`Taken::Notice`].
    Gap(GapRecord, usize),
    /// As [`Taken::Notice`], and to be told of at once.
    Pressure(PressureRecord, usize),
}

/// A question with its content.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) record: EventRecord,
    pub(crate) content: Result<Content, ContentAbsent>,
    pub(crate) due: Due,
}

/// Where an answer goes, and when it is too late.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    case: CaseId,
    /// ns of `CLOCK_MONOTONIC`, 0 for none.
    deadline: u64,
    /// When the engine took the question, ns of `CLOCK_MONOTONIC`.
    begun: u64,
}

impl Task {
    /// What `judge` says of it; `None` if it is about an event that this SDK does not know.
    pub(crate) fn ask(self, judge: impl FnOnce(&Question<'_>) -> Judgement) -> Option<Judgement> {
        let event = self.record.event?;
        Some(judge(&Question::new(event, &self.record, self.content)))
    }
}

impl Due {
    fn of(record: &EventRecord, begun: u64) -> Self {
        Self { case: record.case, deadline: record.deadline, begun }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_over(self) -> bool {
        clock::passed(self.deadline)
    }
}

impl Table {
    pub(crate) fn new(events: EventReader, verdicts: VerdictWriter, inbox: Inbox) -> Self {
        let bell = events.doorbell();
        let lane = Lane::new(bell.clone());
        Self { events, verdicts, inbox, lane, bell, record: Vec::new() }
    }

    /// What is rung when there is something to take.
    pub(crate) fn bell(&self) -> Doorbell {
        self.bell.clone()
    }

    /// When to look again even if nobody rang, ns of `CLOCK_MONOTONIC`.
    pub(crate) fn wake_at(&mut self) -> Option<u64> {
        self.lane.wake_at()
    }

    /// The next thing to do. Questions that nobody could judge any more are passed over.
    pub(crate) fn take(&mut self) -> Result<Option<Taken>, RunError> {
        loop {
            if let Some(task) = self.follow_lane()? {
                return Ok(Some(Taken::Task(task)));
            }
            let Some(bytes) = self.events.pop(&mut self.record).map_err(RunError::EventsCorrupt)?
            else {
                return Ok(None);
            };
            let len = bytes.len();
            // A record of a version that this SDK does not read names no case to it.
            match RingRecord::parse(bytes) {
                Ok(RingRecord::Question(record)) => {
                    if let Some(task) = self.receive(record)? {
                        return Ok(Some(Taken::Task(task)));
                    }
                }
                Ok(RingRecord::Notice(notice)) => {
                    return Ok(Some(Taken::Notice(Box::new(notice), len)));
                }
                Ok(RingRecord::Gap(gap)) => return Ok(Some(Taken::Gap(gap, len))),
                Ok(RingRecord::Pressure(pressure)) => {
                    return Ok(Some(Taken::Pressure(pressure, len)));
                }
                Err(_) => {}
            }
        }
    }

    /// A notice whose record had this length is done with.
    pub(crate) fn handled(&mut self, len: usize) {
        self.events.handled(len);
    }

    /// Takes in one question and its content; gives it if it can be judged at once.
    fn receive(&mut self, record: EventRecord) -> Result<Option<Box<Task>>, RunError> {
        let now = clock::now();
        if record.may_block && record.content.is_ok() {
            return self.receive_by_lane(record, now);
        }
        // Taken even if nobody will read it: in the socket it would hold up the next ones.
        let content = match record.content {
            Ok(()) => self.take_content(record.case).ok_or(ContentAbsent::Lost),
            Err(absent) => Err(absent.into()),
        };
        let content = content.map(|file| Content::new(file, record.deadline));
        self.task(record, content, now)
    }

    /// As [`Self::receive`], where reading can wait for a file system: neither read nor close it here.
    fn receive_by_lane(
        &mut self,
        record: EventRecord,
        now: u64,
    ) -> Result<Option<Box<Task>>, RunError> {
        if !self.lane.admits(now) {
            self.inbox.skip(record.case);
            self.close_strays();
            self.give_up(Due::of(&record, now))?;
            return Ok(None);
        }
        match self.take_content(record.case) {
            Some(file) if clock::passed(record.deadline) => self.lane.close(file, now),
            Some(file) => self.lane.read(record, file, now),
            None => return self.task(record, Err(ContentAbsent::Lost), now),
        }
        Ok(None)
    }

    /// The next question that the lane is done with.
    fn follow_lane(&mut self) -> Result<Option<Box<Task>>, RunError> {
        while !self.lane.is_idle()
            && let Some(out) = self.lane.next(clock::now())
        {
            match out {
                Out::Back(waiting, read) => {
                    let content = read.map(|read| Content::ahead(read, waiting.record.deadline));
                    if let Some(task) = self.task(waiting.record, content, waiting.begun)? {
                        return Ok(Some(task));
                    }
                }
                Out::GivenUp(waiting) => self.give_up(Due::of(&waiting.record, waiting.begun))?,
            }
        }
        Ok(None)
    }

    fn task(
        &mut self,
        record: EventRecord,
        content: Result<Content, ContentAbsent>,
        begun: u64,
    ) -> Result<Option<Box<Task>>, RunError> {
        let due = Due::of(&record, begun);
        if due.is_over() {
            return Ok(None);
        }
        if record.event.is_none() {
            let unknown = "this engine's SDK does not know the event";
            self.answer(due, Judgement::abstain(unknown))?;
            return Ok(None);
        }
        Ok(Some(Box::new(Task { record, content, due })))
    }

    /// Abstains from a question whose file system does not answer.
    fn give_up(&mut self, due: Due) -> Result<(), RunError> {
        self.answer(due, Judgement::abstain(ContentAbsent::Unanswered.to_string()))
    }

    /// The content descriptor of `case`.
    fn take_content(&mut self, case: CaseId) -> Option<OwnedFd> {
        if self.lane.is_full() {
            self.inbox.drop_before(case);
        }
        let file = self.inbox.take(case);
        self.close_strays();
        file
    }

    fn close_strays(&mut self) {
        self.inbox.strays().for_each(|stray| self.lane.close(stray, clock::now()));
    }

    /// Publishes one verdict at once. The ring's reader says whether it sleeps: while it is at work,
    /// verdicts gather and cost no wake-up.
    pub(crate) fn answer(&mut self, due: Due, judgement: Judgement) -> Result<(), RunError> {
        let verdict = VerdictRecord {
            case: due.case,
            verdict: judgement.verdict,
            spent: clock::now().saturating_sub(due.begun),
            detail: judgement.detail,
        };
        let bytes = verdict.to_bytes();
        while !due.is_over() {
            match self.verdicts.push(&bytes) {
                Ok(()) => {
                    self.verdicts.publish_and_wake();
                    return Ok(());
                }
                // Hundreds of verdicts are unread, so the host is held up. It tells nobody when it has
                // read some, hence a look from time to time, and nothing more after the deadline.
                Err(PushError::Full) => std::thread::sleep(Duration::from_micros(100)),
                Err(PushError::Corrupt(corrupt)) => return Err(RunError::VerdictsCorrupt(corrupt)),
                Err(error @ PushError::NoRecord { .. }) => {
                    return Err(RunError::Rings(io::Error::other(error)));
                }
            }
        }
        Ok(())
    }
}
