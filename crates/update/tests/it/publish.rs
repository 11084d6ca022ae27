//! Repositories: what is published is what a client of The Update Framework takes, and nothing else is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use outrigger_api::release::Part;
use outrigger_api::settings::{Release, Releases};
use outrigger_update::package::Builder;
use outrigger_update::publish::{
    Key, KeyError, Lifetimes, PublicKey, PublishError, Publisher, Role, RoleKeys, Roles,
    RootChange, inspect_repository,
};
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{FileStore, Repository, Updater};
use tempfile::TempDir;

use crate::package::{content_head, quiet};

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().expect("a time")
}

fn in_days(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

fn lifetimes() -> Lifetimes {
    Lifetimes { snapshot: in_days(30), timestamp: in_days(7) }
}

fn key() -> Key {
    Key::generate().expect("a key")
}

fn release(version: &str) -> Vec<u8> {
    let version = version.parse().expect("a version");
    let mut builder = Builder::new(Release { version, ..content_head() });
    builder.add("list.deny", b"bytes".to_vec(), false).expect("a free path");
    builder.build(&mut quiet).expect("a package")
}

/// A repository of one key for each of root, targets and the two others.
struct World {
    folder: TempDir,
    root: Key,
    targets: Key,
    online: Key,
}

impl World {
    fn new() -> Self {
        let (root, targets, online) = (key(), key(), key());
        let folder = tempfile::tempdir().expect("a folder");
        let roles = Roles::simple(root.public(), targets.public(), online.public());
        let mut publisher = Publisher::create(folder.path()).expect("room");
        publisher.init(&roles, in_days(365), std::slice::from_ref(&root)).expect("a root");
        Self { folder, root, targets, online }
    }

    fn publisher(&self) -> Publisher {
        Publisher::open(self.folder.path()).expect("a repository")
    }

    fn add(&self, version: &str) {
        let mut publisher = self.publisher();
        publisher.add(&release(version), now()).expect("a new release");
        let keys = std::slice::from_ref(&self.targets);
        let signed = publisher.sign_targets(keys, in_days(180), now()).expect("a signature");
        assert_eq!(signed.missing, 0);
    }

    fn publish(&self) -> u64 {
        let keys = std::slice::from_ref(&self.online);
        let published = self.publisher().publish(keys, lifetimes(), now()).expect("published");
        published.timestamp
    }

    fn first_root(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("metadata/1.root.json")).expect("the root")
    }
}

/// The client that the conformance suite is passed with, on plain files.
struct Files(PathBuf);

impl Files {
    fn read(&self, path: PathBuf, max: u64) -> Option<Vec<u8>> {
        let bytes = fs::read(path).ok()?;
        assert!(bytes.len() as u64 <= max, "longer than the metadata said");
        Some(bytes)
    }
}

impl Repository for Files {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max: u64) -> FetchFuture<'a> {
        let bytes = self.read(self.0.join("metadata").join(name), max);
        Box::pin(async move { Ok(bytes) })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max: u64) -> FetchFuture<'a> {
        let bytes = self.read(self.0.join("targets").join(path), max);
        Box::pin(async move { Ok(bytes) })
    }
}

fn client(folder: &Path, root: &[u8], at: Timestamp) -> Result<Updater, sigstore_tuf::Error> {
    let mut client = Updater::new(Files(folder.to_owned()), root)?;
    pollster::block_on(client.refresh(at))?;
    Ok(client)
}

fn target(client: &mut Updater, name: &str) -> Vec<u8> {
    pollster::block_on(client.get_target(name, now())).expect("a target")
}

fn offered(client: &mut Updater) -> Vec<String> {
    let text = String::from_utf8(target(client, "scan/releases.toml")).expect("text");
    let releases = Releases::parse(&text, Path::new("releases.toml")).expect("a list");
    releases.releases.iter().map(|offered| offered.version.to_string()).collect()
}

fn view(world: &World, at: Timestamp) -> outrigger_update::publish::RepositoryView {
    inspect_repository(world.folder.path(), at).expect("a repository")
}

#[test]
fn a_client_takes_what_was_published_and_then_what_came_after() {
    let world = World::new();
    world.add("1.0.0");
    world.publish();
    let mut first = client(world.folder.path(), &world.first_root(), now()).expect("good");
    let package = target(&mut first, "scan/content/1.0.0.tar.gz");
    world.add("1.1.0");
    world.publish();
    let mut second = client(world.folder.path(), &world.first_root(), now()).expect("good");

    assert_eq!(package, release("1.0.0"));
    assert_eq!(offered(&mut first), ["1.0.0"], "the files that it was told of are still there");
    assert_eq!(offered(&mut second), ["1.0.0", "1.1.0"]);
    assert_eq!(target(&mut second, "scan/content/1.1.0.tar.gz"), release("1.1.0"));
    assert_eq!(view(&world, now()).problems, [""; 0]);
}

#[test]
fn what_is_served_is_never_changed_but_the_timestamp() {
    let world = World::new();
    world.add("1.0.0");
    world.publish();
    let served = |world: &World| {
        let mut all = BTreeMap::new();
        let mut left = ["metadata", "targets"].map(|name| world.folder.path().join(name)).to_vec();
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(
                    fs::read_dir(&path).expect("it").map(|entry| entry.expect("it").path()),
                );
            } else {
                all.insert(
                    path.clone(),
                    (fs::metadata(&path).expect("it").ino(), fs::read(&path).expect("it")),
                );
            }
        }
        all
    };
    let before = served(&world);

    world.add("1.1.0");
    world.publish();

    let after = served(&world);
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, was)| after.get(*path) != Some(was))
        .map(|(path, _)| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(changed, ["timestamp.json"]);
}

#[test]
fn two_of_three_holders_sign_a_release_in_turn() {
    let world = World::new();
    let holders = [key(), key(), key()];
    let roles = |keys: &[&Key], threshold| RoleKeys {
        keys: keys.iter().map(|key| key.public().clone()).collect(),
        threshold,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let all = Roles {
        targets: roles(&[&holders[0], &holders[1], &holders[2]], 2),
        ..Roles::simple(world.root.public(), world.targets.public(), world.online.public())
    };
    let mut publisher = Publisher::create(folder.path()).expect("room");
    publisher.init(&all, in_days(365), std::slice::from_ref(&world.root)).expect("a root");
    publisher.add(&release("1.0.0"), now()).expect("a release");
    let mut sign =
        |key: &Key| publisher.sign_targets(std::slice::from_ref(key), in_days(180), now());

    let one = sign(&holders[2]).expect("a signature");
    let same = sign(&holders[2]).expect("a signature");
    let stranger = sign(&world.root).expect_err("no targets key");
    let online = std::slice::from_ref(&world.online);
    let early = Publisher::open(folder.path());
    assert!(matches!(early, Err(PublishError::Locked(_))), "{early:?}");
    let two = sign(&holders[0]).expect("a signature");
    drop(publisher);
    let mut publisher = Publisher::open(folder.path()).expect("it");
    publisher.publish(online, lifetimes(), now()).expect("published");

    assert_eq!((one.missing, same.missing, two.missing), (1, 1, 0));
    assert!(matches!(stranger, PublishError::NotSigner { .. }), "{stranger}");
    let root = fs::read(folder.path().join("metadata/1.root.json")).expect("it");
    assert_eq!(offered(&mut client(folder.path(), &root, now()).expect("good")), ["1.0.0"]);
}

#[test]
fn nothing_is_published_below_the_threshold() {
    let world = World::new();
    world.add("1.0.0");
    world.publish();
    let other = key();
    let mut publisher = world.publisher();
    let change = RootChange {
        add: vec![(Role::Targets, other.public().clone())],
        thresholds: vec![(Role::Targets, 2)],
        ..RootChange::default()
    };
    publisher.change_root(&change, in_days(365)).expect("pending");
    let root = publisher.sign_root(std::slice::from_ref(&world.root)).expect("complete");
    assert_eq!((root.missing, root.in_force), (0, false));
    publisher.add(&release("1.1.0"), now()).expect("pending");
    let targets = std::slice::from_ref(&world.targets);
    assert_eq!(publisher.sign_targets(targets, in_days(180), now()).expect("signed").missing, 1);
    let online = std::slice::from_ref(&world.online);

    let refused = publisher.publish(online, lifetimes(), now()).expect_err("one is missing");
    publisher.refresh(online, lifetimes(), now()).expect("what is in force stays so");
    let meanwhile = client(world.folder.path(), &world.first_root(), now());

    assert!(refused.to_string().starts_with("targets 2 has 1 of 2 signatures"), "{refused}");
    assert_eq!(offered(&mut meanwhile.expect("good")), ["1.0.0"]);
    publisher.sign_targets(std::slice::from_ref(&other), in_days(180), now()).expect("signed");
    publisher.publish(online, lifetimes(), now()).expect("published");
    let mut reader = client(world.folder.path(), &world.first_root(), now()).expect("good");
    assert_eq!(offered(&mut reader), ["1.0.0", "1.1.0"]);
}

#[test]
fn a_root_is_changed_by_the_keys_of_both_the_old_and_the_new() {
    let world = World::new();
    world.add("1.0.0");
    world.publish();
    let (next, online) = (key(), key());
    let mut publisher = world.publisher();
    let change = RootChange {
        add: vec![
            (Role::Root, next.public().clone()),
            (Role::Snapshot, online.public().clone()),
            (Role::Timestamp, online.public().clone()),
        ],
        remove: vec![
            (Role::Root, world.root.id().to_owned()),
            (Role::Snapshot, world.online.id().to_owned()),
            (Role::Timestamp, world.online.id().to_owned()),
        ],
        thresholds: Vec::new(),
    };
    publisher.change_root(&change, in_days(700)).expect("pending");

    let by_new = publisher.sign_root(std::slice::from_ref(&next)).expect("a signature");
    let pending = view(&world, now()).pending;
    let by_old = publisher.sign_root(std::slice::from_ref(&world.root)).expect("a signature");
    let old_online = std::slice::from_ref(&world.online);
    let refused = publisher.publish(old_online, lifetimes(), now()).expect_err("no longer a key");
    assert!(client(world.folder.path(), &world.first_root(), now()).is_ok(), "as before");
    publisher.publish(std::slice::from_ref(&online), lifetimes(), now()).expect("published");

    assert_eq!((by_new.missing, by_old.missing, by_old.version), (1, 0, 2));
    assert_eq!((pending[0].missing, pending[0].changes.len()), (1, 6));
    assert!(matches!(refused, PublishError::NotSigner { .. }), "{refused}");
    let mut reader = client(world.folder.path(), &world.first_root(), now()).expect("good");
    assert_eq!(offered(&mut reader), ["1.0.0"]);
    assert_eq!(reader.trusted().root().version, 2);
    let view = view(&world, now());
    assert_eq!((view.roles[0].version, view.pending.len()), (2, 0));
    assert_eq!(view.problems, [""; 0]);
}

#[test]
fn a_stolen_online_key_that_counted_far_ahead_is_recovered_from_by_another() {
    let world = World::new();
    world.add("1.0.0");
    world.publish();
    let known = tempfile::tempdir().expect("a folder");
    let machine = || {
        let files = Files(world.folder.path().to_owned());
        let client = Updater::new(files, &world.first_root()).expect("a root");
        let mut client = client.with_store(FileStore::new(known.path()));
        pollster::block_on(client.refresh(now())).map(|()| client)
    };
    let fast_forward = |key: &Key| {
        let path = world.folder.path().join("metadata/timestamp.json");
        let text = fs::read_to_string(&path).expect("it");
        let mut document: Value = serde_json::from_str(&text).expect("JSON");
        document["signed"]["version"] = json!(1_000_000);
        let canonical = to_canonical_bytes(&document["signed"]).expect("canonical");
        let signature = key.sign(&canonical).expect("a signature");
        document["signatures"] = json!([{ "keyid": key.id(), "sig": signature }]);
        fs::write(&path, document.to_string()).expect("room");
        text
    };
    let honest = fast_forward(&world.online);
    machine().expect("the thief's key is good as yet");
    fs::write(world.folder.path().join("metadata/timestamp.json"), honest).expect("room");
    let stuck = machine().expect_err("older than what was seen");
    let online = key();
    let mut change = RootChange::default();
    for role in [Role::Snapshot, Role::Timestamp] {
        change.add.push((role, online.public().clone()));
        change.remove.push((role, world.online.id().to_owned()));
    }

    let mut publisher = world.publisher();
    publisher.change_root(&change, in_days(365)).expect("pending");
    publisher.sign_root(std::slice::from_ref(&world.root)).expect("complete");
    publisher.publish(std::slice::from_ref(&online), lifetimes(), now()).expect("published");

    assert!(stuck.to_string().contains("1000000"), "{stuck}");
    assert_eq!(offered(&mut machine().expect("recovered")), ["1.0.0"]);
}

#[test]
fn a_root_that_changes_nothing_of_what_is_published_is_in_force_at_once() {
    let world = World::new();
    world.add("1.0.0");
    world.publish();
    let mut publisher = world.publisher();
    let change =
        RootChange { add: vec![(Role::Root, key().public().clone())], ..RootChange::default() };
    publisher.change_root(&change, in_days(700)).expect("pending");

    let signed = publisher.sign_root(std::slice::from_ref(&world.root)).expect("a signature");

    assert_eq!((signed.version, signed.missing, signed.in_force), (2, 0, true));
    let reader = client(world.folder.path(), &world.first_root(), now()).expect("good");
    assert_eq!(reader.trusted().root().version, 2);
}

#[test]
fn a_root_that_could_never_be_met_is_not_signed() {
    let world = World::new();
    let mut publisher = world.publisher();
    let change = RootChange { thresholds: vec![(Role::Targets, 2)], ..RootChange::default() };
    publisher.change_root(&change, in_days(365)).expect("pending");

    let refused = publisher.sign_root(std::slice::from_ref(&world.root)).expect_err("one key");
    let absent = RootChange {
        remove: vec![(Role::Root, world.online.id().to_owned())],
        ..RootChange::default()
    };
    let absent = publisher.change_root(&absent, in_days(365)).expect_err("no such key");

    let expected = "targets needs 2 signatures and has 1 keys: add keys with `--add targets=FILE`, \
                    or lower `--threshold targets=N`";
    assert_eq!(refused.to_string(), expected);
    assert!(matches!(absent, PublishError::NoSuchKey { role: Role::Root, .. }), "{absent}");
}

#[test]
fn a_version_is_released_once_and_withdrawn_from_the_list() {
    let world = World::new();
    world.add("1.0.0");
    world.add("1.1.0");
    world.publish();
    let mut publisher = world.publisher();
    let again = publisher.add(&release("1.0.0"), now()).expect_err("taken");
    let scan = "scan".parse().expect("a name");
    let version = |text: &str| text.parse().expect("a version");
    let absent = publisher.withdraw(&scan, Part::Code, &version("1.0.0"), now());

    publisher.withdraw(&scan, Part::Content, &version("1.1.0"), now()).expect("it is there");
    let pending = view(&world, now()).pending;
    let keys = std::slice::from_ref(&world.targets);
    publisher.sign_targets(keys, in_days(180), now()).expect("signed");
    drop(publisher);
    world.publish();

    assert!(matches!(again, PublishError::Taken { same: true, .. }), "{again}");
    assert!(matches!(absent, Err(PublishError::NotReleased(_))), "{absent:?}");
    assert_eq!(pending[0].withdraws[0].version, "1.1.0");
    let mut reader = client(world.folder.path(), &world.first_root(), now()).expect("good");
    assert_eq!(offered(&mut reader), ["1.0.0"]);
}

#[test]
fn what_expires_is_told_and_renewed() {
    let world = World::new();
    world.add("1.0.0");
    world.publish();
    let later = in_days(8);
    let expired = client(world.folder.path(), &world.first_root(), later).expect_err("too old");
    let told = view(&world, later).problems;
    let keys = std::slice::from_ref(&world.online);
    let renewed = Lifetimes { snapshot: in_days(60), timestamp: in_days(15) };
    let root = world.publisher().refresh(keys, renewed, in_days(366)).expect_err("an old root");

    let published = world.publisher().refresh(keys, renewed, later).expect("published");

    assert!(expired.to_string().contains("timestamp"), "{expired}");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("timestamp 1 expired at 2026-06-08T12:00:00Z"), "{told:?}");
    assert!(matches!(root, PublishError::Expired { .. }), "{root}");
    assert_eq!((published.timestamp, published.snapshot, published.targets), (2, 1, 1));
    client(world.folder.path(), &world.first_root(), later).expect("good again");
}

#[test]
fn a_package_that_was_swapped_after_it_was_added_is_not_signed() {
    let world = World::new();
    let mut publisher = world.publisher();
    publisher.add(&release("1.0.0"), now()).expect("pending");
    let folder = world.folder.path().join("targets/scan/content");
    let package = fs::read_dir(folder).expect("it").next().expect("one").expect("it").path();
    fs::write(&package, release("1.0.1")).expect("room");

    let keys = std::slice::from_ref(&world.targets);
    let refused = publisher.sign_targets(keys, in_days(180), now()).expect_err("swapped");

    assert!(matches!(refused, PublishError::Damaged { .. }), "{refused}");
}

#[test]
fn a_key_is_written_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("release.key");
    let key = key();

    let public = key.write_new(&file).expect("room");
    let again = Key::generate().expect("a key").write_new(&file).expect_err("taken");

    assert_eq!(fs::metadata(&file).expect("it").permissions().mode() & 0o777, 0o600);
    assert_eq!(Key::read(&file).expect("the key").id(), key.id());
    assert_eq!(&PublicKey::read(&public).expect("the key"), key.public());
    assert_eq!(&PublicKey::read(&file).expect("the key"), key.public());
    assert!(matches!(again, KeyError::Taken(_)), "{again}");
    assert!(fs::read_to_string(&file).expect("text").starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn files_that_are_no_key_for_signing_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("release.key");
    let public = key().write_new(&file).expect("room");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
    let junk = folder.path().join("junk");
    fs::write(&junk, "not a key").expect("room");
    let refused = |path: &Path| Key::read(path).expect_err("no key").to_string();

    assert!(refused(&file).contains("has mode 0640"), "{}", refused(&file));
    assert!(refused(&public).contains("is a public one"), "{}", refused(&public));
    assert!(refused(&junk).contains("is no private key"), "{}", refused(&junk));
    assert!(refused(folder.path()).starts_with("cannot read"), "{}", refused(folder.path()));
    assert!(!format!("{:?}", key()).contains("seed"));
}
