//! Code: a process executes the files that it was started with, and nothing that it wrote or read.

use std::fs::File;
use std::io::{PipeReader, Write};

use outrigger_sandbox::Confined;

use crate::harness::{Probe, attempt, is_refused, probe, probe_path, read_all, wait_readable};

#[test]
fn memory_mapped_to_write_and_execute_is_refused() {
    is_refused("code-writable", "mmap", "memory to write and execute");
}

#[test]
fn memory_mapped_to_execute_is_refused() {
    is_refused("code-anonymous", "mmap", "memory to execute that is no file's");
}

#[test]
fn a_shared_mapping_to_execute_is_refused() {
    is_refused("code-granted-shared", "mmap", "shared memory to execute");
}

#[test]
fn memory_made_executable_while_writable_is_refused() {
    is_refused("code-added", "mprotect", "memory made executable");
}

#[test]
fn memory_that_was_written_and_is_made_executable_is_refused() {
    is_refused("code-swapped", "mprotect", "memory made executable");
}

#[test]
fn memory_without_rights_that_is_made_executable_is_refused() {
    is_refused("code-from-nothing", "mprotect", "memory made executable");
}

#[test]
fn memory_made_executable_by_a_protection_key_is_refused() {
    is_refused("code-key", "pkey_mprotect", "");
}

#[test]
fn a_personality_that_makes_memory_executable_is_refused() {
    is_refused("code-personality", "personality", "");
}

#[test]
fn shared_memory_of_system_v_is_refused() {
    is_refused("code-shmget", "shmget", "");
}

#[test]
fn shared_memory_attached_to_execute_is_refused() {
    is_refused("code-shmat", "shmat", "");
}

#[test]
fn other_pages_under_a_mapping_are_refused() {
    is_refused("code-remap", "remap_file_pages", "");
}

#[test]
fn secret_memory_is_refused() {
    is_refused("code-secret", "memfd_secret", "");
}

#[test]
fn writing_to_its_own_code_by_way_of_the_kernel_is_refused() {
    is_refused("code-written-from-outside", "process_vm_writev", "");
}

#[test]
fn a_file_of_data_cannot_be_mapped_as_code() {
    let Some(outcome) = attempt(&["map-code", "/content/list"]) else { return };

    // Not by the list: its mount forbids it.
    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.calls, []);
}

#[test]
fn a_device_cannot_be_mapped_as_code() {
    let Some(outcome) = attempt(&["map-code", "/dev/zero"]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.calls, []);
}

#[test]
fn its_own_files_are_mapped_as_code_while_it_starts() {
    let Some(outcome) = attempt(&["map-code", "/engine"]) else { return };

    assert_eq!(outcome.said, "ok\n");
    assert_eq!(outcome.calls, []);
}

/// Starts a probe that maps a file as code once it is told, and has its own program as descriptor 4; what
/// tells it.
fn start_waiting(mut probe: Probe) -> (PipeReader, Confined, impl Write) {
    let (told, tell) = std::io::pipe().expect("a pipe");
    let program = File::open(probe_path()).expect("the probe");
    probe.confinement.descriptors = vec![told.into(), program.into()];
    let (output, confined) = probe.start();
    wait_readable(&output);
    (output, confined, tell)
}

#[test]
fn once_code_is_refused_its_own_files_are_not_mapped_as_code_either() {
    let Some(probe) = probe(&["map-code-later", "/engine"]) else { return };
    let (mut output, confined, mut tell) = start_waiting(probe);

    confined.refuse_code();
    tell.write_all(b"x").unwrap();

    assert_eq!(read_all(&mut output), "here\nerrno 1\n");
    let call = confined.calls.next().unwrap();
    assert_eq!(call.call, "mmap");
    assert_eq!(call.detail.as_deref(), Some("a file to execute, after it was given its rings"));
}

#[test]
fn once_code_is_refused_a_descriptor_that_it_was_given_is_not_mapped_as_code() {
    let Some(probe) = probe(&["map-granted-later"]) else { return };
    let (mut output, confined, mut tell) = start_waiting(probe);

    confined.refuse_code();
    tell.write_all(b"x").unwrap();

    assert_eq!(read_all(&mut output), "here\nerrno 1\n");
    assert_eq!(confined.calls.next().unwrap().call, "mmap");
}

#[test]
fn the_kernel_refuses_it_too_where_it_can() {
    let Some(outcome) = attempt(&["mdwe"]) else { return };

    // PR_MDWE_REFUSE_EXEC_GAIN, or a kernel before 6.3.
    let kernel_has_it = outcome.said != "-1\n";
    assert!(!kernel_has_it || outcome.said == "1\n", "{}", outcome.said);
    assert_eq!(outcome.calls, []);
    if !kernel_has_it {
        eprintln!("SKIPPED in part: this kernel has no PR_SET_MDWE");
    }
}
