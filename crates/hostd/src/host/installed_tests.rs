use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt as _;

use jiff::Timestamp;
use outrigger_api::settings::HostConfig;
use outrigger_update::finding::{Finding, Sign};
use outrigger_update::store::{Offer, Rejection};
use tempfile::TempDir;

use super::super::releases::{Task, under_way, write};
use super::*;

const MANIFEST: &str = "name = \"scan\"\nvendor = \"V\"\nversion = \"1\"\ncontract = \"1\"\n\
                        verdict = \"content\"\nentry.program = \"scan\"\n\
                        events.\"file.open\".needs = \"ask\"\n";

/// A state folder, and the configuration of an engine that is installed there.
fn machine() -> (TempDir, EngineConfig, EngineName) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = HostConfig::parse("[[engine]]\ninstalled = \"scan\"\n", Path::new("c.toml"));
    let config = config.expect("a configuration").engines.remove(0);
    (folder, config, "scan".parse().expect("a name"))
}

/// Stages a release with one file, as the tool leaves it that has tried it.
fn stage(state: &Path, part: Part, version: &str, file: &str, text: &str) -> ReleaseId {
    let mut store = Store::open(state).expect("a store");
    let offer = Offer {
        engine: "scan".parse().expect("a name"),
        part,
        version: version.parse().expect("a version"),
        package: Digest([0; 32]),
        repository: "tests".to_owned(),
    };
    let now = Timestamp::now();
    let id = store.offer(&offer, now).expect("offered");
    store.advance(id, State::Verified, "", now).expect("verified");
    let unpack = |folder: BorrowedFd<'_>| -> Result<Digest, std::io::Error> {
        let path = PathBuf::from(format!(
            "/proc/self/fd/{}/{file}",
            std::os::fd::AsRawFd::as_raw_fd(&folder)
        ));
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        let tree = tree_digest(folder, &PackageLimits::default());
        tree.map(|tree| Digest(tree.0)).map_err(std::io::Error::other)
    };
    store.stage(id, 0, now, unpack).expect("staged");
    store.advance(id, State::Preflight, "", now).expect("in preflight");
    store.advance(id, State::Shadow, "", now).expect("in shadow");
    id
}

fn name(part: Part, version: &str) -> ReleaseName {
    ReleaseName { part, version: version.to_owned() }
}

fn activate(state: &Path, release: ReleaseId) {
    let mut store = Store::open(state).expect("a store");
    store.begin_probation(&[release], "", Timestamp::now()).expect("in force");
    store.confirm(&[release], "", Timestamp::now()).expect("for good");
}

#[test]
fn what_is_in_force_is_what_a_host_starts() {
    let (state, config, scan) = machine();
    activate(state.path(), stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST));
    activate(state.path(), stage(state.path(), Part::Content, "7.0.0", "list", "1"));

    let (version, absent) = at_start(state.path(), &config, None).expect("a version");

    assert_eq!((absent, &version.spec.manifest.name), (None, &scan));
    let slots: Vec<&PathBuf> = version.slots.iter().map(|(dir, _)| dir).collect();
    assert_eq!(slots.len(), 2);
    assert_eq!(&version.spec.manifest.folder, slots[0]);
    assert_eq!(version.spec.config.content_dir.as_ref(), Some(slots[1]));
    assert!(version.entries().is_empty());
}

#[test]
fn of_an_engine_with_nothing_in_force_there_is_a_stand_in_that_is_asked_everything() {
    let (state, config, scan) = machine();

    let (version, absent) = at_start(state.path(), &config, None).expect("never an error");

    let why = absent.expect("it is absent");
    assert!(why.contains("put one in force with `outrigger update apply scan`"), "{why}");
    assert_eq!(version.spec.manifest.name, scan);
    let asked: Vec<_> = outrigger_api::Event::askable().collect();
    assert_eq!(version.spec.events, asked);
}

#[test]
fn a_release_that_lies_in_its_slot_is_found_and_put_in_force() {
    let (state, config, scan) = machine();
    activate(state.path(), stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST));
    stage(state.path(), Part::Content, "7.0.0", "list", "1");

    let version = find_new(state.path(), &config, &scan, &[name(Part::Content, "7.0.0")]);
    let version = version.expect("it passed preflight");
    assert_eq!(version.describe(), "scan with content 7.0.0");
    let begin = Task::Begin(version.entries(), "it stood its shadow".to_owned());
    write(state.path(), &scan, &begin).expect("the store takes it");

    let again = find(state.path(), &config, &scan).expect("it is in force");
    assert_eq!(again.slots, version.slots);
}

#[test]
fn what_was_before_is_found_while_its_successor_is_on_probation() {
    let (state, config, scan) = machine();
    activate(state.path(), stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST));
    activate(state.path(), stage(state.path(), Part::Content, "7.0.0", "list", "1"));
    let old = find(state.path(), &config, &scan).expect("it is in force");
    let new = stage(state.path(), Part::Content, "8.0.0", "list", "2");
    let begin = Task::Begin(vec![new], String::new());
    write(state.path(), &scan, &begin).expect("on probation");

    let under_way = under_way(state.path(), &scan).expect("a journal");
    let before = find_before(state.path(), &config, &scan, &[Part::Content]).expect("a journal");
    let parts = with_before(state.path(), &scan, None).expect("one has");
    let finding = Finding::new(Sign::Misses, "four");
    write(state.path(), &scan, &Task::RollBack(finding)).expect("rolled back");

    assert_eq!(under_way.probation, [(new, name(Part::Content, "8.0.0"))]);
    assert!(before.expect("it lies there").lies_where(&old));
    assert_eq!(parts, [Part::Content]);
    assert!(find(state.path(), &config, &scan).expect("it is in force again").lies_where(&old));
    assert!(with_before(state.path(), &scan, None).is_err(), "what was rejected is no way back");
}

#[test]
fn what_has_nothing_before_it_goes_back_to_nothing() {
    let (state, config, scan) = machine();
    let first = stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST);
    write(state.path(), &scan, &Task::Begin(vec![first], String::new())).expect("on probation");

    let before = find_before(state.path(), &config, &scan, &[Part::Code]).expect("a journal");

    assert!(before.is_none());
}

#[test]
fn code_whose_content_was_withdrawn_does_not_run_without() {
    let (state, config, scan) = machine();
    activate(state.path(), stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST));
    find(state.path(), &config, &scan).expect("code that never had content runs without");
    activate(state.path(), stage(state.path(), Part::Content, "7.0.0", "list", "1"));
    let new = stage(state.path(), Part::Content, "8.0.0", "list", "2");
    write(state.path(), &scan, &Task::Begin(vec![new], String::new())).expect("on probation");
    let finding = Finding::new(Sign::Misses, "four");
    write(state.path(), &scan, &Task::Withdraw(finding)).expect("withdrawn");

    let refused = find(state.path(), &config, &scan).expect_err("it has no content");

    assert!(refused.contains("its content was withdrawn"), "{refused}");
}

#[test]
fn a_package_that_is_known_bad_is_not_tried_again() {
    let (state, config, scan) = machine();
    activate(state.path(), stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST));
    let bad = stage(state.path(), Part::Content, "7.0.0", "list", "1");
    let finding = Finding::new(Sign::NewDenials, "four objects");
    write(state.path(), &scan, &Task::Reject(vec![bad], finding)).expect("rejected");
    stage(state.path(), Part::Content, "7.0.1", "list", "1");

    let refused = find_new(state.path(), &config, &scan, &[name(Part::Content, "7.0.1")]);

    let refused = refused.expect_err("its bytes are the same");
    assert!(refused.contains("known bad: new-denials: four objects"), "{refused}");
}

#[test]
fn what_cannot_be_put_in_force_is_refused_with_why() {
    let (state, config, scan) = machine();
    activate(state.path(), stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST));
    let content = stage(state.path(), Part::Content, "7.0.0", "list", "1");
    let refused = |releases: &[ReleaseName]| {
        find_new(state.path(), &config, &scan, releases).expect_err("it is refused")
    };

    let other = refused(&[name(Part::Content, "8.0.0")]);
    assert!(other.starts_with("content 8.0.0 of scan does not lie in a slot"), "{other}");
    let both = refused(&[name(Part::Content, "7.0.0"), name(Part::Content, "7.0.0")]);
    assert!(both.starts_with("two releases of scan's content cannot be in force"), "{both}");
    let mut store = Store::open(state.path()).expect("a store");
    let rejection = Rejection::for_conduct("preflight-crashed", "it crashed");
    store.reject(content, &rejection, Timestamp::now()).expect("rejected");
    drop(store);
    let rejected = refused(&[name(Part::Content, "7.0.0")]);
    assert!(rejected.contains("is rejected: only what passed preflight"), "{rejected}");
}

#[test]
fn a_manifest_of_another_engine_or_with_a_program_elsewhere_is_refused() {
    for (manifest, told) in [
        (MANIFEST.replace("\"scan\"\nv", "\"other\"\nv"), "is of other, not of scan"),
        (MANIFEST.replace("\"scan\"\nevents", "\"/bin/sh\"\nevents"), "is not in its release"),
        ("name = 1".to_owned(), "manifest.toml:1"),
    ] {
        let (state, config, _) = machine();
        activate(state.path(), stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, &manifest));

        let (_, absent) = at_start(state.path(), &config, None).expect("never an error");

        let why = absent.expect("it is refused");
        assert!(why.contains(told), "{told}: {why}");
    }
}

#[test]
fn a_file_that_was_altered_added_or_removed_shows_before_the_next_start() {
    let alter: [fn(&Path); 4] = [
        |slot| fs::write(slot.join("list"), "2").expect("written"),
        |slot| fs::write(slot.join("more"), "").expect("written"),
        |slot| fs::remove_file(slot.join("list")).expect("removed"),
        |slot| {
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(slot.join("list"), executable).expect("changed");
        },
    ];
    for alter in alter {
        let (state, config, scan) = machine();
        activate(state.path(), stage(state.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST));
        activate(state.path(), stage(state.path(), Part::Content, "7.0.0", "list", "1"));
        let version = find(state.path(), &config, &scan).expect("it is in force");
        let trees = Trees::default();
        trees.expect(&version);
        let slot = version.spec.config.content_dir.expect("it has content");
        trees.check(&slot).expect("it is as it was put there");

        alter(&slot);

        let refused = trees.check(&slot).expect_err("it was altered").to_string();
        assert!(refused.contains("was altered: ") && refused.contains("content/a"), "{refused}");
        trees.check(&version.spec.manifest.folder).expect("the other slot is untouched");
    }
}

/// However wide the policy was by which a release was laid down: its check is not the place of that policy.
#[test]
fn what_lies_in_a_slot_is_checked_within_the_widest_limits_and_not_the_default_ones() {
    let (folder, config, name) = machine();
    let release = stage(folder.path(), Part::Code, "1.0.0", MANIFEST_FILE, MANIFEST);
    activate(folder.path(), release);
    let version = find(folder.path(), &config, &name).expect("it is in force");
    let trees = Trees::default();
    trees.expect(&version);
    let slot = version.spec.manifest.folder.clone();
    let widest = PackageLimits::widest().unpacked;
    assert!(widest > PackageLimits::default().unpacked);

    let large = File::create(slot.join("large")).expect("a file");
    large.set_len(widest + 1).expect("a hole of that size");
    let refused = trees.check(&slot).expect_err("it was altered").to_string();

    assert!(refused.contains(&widest.to_string()), "{refused}");
}

#[test]
fn an_engine_that_docks_from_a_folder_has_no_releases() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("m.toml");
    fs::write(&file, MANIFEST).expect("written");
    let text = format!("[[engine]]\nmanifest = {file:?}\n");
    let config = HostConfig::parse(&text, Path::new("c.toml")).expect("a configuration");
    let (config, scan) = (&config.engines[0], "scan".parse().expect("a name"));

    let found = find(folder.path(), config, &scan).expect("its manifest is read again");
    let refused = find_new(folder.path(), config, &scan, &[name(Part::Code, "1.0.0")]);

    assert!(found.slots.is_empty() && found.entries().is_empty());
    assert!(refused.expect_err("it has none").contains("write `installed = \"scan\"`"));
}

#[test]
fn only_what_is_settled_at_a_hosts_start_needs_another_host() {
    let parse = |text: &str| Manifest::parse(text, Path::new("m.toml")).expect("a manifest");
    let old = parse(MANIFEST);

    let same = MANIFEST.replace("version = \"1\"", "version = \"2\"") + "limits.threads = 9\n";
    assert_eq!(differs(&old, &parse(&same)), None);
    for (change, why) in [
        ("events.\"process.exec\".needs = \"ask\"\n", "it asks for other events"),
        ("needs.fields = [\"path\"]\n", "it asks for other fields"),
        ("needs.content = true\n", "it reads content"),
    ] {
        assert_eq!(differs(&old, &parse(&format!("{MANIFEST}{change}"))), Some(why));
    }
}
