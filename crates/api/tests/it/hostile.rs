//! Files made to hurt: nothing panics, nothing grows without a limit, nothing reaches the terminal.

use std::path::Path;
use std::time::{Duration, Instant};

use outrigger_api::settings::{ERRORS_MAX, HostConfig, Manifest};
use proptest::prelude::*;

use crate::{FULL_CONFIG, FULL_MANIFEST, config_errors, manifest_errors};

#[test]
fn what_is_not_toml_is_shown_where_it_ends_to_be() {
    assert_eq!(
        config_errors("mode = \"enforce\"\n[host\n"),
        "c.toml:2:6: not TOML: unclosed table, expected `]`\n  2 | [host\n    |      ^"
    );
    assert_eq!(
        config_errors("[cache]\nenabled = true\nenabled = true\n"),
        "c.toml:3:1: not TOML: duplicate key\n  3 | enabled = true\n    | ^"
    );
    for text in ["[]", "[[]]", "[.]", "=", "a=", "a", "\"", "[a]]", "a=[1,2", "a=9e9999", "\u{0}"] {
        assert!(config_errors(text).contains(" not TOML: "), "{text:?}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let depth = 20_000;
    for text in [
        format!("{} = 1", vec!["a"; depth].join(".")),
        format!("[{}]", vec!["a"; depth].join(".")),
        format!("[[{}]]", vec!["a"; depth].join(".")),
        format!("a = {}", "[".repeat(depth)),
        format!("a = {}1{}", "[".repeat(depth), "]".repeat(depth)),
        format!("a = {}1{}", "{a=".repeat(depth), "}".repeat(depth)),
    ] {
        let said = config_errors(&text);
        assert!(said.contains(" not TOML: "), "{} …", &said[..said.len().min(200)]);
    }
}

#[test]
fn keys_that_nest_as_deep_as_they_may_do_no_harm() {
    let part = vec!["a"; 79].join(".");
    let tables: String = (0..400).map(|at| format!("[{part}.b{at}]\n{part} = 1\n")).collect();

    assert!(config_errors(&tables).starts_with("c.toml:1:2: a: unknown key"));
}

#[test]
fn more_values_than_any_file_needs_are_not_parsed() {
    let said = config_errors(&format!("a = [{}]", "1,".repeat(1 << 16)));

    assert_eq!(said, "c.toml: holds more than 65536 values, the limit of a settings file");
}

#[test]
fn the_largest_file_is_refused_within_a_moment() {
    let begin = Instant::now();

    // As many unknown keys as fit, each near the name of a known one, all on long lines.
    let keys: String = (0..60_000).map(|at| format!("control{at:05} = 1\n")).collect();
    let errors = HostConfig::parse(&keys, Path::new("c.toml")).expect_err("all are unknown");
    let line = format!("mode = \"{}\"", "x".repeat(1_000_000));
    let long = config_errors(&line);

    assert_eq!(errors.errors().len(), ERRORS_MAX);
    assert!(long.len() < 1000, "{} bytes are shown", long.len());
    // Far more than it takes without optimisation on a slow machine; a quadratic reader takes longer.
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn a_long_line_is_cut_around_its_place() {
    let said = manifest_errors(&format!("x = [{}\"é\", 0x]", "1, ".repeat(300)));

    let mut lines = said.lines();
    let (_, shown, caret) = (lines.next(), lines.next().expect("a line"), lines.next());
    assert!(shown.chars().count() <= 130, "{shown}");
    let column = caret.expect("a caret").chars().position(|c| c == '^').expect("a caret");
    assert_eq!(shown.chars().nth(column), Some('0'), "{said}");
}

#[test]
fn nothing_of_a_file_moves_the_cursor() {
    for text in [
        "\"\u{1b}[2J\u{202e}\" = 1",
        "mode = \"\u{1b}]0;x\u{7}\u{202e}\"",
        "\u{1b}[2J",
        "name = \"\\u001b\"",
        "events.\"\\u001b[2J\".needs = \"\\u202e\"",
        "needs.read = [\"/\\u001b\", \"/\\u001b\"]",
    ] {
        for said in [manifest_errors(text), config_errors(text)] {
            let bad = said.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(bad, None, "{said:?}");
        }
    }
}

/// `text` with some of its bytes replaced, removed, doubled or moved.
fn mutated(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..5_u8, any::<u8>());
    prop::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut bytes = text.as_bytes().to_vec();
        for (from, to, kind, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let range = from.min(to)..from.max(to).min(from.min(to) + 40);
            match kind {
                0 => bytes[from] = byte,
                1 => drop(bytes.drain(range)),
                2 => bytes.extend_from_within(range),
                3 => bytes.insert(from, b"\"[]{}.=,\n0"[usize::from(byte) % 10]),
                _ => bytes.swap(from, to),
            }
        }
        bytes
    })
}

/// Reads `bytes` as either file, if they are text; whatever is said has its places in the text.
fn read_both(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split('\n').count();
    let results = [
        Manifest::parse(&text, Path::new("m.toml")).err(),
        HostConfig::parse(&text, Path::new("c.toml")).err(),
    ];
    for errors in results.into_iter().flatten() {
        assert!(!errors.errors().is_empty() && errors.errors().len() <= ERRORS_MAX);
        assert!(!errors.to_string().is_empty());
        for place in errors.errors().iter().filter_map(|error| error.place.as_ref()) {
            assert!(place.line <= lines, "line {} of {lines}", place.line);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_both(&bytes);
    }

    #[test]
    fn any_signs_of_toml_are_read_or_refused(
        text in "([a-c]|[=.,\"'\n #-]|\\[|\\]|\\{|\\}|0|file\\.open|policy|events|engine){0,80}"
    ) {
        read_both(text.as_bytes());
    }

    #[test]
    fn any_change_to_a_manifest_is_read_or_refused(bytes in mutated(FULL_MANIFEST)) {
        read_both(&bytes);
    }

    #[test]
    fn any_change_to_a_configuration_is_read_or_refused(bytes in mutated(FULL_CONFIG)) {
        read_both(&bytes);
    }
}
