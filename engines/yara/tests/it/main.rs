//! The engine behind a dock, on a thread of the test and as the program that ships; and its rules.

mod dock;
mod program;
mod rules;
mod samples;

use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_engine_yara::{Options, Yara};
use outrigger_sdk::Verdict;
use outrigger_sdk::kit::Host;

/// A rule for the tests: what it denies begins with `BAD`.
const RULE: &str = "rule begins_bad { condition: uint16be(0) == 0x4241 and uint8(2) == 0x44 }\n";

/// The rules that ship.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("content")
}

/// A content folder of one rule file.
fn folder(rule: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "test.yar", rule);
    folder
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).expect("written");
}

/// Options with which no scan is late because the machine is busy.
fn patient() -> Options {
    Options { scan_time: Duration::from_secs(8), ..Options::default() }
}

fn dock(options: Options, folder: impl Into<PathBuf>) -> Host {
    Host::dock(Yara::new(options), folder)
}

fn denied(rule: &str) -> (Verdict, String) {
    (Verdict::Deny, rule.to_owned())
}

fn allowed() -> (Verdict, String) {
    (Verdict::Allow, String::new())
}
