//! The policies that are shipped as examples (`policies/`, explained in `docs/policy.md`) are read and compiled.

use std::fs;
use std::path::Path;

use outrigger_decision::rules::{LineageKey, MarkNames, Rule, Source, compile};

/// The rules of every example, by the file's name.
fn shipped() -> Vec<(String, Vec<Rule>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let entries = fs::read_dir(folder).expect("the examples are there");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut all: Vec<_> = files
        // Beside them lies examples.toml, what they make of some events.
        .filter(|path| path.extension().is_some_and(|extension| extension == "cedar"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a file of text");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let rules = outrigger_policy::read(&[(&name, &text)], &Source::Administrator);
            (name, rules.unwrap_or_else(|errors| panic!("{errors:#?}")))
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[test]
fn every_shipped_policy_is_read_and_they_compile_together() {
    let all = shipped();

    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "container-escape.cedar",
            "credential-files.cedar",
            "dropped-and-executed.cedar",
            "kernel-modules.cedar",
            "protected-process.cedar",
        ]
    );
    let rules: Vec<Rule> = all.into_iter().flat_map(|(_, rules)| rules).collect();
    let set = compile(&rules, &LineageKey([1; 16]), 1, &MarkNames::default());
    let set = set.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(set.rules.len(), rules.len());
}

#[test]
fn every_shipped_policy_is_explained() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.md");
    let page = fs::read_to_string(page).expect("the page is there");

    for (name, rules) in shipped() {
        assert!(page.contains(&format!("(../policies/{name})")), "{name}");
        for rule in rules {
            // A policy about several events can be several rules, each called after its event too.
            let policy = rule.name.split('/').next().unwrap_or_default();
            assert!(page.contains(&format!("`{policy}`")), "{name}: {policy}");
        }
    }
}
