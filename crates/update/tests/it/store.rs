//! The store: states, slots, the chain, and what others did to them.

mod notes;
mod trial;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use outrigger_update::package::{Builder, Package, PackageLimits, tree_digest};
use outrigger_update::store::{
    Digest, Offer, Rejection, ReleaseId, SUPERSEDED, Slot, Store, StoreError, TEXT_MAX, WentBack,
};
use rusqlite::Connection;
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use crate::package::{content_head, quiet};

const TREE: Digest = Digest([7; 32]);

struct Place {
    _dir: TempDir,
    state: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path().join("state");
        Self { _dir: dir, state }
    }

    fn store(&self) -> Store {
        Store::open(&self.state).expect("the store opens")
    }

    fn database(&self) -> Connection {
        Connection::open(self.state.join("updates.db")).expect("the database opens")
    }

    fn slot(&self, slot: &str) -> PathBuf {
        self.state.join("engines/hashlist/content").join(slot)
    }
}

fn engine() -> EngineName {
    "hashlist".parse().expect("a name")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).expect("a time")
}

fn offer(version: &str) -> Offer {
    let mut package = [0; 32];
    package[..version.len()].copy_from_slice(version.as_bytes());
    Offer {
        engine: engine(),
        part: Part::Content,
        version: version.parse().expect("a version"),
        package: Digest(package),
        repository: "https://updates.example".to_owned(),
    }
}

fn write(folder: BorrowedFd<'_>, name: &str, content: &[u8]) -> io::Result<Digest> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(file, content)?;
    Ok(TREE)
}

fn verified(store: &mut Store, version: &str) -> ReleaseId {
    let id = store.offer(&offer(version), at(0)).expect("offered");
    store.advance(id, State::Verified, "signed by 2 of 3", at(1)).expect("verified");
    id
}

fn staged(store: &mut Store, version: &str) -> ReleaseId {
    let id = verified(store, version);
    store
        .stage(id, 100, at(2), |folder| write(folder, "rules", version.as_bytes()))
        .expect("staged");
    id
}

fn tried(store: &mut Store, version: &str) -> ReleaseId {
    let id = staged(store, version);
    store.advance(id, State::Preflight, "", at(3)).expect("in preflight");
    id
}

fn shadowed(store: &mut Store, version: &str) -> ReleaseId {
    let id = tried(store, version);
    store.advance(id, State::Shadow, "preflight passed", at(4)).expect("in shadow");
    id
}

fn on_probation(store: &mut Store, version: &str) -> ReleaseId {
    let id = shadowed(store, version);
    store.begin_probation(&[id], "no difference", at(5)).expect("in force");
    id
}

fn installed(store: &mut Store, version: &str) -> ReleaseId {
    let id = on_probation(store, version);
    store.confirm(&[id], "no bad sign", at(6)).expect("for good");
    id
}

fn in_force(place: &Place) -> Option<String> {
    let reader = Store::open_read(&place.state).expect("the reader opens");
    let active = reader.active(&engine(), Part::Content).expect("what is in force");
    active.map(|active| active.version.to_string())
}

#[test]
fn a_release_goes_through_its_states_into_force() {
    let place = Place::new();
    let mut store = place.store();

    let id = installed(&mut store, "1.0.0");

    let active = store.active(&engine(), Part::Content).expect("read").expect("in force");
    assert_eq!((active.release, active.slot, active.tree), (id, Slot::A, TREE));
    assert_eq!(active.dir, place.slot("a").canonicalize().expect("the slot"));
    assert_eq!(fs::read_to_string(active.dir.join("rules")).expect("the file"), "1.0.0");
    let story = store.release(id).expect("its story");
    let states: Vec<_> = story.transitions.iter().map(|step| step.to.name()).collect();
    assert_eq!(
        states,
        ["offered", "verified", "staged", "preflight", "shadow", "probation", "active"]
    );
    assert_eq!(store.verify_chain().expect("whole").map(|head| head.seq), Some(7));
}

#[test]
fn a_package_that_was_unpacked_into_its_slot_has_the_tree_that_is_in_force() {
    let place = Place::new();
    let mut store = place.store();
    let mut builder = Builder::new(content_head());
    builder.add("rules/deep/list", b"00ff".repeat(1000), false).expect("a free path");
    let packed = builder.build(&mut quiet).expect("a package");
    let package = Package::read(&packed, &PackageLimits::default()).expect("a good package");
    let id = verified(&mut store, "1.0.0");

    let staged = store.stage(id, package.size(), at(2), |folder| {
        package.unpack(folder, &mut quiet).map(|()| package.tree().into())
    });

    let dir = staged.expect("staged").dir;
    store.advance(id, State::Preflight, "", at(3)).expect("in preflight");
    store.advance(id, State::Shadow, "", at(3)).expect("in shadow");
    store.begin_probation(&[id], "passed", at(4)).expect("in force");
    let active = store.active(&engine(), Part::Content).expect("read").expect("in force");
    let found =
        tree_digest(fs::File::open(dir).expect("the slot").as_fd(), &PackageLimits::default());
    assert_eq!(Digest::from(found.expect("a tree")), active.tree);
}

#[test]
fn the_next_release_takes_the_other_slot_and_the_one_before_stays_in_its_own() {
    let place = Place::new();
    let mut store = place.store();
    let first = installed(&mut store, "1.0.0");

    installed(&mut store, "1.1.0");

    let active = store.active(&engine(), Part::Content).expect("read").expect("in force");
    assert_eq!((active.version.to_string().as_str(), active.slot), ("1.1.0", Slot::B));
    let before = store.standby(&engine(), Part::Content).expect("read").expect("there");
    assert_eq!((before.release, before.state, before.slot), (first, State::Retired, Slot::A));
    assert_eq!(fs::read_to_string(before.dir.join("rules")).expect("the file"), "1.0.0");
}

#[test]
fn code_and_content_have_slots_of_their_own() {
    let place = Place::new();
    let mut store = place.store();
    installed(&mut store, "1.0.0");
    let code = Offer { part: Part::Code, ..offer("3.0.0") };

    let id = store.offer(&code, at(5)).expect("offered");
    store.advance(id, State::Verified, "", at(5)).expect("verified");
    let standby =
        store.stage(id, 1, at(5), |folder| write(folder, "engine", b"x")).expect("staged");

    assert_eq!(standby.slot, Slot::A);
    assert_eq!(store.active(&engine(), Part::Code).expect("read"), None);
    assert_eq!(in_force(&place).as_deref(), Some("1.0.0"));
}

#[test]
fn a_step_that_is_not_in_the_picture_is_refused() {
    let place = Place::new();
    let mut store = place.store();
    let id = staged(&mut store, "1.0.0");

    let error = store.begin_probation(&[id], "", at(3)).expect_err("not tried out");

    assert_eq!(error.to_string(), "release 1 cannot become probation: it is staged");
    assert_eq!(in_force(&place), None);
}

#[test]
fn a_state_with_a_way_of_its_own_is_not_reached_by_advancing() {
    let place = Place::new();
    let mut store = place.store();
    let id = tried(&mut store, "1.0.0");

    for to in [State::Staged, State::Probation, State::Active, State::Retired, State::Rejected] {
        let error = store.advance(id, to, "", at(3)).expect_err("it has a way of its own");

        assert!(matches!(error, StoreError::Transition { .. }), "{error}");
    }
}

#[test]
fn a_release_under_way_is_offered_once() {
    let place = Place::new();
    let mut store = place.store();
    let id = verified(&mut store, "1.0.0");

    let again = store.offer(&offer("1.0.0"), at(9)).expect("offered");

    assert_eq!(again, id);
    assert_eq!(store.release(id).expect("its story").state, State::Verified);
}

#[test]
fn a_rejected_release_has_a_second_story_when_it_is_offered_again() {
    let place = Place::new();
    let mut store = place.store();
    let id = verified(&mut store, "1.0.0");
    store
        .reject(id, &Rejection::new("withdrawn", "by the administrator"), at(2))
        .expect("rejected");

    let again = store.offer(&offer("1.0.0"), at(9)).expect("offered");

    assert_ne!(again, id);
    let history = store.history(Some(&engine())).expect("history");
    let states: Vec<_> = history.iter().map(|release| release.state).collect();
    assert_eq!(states, [State::Rejected, State::Offered]);
    assert_eq!(history[0].transitions[2].reason.as_deref(), Some("withdrawn"));
}

#[test]
fn only_what_a_release_did_makes_its_package_known_bad() {
    let place = Place::new();
    let mut store = place.store();
    let bad = tried(&mut store, "1.0.0");
    let conduct = Rejection::for_conduct("deny-on-known-good", "it denied /usr/bin/ls");
    store.reject(bad, &conduct, at(4)).expect("rejected");
    let other = verified(&mut store, "1.1.0");
    store.reject(other, &Rejection::new("withdrawn", ""), at(5)).expect("rejected");

    let known = store.known_bad(&offer("1.0.0").package).expect("read").expect("known");

    assert_eq!((known.release, known.reason.as_str()), (bad, "deny-on-known-good"));
    assert_eq!(known.detail, "it denied /usr/bin/ls");
    assert_eq!(store.known_bad(&offer("1.1.0").package).expect("read"), None);
}

#[test]
fn a_release_that_another_displaces_from_its_slot_is_rejected_as_superseded() {
    let place = Place::new();
    let mut store = place.store();
    installed(&mut store, "1.0.0");
    let waiting = tried(&mut store, "1.1.0");

    staged(&mut store, "1.2.0");

    let story = store.release(waiting).expect("its story");
    let last = story.transitions.last().expect("a step");
    assert_eq!((last.to, last.reason.as_deref()), (State::Rejected, Some(SUPERSEDED)));
    assert_eq!(in_force(&place).as_deref(), Some("1.0.0"));
}

#[test]
fn a_failed_unpacking_leaves_the_release_verified_and_the_slot_empty() {
    let place = Place::new();
    let mut store = place.store();
    installed(&mut store, "1.0.0");
    let id = verified(&mut store, "1.1.0");

    let failed = store.stage(id, 1, at(5), |folder| {
        write(folder, "half", b"x")?;
        Err::<Digest, _>(io::Error::other("the archive ends early"))
    });

    let error = failed.expect_err("it failed");
    assert!(matches!(&error, StoreError::Unpack { .. }), "{error}");
    assert!(!place.slot("b").exists());
    assert_eq!(store.release(id).expect("its story").state, State::Verified);
    assert_eq!(in_force(&place).as_deref(), Some("1.0.0"));
    store.stage(id, 1, at(6), |folder| write(folder, "rules", b"y")).expect("a second time");
}

#[test]
fn more_than_the_disk_has_is_refused_before_anything_is_written_and_says_both_figures() {
    let place = Place::new();
    let mut store = place.store();
    let id = verified(&mut store, "1.0.0");

    let failed = store.stage(id, 1 << 60, at(2), |_| -> Result<Digest, io::Error> {
        unreachable!("nothing is to be written")
    });

    let error = failed.expect_err("no disk has that");
    let StoreError::DiskFull { needed, free, .. } = error else { panic!("{error}") };
    assert!(needed.is_some_and(|needed| needed > 1 << 60) && free > 0, "{needed:?} {free}");
}

#[test]
fn a_full_disk_while_unpacking_is_told_as_that() {
    let place = Place::new();
    let mut store = place.store();
    let id = verified(&mut store, "1.0.0");

    let failed = store
        .stage(id, 7, at(2), |_| -> Result<Digest, _> { Err(io::Error::from_raw_os_error(28)) });

    let error = failed.expect_err("it failed");
    assert!(matches!(error, StoreError::DiskFull { needed: Some(7), .. }), "{error}");
}

#[test]
fn what_a_cut_left_in_a_slot_is_cleared_by_the_next_open() {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    fs::create_dir_all(place.slot("b").join("deep/er")).expect("folders");
    fs::write(place.slot("b").join("deep/er/half"), "x").expect("a file");

    drop(place.store());

    assert!(!place.slot("b").exists());
    assert!(place.slot("a").join("rules").exists());
}

#[test]
fn clearing_a_slot_follows_no_link() {
    let place = Place::new();
    drop(place.store());
    let treasure = place.state.with_file_name("treasure");
    fs::create_dir(&treasure).expect("a folder");
    fs::write(treasure.join("file"), "x").expect("a file");
    fs::create_dir_all(place.slot("a")).expect("folders");
    symlink(&treasure, place.slot("a").join("inside")).expect("a link");
    symlink(&treasure, place.slot("b")).expect("a link");

    drop(place.store());

    assert!(treasure.join("file").exists());
    assert!(!place.slot("a").exists() && place.slot("b").symlink_metadata().is_err());
}

#[test]
fn a_link_in_the_place_of_a_folder_of_the_store_is_refused() {
    let place = Place::new();
    let mut store = place.store();
    let id = verified(&mut store, "1.0.0");
    let elsewhere = place.state.with_file_name("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    fs::create_dir(place.state.join("engines")).expect("a folder");
    symlink(&elsewhere, place.state.join("engines/hashlist")).expect("a link");

    let failed = store.stage(id, 1, at(2), |folder| write(folder, "rules", b"x"));

    let error = failed.expect_err("it leads elsewhere");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(fs::read_dir(&elsewhere).expect("the folder").count(), 0);
}

#[test]
fn a_link_that_was_unpacked_is_refused() {
    let place = Place::new();
    let mut store = place.store();
    let id = verified(&mut store, "1.0.0");

    let failed = store.stage(id, 1, at(2), |folder| {
        rustix::fs::symlinkat("/etc/shadow", folder, "rules").map(|()| TREE)
    });

    let error = failed.expect_err("a link is no file");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn folders_are_closed_to_others_and_the_slot_is_open_to_its_engine() {
    let place = Place::new();
    staged(&mut place.store(), "1.0.0");
    let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;

    assert_eq!(mode(&place.state), 0o700);
    assert_eq!(mode(&place.state.join("engines/hashlist/content")), 0o700);
    assert_eq!(mode(&place.state.join("updates.db")), 0o600);
    assert_eq!(mode(&place.slot("a")), 0o755);
}

#[test]
fn room_for_a_way_back_is_kept_and_made_again() {
    let place = Place::new();
    drop(place.store());
    let (room, name) = (place.state.join("updates.reserve"), place.state.join("updates.reserve-2"));
    let kept = |path: &Path| fs::metadata(path).map(|file| (file.len(), file.mode() & 0o7777));
    let first = [kept(&room).expect("kept"), kept(&name).expect("kept")];
    fs::File::options().write(true).open(&room).expect("ours").set_len(4096).expect("cut");
    fs::remove_file(&name).expect("removed");

    drop(place.store());

    assert_eq!(first, [(512 << 10, 0o600), (0, 0o600)]);
    assert_eq!([kept(&room).expect("kept"), kept(&name).expect("kept")], first);
    let blocks = fs::metadata(&room).expect("kept").blocks();
    assert!(blocks * 512 >= 512 << 10, "{blocks} blocks: it holds no room");
}

#[test]
fn a_link_in_the_place_of_the_reserve_is_not_written_through() {
    let place = Place::new();
    let treasure = place.state.with_file_name("treasure");
    fs::write(&treasure, "x").expect("a file");
    fs::DirBuilder::new().mode(0o700).create(&place.state).expect("a folder");
    symlink(&treasure, place.state.join("updates.reserve")).expect("a link");

    drop(place.store());

    assert_eq!(fs::read_to_string(&treasure).expect("the file"), "x");
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let place = Place::new();
    fs::DirBuilder::new().mode(0o700).create(&place.state).expect("a folder");
    fs::set_permissions(&place.state, fs::Permissions::from_mode(0o777)).expect("its mode");

    let error = Store::open(&place.state).expect_err("anybody could change it");

    assert!(matches!(error, StoreError::Exposed { mode: 0o777, .. }), "{error}");
}

#[test]
fn there_is_one_writer_and_who_it_is_is_said() {
    let place = Place::new();
    let _store = place.store();

    let error = Store::open(&place.state).expect_err("it is held");

    let me = format!("is held by process {} (", std::process::id());
    assert!(error.to_string().contains(&me), "{error}");
}

#[test]
fn a_reader_sees_each_change_beside_the_writer() {
    let place = Place::new();
    let mut store = place.store();
    let reader = Store::open_read(&place.state).expect("the reader opens");
    let before = reader.active(&engine(), Part::Content).expect("read");

    installed(&mut store, "1.0.0");

    assert_eq!(before, None);
    assert!(reader.active(&engine(), Part::Content).expect("read").is_some());
}

#[test]
fn a_folder_that_is_not_there_is_an_empty_store() {
    let place = Place::new();

    let reader = Store::open_read(&place.state).expect("the reader opens");

    assert_eq!(reader.active(&engine(), Part::Content).expect("read"), None);
    assert!(reader.history(None).expect("read").is_empty());
    assert!(!place.state.exists());
}

#[test]
fn a_clock_that_is_set_back_a_year_changes_no_order() {
    let place = Place::new();
    let mut store = place.store();
    let id = shadowed(&mut store, "1.0.0");

    store.begin_probation(&[id], "", at(-31_536_000)).expect("in force");

    assert_eq!(in_force(&place).as_deref(), Some("1.0.0"));
    store.verify_chain().expect("whole");
}

#[test]
fn a_long_detail_is_shortened_and_a_long_name_refused() {
    let place = Place::new();
    let mut store = place.store();
    let id = store.offer(&offer("1.0.0"), at(0)).expect("offered");
    let long = "ä".repeat(TEXT_MAX);

    store.advance(id, State::Verified, &long, at(1)).expect("verified");
    let refused = store.reject(id, &Rejection::new(&long, ""), at(2));

    let story = store.release(id).expect("its story");
    assert!(story.transitions[1].detail.len() <= TEXT_MAX);
    assert!(matches!(refused, Err(StoreError::TooLong { .. })), "{refused:?}");
}

/// What the chain says after `sql` was done to the journal behind its back.
fn altered_by(sql: &str) -> (u64, String) {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    installed(&mut place.store(), "1.1.0");
    let database = place.database();
    database.pragma_update(None, "foreign_keys", false).expect("set");
    database.execute_batch(sql).expect("altered");
    drop(database);
    let reader = Store::open_read(&place.state).expect("the reader opens");
    match reader.verify_chain() {
        Err(StoreError::Altered { seq, detail, .. }) => (seq, detail),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_altered_row_shows() {
    let (seq, detail) =
        altered_by("UPDATE transitions SET detail = 'signed by 3 of 3' WHERE seq = 2");

    assert_eq!(seq, 2);
    assert_eq!(detail, "its content, or that of its release, is not what was written");
}

#[test]
fn an_altered_release_shows() {
    let (seq, _) = altered_by("UPDATE releases SET version = '9.0.0' WHERE id = 2");

    assert_eq!(seq, 8);
}

#[test]
fn a_row_taken_out_shows() {
    let (seq, detail) = altered_by("DELETE FROM transitions WHERE seq = 3");

    assert_eq!((seq, detail.as_str()), (3, "it is missing, row 4 follows"));
}

#[test]
fn a_row_put_in_the_place_of_another_shows_in_the_next() {
    let (seq, detail) = altered_by(
        "UPDATE transitions SET hash = zeroblob(32) WHERE seq = 5; \
         DELETE FROM transitions WHERE seq > 5; \
         UPDATE transitions SET previous = zeroblob(32) WHERE seq = 5",
    );

    assert_eq!((seq, detail.as_str()), (5, "it does not follow the row before"));
}

#[test]
fn a_slot_put_in_force_behind_the_back_of_the_journal_shows() {
    let (_, detail) = altered_by("UPDATE in_force SET release = 1, slot = 'a', seq = 7");

    assert_eq!(detail, "the table of what is in force does not follow from the rows");
}

#[test]
fn a_tree_altered_in_the_table_of_slots_shows() {
    let (_, detail) = altered_by("UPDATE slots SET tree = zeroblob(32) WHERE slot = 'b'");

    assert_eq!(detail, "the table of slots does not follow from the rows");
}

#[test]
fn what_is_in_force_is_not_told_from_an_altered_row() {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    place
        .database()
        .execute("UPDATE transitions SET tree = zeroblob(32) WHERE to_state = 'active'", [])
        .expect("altered");

    let reader = Store::open_read(&place.state).expect("the reader opens");
    let told = reader.active(&engine(), Part::Content);

    assert!(matches!(told, Err(StoreError::Altered { seq: 7, .. })), "{told:?}");
}

#[test]
fn damage_elsewhere_stops_the_writer_and_not_the_host() {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    let database = place.database();
    let index: i64 = database
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'releases_by_package'",
            [],
            |row| row.get(0),
        )
        .expect("its page");
    drop(database);
    let path = place.state.join("updates.db");
    let mut bytes = fs::read(&path).expect("the database");
    let page = usize::try_from(index - 1).expect("a page") * 4096;
    bytes[page..page + 4096].fill(0xa5);
    fs::write(&path, bytes).expect("damaged");

    let error = Store::open(&place.state).expect_err("it is damaged");

    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(in_force(&place).as_deref(), Some("1.0.0"));
}

#[test]
fn a_journal_that_is_none_is_told_as_damaged() {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    fs::write(place.state.join("updates.db"), "x".repeat(8192)).expect("overwritten");

    let writer = Store::open(&place.state);
    let reader = Store::open_read(&place.state);

    assert!(matches!(writer, Err(StoreError::Damaged { .. })), "{writer:?}");
    assert!(matches!(reader, Err(StoreError::Damaged { .. })), "{reader:?}");
}

#[test]
fn a_journal_that_is_gone_does_not_make_its_slots_rubbish() {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    fs::remove_file(place.state.join("updates.db")).expect("removed");

    let writer = Store::open(&place.state);
    let reader = Store::open_read(&place.state);

    assert!(matches!(writer, Err(StoreError::JournalGone { .. })), "{writer:?}");
    assert!(matches!(reader, Err(StoreError::JournalGone { .. })), "{reader:?}");
    assert!(place.slot("a").join("rules").exists());
}

#[test]
fn a_later_journal_is_read_if_it_says_that_it_can_be_and_never_written() {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    place.database().pragma_update(None, "user_version", 3).expect("set");

    let writer = Store::open(&place.state);

    assert!(matches!(writer, Err(StoreError::Newer { found: 3, known: 2, .. })), "{writer:?}");
    assert_eq!(in_force(&place).as_deref(), Some("1.0.0"));
}

#[test]
fn a_journal_of_layout_1_is_read_as_it_is_and_raised_by_the_next_writer() {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    let database = place.database();
    database.pragma_update(None, "user_version", 1).expect("set");
    database.execute("UPDATE layout SET readable_from = 1", []).expect("set");
    let before = in_force(&place);

    let store = place.store();

    assert_eq!(before.as_deref(), Some("1.0.0"));
    let layout: (i64, i64) = database
        .query_row(
            "SELECT user_version, readable_from FROM pragma_user_version, layout",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("the layout");
    assert_eq!(layout, (2, 2), "an earlier version says that this one is newer");
    store.verify_chain().expect("whole");
}

#[test]
fn a_later_journal_that_cannot_be_read_is_refused() {
    let place = Place::new();
    installed(&mut place.store(), "1.0.0");
    let database = place.database();
    database.pragma_update(None, "user_version", 3).expect("set");
    database.execute("UPDATE layout SET readable_from = 3", []).expect("set");
    drop(database);

    let reader = Store::open_read(&place.state);

    assert!(matches!(reader, Err(StoreError::Newer { found: 3, .. })), "{reader:?}");
}

#[test]
fn a_story_is_told_as_json() {
    let place = Place::new();
    let mut store = place.store();
    let id = store.offer(&offer("1.0.0"), at(0)).expect("offered");

    let told = serde_json::to_value(store.release(id).expect("its story")).expect("json");

    assert_eq!(told["version"], "1.0.0");
    assert_eq!(told["state"], "offered");
    assert_eq!(told["transitions"][0]["at"], "2026-09-21T14:13:20Z");
}
