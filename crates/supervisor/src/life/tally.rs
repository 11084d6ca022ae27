//! Counts what happened within a sliding window, in bounded memory.

use std::collections::VecDeque;

/// Slices that a window is counted in: what is counted in one slice is forgotten together, when the
/// last of it has left the window. The count is thus never too low.
const SLICES: u64 = 64;

/// A count over a sliding window, and the limit that it must not reach.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// The count that is too much.
    limit: u32,
    /// ns.
    window: u64,
    /// Oldest first; at most `SLICES + 2` of them.
    slices: VecDeque<Slice>,
}

#[derive(Debug, Clone, Copy)]
struct Slice {
    opened: u64,
    latest: u64,
    count: u32,
}

impl Tally {
    /// Too much is `limit` within `window` ns. A limit of zero counts as one.
    pub(crate) fn new(limit: u32, window: u64) -> Self {
        Self { limit: limit.max(1), window, slices: VecDeque::new() }
    }

    /// Counts `count` at `now`; whether that is too much.
    pub(crate) fn add(&mut self, count: u32, now: u64) -> bool {
        let window = self.window;
        while self.slices.front().is_some_and(|old| old.latest.saturating_add(window) <= now) {
            self.slices.pop_front();
        }
        match self.slices.back_mut() {
            Some(last) if now.saturating_sub(last.opened) < window / SLICES => {
                last.latest = last.latest.max(now);
                last.count = last.count.saturating_add(count);
            }
            _ => self.slices.push_back(Slice { opened: now, latest: now, count }),
        }
        self.count() >= self.limit
    }

    /// What was counted last.
    pub(crate) fn count(&self) -> u32 {
        self.slices.iter().fold(0, |sum, slice| sum.saturating_add(slice.count))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.slices.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reaching_the_limit_is_too_much() {
        let mut tally = Tally::new(3, 1000);

        assert!(!tally.add(2, 0));
        assert!(tally.add(1, 999));
    }

    #[test]
    fn what_left_the_window_does_not_count() {
        let mut tally = Tally::new(3, 1000);
        tally.add(2, 0);

        assert!(!tally.add(2, 1000));
    }

    proptest! {
        #[test]
        fn the_count_is_never_too_low_and_the_memory_bounded(
            window in 1_u64..10_000,
            gaps in prop::collection::vec((0_u64..500, 1_u32..4), 1..300),
        ) {
            let mut tally = Tally::new(u32::MAX, window);
            let mut now = 0;
            let mut all: Vec<(u64, u32)> = Vec::new();
            for (gap, count) in gaps {
                now += gap;
                all.push((now, count));
                tally.add(count, now);
                let exact: u32 =
                    all.iter().filter(|(at, _)| at + window > now).map(|(_, count)| count).sum();
                prop_assert!(tally.count() >= exact);
                let slack: u32 = all
                    .iter()
                    .filter(|(at, _)| at + window + window / SLICES > now)
                    .map(|(_, count)| count)
                    .sum();
                prop_assert!(tally.count() <= slack);
                // A slice per 1/64 of the window, rounding aside.
                prop_assert!(window < 10 * SLICES || tally.slices.len() < 80);
            }
        }
    }
}
