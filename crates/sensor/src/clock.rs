//! The one clock of the trusted processes, and the two that it is compared with.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`: the same in every process, stands still while suspended.
pub fn now() -> u64 {
    unsigned(ClockId::Monotonic)
}

/// Nanoseconds of `CLOCK_BOOTTIME`: as [`now`], but goes on while suspended.
pub fn boot() -> u64 {
    unsigned(ClockId::Boottime)
}

/// Nanoseconds of `CLOCK_REALTIME` since the epoch, negative before it: whatever somebody set it to.
pub fn real() -> i64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

fn unsigned(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// `ms` milliseconds in nanoseconds.
pub const fn ms(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}
