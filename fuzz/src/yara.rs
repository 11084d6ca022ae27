//! The rules of the engine `yara`: content, which reaches a machine without a release of code.

use std::path::Path;

use outrigger_engine_yara::{RuleSet, RulesError};
use tempfile::TempDir;

use crate::memory;

/// Longest that is said of rules, in bytes, the folder's name not counted.
const MESSAGE_MAX: usize = 1024;
/// Memory that compiling rules may take: what YARA-X takes for none, and what it makes of each byte.
const FIXED: usize = 16 << 20;
const EACH: usize = 64 << 10;
/// What stands between the files of an input, and their names.
const SEPARATOR: u8 = 0x1e;
const FILES: [&str; 2] = ["a.yar", "b.yara"];

thread_local! {
    /// In memory where that can be had: a disk makes a check several times as long.
    static FOLDER: TempDir = {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let folder = folder.expect("a folder");
        // What YARA-X makes once per process is no input's.
        RuleSet::compile(folder.path()).expect("no rules");
        folder
    };
}

/// Compiles `bytes` as up to two rule files.
pub fn check(bytes: &[u8]) {
    FOLDER.with(|folder| {
        let mut parts = bytes.splitn(FILES.len(), |&byte| byte == SEPARATOR);
        let texts = FILES.map(|_| parts.next().unwrap_or_default());
        for (name, text) in FILES.iter().zip(texts) {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        compile(folder.path(), &texts);
    });
}

fn compile(folder: &Path, texts: &[&[u8]; FILES.len()]) {
    let len = texts.iter().map(|text| text.len()).sum();
    match memory::within(len, FIXED, EACH, || RuleSet::compile(folder)) {
        Ok(set) => {
            let told = set.description();
            crate::assert_showable(&told, MESSAGE_MAX);
            assert!(told.contains(" of 2 files"), "not every file: {told}");
        }
        Err(RulesError::Compile { file, line, what }) => {
            crate::assert_showable(&what, MESSAGE_MAX);
            let place = FILES.iter().position(|name| file == folder.join(name));
            let text = texts[place.expect("an error in a file that there is")];
            let lines = 1 + text.iter().filter(|&&byte| byte == b'\n').count();
            assert!((1..=lines).contains(&line), "line {line} of {lines}: {what}");
        }
        Err(error) => panic!("{error}"),
    }
}
