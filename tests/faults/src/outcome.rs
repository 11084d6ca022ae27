//! What came of one fault, judged by what its row and the specification promise.

use std::collections::BTreeMap;

use outrigger_api::FailureReason as R;
use serde::{Deserialize, Serialize};

use crate::load::Compared;
use crate::row::{Counted, Ends, Row};

/// Largest effect on the other engine's p99, outside the moment of the fault.
pub(crate) const EFFECT_MAX: f64 = 1.10;

/// What came of one fault.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) fault: String,
    /// Whose doing it was that it was noticed.
    pub(crate) noticed_by: String,
    /// From the fault to the line of the journal, ms.
    pub(crate) noticed_ms: f64,
    /// Faults counted from then on, by reason.
    pub(crate) faults: BTreeMap<String, u64>,
    /// Fallbacks counted from then on, by reason.
    pub(crate) fallbacks: BTreeMap<String, u64>,
    /// Denials that a guard rail did not let through.
    pub(crate) conflicts: u64,
    /// Denials that were not enforced.
    pub(crate) would_deny: u64,
    /// Opens from the fault on, all of them served.
    pub(crate) opens: u64,
    /// The longest of them, ms.
    pub(crate) longest_ms: f64,
    /// What it may have taken, ms.
    pub(crate) allowed_ms: f64,
    /// What an open takes that both engines are asked about, before and after.
    pub(crate) p99: Option<P99>,
    /// How it ended.
    pub(crate) ended: String,
    /// From the fault to that end, ms.
    pub(crate) ended_ms: f64,
    /// What did not hold.
    pub(crate) wrong: Vec<String>,
    /// What took longer than promised: the machine can do that too, so it is tried once more.
    pub(crate) late: Vec<String>,
    /// Why it could not be played here.
    pub(crate) skipped: Option<String>,
}

/// What an open takes: of the platform with the fault, and of one beside it without.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct P99 {
    /// 99 of 100 opens took at most this before, ns, with and without.
    pub(crate) before: [u64; 2],
    /// The same after.
    pub(crate) after: [u64; 2],
    /// How much more an open takes after the fault than before, as a factor, where what changed without a fault as
    /// well is taken for the machine's doing.
    pub(crate) effect: f64,
    /// What `effect` may be wrong by: two standard errors.
    pub(crate) error: f64,
}

impl P99 {
    pub(crate) fn new(before: &Compared, after: &Compared) -> Self {
        let (ratio_before, error_before) = before.ratio();
        let (ratio_after, error_after) = after.ratio();
        let effect = ratio_after / ratio_before;
        let relative = (error_before / ratio_before).hypot(error_after / ratio_after);
        Self { before: before.p99(), after: after.p99(), effect, error: 2.0 * effect * relative }
    }

    /// What does not hold of it, if anything.
    fn fails(&self) -> Option<String> {
        let percent = |factor: f64| factor * 100.0;
        let (change, error) = (percent(self.effect - 1.0), percent(self.error));
        let limit = percent(EFFECT_MAX - 1.0);
        if self.effect - self.error > EFFECT_MAX {
            return Some(format!(
                "the other's p99 is {change:+.0} ± {error:.0} %, over {limit:.0} %"
            ));
        }
        // Neither a yes nor a no: the machine did too much else.
        let unclear = self.effect + self.error > EFFECT_MAX && self.error > EFFECT_MAX - 1.0;
        let why =
            || format!("the other's p99 is {change:+.0} ± {error:.0} %: the machine was too busy");
        unclear.then(why)
    }
}

impl Outcome {
    /// Whether everything held.
    pub(crate) fn holds(&self) -> bool {
        self.wrong.is_empty() && self.late.is_empty()
    }

    /// Finds an effect on the other engine that is too large.
    pub(crate) fn judge_p99(&mut self) {
        self.late.extend(self.p99.as_ref().and_then(P99::fails));
    }

    /// Finds what was counted that should not have been, and what was not.
    pub(crate) fn judge_counts(&mut self, row: &Row) {
        let count = |name: &str| {
            let of = |counts: &BTreeMap<String, u64>| counts.get(name).copied().unwrap_or(0);
            of(&self.faults) + of(&self.fallbacks)
        };
        let (counted, missing) = match row.counted {
            Counted::Nothing => (None, false),
            Counted::Reason(reason) => (Some(reason), count(reason.name()) == 0),
            Counted::Conflicts => (None, self.conflicts == 0),
            Counted::WouldDeny => (None, self.would_deny == 0),
        };
        if missing {
            self.wrong.push(format!("not counted as {:?}", row.counted));
        }
        if let Some(reason) = counted.filter(|_| row.ends == Ends::Restarted) {
            let times = self.faults.get(reason.name()).copied().unwrap_or(0);
            if times > 1 {
                self.wrong.push(format!("one fault, counted {times} times as {reason:?}"));
            }
        }
        // What was just being asked when the engine was taken off the dock is answered without it.
        let off = (row.ends == Ends::Quarantined).then_some(R::Quarantined);
        let expected: Vec<&str> =
            counted.iter().chain(row.along).chain(&off).map(|reason| reason.name()).collect();
        let strangers: Vec<&String> = self
            .faults
            .keys()
            .chain(self.fallbacks.keys())
            .filter(|name| !expected.contains(&name.as_str()))
            .collect();
        if !strangers.is_empty() {
            let what = format!("counted as {strangers:?} too");
            // A machine that stands still for a budget makes any engine slow.
            let slow_alone = strangers.iter().all(|name| **name == R::EngineSlow.name());
            if slow_alone { self.late.push(what) } else { self.wrong.push(what) }
        }
        if row.counted != Counted::Conflicts && self.conflicts > 0 {
            self.wrong.push(format!("{} conflicts", self.conflicts));
        }
        if row.counted != Counted::WouldDeny && self.would_deny > 0 {
            self.wrong.push(format!("{} denials not enforced", self.would_deny));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ROWS;

    fn row(fault: &str) -> &'static Row {
        ROWS.iter().find(|row| row.fault == fault).expect("the row is there")
    }

    fn p99(effect: f64, error: f64) -> P99 {
        P99 { before: [0; 2], after: [0; 2], effect, error }
    }

    #[test]
    fn an_effect_that_is_surely_over_the_limit_fails() {
        assert!(p99(1.3, 0.1).fails().is_some());
    }

    #[test]
    fn an_effect_that_may_be_over_the_limit_fails_only_if_it_could_not_be_measured() {
        assert!(p99(1.08, 0.04).fails().is_none());
        assert!(p99(1.08, 0.4).fails().is_some());
    }

    #[test]
    fn a_gain_holds_however_badly_it_is_measured() {
        assert!(p99(0.5, 0.4).fails().is_none());
    }

    #[test]
    fn a_reason_that_is_not_counted_and_a_stranger_are_found() {
        let faults = [("garbage".to_owned(), 1)].into();
        let mut outcome = Outcome { faults, ..Outcome::default() };

        outcome.judge_counts(row("killed"));

        assert_eq!(outcome.wrong.len(), 2, "{:?}", outcome.wrong);
    }

    #[test]
    fn a_row_counted_under_its_reason_holds() {
        let faults = [("engine-crashed".to_owned(), 1)].into();
        let fallbacks = [("not-docked".to_owned(), 3)].into();
        let mut outcome = Outcome { faults, fallbacks, ..Outcome::default() };

        outcome.judge_counts(row("killed"));

        assert!(outcome.holds(), "{:?}", outcome.wrong);
    }
}
