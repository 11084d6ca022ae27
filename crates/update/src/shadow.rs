//! Shadow: a release judges live questions beside the one that decides, and this judges it by that.
//!
//! The judge is fed what both said of the same question and when; it has no clock, no process and no journal.
//! At once it fails a release that denies what the machine needs, whose new denials are of too many different
//! objects, that has gone blind to too many, or that leaves too many questions without a verdict. When its time
//! is over it compares what both took. A question of which the one that decides said nothing in its budget tells
//! nothing of the other either: it is counted and not compared. Beside nothing, where there is no release in
//! force yet, each denial is new.
//!
//! Time is ns of `CLOCK_MONOTONIC`, which stands still while the machine is suspended.

mod differences;

use std::collections::HashSet;

use outrigger_api::control::Difference;
use outrigger_api::settings::UpdatesConfig;
use outrigger_api::{Event, FileKey, Verdict};

use self::differences::Differences;
use crate::finding::{Finding, Sign, Standing};
use crate::misses::Misses;
use crate::readings::{Bounds, Readings};
use crate::words::{rule, shown};

/// Objects that are known to have been denied in shadow; later ones count as new in probation.
pub const KNOWN_MAX: usize = 1 << 14;

/// What a release in shadow is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it runs, ns.
    pub length: u64,
    /// How long at most, while questions are missing, ns.
    pub longest: u64,
    /// Fewest questions that both judged.
    pub events_min: u64,
    /// Most different objects newly denied; and most of which a verdict was lost.
    pub objects_max: usize,
    /// Most questions without a verdict.
    pub misses_max: u64,
    /// How much it may take beside the one that decides.
    pub bounds: Bounds,
}

impl Limits {
    /// Those of `config`, for an engine whose questions have `budget_ns`.
    pub fn new(config: &UpdatesConfig, budget_ns: u64, emergency: bool) -> Self {
        let (shadow, probation) = (&config.shadow, &config.probation);
        let length = if emergency { shadow.emergency_ms } else { shadow.length_ms };
        let ns = |ms: u32| u64::from(ms) * 1_000_000;
        Self {
            length: ns(length),
            longest: ns(shadow.longest_ms.max(length)),
            events_min: shadow.events_min.into(),
            objects_max: shadow.new_denials_max as usize,
            misses_max: shadow.misses_max.into(),
            bounds: Bounds {
                budget_ns,
                latency_percent: probation.latency_percent,
                cpu_percent: probation.cpu_percent,
                memory_percent: probation.memory_percent,
            },
        }
    }
}

/// What was said of one question.
#[derive(Debug, Clone)]
pub struct Judged<'a> {
    /// The event.
    pub event: Event,
    /// The object.
    pub object: FileKey,
    /// The object's path as it was given, where known.
    pub path: Option<&'a str>,
    /// What the one that decides said; `None` if it said nothing in the budget.
    pub active: Option<Verdict>,
    /// What the one in shadow said; `None` if it said nothing, or was not shown the question.
    pub shadow: Option<Verdict>,
    /// The rule that the one who denies names.
    pub rule: &'a str,
    /// The one in shadow was shown it, and said nothing in the budget or was later.
    pub late: bool,
    /// The machine needs the object.
    pub guarded: bool,
}

/// The judge of one release in shadow.
#[derive(Debug)]
pub struct Shadow {
    limits: Limits,
    /// Whether a release decides beside which it is judged.
    beside: bool,
    begun: u64,
    judged: u64,
    missed: u64,
    misses: Misses,
    uncompared: u64,
    differences: Differences,
    newly_denied: HashSet<FileKey>,
    lost: HashSet<FileKey>,
    denied: HashSet<FileKey>,
    finding: Option<Finding>,
}

impl Shadow {
    /// The judge of a release that begins its time at `now`, `beside` one that decides or beside nothing.
    pub fn begin(limits: Limits, beside: bool, now: u64) -> Self {
        Self {
            limits,
            beside,
            begun: now,
            judged: 0,
            missed: 0,
            misses: Misses::in_shadow(limits.misses_max),
            uncompared: 0,
            differences: Differences::default(),
            newly_denied: HashSet::new(),
            lost: HashSet::new(),
            denied: HashSet::new(),
            finding: None,
        }
    }

    /// Takes what was said of one question; gives the finding if that is too much.
    pub fn judge(&mut self, one: &Judged<'_>) -> Option<&Finding> {
        let denies = one.shadow == Some(Verdict::Deny);
        if denies && self.denied.len() < KNOWN_MAX {
            self.denied.insert(one.object);
        }
        let was_shown = one.shadow.is_some() || one.late;
        let active = match one.active {
            Some(active) if was_shown => active,
            None if was_shown && !self.beside => Verdict::Allow,
            Some(_) | None => {
                self.uncompared += 1;
                if denies && one.guarded {
                    self.differences.add(one, Verdict::Allow, Verdict::Deny);
                    self.guarded(one);
                }
                return self.finding.as_ref();
            }
        };
        if one.late {
            self.missed += 1;
            if let Some(text) = self.misses.add(1, self.judged) {
                self.find(Sign::Misses, text);
            }
        }
        let Some(shadow) = one.shadow else { return self.finding.as_ref() };
        self.judged += u64::from(!one.late);
        if shadow != active {
            self.differences.add(one, active, shadow);
            self.differ(one, active, shadow);
        } else if denies && one.guarded {
            self.guarded(one);
        }
        self.finding.as_ref()
    }

    fn differ(&mut self, one: &Judged<'_>, active: Verdict, shadow: Verdict) {
        let max = self.limits.objects_max;
        if shadow == Verdict::Deny {
            if one.guarded {
                self.guarded(one);
            }
            if self.newly_denied.len() <= max {
                self.newly_denied.insert(one.object);
            }
            if self.newly_denied.len() > max {
                let text = format!("over {max} different objects, the limit, are newly denied");
                self.find(Sign::NewDenials, text);
            }
        } else if active == Verdict::Deny || shadow == Verdict::Abstain {
            if self.lost.len() <= max {
                self.lost.insert(one.object);
            }
            if self.lost.len() > max {
                let text = format!(
                    "over {max} different objects, the limit, are no longer denied, or no longer judged"
                );
                self.find(Sign::LostVerdicts, text);
            }
        }
    }

    fn guarded(&mut self, one: &Judged<'_>) {
        let path = one.path.unwrap_or("an object without a path");
        let text = format!(
            "{} of {} was denied by {}, and the machine needs it",
            one.event.name(),
            shown(path),
            rule(one.rule)
        );
        self.find(Sign::DeniedGuarded, text);
    }

    /// The first finding stands.
    fn find(&mut self, sign: Sign, text: String) {
        if self.finding.is_none() {
            let listed = self.differences.listed();
            let text = if listed.is_empty() { text } else { format!("{text}; {listed}") };
            self.finding = Some(Finding::new(sign, text));
        }
    }

    /// How it stands at `now`, having taken `new` where the one that decides took `old`.
    pub fn look(&self, new: &Readings, old: Option<&Readings>, now: u64) -> Standing {
        if let Some(finding) = &self.finding {
            return Standing::Failed(finding.clone());
        }
        let served = self.served(now);
        if served < self.limits.length {
            return Standing::Running;
        }
        if self.judged < self.limits.events_min {
            let text = format!("{} of {} questions judged", self.judged, self.limits.events_min);
            return match served < self.limits.longest {
                true => Standing::Waiting(text),
                false => Standing::Failed(Finding::new(
                    Sign::TooFewEvents,
                    format!("{text} in {} ms, the longest that it may take", served / 1_000_000),
                )),
            };
        }
        if let Some(text) = self.misses.in_the_end(self.missed, self.judged) {
            return Standing::Failed(Finding::new(Sign::Misses, text));
        }
        match self.limits.bounds.excess_in_shadow(new, old) {
            Some(finding) => Standing::Failed(finding),
            None => Standing::Passed,
        }
    }

    /// For how long it has been judged at `now`, ns.
    pub fn served(&self, now: u64) -> u64 {
        now.saturating_sub(self.begun)
    }

    /// How long that is to be, ns.
    pub const fn length(&self) -> u64 {
        self.limits.length
    }

    /// Questions that it judged, that it left without a verdict, and that were not compared.
    pub const fn counts(&self) -> (u64, u64, u64) {
        (self.judged, self.missed, self.uncompared)
    }

    /// Where it differs, the most frequent first, and how many differences are not listed.
    pub fn differences(&self) -> (Vec<Difference>, u64) {
        self.differences.list()
    }

    /// What it was, in a line for the journal.
    pub fn summary(&self) -> String {
        let Self { judged, missed, uncompared, .. } = self;
        let listed = self.differences.listed();
        let listed = if listed.is_empty() { "no difference".to_owned() } else { listed };
        format!("{judged} questions judged, {missed} missed, {uncompared} not compared; {listed}")
    }

    /// The objects that it denied, alone or as the other one did: in probation these are no news.
    pub fn denied(&self) -> HashSet<FileKey> {
        self.denied.clone()
    }
}

#[cfg(test)]
mod tests;
