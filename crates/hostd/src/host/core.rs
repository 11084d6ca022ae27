//! The decision path's state behind one lock: open cases, whose turn it is, the engines' rings.
//!
//! The reader puts questions in, the verdict thread takes votes and deadlines out. Under the lock there
//! is no system call that can wait for anybody: ring writes are memory, content descriptors go by a
//! non-blocking send. Answers are written, files closed and engines woken after it.
//!
//! At most [`WINDOW`] cases are in engines' hands at a time, and of one user only a share of them while
//! others ask too; the rest wait in a queue that is fair between users, so that one who floods waits for
//! himself.

mod empty;
mod ruled;
mod swap;
mod tell;
#[cfg(test)]
pub(crate) mod test_kit;

use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use outrigger_api::record::{ContentAbsent, EVENT_MAX, EventHeader, VerdictRecord, present};
use outrigger_api::{Answer, CaseId, Event, FailureReason, Mode, ProcessKey};
use outrigger_decision::arbiter::{Opened, Rejected, VoteState};
use outrigger_decision::exec_once::Run;
use outrigger_decision::fair::{FairQueue, Pushed};
use outrigger_decision::poison::{Object as PoisonObject, Poison};
use outrigger_decision::policy::{EngineFacts, Policies, participants};
use outrigger_decision::share::Shares;
use outrigger_decision::{Arbiter, Closed, DecidedBy, EngineIndex, EngineSet, Question};
use outrigger_dock::{Doorbell, PushError, Waker};
use outrigger_sensor::identity::{Credentials, Object, Subjects};
use outrigger_sensor::process::borrow_number;
use zerocopy::FromZeros as _;

use super::empty::EmptyContent;
use super::engines::{Engine, Link, Presence};
use super::history::{Decider, EntryVote};
use super::ledger::{self, Ending};
use super::policy::{RuleNames, Ruling};

pub(crate) use self::tell::{Decided, Ear, tell_one};
pub(crate) use super::shadows::Judged;

/// Cases in engines' hands at a time. Enough to keep eight openers and two processors busy; small, since
/// it is what a newcomer waits behind.
const WINDOW: usize = 16;

/// Verdicts that are taken from one engine before the others have their turn. One that means well has hardly ever
/// more to say; one that writes without pause must not keep the lock.
const VERDICTS_MAX: usize = 4 * WINDOW;

/// A question as the reader took it in, before anybody was asked.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) event: Event,
    /// Number of the object's descriptor: what the answer names.
    pub(crate) file: i32,
    /// Number of the subject's pidfd, or -1.
    pub(crate) pidfd: i32,
    pub(crate) group: u8,
    pub(crate) pid: u32,
    /// The subject's key, where an engine looks at it.
    pub(crate) process: Option<ProcessKey>,
    /// The user in whose line it waits.
    pub(crate) user: Option<u32>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) object: Object,
    pub(crate) path: Option<PathBuf>,
    pub(crate) leased: bool,
    /// It held nothing when it was looked at, after the question and the lease, and an Allow may be remembered.
    pub(crate) empty: bool,
    /// What engines are given to read in its place.
    pub(crate) stand_in: Option<OwnedFd>,
    /// Its file system can keep a reader waiting.
    pub(crate) may_block: bool,
    pub(crate) read_at: u64,
    pub(crate) deadline: u64,
    /// What the rules made of it.
    pub(crate) ruling: Ruling,
    /// Per engine that reads content: whether it may read this.
    pub(crate) content: Vec<(EngineIndex, Result<(), ContentAbsent>)>,
}

impl Intake {
    /// In whose line it waits; those of nobody known share one.
    fn line(&self) -> u32 {
        self.user.unwrap_or(u32::MAX)
    }

    /// What an exec question and the open that follows it have in common.
    pub(crate) fn run(&self) -> Run {
        let process = self.process.unwrap_or_else(|| Subjects::passing_key(self.pid));
        Run { process, file: self.object.key, changed: self.object.changed }
    }
}

/// Processors that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A question while it waits.
#[derive(Debug)]
struct Waiting {
    intake: Intake,
    case: CaseId,
    asked: EngineSet,
    dispatched: EngineSet,
    /// Engines of which two processes were asked, since one was replaced meanwhile: the first answer
    /// counts.
    twice: EngineSet,
    /// Whether it counts towards the window.
    in_window: bool,
    /// When its engines were asked, ns; means something only in the window.
    asked_at: u64,
}

impl Waiting {
    /// What the books must know of its end.
    fn ending(&self, engines: &[Engine]) -> Ending {
        let is_coming = |index: &EngineIndex| {
            engines.get(index.get()).is_some_and(|engine| matches!(engine.state, Presence::Coming))
        };
        Ending {
            asked_at: self.asked_at,
            dispatched: self.dispatched,
            coming: self.asked.difference(self.dispatched).iter().filter(is_coming).collect(),
            may_block: self.intake.may_block,
        }
    }
}

/// A question that has ended, for the caller to answer, close and record.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) intake: Intake,
    pub(crate) case: CaseId,
    pub(crate) answer: Answer,
    pub(crate) decided_by: Decider,
    pub(crate) would_deny: bool,
    pub(crate) cacheable: bool,
    pub(crate) epoch: u64,
    pub(crate) asked: EngineSet,
    pub(crate) at: u64,
    pub(crate) votes: Vec<EntryVote>,
}

/// What happened on the decision path that the control thread must hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The engine did something that counts against it.
    Fault { engine: EngineIndex, reason: FailureReason, detail: String },
    /// The engine let so many questions pass their deadline.
    Misses { engine: EngineIndex, count: u32 },
    /// The process that was replaced has nothing in hand any more, or cannot be understood.
    FormerDone { engine: EngineIndex },
    /// What the engine's version in shadow said, beside what the engine said.
    Judged { engine: EngineIndex, batch: Vec<Judged> },
    /// The engine's version in shadow did something for which it is ended.
    ShadowFault { engine: EngineIndex, reason: FailureReason, detail: String },
}

/// The state behind the lock.
#[derive(Debug)]
pub(crate) struct Core {
    arbiter: Arbiter,
    table: Table,
    turns: FairQueue<(u32, CaseId)>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) poison: Poison,
    pub(crate) epoch: u64,
    policies: Policies,
    record: Box<[u8]>,
    wake: Vec<Waker>,
    news: Vec<News>,
    /// An engine is to be told of a loss.
    owing: bool,
    /// What the rules are called that engines are told of.
    pub(crate) rule_names: RuleNames,
}

/// The questions that wait, by their token.
#[derive(Debug)]
struct Table {
    waiting: Vec<Option<Waiting>>,
    free: Vec<u32>,
    /// Whose cases are in engines' hands.
    shares: Shares,
    /// Per engine: questions that it let pass their deadline, since the control thread was told.
    missed: Vec<u32>,
    /// What engines said of empty content.
    empty: EmptyContent,
}

impl Core {
    /// A core for `engines`, with room for `capacity` questions.
    pub(crate) fn new(engines: Vec<Engine>, policies: Policies, capacity: usize) -> Self {
        let table = Table {
            waiting: (0..capacity).map(|_| None).collect(),
            free: (0..u32::try_from(capacity).unwrap_or(u32::MAX)).rev().collect(),
            shares: Shares::new(WINDOW, processors().div_ceil(2)),
            missed: vec![0; engines.len()],
            empty: EmptyContent::default(),
        };
        Self {
            arbiter: Arbiter::with_capacity(capacity, engines.len()),
            table,
            turns: FairQueue::with_capacity(capacity),
            poison: Poison::default(),
            engines,
            epoch: 1,
            policies,
            record: vec![0; EVENT_MAX].into_boxed_slice(),
            wake: Vec::new(),
            news: Vec::new(),
            owing: false,
            rule_names: RuleNames::default(),
        }
    }

    /// Questions that wait now.
    pub(crate) fn in_flight(&self) -> usize {
        self.arbiter.waiting()
    }

    /// Whether questions wait, all of one user: what is done in their favour is to nobody else's cost.
    pub(crate) fn has_crowd_of_one_user(&self, now: u64) -> bool {
        self.in_flight() > 0 && self.table.shares.is_one_user(now)
    }

    /// When the next case ends by fallback.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.arbiter.next_deadline()
    }

    /// The engines to wake, after the lock is given back.
    pub(crate) fn take_wakes(&mut self, into: &mut Vec<Waker>) {
        into.append(&mut self.wake);
    }

    /// What the control thread must hear of.
    pub(crate) fn take_news(&mut self, into: &mut Vec<News>) {
        for (place, count) in self.table.missed.iter_mut().enumerate() {
            let count = std::mem::take(count);
            if let Some(engine) = EngineIndex::new(place).filter(|_| count > 0) {
                self.news.push(News::Misses { engine, count });
            }
        }
        into.append(&mut self.news);
    }

    /// Opens a case and asks whoever must be asked.
    pub(crate) fn put(&mut self, mut intake: Intake, now: u64, ended: &mut Vec<Finished>) {
        let policy = *self.policies.of(intake.event);
        if let Some(answer) = intake.ruling.answer() {
            return self.answer_by_rule(intake, answer, &policy, now, ended);
        }
        let poisoned = self.poison.engines(&poison_object(&intake.object));
        let part = participants(intake.event, &policy, self.facts(), poisoned);
        if intake.empty && self.may_allow_empty(&mut intake, &policy, &part) {
            return self.allow_empty(intake, &policy, now, ended);
        }
        let (asked, missing) = (part.asked, part.missing);
        let token = self.table.free.pop();
        let question = Question {
            event: intake.event,
            now,
            deadline: intake.deadline,
            asked,
            required: part.required,
            monitored: part.monitored,
            mode: policy.mode,
            fallback: policy.fallback,
            epoch: self.epoch,
            token: token.unwrap_or(u32::MAX),
            missing: missing.as_slice(),
        };
        let Some(token) = token else {
            let closed = self.arbiter.refuse(&question, FailureReason::QueueFull);
            self.table.empty.ended_of(&intake, &closed);
            ended.push(finish(intake, &closed, None));
            return;
        };
        match self.arbiter.open(&question) {
            Ok(Opened::Waiting(case)) => {
                let user = intake.line();
                self.table.shares.note(user, now);
                self.table.waiting[token as usize] = Some(Waiting {
                    intake,
                    case,
                    asked,
                    dispatched: EngineSet::EMPTY,
                    twice: EngineSet::EMPTY,
                    in_window: false,
                    asked_at: 0,
                });
                if self.table.shares.may_take(user, now) && !self.turns.waits(user) {
                    self.dispatch(token, now);
                } else if let Pushed::Displaced { item: (_, case), .. } =
                    self.turns.push(user, (token, case))
                {
                    self.end(case, FailureReason::QueueFull, now, ended);
                }
            }
            Ok(Opened::Closed(closed)) => {
                self.table.free.push(token);
                let ending = Ending::unasked(now);
                ledger::enter(&closed, &ending, &mut self.engines);
                self.table.empty.ended_of(&intake, &closed);
                ended.push(finish(intake, &closed, None));
            }
            Err(_) => {
                self.table.free.push(token);
                let closed = self.arbiter.refuse(&question, FailureReason::QueueFull);
                self.table.empty.ended_of(&intake, &closed);
                ended.push(finish(intake, &closed, None));
            }
        }
    }

    /// Ends one open case by its fallback.
    fn end(&mut self, case: CaseId, reason: FailureReason, now: u64, ended: &mut Vec<Finished>) {
        let Self { arbiter, table, engines, .. } = self;
        if let Some(closed) = arbiter.finish(case, reason, now) {
            table.conclude(engines, &closed, ended);
        }
    }

    /// Ends every open case by its fallback: nobody will answer it.
    pub(crate) fn end_all(&mut self, reason: FailureReason, now: u64, ended: &mut Vec<Finished>) {
        let open: Vec<CaseId> = self.table.waiting.iter().flatten().map(|w| w.case).collect();
        open.into_iter().for_each(|case| self.end(case, reason, now, ended));
    }

    /// The engines that are asked about an event.
    pub(crate) fn subscribed(&self, event: Event) -> EngineSet {
        let asked = |(place, facts): (usize, EngineFacts)| {
            EngineIndex::new(place).filter(|_| facts.events.contains(event))
        };
        self.facts().enumerate().filter_map(asked).collect()
    }

    fn facts(&self) -> impl Iterator<Item = EngineFacts> {
        self.engines.iter().map(Engine::facts)
    }

    /// What the verdict thread sleeps on.
    pub(crate) fn doorbells(&mut self) -> Vec<Doorbell> {
        let links = self.engines.iter_mut().flat_map(Engine::links);
        links.map(|link| link.verdicts.doorbell()).collect()
    }

    /// An engine that was away is on its way: its questions are worth waiting for.
    pub(crate) fn expect(&mut self, index: EngineIndex) {
        if let Some(engine) = self.engines.get_mut(index.get())
            && matches!(engine.state, Presence::Away(_))
        {
            engine.state = Presence::Coming;
        }
    }

    /// Hands one waiting question to its engines.
    fn dispatch(&mut self, token: u32, now: u64) {
        let Table { waiting, shares, .. } = &mut self.table;
        let Some(waiting) = waiting[token as usize].as_mut() else { return };
        if !waiting.in_window {
            waiting.in_window = true;
            waiting.asked_at = now;
            shares.take(waiting.intake.line());
        }
        for index in waiting.asked.difference(waiting.dispatched).iter() {
            let Some(engine) = self.engines.get_mut(index.get()) else { continue };
            let fields = engine.fields;
            let Presence::Docked(link) = &mut engine.state else { continue };
            if !link.is_sound() {
                continue;
            }
            match write(&waiting.intake, waiting.case, index, fields, link, &mut self.record) {
                Ok(()) => {
                    waiting.dispatched = waiting.dispatched.with(index);
                    let object = poison_object(&waiting.intake.object);
                    match waiting.twice.contains(index) {
                        true => engine.hand_again(waiting.case, object),
                        false => engine.hand(waiting.case, object, waiting.intake.event),
                    }
                }
                // The engine takes nothing out of its ring: the deadline will show it as slow.
                Err(PushError::Full) => {}
                Err(error @ (PushError::Corrupt(_) | PushError::NoRecord { .. })) => {
                    link.give_up();
                    self.news.push(News::Fault {
                        engine: index,
                        reason: FailureReason::RingCorrupt,
                        detail: error.to_string(),
                    })
                }
            }
        }
    }

    /// Publishes what was written, and notes who must be woken.
    pub(crate) fn publish(&mut self) {
        for engine in &mut self.engines {
            if let Some(link) = engine.link()
                && std::mem::take(&mut link.unpublished)
                && link.events.publish()
            {
                self.wake.push(link.events.waker());
                engine.woken = engine.woken.saturating_add(1);
            }
        }
    }

    /// Takes every verdict that has come, ends what is over its deadline, and gives the next their turn.
    pub(crate) fn collect(&mut self, now: u64, ended: &mut Vec<Finished>) {
        for place in 0..self.engines.len() {
            self.collect_from(place, now, ended);
            self.collect_from_former(place, now, ended);
        }
        let Self { arbiter, table, engines, .. } = self;
        arbiter.expire(now, &mut |closed| table.conclude(engines, &closed, ended));
        self.next_turns(now);
        if self.owing {
            self.settle(now);
        }
        self.publish();
    }

    /// Whether any engine has said something that was not taken yet.
    pub(crate) fn has_verdicts(&mut self) -> bool {
        let mut links = self.engines.iter_mut().flat_map(Engine::links);
        links.any(|link| link.is_sound() && !link.verdicts.is_empty())
    }

    fn collect_from(&mut self, place: usize, now: u64, ended: &mut Vec<Finished>) {
        let Some(index) = EngineIndex::new(place) else { return };
        for _ in 0..VERDICTS_MAX {
            let Some(link) = self.engines[place].link().filter(|link| link.is_sound()) else {
                return;
            };
            let record = match link.verdicts.pop() {
                Ok(Some(bytes)) => VerdictRecord::parse(&bytes),
                Ok(None) => return,
                Err(error) => {
                    link.give_up();
                    let detail = error.to_string();
                    let reason = FailureReason::RingCorrupt;
                    self.news.push(News::Fault { engine: index, reason, detail });
                    return;
                }
            };
            let vote = match record {
                Ok(vote) => vote,
                Err(error) => {
                    let detail = error.to_string();
                    let reason = FailureReason::Garbage;
                    self.news.push(News::Fault { engine: index, reason, detail });
                    return;
                }
            };
            let Self { arbiter, table, engines, news, .. } = self;
            engines[place].unanswered = 0;
            let again = engines[place].take_back(vote.case, |case| table.is_open(case));
            match arbiter.vote(index, vote.case, vote.verdict, vote.detail, now) {
                Ok(Some(closed)) => table.conclude(engines, &closed, ended),
                Ok(None) => {}
                // The process before it was faster.
                Err(Rejected::Double) if again => {}
                Err(rejected) => {
                    if let Some(reason) = rejected.reason() {
                        let detail = format!("{:?}: {rejected}", vote.case);
                        news.push(News::Fault { engine: index, reason, detail });
                    }
                }
            }
        }
    }

    fn next_turns(&mut self, now: u64) {
        loop {
            let shares = &self.table.shares;
            let next = self.turns.pop_for(|user| shares.may_take(user, now));
            let Some((_, (token, case))) = next else { return };
            let current =
                self.table.waiting[token as usize].as_ref().is_some_and(|w| w.case == case);
            if current {
                self.dispatch(token, now);
            }
        }
    }

    /// An engine takes questions from now on, those that wait for it included.
    pub(crate) fn dock(&mut self, index: EngineIndex, link: Link, now: u64) {
        let Some(engine) = self.engines.get_mut(index.get()) else { return };
        engine.state = Presence::Docked(link);
        let waiting: Vec<u32> = (0..)
            .zip(&self.table.waiting)
            .filter(|(_, slot)| {
                slot.as_ref().is_some_and(|w| w.in_window && w.asked.contains(index))
            })
            .map(|(token, _)| token)
            .collect();
        waiting.into_iter().for_each(|token| self.dispatch(token, now));
        self.publish();
    }

    /// An engine is gone: its questions end at once by the merge rule. Returns what it most likely
    /// had in hand.
    pub(crate) fn lose(
        &mut self,
        index: EngineIndex,
        reason: FailureReason,
        presence: Presence,
        now: u64,
        ended: &mut Vec<Finished>,
    ) -> Option<PoisonObject> {
        let engine = self.engines.get_mut(index.get())?;
        let was_docked = matches!(engine.state, Presence::Docked(_));
        let in_hand = engine.drop_hands();
        let stays_away = matches!(presence, Presence::Away(_));
        engine.state = presence;
        let Self { arbiter, table, engines, .. } = self;
        if was_docked || stays_away {
            arbiter.lose_engine(index, reason, now, &mut |closed| {
                table.conclude(engines, &closed, ended);
            });
        }
        self.next_turns(now);
        self.publish();
        in_hand
    }

    /// Whether an answer for this event may be cached by content: every engine that is asked about it
    /// looks at the content alone and is enforced.
    pub(crate) fn may_cache(&self, event: Event) -> bool {
        let policy = self.policies.of(event);
        let part = participants(event, policy, self.facts(), EngineSet::EMPTY);
        policy.mode == Mode::Enforce
            && part.by_content
            && part.monitored.is_empty()
            && !self.subscribed(event).is_empty()
    }
}

fn poison_object(object: &Object) -> PoisonObject {
    PoisonObject { file: object.key, changed: object.changed, size: object.size }
}

impl Table {
    /// Whether the case with this number still waits.
    fn is_open(&self, case: CaseId) -> bool {
        self.waiting.iter().flatten().any(|waiting| waiting.case == case)
    }

    /// Takes an ended case out of the table.
    fn conclude(&mut self, engines: &mut [Engine], closed: &Closed<'_>, ended: &mut Vec<Finished>) {
        let Some(slot) = self.waiting.get_mut(closed.token as usize) else { return };
        let Some(done) = slot.take() else { return };
        self.free.push(closed.token);
        if done.in_window {
            self.shares.give_back(done.intake.line());
        }
        if done.in_window {
            ledger::enter(closed, &done.ending(engines), engines);
        }
        self.empty.ended_of(&done.intake, closed);
        let mut absent = None;
        for index in closed.slow().iter() {
            let engine = &mut engines[index.get()];
            if !done.dispatched.contains(index) {
                // It was waited for and did not come; or its ring is full, which is its own doing.
                if matches!(engine.state, Presence::Coming) {
                    absent = Some(FailureReason::NotDocked);
                }
            } else if !done.intake.may_block && !done.twice.contains(index) {
                // One that was replaced meanwhile got it late. A file system that keeps its readers waiting would not be the engine's fault.
                self.missed[index.get()] = self.missed[index.get()].saturating_add(1);
                engine.unanswered = engine.unanswered.saturating_add(1);
            }
        }
        ended.push(finish(done.intake, closed, absent));
    }
}

/// What the caller needs of an ended case. `absent` is why the engines that were waited for did not
/// vote, where that is known better than "slow".
fn finish(intake: Intake, closed: &Closed<'_>, absent: Option<FailureReason>) -> Finished {
    let better = |reason: FailureReason| match reason {
        FailureReason::EngineSlow => absent.unwrap_or(reason),
        _ => reason,
    };
    let decided_by = match closed.decided_by {
        DecidedBy::Fallback(reason) => DecidedBy::Fallback(better(reason)),
        other => other,
    };
    let votes = closed
        .votes()
        .map(|vote| {
            let mut entry = EntryVote {
                engine: vote.engine,
                required: vote.required,
                verdict: None,
                missing: None,
                at: None,
                detail: None,
            };
            match vote.state {
                VoteState::Waiting => {}
                VoteState::Voted { verdict, at, detail } => {
                    entry.verdict = Some(verdict);
                    entry.at = Some(at);
                    entry.detail = (!detail.as_str().is_empty()).then(|| Box::new(*detail));
                }
                VoteState::Missing { reason, at } => {
                    entry.missing = Some(better(reason));
                    entry.at = Some(at);
                }
            }
            entry
        })
        .collect();
    Finished {
        case: closed.case,
        answer: closed.answer,
        decided_by: Decider::Merge(decided_by),
        would_deny: closed.would_deny,
        cacheable: closed.cacheable && intake.leased,
        epoch: closed.epoch,
        asked: closed.asked(),
        at: closed.closed,
        votes,
        intake,
    }
}

/// Writes one record into an engine's ring, its content descriptor first.
pub(crate) fn write(
    intake: &Intake,
    case: CaseId,
    index: EngineIndex,
    fields: outrigger_api::settings::Fields,
    link: &mut Link,
    record: &mut [u8],
) -> Result<(), PushError> {
    let mut header = EventHeader::new_zeroed();
    let mut bits = present::FILE | present::PID;
    if intake.may_block {
        bits |= present::MAY_BLOCK;
    }
    header.event = intake.event.number().into();
    header.case = case.get().into();
    header.host_time = intake.read_at.into();
    header.deadline = intake.deadline.into();
    if let Some(process) = intake.process {
        header.process = process.0;
        bits |= present::PROCESS;
    }
    header.file = intake.object.key.0;
    header.pid = intake.pid.into();
    if let Some(credentials) = intake.credentials.filter(|_| fields.credentials) {
        header.uid = credentials.uid.into();
        header.gid = credentials.gid.into();
        bits |= present::CREDENTIALS;
    }
    if fields.attributes || fields_need_size(intake) {
        header.size = intake.object.size.into();
        header.changed = intake.object.changed.into();
        bits |= present::ATTRIBUTES;
    }
    let granted =
        intake.content.iter().find(|(engine, _)| *engine == index).map(|(_, grant)| *grant);
    match granted.unwrap_or(Err(ContentAbsent::NotGranted)).and_then(|()| {
        let socket = link.content.as_ref().ok_or(ContentAbsent::NotGranted)?;
        let file = intake.stand_in.as_ref().map_or(intake.file, AsRawFd::as_raw_fd);
        send_content(socket.as_fd(), case, file)
    }) {
        Ok(()) => bits |= present::CONTENT,
        Err(absent) => header.content_absent = absent as u8,
    }
    header.present = bits.into();
    let path = intake.path.as_ref().filter(|_| fields.path);
    let path = path.map(|path| std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    link.events.ask(&mut header, path, record)?;
    link.unpublished = true;
    Ok(())
}

/// An engine that gets content gets the size as well.
fn fields_need_size(intake: &Intake) -> bool {
    !intake.content.is_empty()
}

fn send_content(socket: BorrowedFd<'_>, case: CaseId, file: i32) -> Result<(), ContentAbsent> {
    let file = borrow_number(file).ok_or(ContentAbsent::NotRegular)?;
    outrigger_dock::content::send(socket, case, file).map_err(|_| ContentAbsent::Backlog)
}
