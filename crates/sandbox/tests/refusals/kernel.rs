//! The kernel's larger interfaces, and its roots and namespaces.

use crate::harness::{attempt, is_refused};

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
fn a_call_that_nobody_knows_is_refused_by_its_number() {
    let Some(outcome) = attempt(&["unknown"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("syscall 100467"), Some(""));
}

#[test]
fn a_new_file_system_is_refused() {
    is_refused("fsopen", "fsopen", "");
}

#[test]
fn a_copy_of_a_mount_is_refused() {
    is_refused("open_tree", "open_tree", "");
}

#[test]
fn moving_a_mount_is_refused() {
    is_refused("move_mount", "move_mount", "");
}

#[test]
fn other_attributes_of_a_mount_are_refused() {
    is_refused("mount_setattr", "mount_setattr", "");
}

#[test]
fn watching_files_is_refused() {
    is_refused("inotify_init1", "inotify_init1", "");
}

#[test]
fn a_kernel_module_is_refused() {
    is_refused("init_module", "finit_module", "");
}

#[test]
fn another_kernel_is_refused() {
    is_refused("kexec_load", "kexec_load", "");
}

#[test]
fn ending_the_machine_is_refused() {
    is_refused("reboot", "reboot", "");
}

#[test]
fn the_kernels_log_is_refused() {
    is_refused("syslog", "syslog", "");
}

#[test]
fn quotas_are_refused() {
    is_refused("quotactl", "quotactl", "");
}

#[test]
fn swap_is_refused() {
    is_refused("swapon", "swapon", "");
}

#[test]
fn accounting_is_refused() {
    is_refused("acct", "acct", "");
}

#[test]
fn another_time_is_refused() {
    is_refused("clock_settime", "clock_settime", "");
}

#[test]
fn another_name_of_the_machine_is_refused() {
    is_refused("name-of-machine", "sethostname", "");
}

#[test]
fn a_table_of_segments_is_refused() {
    is_refused("modify_ldt", "modify_ldt", "");
}

#[test]
fn a_domain_of_its_own_is_refused() {
    is_refused("landlock", "landlock_restrict_self", "");
}

#[test]
fn capabilities_are_refused() {
    is_refused("capset", "capset", "");
}

#[test]
fn to_be_looked_into_by_debuggers_again_is_refused() {
    is_refused("set_dumpable", "prctl", "option 4");
}

#[test]
fn strict_filtering_by_itself_is_refused() {
    is_refused("strict-seccomp", "prctl", "option 22");
}

#[test]
fn shared_memory_with_others_is_refused() {
    is_refused("shmget", "shmget", "");
}

#[test]
fn messages_with_others_are_refused() {
    is_refused("msgget", "msgget", "");
}

#[test]
fn semaphores_with_others_are_refused() {
    is_refused("semget", "semget", "");
}

#[test]
fn a_message_queue_is_refused() {
    is_refused("mq_open", "mq_open", "");
}

#[test]
fn a_timer_that_signals_is_refused() {
    is_refused("timer_create", "timer_create", "");
}
