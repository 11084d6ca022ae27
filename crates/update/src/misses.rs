//! Questions that were left without a verdict, and when that is too many.
//!
//! On a machine that is busy for a moment any engine lets pass what it has in hand just then. So besides the few that
//! may be missed whatever was asked, a share of what was asked lately may be. Lately is this count and the
//! one before, of [`WINDOW`] answers each: a release that did well for a long time and then falls silent is found out
//! soon all the same.
//!
//! What runs in shadow has the processor after everybody else, and begins with nothing in its memory. So its share
//! is larger and counts from the first question on, and only at its end is it held to what it was asked in fact.
//!
//! Where the policy says 0 none is allowed, and no share either.

/// Of so many questions one more may be missed by what decides.
const SHARE: u64 = 50;
/// The same in shadow.
const SHARE_IN_SHADOW: u64 = 10;
/// Answers after which the count begins anew.
const WINDOW: u64 = 1000;

/// The misses of one version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Misses {
    max: u64,
    share: u64,
    /// In this count.
    missed: u64,
    /// Answers that it had given when this count began.
    since: u64,
    /// Answers of the count before.
    before: u64,
}

impl Misses {
    /// None yet, of which `max` may be.
    pub(crate) const fn new(max: u64) -> Self {
        Self { max, share: SHARE, missed: 0, since: 0, before: 0 }
    }

    /// The same of what runs in shadow.
    pub(crate) const fn in_shadow(max: u64) -> Self {
        Self { share: SHARE_IN_SHADOW, before: WINDOW, ..Self::new(max) }
    }

    /// In words, if `missed` of `missed` and `answers` questions are too many in the end.
    pub(crate) fn in_the_end(&self, missed: u64, answers: u64) -> Option<String> {
        let whole = Self { missed: 0, since: 0, before: 0, ..*self };
        whole.count(missed, answers)
    }

    /// Counts `count` more of a version that has given `answers` answers; in words, if that is too many.
    pub(crate) fn add(&mut self, count: u64, answers: u64) -> Option<String> {
        if answers.saturating_sub(self.since) >= WINDOW {
            *self = Self { missed: 0, since: answers, before: WINDOW, ..*self };
        }
        self.missed = self.missed.saturating_add(count);
        self.count(self.missed, answers)
    }

    fn count(&self, missed: u64, answers: u64) -> Option<String> {
        let Self { max, share, .. } = self;
        let answered = answers.saturating_sub(self.since).saturating_add(self.before);
        let asked = answered.saturating_add(missed);
        if *max == 0 {
            let text = format!(
                "{missed} questions were left without a verdict in their budget, and none may be"
            );
            return (missed > 0).then_some(text);
        }
        (missed > max.saturating_add(asked / share)).then(|| {
            format!(
                "{missed} of the last {asked} questions were left without a verdict in their budget, over the \
                 limit of {max} and one in {share}"
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
    fn in_shadow_a_cold_start_is_no_finding_and_silence_is() {
        let mut misses = Misses::in_shadow(3);

        assert_eq!(misses.add(16, 0), None);
        assert_eq!(misses.in_the_end(16, 1000), None);
        // On a machine where little is asked it does not come to more.
        assert!(misses.in_the_end(4, 0).is_some());
        assert!((0..20).any(|_| misses.add(16, 0).is_some()));
    }

    #[test]
    fn a_moment_of_a_busy_machine_now_and_then_is_no_finding() {
        let mut misses = Misses::new(3);

        let found = (0..1000).find(|round| misses.add(16, (round + 1) * 1000).is_some());

        assert_eq!(found, None);
    }

    #[test]
    fn a_limit_of_none_is_none() {
        let mut misses = Misses::in_shadow(0);

        assert_eq!((misses.add(0, 5000), misses.in_the_end(0, 5000)), (None, None));
        assert!(misses.in_the_end(1, 5000).is_some());
        assert!(misses.add(1, 5000).is_some());
    }

    #[test]
    fn one_in_twenty_is_too_many() {
        let mut misses = Misses::new(3);

        assert!((0..1000).any(|round| misses.add(1, round * 19).is_some()));
    }
}
