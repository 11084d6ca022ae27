//! How often an engine may be started again, and how long it waits for it.

use std::collections::VecDeque;

/// Restarts in a sliding window: never more than `max` of them within `window`.
#[derive(Debug, Clone)]
pub(crate) struct RestartBudget {
    max: u32,
    /// ns.
    window: u64,
    /// Times of the restarts in the window, oldest first; at most `max`.
    spent: VecDeque<u64>,
}

impl RestartBudget {
    /// A whole budget of `max` restarts per `window` ns.
    pub(crate) const fn new(max: u32, window: u64) -> Self {
        Self { max, window, spent: VecDeque::new() }
    }

    /// Restarts that may still be spent at `now`.
    pub(crate) fn left(&self, now: u64) -> u32 {
        let used = self.spent.iter().filter(|at| self.counts(**at, now)).count();
        self.max.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// Restarts that a whole budget has.
    pub(crate) const fn max(&self) -> u32 {
        self.max
    }

    /// Takes one restart, which happens at `now`.
    pub(crate) fn spend(&mut self, now: u64) {
        while self.spent.front().is_some_and(|at| !self.counts(*at, now)) {
            self.spent.pop_front();
        }
        self.spent.push_back(now);
    }

    /// Gives the last `count` restarts back.
    pub(crate) fn refund(&mut self, count: u32) {
        for _ in 0..count {
            self.spent.pop_back();
        }
    }

    fn counts(&self, at: u64, now: u64) -> bool {
        at.saturating_add(self.window) > now
    }
}

/// The wait before a restart: none before the first, then `first`, doubled each time, at most `max`.
/// An engine that ran for a whole `quiet` period begins anew.
#[derive(Debug, Clone)]
pub(crate) struct BackOff {
    /// ns.
    first: u64,
    /// ns.
    max: u64,
    /// ns.
    quiet: u64,
    /// Restarts since the last quiet period.
    steps: u32,
}

impl BackOff {
    /// All times in ns.
    pub(crate) const fn new(first: u64, max: u64, quiet: u64) -> Self {
        Self { first, max, quiet, steps: 0 }
    }

    /// The wait, ns, before the restart of an engine that had run for `ran` ns.
    pub(crate) fn next(&mut self, ran: u64) -> u64 {
        if ran >= self.quiet {
            self.steps = 0;
        }
        let wait = match self.steps.checked_sub(1) {
            None => 0,
            Some(doublings) => {
                let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
                self.first.saturating_mul(factor).min(self.max)
            }
        };
        self.steps = self.steps.saturating_add(1);
        wait
    }

    /// Forgets the last `count` restarts.
    pub(crate) const fn forget(&mut self, count: u32) {
        self.steps = self.steps.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_restart_does_not_wait_and_the_others_double() {
        let mut back_off = BackOff::new(10, 50, 1000);

        let waits: Vec<_> = (0..6).map(|_| back_off.next(1)).collect();

        assert_eq!(waits, [0, 10, 20, 40, 50, 50]);
    }

    #[test]
    fn a_quiet_period_resets_the_wait() {
        let mut back_off = BackOff::new(10, 50, 1000);
        (0..4).for_each(|_| assert!(back_off.next(1) < 50));

        assert_eq!(back_off.next(1000), 0);
    }

    #[test]
    fn a_refund_makes_room_for_a_restart() {
        let mut budget = RestartBudget::new(1, 1000);
        budget.spend(5);

        budget.refund(1);

        assert_eq!(budget.left(6), 1);
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_restarts_than_the_budget(
            max in 0_u32..6,
            window in 1_u64..1000,
            gaps in prop::collection::vec(0_u64..400, 0..80),
        ) {
            let mut budget = RestartBudget::new(max, window);
            let mut now = 0;
            let mut spent: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap;
                if budget.left(now) > 0 {
                    budget.spend(now);
                    spent.push(now);
                }
            }
            for (first, at) in spent.iter().enumerate() {
                let within = spent[first..].iter().filter(|other| **other < at + window).count();
                prop_assert!(within <= max as usize);
            }
        }

        #[test]
        fn the_wait_never_shrinks_without_a_quiet_period(
            first in 1_u64..1000,
            max in 1_u64..100_000,
            runs in prop::collection::vec(0_u64..100, 1..100),
        ) {
            let mut back_off = BackOff::new(first, max, 100);
            let waits: Vec<_> = runs.into_iter().map(|ran| back_off.next(ran)).collect();
            prop_assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(waits.iter().all(|wait| *wait <= max));
        }
    }
}
