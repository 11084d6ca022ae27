//! Spares the second question of an exec.
//!
//! The kernel asks twice when a program is run: `process.exec`, then `file.open` of the same file by the
//! same process, at once. The second is answered from the first, if every engine that it would be put
//! to was asked about the first.
//!
//! An entry serves one question within [`LIFE_NS`]; the memory is [`ENTRIES_MAX`] entries, the oldest
//! gives way.

use std::collections::{HashMap, VecDeque};

use outrigger_api::{Answer, FileKey, ProcessKey};

use crate::engines::EngineSet;

/// How long an answer is good for, ns. The second question follows at once, but its process may have to
/// wait for a CPU.
pub const LIFE_NS: u64 = 1_000_000_000;
/// Most answers that are remembered.
pub const ENTRIES_MAX: usize = 1024;

/// A process that runs a file, as both questions tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    /// Who runs it.
    pub process: ProcessKey,
    /// What is run.
    pub file: FileKey,
    /// The file's change time, ns: what was changed in between is asked about again.
    pub changed: u64,
}

/// Answers to execs whose open has not come yet.
#[derive(Debug)]
pub struct ExecOnce {
    entries: HashMap<Run, Entry>,
    /// Runs in the order in which they were remembered, with the number of that; what was taken or
    /// remembered anew meanwhile is still here.
    order: VecDeque<(Run, u64)>,
    remembered: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    answer: Answer,
    asked: EngineSet,
    at: u64,
    number: u64,
}

impl Default for ExecOnce {
    fn default() -> Self {
        Self::new()
    }
}

impl ExecOnce {
    /// An empty memory, allocated for [`ENTRIES_MAX`].
    pub fn new() -> Self {
        Self {
            entries: HashMap::with_capacity(ENTRIES_MAX),
            order: VecDeque::with_capacity(ENTRIES_MAX),
            remembered: 0,
        }
    }

    /// Remembers that `run` was answered at `now` (ns of `CLOCK_MONOTONIC`), and that the engines in
    /// `asked` were asked.
    ///
    /// A Deny is not remembered: no open follows it.
    pub fn remember(&mut self, run: Run, answer: Answer, asked: EngineSet, now: u64) {
        match answer {
            Answer::Deny => return,
            Answer::Allow => self.remembered = self.remembered.wrapping_add(1),
        }
        if self.order.len() >= ENTRIES_MAX
            && let Some((oldest, number)) = self.order.pop_front()
            && self.entries.get(&oldest).is_some_and(|entry| entry.number == number)
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back((run, self.remembered));
        self.entries.insert(run, Entry { answer, asked, at: now, number: self.remembered });
    }

    /// The answer to the open of `run` at `now`, if every engine of `open_set`, those that the open would
    /// be put to, was asked about the exec. Forgets it.
    pub fn take(&mut self, run: Run, open_set: EngineSet, now: u64) -> Option<Answer> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.remove(&run)?;
        let fresh = now.saturating_sub(entry.at) <= LIFE_NS;
        (fresh && open_set.is_subset(entry.asked)).then_some(entry.answer)
    }

    /// Forgets `run`: its open will not be asked about, so that the entry would serve another.
    pub fn forget(&mut self, run: Run) {
        self.entries.remove(&run);
    }

    /// Forgets everything: for a new epoch, in which an answer may be another.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    /// Answers that are remembered, those that are too old included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::EngineIndex;

    const RUN: Run = Run { process: ProcessKey([1; 16]), file: FileKey([2; 32]), changed: 3 };

    fn set(engines: &[usize]) -> EngineSet {
        engines.iter().filter_map(|&engine| EngineIndex::new(engine)).collect()
    }

    fn remembering(answer: Answer, asked: EngineSet) -> ExecOnce {
        let mut memory = ExecOnce::default();
        memory.remember(RUN, answer, asked, 100);
        memory
    }

    fn run(number: u64) -> Run {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Run { file: FileKey(key), ..RUN }
    }

    #[test]
    fn the_open_after_an_exec_is_answered_once() {
        let mut memory = remembering(Answer::Allow, set(&[0, 1]));

        assert_eq!(memory.take(RUN, set(&[1]), 101), Some(Answer::Allow));
        assert_eq!(memory.take(RUN, set(&[1]), 102), None);
    }

    #[test]
    fn an_engine_that_was_not_asked_about_the_exec_is_asked_about_the_open() {
        let mut memory = remembering(Answer::Allow, set(&[0]));

        assert_eq!(memory.take(RUN, set(&[0, 1]), 101), None);
    }

    #[test]
    fn another_process_or_file_or_a_changed_one_gets_nothing() {
        let mut memory = remembering(Answer::Allow, set(&[0]));

        let others = [
            Run { process: ProcessKey([9; 16]), ..RUN },
            Run { file: FileKey([9; 32]), ..RUN },
            Run { changed: 9, ..RUN },
        ];
        for other in others {
            assert_eq!(memory.take(other, set(&[0]), 101), None);
        }
    }

    #[test]
    fn what_is_forgotten_answers_nothing() {
        let mut memory = remembering(Answer::Allow, set(&[0]));

        memory.forget(RUN);

        assert_eq!(memory.take(RUN, set(&[0]), 101), None);
    }

    #[test]
    fn an_answer_lives_a_second() {
        let mut memory = remembering(Answer::Allow, set(&[0]));
        assert_eq!(memory.take(RUN, set(&[0]), 101 + LIFE_NS), None);

        let mut memory = remembering(Answer::Allow, set(&[0]));
        assert_eq!(memory.take(RUN, set(&[0]), 100 + LIFE_NS), Some(Answer::Allow));
    }

    #[test]
    fn a_deny_is_not_remembered() {
        assert!(remembering(Answer::Deny, set(&[0])).is_empty());
    }

    #[test]
    fn the_oldest_gives_way_and_the_memory_does_not_grow() {
        let mut memory = ExecOnce::default();
        for number in 0..=ENTRIES_MAX as u64 {
            memory.remember(run(number), Answer::Allow, EngineSet::EMPTY, number);
        }

        assert_eq!(memory.len(), ENTRIES_MAX);
        assert_eq!(memory.take(run(0), EngineSet::EMPTY, 2000), None);
        assert_eq!(memory.take(run(1), EngineSet::EMPTY, 2000), Some(Answer::Allow));
    }

    #[test]
    fn what_is_remembered_anew_does_not_leave_with_its_first_time() {
        let mut memory = ExecOnce::default();
        memory.remember(run(0), Answer::Allow, EngineSet::EMPTY, 0);
        memory.remember(run(0), Answer::Allow, EngineSet::EMPTY, 1);
        for number in 1..ENTRIES_MAX as u64 {
            memory.remember(run(number), Answer::Allow, EngineSet::EMPTY, 2);
        }

        assert_eq!(memory.take(run(0), EngineSet::EMPTY, 2), Some(Answer::Allow));
    }
}
