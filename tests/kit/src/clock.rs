//! Time as the platform counts it, and waiting for something to become true.

use std::time::Duration;

use anyhow::{Result, bail};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, the same in every process.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// `duration` in nanoseconds; the largest number if it does not fit.
pub fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `ns` nanoseconds in milliseconds, to show.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn as_ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Sleeps until `at` of [`now`]; returns at once if that has passed.
pub fn sleep_until(at: u64) {
    let left = at.saturating_sub(now());
    if left > 0 {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// Asks `probe` again and again until it gives a value, at most for `limit`.
///
/// # Errors
///
/// If the limit passes; the message says what was waited for. An error of `probe` ends the wait.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if now() - start > ns(limit) {
            bail!("{what} did not come about within {} ms", limit.as_millis());
        }
        pause();
    }
}

/// Half a millisecond: between two looks at something that cannot be slept on.
fn pause() {
    let request = Timespec { tv_sec: 0, tv_nsec: 500_000 };
    let _ = rustix::thread::nanosleep(&request);
}
