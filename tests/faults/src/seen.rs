//! What the platform counted and wrote down, and what of it is new.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use outrigger_api::control::{EngineStatus, Status};
use outrigger_testkit::Host;

use crate::row::HOSTILE;

/// The other engine's name.
pub(crate) const OTHER: &str = "hashlist";

/// What was counted since the start.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) fallbacks: BTreeMap<String, u64>,
    pub(crate) conflicts: u64,
    pub(crate) would_deny: u64,
    pub(crate) hostile: EngineStatus,
    pub(crate) other: EngineStatus,
    pub(crate) gate_starts: u64,
}

impl Counts {
    pub(crate) fn of(host: &Host) -> Result<Self> {
        let Status { counters, engines, gate_starts, .. } = host.status()?;
        let engine = |name: &str| {
            let found = engines.iter().find(|engine| engine.name.as_str() == name);
            found.cloned().with_context(|| format!("the host knows no engine {name}"))
        };
        Ok(Self {
            faults: counters.faults,
            fallbacks: counters.fallbacks,
            conflicts: counters.conflicts,
            would_deny: counters.would_deny,
            hostile: engine(HOSTILE)?,
            other: engine(OTHER)?,
            gate_starts,
        })
    }
}

/// What of `after` was not there `before`.
pub(crate) fn new(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let more = |(name, count): (&String, &u64)| {
        let more = count - before.get(name).copied().unwrap_or(0).min(*count);
        (more > 0).then(|| (name.clone(), more))
    };
    after.iter().filter_map(more).collect()
}

/// The lines that are added to a platform's journal.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    read: u64,
    /// What was read since the beginning, the line that is not whole yet included.
    text: String,
}

impl Tail {
    /// Of what is written from now on.
    pub(crate) fn of(host: &Host) -> Self {
        let path = host.folder().join("state/journal.jsonl");
        let read = path.metadata().map_or(0, |file| file.len());
        Self { path, read, text: String::new() }
    }

    /// Whether a line with all `words` was written.
    pub(crate) fn says(&mut self, words: &[&str]) -> Result<bool> {
        let file = File::open(&self.path)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let len = file.read_at(&mut buffer, self.read)?;
            if len == 0 {
                break;
            }
            self.read += len as u64;
            self.text.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        let says = self.text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        let whole = self.text.rfind('\n').map_or(0, |end| end + 1);
        self.text.drain(..whole);
        Ok(says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn only_what_was_added_is_new() {
        let before = counts(&[("a", 1), ("b", 2)]);
        let after = counts(&[("a", 1), ("b", 5), ("c", 1)]);

        assert_eq!(new(&before, &after), counts(&[("b", 3), ("c", 1)]));
    }
}
