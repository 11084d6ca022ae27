//! Files as they lie on a disk: what is refused before it is parsed, and manifests that do not go
//! together.

use std::fs;
use std::path::{Path, PathBuf};

use outrigger_api::settings::{FILE_MAX, HostConfig, Manifest};

use crate::{FULL_MANIFEST, config_errors, said, with};

/// A folder of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("outrigger-api-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, bytes).expect("a file can be written");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left in the temporary folder, which is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_manifest_that_is_read_knows_its_folder() {
    let folder = Folder::new("folder");
    let file = folder.file("manifest.toml", FULL_MANIFEST.as_bytes());

    let manifest = Manifest::read(&file).expect("nothing is wrong");

    assert_eq!(manifest.folder, folder.0);
    assert_eq!(manifest.program, folder.0.join("bin/scan"));
}

#[test]
fn the_manifests_of_the_shipped_engines_are_valid() {
    let engines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engines");
    let name = |folder: &str| {
        let manifest = Manifest::read(&engines.join(folder).join("manifest.toml"));
        manifest.expect("nothing is wrong").name.as_str().to_owned()
    };

    assert_eq!(name("hashlist"), "hashlist");
    assert_eq!(name("yara"), "yara");
}

#[test]
fn the_examples_of_the_reference_pages_are_valid() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let example = |page: &str| {
        let text = fs::read_to_string(pages.join(page)).expect("the page is there");
        let code = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        code.expect("the page has an example").to_owned()
    };

    assert_eq!(said(Manifest::parse(&example("manifest.md"), Path::new("m"))), NOTHING);
    assert_eq!(said(HostConfig::parse(&example("configuration.md"), Path::new("c"))), NOTHING);
}

const NOTHING: &str = "nothing is wrong";

#[test]
fn a_file_that_is_not_there_is_named() {
    assert_eq!(
        said(HostConfig::read(Path::new("/nonexistent/c.toml"))),
        "/nonexistent/c.toml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn a_path_cannot_move_the_cursor() {
    assert_eq!(
        said(Manifest::read(Path::new("/nonexistent/\u{1b}[2J"))),
        "/nonexistent/\u{fffd}[2J: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn what_is_no_file_is_not_opened() {
    // To open a pipe or a device could wait for ever.
    assert_eq!(
        said(Manifest::read(Path::new("/dev/zero"))),
        "/dev/zero: cannot be read: not a regular file"
    );
}

#[test]
fn a_file_over_the_limit_is_not_parsed() {
    let folder = Folder::new("long");
    let length = usize::try_from(FILE_MAX).expect("fits") + 1;
    let file = folder.file("c.toml", &vec![b'\n'; length]);

    let message = "is longer than 1048576 bytes, the limit of a settings file";
    assert_eq!(said(HostConfig::read(&file)), format!("{}: {message}", file.display()));
    assert_eq!(config_errors(&"\n".repeat(length)), format!("c.toml: {message}"));
    assert_eq!(config_errors(&"\n".repeat(length - 1)), NOTHING);
}

#[test]
fn bytes_that_are_not_utf8_are_shown_where_they_are() {
    let folder = Folder::new("utf8");
    let file = folder.file("c.toml", b"# caf\xc3\xa9\nmode = \"\xff\"\n");

    assert_eq!(
        said(HostConfig::read(&file)),
        format!(
            "{}:2:9: is not UTF-8; save the file as UTF-8\n  2 | mode = \"\u{fffd}\"\n    |         ^",
            file.display()
        )
    );
}

#[test]
fn two_engines_of_one_name_are_refused() {
    let folder = Folder::new("twins");
    let first = folder.file("a.toml", FULL_MANIFEST.as_bytes());
    let second = folder.file("b.toml", FULL_MANIFEST.as_bytes());
    let third = folder.file("c.toml", with(FULL_MANIFEST, "\"scan-1\"", "\"C\"").as_bytes());
    let text: String = [&first, &second, &third]
        .iter()
        .map(|file| format!("[[engine]]\nmanifest = \"{}\"\n", file.display()))
        .collect();
    let config = HostConfig::parse(&text, Path::new("c.toml")).expect("nothing is wrong");

    let said = said(config.read_manifests());

    let (first, second, third) = (first.display(), second.display(), third.display());
    assert_eq!(
        said,
        format!(
            "{second}:2:8: name: \"scan-1\" is there twice: {first} has it already; an engine's \
             name is unique on a machine\n  2 | name = \"scan-1\"\n    |        ^\n\
             {third}:2:8: name: \"C\" is not allowed: 1 to 32 of a-z, 0-9 and '-', first a letter, \
             last not '-'; write `name = \"hashlist\"`\n  2 | name = \"C\"\n    |        ^"
        )
    );
}

#[test]
fn manifests_come_in_the_order_of_their_engines() {
    let folder = Folder::new("order");
    let first = folder.file("z.toml", FULL_MANIFEST.as_bytes());
    let second = folder.file("a.toml", with(FULL_MANIFEST, "\"scan-1\"", "\"b\"").as_bytes());
    let text = format!(
        "engine = [{{ manifest = \"{}\" }}, {{ manifest = \"{}\" }}]",
        first.display(),
        second.display()
    );
    let config = HostConfig::parse(&text, Path::new("c.toml")).expect("nothing is wrong");

    let manifests = config.read_manifests().expect("nothing is wrong");

    let names: Vec<&str> =
        manifests.iter().flatten().map(|manifest| manifest.name.as_str()).collect();
    assert_eq!(names, ["scan-1", "b"]);
}
