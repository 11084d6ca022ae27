//! expired, freeze, rollback, fast-forward.

use jiff::SignedDuration;
use outrigger_update::repository::Refusal;

use super::author::key;
use super::world::World;

const SIGNED: [&str; 3] = ["targets", "snapshot", "timestamp"];
const DAY: SignedDuration = SignedDuration::from_hours(24);

#[test]
fn an_expired_timestamp_is_refused() {
    let mut world = World::new();
    world.author.expires.insert("timestamp", world.now - DAY);
    world.author.release(&["timestamp"]);

    let refusal = world.refuses();

    assert_eq!(refusal.name(), "expired");
    assert_eq!(
        refusal.to_string(),
        "timestamp metadata expired at 2029-12-31T00:00:00Z; this machine's clock says \
         2030-01-01T00:00:00Z; a refresh last succeeded at 2030-01-01T00:00:00Z"
    );
    assert!(refusal.advice().contains("If the clock is wrong, set it"), "{}", refusal.advice());
}

#[test]
fn an_expired_snapshot_is_refused() {
    let mut world = World::new();
    world.author.expires.insert("snapshot", world.now - DAY);
    world.author.release(&["snapshot", "timestamp"]);

    assert_eq!(world.refuses_but_keeps(&["timestamp.json"]).name(), "expired");
}

#[test]
fn expired_targets_are_refused() {
    let mut world = World::new();
    world.author.expires.insert("targets", world.now - DAY);
    world.author.release(&["targets", "snapshot", "timestamp"]);

    let refusal = world.refuses_but_keeps(&["timestamp.json", "snapshot.json"]);

    assert_eq!(refusal.name(), "expired");
}

#[test]
fn an_expired_root_is_refused_but_kept() {
    let mut world = World::new();
    world.author.expires.insert("root", world.now - DAY);
    world.author.release(&["root", "timestamp"]);

    let refusal = world.refuses_but_keeps(&["root.json", "root_history/2.root.json"]);

    assert!(matches!(&refusal, Refusal::Expired { role, .. } if role == "root"), "{refusal}");
}

#[test]
fn a_mirror_that_freezes_is_told_from_metadata_that_expired() {
    let mut world = World::new();
    world.author.expires.insert("timestamp", world.now + DAY);
    world.author.release(&["timestamp"]);
    world.refresh().expect("it is fresh today");
    world.now += DAY * 2;

    let refusal = world.refuses();

    assert_eq!(refusal.name(), "freeze");
    assert!(refusal.to_string().starts_with("the repository offers nothing newer"), "{refusal}");
    world.author.expires.insert("timestamp", world.now + DAY);
    world.recovers();
}

#[test]
fn a_timestamp_rolled_back_is_refused() {
    let mut world = World::new();
    let old = world.author.files["metadata/timestamp.json"].clone();
    world.recovers();
    world.author.serve("timestamp", old);

    let refusal = world.refuses();

    assert!(
        matches!(&refusal, Refusal::Rollback { role, trusted: 2, offered: 1 } if role == "timestamp"),
        "{refusal}"
    );
    world.recovers();
}

#[test]
fn a_snapshot_rolled_back_under_a_newer_timestamp_is_refused() {
    let mut world = World::new();
    world.recovers();
    world.author.pins.insert("snapshot", 1);
    world.author.release(&["timestamp"]);

    assert_eq!(world.refuses().name(), "rollback");
}

#[test]
fn targets_rolled_back_under_a_newer_snapshot_are_refused() {
    let mut world = World::new();
    world.recovers();
    world.author.pins.insert("targets", 1);
    world.author.release(&["snapshot", "timestamp"]);

    assert_eq!(world.refuses_but_keeps(&["timestamp.json"]).name(), "rollback");
}

#[test]
fn a_root_rolled_back_is_refused() {
    let mut world = World::new();
    let first = world.author.files["metadata/1.root.json"].clone();
    world.author.files.insert("metadata/2.root.json".to_owned(), first);

    assert_eq!(world.refuses().name(), "rollback");
}

#[test]
fn a_root_that_skips_a_version_is_refused() {
    let mut world = World::new();
    world.author.versions.insert("root", 3);
    world.author.publish(&["root"]);
    let third = world.author.files.remove("metadata/3.root.json").unwrap();
    world.author.files.insert("metadata/2.root.json".to_owned(), third);

    assert_eq!(world.refuses().name(), "root-version");
}

#[test]
fn old_metadata_is_no_rollback_floor_lost_by_expiry() {
    let mut world = World::new();
    let old = world.author.files["metadata/timestamp.json"].clone();
    world.author.expires.insert("timestamp", world.now + DAY);
    world.recovers();
    world.now += DAY * 2;
    world.author.serve("timestamp", old);

    // The kept timestamp has expired; that it was version 2 still counts.
    assert_eq!(world.refuses().name(), "rollback");
}

#[test]
fn a_fast_forwarded_repository_recovers_by_new_keys() {
    let mut world = World::new();
    world.author.versions.extend(SIGNED.map(|role| (role, u64::MAX >> 12)));
    world.author.publish(&SIGNED);
    world.refresh().expect("a thief with the keys cannot be told from the publisher");
    world.author.versions.extend(SIGNED.map(|role| (role, 2)));
    world.author.publish(&SIGNED);
    let before = world.refuses();

    world.author.keys.extend(["snapshot", "timestamp"].map(|role| (role, vec![key()])));
    world.author.release(&["root"]);
    world.author.publish(&["snapshot", "timestamp"]);
    let after = world.refresh().expect("versions begin anew under new keys");

    assert_eq!(before.name(), "rollback");
    assert_eq!((after.root, after.timestamp, after.targets), (2, 2, 2));
}
