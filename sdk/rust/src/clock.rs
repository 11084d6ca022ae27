//! The time in which deadlines are given.

use std::sync::OnceLock;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// ns of `CLOCK_MONOTONIC`.
///
/// Read through the standard library, which reads it without a system call. `rustix` finds the vDSO by
/// way of `/proc`, which an engine has not, and makes a real call each time: through the sandbox's
/// filter that cost 0.5 µs, four times per question.
pub(crate) fn now() -> u64 {
    static START: OnceLock<(u64, Instant)> = OnceLock::new();
    let (base, start) = START.get_or_init(|| (by_system_call(), Instant::now()));
    base.saturating_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn by_system_call() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).expect("the monotonic clock begins at zero");
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// Whether `deadline` has passed; zero is none.
pub(crate) fn passed(deadline: u64) -> bool {
    deadline != 0 && now() >= deadline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_clock_that_deadlines_are_given_in() {
        let (before, now, after) = (by_system_call(), now(), by_system_call());

        // The start is read a moment after the base, so it may lag by that much.
        assert!(before.saturating_sub(1_000_000) <= now && now <= after);
    }
}
