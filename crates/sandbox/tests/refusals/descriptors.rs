//! Granted descriptors: read by position, and nothing else.

use crate::harness::{attempt, is_refused};

#[test]
fn flock_is_refused() {
    let Some(outcome) = attempt(&["flock"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("flock"), Some(""));
}

#[test]
fn a_lock_is_refused() {
    let Some(outcome) = attempt(&["lock"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("fcntl"), Some("a lock"));
}

#[test]
fn a_lease_is_refused() {
    let Some(outcome) = attempt(&["lease"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("fcntl"), Some("a lease"));
}

#[test]
fn an_owner_is_refused() {
    let Some(outcome) = attempt(&["owner"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("fcntl"), Some("an owner"));
}

#[test]
fn a_watch_on_a_folder_is_refused() {
    let Some(outcome) = attempt(&["watch"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("fcntl"), Some("a watch"));
}

#[test]
fn signals_on_a_descriptor_are_refused() {
    let Some(outcome) = attempt(&["async"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("fcntl"), Some("status flags"));
}

#[test]
fn ioctl_is_refused() {
    let Some(outcome) = attempt(&["ioctl"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("ioctl"), Some("request 0x80086601"));
}

#[test]
fn a_flush_of_the_disk_is_refused() {
    let Some(outcome) = attempt(&["fsync"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("fsync"), Some(""));
}

#[test]
fn a_socket_is_refused() {
    let Some(outcome) = attempt(&["socket"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("socket"), Some("family 2"));
}

#[test]
fn a_local_socket_is_refused() {
    let Some(outcome) = attempt(&["socket-unix"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("socket"), Some("family 1"));
}

#[test]
fn connect_is_refused() {
    let Some(outcome) = attempt(&["connect"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("connect"), Some(""));
}

#[test]
fn a_pair_of_sockets_is_refused() {
    is_refused("socketpair", "socketpair", "");
}

#[test]
fn an_address_is_refused() {
    is_refused("bind", "bind", "");
}

#[test]
fn cutting_a_file_is_refused() {
    is_refused("ftruncate", "ftruncate", "");
}

#[test]
fn making_a_file_longer_is_refused() {
    is_refused("fallocate", "fallocate", "");
}

#[test]
fn writing_by_position_is_refused() {
    is_refused("pwrite64", "pwrite64", "");
}

#[test]
fn an_attribute_of_a_file_is_refused() {
    is_refused("fsetxattr", "fsetxattr", "");
}

#[test]
fn another_mode_of_a_file_is_refused() {
    is_refused("fchmod", "fchmod", "");
}

#[test]
fn a_copy_within_the_kernel_is_refused() {
    is_refused("sendfile", "sendfile", "");
}

#[test]
fn moving_pages_through_a_pipe_is_refused() {
    is_refused("splice", "splice", "");
}
