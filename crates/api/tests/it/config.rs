//! Configurations: each key, and the words for each error.

use std::path::{Path, PathBuf};

use outrigger_api::Event;
use outrigger_api::settings::{
    CacheConfig, ContentGrant, ERRORS_MAX, EngineConfig, EngineSource, EventPolicy, GuardConfig,
    HostConfig, OnQuarantine, PlaceConfig, ProtectConfig, ProtectMode, RecordConfig, RecordContent,
    RulesConfig, TypeConfig,
};
use outrigger_api::verdict::{Fallback, Mode};

use crate::{FULL_CONFIG, config_errors, with};

#[test]
fn every_key_of_a_configuration_is_taken() {
    let config = HostConfig::parse(FULL_CONFIG, Path::new("c.toml"));

    let first = EngineConfig {
        source: EngineSource::Manifest(PathBuf::from("/opt/a/manifest.toml")),
        required: false,
        mode: Mode::Monitor,
        content: ContentGrant::Paths(vec![PathBuf::from("/home")]),
        content_dir: Some(PathBuf::from("/srv/rules")),
        uid: Some(61_001),
        misses_max: 8,
        miss_window_ms: 1000,
        restarts_max: 0,
        restart_window_ms: 5000,
        backoff_ms: 50,
        backoff_max_ms: 1000,
    };
    let second = EngineConfig {
        source: EngineSource::Manifest(PathBuf::from("/opt/b/manifest.toml")),
        required: true,
        mode: Mode::Enforce,
        content: ContentGrant::All,
        content_dir: None,
        uid: None,
        misses_max: 64,
        miss_window_ms: 10_000,
        restarts_max: 5,
        restart_window_ms: 60_000,
        backoff_ms: 10,
        backoff_max_ms: 30_000,
    };
    let open = EventPolicy {
        budget_ms: 20,
        content_budget_ms: 200,
        fallback: Fallback::Closed,
        on_quarantine: OnQuarantine::Without,
        mode: Some(Mode::Monitor),
    };
    let mut policies = HostConfig::default().policies;
    policies[Event::FileOpen.index()] = open;
    let expected = HostConfig {
        mode: Mode::Monitor,
        control_socket: PathBuf::from("/run/o/c.sock"),
        metrics_socket: None,
        state_dir: PathBuf::from("/srv/state"),
        updates_file: PathBuf::from("/etc/outrigger/updates.toml"),
        protect: ProtectConfig {
            trees: vec![PathBuf::from("/home"), PathBuf::from("/srv/data")],
            places: vec![
                PlaceConfig { path: "/srv/data/build".into(), mode: ProtectMode::Monitor },
                PlaceConfig { path: "/home/backup".into(), mode: ProtectMode::Off },
            ],
            types: vec![TypeConfig { fs_type: "nfs4".to_owned(), mode: ProtectMode::Enforce }],
        },
        in_flight_max: 512,
        cache: CacheConfig { enabled: false, max_files: 0 },
        rules: RulesConfig { enabled: false, dir: "/srv/policy".into(), mode: Mode::Monitor },
        policies,
        engines: vec![first, second],
        guard: GuardConfig {
            extra: vec![PathBuf::from("/usr/sbin/sshd")],
            lifted: vec![PathBuf::from("/usr/bin/dpkg")],
        },
        record: RecordConfig {
            enabled: true,
            content: RecordContent::Sums,
            bytes_max: 8 << 20,
            credentials: false,
            redact: vec![PathBuf::from("/home")],
        },
    };
    assert_eq!(config, Ok(expected));
}

#[test]
fn an_empty_configuration_has_every_default() {
    let config = HostConfig::parse("", Path::new("c.toml")).expect("nothing is wrong");

    assert_eq!(config, HostConfig::default());
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.control_socket, Path::new("/run/outrigger/control.sock"));
    assert_eq!(config.metrics_socket.as_deref(), Some(Path::new("/run/outrigger/metrics.sock")));
    assert_eq!(config.state_dir, Path::new("/var/lib/outrigger"));
    assert_eq!(config.in_flight_max, 2048);
    assert_eq!(config.cache, CacheConfig { enabled: true, max_files: 100_000 });
    assert_eq!(config.policies.len(), Event::ALL.len());
    for &event in Event::ALL {
        let policy = EventPolicy {
            budget_ms: 50,
            content_budget_ms: 500,
            fallback: Fallback::Open,
            on_quarantine: OnQuarantine::Fallback,
            mode: None,
        };
        assert_eq!(*config.policy(event), policy);
    }
    assert!(config.protect == ProtectConfig::default() && config.engines.is_empty());
    assert_eq!(config.guard, GuardConfig::default());
    let record = RecordConfig {
        enabled: false,
        content: RecordContent::Nothing,
        bytes_max: 64 << 20,
        credentials: true,
        redact: Vec::new(),
    };
    assert_eq!(config.record, record);
}

#[test]
fn a_raised_budget_raises_that_for_content() {
    let text = "policy.\"file.open\".budget_ms = 2000";

    let config = HostConfig::parse(text, Path::new("c.toml")).expect("nothing is wrong");

    assert_eq!(config.policy(Event::FileOpen).content_budget_ms, 2000);
}

#[test]
fn engines_may_stand_in_one_list() {
    let text = "engine = [{ manifest = \"/a\" }, { manifest = \"/b\", required = false }]";

    let config = HostConfig::parse(text, Path::new("c.toml")).expect("nothing is wrong");

    assert_eq!(config.engines.len(), 2);
}

#[test]
fn an_error_shows_its_place() {
    assert_eq!(
        config_errors("[policy.\"file.open\"]\n\tbugdet_ms = 0\n"),
        "c.toml:2:2: policy.\"file.open\".bugdet_ms: unknown key; did you mean `budget_ms`?\n  \
         2 |  bugdet_ms = 0\n    |  ^"
    );
}

#[test]
fn every_error_is_told_in_the_order_of_the_file() {
    let said = config_errors("[guard]\nextra = 1\n[cache]\nenabled = 1\n[host]\nx = 1\n");

    let keys: Vec<&str> =
        said.lines().filter(|line| line.starts_with("c.toml")).map(|line| &line[..10]).collect();
    assert_eq!(keys, ["c.toml:2:9", "c.toml:4:1", "c.toml:6:1"], "{said}");
}

#[test]
fn errors_beyond_the_limit_are_counted() {
    let text: String = (0..ERRORS_MAX + 7).map(|at| format!("k{at} = 1\n")).collect();

    let errors = HostConfig::parse(&text, Path::new("c.toml")).expect_err("all keys are unknown");

    assert_eq!((errors.errors().len(), errors.more()), (ERRORS_MAX, 7));
    assert!(errors.to_string().ends_with("\nc.toml: and 7 more"), "{errors}");
}

/// Checks that `FULL_CONFIG` with `from` replaced by `to` is refused with just this error.
fn refused(from: &str, to: &str, expected: &str) {
    let said = config_errors(&with(FULL_CONFIG, from, to));
    let message = said.split_once(": ").map_or("", |(_, message)| message);
    assert_eq!(message.lines().next(), Some(expected), "all of it:\n{said}");
    assert_eq!(said.lines().count(), 3, "more than one error:\n{said}");
}

#[test]
fn an_unknown_key_is_told_what_was_probably_meant() {
    refused(
        "in_flight_max",
        "in-flight-max",
        "host.in-flight-max: unknown key; did you mean `in_flight_max`?",
    );
    refused(
        "budget_ms = 20\n",
        "max_files = 20\n",
        "policy.\"file.open\".max_files: unknown key; it belongs in [cache]",
    );
    refused(
        "enabled = false\nmax_files",
        "policy = 1\nmax_files",
        "cache.policy: unknown key; it belongs at the top of the file, before the first table",
    );
    refused("lifted", "\"qu ux\"", "guard.\"qu ux\": unknown key; the keys here are extra, lifted");
}

#[test]
fn an_unknown_event_is_refused() {
    refused(
        "\"file.open\"",
        "\"file.opened\"",
        "policy.\"file.opened\": unknown event; did you mean `file.open`?",
    );
    refused(
        "\"file.open\"",
        "\"printer.jam\"",
        "policy.\"printer.jam\": unknown event; the events are process.exec, file.open",
    );
}

#[test]
fn a_number_out_of_range_is_told_the_range() {
    refused(
        "budget_ms = 20\n",
        "budget_ms = 0\n",
        "policy.\"file.open\".budget_ms: 0 is out of range: 1 to 10000 ms, default 50 ms; the \
         nearest is `budget_ms = 1`",
    );
    refused(
        "max_files = 0",
        "max_files = 1_000_001",
        "cache.max_files: 1000001 is out of range: 0 to 1000000, default 100000; the nearest is \
         `max_files = 1000000`",
    );
    refused(
        "max_files = 0",
        "max_files = -9223372036854775808",
        "cache.max_files: -9223372036854775808 is out of range: 0 to 1000000, default 100000; the \
         nearest is `max_files = 0`",
    );
    refused(
        "uid = 61001",
        "uid = 0",
        "engine[0].uid: 0 is out of range: 1 to 65533, default none; the nearest is `uid = 1`",
    );
}

#[test]
fn a_persons_user_is_no_engines() {
    for persons in ["uid = 1000", "uid = 60000"] {
        refused(
            "uid = 61001",
            persons,
            &format!(
                "engine[0].{} is a person's (1000 to 60000), who could signal and slow the engine; \
                 leave it out, or write one that no account has",
                persons.replace(" =", ":")
            ),
        );
    }
}

#[test]
fn a_value_of_another_type_is_told_how_to_write_it() {
    refused(
        "in_flight_max = 512",
        "in_flight_max = \"512\"",
        "host.in_flight_max: found the text \"512\", expected an integer; write `in_flight_max = \
         512`",
    );
    refused(
        "budget_ms = 20\n",
        "budget_ms = \"20ms\"\n",
        "policy.\"file.open\".budget_ms: found the text \"20ms\", expected an integer; write \
         `budget_ms = 20`",
    );
    refused(
        "in_flight_max = 512",
        "in_flight_max = 0.5",
        "host.in_flight_max: found the number 0.5, expected an integer; write `in_flight_max = \
         2048`",
    );
    refused(
        "enabled = false\nmax_files",
        "enabled = \"false\"\nmax_files",
        "cache.enabled: found the text \"false\", expected true or false; write `enabled = false`",
    );
    refused(
        "[\"/usr/sbin/sshd\"]",
        "\"/usr/sbin/sshd\"",
        "guard.extra: found the text \"/usr/sbin/sshd\", expected a list; write `extra = \
         [\"/usr/sbin/sshd\"]`",
    );
    refused(
        "\"/srv/state\"",
        "1979-05-27",
        "host.state_dir: found a date, expected a path; write `state_dir = \"/var/lib/outrigger\"`",
    );
    refused(
        "fallback = \"closed\"",
        "fallback = true",
        "policy.\"file.open\".fallback: found true, expected \"open\" or \"closed\"; write \
         `fallback = \"open\"`",
    );
}

#[test]
fn a_table_where_a_value_belongs_and_the_reverse_are_refused() {
    assert_eq!(
        config_errors("cache = 5"),
        "c.toml:1:9: cache: found the integer 5, expected a table; write `[cache]` and its keys \
         below\n  1 | cache = 5\n    |         ^"
    );
    assert_eq!(
        config_errors("[engine]\nmanifest = \"/a\""),
        "c.toml:1:2: engine: found a table, expected a list of tables; write `[[engine]]`, once \
         for each\n  1 | [engine]\n    |  ^"
    );
    assert_eq!(
        config_errors("engine = [5]"),
        "c.toml:1:11: engine[0]: found the integer 5, expected a table\n  1 | engine = [5]\n    \
         |           ^"
    );
}

#[test]
fn a_word_that_has_no_meaning_is_told_those_that_have() {
    refused(
        "fallback = \"closed\"",
        "fallback = \"shut\"",
        "policy.\"file.open\".fallback: \"shut\" is not allowed: \"open\" or \"closed\"",
    );
    refused(
        "content = \"all\"",
        "content = \"/home\"",
        "engine[1].content: \"/home\" is not allowed: \"none\", \"all\" or a list of absolute \
         paths; write `content = [\"/home\"]`",
    );
    refused(
        "content = \"all\"",
        "content = []",
        "engine[1].content: is empty; write `content = \"none\"`",
    );
}

#[test]
fn paths_that_mean_nothing_certain_are_refused() {
    refused(
        "\"/srv/state\"",
        "\"state\"",
        "host.state_dir: \"state\" is not an absolute path; write it from the root, beginning with \
         `/`",
    );
    refused(
        "\"/srv/state\"",
        "\"/srv/../etc\"",
        "host.state_dir: \"/srv/../etc\" leads upwards: a path here has no `..`",
    );
    refused(
        "\"/srv/state\"",
        "\"/a\\u0000\"",
        "host.state_dir: \"/a\\0\" has a zero byte, which no path has",
    );
    let long = format!("/{}", "s".repeat(107));
    refused(
        "\"/run/o/c.sock\"",
        &format!("\"{long}\""),
        &format!("host.control_socket: \"{}…\" has 108 bytes, over the limit of 107", &long[..64]),
    );
}

#[test]
fn metrics_lie_beside_the_control_socket_and_can_be_switched_off() {
    let socket = |text: &str| {
        HostConfig::parse(text, Path::new("c.toml")).expect("nothing is wrong").metrics_socket
    };

    let beside = socket("[host]\ncontrol_socket = \"/run/o/c.sock\"\n");
    assert_eq!(beside.as_deref(), Some(Path::new("/run/o/metrics.sock")));
    let elsewhere = socket("[host]\nmetrics_socket = \"/run/o/m.sock\"\n");
    assert_eq!(elsewhere.as_deref(), Some(Path::new("/run/o/m.sock")));
    assert_eq!(socket("[host]\nmetrics = false\n"), None);
    assert_eq!(socket("[host]\nmetrics = false\nmetrics_socket = \"/m\"\n"), None);
    refused(
        "\"/run/o/m.sock\"",
        "\"/run/o/c.sock\"",
        "host.metrics_socket: is `control_socket` as well: each needs a path of its own",
    );
}

#[test]
fn what_must_be_unique_is_refused_the_second_time() {
    refused(
        "\"/srv/./data/\"",
        "\"/home/\"",
        "protect.trees[1]: \"/home\" is there twice: protect.trees[0] has it already",
    );
    refused(
        "\"/opt/b/manifest.toml\"",
        "\"/opt/a//manifest.toml\"",
        "engine[1].manifest: \"/opt/a/manifest.toml\" is there twice: engine[0].manifest has it \
         already",
    );
    refused(
        "content = \"all\"",
        "uid = 61001",
        "engine[1].uid: 61001 is there twice: engine[0].uid has it already",
    );
}

#[test]
fn an_engine_without_a_manifest_is_refused_where_it_stands() {
    refused(
        "manifest = \"/opt/b/manifest.toml\"",
        "",
        "engine[1].manifest: missing; write `manifest = \"/opt/engine\"`",
    );
}

#[test]
fn an_engine_may_be_docked_from_its_releases() {
    let config = "[[engine]]\ninstalled = \"yara\"\n\n[[engine]]\ninstalled = \"hashlist\"\n";

    let config = HostConfig::parse(config, Path::new("c.toml")).expect("two installed engines");

    let names = ["yara", "hashlist"].map(|name| name.parse().expect("a name"));
    let expected = names.map(EngineSource::Installed);
    let sources: Vec<_> = config.engines.iter().map(|engine| engine.source.clone()).collect();
    assert_eq!(sources, expected);
    assert_eq!(config.read_manifests().expect("none is named"), [None, None]);
}

#[test]
fn what_an_installed_engine_has_from_its_release_is_not_configured() {
    refused(
        "manifest = \"/opt/b/manifest.toml\"",
        "installed = \"b\"\nmanifest = \"/opt/b/manifest.toml\"",
        "engine[1].manifest: the manifest of an engine with `installed` is that of the release in \
         force; leave one of the two out",
    );
    refused(
        "manifest = \"/opt/b/manifest.toml\"",
        "installed = \"b\"\ncontent_dir = \"/srv/b\"",
        "engine[1].content_dir: the content of an engine with `installed` is that of the release \
         in force; leave one of the two out",
    );
    refused(
        "manifest = \"/opt/b/manifest.toml\"",
        "installed = \"B\"",
        "engine[1].installed: \"B\" is not allowed: 1 to 32 of a-z, 0-9 and '-', first a letter, \
         last not '-'; write `installed = \"hashlist\"`",
    );
}

#[test]
fn the_longest_backoff_is_not_less_than_the_first() {
    refused(
        "backoff_max_ms = 1000",
        "backoff_max_ms = 49",
        "engine[0].backoff_max_ms: 49 ms is less than `backoff_ms`, 50 ms",
    );
}

#[test]
fn lists_end_at_their_limit() {
    let trees: Vec<String> = (0..65).map(|at| format!("\"/t{at}\"")).collect();
    refused(
        "[\"/home\", \"/srv/./data/\"]",
        &format!("[{}]", trees.join(", ")),
        "protect.trees: 65 are too many: the limit is 64",
    );
    let paths: Vec<String> = (0..257).map(|at| format!("\"/t{at}\"")).collect();
    refused(
        "content = \"all\"",
        &format!("content = [{}]", paths.join(", ")),
        "engine[1].content: 257 are too many: the limit is 256",
    );
    let engines: String = (0..33).map(|at| format!("[[engine]]\nmanifest = \"/{at}\"\n")).collect();
    let said = config_errors(&engines);
    assert!(said.starts_with("c.toml:1:3: engine: 33 are too many: the limit is 32\n"), "{said}");
}

#[test]
fn an_event_that_nobody_decides_has_no_policy() {
    let said = config_errors("[policy.\"process.fork\"]\nfallback = \"closed\"\n");

    assert_eq!(
        said.lines().next(),
        Some(
            "c.toml:1:9: policy.\"process.fork\": is told after it happened, so there is nothing to \
             decide; the events with a policy are process.exec, file.open"
        )
    );
}

#[test]
fn what_is_protected_otherwise_is_said_once_and_in_full() {
    let text = "[[protect.tree]]\npath = \"/a\"\n[[protect.tree]]\npath = \"/a/\"\nmode = \"of\"\n\
                [[protect.file_system]]\ntype = \"fuse.sshfs\"\nmode = \"off\"\n";

    let errors = config_errors(text);

    assert!(errors.contains("1:1: protect.tree[0].mode: "), "{errors}");
    assert!(errors.contains("write `mode = \"enforce\"`"), "{errors}");
    assert!(errors.contains("4:8: protect.tree[1].path: "), "{errors}");
    assert!(errors.contains("5:8: protect.tree[1].mode: "), "{errors}");
    assert!(errors.contains("did you mean \"off\"?"), "{errors}");
    assert!(errors.contains("7:8: protect.file_system[0].type: "), "{errors}");
    assert!(errors.contains("without a subtype"), "{errors}");
}
