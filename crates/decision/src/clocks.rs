//! Whether the machine slept or its wall clock jumped, from readings of its three clocks.
//!
//! `CLOCK_MONOTONIC` stands still while the machine is suspended and `CLOCK_BOOTTIME` does not: what
//! the second gained on the first is sleep. `CLOCK_REALTIME` runs with `CLOCK_BOOTTIME` but for what
//! time synchronisation adds or takes: a little all the time is slewing, a lot at once is a jump.
//!
//! Deadlines run on `CLOCK_MONOTONIC`, so neither touches them; both are worth a line for whoever reads
//! times in a journal. Two sleeps or jumps between two readings show as one.

/// The least sleep that is told, ns. Readings that were taken at once differ by far less.
pub const SLEEP_MIN: u64 = 100_000_000;
/// The least jump that is told, ns; see [`SLEW_SHARE`].
pub const JUMP_MIN: u64 = 1_000_000_000;
/// The part of the time passed that a clock may be slewed by: a tenth. chrony slews by a twelfth by
/// default and a tenth at most, the kernel's `adjtime` by a two-thousandth.
pub const SLEW_SHARE: u64 = 10;

/// The three clocks, read at once, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readings {
    /// `CLOCK_REALTIME`, since the epoch; negative before it.
    pub real: i64,
    /// `CLOCK_MONOTONIC`.
    pub monotonic: u64,
    /// `CLOCK_BOOTTIME`.
    pub boot: u64,
}

/// What happened between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Findings {
    /// The machine slept so long, ns.
    pub slept: Option<u64>,
    /// The wall clock was moved so far, ns; negative is backwards. What a sleep adds is no jump.
    pub jumped: Option<i64>,
}

/// Compares each reading with the one before.
#[derive(Debug, Clone)]
pub struct Clocks {
    last: Readings,
}

impl Clocks {
    /// Begins at these readings.
    pub const fn new(now: Readings) -> Self {
        Self { last: now }
    }

    /// What happened since the last readings.
    pub fn look(&mut self, now: Readings) -> Findings {
        let last = self.last;
        self.last = now;
        let passed = now.boot.saturating_sub(last.boot);
        let slept = passed.saturating_sub(now.monotonic.saturating_sub(last.monotonic));
        let walked = now.real.saturating_sub(last.real);
        let jumped = walked.saturating_sub_unsigned(passed);
        let slewed = passed.checked_div(SLEW_SHARE).unwrap_or(0);
        Findings {
            slept: Some(slept).filter(|slept| *slept >= SLEEP_MIN),
            jumped: Some(jumped)
                .filter(|jumped| jumped.unsigned_abs() >= JUMP_MIN.saturating_add(slewed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: Readings =
        Readings { real: 1_700_000_000_000_000_000, monotonic: 50 * SECOND, boot: 70 * SECOND };

    /// The clocks after `awake` and `asleep` ns in which the wall clock was moved by `moved` ns.
    fn after(awake: u64, asleep: u64, moved: i64) -> Readings {
        Readings {
            real: START.real.saturating_add_unsigned(awake + asleep).saturating_add(moved),
            monotonic: START.monotonic + awake,
            boot: START.boot + awake + asleep,
        }
    }

    fn found(now: Readings) -> (Option<u64>, Option<i64>) {
        let Findings { slept, jumped } = Clocks::new(START).look(now);
        (slept, jumped)
    }

    #[test]
    fn an_ordinary_second_is_nothing() {
        assert_eq!(found(after(SECOND, 0, 0)), (None, None));
    }

    #[test]
    fn a_sleep_is_told_with_its_length_and_is_no_jump() {
        assert_eq!(found(after(SECOND, 3600 * SECOND, 0)), (Some(3600 * SECOND), None));
    }

    #[test]
    fn a_jump_is_told_with_its_direction() {
        let hour = 3_600_000_000_000;

        assert_eq!(found(after(SECOND, 0, hour)), (None, Some(hour)));
        assert_eq!(found(after(SECOND, 0, -hour)), (None, Some(-hour)));
    }

    #[test]
    fn a_clock_that_is_put_right_after_a_sleep_shows_both() {
        let wrong = 600_000_000_000;

        let both = found(after(0, 60 * SECOND, wrong));

        assert_eq!(both, (Some(60 * SECOND), Some(wrong)));
    }

    #[test]
    fn each_is_told_once() {
        let mut clocks = Clocks::new(START);
        let woken = after(SECOND, 60 * SECOND, 60_000_000_000);
        clocks.look(woken);

        assert_eq!(clocks.look(woken), Findings::default());
    }

    #[test]
    fn the_limits_are_those_that_are_named() {
        assert_eq!(found(after(0, SLEEP_MIN, 0)).0, Some(SLEEP_MIN));
        assert_eq!(found(after(0, SLEEP_MIN - 1, 0)).0, None);
        assert_eq!(found(after(0, 0, 1_000_000_000)).1, Some(1_000_000_000));
        assert_eq!(found(after(0, 0, -999_999_999)).1, None);
    }

    proptest! {
        #[test]
        fn slewing_is_never_a_jump(awake in 0..=100_000 * SECOND, tenths in -1.0..=1.0_f64) {
            // Of a hundred thousand seconds: exact in a float to far less than a second.
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small")]
            let slewed = (awake as f64 / SLEW_SHARE as f64 * tenths) as i64;

            prop_assert_eq!(found(after(awake, 0, slewed)), (None, None));
        }

        #[test]
        fn a_sleep_is_found_whatever_the_wall_clock_does(
            awake in 0..=3600 * SECOND,
            asleep in SLEEP_MIN..=1_000_000 * SECOND,
            real in any::<i64>(),
        ) {
            let now = Readings { real, ..after(awake, asleep, 0) };

            prop_assert_eq!(found(now).0, Some(asleep));
        }

        #[test]
        fn no_reading_is_too_strange(
            first in any::<(i64, u64, u64)>(),
            second in any::<(i64, u64, u64)>(),
        ) {
            let readings = |(real, monotonic, boot)| Readings { real, monotonic, boot };

            // The test is that nothing overflows.
            let mut clocks = Clocks::new(readings(first));
            clocks.look(readings(second));

            prop_assert_eq!(clocks.look(readings(second)), Findings::default());
        }
    }
}
