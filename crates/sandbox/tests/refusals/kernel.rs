//! The kernel's larger interfaces, and its roots and namespaces.

use crate::harness::attempt;

#[test]
fn a_mount_is_refused() {
    let Some(outcome) = attempt(&["mount"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("mount"), Some(""));
}

#[test]
fn an_unmount_is_refused() {
    let Some(outcome) = attempt(&["umount2"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("umount2"), Some(""));
}

#[test]
fn another_root_is_refused() {
    let Some(outcome) = attempt(&["pivot_root"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("pivot_root"), Some(""));
}

#[test]
fn a_change_of_root_is_refused() {
    let Some(outcome) = attempt(&["chroot"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("chroot"), Some(""));
}

#[test]
fn another_working_folder_is_refused() {
    let Some(outcome) = attempt(&["chdir"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("chdir"), Some(""));
}

#[test]
fn a_new_namespace_is_refused() {
    let Some(outcome) = attempt(&["unshare"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("unshare"), Some(""));
}

#[test]
fn another_namespace_is_refused() {
    let Some(outcome) = attempt(&["setns"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("setns"), Some(""));
}

#[test]
fn a_file_in_memory_is_refused() {
    let Some(outcome) = attempt(&["memfd_create"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("memfd_create"), Some(""));
}

#[test]
fn io_uring_is_refused() {
    let Some(outcome) = attempt(&["io_uring_setup"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("io_uring_setup"), Some(""));
}

#[test]
fn bpf_is_refused() {
    let Some(outcome) = attempt(&["bpf"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("bpf"), Some(""));
}

#[test]
fn performance_events_are_refused() {
    let Some(outcome) = attempt(&["perf_event_open"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("perf_event_open"), Some(""));
}

#[test]
fn handling_its_own_page_faults_is_refused() {
    let Some(outcome) = attempt(&["userfaultfd"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("userfaultfd"), Some(""));
}

#[test]
fn the_kernels_keys_are_refused() {
    let Some(outcome) = attempt(&["keyctl"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("keyctl"), Some(""));
}

#[test]
fn watching_the_file_system_is_refused() {
    let Some(outcome) = attempt(&["fanotify_init"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("fanotify_init"), Some(""));
}

#[test]
fn a_filter_of_its_own_is_refused() {
    let Some(outcome) = attempt(&["seccomp"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("seccomp"), Some(""));
}

#[test]
fn memory_mapped_to_write_and_execute_is_refused() {
    let Some(outcome) = attempt(&["mmap"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("mmap"), Some("memory to write and execute"));
}

#[test]
fn memory_made_executable_while_writable_is_refused() {
    let Some(outcome) = attempt(&["mprotect"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("mprotect"), Some("memory to write and execute"));
}

#[test]
fn a_call_that_nobody_knows_is_refused_by_its_number() {
    let Some(outcome) = attempt(&["unknown"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("syscall 100467"), Some(""));
}
