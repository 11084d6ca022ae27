//! Limits: what a process may use up ends at them, and the machine does not notice.

use outrigger_sandbox::{Enforcement, Exit};

use crate::harness::{attempt, end, probe, wait_readable};

#[test]
fn more_memory_than_granted_ends_the_process_and_is_told_as_such() {
    let Some(mut probe) = probe(&["fill", "200"]) else { return };
    probe.confinement.limits.memory_bytes = 32 << 20;

    let (said, confined) = probe.run();

    assert_eq!(said, "");
    assert_eq!(end(&confined), Exit::OutOfMemory);
    assert_eq!(confined.enforced.memory, Enforcement::Full);
}

#[test]
fn memory_within_the_limit_is_granted() {
    let Some(mut probe) = probe(&["fill", "20"]) else { return };
    probe.confinement.limits.memory_bytes = 64 << 20;

    let (said, confined) = probe.run();

    assert_eq!(said, "held 20\n");
    assert_eq!(end(&confined), Exit::Code(0));
}

#[test]
fn threads_end_at_their_limit() {
    let Some(mut probe) = probe(&["threads"]) else { return };
    probe.confinement.limits.threads = 5;

    let (said, confined) = probe.run();

    assert_eq!(said, "5\n");
    if confined.enforced.threads == Enforcement::Full {
        assert_eq!(confined.refused_threads(), Some(1));
    }
}

#[test]
fn the_descriptors_that_it_holds_are_told_while_it_runs() {
    let Some(probe) = probe(&["stay"]) else { return };

    let (output, confined) = probe.start();
    wait_readable(&output);
    let running = confined.descriptors();
    confined.kill();
    end(&confined);

    // Its input, its output twice, and the one that it was granted.
    assert_eq!((running, confined.descriptors()), (Some(4), None));
}

#[test]
fn descriptors_end_at_their_limit() {
    let Some(mut probe) = probe(&["descriptors"]) else { return };
    probe.confinement.limits.descriptors = 40;

    let (said, _) = probe.run();

    assert_eq!(said, "39\n");
}

#[test]
fn the_fewest_descriptors_that_are_accepted_are_enough_to_start() {
    let Some(mut probe) = probe(&["hello"]) else { return };
    probe.confinement.limits.descriptors = 12;

    let (said, _) = probe.run();

    assert_eq!(said, "hello\n");
}

#[test]
fn a_limit_of_cpu_time_is_set() {
    let Some(mut probe) = probe(&["hello"]) else { return };
    probe.confinement.limits.cpu_percent = Some(50);

    let (said, confined) = probe.run();

    assert_eq!(said, "hello\n");
    assert_eq!(confined.enforced.cpu, Enforcement::Full);
}

#[test]
fn a_limit_cannot_be_raised() {
    let Some(outcome) = attempt(&["raise-limit"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("prlimit64"), Some("pid 0, resource 7"));
}
