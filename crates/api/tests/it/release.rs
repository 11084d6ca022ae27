//! `release.toml` and `releases.toml`: each key, and the words for each error.

use std::fs;
use std::path::Path;

use outrigger_api::ContentType;
use outrigger_api::release::Part;
use outrigger_api::settings::{
    ERRORS_MAX, PathFault, Release, Releases, check_path, package_target, release_version,
    releases_target,
};

use crate::said;

const CONTENT: &str = r#"
format = 1
part = "content"
engine = "scan"
version = "1.2.0-rc.1"

[content]
type = "hashlist"
schema = 3
interpreter = ">=1.0, <2"

[[file]]
path = "lists/a.deny"
size = 5
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

[[file]]
path = "readme"
size = 0
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"#;

const OFFERS: &str = r#"
format = 1
engine = "scan"

[[release]]
part = "content"
version = "10.0.0"
target = "scan/content/10.0.0.tar.gz"
published = "2026-02-28T23:59:59Z"

[[release]]
part = "content"
version = "9.0.0"
target = "scan/content/9.0.0.tar.gz"
published = "2026-01-01T00:00:00Z"

[[release]]
part = "content"
version = "11.0.0-rc.1"
target = "scan/content/11.0.0-rc.1.tar.gz"
published = "2026-03-01T00:00:00Z"

[[release]]
part = "code"
version = "1.0.0-rc.1"
target = "scan/code/1.0.0-rc.1.tar.gz"
published = "2026-01-01T00:00:00Z"
"#;

fn parse(text: &str) -> Release {
    Release::parse(text, Path::new("release.toml")).expect("a good file")
}

/// The errors of `CONTENT` with `from` replaced by `to`.
fn with(from: &str, to: &str) -> String {
    assert!(CONTENT.contains(from), "{from}");
    said(Release::parse(&CONTENT.replacen(from, to, 1), Path::new("release.toml")))
}

/// The errors of `OFFERS` with `from` replaced by `to`.
fn offers_with(from: &str, to: &str) -> String {
    assert!(OFFERS.contains(from), "{from}");
    said(Releases::parse(&OFFERS.replacen(from, to, 1), Path::new("releases.toml")))
}

fn assert_has(told: &str, expected: &str) {
    assert!(told.contains(expected), "{told}");
}

#[test]
fn every_key_is_taken_and_written_again() {
    let release = parse(CONTENT);

    let content = release.content.as_ref().expect("content");
    assert_eq!((release.part, release.engine.as_str()), (Part::Content, "scan"));
    assert_eq!((content.kind, content.schema), (ContentType::Hashlist, 3));
    assert_eq!(release.files[0].digest.sha256[..3], [0x01, 0x23, 0x45]);
    assert_eq!(release.files[1].path, "readme");
    assert_eq!(parse(&release.to_toml()), release);
}

#[test]
fn code_has_executables_and_no_head_of_content() {
    let code = "format = 1\npart = \"code\"\nengine = \"scan\"\nversion = \"1.0.0\"\n[[file]]\n\
                path = \"bin/scan\"\nsize = 0\nexecutable = true\n\
                sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n";

    let release = parse(code);

    assert!(release.files[0].executable);
    assert_eq!(parse(&release.to_toml()), release);
    let told = with("\"content\"", "\"code\"");
    assert_has(&told, "content: only a package of content has it, and `part` is \"code\"");
}

#[test]
fn each_wrong_key_is_told_with_its_place_and_what_belongs_there() {
    assert_has(
        &with("format = 1", "format = 2"),
        "release.toml:2:10: format: 2 is out of range: 1 to 1",
    );
    assert_has(&with("format = 1\n", ""), "format: missing; write `format = 1`");
    assert_has(&with("\"content\"", "\"contents\""), "did you mean \"content\"?");
    assert_has(&with("\"scan\"", "\"Scan\""), "engine: \"Scan\" is not allowed: 1 to 32 of a-z");
    assert_has(&with("1.2.0-rc.1", "1.2"), "version: \"1.2\" is not allowed: a semantic version");
    assert_has(&with("1.2.0-rc.1", "1.2.0+7"), "version: \"1.2.0+7\" is not allowed");
    assert_has(&with("\"hashlist\"", "\"hash-list\""), "did you mean \"hashlist\"?");
    assert_has(&with("schema = 3", "schema = 0"), "content.schema: 0 is out of range: 1 to 65535");
    assert_has(&with("schema = 3\n", ""), "content.schema: missing; write `schema = 1`");
    assert_has(&with(">=1.0, <2", "one"), "content.interpreter: \"one\" is not allowed");
    assert_has(&with("size = 5", "size = -1"), "file[0].size: -1 is out of range");
    assert_has(&with("abcdef\"", "ABCDEF\""), "file[0].sha256: ");
    assert_has(&with("size = 5", "sise = 5"), "file[0].sise: unknown key; did you mean `size`?");
    assert_has(
        &with("size = 5", "size = 5\nexecutable = true"),
        "file[0].executable: content is not run",
    );
}

#[test]
fn paths_that_no_package_may_have_are_refused() {
    let told = |path: &str| with("lists/a.deny", path);

    for path in ["/etc/passwd", "../a", "a/../b", "a//b", "./a", ".a", "a b", "release.toml", ""] {
        assert_has(&told(path), "file[0].path: ");
    }
    assert_has(
        &told("readme"),
        "file[1].path: \"readme\" is there twice: file[0].path has it already",
    );
    assert_has(&told("readme/a"), "file[1].path: is a folder of another file");
    let swapped = CONTENT.replacen("\"readme\"", "\"lists/a.deny/b\"", 1);
    let told = said(Release::parse(&swapped, Path::new("release.toml")));
    assert_has(&told, "\"lists/a.deny\" is there twice: file[0].path has it already");
    assert_eq!(check_path("/a"), Err(PathFault::Absolute));
    assert_eq!(check_path("a/.."), Err(PathFault::Upwards));
    assert_eq!(check_path(&"a/".repeat(8)), Err(PathFault::Unfit));
    assert_eq!(check_path("a/b/c/d/e/f/g/h"), Ok(()));
    assert_eq!(check_path("a/b/c/d/e/f/g/h/i"), Err(PathFault::Unfit));
    assert_eq!(check_path(&"n".repeat(81)), Err(PathFault::Unfit));
}

#[test]
fn a_package_without_files_or_with_too_many_is_refused() {
    let head = &CONTENT[..CONTENT.find("[[file]]").expect("it")];
    let none = said(Release::parse(head, Path::new("release.toml")));
    let empty = format!("file = []\n{head}");
    let empty = said(Release::parse(&empty, Path::new("release.toml")));
    let many = format!("{head}{}", "[[file]]\n".repeat(4097));
    let many = said(Release::parse(&many, Path::new("release.toml")));

    assert_has(&none, "file: missing; write `[[file]]`");
    assert_has(&empty, "file: is empty");
    assert_has(&many, "file: 4097 are too many: the limit is 4096");
}

#[test]
fn a_template_is_one_without_files() {
    let folder = std::env::temp_dir().join(format!("outrigger-template-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("room");
    let file = folder.join("release.toml");
    let head = &CONTENT[..CONTENT.find("[[file]]").expect("it")];
    fs::write(&file, head).expect("room");
    let good = Release::read_template(&file).expect("a template");
    fs::write(&file, CONTENT).expect("room");
    let told = said(Release::read_template(&file));
    fs::remove_dir_all(&folder).expect("ours");

    assert_eq!((good.version.to_string().as_str(), good.files.len()), ("1.2.0-rc.1", 0));
    assert_has(&told, "file: unknown key");
}

#[test]
fn the_latest_release_is_the_highest_version_that_is_final() {
    let releases = Releases::parse(OFFERS, Path::new("releases.toml")).expect("a good file");

    let latest = |part| releases.latest(part).map(|offered| offered.version.to_string());
    assert_eq!(latest(Part::Content).as_deref(), Some("10.0.0"));
    assert_eq!(latest(Part::Code).as_deref(), Some("1.0.0-rc.1"));
    assert!(releases.find(Part::Content, &release_version("9.0.0").expect("one")).is_some());
    assert!(releases.find(Part::Code, &release_version("9.0.0").expect("one")).is_none());
    let again = Releases::parse(&releases.to_toml(), Path::new("releases.toml"));
    assert_eq!(again.expect("a good file"), releases);
}

#[test]
fn each_wrong_offer_is_told() {
    let other = offers_with("scan/content/9.0.0", "other/content/9.0.0");
    assert_has(
        &other,
        "release[1].target: \"other/content/9.0.0.tar.gz\" is not the package of this release",
    );
    let twice = offers_with("9.0.0", "10.0.0");
    assert_has(&twice, "release[1].version: \"10.0.0\" is there twice: release[0].version");
    for time in [
        "2026-02-30T00:00:00Z",
        "2026-01-01T25:00:00Z",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00+01:00",
        "now",
    ] {
        assert_has(&offers_with("2026-01-01T00:00:00Z", time), "release[1].published: ");
    }
    assert_has(&offers_with("engine = \"scan\"\n", ""), "engine: missing");
    let many = format!("format = 1\nengine = \"scan\"\n{}", "[[release]]\n".repeat(1025));
    let many = said(Releases::parse(&many, Path::new("releases.toml")));
    assert_has(&many, "release: 1025 are too many: the limit is 1024");
}

#[test]
fn a_file_full_of_errors_is_told_shortly() {
    let file = "[[file]]\npath = \"..\"\nsize = -1\nsha256 = \"\"\n".repeat(2000);

    let errors = Release::parse(&file, Path::new("release.toml")).expect_err("errors");

    assert_eq!(errors.errors().len(), ERRORS_MAX);
    assert!(errors.more() > 5000, "{}", errors.more());
}

#[test]
fn the_targets_of_a_release_follow_from_its_name() {
    let engine = "scan".parse().expect("a name");
    let version = release_version("1.0.0").expect("a version");

    assert_eq!(package_target(&engine, Part::Code, &version), "scan/code/1.0.0.tar.gz");
    assert_eq!(releases_target(&engine), "scan/releases.toml");
}
