//! Remembers the objects that an engine crashed or hung on.
//!
//! An object that was in an engine's hands at two crashes or hangs is poisoned for that engine: it is
//! not asked about it again ([`FailureReason::PoisonedObject`]), so that one file cannot take it off the
//! dock. What is remembered is one version of a file: changed, it is another object.
//!
//! Bounded: [`OBJECTS_MAX`] objects per engine, the one noted first gives way. [`Poison::rows`] and
//! [`Poison::restore`] carry the memory over a restart of the host.

use std::collections::{HashMap, VecDeque};

use outrigger_api::{FailureReason, FileKey};

use crate::engines::{ENGINES_MAX, EngineIndex, EngineSet};

/// Most objects that are remembered of one engine.
pub const OBJECTS_MAX: usize = 1024;
/// Crashes or hangs after which an object is poisoned.
pub const TIMES: u32 = 2;

/// One version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    /// The file.
    pub file: FileKey,
    /// Its change time, ns since the epoch.
    pub changed: u64,
    /// Its size, in bytes.
    pub size: u64,
}

/// What is remembered of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The object.
    pub object: Object,
    /// How often the engine crashed or hung with it.
    pub times: u32,
    /// Why, the last time.
    pub reason: FailureReason,
}

/// The memory of all engines.
#[derive(Debug)]
pub struct Poison {
    engines: Box<[Memory]>,
    /// The engines that have a poisoned object.
    with_poisoned: EngineSet,
}

#[derive(Debug, Default)]
struct Memory {
    objects: HashMap<Object, (u32, FailureReason)>,
    /// The same objects, the one that was noted first in front.
    order: VecDeque<Object>,
    poisoned: usize,
}

impl Default for Poison {
    fn default() -> Self {
        Self {
            engines: (0..ENGINES_MAX).map(|_| Memory::default()).collect(),
            with_poisoned: EngineSet::EMPTY,
        }
    }
}

impl Poison {
    /// Notes that `object` was in `engine`'s hands when it failed for `reason`; whether it is poisoned now.
    pub fn note(&mut self, engine: EngineIndex, object: Object, reason: FailureReason) -> bool {
        let times = self.engines[engine.get()].times(&object).saturating_add(1);
        self.put(engine, Row { object, times, reason });
        times >= TIMES
    }

    /// Whether `engine` is not to be asked about `object`.
    pub fn is_poisoned(&self, engine: EngineIndex, object: &Object) -> bool {
        self.with_poisoned.contains(engine) && self.engines[engine.get()].times(object) >= TIMES
    }

    /// The engines that are not to be asked about `object`.
    pub fn engines(&self, object: &Object) -> EngineSet {
        self.with_poisoned.iter().filter(|&engine| self.is_poisoned(engine, object)).collect()
    }

    /// How many objects `engine` is not asked about.
    pub fn count(&self, engine: EngineIndex) -> usize {
        self.engines[engine.get()].poisoned
    }

    /// Forgets everything about `engine`: it was released, or judges by new content.
    pub fn forget(&mut self, engine: EngineIndex) {
        self.engines[engine.get()] = Memory::default();
        self.with_poisoned = self.with_poisoned.without(engine);
    }

    /// What is remembered of `engine`, in the order in which it was first noted.
    pub fn rows(&self, engine: EngineIndex) -> impl Iterator<Item = Row> {
        let memory = &self.engines[engine.get()];
        memory.order.iter().filter_map(|object| {
            let &(times, reason) = memory.objects.get(object)?;
            Some(Row { object: *object, times, reason })
        })
    }

    /// Adds `rows`, kept from an earlier host, to what is remembered of `engine`.
    pub fn restore(&mut self, engine: EngineIndex, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            self.put(engine, row);
        }
    }

    fn put(&mut self, engine: EngineIndex, row: Row) {
        let memory = &mut self.engines[engine.get()];
        memory.put(row);
        self.with_poisoned = if memory.poisoned > 0 {
            self.with_poisoned.with(engine)
        } else {
            self.with_poisoned.without(engine)
        };
    }
}

impl Memory {
    fn times(&self, object: &Object) -> u32 {
        self.objects.get(object).map_or(0, |&(times, _)| times)
    }

    fn put(&mut self, Row { object, times, reason }: Row) {
        match self.objects.insert(object, (times, reason)) {
            Some((before, _)) => self.uncount(before),
            None => self.order.push_back(object),
        }
        if times >= TIMES {
            self.poisoned = self.poisoned.saturating_add(1);
        }
        if self.order.len() > OBJECTS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some((times, _)) = self.objects.remove(&oldest)
        {
            self.uncount(times);
        }
    }

    fn uncount(&mut self, times: u32) {
        if times >= TIMES {
            self.poisoned = self.poisoned.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: FailureReason = FailureReason::EngineCrashed;

    fn engine(place: usize) -> EngineIndex {
        EngineIndex::new(place).expect("below the limit")
    }

    fn object(size: u64) -> Object {
        Object { file: FileKey([7; 32]), changed: 1, size }
    }

    #[test]
    fn an_object_is_poisoned_at_the_second_crash() {
        let mut poison = Poison::default();

        assert!(!poison.note(engine(0), object(1), CRASH));
        assert!(!poison.is_poisoned(engine(0), &object(1)));
        assert!(poison.note(engine(0), object(1), FailureReason::EngineHung));
        assert!(poison.is_poisoned(engine(0), &object(1)));
        assert_eq!(poison.engines(&object(1)), EngineSet::EMPTY.with(engine(0)));
    }

    #[test]
    fn another_engine_is_asked_about_it_still() {
        let mut poison = Poison::default();
        poison.note(engine(0), object(1), CRASH);
        poison.note(engine(0), object(1), CRASH);

        assert!(!poison.is_poisoned(engine(1), &object(1)));
    }

    #[test]
    fn a_changed_file_is_another_object() {
        let mut poison = Poison::default();
        poison.note(engine(0), object(1), CRASH);
        poison.note(engine(0), object(1), CRASH);

        assert!(!poison.is_poisoned(engine(0), &object(2)));
        assert!(!poison.is_poisoned(engine(0), &Object { changed: 2, ..object(1) }));
    }

    #[test]
    fn the_oldest_gives_way_and_is_not_counted_any_more() {
        let mut poison = Poison::default();
        poison.note(engine(0), object(0), CRASH);
        poison.note(engine(0), object(0), CRASH);

        for size in 1..=OBJECTS_MAX as u64 {
            poison.note(engine(0), object(size), CRASH);
        }

        assert_eq!(poison.rows(engine(0)).count(), OBJECTS_MAX);
        assert_eq!(poison.count(engine(0)), 0);
        assert!(!poison.is_poisoned(engine(0), &object(0)));
    }

    #[test]
    fn a_released_engine_is_asked_about_everything() {
        let mut poison = Poison::default();
        poison.note(engine(0), object(1), CRASH);
        poison.note(engine(0), object(1), CRASH);

        poison.forget(engine(0));

        assert_eq!(poison.count(engine(0)), 0);
        assert!(!poison.is_poisoned(engine(0), &object(1)));
    }

    #[test]
    fn the_memory_outlives_its_host() {
        let mut before = Poison::default();
        before.note(engine(0), object(1), CRASH);
        before.note(engine(0), object(1), CRASH);
        before.note(engine(0), object(2), CRASH);

        let mut after = Poison::default();
        after.restore(engine(3), before.rows(engine(0)));

        assert!(after.is_poisoned(engine(3), &object(1)));
        assert!(after.note(engine(3), object(2), CRASH));
        assert_eq!(after.count(engine(3)), 2);
    }
}
