//! Tests of an engine's life: named cases, and properties over random lives.

use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms {
    start: 5_000 * MS,
    heartbeat: 1_000 * MS,
    hang: 3_000 * MS,
    restarts_max: 3,
    restart_window: 60_000 * MS,
    backoff: 10 * MS,
    backoff_max: 100 * MS,
    misses_max: 4,
    miss_window: 10_000 * MS,
};

fn docked(now: u64) -> Life {
    let mut life = Life::new(TERMS);
    life.started(now);
    life.docked(now);
    life
}

/// Loses a docked life at `now` and docks it again as soon as it may; what was decided.
fn crash(life: &mut Life, now: u64) -> Option<Next> {
    life.lost(now);
    let next = life.decide(now);
    if let Some(Next::Restart { due }) = next {
        life.started(due);
        life.docked(due);
    }
    next
}

#[test]
fn the_first_start_is_due_at_once_and_free() {
    let mut life = Life::new(TERMS);

    assert_eq!(life.start_due(), Some(0));
    life.started(1);
    assert_eq!(life.restarts_left(1), (3, 3));
}

#[test]
fn a_first_crash_is_followed_by_a_start_at_once() {
    let mut life = docked(0);

    assert_eq!(crash(&mut life, MS), Some(Next::Restart { due: MS }));
    assert_eq!(life.restarts_left(MS), (2, 3));
}

#[test]
fn a_crash_over_the_budget_is_quarantine() {
    let mut life = docked(0);
    for n in 1..=3 {
        crash(&mut life, n * 1000 * MS);
    }

    assert_eq!(crash(&mut life, 4000 * MS), Some(Next::Quarantined));
    assert_eq!(life.state(), EngineState::Quarantined);
    assert_eq!(life.start_due(), None);
}

#[test]
fn starts_that_give_no_process_end_as_failed() {
    let mut life = Life::new(TERMS);
    for _ in 0..3 {
        let due = life.start_due().expect("a start waits");
        life.start_failed(due);
        life.decide(due);
    }

    life.start_failed(life.start_due().expect("a start waits"));

    assert_eq!(life.decide(1000 * MS), Some(Next::Failed));
}

#[test]
fn a_release_gives_a_fresh_budget() {
    let mut life = docked(0);
    for n in 1..=4 {
        crash(&mut life, n * 1000 * MS);
    }

    life.release(5000 * MS);

    assert_eq!(life.start_due(), Some(5000 * MS));
    assert_eq!(life.restarts_left(5000 * MS), (3, 3));
}

#[test]
fn pardoned_crashes_cost_neither_budget_nor_time() {
    let mut life = docked(0);
    for n in 1..=20 {
        crash(&mut life, 2 * n * MS);
        life.lost((2 * n + 1) * MS);
        life.pardon((2 * n + 1) * MS);
        let due = life.decide((2 * n + 1) * MS);
        assert_eq!(due, Some(Next::Restart { due: (2 * n + 1) * MS }));
        life.started((2 * n + 1) * MS);
        life.docked((2 * n + 1) * MS);
    }

    assert_eq!(life.restarts_left(100 * MS), (3, 3));
}

#[test]
fn a_pardon_that_comes_after_the_restart_gives_both_back() {
    let mut life = docked(0);
    crash(&mut life, MS);
    crash(&mut life, 2 * MS);

    life.pardon(3 * MS);

    assert_eq!(life.restarts_left(3 * MS), (3, 3));
    assert_eq!(crash(&mut life, 20 * MS), Some(Next::Restart { due: 20 * MS }));
}

#[test]
fn a_ping_left_without_answer_for_the_limit_is_a_hang() {
    let mut life = docked(0);
    let nonce = life.ping(1000 * MS);

    assert_eq!(nonce, Some(1));
    assert_eq!(life.overdue(3999 * MS), None);
    assert_eq!(life.overdue(4000 * MS), Some(Overdue::Heartbeat));
}

#[test]
fn an_answered_ping_leads_to_the_next_one_a_period_later() {
    let mut life = docked(0);
    life.ping(1000 * MS);

    assert!(life.heartbeat(1, 1001 * MS));
    assert_eq!(life.wake(), Some(2000 * MS));
}

#[test]
fn an_answer_to_no_ping_is_told_apart() {
    let mut life = docked(0);
    life.ping(1000 * MS);

    assert!(!life.heartbeat(7, 1001 * MS));
    assert!(life.heartbeat(1, 1001 * MS));
    assert!(!life.heartbeat(1, 1001 * MS));
}

#[test]
fn time_in_which_the_host_stood_still_is_not_held_against_the_engine() {
    let mut life = docked(0);
    life.ping(1000 * MS);

    life.stood_still(10_000 * MS, 12_000 * MS);

    assert_eq!(life.overdue(13_999 * MS), None);
    assert_eq!(life.overdue(14_000 * MS), Some(Overdue::Heartbeat));
}

#[test]
fn an_engine_whose_limit_ended_while_the_host_stood_still_has_a_heartbeat_more() {
    let mut life = docked(0);
    life.ping(1000 * MS);

    life.stood_still(300 * MS, 4300 * MS);

    assert_eq!(life.overdue(5299 * MS), None);
    assert_eq!(life.overdue(5300 * MS), Some(Overdue::Heartbeat));
}

#[test]
fn misses_up_to_the_limit_are_too_many_and_a_new_start_forgets_them() {
    let mut life = docked(0);

    assert!(!life.missed(3, MS));
    assert!(life.missed(1, 2 * MS));
    crash(&mut life, 3 * MS);
    assert_eq!(life.misses(), 0);
}

#[derive(Debug, Clone)]
enum Act {
    Start,
    StartFails,
    Dock,
    Ping,
    Heartbeat,
    Lose,
    Decide,
    Miss,
    StandStill,
    Quarantine,
    Release,
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let act = prop_oneof![
        6 => Just(Act::Start),
        1 => Just(Act::StartFails),
        6 => Just(Act::Dock),
        1 => Just(Act::Ping),
        1 => Just(Act::Heartbeat),
        6 => Just(Act::Lose),
        8 => Just(Act::Decide),
        1 => Just(Act::Miss),
        1 => Just(Act::StandStill),
        1 => Just(Act::Quarantine),
        1 => Just(Act::Release),
    ];
    prop::collection::vec((0_u64..20_000 * MS, act), 0..200)
}

/// Does `act` where the one who drives a life may do it; whether that was a start.
fn perform(life: &mut Life, act: &Act, now: u64) -> bool {
    let may_start = life.start_due().is_some_and(|due| due <= now);
    match act {
        Act::Start if may_start => life.started(now),
        Act::StartFails if may_start => life.start_failed(now),
        Act::Dock => life.docked(now),
        Act::Ping => _ = life.ping(now),
        Act::Heartbeat => _ = life.heartbeat(life.nonce, now),
        Act::Lose => life.lost(now),
        Act::Decide => _ = life.decide(now),
        Act::Miss => _ = life.missed(1, now),
        Act::StandStill => life.stood_still(MS, now),
        Act::Quarantine => life.quarantine(),
        Act::Release if life.state() == EngineState::Quarantined => life.release(now),
        Act::Start | Act::StartFails | Act::Release => {}
    }
    may_start && matches!(act, Act::Start | Act::StartFails)
}

proptest! {
    #[test]
    fn no_window_holds_more_starts_than_the_budget_and_the_one_that_is_free(acts in acts()) {
        let mut life = Life::new(TERMS);
        let mut now = 0;
        // Starts since the last release, the free one not among them.
        let mut starts: Vec<u64> = Vec::new();
        let mut free = true;
        for (gap, act) in &acts {
            now += gap;
            let was_quarantined = life.state() == EngineState::Quarantined;
            if perform(&mut life, act, now) && !std::mem::take(&mut free) {
                starts.push(now);
            }
            if was_quarantined && matches!(act, Act::Release) {
                starts.clear();
                free = true;
            }
            let within = starts.iter().filter(|at| **at + TERMS.restart_window > now).count();
            prop_assert!(within <= TERMS.restarts_max as usize, "{starts:?}");
        }
    }

    #[test]
    fn quarantine_is_left_by_release_alone(acts in acts()) {
        let mut life = Life::new(TERMS);
        let mut now = 0;
        for (gap, act) in &acts {
            now += gap;
            let before = life.state();
            perform(&mut life, act, now);
            if before == EngineState::Quarantined && !matches!(act, Act::Release) {
                prop_assert_eq!(life.state(), EngineState::Quarantined);
            }
        }
    }

    #[test]
    fn whatever_happens_a_life_that_needs_a_look_says_when(acts in acts()) {
        let mut life = Life::new(TERMS);
        let mut now = 0;
        for (gap, act) in &acts {
            now += gap;
            perform(&mut life, act, now);
            let at_rest = matches!(life.state(), EngineState::Quarantined | EngineState::Failed);
            prop_assert_eq!(life.wake().is_none() && life.start_due().is_none(), at_rest);
        }
    }
}
