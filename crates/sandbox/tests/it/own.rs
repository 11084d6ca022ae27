//! Confinement of the trusted processes by themselves, tried in a process made for it.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use crate::harness::probe_path;

fn alone(arguments: &[&str]) -> Output {
    Command::new(probe_path()).args(arguments).output().expect("the probe runs")
}

#[test]
fn a_call_off_the_list_fails_with_the_chosen_errno() {
    let output = alone(&["own", "errno"]);

    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("errno {}\n", libc::EXDEV));
    assert!(output.status.success());
}

#[test]
fn a_call_off_the_list_ends_the_process_if_so_chosen() {
    let output = alone(&["own", "kill"]);

    assert_eq!(output.stdout, b"");
    assert_eq!(output.status.signal(), Some(libc::SIGSYS));
}

#[test]
fn memory_is_locked_where_that_is_allowed() {
    let output = alone(&["lock-memory"]);

    let refused = format!("errno {}\n", libc::ENOMEM);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said == "ok\n" || said == refused, "{said}");
}

#[test]
fn a_death_signal_must_be_a_signal() {
    let output = alone(&["death-signal", "9"]);
    let refused = alone(&["death-signal", "4711"]);

    assert_eq!(output.stdout, b"ok\n");
    assert_ne!(refused.stdout, b"ok\n");
}
