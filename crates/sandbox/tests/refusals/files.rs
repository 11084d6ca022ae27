//! Files: nothing outside the root, nothing written.

use crate::harness::{attempt, content, is_refused};

#[test]
fn a_file_outside_the_root_cannot_be_opened() {
    let Some(outcome) = attempt(&["open", "/etc/passwd"]) else { return };

    assert_eq!(outcome.said, "errno 2\n");
    assert_eq!(outcome.refused("openat"), Some("/etc/passwd"));
}

#[test]
fn dots_do_not_lead_out_of_the_root() {
    let Some(outcome) = attempt(&["open", "/content/../../../etc/passwd"]) else { return };

    assert_eq!(outcome.said, "errno 2\n");
    assert_eq!(outcome.refused("openat"), Some("/etc/passwd"));
}

#[test]
fn a_granted_descriptor_cannot_be_opened_again_through_proc() {
    let Some(outcome) = attempt(&["open", "/proc/self/fd/3"]) else { return };

    assert_eq!(outcome.said, "errno 2\n");
    assert_eq!(outcome.refused("openat"), Some("/proc/self/fd/3"));
}

#[test]
fn a_granted_descriptor_cannot_be_opened_again_through_dev() {
    let Some(outcome) = attempt(&["open", "/dev/fd/3"]) else { return };

    assert_eq!(outcome.said, "errno 2\n");
    assert_eq!(outcome.refused("openat"), Some("/dev/fd/3"));
}

#[test]
fn its_content_can_be_read_and_listed() {
    let Some(reading) = attempt(&["open", "/content/list"]) else { return };
    let Some(listing) = attempt(&["list", "/content"]) else { return };

    assert_eq!(reading.said, "ok\n");
    assert_eq!(listing.said, "ok\n");
    assert!(reading.calls.is_empty(), "{:?}", reading.calls);
    assert!(listing.calls.is_empty(), "{:?}", listing.calls);
}

#[test]
fn its_content_cannot_be_written() {
    let Some(outcome) = attempt(&["write", "/content/list"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("openat"), Some("/content/list for writing"));
    assert_eq!(std::fs::read_to_string(content().join("list")).unwrap(), "harmless\n");
}

#[test]
fn its_root_cannot_be_written() {
    let Some(outcome) = attempt(&["write", "/new"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("openat"), Some("/new for writing"));
}

#[test]
fn nothing_can_be_removed() {
    let Some(outcome) = attempt(&["remove", "/content/list"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("unlink"), Some(""));
}

#[test]
fn a_file_cannot_be_opened_by_its_handle() {
    let Some(outcome) = attempt(&["open_by_handle_at"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused("open_by_handle_at"), Some(""));
}

#[test]
fn a_handle_of_a_file_is_refused() {
    is_refused("name_to_handle_at", "name_to_handle_at", "");
}

#[test]
fn another_name_for_a_granted_file_is_refused() {
    is_refused("linkat", "linkat", "");
}

#[test]
fn a_symbolic_link_is_refused() {
    is_refused("symlinkat", "symlinkat", "");
}

#[test]
fn a_new_folder_is_refused() {
    is_refused("mkdirat", "mkdirat", "");
}

#[test]
fn a_device_is_refused() {
    is_refused("mknodat", "mknodat", "");
}

#[test]
fn renaming_is_refused() {
    is_refused("renameat2", "renameat2", "");
}
