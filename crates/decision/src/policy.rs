//! Who takes part in a question, how long it may wait and what it falls back to.
//!
//! [`Policies`] is the configuration, resolved once per epoch: the host's mode wins where it is Monitor,
//! an event's own mode over the host's otherwise, and times are in ns. [`participants`] sorts the engines
//! for one question.

use outrigger_api::settings::{EventPolicy, HostConfig, OnQuarantine};
use outrigger_api::verdict::{Fallback, VerdictBasis};
use outrigger_api::{Event, EventSet, FailureReason, Mode};

use crate::engines::{ENGINES_MAX, EngineIndex, EngineSet};

const NS_PER_MS: u64 = 1_000_000;

/// How questions about one event are decided, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest wait where no engine reads content, ns.
    pub budget_ns: u64,
    /// Longest wait where one does, ns.
    pub content_budget_ns: u64,
    /// The answer when a required verdict does not come.
    pub fallback: Fallback,
    /// What becomes of a required verdict whose engine is in quarantine.
    pub on_quarantine: OnQuarantine,
    /// Whether denials are enforced.
    pub mode: Mode,
}

impl Policy {
    /// When a question read at `now` ends by fallback, ns of `CLOCK_MONOTONIC`.
    pub const fn deadline(&self, now: u64, reads_content: bool) -> u64 {
        let budget = if reads_content { self.content_budget_ns } else { self.budget_ns };
        now.saturating_add(budget)
    }
}

/// One policy per event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies([Policy; Event::ALL.len()]);

impl Policies {
    /// The policies of `config`.
    pub fn new(config: &HostConfig) -> Self {
        let mut events = Event::ALL.iter();
        Self(std::array::from_fn(|_| {
            let event = events.next().expect("the array is as long as the catalogue");
            resolve(config.mode, config.policy(*event))
        }))
    }

    /// The policy for `event`.
    pub const fn of(&self, event: Event) -> &Policy {
        &self.0[event.index()]
    }
}

fn resolve(host: Mode, policy: &EventPolicy) -> Policy {
    Policy {
        budget_ns: u64::from(policy.budget_ms).saturating_mul(NS_PER_MS),
        content_budget_ns: u64::from(policy.content_budget_ms).saturating_mul(NS_PER_MS),
        fallback: policy.fallback,
        on_quarantine: policy.on_quarantine,
        mode: match host {
            Mode::Monitor => Mode::Monitor,
            Mode::Enforce => policy.mode.unwrap_or(host),
        },
    }
}

/// Whether an engine takes questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does, or is on its way so that a question is worth waiting for it.
    Docked,
    /// It does not, for this reason; [`FailureReason::Quarantined`] is the policy's to judge.
    Away(FailureReason),
}

/// What has to be known of an engine to ask it, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineFacts {
    /// Whether it takes questions.
    pub standing: Standing,
    /// The events that it subscribed to and was granted.
    pub events: EventSet,
    /// Whether its Allow is needed.
    pub required: bool,
    /// Whether its denials are enforced.
    pub mode: Mode,
    /// What its verdict depends on.
    pub basis: VerdictBasis,
}

/// Engines that take part and will not vote, each with the reason.
#[derive(Debug, Clone, Copy)]
pub struct MissingVotes {
    list: [(EngineIndex, FailureReason); ENGINES_MAX],
    len: usize,
}

impl MissingVotes {
    /// The engines with their reasons, in ascending order.
    pub fn as_slice(&self) -> &[(EngineIndex, FailureReason)] {
        &self.list[..self.len]
    }

    fn push(&mut self, engine: EngineIndex, reason: FailureReason) {
        self.list[self.len] = (engine, reason);
        self.len = self.len.saturating_add(1);
    }
}

/// The engines that take part in a question.
#[derive(Debug, Clone, Copy)]
pub struct Participants {
    /// Those that are asked.
    pub asked: EngineSet,
    /// Those whose Allow is needed, asked or missing.
    pub required: EngineSet,
    /// Those in Monitor mode, asked or missing.
    pub monitored: EngineSet,
    /// Those that take part and will not vote.
    pub missing: MissingVotes,
    /// Whether every one's verdict depends on the content alone, so that an Allow of all may be cached.
    pub by_content: bool,
}

/// Who takes part in a question about `event`. `engines` are all of them, in the order of their numbers.
///
/// An engine in quarantine stays required, and missing, or is left out, as the policy says. An engine in
/// `poisoned` is not asked about this object, and is missing from it. Engines beyond [`ENGINES_MAX`] do
/// not take part.
pub fn participants(
    event: Event,
    policy: &Policy,
    engines: impl IntoIterator<Item = EngineFacts>,
    poisoned: EngineSet,
) -> Participants {
    let unused = (EngineIndex::FIRST, FailureReason::NotDocked);
    let mut part = Participants {
        asked: EngineSet::EMPTY,
        required: EngineSet::EMPTY,
        monitored: EngineSet::EMPTY,
        missing: MissingVotes { list: [unused; ENGINES_MAX], len: 0 },
        by_content: true,
    };
    for (place, facts) in engines.into_iter().enumerate() {
        let Some(engine) = EngineIndex::new(place) else { break };
        if !facts.events.contains(event) {
            continue;
        }
        let missing = match (facts.standing, policy.on_quarantine) {
            (Standing::Away(FailureReason::Quarantined), OnQuarantine::Without) => continue,
            (Standing::Away(reason), _) => Some(reason),
            (Standing::Docked, _) => {
                poisoned.contains(engine).then_some(FailureReason::PoisonedObject)
            }
        };
        match missing {
            Some(reason) => part.missing.push(engine, reason),
            None => part.asked = part.asked.with(engine),
        }
        if facts.required {
            part.required = part.required.with(engine);
        }
        if facts.mode == Mode::Monitor {
            part.monitored = part.monitored.with(engine);
        }
        part.by_content &= facts.basis == VerdictBasis::Content;
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: EngineFacts = EngineFacts {
        standing: Standing::Docked,
        events: EventSet::EMPTY.with(Event::FileOpen),
        required: true,
        mode: Mode::Enforce,
        basis: VerdictBasis::Content,
    };

    fn policy(on_quarantine: OnQuarantine) -> Policy {
        let event = EventPolicy { on_quarantine, ..EventPolicy::default() };
        resolve(Mode::Enforce, &event)
    }

    fn engine(place: usize) -> EngineIndex {
        EngineIndex::new(place).expect("below the limit")
    }

    fn set(places: &[usize]) -> EngineSet {
        places.iter().copied().map(engine).collect()
    }

    fn open(engines: &[EngineFacts], on_quarantine: OnQuarantine) -> Participants {
        let engines = engines.iter().copied();
        participants(Event::FileOpen, &policy(on_quarantine), engines, EngineSet::EMPTY)
    }

    #[test]
    fn an_engine_takes_part_in_the_events_that_it_subscribed_to() {
        let engines = [READY, EngineFacts { events: EventSet::EMPTY, ..READY }];

        let part = open(&engines, OnQuarantine::Fallback);

        assert_eq!((part.asked, part.required), (set(&[0]), set(&[0])));
        assert!(part.missing.as_slice().is_empty());
    }

    #[test]
    fn an_engine_that_is_away_is_missing_and_still_required() {
        let part = open(
            &[READY, EngineFacts { standing: Standing::Away(FailureReason::NotDocked), ..READY }],
            OnQuarantine::Without,
        );

        assert_eq!((part.asked, part.required), (set(&[0]), set(&[0, 1])));
        assert_eq!(part.missing.as_slice(), [(engine(1), FailureReason::NotDocked)]);
    }

    #[test]
    fn quarantine_leaves_the_fallback_unless_the_policy_says_without() {
        let engines =
            [EngineFacts { standing: Standing::Away(FailureReason::Quarantined), ..READY }];

        let fallback = open(&engines, OnQuarantine::Fallback);
        let without = open(&engines, OnQuarantine::Without);

        assert_eq!(fallback.required, set(&[0]));
        assert_eq!(fallback.missing.as_slice(), [(engine(0), FailureReason::Quarantined)]);
        assert_eq!(without.required, EngineSet::EMPTY);
        assert!(without.missing.as_slice().is_empty());
    }

    #[test]
    fn a_poisoned_object_is_not_put_to_its_engine() {
        let rules = policy(OnQuarantine::Fallback);

        let part = participants(Event::FileOpen, &rules, [READY, READY], set(&[1]));

        assert_eq!((part.asked, part.required), (set(&[0]), set(&[0, 1])));
        assert_eq!(part.missing.as_slice(), [(engine(1), FailureReason::PoisonedObject)]);
    }

    #[test]
    fn one_engine_that_looks_at_the_subject_keeps_the_answer_out_of_the_cache() {
        let subject = EngineFacts { basis: VerdictBasis::Subject, ..READY };

        assert!(open(&[READY], OnQuarantine::Fallback).by_content);
        assert!(!open(&[READY, subject], OnQuarantine::Fallback).by_content);
    }

    #[test]
    fn a_monitored_engine_is_marked_and_stays_required() {
        let part = open(&[EngineFacts { mode: Mode::Monitor, ..READY }], OnQuarantine::Fallback);

        assert_eq!((part.required, part.monitored), (set(&[0]), set(&[0])));
    }

    #[test]
    fn every_engine_that_can_be_numbered_fits() {
        let away = EngineFacts { standing: Standing::Away(FailureReason::NotDocked), ..READY };

        let part = open(&[away; ENGINES_MAX + 1], OnQuarantine::Fallback);

        assert_eq!(part.missing.as_slice().len(), ENGINES_MAX);
    }

    #[test]
    fn monitor_of_the_host_wins_and_an_event_may_be_monitored_alone() {
        let enforced = EventPolicy { mode: Some(Mode::Enforce), ..EventPolicy::default() };
        let monitored = EventPolicy { mode: Some(Mode::Monitor), ..EventPolicy::default() };

        assert_eq!(resolve(Mode::Monitor, &enforced).mode, Mode::Monitor);
        assert_eq!(resolve(Mode::Enforce, &monitored).mode, Mode::Monitor);
        assert_eq!(resolve(Mode::Enforce, &enforced).mode, Mode::Enforce);
    }

    #[test]
    fn budgets_are_those_of_the_configuration() {
        let policies = Policies::new(&HostConfig::default());

        let of_open = policies.of(Event::FileOpen);

        assert_eq!(of_open.deadline(7, false), 50_000_007);
        assert_eq!(of_open.deadline(7, true), 500_000_007);
        assert_eq!(of_open.deadline(u64::MAX, true), u64::MAX);
    }
}
