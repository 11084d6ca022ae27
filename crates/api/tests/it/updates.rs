//! `updates.toml`: each key, and the words for each error.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use outrigger_api::release::Part;
use outrigger_api::settings::{
    Approval, BootConfig, Day, DownloadConfig, ERRORS_MAX, Freeze, Pin, PinConfig, PreflightConfig,
    ProbationConfig, RepairConfig, RepositoryConfig, RolloutConfig, ShadowConfig, Source,
    UpdatesConfig, WeekTime,
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

[rollout]
ring = 2
seed = "rack 7"
ring_hours = 12
freeze = ["Fri 18:00 - Mon 06:30", "2026-12-20 - 2027-01-04"]
approval = "code"

[[pin]]
engine = "acme-av"
part = "code"
version = "1.2.3"

[[pin]]
engine = "acme-av"
part = "content"
behind = 2

[shadow]
length_ms = 2000
emergency_ms = 1000
events_min = 5
longest_ms = 3000
new_denials_max = 0
misses_max = 1

[probation]
length_ms = 4000
crashes_max = 1
misses_max = 2
new_denials_max = 4
latency_percent = 200
cpu_percent = 150
memory_percent = 120

[boot]
unclean_max = 2
healthy_ms = 5000

[repair]
key = "/etc/outrigger/admin.pub"
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
        rollout: RolloutConfig {
            ring: 2,
            seed: Some("rack 7".to_owned()),
            ring_hours: 12,
            freeze: vec![
                Freeze::Week {
                    from: WeekTime { day: 4, hour: 18, minute: 0 },
                    to: WeekTime { day: 0, hour: 6, minute: 30 },
                },
                Freeze::Days {
                    first: Day { year: 2026, month: 12, day: 20 },
                    last: Day { year: 2027, month: 1, day: 4 },
                },
            ],
            approval: Approval::Code,
        },
        pins: vec![
            PinConfig {
                engine: "acme-av".parse().expect("a name"),
                part: Part::Code,
                to: Pin::Version("1.2.3".parse().expect("a version")),
            },
            PinConfig {
                engine: "acme-av".parse().expect("a name"),
                part: Part::Content,
                to: Pin::Behind(2),
            },
        ],
        shadow: ShadowConfig {
            length_ms: 2000,
            emergency_ms: 1000,
            events_min: 5,
            longest_ms: 3000,
            new_denials_max: 0,
            misses_max: 1,
        },
        probation: ProbationConfig {
            length_ms: 4000,
            crashes_max: 1,
            misses_max: 2,
            new_denials_max: 4,
            latency_percent: 200,
            cpu_percent: 150,
            memory_percent: 120,
        },
        boot: BootConfig { unclean_max: 2, healthy_ms: 5000 },
        repair: RepairConfig { key: Some(PathBuf::from("/etc/outrigger/admin.pub")) },
    };
    assert_eq!(updates, Ok(expected));
}

#[test]
fn no_file_can_widen_the_limits_over_the_widest() {
    let DownloadConfig { package_bytes, unpacked_bytes, files_max, stall_ms, total_ms } =
        DownloadConfig::widest();
    let download = |over: u64| {
        let bytes = unpacked_bytes + over;
        format!(
            "[download]\npackage_bytes = {package_bytes}\nunpacked_bytes = {bytes}\n\
             files_max = {files_max}\nstall_ms = {stall_ms}\ntotal_ms = {total_ms}\n"
        )
    };

    let widest = UpdatesConfig::parse(&download(0), Path::new("updates.toml"));
    let over = errors(&download(1));

    assert_eq!(widest.map(|updates| updates.download), Ok(DownloadConfig::widest()));
    assert!(over.contains("download.unpacked_bytes: 8589934593 is out of range"), "{over}");
}

#[test]
fn an_empty_file_offers_nothing_and_has_every_default() {
    let updates = UpdatesConfig::parse("", Path::new("updates.toml")).expect("nothing is wrong");

    assert_eq!(updates, UpdatesConfig::default());
    assert_eq!(updates.state_dir, Path::new("/var/lib/outrigger"));
    assert!(updates.repositories.is_empty());
    assert_eq!(updates.preflight.samples_min, 100);
    assert_eq!((updates.rollout.ring, updates.rollout.ring_hours), (0, 24));
    assert_eq!(updates.rollout.approval, Approval::Nothing);
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
    told(&cases);
}

/// Each case: what of `FULL` is replaced, by what, and what is said of it.
fn told(cases: &[(&str, &str, &str)]) {
    for (from, to, expected) in cases {
        let said = with(from, to);
        assert!(said.contains(expected), "{to}: expected {expected}, not {said}");
    }
}

#[test]
fn what_is_wrong_with_rings_pins_and_times_is_told() {
    let week = "\"Fri 18:00 - Mon 06:30\"";
    told(&[
        (
            "ring = 2",
            "ring = 10",
            "rollout.ring: 10 is out of range: 0 to 9, default 0; the nearest",
        ),
        ("ring_hours = 12", "ring_hours = 0", "rollout.ring_hours: 0 is out of range: 1 to 720"),
        ("\"rack 7\"", "\"\"", "rollout.seed: \"\" is not allowed: 1 to 256 bytes"),
        (
            "\"rack 7\"",
            "7",
            "rollout.seed: found the integer 7, expected a text; write `seed = \"7\"`",
        ),
        (
            week,
            "\"Fri 18 - Mon 06:30\"",
            "updates.toml:35:11: rollout.freeze[0]: \"Fri 18 - Mon 06:30\" is not allowed: times in UTC such as",
        ),
        (week, "\"Fri 18:00 - Fri 18:00\"", "rollout.freeze[0]: \"Fri 18:00 - Fri 18:00\" is not"),
        (
            week,
            "\"2026-12-20 - 2027-01-04\"",
            "rollout.freeze[1]: \"2026-12-20 - 2027-01-04\" is there",
        ),
        (
            week,
            "7",
            "rollout.freeze[0]: found the integer 7, expected a text; write \"Fri 18:00 - Mon 06:00\"",
        ),
        ("approval = \"code\"", "approval = \"al\"", "rollout.approval: \"al\" is not allowed"),
        ("approval = \"code\"", "approval = \"al\"", "did you mean \"all\"?"),
        ("version = \"1.2.3\"", "version = \"1.2\"", "pin[0].version: \"1.2\" is not allowed"),
        ("version = \"1.2.3\"", "behind = 0", "pin[0].behind: 0 is out of range: 1 to 9"),
        (
            "version = \"1.2.3\"",
            "version = \"1.2.3\"\nbehind = 1",
            "pin[0].behind: stands beside `version`: one of them pins, not both",
        ),
        (
            "version = \"1.2.3\"",
            "",
            "pin[0]: pins nothing; write `version = \"1.2.3\"`, or `behind = 1`",
        ),
        ("part = \"content\"", "part = \"code\"", "pin[1].engine: \"acme-av code\" is there twice"),
        ("part = \"content\"", "", "pin[1].part: missing"),
        ("unclean_max = 2", "unclean_max = 0", "boot.unclean_max: 0 is out of range: 1 to 100"),
    ]);
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
