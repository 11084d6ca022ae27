//! What happens to the machine and is worth a line: sleep, a jump of its clock, another kernel.
//!
//! None of it changes an answer. What the clocks say is judged by `decision::clocks`.

use outrigger_api::FailureReason;
use outrigger_decision::clocks::{Clocks, Readings};
use outrigger_sensor::clock;

/// Readings that took longer are no use, ns: this thread, or the machine, stood still between them.
const TOGETHER: u64 = clock::ms(10);

/// The machine's clocks, looked at now and then.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    clocks: Option<Clocks>,
}

impl Machine {
    /// What happened since the last look, each with a sentence.
    pub(crate) fn look(&mut self) -> Vec<(FailureReason, String)> {
        let Some(now) = readings() else { return Vec::new() };
        let Some(clocks) = &mut self.clocks else {
            self.clocks = Some(Clocks::new(now));
            return Vec::new();
        };
        let found = clocks.look(now);
        let slept = found.slept.map(|ns| {
            (FailureReason::MachineSuspended, format!("the machine slept {} s", seconds(ns)))
        });
        let jumped = found.jumped.map(|ns| {
            let way = if ns < 0 { "back" } else { "ahead" };
            let by = seconds(ns.unsigned_abs());
            (FailureReason::ClockJumped, format!("the wall clock was set {by} s {way}"))
        });
        slept.into_iter().chain(jumped).collect()
    }
}

/// The clocks, if they could be read at once. The one that never stands still is read first and last.
fn readings() -> Option<Readings> {
    let boot = clock::boot();
    let (monotonic, real) = (clock::now(), clock::real());
    let took = clock::boot().saturating_sub(boot);
    (took < TOGETHER).then_some(Readings { real, monotonic, boot })
}

fn seconds(ns: u64) -> String {
    format!("{}.{}", ns / 1_000_000_000, ns / 100_000_000 % 10)
}

/// The kernel that runs: its release, and its build, since distributions put out other builds under one
/// release.
pub(crate) fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.release().to_string_lossy(), name.version().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_an_ordinary_moment_find_nothing() {
        let mut machine = Machine::default();

        let found: Vec<_> = (0..1000).flat_map(|_| machine.look()).collect();

        assert_eq!(found, []);
    }

    #[test]
    fn a_time_is_told_to_a_tenth_of_a_second() {
        assert_eq!(seconds(3_600_250_000_000), "3600.2");
    }
}
