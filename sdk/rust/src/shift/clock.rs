//! Whether a judgement ended in time, settled between the judge and the main thread.
//!
//! To wake the main thread for each judgement would cost what is to be saved. So it keeps an alarm of its own
//! while there is traffic, at most as far off as a judgement may take, and says until when it sleeps;
//! whoever begins a judgement that is late before that rings.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

/// One judgement at a time. Times are ns of `CLOCK_MONOTONIC`.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The ticket of the judgement that goes on; 0 for none.
    running: AtomicU64,
    /// When it is late.
    until: AtomicU64,
    /// How long it may take.
    span: AtomicU64,
    /// Judgements begun so far.
    begun: AtomicU64,
    /// Until when the main thread sleeps at the latest; 0 while it is awake.
    alarm: AtomicU64,
}

impl Clock {
    /// A judgement begins; its ticket, and whether the main thread wakes in time by itself.
    pub(super) fn begin(&self, until: u64, span: u64) -> (u64, bool) {
        let ticket = self.begun.fetch_add(1, SeqCst) + 1;
        self.span.store(span, SeqCst);
        self.until.store(until, SeqCst);
        self.running.store(ticket, SeqCst);
        (ticket, self.alarm.load(SeqCst) <= until)
    }

    /// The judgement ends, by its judge or by whoever answers for him: true for one of them.
    pub(super) fn end(&self, ticket: u64) -> bool {
        self.running.compare_exchange(ticket, 0, SeqCst, SeqCst).is_ok()
    }

    /// The judgement that goes on, and when it is late.
    pub(super) fn running(&self) -> Option<(u64, u64)> {
        let ticket = self.running.load(SeqCst);
        let until = self.until.load(SeqCst);
        // Another one may have begun in between; whoever began it looks at the alarm.
        (ticket != 0 && self.running.load(SeqCst) == ticket).then_some((ticket, until))
    }

    /// Judgements begun so far, and how long the last one might take.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.begun.load(SeqCst), self.span.load(SeqCst))
    }

    /// The main thread is going to sleep; whether it may: not if what goes on would be late before.
    pub(super) fn set_alarm(&self, alarm: u64) -> bool {
        self.alarm.store(alarm, SeqCst);
        self.running().is_none_or(|(_, until)| alarm <= until)
    }

    /// The main thread is awake.
    pub(super) fn clear_alarm(&self) {
        self.alarm.store(0, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judgement_ends_once() {
        let clock = Clock::default();
        let (ticket, _) = clock.begin(100, 10);

        assert_eq!(clock.running(), Some((ticket, 100)));
        assert!(clock.end(ticket));
        assert!(!clock.end(ticket));
        assert_eq!(clock.running(), None);
    }

    #[test]
    fn who_was_left_behind_does_not_end_the_next_ones_judgement() {
        let clock = Clock::default();
        let (late, _) = clock.begin(100, 10);
        assert!(clock.end(late));
        let (next, _) = clock.begin(200, 10);

        assert!(!clock.end(late));
        assert_eq!(clock.running(), Some((next, 200)));
    }

    #[test]
    fn only_who_is_late_before_the_alarm_rings() {
        let clock = Clock::default();
        assert!(clock.set_alarm(150));

        let heard = [149, 150].map(|until| clock.begin(until, 10).1);

        assert_eq!(heard, [false, true]);
    }

    #[test]
    fn nobody_sleeps_past_a_judgement_that_goes_on() {
        let clock = Clock::default();
        clock.begin(100, 10);

        assert!(!clock.set_alarm(101));
        assert!(clock.set_alarm(100));
    }
}
