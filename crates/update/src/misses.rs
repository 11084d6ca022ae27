//! Questions that were left without a verdict, and when that is too many.
//!
//! On a machine that is busy for a moment any engine lets pass what it has in hand just then. So besides the few that
//! may be missed whatever was asked, one in [`SHARE`] of what was asked lately may be. Lately is the last
//! [`WINDOW`] questions or less: a release that did well for a long time and then falls silent is found out as
//! soon as any.

/// Of so many questions one more may be missed.
const SHARE: u64 = 50;
/// Questions after which the count begins anew.
const WINDOW: u64 = 1000;

/// The misses of one version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Misses {
    max: u64,
    /// Lately.
    missed: u64,
    /// Answers that it had given when the count began.
    answers: u64,
}

impl Misses {
    /// None yet, of which `max` may be.
    pub(crate) const fn new(max: u64) -> Self {
        Self { max, missed: 0, answers: 0 }
    }

    /// Counts `count` more of a version that has given `answers` answers; in words, if that is too many.
    pub(crate) fn add(&mut self, count: u64, answers: u64) -> Option<String> {
        let asked = answers.saturating_sub(self.answers).saturating_add(self.missed);
        if asked >= WINDOW {
            (self.missed, self.answers) = (0, answers.saturating_sub(WINDOW - 1));
        }
        self.missed = self.missed.saturating_add(count);
        let asked = answers.saturating_sub(self.answers).saturating_add(self.missed);
        let limit = self.max.saturating_add(asked / SHARE);
        (self.missed > limit).then(|| {
            let Self { missed, max, .. } = self;
            format!(
                "{missed} of the last {asked} questions were left without a verdict in their budget, over the \
                 limit of {max} and one in {SHARE}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_from_the_start_is_found_at_once() {
        let mut misses = Misses::new(3);

        assert_eq!((0..3).filter_map(|_| misses.add(1, 0)).count(), 0);
        assert!(misses.add(1, 0).is_some());
    }

    #[test]
    fn who_falls_silent_after_a_million_answers_is_found_within_a_window() {
        let mut misses = Misses::new(3);

        let found = (1..100).find(|_| misses.add(1, 1_000_000).is_some());

        assert_eq!(found, Some(24), "three, twenty of a thousand, and one");
    }

    #[test]
    fn a_moment_of_a_busy_machine_now_and_then_is_no_finding() {
        let mut misses = Misses::new(3);

        let found = (0..1000).find(|round| misses.add(16, (round + 1) * 1000).is_some());

        assert_eq!(found, None);
    }

    #[test]
    fn one_in_twenty_is_too_many() {
        let mut misses = Misses::new(3);

        assert!((0..1000).any(|round| misses.add(1, round * 19).is_some()));
    }
}
