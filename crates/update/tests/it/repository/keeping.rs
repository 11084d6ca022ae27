//! Trusted metadata on the disk: kept only if sound, verified again when read, whole whatever happens.

use std::fs;
use std::os::unix::fs::symlink;

use super::world::{PACKAGE, World};
use outrigger_update::repository::Repository;

#[test]
fn it_is_kept_under_plain_names_and_nothing_else_is() {
    let world = World::new();

    let mut names: Vec<String> = fs::read_dir(world.store())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();

    let plain =
        ["clock", "root.json", "root_history", "snapshot.json", "targets.json", "timestamp.json"];
    assert_eq!(names, plain);
}

#[test]
fn kept_files_that_were_tampered_with_are_fetched_again() {
    let mut world = World::new();
    for file in ["timestamp.json", "snapshot.json", "targets.json"] {
        fs::write(world.store().join(file), "{\"torn").unwrap();
    }

    let versions = world.recovers();

    assert_eq!(versions.targets, 2);
    let kept = fs::read(world.store().join("targets.json")).unwrap();
    assert_eq!(kept, world.author.files["metadata/2.targets.json"]);
}

#[test]
fn a_kept_root_that_was_tampered_with_is_walked_to_again() {
    let mut world = World::new();
    world.author.release(&["root"]);
    world.refresh().unwrap();
    fs::write(world.store().join("root.json"), "{}").unwrap();
    fs::write(world.store().join("root_history/2.root.json"), "{}").unwrap();

    assert_eq!(world.refresh().unwrap().root, 2);
    assert_eq!(
        fs::read(world.store().join("root.json")).unwrap(),
        world.author.files["metadata/2.root.json"]
    );
}

#[test]
fn a_link_in_the_store_is_not_written_through() {
    let mut world = World::new();
    let victim = world.store().parent().unwrap().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::remove_file(world.store().join("timestamp.json")).unwrap();
    symlink(&victim, world.store().join("timestamp.json")).unwrap();
    symlink(&victim, world.store().join(".targets.json.new")).unwrap();

    let refusal = world.refresh_next().expect_err("a link stands where a file should be made");

    assert_eq!(refusal.name(), "store", "{refusal}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(world.recovers().targets, 3);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_write_that_fails_ends_the_refresh_and_the_next_one_recovers() {
    let mut world = World::new();
    // A folder where the file's temporary name is: for root too, no file can be made there.
    let in_the_way = world.store().join(".snapshot.json.new");
    fs::create_dir(&in_the_way).unwrap();

    let refusal = world.refresh_next().expect_err("the snapshot cannot be written");
    let targets = fs::read(world.store().join("targets.json")).unwrap();
    fs::remove_dir(&in_the_way).unwrap();

    assert_eq!(refusal.name(), "store");
    assert!(refusal.to_string().ends_with("trusted/snapshot.json"), "{refusal}");
    assert_eq!(
        targets, world.author.files["metadata/1.targets.json"],
        "nothing after it is written"
    );
    assert_eq!(world.recovers().targets, 3);
}

#[test]
fn two_updates_do_not_share_a_store() {
    let world = World::new();
    let first = world.client();

    let root = world.author.files["metadata/1.root.json"].clone();
    let second = Repository::adopt(&world.store(), &root).unwrap_err();
    drop(first);

    assert_eq!(second.name(), "busy");
    assert!(world.refresh().is_ok());
}

#[test]
fn a_root_that_is_none_is_not_adopted() {
    let world = World::new();
    let empty = world.store().parent().unwrap().join("empty");

    let refusal = Repository::adopt(&empty, b"{}").unwrap_err();

    assert_eq!(refusal.name(), "malformed");
    assert!(!empty.exists());
}

#[test]
fn a_target_is_known_by_its_bytes() {
    let world = World::new();
    let mut client = world.client();
    client.refresh(world.now).unwrap();

    let target = client.find(PACKAGE).unwrap();

    assert!(target.is(b"the first"));
    assert!(!target.is(b"the fiXst"));
    assert!(!target.is(b"the first "));
}
