//! The samples between the one that was taken last and the one whose outcome goes out next.
//!
//! Each sample has a place, each time it is asked a case of its own. Cases are numbered one after the
//! other, so that the place of a verdict is found by counting. Pure: time is an argument.
//!
//! 1. Outcomes go out in the order of places, each once.
//! 2. A case is answered once; what comes after that, or for one that was given up, changes nothing.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use outrigger_api::sample::Sample;
use outrigger_api::{CaseId, FailureReason};

use super::{Judged, Limits, NotAsked, Outcome, Vote};

#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    /// The place of the first slot.
    first: u64,
    /// Places that are to be asked, in the order in which they are.
    waiting: VecDeque<u64>,
    /// Places that took too long and are to be asked alone.
    suspects: VecDeque<u64>,
    /// The open cases, from the oldest on: their places, `None` for one that is closed.
    cases: VecDeque<Option<u64>>,
    /// Cases before the first of them.
    closed: u64,
    in_hands: usize,
    /// What is in flight, or will be next, is to be alone.
    alone: bool,
    given_up_at: u64,
}

#[derive(Debug)]
struct Slot {
    sample: Sample,
    content: Option<OwnedFd>,
    judged: Option<Judged>,
    asked: u64,
    deadline: u64,
    latency: u64,
    tries: u32,
}

/// Whose verdict it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// That of the sample at this place, which waits for it.
    Open(u64),
    /// That of a question which waits no more.
    Closed,
    /// That of a question that was never asked.
    Foreign,
}

impl Window {
    /// Takes a sample in; one that is `refused` is not asked about.
    pub(super) fn push(
        &mut self,
        sample: Sample,
        content: Option<OwnedFd>,
        refused: Option<NotAsked>,
    ) {
        let place = self.first + self.slots.len() as u64;
        let judged = refused.map(Judged::NotAsked);
        if judged.is_none() {
            self.waiting.push_back(place);
        }
        let content = content.filter(|_| judged.is_none());
        let (asked, deadline, latency, tries) = (0, 0, 0, 0);
        self.slots.push_back(Slot { sample, content, judged, asked, deadline, latency, tries });
    }

    /// The next outcome that can go out.
    pub(super) fn next_outcome(&mut self) -> Option<Outcome> {
        let judged = self.slots.front()?.judged?;
        self.pop(judged)
    }

    /// Ends everything: nobody will answer.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = Outcome> {
        self.waiting.clear();
        self.suspects.clear();
        self.close_all();
        std::iter::from_fn(|| {
            let judged = self.slots.front()?.judged;
            self.pop(judged.unwrap_or(Judged::NotAsked(NotAsked::EngineGone)))
        })
    }

    fn pop(&mut self, judged: Judged) -> Option<Outcome> {
        let Slot { sample, latency, tries, .. } = self.slots.pop_front()?;
        let place = self.first;
        self.first += 1;
        Some(Outcome { place, sample, judged, latency, tries })
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Questions that the engine has not answered.
    pub(super) const fn in_hands(&self) -> usize {
        self.in_hands
    }

    /// The place that is asked next.
    pub(super) fn next_waiting(&self) -> Option<u64> {
        self.waiting.front().copied()
    }

    /// Whether nothing new is to be asked for now: something is asked alone, or will be.
    pub(super) fn asks_alone(&self) -> bool {
        !self.suspects.is_empty() || self.alone
    }

    /// Has the oldest suspect asked next, alone. One that was recalled before is.
    pub(super) fn recall_suspect(&mut self) {
        if !self.alone
            && let Some(place) = self.suspects.pop_front()
        {
            self.waiting.push_front(place);
            self.alone = true;
        }
    }

    /// The sample at `place`, which is in the window, and its content.
    pub(super) fn sample(&self, place: u64) -> (&Sample, Option<&OwnedFd>) {
        let slot = &self.slots[self.index(place)];
        (&slot.sample, slot.content.as_ref())
    }

    /// When the sample at `place` was asked last.
    pub(super) fn asked_at(&self, place: u64) -> u64 {
        self.slots[self.index(place)].asked
    }

    /// The number of the next case.
    pub(super) fn next_case(&self) -> CaseId {
        let number = self.closed + self.cases.len() as u64 + 1;
        CaseId::new(number).expect("counted from one")
    }

    /// The sample that was to be asked next has been, as `case`.
    pub(super) fn asked(&mut self, place: u64, case: CaseId, now: u64, deadline: u64) {
        debug_assert_eq!((self.next_waiting(), self.next_case()), (Some(place), case));
        self.waiting.pop_front();
        self.cases.push_back(Some(place));
        self.in_hands += 1;
        let slot = self.slot(place);
        slot.asked = now;
        slot.deadline = deadline;
        slot.tries += 1;
    }

    /// The next case's number is given to nobody.
    pub(super) fn skip_case(&mut self) {
        self.cases.push_back(None);
        self.trim();
    }

    /// Whose verdict one on `case` is.
    pub(super) fn find(&self, case: CaseId) -> Found {
        let Some(offset) = case.get().checked_sub(self.closed + 1) else { return Found::Closed };
        let known = usize::try_from(offset).ok().and_then(|offset| self.cases.get(offset));
        match known {
            Some(Some(place)) => Found::Open(*place),
            Some(None) => Found::Closed,
            None => Found::Foreign,
        }
    }

    /// The engine judged the sample at `place` after `spent` ns.
    pub(super) fn verdict(&mut self, place: u64, vote: Vote, spent: u64, limits: &Limits) {
        self.close(place);
        let slot = self.slot(place);
        slot.latency = spent;
        if spent <= limits.budget {
            slot.judged = Some(Judged::Verdict(vote.0, vote.1));
            slot.content = None;
        } else {
            self.suspect(place, limits);
        }
    }

    /// Gives up what should have been answered `grace` ns before `now`; whether there was any.
    pub(super) fn give_up(&mut self, now: u64, grace: u64, limits: &Limits) -> bool {
        let mut any = false;
        while let Some(place) = self.oldest()
            && self.slots[self.index(place)].deadline.saturating_add(grace) < now
        {
            self.close(place);
            self.suspect(place, limits);
            self.given_up_at = now;
            any = true;
        }
        any
    }

    /// When a question was last given up.
    pub(super) const fn given_up_at(&self) -> u64 {
        self.given_up_at
    }

    /// When the next question is overdue.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.oldest().map(|place| self.slots[self.index(place)].deadline)
    }

    /// The engine ended: the sample in its hands, with its place. What else it had is asked again.
    pub(super) fn lose(&mut self, reason: FailureReason) -> Option<(u64, Sample)> {
        let in_hand = self.oldest();
        if let Some(place) = in_hand {
            self.close(place);
            let slot = self.slot(place);
            slot.judged = Some(Judged::Crashed(reason));
            slot.content = None;
        }
        while let Some(place) = self.cases.pop_back() {
            if let Some(place) = place {
                self.waiting.push_front(place);
            }
            self.closed += 1;
        }
        self.in_hands = 0;
        self.alone = false;
        in_hand.map(|place| (place, self.slots[self.index(place)].sample.clone()))
    }

    /// It took too long: to be asked alone, or a miss.
    fn suspect(&mut self, place: u64, limits: &Limits) {
        let slot = self.slot(place);
        if slot.tries >= limits.tries {
            slot.judged = Some(Judged::Missed);
            slot.content = None;
        } else {
            self.suspects.push_back(place);
        }
    }

    /// The place of the oldest question that was not answered.
    fn oldest(&self) -> Option<u64> {
        // The first is open: closed ones are taken away there.
        self.cases.front().copied().flatten()
    }

    fn close(&mut self, place: u64) {
        if let Some(case) = self.cases.iter_mut().find(|case| **case == Some(place)) {
            *case = None;
            self.in_hands -= 1;
            self.alone = false;
        }
        self.trim();
    }

    fn close_all(&mut self) {
        self.closed += self.cases.len() as u64;
        self.cases.clear();
        self.in_hands = 0;
    }

    fn trim(&mut self) {
        while self.cases.front().is_some_and(Option::is_none) {
            self.cases.pop_front();
            self.closed += 1;
        }
    }

    fn index(&self, place: u64) -> usize {
        usize::try_from(place - self.first).expect("in the window")
    }

    fn slot(&mut self, place: u64) -> &mut Slot {
        let index = self.index(place);
        &mut self.slots[index]
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::Event;
    use outrigger_api::Verdict;
    use outrigger_api::record::{ContentAbsent, Detail};
    use outrigger_api::sample::Standing;

    use super::*;

    const LIMITS: Limits = Limits { budget: 10, in_flight: 8, crashes: 1, tries: 3 };

    fn sample(number: u64) -> Sample {
        Sample {
            event: Event::FileOpen,
            credentials: None,
            path: Some(number.to_string().into_bytes()),
            attributes: None,
            content: Err(ContentAbsent::NotRegular),
            standing: Standing::default(),
            answer: None,
        }
    }

    fn window(samples: u64) -> Window {
        let mut window = Window::default();
        (0..samples).for_each(|number| window.push(sample(number), None, None));
        window
    }

    /// Asks what is to be asked next at `now`; its case.
    fn ask(window: &mut Window, now: u64) -> CaseId {
        let (place, case) = (window.next_waiting().expect("one waits"), window.next_case());
        window.asked(place, case, now, now + 80);
        case
    }

    fn allow(window: &mut Window, case: CaseId, spent: u64) {
        let Found::Open(place) = window.find(case) else { panic!("{case:?} is not open") };
        window.verdict(place, (Verdict::Allow, Detail::default()), spent, &LIMITS);
    }

    fn allowed() -> Judged {
        Judged::Verdict(Verdict::Allow, Detail::default())
    }

    /// Places and results of all that can go out.
    fn outcomes(window: &mut Window) -> Vec<(u64, Judged)> {
        let next = || window.next_outcome().map(|outcome| (outcome.place, outcome.judged));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn outcomes_go_out_in_the_samples_order_whatever_the_verdicts_order() {
        let mut window = window(3);
        let cases = [(); 3].map(|()| ask(&mut window, 0));

        allow(&mut window, cases[2], 1);
        allow(&mut window, cases[1], 1);
        let before = outcomes(&mut window);
        allow(&mut window, cases[0], 1);

        assert_eq!(before, []);
        assert_eq!(outcomes(&mut window), [(0, allowed()), (1, allowed()), (2, allowed())]);
        assert!(window.is_empty() && window.in_hands() == 0);
    }

    #[test]
    fn a_second_verdict_and_a_foreign_one_find_nothing_open() {
        let mut window = window(2);
        let first = ask(&mut window, 0);
        ask(&mut window, 0);

        allow(&mut window, first, 1);

        assert_eq!(window.find(first), Found::Closed);
        assert_eq!(window.find(window.next_case()), Found::Foreign);
        assert_eq!(window.in_hands(), 1);
    }

    #[test]
    fn a_slow_verdict_is_asked_for_again_alone_and_a_quick_one_then_counts() {
        let mut window = window(2);
        let slow = ask(&mut window, 0);
        allow(&mut window, slow, 11);
        let is_alone = window.asks_alone();
        window.recall_suspect();
        let again = ask(&mut window, 20);
        allow(&mut window, again, 10);

        assert!(is_alone && !window.asks_alone());
        assert_eq!(outcomes(&mut window), [(0, allowed())]);
    }

    #[test]
    fn what_is_slow_each_time_is_a_miss_after_the_last_try() {
        let mut window = window(1);
        for now in [0, 100] {
            let case = ask(&mut window, now);
            allow(&mut window, case, 11);
            assert_eq!(outcomes(&mut window), [], "after {now}");
            window.recall_suspect();
        }
        let last = ask(&mut window, 200);
        allow(&mut window, last, 11);

        assert_eq!(outcomes(&mut window), [(0, Judged::Missed)]);
    }

    #[test]
    fn what_is_passed_over_is_given_up_once_its_deadline_and_the_grace_are_over() {
        let mut window = window(2);
        let passed = ask(&mut window, 0);
        let next = ask(&mut window, 1);

        assert!(!window.give_up(85, 5, &LIMITS));
        assert!(window.give_up(86, 5, &LIMITS));

        assert_eq!((window.find(passed), window.given_up_at()), (Found::Closed, 86));
        assert_eq!(window.find(next), Found::Open(1));
        assert!(window.asks_alone());
    }

    #[test]
    fn the_oldest_unanswered_is_in_hand_at_a_crash_and_the_others_are_asked_again() {
        let mut window = window(4);
        let cases = [(); 4].map(|()| ask(&mut window, 0));
        allow(&mut window, cases[0], 1);
        allow(&mut window, cases[2], 1);

        let in_hand = window.lose(FailureReason::EngineCrashed);

        assert_eq!(in_hand, Some((1, sample(1))));
        assert_eq!((window.in_hands(), window.next_waiting()), (0, Some(3)));
        let again = ask(&mut window, 5);
        assert!(cases.iter().all(|case| window.find(*case) == Found::Closed), "a case came back");
        allow(&mut window, again, 1);
        let crashed = Judged::Crashed(FailureReason::EngineCrashed);
        assert_eq!(
            outcomes(&mut window),
            [(0, allowed()), (1, crashed), (2, allowed()), (3, allowed())]
        );
    }

    #[test]
    fn a_crash_with_nothing_in_hand_names_nothing() {
        assert_eq!(window(2).lose(FailureReason::EngineCrashed), None);
    }

    #[test]
    fn what_is_refused_goes_out_without_being_asked_and_what_is_abandoned_as_not_asked() {
        let mut window = Window::default();
        window.push(sample(0), None, Some(NotAsked::NoContent));
        window.push(sample(1), None, None);
        ask(&mut window, 0);

        let left: Vec<_> = window.abandon().map(|outcome| outcome.judged).collect();

        let not_asked = [NotAsked::NoContent, NotAsked::EngineGone].map(Judged::NotAsked);
        assert_eq!(left, not_asked);
        assert!(window.is_empty());
    }
}
