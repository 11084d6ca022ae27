//! Counts durations with half a per cent of precision in constant memory.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Linear steps between two powers of two.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 8;
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) << STEP_BITS;

/// Durations in ns, counted in buckets of which each is at most 1/256 wide of its value.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    max: u64,
}

/// What of a histogram is shown and carried between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// How many were counted.
    pub count: u64,
    /// Half of them took at most this, ns.
    pub p50: u64,
    /// 99 of 100 took at most this, ns.
    pub p99: u64,
    /// The longest, ns.
    pub max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one duration of `ns`.
    pub fn add(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.max = self.max.max(ns);
    }

    /// Counts everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, ns; 0 if none was counted.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// At least `per_mille` of 1,000 took at most this, ns; 0 if none was counted.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_edge(index).min(self.max);
            }
        }
        0
    }

    /// What is shown of it.
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.count,
            p50: self.quantile(500),
            p99: self.quantile(990),
            max: self.max,
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.summary(), f)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| ns / 1000;
        write!(
            f,
            "n {} p50 {} µs p99 {} µs max {} µs",
            self.count,
            us(self.p50),
            us(self.p99),
            us(self.max)
        )
    }
}

fn bucket(ns: u64) -> usize {
    let index = if ns < STEPS {
        ns
    } else {
        let shift = ns.ilog2() - STEP_BITS;
        (u64::from(shift) + 1) * STEPS + ((ns >> shift) - STEPS)
    };
    usize::try_from(index).expect("there are fewer buckets than a usize counts")
}

/// The largest duration that the bucket counts.
fn upper_edge(index: usize) -> u64 {
    let (group, step) = (index as u64 / STEPS, index as u64 % STEPS);
    if group == 0 {
        return step;
    }
    let shift = group - 1;
    ((STEPS + step) << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_a_bucket_that_ends_at_most_half_a_per_cent_above_it() {
        for ns in (0..64).flat_map(|bit| [1_u64 << bit, (1_u64 << bit) | 1, (1_u64 << bit) / 3]) {
            let edge = upper_edge(bucket(ns));
            assert!(edge >= ns && edge - ns <= ns / 200, "{ns} counted up to {edge}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_durations() {
        let mut histogram = Histogram::default();
        (1..=200).for_each(|ns| histogram.add(ns));

        let summary = histogram.summary();

        assert_eq!(summary, Summary { count: 200, p50: 100, p99: 198, max: 200 });
    }

    #[test]
    fn an_empty_histogram_has_zero_quantiles() {
        assert_eq!(Histogram::default().summary(), Summary::default());
    }
}
