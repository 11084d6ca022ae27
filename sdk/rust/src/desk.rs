//! The judging thread's work: questions off the ring, verdicts onto it, the host's orders in between.
//!
//! Somebody waits for a question, and nobody for a notice. So the ring is always read to its end, notices
//! are put aside, and one of them is handled when no question is left. What is put aside is bounded by the
//! host: it tells no more than a share of the ring until it hears that some was handled.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use outrigger_api::CaseId;
use outrigger_api::frame::encode_to_host;
use outrigger_api::frame::v1::{ContentLoaded, Docked, Heartbeat, Log, to_host::Message};
use outrigger_api::record::notice::{GapRecord, NoticeRecord, RingRecord};
use outrigger_api::record::{EventRecord, VerdictRecord};
use outrigger_dock::{Doorbell, EventReader, PushError, VerdictWriter, control, sleep};

use crate::clock;
use crate::content::{Content, ContentAbsent};
use crate::engine::{Engine, Judgement};
use crate::inbox::Inbox;
use crate::lane::{Lane, Out};
use crate::listener::Order;
use crate::loading::Loading;
use crate::notice::{Notice, Pressure};
use crate::question::Question;
use crate::run::{Ended, RunError};

/// Longest text of one message, in bytes; the host cuts at the same place.
const TEXT_MAX: usize = 1024;

/// What the judging thread works with.
#[derive(Debug)]
pub(crate) struct Desk {
    events: EventReader,
    verdicts: VerdictWriter,
    inbox: Inbox,
    lane: Lane,
    /// Notices put aside, in their order, each with the length of its record.
    aside: VecDeque<(Aside, usize)>,
    orders: Receiver<Order>,
    control: Arc<OwnedFd>,
    bell: Doorbell,
}

/// What waits until no question does.
#[derive(Debug)]
enum Aside {
    Notice(Box<NoticeRecord>),
    Gap(GapRecord),
}

impl Desk {
    pub(crate) fn new(
        events: EventReader,
        verdicts: VerdictWriter,
        inbox: Inbox,
        orders: Receiver<Order>,
        control: Arc<OwnedFd>,
    ) -> Self {
        let bell = events.doorbell();
        let lane = Lane::new(bell.clone());
        Self { events, verdicts, inbox, lane, aside: VecDeque::new(), orders, control, bell }
    }

    /// What is rung for the judging thread.
    pub(crate) fn bell(&self) -> Doorbell {
        self.bell.clone()
    }

    /// Says that the engine is docked, and judges until there is an end.
    pub(crate) fn serve<E: Engine>(
        mut self,
        engine: &mut E,
        mut loading: Loading<'_, E>,
        content: String,
    ) -> Result<Ended, RunError> {
        if !self.report(Message::Docked(Docked { content: cut(content) }))? {
            return Ok(Ended::HostGone);
        }
        let mut record = Vec::new();
        loop {
            if let Some(ended) = self.turn(engine, &mut loading)? {
                return Ok(ended);
            }
            if let Some(bytes) = self.events.pop(&mut record).map_err(RunError::EventsCorrupt)? {
                let len = bytes.len();
                // A record of a version that this SDK does not read names no case to it.
                match RingRecord::parse(bytes) {
                    Ok(RingRecord::Question(record)) => self.handle(engine, record)?,
                    Ok(RingRecord::Notice(notice)) => {
                        self.aside.push_back((Aside::Notice(Box::new(notice)), len));
                    }
                    Ok(RingRecord::Gap(gap)) => self.aside.push_back((Aside::Gap(gap), len)),
                    Ok(RingRecord::Pressure(pressure)) => {
                        engine.pressure(&Pressure::new(&pressure));
                        self.events.handled(len);
                    }
                    Err(_) => {}
                }
                continue;
            }
            if let Some((aside, len)) = self.aside.pop_front() {
                tell(engine, &aside);
                self.events.handled(len);
                continue;
            }
            let armed = self.bell.arm();
            if self.events.is_empty() {
                if let Some(ended) = self.turn(engine, &mut loading)? {
                    return Ok(ended);
                }
                let until = self.lane.wake_at();
                sleep(&[(self.bell.clone(), armed)], until).map_err(RunError::Rings)?;
            }
            self.bell.disarm();
        }
    }

    /// Takes one event and its content, and has it judged, at once or when its content is there.
    fn handle(&mut self, engine: &mut impl Engine, record: EventRecord) -> Result<(), RunError> {
        if record.may_block && record.content.is_ok() {
            return self.handle_by_lane(engine, record);
        }
        // Taken even if nobody will read it: in the socket it would hold up the next ones.
        let content = match record.content {
            Ok(()) => self.take(record.case).ok_or(ContentAbsent::Lost),
            Err(absent) => Err(absent.into()),
        };
        let content = content.map(|file| Content::new(file, record.deadline));
        self.judge(engine, &record, content, clock::now())
    }

    /// As [`Self::handle`], where reading can wait for a file system: neither read nor close it here.
    fn handle_by_lane(
        &mut self,
        engine: &mut impl Engine,
        record: EventRecord,
    ) -> Result<(), RunError> {
        let now = clock::now();
        if !self.lane.admits(now) {
            self.inbox.skip(record.case);
            self.close_strays();
            return self.give_up(&record, now);
        }
        match self.take(record.case) {
            Some(file) if clock::passed(record.deadline) => self.lane.close(file, now),
            Some(file) => self.lane.read(record, file, now),
            None => return self.judge(engine, &record, Err(ContentAbsent::Lost), now),
        }
        Ok(())
    }

    /// Has those questions judged that the lane is done with.
    fn follow_lane(&mut self, engine: &mut impl Engine) -> Result<(), RunError> {
        while !self.lane.is_idle()
            && let Some(out) = self.lane.next(clock::now())
        {
            match out {
                Out::Back(waiting, read) => {
                    let content = read.map(|read| Content::ahead(read, waiting.record.deadline));
                    self.judge(engine, &waiting.record, content, waiting.begun)?;
                }
                Out::GivenUp(waiting) => self.give_up(&waiting.record, waiting.begun)?,
            }
        }
        Ok(())
    }

    /// Abstains from a question whose file system does not answer.
    fn give_up(&mut self, record: &EventRecord, begun: u64) -> Result<(), RunError> {
        let absent = ContentAbsent::Unanswered;
        self.answer(record, Judgement::abstain(absent.to_string()), begun)
    }

    /// The content descriptor of `case`.
    fn take(&mut self, case: CaseId) -> Option<OwnedFd> {
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

    /// Has one event judged and answers it.
    fn judge(
        &mut self,
        engine: &mut impl Engine,
        record: &EventRecord,
        content: Result<Content, ContentAbsent>,
        begun: u64,
    ) -> Result<(), RunError> {
        if clock::passed(record.deadline) {
            return Ok(());
        }
        let Some(event) = record.event else {
            let unknown = "this engine's SDK does not know the event";
            return self.answer(record, Judgement::abstain(unknown), begun);
        };
        let question = Question::new(event, record, content);
        let judgement = engine.judge(&question);
        self.answer(record, judgement, begun)
    }

    /// Publishes one verdict at once. The ring's reader says whether it sleeps: while it is at work,
    /// verdicts gather and cost no wake-up.
    fn answer(
        &mut self,
        record: &EventRecord,
        judgement: Judgement,
        begun: u64,
    ) -> Result<(), RunError> {
        let verdict = VerdictRecord {
            case: record.case,
            verdict: judgement.verdict,
            spent: clock::now().saturating_sub(begun),
            detail: judgement.detail,
        };
        let bytes = verdict.to_bytes();
        while !clock::passed(record.deadline) {
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

    /// What comes between two questions; how it ended, if it did.
    fn turn<E: Engine>(
        &mut self,
        engine: &mut E,
        loading: &mut Loading<'_, E>,
    ) -> Result<Option<Ended>, RunError> {
        if let Some(ended) = self.follow_orders(loading)? {
            return Ok(Some(ended));
        }
        while let Some(told) = loading.next(engine) {
            let loaded = match told {
                Ok(content) => ContentLoaded { content: cut(content), refused: String::new() },
                Err(why) => ContentLoaded { content: String::new(), refused: cut(why) },
            };
            if !self.report(Message::ContentLoaded(loaded))? {
                return Ok(Some(Ended::HostGone));
            }
        }
        self.follow_lane(engine)?;
        Ok(None)
    }

    /// Does what the host asked for since the last look; how it ended, if it did.
    fn follow_orders<E: Engine>(
        &mut self,
        loading: &mut Loading<'_, E>,
    ) -> Result<Option<Ended>, RunError> {
        loop {
            let message = match self.orders.try_recv() {
                Err(TryRecvError::Empty) => return Ok(None),
                Ok(Order::Stop) => return Ok(Some(Ended::Stopped)),
                // The listener ends only after it has said why.
                Ok(Order::Leave) | Err(TryRecvError::Disconnected) => {
                    return Ok(Some(Ended::HostGone));
                }
                Ok(Order::Fail(error)) => return Err(error),
                Ok(Order::Answer { nonce }) => Message::Heartbeat(Heartbeat { nonce }),
                Ok(Order::Reload) => {
                    loading.order();
                    continue;
                }
            };
            if !self.report(message)? {
                return Ok(Some(Ended::HostGone));
            }
        }
    }

    fn report(&self, message: Message) -> Result<bool, RunError> {
        report(self.control.as_fd(), message)
    }
}

/// Gives the engine what was put aside. An event that this SDK does not know is none that it asked for.
fn tell(engine: &mut impl Engine, aside: &Aside) {
    match aside {
        Aside::Gap(gap) => engine.gap(&gap.loss),
        Aside::Notice(notice) => {
            if let Some(event) = notice.event {
                engine.notice(&Notice::new(event, notice));
            }
        }
    }
}

/// Sends the host a message; whether it was still there.
pub(crate) fn report(control: BorrowedFd<'_>, message: Message) -> Result<bool, RunError> {
    match control::send(control, &encode_to_host(message), &[]) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(RunError::Control(error)),
    }
}

/// An error for the host's journal.
pub(crate) fn error_line(text: &str) -> Message {
    Message::Log(Log { level: 1, text: cut(text.to_owned()) })
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}
