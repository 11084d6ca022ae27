//! Power cuts and kills, through the store; and installers that are wrong on purpose, which must be caught.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_update_tests::install::{AFTER, BEFORE, Manner, STAGING, ThroughStore};
use outrigger_update_tests::trace::{Fate, Tracer};
use outrigger_update_tests::{Effort, Scenario, cut, full, kill, tree};

const PROGRAM: &str = env!("CARGO_BIN_EXE_outrigger-test-install");

fn through_store(manner: Manner, from_scratch: bool) -> ThroughStore {
    ThroughStore { program: PROGRAM.into(), manner, from_scratch }
}

fn effort() -> Effort {
    Effort::from_env().expect("the environment")
}

/// Enough to find what is wrong on purpose, in either form of the tests.
fn thorough() -> Effort {
    Effort { singles: true, random: 4, seed: 1, ..effort() }
}

#[test]
fn an_update_cut_off_anywhere_leaves_one_version_in_force() {
    let report = cut::explore(&through_store(Manner::Right, false), &effort());

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("update: {report}");
    assert!(report.cuts > 50 && report.checked > report.cuts / 2, "{report}");
}

#[test]
fn a_first_install_cut_off_anywhere_leaves_none_or_one_version_in_force() {
    let report = cut::explore(&through_store(Manner::Right, true), &effort());

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("first install: {report}");
    assert!(report.cuts > 50 && report.checked > report.cuts / 2, "{report}");
}

#[test]
fn an_update_killed_at_any_system_call_leaves_one_version_in_force() {
    let report = kill::everywhere(&through_store(Manner::Right, false), &effort());

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("update: {report}");
    assert!(report.kills * effort().kill_every + effort().kill_every > report.calls, "{report}");
}

#[test]
fn a_first_install_killed_at_any_system_call_leaves_none_or_one_version_in_force() {
    let report = kill::everywhere(&through_store(Manner::Right, true), &effort());

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("first install: {report}");
    assert!(report.kills * effort().kill_every + effort().kill_every > report.calls, "{report}");
}

#[test]
fn an_update_killed_and_begun_again_and_then_cut_off_leaves_one_version_in_force() {
    let report = cut::explore_after_kills(&through_store(Manner::Right, false), &effort());

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("killed, begun again: {report}");
    assert!(report.checked > 50, "{report}");
}

/// The killed one has given the slot up in the journal, and not on the disk: what lies there must not be cleared on its
/// word alone.
#[test]
fn a_slot_that_a_killed_update_gave_up_is_not_cleared_before_that_is_durable() {
    let scenario = through_store(Manner::Right, false);
    let log = cut::record(&scenario).expect("an update");
    let gives_up = log.syncs_before(STAGING) as u64 + 1;

    let report = cut::explore_after_kill(&scenario, &effort(), gives_up);

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("killed while it gives the slot up, begun again: {report}");
    assert!(report.checked > 50, "{report}");
}

#[test]
fn a_first_install_killed_and_begun_again_and_then_cut_off_leaves_none_or_one_in_force() {
    let report = cut::explore_after_kills(&through_store(Manner::Right, true), &effort());

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    println!("first install, killed, begun again: {report}");
    assert!(report.checked > 50, "{report}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_disk_that_is_full_from_any_system_call_on_leaves_one_version_in_force_and_is_told() {
    for from_scratch in [false, true] {
        let report = full::everywhere(&through_store(Manner::Right, from_scratch), &effort());

        let report = report.unwrap_or_else(|error| panic!("{error:?}"));
        println!("from scratch {from_scratch}: {report}");
        assert!(
            report.tried * effort().kill_every + effort().kill_every > report.calls,
            "{report}"
        );
    }
}

/// What a host sees that looks when nothing more can be written, after an update with this fate.
#[cfg(target_arch = "x86_64")]
fn seen_on_a_full_disk(fate: Fate) -> Result<String> {
    let place = tree::scratch()?;
    let update = through_store(Manner::Right, false);
    update.prepare(place.path())?;
    Tracer::noting(place.path())?.run(&mut update.command(place.path()), fate)?;
    let mut look = Command::new(PROGRAM);
    look.args(["look", "at"]).arg(place.path().join("state")).arg("-");
    let run = Tracer::noting(place.path())?.run(&mut look, Fate::FullFrom(1))?;
    ensure!(run.code == Some(0) && run.refused > 0, "{run:?}");
    Ok(run.said)
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_host_knows_what_is_in_force_on_a_full_disk() {
    let seen = seen_on_a_full_disk(Fate::Spared).expect("a look");

    assert_eq!(seen, "2.0.0\n");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_host_knows_what_is_in_force_on_a_full_disk_after_a_kill() {
    let log = cut::record(&through_store(Manner::Right, false)).expect("an update");
    let checkpoint = log.syncs_before(AFTER) as u64 + 1;

    let seen = seen_on_a_full_disk(Fate::KilledAtSync(checkpoint)).expect("a look");

    assert_eq!(seen, "2.0.0\n");
}

#[test]
fn files_that_are_not_durable_when_the_commit_is_are_caught() {
    let caught = cut::explore(&through_store(Manner::LateFiles, false), &thorough());

    let error = caught.expect_err("the commit came before the files were durable");
    let told = format!("{error:?}");
    assert!(told.contains("was staged") || told.contains("cannot read"), "{told}");
    assert!(told.contains("seed 1, cut ") && told.contains("lost or torn:\n"), "{told}");
}

#[test]
fn files_that_come_after_the_commit_are_caught_by_killing() {
    let effort = Effort { kill_every: 1, ..effort() };
    let caught = kill::everywhere(&through_store(Manner::FilesAfterCommit, false), &effort);

    let told = format!("{:?}", caught.expect_err("the commit came before the files"));
    assert!(told.starts_with("KilledAt(") && told.contains("was staged"), "{told}");
}

/// A file that is replaced, whole and for good.
struct OneFile {
    manner: &'static str,
}

impl Scenario for OneFile {
    fn prepare(&self, root: &Path) -> Result<()> {
        Ok(fs::write(root.join("version"), "1.0.0".repeat(300))?)
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("file").arg(self.manner).arg(root).arg("2.0.0");
        command
    }

    fn check(&self, root: &Path, said: &str) -> Result<()> {
        let found = fs::read_to_string(root.join("version")).context("the file is gone")?;
        let (old, new) = (found == "1.0.0".repeat(300), found == "2.0.0".repeat(300));
        ensure!(old || new, "the file is torn");
        ensure!(old || said.contains(BEFORE), "it was replaced too early");
        ensure!(new || !said.lines().any(|line| line == AFTER), "what was promised is lost");
        Ok(())
    }
}

#[test]
fn a_file_replaced_durably_survives_every_cut() {
    let report = cut::explore(&OneFile { manner: "durable" }, &thorough());

    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    assert!(report.checked >= 6, "{report}");
}

#[test]
fn a_rename_of_a_file_that_is_not_durable_is_caught() {
    let caught = cut::explore(&OneFile { manner: "unsynced-file" }, &thorough());

    let told = format!("{:?}", caught.expect_err("the file was not made durable"));
    assert!(told.contains("the file is torn"), "{told}");
    assert!(told.contains("write 1500 bytes at 0 of version.new"), "{told}");
}

#[test]
fn a_promise_before_the_rename_is_durable_is_caught() {
    let caught = cut::explore(&OneFile { manner: "unsynced-folder" }, &thorough());

    let told = format!("{:?}", caught.expect_err("the folder was not made durable"));
    assert!(told.contains("what was promised is lost"), "{told}");
    assert!(told.contains("rename version.new"), "{told}");
}
