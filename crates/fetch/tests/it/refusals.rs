//! One forbidden act each, tried by a process that is confined as the child is.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What came of the act, as `probe` says it. Cargo builds examples before it runs tests, two folders up.
fn attempt(words: &[&str]) -> String {
    let test = std::env::current_exe().expect("the test's own path");
    let probe = test.ancestors().nth(2).expect("a target folder").join("examples/fetch-probe");
    let output = Command::new(probe).args(words).output().expect("it starts");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// The act, as a child that speaks to port 9 (where nobody listens).
fn on_the_network(act: &[&str]) -> String {
    attempt(&[&["network", "9"], act].concat())
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: giving up root needs root");
    }
    root
}

/// Landlock, as a part of what is refused, where this kernel has it.
fn has_landlock() -> bool {
    let has = !on_the_network(&["weak"]).contains("no Landlock");
    if !has {
        eprintln!("SKIPPED: this kernel has no Landlock");
    }
    has
}

const EPERM: &str = "errno 1";
const EACCES: &str = "errno 13";

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A folder that anybody may write to, with a file that anybody may change.
fn open_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("rights");
    let file = folder.path().join("file");
    fs::write(&file, "whole").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("rights");
    (folder, file)
}

#[test]
fn no_file_is_written_not_even_one_that_anybody_may() {
    let (folder, file) = open_folder();
    let new = folder.path().join("new");

    let outcomes = [
        on_the_network(&["write", text(&file)]),
        on_the_network(&["write", text(&new)]),
        on_the_network(&["make", text(&new)]),
        on_the_network(&["remove", text(&file)]),
        attempt(&["folder", text(folder.path()), "write", text(&file)]),
    ];

    assert_eq!(outcomes, [EPERM; 5]);
    assert_eq!(fs::read(&file).unwrap(), b"whole");
    assert!(!new.exists());
}

#[test]
fn secrets_are_not_read() {
    let shadow = on_the_network(&["read", "/etc/shadow"]);

    assert_eq!(shadow, EACCES);
}

#[test]
fn a_file_that_anybody_may_read_is_not_read() {
    if !has_landlock() {
        return;
    }
    let (_folder, file) = open_folder();

    assert_eq!(on_the_network(&["read", text(&file)]), EACCES);
    assert_eq!(on_the_network(&["read", "/etc/passwd"]), EACCES);
    assert_eq!(on_the_network(&["list", "/etc"]), EACCES);
}

#[test]
fn what_resolves_names_is_read() {
    assert_eq!(on_the_network(&["read", "/etc/hosts"]), "ok");
    assert_eq!(on_the_network(&["resolve", "localhost"]), "ok");
}

#[test]
fn a_child_for_a_folder_reads_that_folder_and_nothing_else() {
    if !has_landlock() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let within = |path: &str| attempt(&["folder", text(folder.path()), "read", path]);

    assert_eq!(within(text(&file)), "ok");
    assert_eq!(within("/etc/hosts"), EACCES);
    assert_eq!(within("/etc/shadow"), EACCES);
}

#[test]
fn no_program_is_executed_and_no_process_or_thread_made() {
    assert_eq!(on_the_network(&["execute", "/bin/true"]), EPERM);
    assert_eq!(on_the_network(&["thread"]), EPERM);
}

#[test]
fn a_unix_socket_is_not_connected_to() {
    let (folder, _) = open_folder();
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();

    assert_eq!(on_the_network(&["unix", text(&socket)]), EPERM);
}

#[test]
fn it_listens_nowhere() {
    assert_eq!(on_the_network(&["listen"]), EPERM);
    assert_eq!(on_the_network(&["receive"]), EPERM);
}

#[test]
fn raw_packets_and_the_kernels_own_sockets_are_refused() {
    assert_eq!(on_the_network(&["raw"]), EPERM);
    assert_eq!(on_the_network(&["netlink"]), EPERM);
}

#[test]
fn it_connects_to_its_repositorys_port_and_to_no_other() {
    if !has_landlock() {
        return;
    }
    let [own, other] = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let [own, other] = [&own, &other].map(|l| l.local_addr().unwrap().port().to_string());

    assert_eq!(attempt(&["network", &own, "tcp", &own]), "ok");
    assert_eq!(attempt(&["network", &own, "tcp", &other]), EACCES);
}

#[test]
fn it_is_nobody_and_stays_it() {
    if !is_root() {
        return;
    }

    assert_eq!(on_the_network(&["user"]), "errno 65534");
    assert_eq!(on_the_network(&["become-root"]), EPERM);
    assert_eq!(attempt(&["folder", "/", "user"]), "errno 65534");
}

#[test]
fn its_updater_is_not_signalled() {
    assert_eq!(on_the_network(&["signal", &std::process::id().to_string()]), EPERM);
}
