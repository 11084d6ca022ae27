//! Manifests: each key, and the words for each error.

use std::path::{Path, PathBuf};

use outrigger_api::settings::{Fields, Filter, Limits, Manifest, Need, Subscription};
use outrigger_api::verdict::VerdictBasis;
use outrigger_api::{ContentType, Event, EventSet, Interprets};

use crate::{FULL_MANIFEST, manifest_errors, with};

/// What must be in every manifest.
const LEAST: &str = r#"name = "a"
vendor = "V"
version = "1"
contract = "1"
verdict = "content"
entry.program = "a"
events."file.open".needs = "ask"
"#;

#[test]
fn every_key_of_a_manifest_is_taken() {
    let manifest = Manifest::parse(FULL_MANIFEST, Path::new("/opt/scan/manifest.toml"));

    let expected = Manifest {
        name: "scan-1".parse().expect("a name"),
        vendor: "Example Security".to_owned(),
        version: "2.1.0".to_owned(),
        contract: 1..=2,
        verdict: VerdictBasis::Subject,
        events: vec![
            Subscription { event: Event::ProcessExec, needs: Need::Rule, degrade_to: None },
            Subscription {
                event: Event::FileOpen,
                needs: Need::Ask,
                degrade_to: Some(Need::Notify),
            },
            Subscription { event: Event::FileUnlink, needs: Need::Notify, degrade_to: None },
        ],
        filters: vec![Filter {
            events: EventSet::EMPTY.with(Event::FileUnlink),
            mute: true,
            invert: true,
            paths: vec!["/etc".into(), "/usr/bin".into()],
            programs: vec!["/usr/sbin/sshd".into()],
            cgroups: vec!["/system.slice".into()],
            uids: vec![0, 1000],
        }],
        fields: Fields { path: true, credentials: true, attributes: true, arguments: true },
        content: true,
        read: vec![PathBuf::from("/usr/share/zoneinfo"), PathBuf::from("/etc/ssl/certs")],
        program: PathBuf::from("/opt/scan/bin/scan"),
        arguments: vec!["--quiet".to_owned(), String::new()],
        limits: Limits {
            memory_bytes: 1 << 30,
            threads: 16,
            descriptors: 512,
            start_ms: 10_000,
            heartbeat_ms: 500,
            hang_ms: 2000,
        },
        interprets: Some(Interprets {
            kind: ContentType::Table,
            schema: 2..=3,
            inputs: vec!["event".to_owned(), "pipe_name".to_owned()],
        }),
        folder: PathBuf::from("/opt/scan"),
    };
    assert_eq!(manifest, Ok(expected));
}

#[test]
fn what_a_manifest_does_not_say_has_its_default() {
    let manifest = Manifest::parse(LEAST, Path::new("m.toml")).expect("nothing is wrong");

    assert_eq!(manifest.fields, Fields::default());
    assert!(!manifest.content && manifest.read.is_empty() && manifest.arguments.is_empty());
    let Limits { memory_bytes, threads, descriptors, start_ms, heartbeat_ms, hang_ms } =
        manifest.limits;
    assert_eq!((memory_bytes, threads, descriptors), (256 << 20, 8, 256));
    assert_eq!((start_ms, heartbeat_ms, hang_ms), (5000, 1000, 3000));
}

#[test]
fn an_absolute_program_stays_where_it_is() {
    let text = with(LEAST, "entry.program = \"a\"", "entry.program = \"/usr/bin/scan\"");

    let manifest = Manifest::parse(&text, Path::new("/opt/m.toml")).expect("nothing is wrong");

    assert_eq!(manifest.program, PathBuf::from("/usr/bin/scan"));
}

#[test]
fn memory_may_be_a_number_of_bytes() {
    let text = format!("{LEAST}limits.memory_bytes = 16_777_216\n");

    let manifest = Manifest::parse(&text, Path::new("m.toml")).expect("nothing is wrong");

    assert_eq!(manifest.limits.memory_bytes, 16 << 20);
}

#[test]
fn an_empty_manifest_is_told_everything_that_it_lacks() {
    let said = manifest_errors("");

    for line in [
        "m.toml:1:1: name: missing; write `name = \"hashlist\"`",
        "m.toml:1:1: vendor: missing; write `vendor = \"Example Security\"`",
        "m.toml:1:1: version: missing; write `version = \"1.0.0\"`",
        "m.toml:1:1: contract: missing; write `contract = \"1\"`",
        "m.toml:1:1: verdict: missing; write `verdict = \"content\"`",
        "m.toml:1:1: entry.program: missing; write `program = \"bin/engine\"`",
        "m.toml:1:1: events: missing; write `[events.\"file.open\"]`",
    ] {
        assert!(said.lines().any(|found| found == line), "no {line:?} in:\n{said}");
    }
}

/// Checks that `FULL_MANIFEST` with `from` replaced by `to` is refused with just this error.
fn refused(from: &str, to: &str, expected: &str) {
    let said = manifest_errors(&with(FULL_MANIFEST, from, to));
    let message = said.split_once(": ").map_or("", |(_, message)| message);
    assert_eq!(message.lines().next(), Some(expected), "all of it:\n{said}");
    assert_eq!(said.lines().count(), 3, "more than one error:\n{said}");
}

#[test]
fn a_name_outside_its_alphabet_is_refused() {
    refused(
        "\"scan-1\"",
        "\"Scan\"",
        "name: \"Scan\" is not allowed: 1 to 32 of a-z, 0-9 and '-', first a letter, last not '-'; \
         write `name = \"hashlist\"`",
    );
}

#[test]
fn a_vendor_that_would_move_the_cursor_is_refused() {
    refused(
        "\"Example Security\"",
        "\"Example\\u001b[2J\"",
        "vendor: \"Example\\u{1b}[2J\" is not allowed: 1 to 64 printable characters; \
         write `vendor = \"Example Security\"`",
    );
}

#[test]
fn a_contract_written_as_a_number_is_told_how_to_write_it() {
    refused(
        "\"1-2\"",
        "2",
        "contract: found the integer 2, expected a text; write `contract = \"2\"`",
    );
}

#[test]
fn a_contract_range_that_ends_before_it_begins_is_refused() {
    for bad in ["2-1", "0", "1-", "-1", "1-2-3", "+1", "65536", "99999999999999999999", ""] {
        refused(
            "\"1-2\"",
            &format!("\"{bad}\""),
            &format!(
                "contract: \"{bad}\" is not allowed: a version, or the first and the last of a \
                 range, 1 to 65535; write `contract = \"1\"`"
            ),
        );
    }
}

#[test]
fn a_verdict_that_nobody_knows_is_refused() {
    refused(
        "\"subject\"",
        "\"subjects\"",
        "verdict: \"subjects\" is not allowed: \"content\" or \"subject\"; did you mean \
         \"subject\"?",
    );
}

#[test]
fn a_program_that_leads_out_of_the_folder_is_refused() {
    refused(
        "\"bin/scan\"",
        "\"../scan\"",
        "entry.program: \"../scan\" leads upwards: a path here has no `..`",
    );
    refused("\"bin/scan\"", "\"\"", "entry.program: is empty; write `program = \"bin/engine\"`");
    refused("\"bin/scan\"", "\".\"", "entry.program: \".\" names no file");
}

#[test]
fn an_event_that_the_catalogue_lacks_is_refused() {
    refused(
        "\"process.exec\"",
        "\"process.exce\"",
        "events.\"process.exce\": unknown event; did you mean `process.exec`?",
    );
    refused(
        "[events.\"process.exec\"]",
        "[events.process.exec]",
        "events.process: unknown event; an event is quoted: write `[events.\"process.exec\"]`",
    );
}

#[test]
fn a_subscription_to_nothing_is_refused() {
    let text = with(LEAST, "events.\"file.open\".needs = \"ask\"\n", "[events]\n");

    assert_eq!(
        manifest_errors(&text),
        "m.toml:7:2: events: is empty; write `[events.\"file.open\"]` and `needs = \"ask\"`\n  \
         7 | [events]\n    |  ^"
    );
}

#[test]
fn an_event_without_a_need_is_refused_where_it_stands() {
    refused(
        "needs = \"rule\"",
        "",
        "events.\"process.exec\".needs: missing; write `needs = \"ask\"`",
    );
}

#[test]
fn a_need_degrades_only_to_a_weaker_one() {
    refused(
        "degrade_to = \"notify\"",
        "degrade_to = \"ask\"",
        "events.\"file.open\".degrade_to: must be weaker than `needs`: \"ask\", then \"rule\", \
         then \"notify\"",
    );
}

#[test]
fn a_field_that_no_event_has_is_refused() {
    refused(
        "\"credentials\", ",
        "\"credential\", ",
        "needs.fields[1]: \"credential\" is not allowed: \"path\", \"credentials\", \
         \"attributes\" or \"arguments\"; did you mean \"credentials\"?",
    );
}

#[test]
fn a_relative_path_is_refused_where_an_absolute_one_belongs() {
    refused(
        "\"/usr/share/zoneinfo\"",
        "\"usr/share\"",
        "needs.read[0]: \"usr/share\" is not an absolute path; write it from the root, beginning \
         with `/`",
    );
}

#[test]
fn memory_outside_its_range_is_refused_with_the_nearest_that_fits() {
    refused(
        "\"1GiB\"",
        "\"17GiB\"",
        "limits.memory_bytes: 18253611008 is out of range: 16MiB to 16GiB, default 256MiB; the \
         nearest is `memory_bytes = \"16GiB\"`",
    );
    refused(
        "\"1GiB\"",
        "\"1 gig\"",
        "limits.memory_bytes: found the text \"1 gig\", expected an integer or a text such as \
         \"256MiB\"; write `memory_bytes = \"256MiB\"`",
    );
}

#[test]
fn an_engine_may_not_hang_before_its_heartbeat_is_due() {
    refused(
        "hang_ms = 2000",
        "hang_ms = 500",
        "limits.hang_ms: 500 ms must be more than `heartbeat_ms`, 500 ms",
    );
}

#[test]
fn an_argument_that_a_program_cannot_get_is_refused() {
    refused(
        "\"--quiet\"",
        "\"a\\u0000b\"",
        "entry.arguments[0]: \"a\\0b\" has a zero byte, which no argument has",
    );
    refused(
        "\"--quiet\"",
        "7",
        "entry.arguments[0]: found the integer 7, expected a text; write \"--quiet\"",
    );
}

#[test]
fn an_engine_may_be_told_of_every_event() {
    for &event in Event::ALL {
        let text = with(
            LEAST,
            "events.\"file.open\".needs = \"ask\"",
            &format!("events.\"{event}\".needs = \"notify\""),
        );

        let manifest = Manifest::parse(&text, Path::new("m.toml")).expect("nothing is wrong");

        let told = Subscription { event, needs: Need::Notify, degrade_to: None };
        assert_eq!(manifest.events, [told]);
        assert!(manifest.asked().is_empty());
    }
}

#[test]
fn what_only_happens_cannot_be_asked_about() {
    refused(
        "[events.\"process.exec\"]\nneeds = \"rule\"",
        "[events.\"file.rename\"]\nneeds = \"ask\"",
        "events.\"file.rename\".needs: \"ask\" is not allowed: \"notify\", since file.rename is told \
         after it happened; write `needs = \"notify\"`",
    );
}

#[test]
fn content_that_is_read_is_named_with_its_type_and_schema() {
    let list = format!("{LEAST}content.type = \"hashlist\"\ncontent.schema = \"1\"\n");

    let manifest = Manifest::parse(&list, Path::new("m.toml")).expect("nothing is wrong");

    let want = Interprets { kind: ContentType::Hashlist, schema: 1..=1, inputs: Vec::new() };
    assert_eq!(manifest.interprets, Some(want));
}

#[test]
fn inputs_are_those_of_a_table_alone_and_supplied_by_what_is_asked_for() {
    let table = |inputs: &str| {
        format!("{LEAST}content.type = \"table\"\ncontent.schema = \"1\"\n{inputs}\n")
    };

    let none = manifest_errors(&table(""));
    let empty = manifest_errors(&table("content.inputs = []"));
    let unasked = manifest_errors(&table("content.inputs = [\"event\", \"folder\"]"));
    let twice = manifest_errors(&table("content.inputs = [\"pipe\", \"pipe\"]"));
    let unfit = manifest_errors(&table("content.inputs = [\"Pipe Name\"]"));
    let other = manifest_errors(&format!(
        "{LEAST}content.type = \"yara\"\ncontent.schema = \"0\"\ncontent.inputs = [\"pipe\"]\n"
    ));

    assert!(none.contains("content.inputs: missing"), "{none:?}");
    assert!(empty.contains("content.inputs: is empty"), "{empty:?}");
    let want = "`folder` cannot be supplied without the field \"path\"; add \"path\" to `fields`";
    assert!(unasked.contains(want), "{unasked:?}");
    assert!(twice.contains("content.inputs[1]: \"pipe\" is there twice"), "{twice:?}");
    assert!(unfit.contains("content.inputs[0]: \"Pipe Name\" is not allowed"), "{unfit:?}");
    assert!(other.contains("content.schema: \"0\" is not allowed"), "{other:?}");
    assert!(other.contains("belongs to content of the type \"table\" alone"), "{other:?}");
}

#[test]
fn a_filter_without_events_is_about_all_that_the_engine_can_be_told_of_and_that_it_fits() {
    let told = "events.\"file.open\".needs = \"ask\"\n\
                events.\"file.unlink\".needs = \"notify\"\n\
                events.\"net.connect\".needs = \"notify\"\n";
    let by_path = "[[filter]]\npaths = [\"/etc\"]\n[[filter]]\nuids = [0]\nmute = true\n";
    let text = with(LEAST, "events.\"file.open\".needs = \"ask\"\n", &format!("{told}{by_path}"));

    let manifest = Manifest::parse(&text, Path::new("m.toml")).expect("a manifest");

    let [paths, users] = &manifest.filters[..] else { panic!("two filters") };
    assert_eq!(paths.events, EventSet::EMPTY.with(Event::FileUnlink));
    let both = EventSet::EMPTY.with(Event::FileUnlink).with(Event::NetConnect);
    assert_eq!((users.events, users.mute), (both, true));
}

#[test]
fn filters_that_mean_nothing_or_too_much_are_refused() {
    let refused = |filter: &str, want: &str| {
        let told = "events.\"file.unlink\".needs = \"notify\"\n\
                    events.\"net.connect\".needs = \"notify\"\n";
        let with_filter = format!("{told}{filter}");
        let errors =
            manifest_errors(&with(LEAST, "events.\"file.open\".needs = \"ask\"\n", &with_filter));
        assert!(errors.contains(want), "{errors}");
    };
    let list = |count: u32, prefix: &str| {
        (0..count).map(|at| format!("\"{prefix}{at}\"")).collect::<Vec<_>>().join(", ")
    };

    refused(
        "[[filter]]\nmute = true\n",
        "m.toml:9:1: filter[0]: it names nothing to tell events apart by; write `paths`, `programs`, \
         `cgroups` or `uids`",
    );
    refused(
        "[[filter]]\nevents = [\"file.open\"]\nuids = [0]\n",
        "filter[0].events[0]: \"file.open\" is not allowed: names of events that the engine can be told of",
    );
    refused(
        "[[filter]]\nevents = [\"net.connect\"]\npaths = [\"/etc\"]\n",
        "filter[0].paths: net.connect has no path",
    );
    refused("[[filter]]\nuids = [4294967295]\n", "filter[0].uids[0]: 4294967295 is not allowed");
    refused("[[filter]]\nuids = [1, 1]\n", "filter[0].uids[1]: 1 ");
    let (paths, programs) = (list(20, "/a/"), list(20, "/b/"));
    refused(
        &format!("[[filter]]\npaths = [{paths}]\nprograms = [{programs}]\n"),
        "the filters up to this one make 820 alternatives of file.unlink, over the limit of 256",
    );
}
