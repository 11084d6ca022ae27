//! The lists of the engine `hashlist`: content, which reaches a machine without a release of code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use outrigger_engine_hashlist::{HASH_BYTES, Hash, Lists};
use tempfile::TempDir;

use crate::memory;

/// Longest error about a list, in bytes, the folder's name not counted.
const MESSAGE_MAX: usize = 1024;
/// Memory that reading lists may take: its reader's buffer and a line, and what stays of each byte.
const FIXED: usize = 64 << 10;
const EACH: usize = 16;
/// What stands between the files of an input, and their names.
const SEPARATOR: u8 = 0x1e;
const FILES: [&str; 3] = ["a.deny", "b.allow", "c.deny"];

thread_local! {
    /// In memory where that can be had: a disk makes a check ten times as long.
    static FOLDER: TempDir =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
}

/// Reads `bytes` as up to three lists, and compares what is denied with a simpler reading of them.
pub fn check(bytes: &[u8]) {
    FOLDER.with(|folder| {
        let mut parts = bytes.splitn(FILES.len(), |&byte| byte == SEPARATOR);
        let texts = FILES.map(|_| parts.next().unwrap_or_default());
        for (name, text) in FILES.iter().zip(texts) {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        compare(folder.path(), &texts);
    });
}

fn compare(folder: &Path, texts: &[&[u8]; FILES.len()]) {
    let len = texts.iter().map(|text| text.len()).sum();
    match (memory::within(len, FIXED, EACH, || Lists::read(folder)), model(texts)) {
        (Ok(lists), Some(model)) => {
            assert_eq!(lists.counts(), (model.denied.len(), model.allowed.len()));
            for (hash, name) in &model.denied {
                let want = (!model.allowed.contains(hash)).then_some(name.as_str());
                assert_eq!(lists.denied(hash), want);
            }
            for hash in &model.allowed {
                assert_eq!(lists.denied(hash), None);
            }
        }
        (Err(error), None) => {
            let told = error.to_string().replace(&folder.display().to_string(), "");
            crate::assert_showable(&told, MESSAGE_MAX);
            let named = FILES.iter().any(|name| told.starts_with(&format!("/{name}:")));
            assert!(named, "no file: {told}");
        }
        (lists, model) => panic!("read: {}, model: {}", lists.is_ok(), model.is_some()),
    }
}

/// What the lists say, read another way.
#[derive(Default)]
struct Model {
    denied: BTreeMap<Hash, String>,
    allowed: BTreeSet<Hash>,
}

/// `None` if any line of any list is wrong.
fn model(texts: &[&[u8]; FILES.len()]) -> Option<Model> {
    let mut model = Model::default();
    for (file, text) in FILES.iter().zip(texts) {
        for line in text.split(|&byte| byte == b'\n') {
            if line.len() > 4096 {
                return None;
            }
            let line = str::from_utf8(line).ok()?.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let end = line.find(char::is_whitespace).unwrap_or(line.len());
            let hash: Hash = hex::decode(&line[..end]).ok()?.try_into().ok()?;
            const { assert!(HASH_BYTES == 32) };
            if file.ends_with(".allow") {
                model.allowed.insert(hash);
                continue;
            }
            let name = line[end..].trim_start();
            let name = name.strip_prefix('*').unwrap_or(name);
            // As much of it as a verdict has room for.
            let shown = &name[..name.floor_char_boundary(53)];
            model.denied.entry(hash).or_insert_with(|| shown.to_owned());
        }
    }
    Some(model)
}
