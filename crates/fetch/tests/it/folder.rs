//! A repository that is a folder.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use crate::meeting::{fetch, text};

fn repository() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("a")).expect("a folder in it");
    fs::write(folder.path().join("a/b"), "from the folder").expect("a file");
    folder
}

fn base(folder: &TempDir) -> &str {
    folder.path().to_str().expect("a plain path")
}

#[test]
fn a_file_comes_from_a_folder_that_only_its_owner_may_enter() {
    let folder = repository();

    assert_eq!(text(fetch(base(&folder), "a/b")), "from the folder");
}

#[test]
fn what_is_not_there_is_missing() {
    let folder = repository();

    assert_eq!(fetch(base(&folder), "a/c").unwrap(), None);
    assert_eq!(fetch(base(&folder), "c/b").unwrap(), None);
    assert_eq!(fetch(base(&folder), "a/b/c").unwrap(), None);
}

#[test]
fn a_file_over_the_limit_is_refused() {
    let folder = repository();
    fs::write(folder.path().join("long"), [b'x'; 101]).unwrap();

    assert_eq!(fetch(base(&folder), "long").unwrap_err().name(), "too-long");
}

#[test]
fn a_link_is_not_followed() {
    let folder = repository();
    symlink("/etc/passwd", folder.path().join("file")).unwrap();
    symlink("/etc", folder.path().join("folder")).unwrap();

    let file = fetch(base(&folder), "file").unwrap_err();

    assert!(file.to_string().contains("symbolic link"), "{file}");
    assert_eq!(fetch(base(&folder), "folder/passwd").unwrap(), None);
}

#[test]
fn a_pipe_is_no_file_and_holds_nobody() {
    let folder = repository();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o666.into(), 0)
        .unwrap();

    let refusal = fetch(base(&folder), "pipe").unwrap_err();

    assert!(refusal.to_string().contains("no regular file"), "{refusal}");
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let refusal = fetch("/nowhere/at/all", "a").unwrap_err();

    assert!(refusal.to_string().contains("/nowhere/at/all/ cannot be opened"), "{refusal}");
}
