//! What is entered for questions that a real arbiter closed.

use outrigger_api::record::Detail;
use outrigger_api::verdict::Fallback;
use outrigger_api::{CaseId, Mode};
use outrigger_decision::arbiter::Opened;
use outrigger_decision::{Arbiter, Question};

use super::*;

const EVENT: Event = Event::FileOpen;
const MS: u64 = 1_000_000;
/// When the questions of these tests are asked.
const START: u64 = 1_000 * SLOT;

impl AsMut<Self> for Books {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

fn engine(place: usize) -> EngineIndex {
    EngineIndex::new(place).expect("a place")
}

/// Engines of which the first `required` are required, a question that was put to all, and their books.
struct Desk {
    arbiter: Arbiter,
    case: CaseId,
    ending: Ending,
    books: Vec<Books>,
}

impl Desk {
    fn ask(engines: usize, required: usize) -> Self {
        let set = |count: usize| (0..count).map(engine).collect::<EngineSet>();
        let mut arbiter = Arbiter::with_capacity(1, engines);
        let question = Question {
            event: EVENT,
            now: START,
            deadline: START + 50 * MS,
            asked: set(engines),
            required: set(required),
            monitored: EngineSet::EMPTY,
            missing: &[],
            fallback: Fallback::Open,
            mode: Mode::Enforce,
            epoch: 1,
            token: 0,
        };
        let Ok(Opened::Waiting(case)) = arbiter.open(&question) else {
            panic!("the question waits")
        };
        let mut books: Vec<Books> =
            (0..engines).map(|_| Books::new(EventSet::EMPTY.with(EVENT))).collect();
        books.iter_mut().for_each(|books| books.asked(EVENT));
        let coming = EngineSet::EMPTY;
        let ending = Ending { asked_at: START, dispatched: set(engines), coming, may_block: false };
        Self { arbiter, case, ending, books }
    }

    fn vote(&mut self, place: usize, verdict: Verdict, after: u64) {
        let Self { arbiter, case, ending, books } = self;
        let vote = arbiter.vote(engine(place), *case, verdict, Detail::default(), START + after);
        if let Some(closed) = vote.expect("it counts") {
            enter(&closed, ending, books);
        }
    }

    fn lose(&mut self, place: usize, after: u64) {
        let Self { arbiter, ending, books, .. } = self;
        let reason = FailureReason::EngineCrashed;
        arbiter.lose_engine(engine(place), reason, START + after, &mut |closed| {
            enter(&closed, ending, books);
        });
    }

    fn expire(&mut self) {
        let Self { arbiter, ending, books, .. } = self;
        arbiter.expire(START + 50 * MS, &mut |closed| enter(&closed, ending, books));
    }

    fn cost(&self, place: usize) -> Cost {
        self.books[place].account(EVENT).expect("its page").cost(START + 50 * MS)
    }

    fn added(&self) -> Vec<u64> {
        let added = |place| self.cost(place).added.total;
        (0..self.books.len())
            .map(|place| {
                assert_eq!(added(place).count, 1);
                added(place).sum_ns
            })
            .collect()
    }
}

fn columns(cost: &Cost) -> u64 {
    cost.allows + cost.denies + cost.abstains + cost.misses + cost.excused + cost.lost + cost.moot
}

#[test]
fn the_slower_is_charged_what_came_after_the_faster() {
    let mut desk = Desk::ask(2, 2);

    desk.vote(0, Verdict::Allow, MS);
    desk.vote(1, Verdict::Allow, 20 * MS);

    assert_eq!(desk.added(), [0, 19 * MS]);
    assert_eq!(desk.cost(0).answered.total.sum_ns, MS);
    assert_eq!(desk.cost(1).answered.total.sum_ns, 20 * MS);
}

#[test]
fn an_engine_alone_is_charged_all() {
    let mut desk = Desk::ask(1, 1);

    desk.vote(0, Verdict::Deny, 3 * MS);

    assert_eq!(desk.added(), [3 * MS]);
    assert_eq!((desk.cost(0).denies, columns(&desk.cost(0))), (1, 1));
}

#[test]
fn who_never_answers_is_charged_up_to_the_deadline_each() {
    let mut desk = Desk::ask(3, 3);

    desk.vote(0, Verdict::Allow, 10 * MS);
    desk.expire();

    assert_eq!(desk.added(), [0, 40 * MS, 40 * MS]);
    assert_eq!((desk.cost(1).misses, desk.cost(1).answered.total.count), (1, 0));
}

#[test]
fn a_denial_makes_the_others_moot_and_charges_the_one_that_denied() {
    let mut desk = Desk::ask(2, 2);

    desk.vote(1, Verdict::Deny, 2 * MS);

    assert_eq!(desk.added(), [0, 2 * MS]);
    assert_eq!((desk.cost(0).moot, desk.cost(1).denies), (1, 1));
}

#[test]
fn nobody_waits_for_an_engine_that_is_not_required_where_another_is() {
    let mut desk = Desk::ask(2, 1);

    desk.vote(1, Verdict::Allow, 2 * MS);
    desk.vote(0, Verdict::Allow, 5 * MS);

    assert_eq!(desk.added(), [5 * MS, 0]);
}

#[test]
fn an_engine_that_dies_is_charged_until_it_was_lost() {
    let mut desk = Desk::ask(2, 2);

    desk.vote(0, Verdict::Allow, MS);
    desk.lose(1, 8 * MS);

    assert_eq!(desk.added(), [0, 7 * MS]);
    assert_eq!((desk.cost(1).lost, columns(&desk.cost(1))), (1, 1));
}

#[test]
fn a_file_system_that_hangs_is_not_the_engines_miss() {
    let mut desk = Desk::ask(1, 1);
    desk.ending.may_block = true;

    desk.expire();

    assert_eq!((desk.cost(0).excused, desk.cost(0).misses), (1, 0));
    assert_eq!(desk.added(), [0]);
}

#[test]
fn an_engine_with_a_full_ring_drops_and_one_that_is_coming_is_absent() {
    let mut desk = Desk::ask(2, 2);
    desk.ending.dispatched = EngineSet::EMPTY;
    desk.ending.coming = EngineSet::EMPTY.with(engine(1));

    desk.expire();

    assert_eq!((desk.cost(0).dropped, desk.cost(0).absent), (1, 0));
    assert_eq!((desk.cost(1).dropped, desk.cost(1).absent), (0, 1));
    assert_eq!(desk.added(), [50 * MS, 50 * MS]);
}

#[test]
fn what_is_recent_is_forgotten_and_what_is_total_is_not() {
    let mut series = Series::default();
    series.add(5, START);
    series.add(7, START + SLOT);

    let at = |slots| {
        let waits = series.waits(START + slots * SLOT);
        (waits.recent.count, waits.total.count)
    };

    assert_eq!(at(1), (2, 2));
    assert_eq!(at(2), (1, 2));
    assert_eq!(at(3), (0, 2));
}

#[test]
fn accounts_of_events_add_up_whatever_their_slots() {
    let mut one = Account::default();
    one.page.added.add(5, START);
    let mut other = Account::default();
    other.page.added.add(7, START + SLOT);
    other.page.asked = 3;

    one.add(&other, START + 2 * SLOT);
    let cost = one.cost(START + 2 * SLOT);

    assert_eq!((cost.asked, cost.added.total.count, cost.added.recent.count), (3, 2, 1));
}

#[test]
fn the_span_that_is_recent_is_never_longer_than_the_host_ran() {
    assert_eq!(recent_span(3 * SLOT + 5, 0), SLOT + 5);
    assert_eq!(recent_span(3 * SLOT + 5, 3 * SLOT), 5);
}
