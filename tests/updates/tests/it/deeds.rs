//! Power cuts, kills and full disks at every step after an install: into force, back, notes; and the same done wrong on
//! purpose, which must be caught.

use anyhow::Result;
use outrigger_update_tests::deeds::{Care, Deed, ThroughDeed};
use outrigger_update_tests::small::Kind;
use outrigger_update_tests::{Effort, cut, full, kill};

use crate::preflight::root;

const PROGRAM: &str = env!("CARGO_BIN_EXE_outrigger-test-install");

fn done(deed: Deed, care: Care) -> ThroughDeed {
    ThroughDeed { program: PROGRAM.into(), deed, care }
}

/// In the short form a kill or a full disk at fewer calls than after an install: there are six deeds.
fn effort() -> Effort {
    let effort = Effort::from_env().expect("the environment");
    Effort { kill_every: if effort.singles { 1 } else { 29 }, ..effort }
}

/// Enough to find what is wrong on purpose, in either form of the tests.
fn thorough() -> Effort {
    Effort { singles: true, random: 4, seed: 1, kill_every: 1, ..effort() }
}

/// Cut off, killed and cut off after a kill, at every step; what was tried.
fn interrupted(deed: Deed) -> Result<String> {
    let (deed, effort) = (done(deed, Care::Right), effort());
    let cut = cut::explore(&deed, &effort)?;
    let kills = kill::everywhere(&deed, &effort)?;
    let after = cut::explore_after_kills(&deed, &effort)?;
    assert!(cut.cuts > 15 && cut.checked > cut.cuts / 3, "{cut}");
    assert!((kills.kills + 1) * effort.kill_every > kills.calls, "{kills}");
    assert!(after.checked > 10, "{after}");
    Ok(format!("{:?}: {cut}; {kills}; killed, begun again: {after}", deed.deed))
}

#[test]
fn a_trial_interrupted_anywhere_leaves_the_old_or_the_new_in_force() {
    let tried = interrupted(Deed::Trial).unwrap_or_else(|error| panic!("{error:?}"));

    println!("{tried}");
}

#[test]
fn a_roll_back_interrupted_anywhere_leaves_the_old_or_the_new_in_force() {
    let tried = interrupted(Deed::RollBack).unwrap_or_else(|error| panic!("{error:?}"));

    println!("{tried}");
}

#[test]
fn a_roll_back_to_nothing_interrupted_anywhere_leaves_nothing_or_the_new_in_force() {
    let tried = interrupted(Deed::RollBackFirst).unwrap_or_else(|error| panic!("{error:?}"));

    println!("{tried}");
}

#[test]
fn a_withdrawal_interrupted_anywhere_leaves_nothing_or_the_new_in_force() {
    let tried = interrupted(Deed::Withdraw).unwrap_or_else(|error| panic!("{error:?}"));

    println!("{tried}");
}

#[test]
fn going_back_by_hand_interrupted_anywhere_leaves_the_old_or_the_new_in_force() {
    let tried = interrupted(Deed::SendBack).unwrap_or_else(|error| panic!("{error:?}"));

    println!("{tried}");
}

#[test]
fn a_note_interrupted_anywhere_is_made_or_not() {
    let tried = interrupted(Deed::Notes).unwrap_or_else(|error| panic!("{error:?}"));

    println!("{tried}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_disk_that_is_full_from_any_system_call_on_leaves_one_standing_and_is_told() {
    let every = Deed::ALL.map(|(_, deed)| {
        full::everywhere(&done(deed, Care::Right), &effort())
            .unwrap_or_else(|error| panic!("{deed:?}: {error:?}"))
    });

    println!("{}", every.map(|report| report.to_string()).join("; "));
    assert!(every.iter().all(|report| report.tried > 0), "{every:?}");
}

/// Each way back on a disk of `kind` that is full when it begins, or becomes so meanwhile; what was tried.
fn on_a_full_disk(kind: Kind, effort: &Effort) -> Vec<String> {
    let ways = Deed::ALL.into_iter().map(|(_, deed)| deed).filter(|deed| deed.is_way_back());
    let tried: Vec<String> = ways
        .map(|deed| {
            let report = full::for_real(&done(deed, Care::Right), kind, effort);
            let report = report.unwrap_or_else(|error| panic!("{kind:?}, {deed:?}: {error:?}"));
            assert!((report.tried + 1) * effort.kill_every > report.calls, "{report}");
            format!("{kind:?}, {deed:?}: {report}")
        })
        .collect();
    assert_eq!(tried.len(), 4);
    tried
}

#[test]
fn every_way_back_succeeds_in_a_full_memory_disk() {
    if root("every_way_back_succeeds_in_a_full_memory_disk") {
        let tried = on_a_full_disk(Kind::Tmpfs, &effort());

        println!("{}", tried.join("; "));
    }
}

#[test]
fn every_way_back_succeeds_where_no_file_can_be_made() {
    if root("every_way_back_succeeds_where_no_file_can_be_made") {
        let tried = on_a_full_disk(Kind::TmpfsNames, &effort());

        println!("{}", tried.join("; "));
    }
}

/// Each time an image is formatted and mounted: fewer of them.
fn rarely() -> Effort {
    let effort = effort();
    Effort { kill_every: if effort.singles { 17 } else { 211 }, ..effort }
}

#[test]
fn every_way_back_succeeds_on_a_full_ext4() {
    if root("every_way_back_succeeds_on_a_full_ext4") {
        let tried = on_a_full_disk(Kind::Ext4, &rarely());

        println!("{}", tried.join("; "));
    }
}

#[test]
fn every_way_back_succeeds_on_an_ext4_without_inodes() {
    if root("every_way_back_succeeds_on_an_ext4_without_inodes") {
        let tried = on_a_full_disk(Kind::Ext4Names, &rarely());

        println!("{}", tried.join("; "));
    }
}

#[test]
fn what_is_no_way_back_does_not_take_the_reserve_of_a_full_disk() {
    if root("what_is_no_way_back_does_not_take_the_reserve_of_a_full_disk") {
        for deed in [Deed::Trial, Deed::Notes] {
            full::refused_for_real(&done(deed, Care::Right))
                .unwrap_or_else(|error| panic!("{deed:?}: {error:?}"));
        }
    }
}

#[test]
fn parts_that_go_into_force_one_after_the_other_are_caught() {
    let caught = cut::explore(&done(Deed::Trial, Care::PartByPart), &thorough());

    let told = format!("{:?}", caught.expect_err("two steps in place of one"));
    assert!(told.contains("code 2.0.0 probation, content 1.0.0 active"), "{told}");
}

#[test]
fn parts_that_go_back_one_after_the_other_are_caught() {
    let caught = cut::explore(&done(Deed::RollBack, Care::PartByPart), &thorough());

    let told = format!("{:?}", caught.expect_err("two steps in place of one"));
    assert!(told.contains("code 1.0.0 active, content 2.0.0 probation"), "{told}");
}

#[test]
fn parts_that_go_back_one_after_the_other_are_caught_by_killing() {
    let caught = kill::everywhere(&done(Deed::SendBack, Care::PartByPart), &thorough());

    let told = format!("{:?}", caught.expect_err("two steps in place of one"));
    assert!(told.contains("code 1.0.0 active, content 2.0.0 active"), "{told}");
}

#[test]
fn a_promise_before_the_way_back_is_durable_is_caught() {
    let caught = cut::explore(&done(Deed::RollBack, Care::Early), &thorough());

    let told = format!("{:?}", caught.expect_err("it said so too early"));
    assert!(told.contains("it stands [code 2.0.0 probation"), "{told}");
}

#[test]
fn a_note_that_is_promised_before_it_is_durable_is_caught() {
    let caught = cut::explore(&done(Deed::Notes, Care::Early), &thorough());

    let told = format!("{:?}", caught.expect_err("it said so too early"));
    assert!(
        told.contains(
            "and not [code 1.0.0 active, content 1.0.0 active, bad 2.0.0, approved 3.0.0]"
        ),
        "{told}"
    );
}
