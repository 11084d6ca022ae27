//! What is counted and remembered of one engine, for its operator.

use outrigger_api::FailureReason;
use outrigger_api::control::EngineStatus;
use outrigger_sandbox::Usage;

use super::Engine;
use crate::launcher::Process;
use crate::text::clean;

/// Counts since the host began, unless said otherwise.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) starts: u64,
    /// Since its last start.
    pub(super) misses: u64,
    /// Of the calls that were told; see [`Books::all_refused_calls`].
    pub(super) refused_calls: u64,
    /// Of ended processes.
    lost_calls: u64,
    /// Processor time of ended processes, ns; `None` while none of them was told.
    ended_cpu: Option<u64>,
    pub(super) content: Option<String>,
    pub(super) sandbox_missing: Vec<String>,
    faults: [u64; FailureReason::ALL.len()],
    last_fault: Option<String>,
    /// The last line of the process that runs.
    last_line: Option<String>,
}

impl Default for Books {
    fn default() -> Self {
        Self {
            starts: 0,
            misses: 0,
            refused_calls: 0,
            lost_calls: 0,
            ended_cpu: None,
            content: None,
            sandbox_missing: Vec::new(),
            faults: [0; FailureReason::ALL.len()],
            last_fault: None,
            last_line: None,
        }
    }
}

impl Books {
    /// Counts a fault and remembers what it was.
    pub(super) fn fault(&mut self, reason: FailureReason, detail: &str) {
        self.count(reason);
        self.last(&format!("{reason}: {detail}"));
    }

    /// Counts a fault.
    pub(super) const fn count(&mut self, reason: FailureReason) {
        self.faults[reason.index()] += 1;
    }

    /// Remembers what went wrong.
    pub(super) fn last(&mut self, text: &str) {
        self.last_fault = Some(clean(text));
    }

    pub(super) fn last_fault(&self) -> Option<&str> {
        self.last_fault.as_deref()
    }

    /// Remembers a line of the process that runs.
    pub(super) fn line(&mut self, line: &str) {
        self.last_line = Some(line.to_owned());
    }

    pub(super) fn last_line(&self) -> Option<&str> {
        self.last_line.as_deref()
    }

    /// Takes over what is counted in `process`, which ends and was the one that decided.
    pub(super) fn end_of(&mut self, process: &dyn Process) {
        self.add(process);
        self.last_line = None;
        self.content = None;
    }

    /// Takes over what is counted in `process`, which ends.
    pub(super) fn add(&mut self, process: &dyn Process) {
        self.lost_calls += process.lost_calls();
        self.ended_cpu = sum(self.ended_cpu, process.usage().cpu_ns);
    }
}

/// Both together, where either is known.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

impl Engine {
    /// The processor time of all its processes, and the memory of the one that runs.
    pub(crate) fn usage(&self) -> Usage {
        let running = self.unit.as_ref().map(|unit| unit.process.usage()).unwrap_or_default();
        // Those beside it count from their start: what one has used must not vanish while it is replaced.
        let beside = self.processes_beside().map(|process| process.usage().cpu_ns);
        let cpu_ns = beside.fold(sum(self.books.ended_cpu, running.cpu_ns), sum);
        Usage { cpu_ns, ..running }
    }

    /// What the supervisor knows of it; what goes through the rings is left at nothing.
    pub(crate) fn status(&self, now: u64) -> EngineStatus {
        let manifest = &self.spec.manifest;
        let process = self.unit.as_ref().map(|unit| &*unit.process);
        let counted = FailureReason::ALL.iter().zip(self.books.faults);
        EngineStatus {
            name: manifest.name.clone(),
            vendor: manifest.vendor.clone(),
            version: manifest.version.clone(),
            state: self.state(),
            pid: process.map(Process::pid),
            events: self.spec.events.iter().map(|event| event.name().to_owned()).collect(),
            told: Vec::new(),
            degraded: Vec::new(),
            required: self.spec.config.required,
            content: self.books.content.clone(),
            sandbox_missing: self.books.sandbox_missing.clone(),
            starts: self.books.starts,
            restarts_left: self.life.restarts_left(now),
            misses: self.books.misses,
            asked: 0,
            allows: 0,
            denies: 0,
            abstains: 0,
            latency_ns: None,
            refused_calls: self.books.refused_calls
                + self.books.lost_calls
                + process
                    .into_iter()
                    .chain(self.processes_beside())
                    .map(Process::lost_calls)
                    .sum::<u64>(),
            faults: counted
                .filter(|(_, count)| *count > 0)
                .map(|(reason, count)| (reason.name().to_owned(), count))
                .collect(),
            last_fault: self.books.last_fault.clone(),
            poisoned_objects: 0,
            rule_denials: 0,
            rule_conflicts: 0,
        }
    }
}
