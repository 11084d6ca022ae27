use outrigger_api::{Answer, CaseId, FailureReason, Verdict};

use super::*;
use crate::host::core::test_kit::{Process, SCAN, ask, asked};
use crate::host::engines::Presence;

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
