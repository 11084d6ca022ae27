//! Start, end and what a process finds itself in.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use outrigger_sandbox::{Enforced, Exit, StartError, Step, start};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::harness::{attempt, end, probe, probe_path, wait_readable};

#[test]
fn a_program_runs_with_its_arguments_and_ends() {
    let Some(probe) = probe(&["hello"]) else { return };

    let (said, confined) = probe.run();

    assert_eq!(said, "hello\n");
    assert_eq!(end(&confined), Exit::Code(0));
}

#[test]
fn an_ordinary_start_and_end_reports_no_call() {
    let Some(outcome) = attempt(&["hello"]) else { return };

    assert_eq!(outcome.calls, []);
}

#[test]
fn it_has_the_granted_descriptors_and_an_empty_environment() {
    let Some(outcome) = attempt(&["facts"]) else { return };

    let facts: Vec<_> = outcome.said.lines().collect();
    assert_eq!(facts, ["descriptors [0, 1, 2, 3]", "environment 0", "pid 1", "name probe"]);
}

#[test]
fn it_has_one_identity_and_no_right() {
    let Some(probe) = probe(&["stay"]) else { return };

    let (output, confined) = probe.start();
    wait_readable(&output);
    let status = fs::read_to_string(format!("/proc/{}/status", confined.pid)).unwrap();

    let value = |key: &str| {
        status.lines().find_map(|l| l.strip_prefix(key)).map(|l| l.trim().to_owned()).unwrap()
    };
    assert_eq!(value("Uid:"), "61321\t61321\t61321\t61321");
    assert_eq!(value("Gid:"), "61321\t61321\t61321\t61321");
    assert_eq!(value("Groups:"), "");
    assert_eq!(value("CapPrm:"), "0000000000000000");
    assert_eq!(value("CapEff:"), "0000000000000000");
    assert_eq!(value("CapInh:"), "0000000000000000");
    assert_eq!(value("CapBnd:"), "0000000000000000");
    assert_eq!(value("CapAmb:"), "0000000000000000");
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!(value("Seccomp:"), "2");
    assert_eq!(value("SigIgn:"), "0000000000001000"); // Rust ignores SIGPIPE by itself
    assert_eq!(value("SigBlk:"), "0000000000000000");
}

#[test]
fn every_namespace_is_its_own() {
    let Some(probe) = probe(&["stay"]) else { return };

    let (output, confined) = probe.start();
    wait_readable(&output);

    let shared = |name: &&str| {
        fs::read_link(format!("/proc/self/ns/{name}")).unwrap()
            == fs::read_link(format!("/proc/{}/ns/{name}", confined.pid)).unwrap()
    };
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    assert_eq!(kinds.iter().filter(|kind| shared(kind)).count(), 0);
}

#[test]
fn its_root_holds_read_only_mounts_alone() {
    let Some(probe) = probe(&["stay"]) else { return };

    let (output, confined) = probe.start();
    wait_readable(&output);
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", confined.pid)).unwrap();

    let options: Vec<_> = mounts.lines().filter_map(|l| l.split(' ').nth(5)).collect();
    assert!(options.iter().all(|o| o.starts_with("ro,nosuid")), "{mounts}");
    assert!(!mounts.contains(" - proc ") && !mounts.contains(" - sysfs "), "{mounts}");
    assert!(mounts.contains(" /content "), "{mounts}");
}

#[test]
fn a_killed_process_is_told_as_killed() {
    let Some(probe) = probe(&["stay"]) else { return };
    let (output, confined) = probe.start();
    wait_readable(&output);
    assert_eq!(confined.exit().unwrap(), None);

    confined.kill();

    assert_eq!(end(&confined), Exit::Signal(9));
}

#[test]
fn a_process_that_aborts_ends_by_a_signal() {
    let Some(probe) = probe(&["die"]) else { return };

    let (_, confined) = probe.run();

    assert!(matches!(end(&confined), Exit::Signal(_)));
}

#[test]
fn nothing_is_left_of_a_process_that_was_let_go_of() {
    let Some(mut probe) = probe(&["stay"]) else { return };
    probe.confinement.name = "let-go".into();
    let (output, confined) = probe.start();
    wait_readable(&output);
    let pid = confined.pid;

    drop(confined);

    let own = format!("let-go-{}-", std::process::id());
    let left = ["memory", "pids", "cpu", "unified", "."].iter().filter(|hierarchy| {
        let folder = format!("/sys/fs/cgroup/{hierarchy}/outrigger");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(&own))
    });
    assert_eq!(left.count(), 0);
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
}

#[test]
fn what_a_dead_host_left_is_killed_and_removed() {
    let Some(mut probe) = probe(&["hello"]) else { return };
    probe.confinement.name = "orphan".into();
    let Some(top) = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]
        .into_iter()
        .find(|top| fs::exists(format!("{top}/cgroup.procs")).unwrap_or_default())
    else {
        return;
    };
    let mut dead_host = Command::new("true").spawn().unwrap();
    dead_host.wait().unwrap();
    let namespace = fs::metadata("/proc/self/ns/pid").unwrap().ino();
    let group = format!("{top}/outrigger/orphan-{namespace}-{}-0", dead_host.id());
    fs::create_dir_all(&group).unwrap();
    let mut orphan = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(format!("{group}/cgroup.procs"), orphan.id().to_string()).unwrap();

    probe.run();

    assert_eq!(orphan.wait().unwrap().signal(), Some(9));
    assert!(!fs::exists(&group).unwrap());
}

#[test]
fn its_use_of_the_machine_is_told() {
    let Some(probe) = probe(&["stay"]) else { return };
    let (output, confined) = probe.start();
    wait_readable(&output);

    let usage = confined.usage();

    assert!(usage.cpu_ns.is_none_or(|ns| ns > 0));
    assert!(usage.memory_bytes.is_none_or(|bytes| bytes > 0));
}

#[test]
fn it_dies_with_its_host() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut host = Command::new(probe_path()).arg("host").stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let pid = Pid::from_raw(said.trim().parse().unwrap()).expect("the host started a probe");
    let engine = pidfd_open(pid, PidfdFlags::empty()).unwrap();

    host.kill().unwrap();
    host.wait().unwrap();

    wait_readable(&engine);
}

#[test]
fn a_program_that_its_user_may_not_run_is_told_with_the_step() {
    let Some(mut probe) = probe(&["hello"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("probe");
    fs::copy(probe_path(), &copy).unwrap();
    let unreadable = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&copy, unreadable).unwrap();
    probe.confinement.program = copy;

    let refused = start(probe.confinement).unwrap_err();

    assert!(matches!(refused, StartError::Step { step: Step::Execute, .. }), "{refused:?}");
}

#[test]
fn a_script_is_refused_before_anything_is_made() {
    let Some(mut probe) = probe(&[]) else { return };
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(&script, "#!/bin/sh\n").unwrap();
    probe.confinement.program = script.path().to_owned();

    let refused = start(probe.confinement).unwrap_err();

    assert!(matches!(refused, StartError::Program { .. }), "{refused:?}");
}

#[test]
fn what_this_kernel_lacks_is_named() {
    let Some(probe) = probe(&["hello"]) else { return };

    let (_, confined) = probe.run();

    let weak: Vec<_> = confined.enforced.weak().map(|(name, _)| name).collect();
    eprintln!("not fully enforced here: {weak:?}");
    assert_eq!(Enforced::iter(&confined.enforced).count(), 6);
}
