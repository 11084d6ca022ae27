//! Engines by number, and sets of them.
//!
//! An engine's number is its place in the configuration; it is as good as a name for as long as one
//! configuration is in force, and a set of engines is then one word.

use std::fmt;

/// Engines that can be told apart: the numbers 0 to 63.
pub const ENGINES_MAX: usize = 64;

/// One engine, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineIndex(u8);

impl EngineIndex {
    /// The engine that is configured first.
    pub const FIRST: Self = Self(0);

    /// The engine at `place`; `None` from [`ENGINES_MAX`] on.
    pub const fn new(place: usize) -> Option<Self> {
        if place < ENGINES_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "compared with 64 above")]
            let small = place as u8;
            Some(Self(small))
        } else {
            None
        }
    }

    /// The engine's place, below [`ENGINES_MAX`].
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    const fn bit(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Debug for EngineIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "engine {}", self.0)
    }
}

/// A set of engines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EngineSet(u64);

impl EngineSet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// This set and `engine`.
    #[must_use]
    pub const fn with(self, engine: EngineIndex) -> Self {
        Self(self.0 | engine.bit())
    }

    /// This set but `engine`.
    #[must_use]
    pub const fn without(self, engine: EngineIndex) -> Self {
        Self(self.0 & !engine.bit())
    }

    /// Whether `engine` is a member.
    pub const fn contains(self, engine: EngineIndex) -> bool {
        self.0 & engine.bit() != 0
    }

    /// Whether every member is one of `other` as well.
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The members of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set has no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many members it has.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The members in ascending order.
    pub fn iter(self) -> Engines {
        Engines(self.0)
    }
}

impl FromIterator<EngineIndex> for EngineSet {
    fn from_iter<I: IntoIterator<Item = EngineIndex>>(engines: I) -> Self {
        engines.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl IntoIterator for EngineSet {
    type Item = EngineIndex;
    type IntoIter = Engines;

    fn into_iter(self) -> Engines {
        self.iter()
    }
}

impl fmt::Debug for EngineSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(EngineIndex::get)).finish()
    }
}

/// The members of an [`EngineSet`], in ascending order.
#[derive(Debug, Clone)]
pub struct Engines(u64);

impl Iterator for Engines {
    type Item = EngineIndex;

    fn next(&mut self) -> Option<EngineIndex> {
        let engine = EngineIndex::new(self.0.trailing_zeros() as usize)?;
        self.0 &= !engine.bit();
        Some(engine)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn engine(place: usize) -> EngineIndex {
        EngineIndex::new(place).expect("below the limit")
    }

    #[test]
    fn there_is_no_engine_beyond_the_last() {
        assert_eq!(EngineIndex::new(63).map(EngineIndex::get), Some(63));
        assert_eq!(EngineIndex::new(64), None);
        assert_eq!(EngineIndex::new(usize::MAX), None);
    }

    #[test]
    fn a_set_without_its_only_member_is_empty() {
        assert!(EngineSet::EMPTY.with(engine(63)).without(engine(63)).is_empty());
    }

    proptest! {
        #[test]
        fn a_set_gives_back_its_members_in_order(places in prop::collection::btree_set(0_usize..64, 0..64)) {
            let set: EngineSet = places.iter().copied().map(engine).collect();

            prop_assert_eq!(set.len(), places.len());
            prop_assert!(set.iter().map(EngineIndex::get).eq(places.iter().copied()));
        }

        #[test]
        fn sets_combine_as_sets_do(a: u64, b: u64) {
            let (a, b) = (EngineSet(a), EngineSet(b));

            prop_assert!(a.intersection(b).is_subset(a));
            prop_assert!(a.is_subset(a.union(b)));
            prop_assert!(a.difference(b).intersection(b).is_empty());
            prop_assert_eq!(a.difference(b).union(a.intersection(b)), a);
        }
    }
}
