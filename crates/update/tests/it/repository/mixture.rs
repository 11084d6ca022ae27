//! mix-and-match, truncated, altered, missing: files that do not belong together, or are not whole.

use outrigger_update::repository::Refusal;

use super::world::{PACKAGE, World};

#[test]
fn a_snapshot_of_another_version_is_mix_and_match() {
    let mut world = World::new();
    let old = world.author.files["metadata/1.snapshot.json"].clone();
    world.author.release(&["snapshot", "timestamp"]);
    world.author.serve("snapshot", old);

    let refusal = world.refuses_but_keeps(&["timestamp.json"]);

    assert_eq!(refusal.name(), "mix-and-match", "{refusal}");
    world.recovers();
}

#[test]
fn targets_of_another_version_are_mix_and_match() {
    let mut world = World::new();
    let old = world.author.files["metadata/1.targets.json"].clone();
    world.author.release(&["targets", "snapshot", "timestamp"]);
    world.author.serve("targets", old);

    let refusal = world.refuses_but_keeps(&["timestamp.json", "snapshot.json"]);

    assert_eq!(refusal.name(), "mix-and-match", "{refusal}");
    world.recovers();
}

#[test]
fn signed_targets_with_another_sum_than_the_snapshots_are_mix_and_match() {
    let mut world = World::prepared(|author| author.sums = true);
    world.author.release(&["targets", "snapshot", "timestamp"]);
    world.author.targets.insert("scan/code/6.6.6.tar.gz".to_owned(), b"evil".to_vec());
    world.author.publish(&["targets"]);

    let refusal = world.refuses_but_keeps(&["timestamp.json", "snapshot.json"]);

    assert_eq!(refusal.name(), "mix-and-match", "{refusal}");
    world.recovers();
}

#[test]
fn a_truncated_timestamp_is_refused() {
    let mut world = World::new();
    world.author.release(&["targets", "snapshot", "timestamp"]);
    let whole = world.author.files["metadata/timestamp.json"].clone();
    world.author.serve("timestamp", whole[..whole.len() / 2].to_vec());

    let refusal = world.refuses();

    assert_eq!(refusal.name(), "truncated", "{refusal}");
    world.recovers();
}

#[test]
fn a_truncated_snapshot_of_known_length_is_refused() {
    let mut world = World::prepared(|author| author.sums = true);
    world.author.release(&["targets", "snapshot", "timestamp"]);
    let name = world.author.name("snapshot");
    world.author.files.get_mut(&name).unwrap().pop();

    let refusal = world.refuses_but_keeps(&["timestamp.json"]);

    assert_eq!(refusal.name(), "truncated", "{refusal}");
    world.recovers();
}

#[test]
fn what_is_no_json_is_malformed() {
    let mut world = World::new();
    world.author.serve("timestamp", b"<html>404</html>".to_vec());

    assert_eq!(world.refuses().name(), "malformed");
}

#[test]
fn a_mirror_without_a_timestamp_is_told() {
    let mut world = World::new();
    world.author.files.remove("metadata/timestamp.json");

    let refusal = world.refuses();

    assert!(matches!(&refusal, Refusal::Missing { file } if file == "timestamp.json"), "{refusal}");
    world.author.publish(&["timestamp"]);
    world.recovers();
}

#[test]
fn a_target_is_what_was_signed_or_nothing() {
    let mut world = World::new();
    let mut client = world.client();
    client.refresh(world.now).unwrap();
    let honest = client.target(PACKAGE, 1 << 20, |_| ()).unwrap();
    drop(client);
    let whole = world.everything();

    let mut refused = |bytes: &[u8]| {
        world.author.serve_target(PACKAGE, bytes);
        let mut client = world.client();
        client.refresh(world.now).unwrap();
        client.target(PACKAGE, 1 << 20, |_| ()).unwrap_err().name()
    };
    let [cut, altered, long] =
        [refused(b"the f"), refused(b"the fiXst"), refused(b"the first and more")];
    world.author.files.retain(|path, _| path.starts_with("metadata/"));
    let mut client = world.client();
    client.refresh(world.now).unwrap();
    let missing = client.target(PACKAGE, 1 << 20, |_| ()).unwrap_err().name();
    let unknown = client.target("scan/code/9.tar.gz", 1 << 20, |_| ()).unwrap_err().name();

    assert_eq!(honest, b"the first");
    assert_eq!([cut, altered, long], ["truncated", "altered", "too-long"]);
    assert_eq!([missing, unknown], ["missing", "no-target"]);
    assert_eq!(world.everything(), whole);
}

#[test]
fn a_target_with_a_name_that_climbs_is_asked_of_nobody() {
    let mut world = World::new();
    let name = "../../etc/cron.d/evil";
    world.author.targets.insert(name.to_owned(), b"evil".to_vec());
    world.author.serve_target(name, b"evil");
    world.recovers();
    let mut client = world.client();
    client.refresh(world.now).unwrap();

    let refusal = client.target(name, 1 << 20, |_| ()).unwrap_err();

    assert_eq!(refusal.name(), "unsafe-path", "{refusal}");
}
