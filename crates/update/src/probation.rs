//! Probation: a release decides, and this watches it.
//!
//! The gate is fed what goes wrong, at once, and what the release takes, now and then; it says when that is too
//! much, and that is final. What the release before took is what it is held to, where that is known.
//!
//! A denial is news if its object was not denied in shadow, where the one before was asked about it too.
//!
//! Time is ns of `CLOCK_MONOTONIC`, which stands still while the machine is suspended.

use std::collections::HashSet;

use outrigger_api::settings::ProbationConfig;
use outrigger_api::{Event, FailureReason, FileKey};

use crate::finding::{Finding, Sign, Standing};
use crate::misses::Misses;
use crate::readings::{Bounds, Readings};
use crate::words::{rule, shown};

/// Denials that a finding lists.
const LISTED_MAX: usize = 8;
/// Objects that are told apart; as many as a configuration can allow.
const OBJECTS_MAX: usize = 1 << 12;

/// What a release in probation is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long, ns.
    pub length: u64,
    /// Most ends of its process, by itself or for a fault.
    pub crashes_max: u64,
    /// Most questions without a verdict.
    pub misses_max: u64,
    /// Most different objects that it denies and did not in shadow.
    pub objects_max: usize,
    /// How much it may take beside the one before.
    pub bounds: Bounds,
}

impl Limits {
    /// Those of `config`, for an engine whose questions have `budget_ns`.
    pub fn new(config: &ProbationConfig, budget_ns: u64) -> Self {
        Self {
            length: u64::from(config.length_ms) * 1_000_000,
            crashes_max: config.crashes_max.into(),
            misses_max: config.misses_max.into(),
            objects_max: (config.new_denials_max as usize).min(OBJECTS_MAX),
            bounds: Bounds {
                budget_ns,
                latency_percent: config.latency_percent,
                cpu_percent: config.cpu_percent,
                memory_percent: config.memory_percent,
            },
        }
    }
}

/// A denial of a release in probation.
#[derive(Debug, Clone)]
pub struct Denial<'a> {
    /// The event.
    pub event: Event,
    /// The object.
    pub object: FileKey,
    /// The object's path as it was given, where known.
    pub path: Option<&'a str>,
    /// The rule that it names.
    pub rule: &'a str,
    /// The machine needs the object: the denial was not enforced.
    pub guarded: bool,
}

/// What is known of the release before, and of this one in shadow.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// What the release before took; `None` if there was none, or it was not measured.
    pub baseline: Option<Readings>,
    /// What this one denied in shadow.
    pub denied: HashSet<FileKey>,
}

/// The watch over one release in probation.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    before: Before,
    begun: u64,
    crashes: u64,
    missed: u64,
    misses: Misses,
    newly_denied: HashSet<FileKey>,
    listed: Vec<String>,
    finding: Option<Finding>,
}

impl Gate {
    /// The watch over a release that begins to decide at `now`.
    pub fn begin(limits: Limits, before: Before, now: u64) -> Self {
        Self {
            limits,
            before,
            begun: now,
            crashes: 0,
            missed: 0,
            misses: Misses::new(limits.misses_max),
            newly_denied: HashSet::new(),
            listed: Vec::new(),
            finding: None,
        }
    }

    /// Its process ended by itself, or did what no engine may, for `reason`.
    pub fn fault(&mut self, reason: FailureReason, why: &str) -> Option<&Finding> {
        self.crashes += 1;
        if self.crashes > self.limits.crashes_max {
            let (why, max) = (shown(why), self.limits.crashes_max);
            self.find(
                Sign::Failed(reason),
                format!("{why}; fault {} of {max} allowed", self.crashes),
            );
        }
        self.finding.as_ref()
    }

    /// It cannot dock any more, whatever is allowed: for `reason`.
    pub fn lost(&mut self, reason: FailureReason, why: &str) -> Option<&Finding> {
        self.find(Sign::Failed(reason), shown(why));
        self.finding.as_ref()
    }

    /// It left so many questions without a verdict, having given so many answers by now.
    pub fn missed(&mut self, count: u64, answers: u64) -> Option<&Finding> {
        self.missed = self.missed.saturating_add(count);
        if let Some(text) = self.misses.add(count, answers) {
            self.find(Sign::Misses, text);
        }
        self.finding.as_ref()
    }

    /// It denied something.
    pub fn denied(&mut self, denial: &Denial<'_>) -> Option<&Finding> {
        let path = shown(denial.path.unwrap_or("an object without a path"));
        let told = format!("{} of {path} by {}", denial.event.name(), rule(denial.rule));
        if denial.guarded {
            self.find(
                Sign::DeniedGuarded,
                format!("{told} was denied, and the machine needs it; it was not enforced"),
            );
            return self.finding.as_ref();
        }
        let max = self.limits.objects_max;
        if self.before.denied.contains(&denial.object) || self.newly_denied.len() > max {
            return self.finding.as_ref();
        }
        if self.newly_denied.insert(denial.object) && self.listed.len() < LISTED_MAX {
            self.listed.push(told);
        }
        if self.newly_denied.len() > max {
            let text = format!(
                "over {max} different objects, the limit, are denied that were not in shadow: {}",
                self.listed.join("; ")
            );
            self.find(Sign::NewDenials, text);
        }
        self.finding.as_ref()
    }

    /// Something else speaks against it.
    pub fn condemn(&mut self, finding: Finding) {
        self.finding.get_or_insert(finding);
    }

    /// How it stands at `now`, having taken `readings`.
    pub fn look(&mut self, readings: &Readings, now: u64) -> Standing {
        if self.finding.is_none() {
            self.finding = self.limits.bounds.excess(readings, self.before.baseline.as_ref());
        }
        match &self.finding {
            Some(finding) => Standing::Failed(finding.clone()),
            None if self.served(now) < self.limits.length => Standing::Running,
            None => Standing::Passed,
        }
    }

    /// For how long it has been watched at `now`, ns.
    pub fn served(&self, now: u64) -> u64 {
        now.saturating_sub(self.begun)
    }

    /// How long that is to be, ns.
    pub const fn length(&self) -> u64 {
        self.limits.length
    }

    /// What it is held to.
    pub const fn before(&self) -> &Before {
        &self.before
    }

    /// Why it is not to decide, if that was found.
    pub const fn finding(&self) -> Option<&Finding> {
        self.finding.as_ref()
    }

    /// Questions without a verdict.
    pub const fn misses(&self) -> u64 {
        self.missed
    }

    /// What it was, in a line for the journal.
    pub fn summary(&self, answers: u64) -> String {
        let (crashes, misses, denied) = (self.crashes, self.missed, self.newly_denied.len());
        format!(
            "{answers} answers, {crashes} faults, {misses} missed, {denied} objects newly denied"
        )
    }

    /// The first finding stands.
    fn find(&mut self, sign: Sign, text: String) {
        self.finding.get_or_insert_with(|| Finding::new(sign, text));
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::settings::UpdatesConfig;
    use proptest::prelude::*;

    use super::*;
    use crate::readings::QUIET;

    const MS: u64 = 1_000_000;

    fn gate(before: Before) -> Gate {
        let config = UpdatesConfig::default();
        Gate::begin(Limits::new(&config.probation, 50 * MS), before, 0)
    }

    fn object(number: u8) -> FileKey {
        FileKey([number; 32])
    }

    fn denial(number: u8) -> Denial<'static> {
        Denial {
            event: Event::FileOpen,
            object: object(number),
            path: Some("/srv/file"),
            rule: "Rule.1",
            guarded: false,
        }
    }

    fn sign(gate: &mut Gate) -> Option<Sign> {
        match gate.look(&QUIET, MS) {
            Standing::Failed(finding) => Some(finding.sign),
            Standing::Running | Standing::Waiting(_) | Standing::Passed => None,
        }
    }

    #[test]
    fn who_does_nothing_wrong_passes_when_its_time_is_over() {
        let mut gate = gate(Before::default());

        assert_eq!(gate.look(&QUIET, 19_999 * MS), Standing::Running);
        assert_eq!(gate.look(&QUIET, 20_000 * MS), Standing::Passed);
    }

    #[test]
    fn the_first_crash_is_one_too_many() {
        let mut gate = gate(Before::default());

        let found = gate.fault(FailureReason::EngineCrashed, "ended by signal 11").cloned();

        assert_eq!(found.map(|f| f.sign), Some(Sign::Failed(FailureReason::EngineCrashed)));
    }

    #[test]
    fn misses_are_allowed_up_to_the_limit() {
        let mut gate = gate(Before::default());
        gate.missed(3, 0);
        let before = sign(&mut gate);

        gate.missed(1, 0);

        assert_eq!((before, sign(&mut gate)), (None, Some(Sign::Misses)));
    }

    #[test]
    fn what_was_denied_in_shadow_is_no_news() {
        let denied = (0..100).map(object).collect();
        let mut gate = gate(Before { denied, ..Before::default() });
        for number in 0..103 {
            gate.denied(&denial(number));
        }
        // Denied again is one object.
        for number in 0..103 {
            gate.denied(&denial(number));
        }
        let before = sign(&mut gate);

        let found = gate.denied(&denial(103)).cloned();

        assert_eq!(before, None);
        let found = found.expect("four objects are over the limit of three");
        assert_eq!(found.sign, Sign::NewDenials);
        assert!(found.text.contains("file.open of /srv/file by \"Rule.1\""), "{}", found.text);
    }

    #[test]
    fn a_guarded_denial_is_one_too_many_even_if_shadow_saw_it() {
        let denied = [object(1)].into();
        let mut gate = gate(Before { denied, ..Before::default() });

        gate.denied(&Denial { guarded: true, ..denial(1) });

        assert_eq!(sign(&mut gate), Some(Sign::DeniedGuarded));
    }

    #[test]
    fn what_it_takes_is_judged_at_every_look() {
        let baseline = Some(Readings { memory_bytes: Some(10 << 20), ..QUIET });
        let mut gate = gate(Before { baseline, ..Before::default() });
        let leaking = |mib: u64| Readings { memory_bytes: Some(mib << 20), ..QUIET };

        assert_eq!(gate.look(&leaking(20), MS), Standing::Running);
        assert!(matches!(gate.look(&leaking(200), 2 * MS), Standing::Failed(_)));
        // It has been found out, and giving back what it took changes nothing.
        assert!(matches!(gate.look(&leaking(20), 30_000 * MS), Standing::Failed(_)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Fault,
        Missed(u64),
        Denied(u8, bool),
        Look(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Fault),
            (0..3_u64).prop_map(Step::Missed),
            (any::<u8>(), any::<bool>())
                .prop_map(|(number, guarded)| Step::Denied(number, guarded)),
            (0..40_000_u64).prop_map(Step::Look),
        ]
    }

    proptest! {
        #[test]
        fn the_first_finding_is_the_last(steps in proptest::collection::vec(step(), 0..60)) {
            let mut gate = gate(Before::default());
            let mut first: Option<Finding> = None;
            for step in steps {
                let found = match step {
                    Step::Fault => gate.fault(FailureReason::Garbage, "bytes").cloned(),
                    Step::Missed(count) => gate.missed(count, 0).cloned(),
                    Step::Denied(number, guarded) => {
                        gate.denied(&Denial { guarded, ..denial(number) }).cloned()
                    }
                    Step::Look(at) => match gate.look(&QUIET, at * MS) {
                        Standing::Failed(finding) => Some(finding),
                        Standing::Running | Standing::Passed | Standing::Waiting(_) => None,
                    },
                };
                prop_assert!(first.is_none() || found == first, "{first:?} became {found:?}");
                first = found;
            }
        }
    }
}
