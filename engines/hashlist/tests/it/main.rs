//! The engine behind a dock: on a thread of the test, and as the program that ships.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use outrigger_engine_hashlist::Hashlist;
use outrigger_sdk::kit::{Ask, ContentAbsent, Host};
use outrigger_sdk::{Event, Verdict};
use sha2::{Digest, Sha256};

const BAD: &[u8] = b"a bad file";

fn line(content: &[u8], name: &str) -> String {
    format!("{} {name}\n", hex::encode(Sha256::digest(content)))
}

/// A content folder that denies [`BAD`].
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "test.deny", &line(BAD, "bad-test"));
    folder
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).expect("written");
}

fn denied(name: &str) -> (Verdict, String) {
    (Verdict::Deny, format!("deny list: {name}"))
}

fn allowed() -> (Verdict, String) {
    (Verdict::Allow, String::new())
}

#[test]
fn a_listed_file_is_denied_and_another_allowed() {
    let folder = folder();
    let mut host = Host::dock(Hashlist::default(), folder.path());

    assert_eq!(host.loaded(), "1 deny, 0 allow");
    assert_eq!(host.judged(Ask::open(BAD)), denied("bad-test"));
    assert_eq!(host.judged(Ask::open(b"a good file")), allowed());
    assert_eq!(host.judged(Ask::open(b"")), allowed());
}

#[test]
fn a_file_of_many_buffers_is_hashed_whole() {
    let mut large: Vec<u8> = (0..1_000_003_u32).map(|n| n.to_le_bytes()[0]).collect();
    let folder = folder();
    write(&folder, "large.deny", &line(&large, "large"));
    let mut host = Host::dock(Hashlist::default(), folder.path());

    let whole = host.judged(Ask::open(&large));
    *large.last_mut().expect("not empty") ^= 1;
    let changed = host.judged(Ask::open(&large));

    assert_eq!([whole, changed], [denied("large"), allowed()]);
}

#[test]
fn a_nameless_entry_is_named_by_its_hash() {
    let folder = folder();
    write(&folder, "test.deny", &line(BAD, ""));
    let mut host = Host::dock(Hashlist::default(), folder.path());

    let name = hex::encode(&Sha256::digest(BAD)[..8]);
    assert_eq!(host.judged(Ask::open(BAD)), denied(&name));
}

#[test]
fn what_cannot_be_read_is_abstained_from() {
    let folder = folder();
    let mut host = Host::dock(Hashlist::default(), folder.path());

    let absent = host.judged(Ask::new(Event::FileOpen).absent(ContentAbsent::KeyMaterial));
    let unreadable = File::open(folder.path()).expect("a folder is no content");
    let failed = host.judged(Ask::new(Event::FileOpen).file_of(unreadable));

    assert_eq!(absent, (Verdict::Abstain, "content is key material".to_owned()));
    assert_eq!(failed.0, Verdict::Abstain);
    assert!(failed.1.starts_with("cannot read: Is a directory"), "{}", failed.1);
}

#[test]
fn without_a_deny_list_everything_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut host = Host::dock(Hashlist::default(), folder.path());

    assert_eq!(host.loaded(), "0 deny, 0 allow");
    assert_eq!(host.judged(Ask::open(BAD)), allowed());
    assert_eq!(host.judged(Ask::new(Event::FileOpen)), allowed());
}

#[test]
fn a_reload_brings_new_lists_into_force() {
    let folder = folder();
    let mut host = Host::dock(Hashlist::default(), folder.path());
    write(&folder, "mine.allow", &line(BAD, "known"));

    assert_eq!(host.reload(), Ok("1 deny, 1 allow".to_owned()));
    assert_eq!(host.judged(Ask::open(BAD)), allowed());
}

#[test]
fn a_bad_line_leaves_the_old_lists_in_force() {
    let folder = folder();
    let mut host = Host::dock(Hashlist::default(), folder.path());
    write(&folder, "test.deny", "");
    write(&folder, "broken.deny", "# fine\nnot a hash\n");

    let why = host.reload().expect_err("refused");

    assert!(why.ends_with("broken.deny:2: \"not\" is no SHA-256: 64 hexadecimal digits"), "{why}");
    assert_eq!(host.judged(Ask::open(BAD)), denied("bad-test"));
}

#[test]
fn a_file_too_large_for_the_budget_is_left_and_the_next_one_judged() {
    let folder = folder();
    let mut host = Host::dock(Hashlist::default(), folder.path());
    // A sparse file that takes minutes to hash.
    let huge = tempfile::tempfile().expect("a file");
    huge.set_len(1 << 36).expect("sparse");

    let ask = Ask::new(Event::FileOpen).file_of(huge).within(Duration::from_millis(50));
    host.ask(ask);

    assert_eq!(host.judged(Ask::open(BAD)), denied("bad-test"));
}

#[test]
fn the_program_docks_judges_and_stops() {
    let folder = folder();
    let argument = folder.path().to_str().expect("a path of text");
    let mut host = Host::start(program(), &[argument]);

    assert_eq!(host.judged(Ask::open(BAD)), denied("bad-test"));
    assert_eq!(host.judged(Ask::open(b"a good file")), allowed());
    host.stop().expect("a good end");
}

#[test]
fn the_program_ends_with_its_host() {
    let folder = folder();
    let argument = folder.path().to_str().expect("a path of text");

    Host::start(program(), &[argument]).vanish().expect("a good end");
}

#[test]
fn the_program_alone_says_that_it_is_an_engine() {
    // Whatever the test has open is close-on-exec.
    let output = Command::new(program()).output().expect("the program starts");

    let told = String::from_utf8(output.stderr).expect("text");
    assert!(told.contains("an engine is started by outriggerd"), "{told}");
    assert!(!output.status.success());
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_outrigger-engine-hashlist"))
}
