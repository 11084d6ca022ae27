//! The cost ledger: what became of every question that was put to an engine, and who waited how long.
//!
//! The books of an engine lie with it behind the core's lock. One entry is made per engine when a question
//! ends, from the case as the arbiter closed it, so each question that was put to an engine is in exactly
//! one column. An entry is a few additions to memory that was allocated at the start.
//!
//! What openers wait is told apart by engine: of the time from the asking to the end of a question, an
//! engine is charged what came after the answer of the last other one that was waited for. Two engines that
//! both never answer are both charged.

mod histogram;

use std::collections::BTreeMap;

use outrigger_api::ledger::{Cost, EngineLedger, Waits};
use outrigger_api::{Event, EventSet, FailureReason, Loss, LossCause, Verdict};
use outrigger_decision::arbiter::VoteState;
use outrigger_decision::{Closed, EngineIndex, EngineSet};

pub(crate) use self::histogram::Histogram;

/// What is told as recent: the running slot of time and the one before, ns each.
const SLOT: u64 = 10_000_000_000;

/// One engine's books.
#[derive(Debug)]
pub(crate) struct Books {
    /// One page per event that the engine subscribed to.
    pages: [Option<Box<BookPage>>; Event::ALL.len()],
    /// Notices that were lost, and of which of several events is not known.
    untold: Untold,
}

/// Notices that did not come, by cause; at least so many where nobody counted them.
type Untold = [u64; LossCause::ALL.len()];

/// One engine's books about one event.
#[derive(Debug, Clone, Default)]
struct BookPage {
    asked: u64,
    allows: u64,
    denies: u64,
    abstains: u64,
    misses: u64,
    excused: u64,
    lost: u64,
    moot: u64,
    dropped: u64,
    absent: u64,
    told: u64,
    untold: Untold,
    added: Series,
    answered: Series,
}

/// Times of the running slot, of the one before, and of all before that.
#[derive(Debug, Clone, Default)]
struct Series {
    slot: u64,
    current: Histogram,
    previous: Histogram,
    before: Histogram,
}

/// A question that ended, as far as its engines' books must know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// When its engines were asked, ns.
    pub(crate) asked_at: u64,
    /// The engines to which it was put.
    pub(crate) dispatched: EngineSet,
    /// The engines that were waited for though they were not docked yet.
    pub(crate) coming: EngineSet,
    /// Its file system can keep a reader waiting.
    pub(crate) may_block: bool,
}

/// What is counted of one engine, all events together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) asked: u64,
    pub(crate) allows: u64,
    pub(crate) denies: u64,
    pub(crate) abstains: u64,
    pub(crate) misses: u64,
    /// p50 and p99 of the time to a vote, ns: of the recent ones, or if there are none, of all.
    pub(crate) answered: Option<(u64, u64)>,
}

/// A copy of what an engine's books say, to be worked on without the lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    page: BookPage,
}

impl Ending {
    /// Of a question that was put to nobody and ended when it was read.
    pub(crate) const fn unasked(now: u64) -> Self {
        let nobody = EngineSet::EMPTY;
        Self { asked_at: now, dispatched: nobody, coming: nobody, may_block: false }
    }
}

impl Books {
    /// Empty books about `events`.
    pub(crate) fn new(events: EventSet) -> Self {
        let page = |event: &Event| events.contains(*event).then(Box::default);
        let mut pages = [const { None }; Event::ALL.len()];
        Event::ALL.iter().for_each(|event| pages[event.index()] = page(event));
        Self { pages, untold: Untold::default() }
    }

    /// Enters that the engine was told of `event`.
    pub(crate) fn told(&mut self, event: Event) {
        if let Some(page) = &mut self.pages[event.index()] {
            page.told += 1;
        }
    }

    /// Enters that the engine was not told of something.
    pub(crate) fn untold(&mut self, loss: &Loss) {
        let mut events = loss.events.iter();
        let one = events.next().filter(|_| events.next().is_none());
        let counts = match one.and_then(|event| self.pages[event.index()].as_mut()) {
            Some(page) => &mut page.untold,
            None => &mut self.untold,
        };
        let count = &mut counts[loss.cause.index()];
        *count = count.saturating_add(loss.lost.at_least());
    }

    /// What was not told, and not known of which event.
    pub(crate) fn untold_of_any(&self) -> BTreeMap<String, u64> {
        by_cause(&self.untold)
    }

    /// Enters that a question about `event` was put to the engine.
    pub(crate) fn asked(&mut self, event: Event) {
        if let Some(page) = &mut self.pages[event.index()] {
            page.asked += 1;
        }
    }

    /// What is told of the engine where its state is told.
    pub(crate) fn sums(&self, now: u64) -> Sums {
        let mut sums = Sums::default();
        let (mut recent, mut all) = (Histogram::default(), Histogram::default());
        for page in self.pages.iter().flatten() {
            sums.asked += page.asked;
            sums.allows += page.allows;
            sums.denies += page.denies;
            sums.abstains += page.abstains;
            sums.misses += page.misses;
            page.answered.sum_recent(now, &mut recent);
            page.answered.sum_all(&mut all);
        }
        let times = [recent.times(), all.times()].into_iter().find(|times| times.count > 0);
        sums.answered = times.map(|times| (times.p50_ns, times.p99_ns));
        sums
    }

    /// How long each vote took, of all events, from the beginning.
    pub(crate) fn answered(&self) -> Histogram {
        let mut all = Histogram::default();
        self.pages.iter().flatten().for_each(|page| page.answered.sum_all(&mut all));
        all
    }

    /// A copy of the page about `event`; `None` if the engine did not subscribe to it.
    pub(crate) fn account(&self, event: Event) -> Option<Account> {
        let page = self.pages[event.index()].as_deref()?;
        Some(Account { page: page.clone() })
    }
}

impl Account {
    /// Adds what `other` says.
    pub(crate) fn add(&mut self, other: &Self, now: u64) {
        let (mine, theirs) = (&mut self.page, &other.page);
        mine.asked += theirs.asked;
        mine.allows += theirs.allows;
        mine.denies += theirs.denies;
        mine.abstains += theirs.abstains;
        mine.misses += theirs.misses;
        mine.excused += theirs.excused;
        mine.lost += theirs.lost;
        mine.moot += theirs.moot;
        mine.dropped += theirs.dropped;
        mine.absent += theirs.absent;
        mine.told += theirs.told;
        for (mine, theirs) in mine.untold.iter_mut().zip(theirs.untold) {
            *mine = mine.saturating_add(theirs);
        }
        mine.added.add_series(&theirs.added, now);
        mine.answered.add_series(&theirs.answered, now);
    }

    /// What is told of it.
    pub(crate) fn cost(&self, now: u64) -> Cost {
        let page = &self.page;
        Cost {
            asked: page.asked,
            allows: page.allows,
            denies: page.denies,
            abstains: page.abstains,
            misses: page.misses,
            excused: page.excused,
            lost: page.lost,
            moot: page.moot,
            dropped: page.dropped,
            absent: page.absent,
            told: page.told,
            untold: by_cause(&page.untold),
            added: page.added.waits(now),
            answered: page.answered.waits(now),
        }
    }
}

fn by_cause(untold: &Untold) -> BTreeMap<String, u64> {
    let counted = LossCause::ALL.iter().zip(untold).filter(|(_, count)| **count > 0);
    counted.map(|(cause, count)| (cause.name().to_owned(), *count)).collect()
}

/// Sorts engines by how long openers waited for each alone: lately, then ever; and then by processor time.
pub(crate) fn most_expensive_first(engines: &mut [EngineLedger]) {
    let price = |engine: &EngineLedger| {
        let added = &engine.whole.added;
        (added.recent.sum_ns, added.total.sum_ns, engine.cpu_ns)
    };
    engines.sort_by(|one, other| price(other).cmp(&price(one)).then(one.name.cmp(&other.name)));
}

/// What is recent at `now`, ns up to it: the running slot, and the one before as far as `since` allows.
pub(crate) fn recent_span(now: u64, since: u64) -> u64 {
    let covered = now % SLOT + SLOT;
    covered.min(now.saturating_sub(since))
}

/// Enters the end of a question into the books of everybody who took part.
///
/// `engines` stand at their numbers.
pub(crate) fn enter<E: AsMut<Books>>(closed: &Closed<'_>, ending: &Ending, engines: &mut [E]) {
    let charge = Charge::of(closed, ending);
    for vote in closed.votes() {
        let index = vote.engine;
        let Some(engine) = engines.get_mut(index.get()) else { continue };
        let Some(page) = &mut engine.as_mut().pages[closed.event.index()] else { continue };
        if closed.asked().contains(index) {
            let wait = match vote.state {
                // The file system kept both waiting.
                state if ending.may_block && is_overdue(state) => 0,
                state => charge.to(index, vote.required, state),
            };
            page.added.add(wait, closed.closed);
        }
        if !ending.dispatched.contains(index) {
            let is_there = closed.asked().contains(index) && !ending.coming.contains(index);
            let dropped = is_there && (is_overdue(vote.state) || vote.state == VoteState::Waiting);
            *(if dropped { &mut page.dropped } else { &mut page.absent }) += 1;
            continue;
        }
        match vote.state {
            VoteState::Voted { verdict, at, .. } => {
                match verdict {
                    Verdict::Allow => page.allows += 1,
                    Verdict::Deny => page.denies += 1,
                    Verdict::Abstain => page.abstains += 1,
                }
                page.answered.add(at.saturating_sub(ending.asked_at), closed.closed);
            }
            state if is_overdue(state) && ending.may_block => page.excused += 1,
            state if is_overdue(state) => page.misses += 1,
            VoteState::Missing { .. } => page.lost += 1,
            VoteState::Waiting => page.moot += 1,
        }
    }
}

/// Who kept an opener waiting.
struct Charge {
    asked_at: u64,
    closed: u64,
    /// Whether only those that are required are waited for.
    only_required: bool,
    /// When the last and the last but one of those that were waited for came to their end.
    last: Option<(EngineIndex, u64)>,
    last_but_one: u64,
    /// Whether one of them never came to it: whoever did was not the slowest.
    overdue: bool,
}

impl Charge {
    fn of(closed: &Closed<'_>, ending: &Ending) -> Self {
        let only_required = closed.votes().any(|vote| vote.required);
        let mut charge = Self {
            asked_at: ending.asked_at,
            closed: closed.closed,
            only_required,
            last: None,
            last_but_one: ending.asked_at,
            overdue: false,
        };
        for vote in closed.votes().filter(|vote| vote.required || !only_required) {
            charge.overdue |= is_overdue(vote.state);
            if let Some(at) = end_of(vote.state) {
                match charge.last {
                    Some((_, last)) if at <= last => {
                        charge.last_but_one = charge.last_but_one.max(at);
                    }
                    last => {
                        let second = last.map_or(ending.asked_at, |(_, at)| at);
                        charge.last_but_one = charge.last_but_one.max(second);
                        charge.last = Some((vote.engine, at));
                    }
                }
            }
        }
        charge
    }

    /// What `engine` added to the opener's wait, ns.
    fn to(&self, engine: EngineIndex, required: bool, state: VoteState<'_>) -> u64 {
        let denied = matches!(state, VoteState::Voted { verdict: Verdict::Deny, .. });
        if self.only_required && !required && !denied {
            return 0;
        }
        let until = match end_of(state) {
            Some(_) if self.overdue => return 0,
            Some(at) => at,
            None if is_overdue(state) => self.closed,
            // The question ended without it.
            None => return 0,
        };
        let others = match self.last {
            Some((last, _)) if last == engine => self.last_but_one,
            Some((_, at)) => at,
            None => self.asked_at,
        };
        until.saturating_sub(others.max(self.asked_at))
    }
}

/// Whether an engine was waited for until the deadline.
fn is_overdue(state: VoteState<'_>) -> bool {
    matches!(state, VoteState::Missing { reason: FailureReason::EngineSlow, .. })
}

/// When an engine was not waited for any more; `None` if it was until the question's end, or if the
/// question ended without it.
fn end_of(state: VoteState<'_>) -> Option<u64> {
    match state {
        VoteState::Voted { at, .. } => Some(at),
        VoteState::Missing { at, .. } => (!is_overdue(state)).then_some(at),
        VoteState::Waiting => None,
    }
}

impl Series {
    fn add(&mut self, nanos: u64, now: u64) {
        self.turn(now);
        self.current.add(nanos);
    }

    /// Puts away what is no longer of the running slot, or of the one before it.
    fn turn(&mut self, now: u64) {
        let slot = now / SLOT;
        let slots = slot.saturating_sub(self.slot);
        if slots == 0 {
            return;
        }
        self.slot = slot;
        self.before.merge(&self.previous);
        self.previous.clear();
        if slots == 1 {
            std::mem::swap(&mut self.previous, &mut self.current);
        } else {
            self.before.merge(&self.current);
            self.current.clear();
        }
    }

    fn sum_recent(&self, now: u64, into: &mut Histogram) {
        let slots = (now / SLOT).saturating_sub(self.slot);
        if slots == 0 {
            into.merge(&self.previous);
        }
        if slots <= 1 {
            into.merge(&self.current);
        }
    }

    fn sum_all(&self, into: &mut Histogram) {
        [&self.before, &self.previous, &self.current].into_iter().for_each(|part| into.merge(part));
    }

    fn add_series(&mut self, other: &Self, now: u64) {
        self.turn(now);
        let mut other = other.clone();
        other.turn(now);
        self.current.merge(&other.current);
        self.previous.merge(&other.previous);
        self.before.merge(&other.before);
    }

    fn waits(&self, now: u64) -> Waits {
        let (mut recent, mut all) = (Histogram::default(), Histogram::default());
        self.sum_recent(now, &mut recent);
        self.sum_all(&mut all);
        Waits { total: all.times(), recent: recent.times(), buckets: all.coarse() }
    }
}

#[cfg(test)]
mod tests;
