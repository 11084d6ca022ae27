//! Times counted in buckets of a fixed relative width, in constant memory and a few instructions each.
//!
//! Between two powers of two lie 16 buckets of equal width, so a bucket is at most 1/16 as wide as the
//! times in it. A quantile is told as its bucket's upper edge: never below the exact value and at most
//! 6.25 % above it. Times up to 16 ns are told exactly.

use outrigger_api::ledger::Times;

/// Buckets between two powers of two.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 4;
/// Times from this power of two on share the last bucket: 69 s, more than any budget.
const TOP_BITS: u32 = 36;
/// The first is for no time at all.
const BUCKETS: usize = 1 + (((TOP_BITS - STEP_BITS + 1) as usize) << STEP_BITS);

/// The upper edges that the outside is told, powers of two: 2^12 ns (4 µs) to 2^34 ns (17 s).
const COARSE: std::ops::RangeInclusive<u32> = 12..=34;

/// Times in ns.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one time of `nanos`.
    pub(crate) fn add(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(nanos);
        self.max = self.max.max(nanos);
    }

    /// Counts what `other` counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// What was counted since this was `before`. The largest time of before may stand in for a smaller one.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (mine, theirs) in since.buckets.iter_mut().zip(&before.buckets) {
            *mine = mine.saturating_sub(*theirs);
        }
        since.count = self.count.saturating_sub(before.count);
        since.sum = self.sum.saturating_sub(before.sum);
        since
    }

    /// Times counted.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        if self.count > 0 {
            *self = Self::default();
        }
    }

    /// At least `percent` of 100 took at most this, ns; 0 if none was counted.
    pub(crate) fn quantile(&self, percent: u64) -> u64 {
        let wanted = self.count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return if index == BUCKETS - 1 {
                    self.max
                } else {
                    upper_edge(index).min(self.max)
                };
            }
        }
        0
    }

    /// What is told of it.
    pub(crate) fn times(&self) -> Times {
        Times {
            count: self.count,
            sum_ns: self.sum,
            max_ns: self.max,
            p50_ns: self.quantile(50),
            p99_ns: self.quantile(99),
        }
    }

    /// How many took at most each power of two that the outside is told.
    pub(crate) fn coarse(&self) -> Vec<(u64, u64)> {
        let mut seen = 0;
        let mut next = 0;
        let up_to = |bits: u32| {
            let edge = 1_u64 << bits;
            while next < BUCKETS && upper_edge(next) <= edge {
                seen += self.buckets[next];
                next += 1;
            }
            (edge, seen)
        };
        COARSE.map(up_to).collect()
    }
}

/// A bucket counts what is above the upper edge of the one before, up to its own, which it counts too: so
/// a power of two is always an upper edge.
fn bucket(nanos: u64) -> usize {
    let Some(below) = nanos.checked_sub(1) else { return 0 };
    let index = if below < STEPS {
        below
    } else {
        let shift = below.ilog2() - STEP_BITS;
        (u64::from(shift) + 1) * STEPS + ((below >> shift) - STEPS)
    };
    usize::try_from(index + 1).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest time that the bucket counts, but the last, which has no edge.
fn upper_edge(index: usize) -> u64 {
    let Some(place) = index.checked_sub(1) else { return 0 };
    let (group, step) = (place as u64 / STEPS, place as u64 % STEPS);
    if group == 0 { step + 1 } else { (STEPS + step + 1) << (group - 1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        times.iter().for_each(|&nanos| histogram.add(nanos));
        histogram
    }

    /// The exact quantile: the smallest time that so many took at most.
    fn exact(times: &[u64], percent: u64) -> u64 {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let rank = (times.len() as u64 * percent).div_ceil(100).max(1);
        sorted[usize::try_from(rank).expect("small") - 1]
    }

    fn times() -> impl Strategy<Value = Vec<u64>> {
        // Every order of magnitude is as likely as any other.
        let one = (0_u32..TOP_BITS, any::<u64>()).prop_map(|(bits, any)| any % (1 << (bits + 1)));
        prop::collection::vec(one.prop_map(|nanos| nanos.min(1 << TOP_BITS)), 1..400)
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_below_the_exact_one_and_at_most_a_sixteenth_above(
            times in times(),
            percent in 1_u64..=100,
        ) {
            let exact = exact(&times, percent);
            let told = histogram(&times).quantile(percent);

            prop_assert!(told >= exact, "{told} is below {exact}");
            prop_assert!(told - exact <= exact / 16, "{told} is too far above {exact}");
        }

        #[test]
        fn coarse_buckets_are_exact_and_cumulative(times in times()) {
            for (edge, count) in histogram(&times).coarse() {
                let exact = times.iter().filter(|&&nanos| nanos <= edge).count() as u64;
                prop_assert_eq!(count, exact, "up to {} ns", edge);
            }
        }

        #[test]
        fn merging_is_counting_both(one in times(), other in times()) {
            let mut merged = histogram(&one);
            merged.merge(&histogram(&other));
            let both: Vec<u64> = one.into_iter().chain(other).collect();

            prop_assert_eq!(merged.times(), histogram(&both).times());
        }
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(Histogram::default().times(), Times::default());
    }

    #[test]
    fn what_is_longer_than_all_buckets_is_told_as_the_longest() {
        let long = histogram(&[u64::MAX, 1 << 40]);

        assert_eq!(long.times().p99_ns, u64::MAX);
        assert_eq!(long.coarse().last(), Some(&(1 << 34, 0)));
    }
}
