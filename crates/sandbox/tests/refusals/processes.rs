//! Other processes: none can be reached, none can be made.

use outrigger_sandbox::RefusedCall;

use crate::harness::{attempt, is_refused};

#[test]
fn ptrace_is_refused() {
    let Some(outcome) = attempt(&["ptrace"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("ptrace"), Some(""));
}

#[test]
fn reading_the_memory_of_another_process_is_refused() {
    let Some(outcome) = attempt(&["process_vm_readv"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("process_vm_readv"), Some(""));
}

#[test]
fn kill_is_refused() {
    let Some(outcome) = attempt(&["kill"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("kill"), Some("pid 4000000, signal 9"));
}

#[test]
fn a_signal_to_a_thread_of_another_process_is_refused() {
    let Some(outcome) = attempt(&["tgkill"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("tgkill"), Some("pid 4000000, signal 9"));
}

#[test]
fn a_handle_on_a_process_is_refused() {
    let Some(outcome) = attempt(&["pidfd_open"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("pidfd_open"), Some(""));
}

#[test]
fn a_descriptor_of_another_process_is_refused() {
    let Some(outcome) = attempt(&["pidfd_getfd"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("pidfd_getfd"), Some(""));
}

#[test]
fn a_new_process_is_refused() {
    let Some(outcome) = attempt(&["fork"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("clone"), Some("flags 0x11"));
    assert!(outcome.calls.iter().any(RefusedCall::makes_process));
}

#[test]
fn a_second_program_is_refused() {
    let Some(outcome) = attempt(&["execve"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("execve"), Some(""));
}

#[test]
fn a_program_by_descriptor_is_refused() {
    let Some(outcome) = attempt(&["execveat"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("execveat"), Some(""));
}

#[test]
fn another_identity_is_refused() {
    let Some(outcome) = attempt(&["setuid"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("setuid"), Some(""));
}

#[test]
fn another_priority_is_refused() {
    let Some(outcome) = attempt(&["setpriority"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("setpriority"), Some(""));
}

#[test]
fn writing_the_memory_of_another_process_is_refused() {
    is_refused("process_vm_writev", "process_vm_writev", "");
}

#[test]
fn advice_on_the_memory_of_another_process_is_refused() {
    is_refused("process_madvise", "process_madvise", "");
}

#[test]
fn a_signal_by_a_handle_is_refused() {
    is_refused("pidfd_send_signal", "pidfd_send_signal", "");
}

#[test]
fn a_signal_with_a_value_is_refused() {
    is_refused("rt_sigqueueinfo", "rt_sigqueueinfo", "");
}

#[test]
fn comparing_itself_with_another_process_is_refused() {
    is_refused("kcmp", "kcmp", "");
}

#[test]
fn a_thread_in_a_namespace_of_its_own_is_refused() {
    is_refused("clone-namespace", "clone", "flags 0x40010900");
}

#[test]
fn another_scheduler_is_refused() {
    is_refused("sched_setscheduler", "sched_setscheduler", "");
}

#[test]
fn choosing_its_processors_is_refused() {
    is_refused("sched_setaffinity", "sched_setaffinity", "");
}

#[test]
fn another_priority_at_the_disk_is_refused() {
    is_refused("ioprio_set", "ioprio_set", "");
}
