//! Packages: what is built is read, unpacked and named the same everywhere.

mod attacks;
mod tar;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use outrigger_api::ContentType;
use outrigger_api::release::Part;
use outrigger_api::settings::{ContentHead, Release};
use outrigger_update::package::{
    BuildError, Builder, Package, PackageLimits, TreeDigest, TreeError, UnpackError, build_folder,
    tree_digest,
};

pub(crate) const MANIFEST: &str = "\
name = \"scan\"\nvendor = \"Example\"\nversion = \"1.2.3\"\ncontract = \"1\"\nverdict = \"content\"\n\
[entry]\nprogram = \"bin/scan\"\n[events.\"file.open\"]\nneeds = \"ask\"\n";

pub(crate) fn quiet(_: u64, _: u64) {}

pub(crate) fn code_head() -> Release {
    Release {
        part: Part::Code,
        engine: "scan".parse().expect("a name"),
        version: "1.2.3".parse().expect("a version"),
        content: None,
        files: Vec::new(),
    }
}

pub(crate) fn content_head() -> Release {
    let content = ContentHead {
        kind: ContentType::Hashlist,
        schema: 1,
        interpreter: ">=1.0, <2".parse().expect("a requirement"),
    };
    Release { part: Part::Content, content: Some(content), ..code_head() }
}

/// Bytes in more than one piece, and less even than a bomb's.
fn data() -> Vec<u8> {
    (0..270_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn code() -> Vec<u8> {
    let mut builder = Builder::new(code_head());
    builder.add("manifest.toml", MANIFEST.into(), false).expect("a free path");
    builder.add("bin/scan", b"\x7fELF and so on".to_vec(), true).expect("a free path");
    builder.add("lib/deep/er/data", data(), false).expect("a free path");
    builder.build(&mut quiet).expect("a package")
}

fn read(packed: &[u8]) -> Package {
    Package::read(packed, &PackageLimits::default()).expect("a good package")
}

fn open(folder: &Path) -> File {
    File::open(folder).expect("the folder")
}

fn unpacked() -> (tempfile::TempDir, Package) {
    let folder = tempfile::tempdir().expect("a folder");
    let package = read(&code());
    package.unpack(open(folder.path()).as_fd(), &mut quiet).expect("room");
    (folder, package)
}

fn named(folder: &Path) -> Result<TreeDigest, TreeError> {
    tree_digest(open(folder).as_fd(), &PackageLimits::default())
}

#[test]
fn what_is_built_is_read_and_unpacked_with_the_modes_that_it_says() {
    let (folder, package) = unpacked();
    let mode = |path: &str| fs::metadata(folder.path().join(path)).expect(path).mode() & 0o7777;

    assert_eq!(package.release().files.len(), 3);
    assert_eq!(package.manifest().map(|manifest| manifest.name.as_str()), Some("scan"));
    assert_eq!(package.file("bin/scan"), Some(b"\x7fELF and so on".as_slice()));
    assert_eq!(fs::read(folder.path().join("lib/deep/er/data")).expect("it"), data());
    assert_eq!(
        ["bin", "bin/scan", "lib/deep/er", "lib/deep/er/data", "release.toml"].map(mode),
        [0o755, 0o755, 0o755, 0o644, 0o644]
    );
    assert_eq!(named(folder.path()).expect("a clean tree"), package.tree());
}

#[test]
fn a_folder_makes_the_same_bytes_whenever_and_in_whatever_order_it_was_written() {
    let make = |names: &[&str], umask: u32| {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("one")).expect("a folder");
            fs::write(&path, if *name == "manifest.toml" { MANIFEST } else { name }).expect("room");
            let mode = if *name == "bin/scan" { 0o700 | umask } else { 0o600 | umask };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        }
        build_folder(folder.path(), code_head(), &mut quiet).expect("a package")
    };

    let one = make(&["manifest.toml", "bin/scan", "zoo/a", "a"], 0);
    let other = make(&["a", "zoo/a", "bin/scan", "manifest.toml"], 0o044);

    assert_eq!(one, other);
}

#[test]
fn any_tar_reads_a_package() {
    let packed = code();

    let mut archive = ::tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
    let members: Vec<(String, u32, u64)> = archive
        .entries()
        .expect("an archive")
        .map(|entry| {
            let mut entry = entry.expect("a member");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            let header = entry.header();
            let path = entry.path().expect("a path").display().to_string();
            assert_eq!(header.mtime().expect("a time"), 0);
            assert_eq!(bytes.len() as u64, header.size().expect("a size"));
            (path, header.mode().expect("a mode"), bytes.len() as u64)
        })
        .collect();

    let names: Vec<&str> = members.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(names, ["release.toml", "bin/scan", "lib/deep/er/data", "manifest.toml"]);
    assert_eq!(members[1].1, 0o755);
    assert_eq!(members[2], ("lib/deep/er/data".to_owned(), 0o644, 1_080_000));
}

#[test]
fn paths_of_every_length_are_built_and_read() {
    let mut builder = Builder::new(content_head());
    let long = "n".repeat(80);
    let paths = [
        "m".repeat(80),
        format!("{}/{long}", "p".repeat(79)),
        format!("{long}/{}", "q".repeat(79)),
        format!("{}/{}/{}/{}", "a".repeat(20), "b".repeat(79), "c".repeat(19), "d".repeat(39)),
        "a/b/c/d/e/f/g/h".to_owned(),
    ];
    for path in &paths {
        builder.add(path, path.clone().into_bytes(), false).expect("a good path");
    }

    let package = read(&builder.build(&mut quiet).expect("a package"));

    for path in &paths {
        assert_eq!(package.file(path), Some(path.as_bytes()), "{path}");
    }
}

#[test]
fn what_no_package_may_hold_is_not_built() {
    let folder = tempfile::tempdir().expect("a folder");
    symlink("/etc/passwd", folder.path().join("rules")).expect("a link");
    let of_link = build_folder(folder.path(), content_head(), &mut quiet);
    let mut builder = Builder::new(content_head());
    let upwards = builder.add("../x", Vec::new(), false);
    let own = builder.add("release.toml", Vec::new(), false);
    builder.add("run.sh", b"#!/bin/sh".to_vec(), true).expect("a free path");
    let executable = builder.build(&mut quiet);

    assert!(matches!(of_link, Err(BuildError::Kind { what: "a symlink", .. })), "{of_link:?}");
    assert!(matches!(upwards, Err(BuildError::Path { .. })), "{upwards:?}");
    assert!(matches!(own, Err(BuildError::Taken(_))), "{own:?}");
    let Err(BuildError::Refused(refusal)) = executable else { panic!("{executable:?}") };
    assert_eq!(refusal.name(), "release-file");
    assert!(refusal.to_string().contains("file[0].executable: content is not run"), "{refusal}");
}

#[test]
fn a_package_is_not_unpacked_over_something() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("old"), "here").expect("room");

    let refused = read(&code()).unpack(open(folder.path()).as_fd(), &mut quiet);

    assert!(matches!(&refused, Err(UnpackError::NotEmpty(name)) if name == "old"), "{refused:?}");
    assert_eq!(fs::read_dir(folder.path()).expect("it").count(), 1);
}

/// Unpacks, lets `change` do something in the folder, and names what lies there then.
fn changed(change: impl FnOnce(&Path)) -> (TreeDigest, Result<TreeDigest, TreeError>) {
    let (folder, package) = unpacked();
    change(folder.path());
    (package.tree(), named(folder.path()))
}

fn assert_foreign(change: impl FnOnce(&Path), expected: &str) {
    let (_, named) = changed(change);
    let Err(TreeError::Foreign { what, .. }) = &named else { panic!("{named:?}") };
    assert_eq!(*what, expected);
}

#[test]
fn swapped_between_check_and_use_shows_in_the_tree() {
    let replace = |folder: &Path| {
        // The same length, mode and times: only the bytes are others.
        let path = folder.join("bin/scan");
        let mut file = fs::OpenOptions::new().write(true).open(path).expect("it");
        file.write_all(b"\x7fELF").expect("room");
        file.write_all(b" AND so on").expect("room");
    };

    let (expected, named) = changed(replace);

    assert_ne!(named.expect("a clean tree"), expected);
}

#[test]
fn a_file_more_a_file_less_and_another_mode_show_in_the_tree() {
    let (expected, more) = changed(|folder| fs::write(folder.join("more"), "x").expect("room"));
    let (_, less) = changed(|folder| fs::remove_file(folder.join("bin/scan")).expect("it"));
    let (_, mode) = changed(|folder| {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join("manifest.toml"), mode).expect("ours");
    });
    let (_, empty) = changed(|folder| fs::create_dir(folder.join("empty")).expect("room"));

    for named in [more, less, mode, empty] {
        assert_ne!(named.expect("a clean tree"), expected);
    }
}

#[test]
fn a_tree_with_anything_but_plain_files_has_no_digest() {
    assert_foreign(
        |folder| symlink("manifest.toml", folder.join("a")).expect("a link"),
        "is a symlink",
    );
    assert_foreign(
        |folder| {
            fs::remove_dir_all(folder.join("bin")).expect("it");
            symlink("/usr/bin", folder.join("bin")).expect("a link");
        },
        "is a symlink",
    );
    assert_foreign(
        |folder| fs::hard_link(folder.join("bin/scan"), folder.join("scan")).expect("a link"),
        "has another name elsewhere",
    );
    assert_foreign(
        |folder| {
            let mode = fs::Permissions::from_mode(0o4755);
            fs::set_permissions(folder.join("bin/scan"), mode).expect("ours");
        },
        "has another mode than 0644 and 0755",
    );
    let pipe = |folder: &Path| {
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe"), 0o644.into()).expect("a pipe");
    };
    assert_foreign(pipe, "is neither a plain file nor a folder");
    assert_foreign(
        |folder| fs::write(folder.join(".hidden"), "").expect("room"),
        "is no path of a package",
    );
}

#[test]
fn a_tree_larger_than_any_package_has_no_digest() {
    let (folder, _) = unpacked();
    let folder = open(folder.path());
    let limited = |limits| tree_digest(folder.as_fd(), &limits);

    let bytes = limited(PackageLimits { unpacked: 1000, ..PackageLimits::default() });
    let files = limited(PackageLimits { files: 2, ..PackageLimits::default() });

    assert!(matches!(bytes, Err(TreeError::TooMuch { max: 1000, of: "bytes" })), "{bytes:?}");
    assert!(matches!(files, Err(TreeError::TooMuch { max: 2, of: "files" })), "{files:?}");
}
