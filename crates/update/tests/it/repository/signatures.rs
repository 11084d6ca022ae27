//! unsigned, wrong key, threshold not met: in each role.

use aws_lc_rs::signature::Ed25519KeyPair;
use outrigger_update::repository::Refusal;

use super::author::{envelope, key};
use super::world::World;

/// Offers a new version of everything, in which `role` is signed by these keys.
fn signed_by(role: &'static str, keys: &[Ed25519KeyPair]) -> World {
    let mut world = World::new();
    world.author.release(&["targets", "snapshot", "timestamp"]);
    let wrong = envelope(&world.author.signed(role), keys);
    world.author.serve(role, wrong);
    world
}

#[test]
fn an_unsigned_timestamp_is_refused() {
    let mut world = signed_by("timestamp", &[]);

    let refusal = world.refuses();

    assert_eq!(refusal.name(), "unsigned");
    assert_eq!(refusal.to_string(), "timestamp.json has no signature; the role timestamp needs 1");
    world.recovers();
}

#[test]
fn an_unsigned_snapshot_is_refused() {
    let mut world = signed_by("snapshot", &[]);

    assert_eq!(world.refuses_but_keeps(&["timestamp.json"]).name(), "unsigned");
    world.recovers();
}

#[test]
fn unsigned_targets_are_refused() {
    let mut world = signed_by("targets", &[]);

    let refusal = world.refuses_but_keeps(&["timestamp.json", "snapshot.json"]);

    assert_eq!(refusal.name(), "unsigned");
    world.recovers();
}

#[test]
fn an_unsigned_root_is_refused() {
    let mut world = World::new();
    world.author.release(&["root"]);
    let unsigned = envelope(&world.author.signed("root"), &[]);
    world.author.serve("root", unsigned);

    assert_eq!(world.refuses().name(), "unsigned");
}

#[test]
fn a_place_kept_for_a_signature_is_none() {
    let mut world = World::new();
    world.author.release(&["targets", "snapshot", "timestamp"]);
    let signed = String::from_utf8(world.author.files["metadata/timestamp.json"].clone()).unwrap();
    let begin = signed.find("\"sig\":\"").unwrap() + "\"sig\":\"".len();
    let emptied = [&signed[..begin], &signed[begin + 128..]].concat();
    world.author.serve("timestamp", emptied.into_bytes());

    assert_eq!(world.refuses().name(), "unsigned");
}

#[test]
fn a_timestamp_by_a_wrong_key_is_refused() {
    let mut world = signed_by("timestamp", &[key()]);

    assert_eq!(world.refuses().name(), "wrong-key");
    world.recovers();
}

#[test]
fn targets_by_the_key_of_the_timestamp_are_refused() {
    let mut world = World::new();
    world.author.release(&["targets", "snapshot", "timestamp"]);
    let wrong = envelope(&world.author.signed("targets"), &world.author.keys["timestamp"]);
    world.author.serve("targets", wrong);

    let refusal = world.refuses_but_keeps(&["timestamp.json", "snapshot.json"]);

    assert_eq!(refusal.name(), "wrong-key");
    world.recovers();
}

#[test]
fn a_signature_over_other_bytes_is_refused() {
    let mut world = World::new();
    world.author.release(&["targets", "snapshot", "timestamp"]);
    let signed = String::from_utf8(world.author.files["metadata/timestamp.json"].clone()).unwrap();
    world.author.serve("timestamp", signed.replace("2030-01-31", "2031-01-31").into_bytes());

    assert_eq!(world.refuses().name(), "wrong-key");
    world.recovers();
}

#[test]
fn a_root_that_the_old_root_did_not_sign_is_refused() {
    let mut world = World::new();
    world.author.keys.insert("root", vec![key()]);
    world.author.release(&["root"]);

    assert_eq!(world.refuses().name(), "wrong-key");
}

#[test]
fn targets_under_their_threshold_are_refused() {
    let mut world = World::prepared(|author| {
        author.keys.get_mut("targets").unwrap().extend([key(), key()]);
        author.thresholds.insert("targets", 2);
    });
    world.author.release(&["targets", "snapshot", "timestamp"]);
    let once = envelope(&world.author.signed("targets"), &world.author.keys["targets"][..1]);
    world.author.serve("targets", once);

    let refusal = world.refuses_but_keeps(&["timestamp.json", "snapshot.json"]);

    assert!(
        matches!(&refusal, Refusal::SignatureThreshold { role, found: 1, threshold: 2, .. } if role == "targets"),
        "{refusal}"
    );
    assert_eq!(refusal.name(), "signature-threshold");
    world.recovers();
}

#[test]
fn one_key_that_signs_twice_is_no_second_signature() {
    let mut world = World::prepared(|author| {
        author.keys.get_mut("targets").unwrap().push(key());
        author.thresholds.insert("targets", 2);
    });
    world.author.release(&["targets", "snapshot", "timestamp"]);
    let once = envelope(&world.author.signed("targets"), &world.author.keys["targets"][..1]);
    let once = String::from_utf8(once).unwrap();
    let begin = once.find("\"signatures\":[").unwrap() + "\"signatures\":[".len();
    let end = begin + once[begin..].find(']').unwrap();
    let twice = [&once[..end], ",", &once[begin..]].concat();
    world.author.serve("targets", twice.into_bytes());

    let refusal = world.refuses_but_keeps(&["timestamp.json", "snapshot.json"]);

    assert_eq!(refusal.name(), "malformed", "{refusal}");
    assert!(refusal.to_string().contains("duplicate signature"), "{refusal}");
    world.recovers();
}

#[test]
fn a_threshold_of_none_is_refused() {
    let mut world = World::new();
    world.author.thresholds.insert("targets", 0);
    world.author.release(&["root", "targets", "snapshot", "timestamp"]);

    let kept = ["root.json", "root_history/2.root.json", "timestamp.json", "snapshot.json"];
    let refusal = world.refuses_but_keeps(&kept);

    assert_eq!(refusal.name(), "malformed", "{refusal}");
}
