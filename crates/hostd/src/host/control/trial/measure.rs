//! What a version that decides takes, from one moment on.

use outrigger_sensor::clock;
use outrigger_update::readings::Readings;

use super::super::super::ledger::Histogram;
use super::super::super::lock;
use super::super::Control;

/// What an engine's books said at a moment.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    at: u64,
    answered: Histogram,
    cpu_ns: Option<u64>,
}

impl Control {
    /// A mark of now.
    pub(super) fn mark(&self, place: usize) -> Mark {
        Mark {
            at: clock::now(),
            answered: self.answered(place),
            cpu_ns: self.supervisor.usage().get(place).and_then(|usage| usage.cpu_ns),
        }
    }

    /// What the version that decides took from `mark` to `now`.
    pub(super) fn read_on(&self, place: usize, mark: &Mark, now: u64) -> Readings {
        let answered = self.answered(place).since(&mark.answered);
        let usage = self.supervisor.usage().get(place).copied().unwrap_or_default();
        Readings {
            span_ns: now.saturating_sub(mark.at),
            answers: answered.count(),
            timed: answered.count(),
            p50_ns: answered.quantile(50),
            p99_ns: answered.quantile(99),
            cpu_ns: usage.cpu_ns.zip(mark.cpu_ns).map(|(now, then)| now.saturating_sub(then)),
            memory_bytes: usage.memory_bytes,
        }
    }

    /// The same, with the times from `recent` on alone: of what was quick for long and is slow now they tell sooner.
    pub(super) fn read_lately(
        &self,
        place: usize,
        mark: &Mark,
        recent: &Mark,
        now: u64,
    ) -> Readings {
        let lately = self.read_on(place, recent, now);
        let Readings { timed, p50_ns, p99_ns, .. } = lately;
        Readings { timed, p50_ns, p99_ns, ..self.read_on(place, mark, now) }
    }

    fn answered(&self, place: usize) -> Histogram {
        let core = lock(&self.host.core);
        core.engines.get(place).map(|engine| engine.books.answered()).unwrap_or_default()
    }
}
