use outrigger_api::Answer;

use super::*;

const BUDGET: u64 = 50;

fn engine(place: usize) -> EngineIndex {
    EngineIndex::new(place).expect("below the limit")
}

fn set(places: &[usize]) -> EngineSet {
    places.iter().copied().map(engine).collect()
}

fn question(asked: &[usize], required: &[usize]) -> Question<'static> {
    Question {
        event: Event::FileOpen,
        now: 0,
        deadline: BUDGET,
        asked: set(asked),
        required: set(required),
        monitored: EngineSet::EMPTY,
        missing: &[],
        fallback: Fallback::Closed,
        mode: Mode::Enforce,
        epoch: 3,
        token: 9,
    }
}

fn arbiter() -> Arbiter {
    Arbiter::with_capacity(4, 3)
}

/// Opens a case that has to wait.
fn open(arbiter: &mut Arbiter, question: &Question<'_>) -> CaseId {
    match arbiter.open(question).expect("a case is free") {
        Opened::Waiting(case) => case,
        Opened::Closed(closed) => panic!("ended at once: {closed:?}"),
    }
}

/// Opens a case that ends at once.
fn at_once(arbiter: &mut Arbiter, question: &Question<'_>) -> (Answer, DecidedBy) {
    match arbiter.open(question).expect("a case is free") {
        Opened::Closed(closed) => (closed.answer, closed.decided_by),
        Opened::Waiting(case) => panic!("{case:?} waits"),
    }
}

/// Votes at `now`; answer and decider, if that ended the case.
fn vote(
    arbiter: &mut Arbiter,
    place: usize,
    case: CaseId,
    verdict: Verdict,
    now: u64,
) -> Result<Option<(Answer, DecidedBy)>, Rejected> {
    let closed = arbiter.vote(engine(place), case, verdict, Detail::default(), now)?;
    Ok(closed.map(|closed| (closed.answer, closed.decided_by)))
}

fn expire(arbiter: &mut Arbiter, now: u64) -> Vec<(CaseId, Answer, DecidedBy)> {
    let mut ended = Vec::new();
    arbiter.expire(now, &mut |closed| {
        ended.push((closed.case, closed.answer, closed.decided_by));
    });
    ended
}

const ALLOWED: Option<(Answer, DecidedBy)> = Some((Answer::Allow, DecidedBy::Engines));

fn denied_by(place: usize) -> Option<(Answer, DecidedBy)> {
    Some((Answer::Deny, DecidedBy::Engine(engine(place))))
}

fn closed_by(reason: FailureReason) -> Option<(Answer, DecidedBy)> {
    Some((Answer::Deny, DecidedBy::Fallback(reason)))
}

#[test]
fn a_question_that_no_engine_takes_is_allowed_at_once() {
    let decided = at_once(&mut arbiter(), &question(&[], &[]));

    assert_eq!(decided, (Answer::Allow, DecidedBy::NoEngine));
}

#[test]
fn the_last_required_allow_ends_the_case() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1, 2], &[0, 1]));

    assert_eq!(vote(&mut arbiter, 0, case, Verdict::Allow, 1), Ok(None));
    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Allow, 2), Ok(ALLOWED));
    assert_eq!(arbiter.waiting(), 0);
}

#[test]
fn one_deny_ends_the_case_at_once() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1], &[0, 1]));

    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Deny, 1), Ok(denied_by(1)));
}

#[test]
fn a_deny_of_an_optional_engine_counts_if_it_comes_in_time() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1], &[0]));

    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Deny, 1), Ok(denied_by(1)));
}

#[test]
fn an_optional_engine_is_not_waited_for_and_its_vote_is_nobodys_fault() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1], &[0]));

    assert_eq!(vote(&mut arbiter, 0, case, Verdict::Allow, 1), Ok(ALLOWED));
    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Deny, 2), Err(Rejected::Moot));
    assert_eq!(Rejected::Moot.reason(), None);
}

#[test]
fn where_none_is_required_all_that_were_asked_are_waited_for() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1], &[]));

    assert_eq!(vote(&mut arbiter, 0, case, Verdict::Allow, 1), Ok(None));
    let ended = vote(&mut arbiter, 1, case, Verdict::Abstain, 2);

    assert_eq!(ended, Ok(Some((Answer::Allow, DecidedBy::NoObjection))));
}

#[test]
fn where_none_is_required_the_deadline_allows() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0], &[]));

    let ended = expire(&mut arbiter, BUDGET);

    assert_eq!(ended, [(case, Answer::Allow, DecidedBy::NoObjection)]);
}

#[test]
fn an_abstention_of_a_required_engine_leaves_the_fallback() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0], &[0]));

    let ended = vote(&mut arbiter, 0, case, Verdict::Abstain, 1);

    assert_eq!(ended, Ok(closed_by(FailureReason::Abstained)));
}

#[test]
fn an_engine_that_may_still_deny_is_waited_for_after_another_is_lost() {
    let mut arbiter = arbiter();
    let question = Question { fallback: Fallback::Open, ..question(&[0, 1], &[0, 1]) };
    let case = open(&mut arbiter, &question);

    let crash = arbiter.missing(engine(0), case, FailureReason::EngineCrashed, 1).is_some();

    assert!(!crash);
    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Deny, 2), Ok(denied_by(1)));
}

#[test]
fn of_several_reasons_the_first_is_told() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1], &[0, 1]));
    assert!(arbiter.missing(engine(1), case, FailureReason::EngineCrashed, 1).is_none());

    let ended = expire(&mut arbiter, BUDGET);

    let crashed = DecidedBy::Fallback(FailureReason::EngineCrashed);
    assert_eq!(ended, [(case, Answer::Deny, crashed)]);
}

#[test]
fn a_case_ends_at_its_deadline_by_the_fallback() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0], &[0]));

    assert_eq!(expire(&mut arbiter, BUDGET - 1), []);
    let ended = expire(&mut arbiter, BUDGET);

    let slow = DecidedBy::Fallback(FailureReason::EngineSlow);
    assert_eq!(ended, [(case, Answer::Deny, slow)]);
    assert_eq!(expire(&mut arbiter, BUDGET + 1), []);
}

#[test]
fn deny_after_the_deadline_does_not_change_the_fallback() {
    let mut arbiter = arbiter();
    let question = Question { fallback: Fallback::Open, ..question(&[0], &[0]) };
    let case = open(&mut arbiter, &question);

    let late = vote(&mut arbiter, 0, case, Verdict::Deny, BUDGET);
    let ended = expire(&mut arbiter, BUDGET);

    let slow = DecidedBy::Fallback(FailureReason::EngineSlow);
    assert_eq!(late, Err(Rejected::Late));
    assert_eq!(ended, [(case, Answer::Allow, slow)]);
    assert_eq!(vote(&mut arbiter, 0, case, Verdict::Deny, BUDGET + 1), Err(Rejected::Late));
}

#[test]
fn cases_end_in_the_order_of_their_deadlines() {
    let mut arbiter = arbiter();
    let long = open(&mut arbiter, &Question { deadline: 500, ..question(&[0], &[0]) });
    let short = open(&mut arbiter, &question(&[0], &[0]));
    assert_eq!(arbiter.next_deadline(), Some(BUDGET));

    let ended: Vec<_> = expire(&mut arbiter, 500).into_iter().map(|(case, ..)| case).collect();

    assert_eq!(ended, [short, long]);
    assert_eq!(arbiter.next_deadline(), None);
}

#[test]
fn a_second_vote_is_double_also_after_the_end() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1], &[0, 1]));
    assert_eq!(vote(&mut arbiter, 0, case, Verdict::Allow, 1), Ok(None));

    assert_eq!(vote(&mut arbiter, 0, case, Verdict::Deny, 2), Err(Rejected::Double));
    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Allow, 3), Ok(ALLOWED));
    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Deny, 4), Err(Rejected::Double));
}

#[test]
fn a_vote_of_one_who_was_not_asked_is_foreign() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0], &[0]));

    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Deny, 1), Err(Rejected::Foreign));
    assert_eq!(vote(&mut arbiter, 63, case, Verdict::Deny, 1), Err(Rejected::Foreign));
}

#[test]
fn a_vote_on_a_number_that_was_not_given_out_is_foreign() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0], &[0]));
    let numbers = [1, case.get() + 1, case.get() + 8, u64::MAX];

    let votes: Vec<_> = numbers
        .into_iter()
        .map(|number| CaseId::new(number).expect("not zero"))
        .map(|forged| vote(&mut arbiter, 0, forged, Verdict::Allow, 1))
        .collect();

    assert_eq!(votes, [Err(Rejected::Foreign); 4]);
}

#[test]
fn a_vote_on_a_case_whose_slot_was_used_again_is_late_and_leaves_the_new_one_alone() {
    let mut arbiter = arbiter();
    let old = open(&mut arbiter, &question(&[0], &[0]));
    assert_eq!(vote(&mut arbiter, 0, old, Verdict::Allow, 1), Ok(ALLOWED));
    for _ in 0..arbiter.max() {
        open(&mut arbiter, &question(&[1], &[1]));
    }
    expire(&mut arbiter, BUDGET);
    let new = open(&mut arbiter, &question(&[0], &[0]));

    assert_ne!(new, old);
    assert_eq!(vote(&mut arbiter, 0, old, Verdict::Deny, 2), Err(Rejected::Late));
    assert_eq!(vote(&mut arbiter, 0, new, Verdict::Allow, 2), Ok(ALLOWED));
}

#[test]
fn a_lost_engine_ends_the_cases_that_have_nobody_else() {
    let mut arbiter = arbiter();
    let alone = open(&mut arbiter, &question(&[0], &[0]));
    let with_another = open(&mut arbiter, &question(&[0, 1], &[0, 1]));
    let without = open(&mut arbiter, &question(&[1], &[1]));
    let mut ended = Vec::new();

    arbiter.lose_engine(engine(0), FailureReason::EngineHung, 1, &mut |closed| {
        ended.push((closed.case, closed.decided_by));
    });

    assert_eq!(ended, [(alone, DecidedBy::Fallback(FailureReason::EngineHung))]);
    assert_eq!(arbiter.pending(engine(0)).count(), 0);
    let waiting: Vec<_> = arbiter.pending(engine(1)).map(|pending| pending.case).collect();
    assert_eq!(waiting, [with_another, without]);
}

#[test]
fn the_next_life_of_a_lost_engine_cannot_vote_on_what_it_was_not_asked() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1], &[0, 1]));
    arbiter.lose_engine(engine(0), FailureReason::EngineCrashed, 1, &mut |_| {});

    assert_eq!(vote(&mut arbiter, 0, case, Verdict::Allow, 2), Err(Rejected::Foreign));
}

#[test]
fn a_required_engine_known_to_be_missing_leaves_the_fallback_at_once() {
    let missing = [(engine(0), FailureReason::Quarantined)];
    let question = Question { missing: &missing, ..question(&[1], &[0]) };

    let decided = at_once(&mut arbiter(), &question);

    assert_eq!(Some(decided), closed_by(FailureReason::Quarantined));
}

#[test]
fn a_required_engine_that_nobody_speaks_of_is_not_docked() {
    let decided = at_once(&mut arbiter(), &question(&[], &[2]));

    assert_eq!(Some(decided), closed_by(FailureReason::NotDocked));
}

#[test]
fn an_engine_beyond_those_planned_for_is_not_docked() {
    let decided = at_once(&mut arbiter(), &question(&[40], &[40]));

    assert_eq!(Some(decided), closed_by(FailureReason::NotDocked));
}

#[test]
fn a_question_read_after_its_deadline_is_not_put_to_engines() {
    let mut arbiter = arbiter();

    let decided = at_once(&mut arbiter, &Question { now: BUDGET, ..question(&[0], &[0]) });

    assert_eq!(Some(decided), closed_by(FailureReason::HostHung));
    assert_eq!(arbiter.waiting(), 0);
}

#[test]
fn at_the_limit_a_question_is_not_taken_unless_it_ends_at_once() {
    let mut arbiter = Arbiter::with_capacity(1, 1);
    open(&mut arbiter, &question(&[0], &[0]));

    let full = arbiter.open(&question(&[0], &[0])).err();

    assert_eq!(full, Some(CasesFull { max: 1 }));
    assert_eq!(at_once(&mut arbiter, &question(&[], &[])).0, Answer::Allow);
    let refused = arbiter.refuse(&question(&[0], &[0]), FailureReason::QueueFull);
    assert_eq!(Some((refused.answer, refused.decided_by)), closed_by(FailureReason::QueueFull));
    assert_eq!(arbiter.waiting(), 1);
}

#[test]
fn the_caller_ends_a_case_once() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0], &[0]));

    let first = arbiter.finish(case, FailureReason::QueueFull, 1).map(|closed| closed.decided_by);
    let second = arbiter.finish(case, FailureReason::QueueFull, 2).is_some();

    assert_eq!(first, Some(DecidedBy::Fallback(FailureReason::QueueFull)));
    assert!(!second);
}

#[test]
fn only_an_allow_of_all_is_cacheable() {
    let mut arbiter = arbiter();
    let all = open(&mut arbiter, &question(&[0, 1], &[0, 1]));
    let optional_left = open(&mut arbiter, &question(&[0, 1], &[0]));
    vote(&mut arbiter, 0, all, Verdict::Allow, 1).expect("it was asked");

    let by_all = arbiter.vote(engine(1), all, Verdict::Allow, Detail::default(), 2);
    assert_eq!(by_all.map(|closed| closed.map(|closed| closed.cacheable)), Ok(Some(true)));
    let by_one = arbiter.vote(engine(0), optional_left, Verdict::Allow, Detail::default(), 2);
    assert_eq!(by_one.map(|closed| closed.map(|closed| closed.cacheable)), Ok(Some(false)));
}

#[test]
fn an_allow_beside_a_missing_optional_engine_is_not_cacheable() {
    let mut arbiter = arbiter();
    let missing = [(engine(1), FailureReason::NotDocked)];
    let case = open(&mut arbiter, &Question { missing: &missing, ..question(&[0], &[0]) });

    let closed = arbiter.vote(engine(0), case, Verdict::Allow, Detail::default(), 1);

    assert_eq!(
        closed.map(|closed| closed.map(|c| (c.answer, c.cacheable))),
        Ok(Some((Answer::Allow, false)))
    );
}

#[test]
fn a_monitored_deny_does_not_hide_a_real_one() {
    let mut arbiter = arbiter();
    let question = Question { monitored: set(&[0]), ..question(&[0, 1], &[0, 1]) };
    let case = open(&mut arbiter, &question);

    assert_eq!(vote(&mut arbiter, 0, case, Verdict::Deny, 1), Ok(None));
    assert_eq!(vote(&mut arbiter, 1, case, Verdict::Deny, 2), Ok(denied_by(1)));
}

#[test]
fn a_monitored_deny_alone_is_let_through_and_told() {
    let mut arbiter = arbiter();
    let question = Question { monitored: set(&[0]), ..question(&[0, 1], &[0, 1]) };
    let case = open(&mut arbiter, &question);
    vote(&mut arbiter, 0, case, Verdict::Deny, 1).expect("it was asked");

    let closed = arbiter
        .vote(engine(1), case, Verdict::Allow, Detail::default(), 2)
        .expect("it was asked")
        .expect("both voted");

    assert_eq!((closed.answer, closed.would_deny), (Answer::Allow, true));
    assert_eq!(closed.decided_by, DecidedBy::Engine(engine(0)));
    assert!(!closed.cacheable);
}

#[test]
fn a_monitored_engine_that_is_missing_refuses_nothing() {
    let mut arbiter = arbiter();
    let question = Question { monitored: set(&[0]), ..question(&[0], &[0]) };
    open(&mut arbiter, &question);
    let mut ended = Vec::new();

    arbiter.expire(BUDGET, &mut |closed| ended.push((closed.answer, closed.would_deny)));

    assert_eq!(ended, [(Answer::Allow, true)]);
}

#[test]
fn a_policy_in_monitor_mode_lets_a_deny_and_a_closed_fallback_through() {
    let mut arbiter = arbiter();
    let question = Question { mode: Mode::Monitor, ..question(&[0], &[0]) };
    let denied = open(&mut arbiter, &question);
    open(&mut arbiter, &question);

    let closed = arbiter
        .vote(engine(0), denied, Verdict::Deny, Detail::default(), 1)
        .expect("it was asked")
        .expect("a deny ends the case");
    assert_eq!((closed.answer, closed.would_deny), (Answer::Allow, true));

    let mut ended = Vec::new();
    arbiter.expire(BUDGET, &mut |closed| ended.push((closed.answer, closed.would_deny)));
    assert_eq!(ended, [(Answer::Allow, true)]);
}

#[test]
fn a_closed_case_tells_each_engines_part() {
    let mut arbiter = arbiter();
    let missing = [(engine(2), FailureReason::PoisonedObject)];
    let question = Question { missing: &missing, ..question(&[0, 1], &[0]) };
    let case = open(&mut arbiter, &question);
    let detail = Detail::new("eicar");

    let closed = arbiter
        .vote(engine(0), case, Verdict::Deny, detail, 7)
        .expect("it was asked")
        .expect("a deny ends the case");

    let parts: Vec<_> =
        closed.votes().map(|vote| (vote.engine.get(), vote.required, vote.state)).collect();
    let voted = VoteState::Voted { verdict: Verdict::Deny, at: 7, detail: &detail };
    let poisoned = VoteState::Missing { reason: FailureReason::PoisonedObject, at: 0 };
    assert_eq!(parts, [(0, true, voted), (1, false, VoteState::Waiting), (2, false, poisoned)]);
    assert_eq!((closed.token, closed.epoch, closed.opened, closed.closed), (9, 3, 0, 7));
    assert!(closed.slow().is_empty());
}

#[test]
fn those_who_let_the_deadline_pass_are_told() {
    let mut arbiter = arbiter();
    let case = open(&mut arbiter, &question(&[0, 1, 2], &[0, 1]));
    vote(&mut arbiter, 0, case, Verdict::Allow, 1).expect("it was asked");
    let mut slow = Vec::new();
    let mut parts = Vec::new();

    arbiter.expire(BUDGET, &mut |closed| {
        slow.push(closed.slow());
        parts.extend(closed.votes().map(|vote| matches!(vote.state, VoteState::Missing { .. })));
    });

    assert_eq!(slow, [set(&[1, 2])]);
    assert_eq!(parts, [false, true, true]);
}
