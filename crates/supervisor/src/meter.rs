//! Lets so much through per second and counts the rest.

/// ns in a second.
const SECOND: u64 = 1_000_000_000;

/// Lets the first few of each second through.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    per_second: u32,
    /// When the running second began.
    began: u64,
    passed: u32,
    held_back: u64,
}

impl Meter {
    /// Lets `per_second` through.
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, began: 0, passed: 0, held_back: 0 }
    }

    /// Whether one more may pass at `now`; if not, it is counted.
    pub(crate) const fn admit(&mut self, now: u64) -> bool {
        if now.saturating_sub(self.began) >= SECOND {
            self.began = now;
            self.passed = 0;
        }
        if self.passed < self.per_second {
            self.passed += 1;
            return true;
        }
        self.held_back += 1;
        false
    }

    /// Whether nothing more passes in the second that runs at `now`.
    pub(crate) const fn is_full(&self, now: u64) -> bool {
        self.passed >= self.per_second && now.saturating_sub(self.began) < SECOND
    }

    /// Ends the second if it is over; how many were held back in it, if any were.
    pub(crate) fn settle(&mut self, now: u64) -> Option<u64> {
        if now.saturating_sub(self.began) < SECOND {
            return None;
        }
        self.passed = 0;
        Some(std::mem::take(&mut self.held_back)).filter(|count| *count > 0)
    }

    /// When [`Meter::settle`] has something to do.
    pub(crate) fn wake(&self) -> Option<u64> {
        let waits = self.held_back > 0 || self.passed >= self.per_second;
        waits.then(|| self.began.saturating_add(SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_rate_is_counted_and_told_when_the_second_is_over() {
        let mut meter = Meter::new(2);

        let passed: Vec<_> = (0..5).map(|at| meter.admit(SECOND + at)).collect();

        assert_eq!(passed, [true, true, false, false, false]);
        assert_eq!(meter.settle(SECOND + 9), None);
        assert_eq!(meter.wake(), Some(2 * SECOND));
        assert_eq!(meter.settle(2 * SECOND), Some(3));
        assert_eq!(meter.settle(2 * SECOND), None);
    }

    #[test]
    fn a_new_second_lets_through_again() {
        let mut meter = Meter::new(1);
        meter.admit(SECOND);

        assert!(meter.is_full(SECOND + 1));
        assert!(!meter.is_full(2 * SECOND));
        assert!(meter.admit(2 * SECOND));
    }

    #[test]
    fn a_meter_at_rest_wakes_nobody() {
        let mut meter = Meter::new(1);
        meter.admit(SECOND);
        meter.settle(2 * SECOND);

        assert_eq!(meter.wake(), None);
    }
}
