//! What a version of an engine takes: time, processor, memory; and whether that is too much beside another one.
//!
//! A percentage alone finds a hundred percent more of nothing. So each has a floor, below which it is no
//! finding however many times the other's it is, and an average is none before enough was measured.

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Sign};

/// Fewest answers of which one in a hundred is told.
pub const TIMED_MIN: u64 = 100;
/// Fewest of which one in two is.
const HALVED_MIN: u64 = 16;
/// So much memory may be taken whatever was taken before, in bytes.
const MEMORY_FLOOR: u64 = 32 << 20;
/// So much of one processor may be taken whatever was taken before, in percent.
const PROCESSOR_FLOOR: u64 = 5;
/// Share of the budget below which nothing is slow, in percent.
const BUDGET_SHARE: u64 = 50;

/// What one version took while it was watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readings {
    /// For how long, ns.
    pub span_ns: u64,
    /// Answers that it gave.
    pub answers: u64,
    /// Answers that were timed: all of them, or the last ones.
    pub timed: u64,
    /// Half of these took at most this, ns from the question.
    pub p50_ns: u64,
    /// 99 of 100 of these took at most this, ns from the question.
    pub p99_ns: u64,
    /// Processor time that it took for them, ns; `None` where it is not told.
    pub cpu_ns: Option<u64>,
    /// Memory that it has, in bytes; `None` where it is not told.
    pub memory_bytes: Option<u64>,
}

/// Of a version that did nothing, for tests.
#[cfg(test)]
pub(crate) const QUIET: Readings = Readings {
    span_ns: 0,
    answers: 0,
    timed: 0,
    p50_ns: 0,
    p99_ns: 0,
    cpu_ns: None,
    memory_bytes: None,
};

/// How much more than the version before one may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The time that a question has, ns.
    pub budget_ns: u64,
    /// Longest verdict of 99 in a hundred, in percent of the version before.
    pub latency_percent: u32,
    /// Most processor time for a question, in percent of the version before.
    pub cpu_percent: u32,
    /// Most memory, in percent of the version before.
    pub memory_percent: u32,
}

impl Bounds {
    /// What `new` takes too much of beside `old`, if anything; of what is not known of `old` only what has an
    /// absolute limit.
    pub fn excess(&self, new: &Readings, old: Option<&Readings>) -> Option<Finding> {
        self.slow(new, old).or_else(|| self.memory(new, old)).or_else(|| self.processor(new, old))
    }

    /// The same of what decides nothing: the machine lets it wait when others have more to do, so that only what
    /// half of its answers took is its own.
    pub fn excess_in_shadow(&self, new: &Readings, old: Option<&Readings>) -> Option<Finding> {
        let halves = Readings { p99_ns: new.p50_ns, ..*new };
        self.excess(&halves, old)
    }

    fn slow(&self, new: &Readings, old: Option<&Readings>) -> Option<Finding> {
        let floor = self.budget_ns / 100 * BUDGET_SHARE;
        let before = old.filter(|old| old.timed >= TIMED_MIN).map_or(0, |old| old.p99_ns);
        let most = percent(before, self.latency_percent).max(floor);
        let (share, took) = if new.timed >= TIMED_MIN && new.p99_ns > most {
            ("99 of 100", new.p99_ns)
        } else if new.timed >= HALVED_MIN && new.p50_ns > most {
            ("half of the", new.p50_ns)
        } else {
            return None;
        };
        let text = format!(
            "{share} answers took up to {}, over the limit of {} (99 of 100 of the version before: {}; the \
             budget: {})",
            ms(took),
            ms(most),
            ms(before),
            ms(self.budget_ns)
        );
        Some(Finding::new(Sign::Slow, text))
    }

    fn memory(&self, new: &Readings, old: Option<&Readings>) -> Option<Finding> {
        let (mine, before) = (new.memory_bytes?, old?.memory_bytes?);
        let most = percent(before, self.memory_percent).max(before.saturating_add(MEMORY_FLOOR));
        if mine <= most {
            return None;
        }
        let text = format!(
            "it has {} MiB of memory, over the limit of {} MiB (the version before: {} MiB)",
            mine >> 20,
            most >> 20,
            before >> 20
        );
        Some(Finding::new(Sign::Memory, text))
    }

    fn processor(&self, new: &Readings, old: Option<&Readings>) -> Option<Finding> {
        let old = old?;
        let (mine, before) = (new.cpu_ns?, old.cpu_ns?);
        let known = new.answers >= TIMED_MIN && old.answers >= TIMED_MIN;
        let floor = new.span_ns / 100 * PROCESSOR_FLOOR;
        let (mine_each, before_each) = (each(mine, new.answers), each(before, old.answers));
        let most = percent(before_each, self.cpu_percent);
        if !known || mine <= floor || mine_each <= most {
            return None;
        }
        let text = format!(
            "it takes {} µs of a processor for a question, over the limit of {} µs (the version before: {} µs)",
            mine_each / 1000,
            most / 1000,
            before_each / 1000
        );
        Some(Finding::new(Sign::Processor, text))
    }
}

fn percent(of: u64, percent: u32) -> u64 {
    let share = u128::from(of) * u128::from(percent) / 100;
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn each(whole: u64, parts: u64) -> u64 {
    whole.checked_div(parts).unwrap_or(0)
}

fn ms(nanos: u64) -> String {
    format!("{}.{} ms", nanos / 1_000_000, nanos / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const BOUNDS: Bounds =
        Bounds { budget_ns: 50 * MS, latency_percent: 300, cpu_percent: 300, memory_percent: 300 };

    fn readings(p99_ms: u64, cpu_ms: u64, memory_mib: u64) -> Readings {
        Readings {
            span_ns: 10_000 * MS,
            answers: 1000,
            timed: 1000,
            p50_ns: p99_ms * MS / 2,
            p99_ns: p99_ms * MS,
            cpu_ns: Some(cpu_ms * MS),
            memory_bytes: Some(memory_mib << 20),
        }
    }

    fn sign(new: &Readings, old: Option<&Readings>) -> Option<Sign> {
        BOUNDS.excess(new, old).map(|finding| finding.sign)
    }

    #[test]
    fn what_takes_as_much_as_before_is_no_finding() {
        let old = readings(2, 100, 10);

        assert_eq!(sign(&old, Some(&old)), None);
    }

    #[test]
    fn many_times_of_little_is_no_finding() {
        let (old, new) = (readings(1, 10, 2), readings(24, 400, 30));

        assert_eq!(sign(&new, Some(&old)), None);
    }

    #[test]
    fn slow_is_over_half_of_the_budget_and_over_the_percentage() {
        assert_eq!(sign(&readings(26, 1, 1), Some(&readings(2, 1, 1))), Some(Sign::Slow));
        // The machine is busy: the one before was as slow.
        assert_eq!(sign(&readings(26, 1, 1), Some(&readings(20, 1, 1))), None);
        assert_eq!(sign(&readings(26, 1, 1), None), Some(Sign::Slow));
    }

    #[test]
    fn one_in_a_hundred_is_not_told_of_fewer() {
        let few = Readings { timed: 99, ..readings(49, 1, 1) };

        assert_eq!(sign(&few, Some(&readings(2, 1, 1))), None);
    }

    #[test]
    fn of_few_half_are_slow_or_it_is_not() {
        let half = Readings { timed: 16, p50_ns: 26 * MS, ..readings(30, 1, 1) };

        assert_eq!(sign(&half, Some(&readings(2, 1, 1))), Some(Sign::Slow));
        assert_eq!(sign(&Readings { timed: 15, ..half }, Some(&readings(2, 1, 1))), None);
    }

    #[test]
    fn in_shadow_one_in_a_hundred_is_not_told() {
        let (new, old) = (readings(49, 1, 1), readings(2, 1, 1));
        let slow = Readings { p50_ns: 26 * MS, ..new };

        assert_eq!(BOUNDS.excess_in_shadow(&new, Some(&old)), None);
        let found = BOUNDS.excess_in_shadow(&slow, Some(&old)).map(|finding| finding.sign);
        assert_eq!(found, Some(Sign::Slow));
    }

    #[test]
    fn a_leak_is_found_above_floor_and_percentage() {
        assert_eq!(sign(&readings(1, 1, 43), Some(&readings(1, 1, 10))), Some(Sign::Memory));
        assert_eq!(sign(&readings(1, 1, 42), Some(&readings(1, 1, 10))), None);
        assert_eq!(sign(&readings(1, 1, 301), Some(&readings(1, 1, 100))), Some(Sign::Memory));
        assert_eq!(sign(&readings(1, 1, 300), Some(&readings(1, 1, 100))), None);
    }

    #[test]
    fn processor_time_is_compared_by_the_question() {
        let old = readings(1, 1000, 1);
        let twice_the_questions = Readings { answers: 2000, ..readings(1, 6000, 1) };

        assert_eq!(sign(&readings(1, 3100, 1), Some(&old)), Some(Sign::Processor));
        assert_eq!(sign(&twice_the_questions, Some(&old)), None);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let most = Readings {
            span_ns: u64::MAX,
            answers: u64::MAX,
            timed: u64::MAX,
            p50_ns: u64::MAX,
            p99_ns: u64::MAX,
            cpu_ns: Some(u64::MAX),
            memory_bytes: Some(u64::MAX),
        };

        assert_eq!(sign(&most, Some(&most)), None);
    }
}
