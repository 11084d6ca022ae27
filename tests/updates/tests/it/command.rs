//! Power cuts and kills in `outrigger update apply` itself: download, verification, staging, preflight, commit.

use outrigger_update_tests::command::ThroughCommand;
use outrigger_update_tests::{Effort, cut, kill};

/// A run of it is some thousand system calls, and a check of each state runs it again: fewer states at each cut
/// than through the store alone, and fewer cuts and kills.
fn effort() -> Effort {
    let full = Effort::from_env().expect("the environment");
    let (kill_every, cut_every) = if full.singles { (1, 1) } else { (307, 7) };
    let random = u32::from(full.singles);
    Effort { singles: false, random, kill_every, cut_every, ..full }
}

fn scenario(folder: &tempfile::TempDir) -> ThroughCommand {
    ThroughCommand::new(folder.path()).expect("a vendor and a machine")
}

fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    // The child that brings the repository's files is one of the others.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("ours");
    folder
}

#[test]
fn an_update_by_command_cut_off_anywhere_leaves_one_version_in_force() {
    let folder = folder();

    let report = cut::explore(&scenario(&folder), &effort());

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("outrigger update apply: {report}");
    assert!(report.cuts > 20 && report.checked > 15, "{report}");
}

#[test]
fn an_update_by_command_killed_at_system_calls_leaves_one_version_in_force() {
    let folder = folder();
    let effort = effort();

    let report = kill::everywhere(&scenario(&folder), &effort);

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("outrigger update apply: {report}");
    assert!((report.kills + 1) * effort.kill_every > report.calls, "{report}");
}
