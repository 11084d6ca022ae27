//! What the rules are called that decided: sensors tell a rule by its number and its set's.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use outrigger_sensor::notice::Ruled;

use super::contents::Kind;

/// Sets whose names are kept: the one in force, and those before it, of which notices may still be on their way.
const SETS_MAX: usize = 6;

/// The names of the rules of the last sets, shared by all who tell of rules.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleNames(Arc<RwLock<VecDeque<Set>>>);

/// A set's number, and its rules' names in their order.
type Set = (u64, Vec<Named>);

/// A rule's name, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: Arc<str>,
    /// The engine's place in the configuration, and what its rule is there for; `None` for the administrator's.
    pub(crate) engine: Option<(usize, Kind)>,
}

impl RuleNames {
    /// Says what the rules of a set are called, before a sensor can tell what they decided.
    pub(crate) fn add(&self, generation: u64, names: Vec<Named>) {
        let mut sets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sets.truncate(SETS_MAX - 1);
        sets.push_front((generation, names));
    }

    /// What the rule that decided is called, if its set is among the last.
    pub(crate) fn of(&self, ruled: Ruled) -> Option<Arc<str>> {
        self.named(ruled).map(|named| named.name)
    }

    /// The same, and whose it is.
    pub(crate) fn named(&self, ruled: Ruled) -> Option<Named> {
        let sets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (_, names) = sets.iter().find(|(generation, _)| *generation == ruled.generation)?;
        names.get(usize::from(ruled.rule)).cloned()
    }
}

#[cfg(test)]
impl From<&str> for Named {
    fn from(name: &str) -> Self {
        Self { name: name.into(), engine: None }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_sensor::notice::RuleOutcome;

    use super::*;

    #[test]
    fn a_rule_is_known_by_its_sets_number_and_its_own_as_long_as_the_set_is_among_the_last() {
        let names = RuleNames::default();
        let heard = names.clone();
        for generation in 1..=7 {
            names.add(
                generation,
                vec![(&*format!("first of {generation}")).into(), "second".into()],
            );
        }

        let name =
            |generation, rule| heard.of(Ruled { outcome: RuleOutcome::Denied, generation, rule });

        assert_eq!(name(7, 0).as_deref(), Some("first of 7"));
        assert_eq!(name(2, 0).as_deref(), Some("first of 2"));
        assert_eq!(name(2, 1).as_deref(), Some("second"));
        assert_eq!([name(1, 0), name(8, 0), name(7, 2)], [None, None, None]);
    }
}
