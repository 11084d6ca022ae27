//! The rules that ship: each finds its sample and nothing that merely looks like it.

use std::collections::BTreeSet;
use std::path::Path;

use outrigger_sdk::Verdict;
use outrigger_sdk::kit::Ask;

use crate::{allowed, denied, dock, patient, samples, shipped};

#[test]
fn every_rule_finds_its_samples() {
    let mut host = dock(patient(), shipped());

    for (rule, sample) in samples::bad() {
        assert_eq!(host.judged(Ask::open(&sample)), denied(rule), "{}", shown(&sample));
    }
}

#[test]
fn what_only_looks_like_it_is_allowed() {
    let mut host = dock(patient(), shipped());

    for sample in samples::clean() {
        assert_eq!(host.judged(Ask::open(&sample)), allowed(), "{}", shown(&sample));
    }
}

#[test]
fn every_rule_has_a_sample_and_says_what_it_is() {
    let source = shipped_files().into_iter().map(|file| text(&file)).collect::<String>();
    let rules: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("rule "))
        .map(|name| name.trim_end_matches(['{', ' ']))
        .collect();
    let sampled: BTreeSet<&str> = samples::bad().iter().map(|(rule, _)| *rule).collect();

    assert_eq!(rules, sampled);
    for key in ["description = ", "author = ", "license = \"Apache-2.0\""] {
        assert_eq!(source.matches(key).count(), rules.len(), "{key}");
    }
}

#[test]
fn the_rules_match_neither_themselves_nor_their_tests() {
    let mut host = dock(patient(), shipped());
    let mut files = shipped_files();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/samples.rs");
    files.push(tests);

    for file in files {
        let (verdict, detail) = host.judged(Ask::open(text(&file).as_bytes()));
        assert_eq!(verdict, Verdict::Allow, "{}: {detail}", file.display());
    }
}

#[test]
fn the_shipped_rules_compile_without_a_warning() {
    let host = dock(patient(), shipped());

    assert_eq!(host.loaded(), format!("{} rules of 3 files", samples::rules()));
}

fn shipped_files() -> Vec<std::path::PathBuf> {
    let entries = shipped().read_dir().expect("the rules that ship");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a text")
}

fn shown(sample: &[u8]) -> String {
    String::from_utf8_lossy(&sample[..sample.len().min(200)]).into_owned()
}
