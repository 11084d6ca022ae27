//! The vendor's page, `docs/publishing.md`: its commands are run as they stand there, and machines take
//! what comes of it.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use jiff::Timestamp;
use outrigger_api::release::Part;
use outrigger_api::settings::{Releases, package_target};
use outrigger_testkit::binaries;
use outrigger_update::package::{Package, PackageLimits};
use outrigger_update::repository::{ChildTransport, Limits as RepositoryLimits, Repository};
use serde_json::Value;

/// The commands of the page, in their order, a block each.
fn blocks() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/publishing.md");
    let page = fs::read_to_string(page).expect("the page");
    let parts = page.split("```sh\n").skip(1);
    parts.map(|part| part.split("```").next().expect("its end").to_owned()).collect()
}

/// Runs `script` in `folder` by a shell that finds the built `outrigger` and ends at the first failure.
fn shell(script: &str, folder: &Path) -> Output {
    let tool = binaries::path(binaries::TOOL).expect("the built program");
    let beside = tool.parent().expect("its folder").to_owned();
    let known = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(beside).chain(env::split_paths(&known)));
    Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .env("PATH", path.expect("folders without colons"))
        .output()
        .expect("a shell")
}

fn run(script: &str, folder: &Path) -> String {
    let output = shell(script, folder);
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}\n{said}\n{errors}");
    said.into_owned()
}

/// A folder in which the whole page was run.
fn published() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    // A repository is served, so others may read it; the child that brings it is one of them.
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).expect("ours");
    for block in blocks() {
        run(&block, folder.path());
    }
    folder
}

#[test]
fn from_no_key_to_a_published_release_with_the_commands_of_the_page() {
    assert!(blocks().len() >= 10, "the page has its commands in blocks of sh");
    let folder = published();
    let repository = folder.path().join("repository");

    // As a machine does: through the confined child, from the root that it was given on the first day.
    let root = fs::read(repository.join("metadata/1.root.json")).expect("the first root");
    let places = ["metadata", "targets"].map(|name| repository.join(name).display().to_string());
    let fetch = binaries::path("outrigger-fetch").expect("the built program");
    let transport = ChildTransport::new(&fetch, &places[0], &places[1]).expect("two folders");
    let trusted = tempfile::tempdir().expect("a folder");
    let machine =
        Repository::open(trusted.path(), &root, Box::new(transport), RepositoryLimits::default());
    let mut machine = machine.expect("a root");
    let versions = machine.refresh(Timestamp::now()).expect("good metadata");
    let mut target =
        |name: &str| machine.target(name, 1 << 20, |_| ()).expect("a target of its publisher");
    let list = String::from_utf8(target("acme-av/releases.toml")).expect("text");
    let list = Releases::parse(&list, Path::new("releases.toml")).expect("a list");
    let latest = |part| list.latest(part).expect("one is offered").version.clone();
    let (code, content) = (latest(Part::Code), latest(Part::Content));
    let mut package = |part, version| {
        let packed = target(&package_target(&list.engine, part, version));
        let package = Package::read(&packed, &PackageLimits::default()).expect("a package");
        package.expect(&list.engine, part, version).expect("the one asked for");
        package
    };

    assert_eq!((code.to_string(), content.to_string()), ("1.0.0".into(), "2026.11.23".into()));
    assert_eq!(list.releases.len(), 3, "one was withdrawn: {list:?}");
    assert!(package(Part::Code, &code).manifest().is_some());
    let lines = package(Part::Content, &content).file("acme.deny").map(<[u8]>::to_vec);
    let lines = String::from_utf8(lines.expect("the list")).expect("text");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert_eq!((versions.root, versions.targets), (3, 5), "the root was changed twice");
}

#[test]
fn what_the_page_leaves_is_shown_to_people_and_scripts() {
    let folder = published();

    let shown = run("outrigger package inspect repository", folder.path());
    let json = run("outrigger --json package inspect repository", folder.path());
    let json: Value = serde_json::from_str(&json).expect("one line of JSON");

    assert!(shown.contains("acme-av/content/2026.11.23"), "{shown}");
    assert!(shown.contains("targets    version 5    until "), "{shown}");
    assert!(shown.contains("2 of 3 must sign"), "{shown}");
    assert_eq!(json["problems"], Value::Array(Vec::new()));
    assert_eq!(json["pending"], Value::Array(Vec::new()));
    assert_eq!(json["roles"][0]["version"], 3);
    let offered: Vec<&str> = json["releases"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|release| release["version"].as_str())
        .collect();
    assert_eq!(offered, ["1.0.0", "2026.11.21", "2026.11.23"]);
}

#[test]
fn what_cannot_be_signed_is_refused_and_changes_nothing_that_is_served() {
    let folder = published();
    let served = || {
        run(
            "find repository/metadata repository/targets -type f | sort | xargs sha256sum",
            folder.path(),
        )
    };
    let before = served();
    let refused = |script: &str, status: i32, expected: &str| {
        let output = shell(script, folder.path());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{script}: {errors}");
        assert!(errors.contains(expected), "{script}: {errors}");
    };

    refused(
        "outrigger package sign repository acme-av-code-1.0.0.tar.gz --key keys/anna.key",
        1,
        "acme-av/code/1.0.0.tar.gz is there already, with the same bytes",
    );
    refused(
        "outrigger package sign repository --key keys/release.key",
        1,
        "does not sign for targets",
    );
    refused(
        "outrigger package publish repository --key keys/online.key",
        1,
        "does not sign for snapshot or timestamp",
    );
    refused(
        "outrigger package publish nowhere --key keys/online-2027.key",
        1,
        "nowhere is no repository",
    );
    refused(
        "outrigger package new-key keys/root.key",
        1,
        "is there already; a key is never written over",
    );
    refused(
        "outrigger package build signatures --version 1.0",
        2,
        "a semantic version without build metadata",
    );
    refused(
        "chmod 644 keys/anna.key; outrigger package sign repository --key keys/anna.key",
        1,
        "chmod 600",
    );
    refused(
        "head -c 200 acme-av-code-1.0.0.tar.gz > cut.tar.gz; outrigger package sign repository cut.tar.gz",
        1,
        "the package is refused (truncated)",
    );
    refused(
        "ln -s /etc/passwd signatures/other.deny; outrigger package build signatures",
        1,
        "signatures/other.deny is a symlink",
    );

    assert_eq!(served(), before);
}

#[test]
fn the_same_folder_makes_the_same_package_elsewhere() {
    let folder = published();

    run("cp -r signatures copy && touch -d 2001-01-01 copy/* && umask 077", folder.path());
    run("outrigger package build copy --version 2026.11.23 --output again.tar.gz", folder.path());

    run("cmp again.tar.gz acme-av-content-2026.11.23.tar.gz", folder.path());
}
