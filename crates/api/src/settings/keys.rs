//! Every key of every file: its type, range and default. The one place where a limit stands.
//!
//! The reader takes a key from here, so a value cannot be read without its check, and a key that is
//! not listed in its table is unknown. The reference pages are tested against these tables.

use crate::content::ContentType;
use crate::release::Part;
use crate::settings::config::{OnQuarantine, RecordContent};
use crate::settings::instruction::{MACHINES_MAX, VERBS, Verb};
use crate::settings::kind::{
    Choice, FilePath, Flag, Given, Group, Integer, List, Must, OptionalText, Table, Text, Unit,
};
use crate::settings::manifest::Need;
use crate::settings::protect::ProtectMode;
use crate::settings::release::RELEASE_FORMAT;
use crate::settings::rollout::Approval;
use crate::verdict::{Fallback, Mode, VerdictBasis};

/// Longest path, in bytes (`PATH_MAX` less the closing NUL).
const PATH_MAX: usize = 4095;
/// Longest path of a local socket, in bytes (`sockaddr_un` less the closing NUL).
const SOCKET_PATH_MAX: usize = 107;
/// Most paths of one list.
const PATHS_MAX: usize = 256;
/// Longest argument of an engine, in bytes.
pub(super) const ARGUMENT_MAX: usize = 4096;
/// Longest vendor and version, in characters.
pub(super) const LABEL_MAX: usize = 64;
/// Largest version of the contract that a manifest may name.
pub(super) const CONTRACT_MAX: u32 = 65_535;

const NAME_RULE: &str = "1 to 32 of a-z, 0-9 and '-', first a letter, last not '-'";
const LABEL_RULE: &str = "1 to 64 printable characters";

// The manifest.
pub(super) const NAME: Text = Text { name: "name", rule: NAME_RULE, example: "\"hashlist\"" };
pub(super) const VENDOR: Text =
    Text { name: "vendor", rule: LABEL_RULE, example: "\"Example Security\"" };
pub(super) const VERSION: Text = Text { name: "version", rule: LABEL_RULE, example: "\"1.0.0\"" };
pub(super) const CONTRACT: Text = Text {
    name: "contract",
    rule: "a version, or the first and the last of a range, 1 to 65535",
    example: "\"1\"",
};
pub(super) const VERDICT: Choice<VerdictBasis> = Choice {
    name: "verdict",
    words: &[("content", VerdictBasis::Content), ("subject", VerdictBasis::Subject)],
    default: Given::Required,
};
pub(super) const ENTRY: Group =
    Group { name: "entry", kind: "a table", allowed: "", default: "required", example: "[entry]" };
pub(super) const EVENTS: Group = Group {
    name: "events",
    kind: "a table",
    allowed: "one table per event, at least 1",
    default: "required",
    example: "[events.\"file.open\"]",
};
pub(super) const NEEDS: Group = group("needs", "[needs]");
pub(super) const LIMITS: Group = group("limits", "[limits]");
pub(super) const INTERPRETS: Group =
    Group { name: "content", kind: "a table", allowed: "", default: "none", example: "[content]" };

pub(super) const PROGRAM: FilePath =
    FilePath { name: "program", relative: true, max: PATH_MAX, default: Given::Required };
pub(super) const ARGUMENTS: List =
    List { name: "arguments", of: "texts", max: 256, example: "[\"--quiet\"]" };

/// Most filters of one engine.
pub(super) const FILTERS_MAX: usize = 16;
/// Most members of one list of a filter.
const FILTER_LIST_MAX: usize = 64;
pub(super) const FILTER: Group = Group {
    name: "filter",
    kind: "a list of tables",
    allowed: "at most 16",
    default: "none",
    example: "[[filter]]",
};
pub(super) const FILTER_EVENTS: List = List {
    name: "events",
    of: "names of events that the engine can be told of, no two alike",
    max: FILTER_LIST_MAX,
    example: "[\"file.open\"]",
};
pub(super) const FILTER_PATHS: List = paths("paths", FILTER_LIST_MAX, "[\"/etc\"]");
pub(super) const FILTER_PROGRAMS: List = paths("programs", FILTER_LIST_MAX, "[\"/usr/sbin/sshd\"]");
pub(super) const FILTER_CGROUPS: List = paths("cgroups", FILTER_LIST_MAX, "[\"/system.slice\"]");
pub(super) const FILTER_UIDS: List = List {
    name: "uids",
    of: "users from 0 to 4294967294, no two alike",
    max: FILTER_LIST_MAX,
    example: "[0]",
};
pub(super) const FILTER_MUTE: Flag = Flag { name: "mute", default: false };
pub(super) const FILTER_INVERT: Flag = Flag { name: "invert", default: false };

const NEED_WORDS: &[(&str, Need)] =
    &[("ask", Need::Ask), ("rule", Need::Rule), ("notify", Need::Notify)];
pub(super) const EVENT_NEEDS: Choice<Need> =
    Choice { name: "needs", words: NEED_WORDS, default: Given::Required };
pub(super) const DEGRADE_TO: Choice<Need> =
    Choice { name: "degrade_to", words: NEED_WORDS, default: Given::Nothing };

/// A field of an event that a manifest may ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Path,
    Credentials,
    Attributes,
    Arguments,
}
pub(super) const FIELD_WORDS: &[(&str, Field)] = &[
    ("path", Field::Path),
    ("credentials", Field::Credentials),
    ("attributes", Field::Attributes),
    ("arguments", Field::Arguments),
];
pub(super) const FIELDS: List = List {
    name: "fields",
    of: "\"path\", \"credentials\", \"attributes\", \"arguments\"",
    max: FIELD_WORDS.len(),
    example: "[\"path\"]",
};
pub(super) const NEEDS_CONTENT: Flag = Flag { name: "content", default: false };
pub(super) const READ: List = paths("read", PATHS_MAX, "[\"/usr/share/zoneinfo\"]");

pub(super) const MEMORY_BYTES: Integer = Integer {
    name: "memory_bytes",
    unit: Unit::Bytes,
    min: 16 << 20,
    max: 16 << 30,
    default: Some(256 << 20),
};
pub(super) const THREADS: Integer = count("threads", 1, 256, 8);
pub(super) const DESCRIPTORS: Integer = count("descriptors", 16, 4096, 256);
pub(super) const START_MS: Integer = milliseconds("start_ms", 100, 60_000, 5000);
pub(super) const HEARTBEAT_MS: Integer = milliseconds("heartbeat_ms", 100, 10_000, 1000);
pub(super) const HANG_MS: Integer = milliseconds("hang_ms", 200, 60_000, 3000);

/// Largest version of a type's schema that may be named.
pub(super) const SCHEMA_MAX: u32 = 65_535;
/// Longest name of an input, in bytes.
pub(super) const INPUT_MAX: usize = 64;
pub(super) const CONTENT_TYPE: Choice<ContentType> = Choice {
    name: "type",
    words: &[
        ("hashlist", ContentType::Hashlist),
        ("yara", ContentType::Yara),
        ("table", ContentType::Table),
        ("rules", ContentType::Rules),
    ],
    default: Given::Required,
};
pub(super) const CONTENT_SCHEMA: Text = Text {
    name: "schema",
    rule: "a version, or the first and the last of a range, 1 to 65535",
    example: "\"1\"",
};
pub(super) const INPUTS: List = List {
    name: "inputs",
    of: "names of 1 to 64 of a-z, 0-9 and '_', first a letter, no two alike",
    max: 256,
    example: "[\"path\"]",
};

pub(super) static MANIFEST_TOP: Table = Table {
    path: "",
    keys: &[
        &NAME,
        &VENDOR,
        &VERSION,
        &CONTRACT,
        &VERDICT,
        &ENTRY,
        &EVENTS,
        &FILTER,
        &NEEDS,
        &LIMITS,
        &INTERPRETS,
    ],
};
pub(super) static MANIFEST_ENTRY: Table = Table { path: "entry", keys: &[&PROGRAM, &ARGUMENTS] };
pub(super) static MANIFEST_EVENT: Table =
    Table { path: "events.\"EVENT\"", keys: &[&EVENT_NEEDS, &DEGRADE_TO] };
pub(super) static MANIFEST_FILTER: Table = Table {
    path: "[filter]",
    keys: &[
        &FILTER_EVENTS,
        &FILTER_PATHS,
        &FILTER_PROGRAMS,
        &FILTER_CGROUPS,
        &FILTER_UIDS,
        &FILTER_INVERT,
        &FILTER_MUTE,
    ],
};
pub(super) static MANIFEST_NEEDS: Table =
    Table { path: "needs", keys: &[&FIELDS, &NEEDS_CONTENT, &READ] };
pub(super) static MANIFEST_LIMITS: Table = Table {
    path: "limits",
    keys: &[&MEMORY_BYTES, &THREADS, &DESCRIPTORS, &START_MS, &HEARTBEAT_MS, &HANG_MS],
};
pub(super) static MANIFEST_CONTENT: Table =
    Table { path: "content", keys: &[&CONTENT_TYPE, &CONTENT_SCHEMA, &INPUTS] };

/// The tables of a manifest.
pub(super) static MANIFEST: &[&Table] = &[
    &MANIFEST_TOP,
    &MANIFEST_ENTRY,
    &MANIFEST_EVENT,
    &MANIFEST_FILTER,
    &MANIFEST_NEEDS,
    &MANIFEST_LIMITS,
    &MANIFEST_CONTENT,
];

// What a package says about itself, and the list of an engine's releases.
/// Longest requirement on versions, in bytes.
pub(super) const REQUIREMENT_MAX: usize = 256;

pub(super) const FORMAT: Must = Must(Integer {
    name: "format",
    unit: Unit::One,
    min: RELEASE_FORMAT as u64,
    max: RELEASE_FORMAT as u64,
    default: None,
});
pub(super) const PART: Choice<Part> = Choice {
    name: "part",
    words: &[("code", Part::Code), ("content", Part::Content)],
    default: Given::Required,
};
pub(super) const OF_ENGINE: Text =
    Text { name: "engine", rule: NAME_RULE, example: "\"hashlist\"" };
pub(super) const RELEASE_VERSION: Text = Text {
    name: "version",
    rule: "a semantic version without build metadata, at most 64 characters",
    example: "\"1.0.0\"",
};
pub(super) const CONTENT_HEAD: Group = Group {
    name: "content",
    kind: "a table",
    allowed: "just where `part` is \"content\"",
    default: "required there",
    example: "[content]",
};
pub(super) const FILE: Group = Group {
    name: "file",
    kind: "a list of tables",
    allowed: "1 to 4096",
    default: "required",
    example: "[[file]]",
};
pub(super) const SCHEMA: Must =
    Must(Integer { name: "schema", unit: Unit::One, min: 1, max: 65_535, default: None });
pub(super) const INTERPRETER: Text = Text {
    name: "interpreter",
    rule: "a requirement on semantic versions, at most 256 bytes",
    example: "\">=1.0, <2\"",
};
pub(super) const MEMBER: Text = Text {
    name: "path",
    rule: "at most 160 bytes and 8 names of 1 to 80 of a-z, A-Z, 0-9 and ._+-, each first a letter, a \
           digit or '_', with '/' between them; not \"release.toml\"",
    example: "\"bin/engine\"",
};
pub(super) const SIZE: Must =
    Must(Integer { name: "size", unit: Unit::Bytes, min: 0, max: 1 << 30, default: None });
pub(super) const SHA256: Text = Text {
    name: "sha256",
    rule: "64 of 0-9 and a-f",
    example: "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
};
pub(super) const EXECUTABLE: Flag = Flag { name: "executable", default: false };

pub(super) static RELEASE_TOP: Table =
    Table { path: "", keys: &[&FORMAT, &PART, &OF_ENGINE, &RELEASE_VERSION, &CONTENT_HEAD, &FILE] };
/// The top of a file that a package is to be built from.
pub(super) static TEMPLATE_TOP: Table =
    Table { path: "", keys: &[&FORMAT, &PART, &OF_ENGINE, &RELEASE_VERSION, &CONTENT_HEAD] };
pub(super) static RELEASE_CONTENT: Table =
    Table { path: "content", keys: &[&CONTENT_TYPE, &SCHEMA, &INTERPRETER] };
pub(super) static RELEASE_FILE: Table =
    Table { path: "[file]", keys: &[&MEMBER, &SIZE, &SHA256, &EXECUTABLE] };

/// The tables of a package's description.
pub(super) static RELEASE: &[&Table] = &[&RELEASE_TOP, &RELEASE_CONTENT, &RELEASE_FILE];
/// The tables of what one is built from.
pub(super) static TEMPLATE: &[&Table] = &[&TEMPLATE_TOP, &RELEASE_CONTENT];

pub(super) const OFFERED: Group = Group {
    name: "release",
    kind: "a list of tables",
    allowed: "at most 1024",
    default: "none",
    example: "[[release]]",
};
pub(super) const TARGET: Text = Text {
    name: "target",
    rule: "`ENGINE/PART/VERSION.tar.gz`",
    example: "\"hashlist/code/1.0.0.tar.gz\"",
};
pub(super) const PUBLISHED: Text = Text {
    name: "published",
    rule: "a time of RFC 3339, in UTC and whole seconds",
    example: "\"2026-01-31T12:00:00Z\"",
};
pub(super) static RELEASES_TOP: Table = Table { path: "", keys: &[&FORMAT, &OF_ENGINE, &OFFERED] };
pub(super) static RELEASES_OFFERED: Table =
    Table { path: "[release]", keys: &[&PART, &RELEASE_VERSION, &TARGET, &PUBLISHED] };

/// The tables of a list of releases.
pub(super) static RELEASES: &[&Table] = &[&RELEASES_TOP, &RELEASES_OFFERED];

// The host's configuration.
const MODE_WORDS: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("monitor", Mode::Monitor)];
pub(super) const MODE: Choice<Mode> =
    Choice { name: "mode", words: MODE_WORDS, default: Given::Default("enforce") };
pub(super) const HOST: Group = group("host", "[host]");
pub(super) const CACHE: Group = group("cache", "[cache]");
pub(super) const PROTECT: Group = group("protect", "[protect]");
pub(super) const POLICY: Group = Group {
    name: "policy",
    kind: "a table",
    allowed: "one table per event",
    default: "every event's defaults",
    example: "[policy.\"file.open\"]",
};
pub(super) const ENGINES_MAX: usize = 32;
pub(super) const ENGINE: Group = Group {
    name: "engine",
    kind: "a list of tables",
    allowed: "at most 32",
    default: "none",
    example: "[[engine]]",
};
pub(super) const GUARD: Group = group("guard", "[guard]");

pub(super) const RECORD: Group = group("record", "[record]");
pub(super) const RULES: Group = group("rules", "[rules]");

pub(super) const CONTROL_SOCKET: FilePath = FilePath {
    name: "control_socket",
    relative: false,
    max: SOCKET_PATH_MAX,
    default: Given::Default(crate::control::SOCKET),
};
pub(super) const METRICS: Flag = Flag { name: "metrics", default: true };
/// Where it is not written, it lies beside the control socket.
pub(super) const METRICS_SOCKET: FilePath = FilePath {
    name: "metrics_socket",
    relative: false,
    max: SOCKET_PATH_MAX,
    default: Given::Nothing,
};
pub(super) const STATE_DIR: FilePath = FilePath {
    name: "state_dir",
    relative: false,
    max: PATH_MAX,
    default: Given::Default("/var/lib/outrigger"),
};
pub(super) const UPDATES_PATH: FilePath = FilePath {
    name: "updates_file",
    relative: false,
    max: PATH_MAX,
    default: Given::Default(crate::settings::UPDATES_FILE),
};
pub(super) const IN_FLIGHT_MAX: Integer = count("in_flight_max", 16, 8192, 2048);

pub(super) const ENABLED: Flag = Flag { name: "enabled", default: true };
pub(super) const MAX_FILES: Integer = count("max_files", 0, 1_000_000, 100_000);

pub(super) const RULES_DIR: FilePath = FilePath {
    name: "dir",
    relative: false,
    max: PATH_MAX,
    default: Given::Default("/etc/outrigger/policy"),
};

pub(super) const PLACES_MAX: usize = 64;
pub(super) const FS_TYPE_MAX: usize = 32;
pub(super) const TREE: Group = Group {
    name: "tree",
    kind: "a list of tables",
    allowed: "at most 64",
    default: "none",
    example: "[[protect.tree]]",
};
pub(super) const FILE_SYSTEM: Group = Group {
    name: "file_system",
    kind: "a list of tables",
    allowed: "at most 64",
    default: "none",
    example: "[[protect.file_system]]",
};
pub(super) const PLACE: FilePath =
    FilePath { name: "path", relative: false, max: PATH_MAX, default: Given::Required };
pub(super) const FS_TYPE: Text = Text {
    name: "type",
    rule: "1 to 32 of a-z, A-Z, 0-9, '_' and '-', without a subtype: `fuse`, not `fuse.sshfs`",
    example: "\"nfs4\"",
};
pub(super) const PLACE_MODE: Choice<ProtectMode> = Choice {
    name: "mode",
    words: &[
        ("enforce", ProtectMode::Enforce),
        ("monitor", ProtectMode::Monitor),
        ("off", ProtectMode::Off),
    ],
    default: Given::Required,
};
pub(super) const TREES: List = paths("trees", 64, "[\"/srv\"]");

pub(super) const BUDGET_MS: Integer = milliseconds("budget_ms", 1, 10_000, 50);
pub(super) const CONTENT_BUDGET_MS: Integer = milliseconds("content_budget_ms", 1, 10_000, 500);
pub(super) const FALLBACK: Choice<Fallback> = Choice {
    name: "fallback",
    words: &[("open", Fallback::Open), ("closed", Fallback::Closed)],
    default: Given::Default("open"),
};
pub(super) const ON_QUARANTINE: Choice<OnQuarantine> = Choice {
    name: "on_quarantine",
    words: &[("fallback", OnQuarantine::Fallback), ("without", OnQuarantine::Without)],
    default: Given::Default("fallback"),
};
pub(super) const POLICY_MODE: Choice<Mode> =
    Choice { name: "mode", words: MODE_WORDS, default: Given::Nothing };

/// One of this and [`INSTALLED`] is required.
pub(super) const MANIFEST_FILE: FilePath =
    FilePath { name: "manifest", relative: false, max: PATH_MAX, default: Given::Nothing };
pub(super) const INSTALLED: OptionalText = OptionalText(Text { name: "installed", ..NAME });
pub(super) const REQUIRED: Flag = Flag { name: "required", default: true };
pub(super) const CONTENT: List = List {
    name: "content",
    of: "\"none\", \"all\" or absolute paths",
    max: PATHS_MAX,
    example: "\"all\"",
};
pub(super) const CONTENT_DIR: FilePath =
    FilePath { name: "content_dir", relative: false, max: PATH_MAX, default: Given::Nothing };
/// Root is refused, and so is what lies behind the numbers of one machine: "nobody", and those that
/// containers are given. [`PEOPLE`] are refused too.
pub(super) const UID: Integer =
    Integer { name: "uid", unit: Unit::One, min: 1, max: 65_533, default: None };
/// The users that people log in as (`UID_MIN` to `UID_MAX` of login.defs(5)): a process may signal and slow
/// those of its own user, whatever namespaces they are in.
pub(super) const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=60_000;
pub(super) const MISSES_MAX: Integer = count("misses_max", 1, 1_000_000, 64);
pub(super) const MISS_WINDOW_MS: Integer = milliseconds("miss_window_ms", 100, 3_600_000, 10_000);
pub(super) const RESTARTS_MAX: Integer = count("restarts_max", 0, 1000, 5);
pub(super) const RESTART_WINDOW_MS: Integer =
    milliseconds("restart_window_ms", 1000, 86_400_000, 60_000);
pub(super) const BACKOFF_MS: Integer = milliseconds("backoff_ms", 1, 60_000, 10);
pub(super) const BACKOFF_MAX_MS: Integer = milliseconds("backoff_max_ms", 1, 3_600_000, 30_000);

pub(super) const EXTRA: List = paths("extra", PATHS_MAX, "[\"/usr/sbin/sshd\"]");
pub(super) const LIFTED: List = paths("lifted", PATHS_MAX, "[\"/usr/bin/dpkg\"]");

pub(super) const RECORD_ENABLED: Flag = Flag { name: "enabled", default: false };
pub(super) const RECORD_CONTENT: Choice<RecordContent> = Choice {
    name: "content",
    words: &[
        ("none", RecordContent::Nothing),
        ("sums", RecordContent::Sums),
        ("bytes", RecordContent::Bytes),
    ],
    default: Given::Default("none"),
};
pub(super) const BYTES_MAX: Integer = Integer {
    name: "bytes_max",
    unit: Unit::Bytes,
    min: 1 << 20,
    max: 1 << 40,
    default: Some(64 << 20),
};
pub(super) const RECORD_CREDENTIALS: Flag = Flag { name: "credentials", default: true };
pub(super) const REDACT: List = paths("redact", PATHS_MAX, "[\"/home\"]");

pub(super) static CONFIG_TOP: Table = Table {
    path: "",
    keys: &[&MODE, &HOST, &CACHE, &PROTECT, &RULES, &POLICY, &ENGINE, &GUARD, &RECORD],
};
pub(super) static CONFIG_HOST: Table = Table {
    path: "host",
    keys: &[&CONTROL_SOCKET, &METRICS, &METRICS_SOCKET, &STATE_DIR, &UPDATES_PATH, &IN_FLIGHT_MAX],
};
pub(super) static CONFIG_CACHE: Table = Table { path: "cache", keys: &[&ENABLED, &MAX_FILES] };
pub(super) static CONFIG_RULES: Table =
    Table { path: "rules", keys: &[&ENABLED, &RULES_DIR, &MODE] };
pub(super) static CONFIG_PROTECT: Table =
    Table { path: "protect", keys: &[&TREES, &TREE, &FILE_SYSTEM] };
pub(super) static CONFIG_TREE: Table =
    Table { path: "[protect.tree]", keys: &[&PLACE, &PLACE_MODE] };
pub(super) static CONFIG_FILE_SYSTEM: Table =
    Table { path: "[protect.file_system]", keys: &[&FS_TYPE, &PLACE_MODE] };
pub(super) static CONFIG_POLICY: Table = Table {
    path: "policy.\"EVENT\"",
    keys: &[&BUDGET_MS, &CONTENT_BUDGET_MS, &FALLBACK, &ON_QUARANTINE, &POLICY_MODE],
};
pub(super) static CONFIG_ENGINE: Table = Table {
    path: "[engine]",
    keys: &[
        &MANIFEST_FILE,
        &INSTALLED,
        &REQUIRED,
        &MODE,
        &CONTENT,
        &CONTENT_DIR,
        &UID,
        &MISSES_MAX,
        &MISS_WINDOW_MS,
        &RESTARTS_MAX,
        &RESTART_WINDOW_MS,
        &BACKOFF_MS,
        &BACKOFF_MAX_MS,
    ],
};
pub(super) static CONFIG_GUARD: Table = Table { path: "guard", keys: &[&EXTRA, &LIFTED] };
pub(super) static CONFIG_RECORD: Table = Table {
    path: "record",
    keys: &[&RECORD_ENABLED, &RECORD_CONTENT, &BYTES_MAX, &RECORD_CREDENTIALS, &REDACT],
};

/// The tables of a configuration.
pub(super) static CONFIG: &[&Table] = &[
    &CONFIG_TOP,
    &CONFIG_HOST,
    &CONFIG_CACHE,
    &CONFIG_PROTECT,
    &CONFIG_TREE,
    &CONFIG_FILE_SYSTEM,
    &CONFIG_RULES,
    &CONFIG_POLICY,
    &CONFIG_ENGINE,
    &CONFIG_GUARD,
    &CONFIG_RECORD,
];

// How releases are got and tried out.
pub(super) const REPOSITORIES_MAX: usize = 32;
pub(super) const REPOSITORY: Group = Group {
    name: "repository",
    kind: "a list of tables",
    allowed: "at most 32",
    default: "none",
    example: "[[repository]]",
};
pub(super) const DOWNLOAD: Group = group("download", "[download]");
pub(super) const PREFLIGHT: Group = group("preflight", "[preflight]");
pub(super) const REPOSITORY_NAME: Text = Text {
    name: "name",
    rule: "1 to 32 of a-z, 0-9 and '-', first a letter, last not '-'",
    example: "\"acme\"",
};
pub(super) const URL_MAX: usize = 2048;
pub(super) const URL: Text = Text {
    name: "url",
    rule: "https://, http:// or the absolute path of a folder; at most 2048 bytes, without a user, '?', '#', '..' or blanks",
    example: "\"https://updates.example.org/outrigger\"",
};
pub(super) const ROOT: FilePath =
    FilePath { name: "root", relative: false, max: PATH_MAX, default: Given::Required };
pub(super) const REPOSITORY_ENGINES: List = List {
    name: "engines",
    of: "names of engines, at least one",
    max: ENGINES_MAX,
    example: "[\"hashlist\"]",
};
pub(super) const PACKAGE_BYTES: Integer = Integer {
    name: "package_bytes",
    unit: Unit::Bytes,
    min: 1 << 10,
    max: 1 << 30,
    default: Some(256 << 20),
};
pub(super) const UNPACKED_BYTES: Integer = Integer {
    name: "unpacked_bytes",
    unit: Unit::Bytes,
    min: 1 << 10,
    max: 8 << 30,
    default: Some(1 << 30),
};
pub(super) const FILES_MAX: Integer = count("files_max", 1, 4096, 4096);
pub(super) const STALL_MS: Integer = milliseconds("stall_ms", 100, 600_000, 10_000);
pub(super) const DOWNLOAD_MS: Integer = milliseconds("total_ms", 1000, 3_600_000, 300_000);
pub(super) const KNOWN_GOOD: FilePath =
    FilePath { name: "known_good", relative: false, max: PATH_MAX, default: Given::Nothing };
pub(super) const SAMPLES_MIN: Integer = count("samples_min", 0, 1_000_000, 100);
pub(super) const SAMPLES_MAX: Integer = count("samples_max", 1, 10_000_000, 20_000);
pub(super) const PREFLIGHT_MS: Integer = milliseconds("total_ms", 1000, 600_000, 20_000);
pub(super) const P99_MS: Integer = milliseconds("p99_ms", 1, 10_000, 50);

// Which of them are taken, and when.
pub(super) const ROLLOUT: Group = group("rollout", "[rollout]");
pub(super) const RING: Integer = count("ring", 0, 9, 0);
pub(super) const SEED_MAX: usize = 256;
pub(super) const SEED: OptionalText = OptionalText(Text {
    name: "seed",
    rule: "1 to 256 bytes without control characters",
    example: "\"the third mail server\"",
});
pub(super) const RING_HOURS: Integer = count("ring_hours", 1, 720, 24);
pub(super) const FREEZE: List = List {
    name: "freeze",
    of: "times in UTC such as \"Fri 18:00 - Mon 06:00\", or days such as \"2026-12-20 - 2027-01-04\"",
    max: 64,
    example: "[\"Fri 18:00 - Mon 06:00\"]",
};
pub(super) const APPROVAL: Choice<Approval> = Choice {
    name: "approval",
    words: &[
        ("none", Approval::Nothing),
        ("code", Approval::Code),
        ("content", Approval::Content),
        ("all", Approval::All),
    ],
    default: Given::Default("none"),
};
pub(super) const PINS_MAX: usize = 2 * ENGINES_MAX;
pub(super) const PIN: Group = Group {
    name: "pin",
    kind: "a list of tables",
    allowed: "at most 64",
    default: "none",
    example: "[[pin]]",
};
/// One of this and [`BEHIND`] is required.
pub(super) const PIN_VERSION: OptionalText = OptionalText(RELEASE_VERSION);
pub(super) const BEHIND: Integer =
    Integer { name: "behind", unit: Unit::One, min: 1, max: 9, default: None };

// How they run beside what decides, decide under watch, and start.
pub(super) const SHADOW: Group = group("shadow", "[shadow]");
pub(super) const PROBATION: Group = group("probation", "[probation]");
pub(super) const BOOT: Group = group("boot", "[boot]");
pub(super) const REPAIR: Group = group("repair", "[repair]");
const WEEK_MS: u64 = 7 * 24 * 3_600_000;
pub(super) const SHADOW_MS: Integer = milliseconds("length_ms", 1000, WEEK_MS, 10_000);
pub(super) const EMERGENCY_MS: Integer = milliseconds("emergency_ms", 1000, WEEK_MS, 3000);
pub(super) const EVENTS_MIN: Integer = count("events_min", 0, 1_000_000, 0);
pub(super) const LONGEST_MS: Integer = milliseconds("longest_ms", 1000, WEEK_MS, 600_000);
pub(super) const NEW_DENIALS_MAX: Integer = count("new_denials_max", 0, 1000, 3);
pub(super) const TRIAL_MISSES_MAX: Integer = count("misses_max", 0, 1000, 3);
pub(super) const PROBATION_MS: Integer = milliseconds("length_ms", 1000, WEEK_MS, 20_000);
pub(super) const CRASHES_MAX: Integer = count("crashes_max", 0, 100, 0);
pub(super) const LATENCY_PERCENT: Integer = count("latency_percent", 100, 100_000, 300);
pub(super) const CPU_PERCENT: Integer = count("cpu_percent", 100, 100_000, 300);
pub(super) const MEMORY_PERCENT: Integer = count("memory_percent", 100, 100_000, 300);
pub(super) const UNCLEAN_MAX: Integer = count("unclean_max", 1, 100, 3);
pub(super) const HEALTHY_MS: Integer = milliseconds("healthy_ms", 1000, 3_600_000, 60_000);
pub(super) const REPAIR_KEY: FilePath =
    FilePath { name: "key", relative: false, max: PATH_MAX, default: Given::Nothing };

pub(super) static UPDATES_TOP: Table = Table {
    path: "",
    keys: &[
        &STATE_DIR,
        &CONTROL_SOCKET,
        &REPOSITORY,
        &ROLLOUT,
        &PIN,
        &DOWNLOAD,
        &PREFLIGHT,
        &SHADOW,
        &PROBATION,
        &BOOT,
        &REPAIR,
    ],
};
pub(super) static UPDATES_ROLLOUT: Table =
    Table { path: "rollout", keys: &[&RING, &SEED, &RING_HOURS, &FREEZE, &APPROVAL] };
pub(super) static UPDATES_PIN: Table =
    Table { path: "[pin]", keys: &[&OF_ENGINE, &PART, &PIN_VERSION, &BEHIND] };
pub(super) static UPDATES_SHADOW: Table = Table {
    path: "shadow",
    keys: &[
        &SHADOW_MS,
        &EMERGENCY_MS,
        &EVENTS_MIN,
        &LONGEST_MS,
        &NEW_DENIALS_MAX,
        &TRIAL_MISSES_MAX,
    ],
};
pub(super) static UPDATES_PROBATION: Table = Table {
    path: "probation",
    keys: &[
        &PROBATION_MS,
        &CRASHES_MAX,
        &TRIAL_MISSES_MAX,
        &NEW_DENIALS_MAX,
        &LATENCY_PERCENT,
        &CPU_PERCENT,
        &MEMORY_PERCENT,
    ],
};
pub(super) static UPDATES_BOOT: Table = Table { path: "boot", keys: &[&UNCLEAN_MAX, &HEALTHY_MS] };
pub(super) static UPDATES_REPAIR: Table = Table { path: "repair", keys: &[&REPAIR_KEY] };
pub(super) static UPDATES_REPOSITORY: Table =
    Table { path: "[repository]", keys: &[&REPOSITORY_NAME, &URL, &ROOT, &REPOSITORY_ENGINES] };
pub(super) static UPDATES_DOWNLOAD: Table = Table {
    path: "download",
    keys: &[&PACKAGE_BYTES, &UNPACKED_BYTES, &FILES_MAX, &STALL_MS, &DOWNLOAD_MS],
};
pub(super) static UPDATES_PREFLIGHT: Table = Table {
    path: "preflight",
    keys: &[&KNOWN_GOOD, &SAMPLES_MIN, &SAMPLES_MAX, &PREFLIGHT_MS, &P99_MS],
};

/// The tables of `updates.toml`.
pub(super) static UPDATES: &[&Table] = &[
    &UPDATES_TOP,
    &UPDATES_REPOSITORY,
    &UPDATES_ROLLOUT,
    &UPDATES_PIN,
    &UPDATES_DOWNLOAD,
    &UPDATES_PREFLIGHT,
    &UPDATES_SHADOW,
    &UPDATES_PROBATION,
    &UPDATES_BOOT,
    &UPDATES_REPAIR,
];

// An instruction to repair a machine.
pub(super) const SERIAL: Must = Must(Integer {
    name: "serial",
    unit: Unit::One,
    min: 1,
    max: i64::MAX.unsigned_abs(),
    default: None,
});
pub(super) const NOT_AFTER: OptionalText = OptionalText(Text {
    name: "not_after",
    rule: "a time in UTC and whole seconds",
    example: "\"2026-01-31T12:00:00Z\"",
});
pub(super) const MACHINES: List = List {
    name: "machines",
    of: "texts of 32 of 0-9 and a-f, no two alike",
    max: MACHINES_MAX,
    example: "[\"0123456789abcdef0123456789abcdef\"]",
};
pub(super) const ACTION: Group = Group {
    name: "action",
    kind: "a list of tables",
    allowed: "1 to 16",
    default: "required",
    example: "[[action]]",
};
pub(super) const DO: Choice<Verb> = Choice { name: "do", words: VERBS, default: Given::Required };
pub(super) const ACTION_ENGINE: OptionalText =
    OptionalText(Text { name: "engine", rule: NAME_RULE, example: "\"hashlist\"" });
pub(super) const ACTION_PART: Choice<Part> = Choice {
    name: "part",
    words: &[("code", Part::Code), ("content", Part::Content)],
    default: Given::Nothing,
};
pub(super) const ACTION_PACKAGE: OptionalText = OptionalText(Text {
    name: "package",
    rule: "64 of 0-9 and a-f",
    example: "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
});
pub(super) static REPAIR_TOP: Table =
    Table { path: "", keys: &[&SERIAL, &NOT_AFTER, &MACHINES, &ACTION] };
pub(super) static REPAIR_ACTION: Table =
    Table { path: "[action]", keys: &[&DO, &ACTION_ENGINE, &ACTION_PART, &ACTION_PACKAGE] };

/// The tables of an instruction.
pub(super) static INSTRUCTION: &[&Table] = &[&REPAIR_TOP, &REPAIR_ACTION];

const fn count(name: &'static str, min: u64, max: u64, default: u64) -> Integer {
    Integer { name, unit: Unit::One, min, max, default: Some(default) }
}

const fn milliseconds(name: &'static str, min: u64, max: u64, default: u64) -> Integer {
    Integer { name, unit: Unit::Milliseconds, min, max, default: Some(default) }
}

const fn paths(name: &'static str, max: usize, example: &'static str) -> List {
    List { name, of: "absolute paths", max, example }
}

const fn group(name: &'static str, example: &'static str) -> Group {
    Group { name, kind: "a table", allowed: "", default: "its keys' defaults", example }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::kind::Key;

    fn row(key: &dyn Key) -> String {
        let allowed = match key.allowed() {
            all if all.is_empty() => key.kind().to_owned(),
            some => format!("{}: {some}", key.kind()),
        };
        format!("| `{}` | {allowed} | {} |", key.name(), key.default())
    }

    /// Every key of `tables` must have its row under its table's heading in `page`.
    fn assert_described(page: &str, tables: &[&Table]) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(page);
        let text = std::fs::read_to_string(&page).expect("the reference page is there");
        for table in tables {
            let heading = match table.path {
                "" => "## Top of the file".to_owned(),
                path => format!("## `[{path}]`"),
            };
            let section = text
                .split("\n## ")
                .find(|part| part.lines().next() == Some(heading.trim_start_matches("## ")));
            let section = section.unwrap_or_else(|| panic!("{}: no {heading}", page.display()));
            for key in table.keys {
                let row = row(*key);
                assert!(section.contains(&row), "{}: {heading}: no {row}", page.display());
            }
            let rows = section.lines().filter(|line| line.starts_with("| `")).count();
            assert_eq!(rows, table.keys.len(), "{}: {heading}: rows", page.display());
        }
    }

    #[test]
    fn the_manifest_page_tells_every_key_with_its_range_and_default() {
        assert_described("manifest.md", MANIFEST);
    }

    #[test]
    fn the_pages_of_releases_tell_every_key_with_its_range_and_default() {
        assert_described("release.md", RELEASE);
        assert_described("releases.md", RELEASES);
    }

    #[test]
    fn the_configuration_page_tells_every_key_with_its_range_and_default() {
        assert_described("configuration.md", CONFIG);
    }

    #[test]
    fn the_page_of_updates_tells_every_key_with_its_range_and_default() {
        assert_described("updates.md", UPDATES);
    }

    #[test]
    fn the_page_of_instructions_tells_every_key_with_its_range_and_default() {
        assert_described("repair.md", INSTRUCTION);
    }

    #[test]
    fn every_default_is_within_its_range() {
        let keys = [
            [&MEMORY_BYTES, &THREADS, &BUDGET_MS, &MAX_FILES, &RESTARTS_MAX, &UID],
            [&PACKAGE_BYTES, &UNPACKED_BYTES, &FILES_MAX, &STALL_MS, &SAMPLES_MIN, &P99_MS],
            [&SHADOW_MS, &EMERGENCY_MS, &LONGEST_MS, &PROBATION_MS, &CPU_PERCENT, &HEALTHY_MS],
            [&RING, &RING_HOURS, &EVENTS_MIN, &CRASHES_MAX, &MEMORY_PERCENT, &UNCLEAN_MAX],
        ];
        for key in keys.concat() {
            if let Some(default) = key.default {
                assert!((key.min..=key.max).contains(&default), "{}", Key::name(key));
            }
        }
    }
}
