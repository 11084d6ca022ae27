//! `updates.toml`: each key, and the words for each error.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use outrigger_api::settings::{
    DownloadConfig, ERRORS_MAX, PreflightConfig, RepositoryConfig, Source, UpdatesConfig,
};

use crate::said;

/// One that names every key, none with its default.
const FULL: &str = r#"
state_dir = "/srv/state"
control_socket = "/run/o/c.sock"

[[repository]]
name = "acme"
url = "https://updates.acme.example:8443/outrigger/"
root = "/etc/outrigger/roots/acme.json"
engines = ["acme-av", "acme-edr"]

[[repository]]
name = "mirror"
url = "/srv/mirror"
root = "/etc/outrigger/roots/mirror.json"
engines = ["hashlist"]

[download]
package_bytes = "1MiB"
unpacked_bytes = 2097152
files_max = 10
stall_ms = 500
total_ms = 2000

[preflight]
known_good = "/srv/known-good.corpus"
samples_min = 0
samples_max = 5
total_ms = 1000
p99_ms = 3
"#;

fn errors(text: &str) -> String {
    said(UpdatesConfig::parse(text, Path::new("updates.toml")))
}

/// `FULL` with `from` replaced by `to`.
fn with(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "{from}");
    errors(&FULL.replacen(from, to, 1))
}

#[test]
fn every_key_is_taken() {
    let updates = UpdatesConfig::parse(FULL, Path::new("updates.toml"));

    let engines = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect();
    let expected = UpdatesConfig {
        state_dir: PathBuf::from("/srv/state"),
        control_socket: PathBuf::from("/run/o/c.sock"),
        repositories: vec![
            RepositoryConfig {
                name: "acme".to_owned(),
                source: Source::Http("https://updates.acme.example:8443/outrigger".to_owned()),
                root: PathBuf::from("/etc/outrigger/roots/acme.json"),
                engines: engines(&["acme-av", "acme-edr"]),
            },
            RepositoryConfig {
                name: "mirror".to_owned(),
                source: Source::Folder(PathBuf::from("/srv/mirror")),
                root: PathBuf::from("/etc/outrigger/roots/mirror.json"),
                engines: engines(&["hashlist"]),
            },
        ],
        download: DownloadConfig {
            package_bytes: 1 << 20,
            unpacked_bytes: 2 << 20,
            files_max: 10,
            stall_ms: 500,
            total_ms: 2000,
        },
        preflight: PreflightConfig {
            known_good: Some(PathBuf::from("/srv/known-good.corpus")),
            samples_min: 0,
            samples_max: 5,
            total_ms: 1000,
            p99_ms: 3,
        },
        ..UpdatesConfig::default()
    };
    assert_eq!(updates, Ok(expected));
}

#[test]
fn an_empty_file_offers_nothing_and_has_every_default() {
    let updates = UpdatesConfig::parse("", Path::new("updates.toml")).expect("nothing is wrong");

    assert_eq!(updates, UpdatesConfig::default());
    assert_eq!(updates.state_dir, Path::new("/var/lib/outrigger"));
    assert!(updates.repositories.is_empty());
    assert_eq!(updates.preflight.samples_min, 100);
}

#[test]
fn what_is_wrong_is_told_with_file_line_key_and_limit() {
    let cases = [
        (
            "files_max = 10",
            "files_max = 200000",
            "updates.toml:20:13: download.files_max: 200000 is out of range: 1 to 4096",
        ),
        (
            "stall_ms = 500",
            "stall_sm = 500",
            "updates.toml:21:1: download.stall_sm: unknown key; did you mean `stall_ms`?",
        ),
        (
            "total_ms = 2000",
            "total_ms = \"2s\"",
            "updates.toml:22:12: download.total_ms: found the text \"2s\", expected an integer",
        ),
        (
            "package_bytes = \"1MiB\"",
            "package_bytes = \"2GiB\"",
            "download.package_bytes: 2147483648 is out of range: 1KiB to 1GiB",
        ),
        (
            "name = \"mirror\"",
            "name = \"acme\"",
            "updates.toml:12:8: repository[1].name: \"acme\" is there twice",
        ),
        (
            "[\"hashlist\"]",
            "[\"acme-av\"]",
            "repository[1].engines: \"acme-av\" is released by \"acme\" already",
        ),
        (
            "\"acme-av\", \"acme-edr\"",
            "\"acme-av\", \"acme-av\"",
            "updates.toml:9:11: repository[0].engines: \"acme-av\" stands here twice",
        ),
        ("[\"hashlist\"]", "[]", "repository[1].engines: is empty"),
        (
            "[\"hashlist\"]",
            "[\"../hashlist\"]",
            "repository[1].engines: \"../hashlist\" is not allowed",
        ),
        ("root = \"/etc/outrigger/roots/mirror.json\"", "", "repository[1].root: missing"),
        (
            "\"/srv/mirror\"",
            "\"srv/mirror\"",
            "updates.toml:13:7: repository[1].url: \"srv/mirror\" is not allowed",
        ),
        ("\"/srv/mirror\"", "\"/srv/../etc\"", "repository[1].url: \"/srv/../etc\" is not allowed"),
        (
            "\"/srv/mirror\"",
            "\"ftp://mirror\"",
            "repository[1].url: \"ftp://mirror\" is not allowed",
        ),
        ("\"/srv/mirror\"", "\"https://user@mirror/x\"", "repository[1].url"),
        ("\"/srv/mirror\"", "\"https:///x\"", "repository[1].url"),
        ("\"/srv/mirror\"", "\"https://mirror/a b\"", "repository[1].url"),
        ("\"/srv/mirror\"", "\"https://mirror/a/../b\"", "repository[1].url"),
        (
            "state_dir = \"/srv/state\"",
            "state_dir = 7",
            "updates.toml:2:13: state_dir: found the integer 7, expected a path",
        ),
    ];
    for (from, to, expected) in cases {
        let said = with(from, to);
        assert!(said.contains(expected), "{to}: expected {expected}, not {said}");
    }
}

#[test]
fn a_hostile_file_is_refused_within_limits() {
    let mut many = String::new();
    for at in 0..40 {
        write!(many, "[[repository]]\nname = \"r{at}\"\n").expect("a String takes all");
    }
    let said = errors(&many);
    assert!(said.contains("repository: 40 are too many: the limit is 32"), "{said}");

    let mut wrong = String::from("[preflight]\n");
    for at in 0..1000 {
        writeln!(wrong, "k{at} = 1").expect("a String takes all");
    }
    let refused = UpdatesConfig::parse(&wrong, Path::new("updates.toml")).expect_err("wrong keys");
    assert!(refused.to_string().lines().count() <= 4 * ERRORS_MAX, "{refused}");

    let deep = format!("x = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(errors(&deep).contains("updates.toml"), "nesting is refused");
    let long = " ".repeat(2 << 20);
    assert!(
        errors(&long).contains("1MiB") || errors(&long).contains("1048576"),
        "{}",
        errors(&long)
    );
}
