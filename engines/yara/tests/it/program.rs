//! The program that ships.

use std::path::Path;
use std::process::Command;

use outrigger_sdk::kit::{Ask, Host};

use crate::{RULE, allowed, denied, folder};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_outrigger-engine-yara"))
}

fn start(folder: &tempfile::TempDir) -> Host {
    let path = folder.path().to_str().expect("a path of text");
    Host::start(program(), &["--scan-ms", "8000", path])
}

#[test]
fn it_docks_judges_and_stops() {
    let folder = folder(RULE);
    let mut host = start(&folder);

    assert_eq!(host.judged(Ask::open(b"BAD")), denied("begins_bad"));
    assert_eq!(host.judged(Ask::open(b"good")), allowed());
    host.stop().expect("a good end");
}

#[test]
fn it_ends_with_its_host() {
    let folder = folder(RULE);

    start(&folder).vanish().expect("a good end");
}

#[test]
fn a_wrong_argument_is_told() {
    let output = Command::new(program()).arg("--scan-ms").output().expect("the program starts");

    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(told, "--scan-ms needs a value after it\n");
    assert!(!output.status.success());
}
