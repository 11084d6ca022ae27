//! Files that an engine must refuse, made so that this source is not one of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// What the bad programs end with when they are not refused.
pub const PROGRAM_STATUS: u8 = 42;

/// The EICAR test string, joined at run time from two halves.
pub fn eicar() -> Vec<u8> {
    let halves = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD", "-ANTIVIRUS-TEST-FILE!$H+H*"];
    halves.concat().into_bytes()
}

/// A program of a few bytes that ends with `status` at once and needs no library.
///
/// # Panics
///
/// On a processor for which nobody wrote its two instructions yet.
pub fn tiny_program(status: u8) -> Vec<u8> {
    let (machine, code) = tiny_code(status);
    let entry = 0x40_0078_u64;
    let size = 0x78 + code.len() as u64;
    let mut elf = Vec::with_capacity(0x78 + code.len());
    elf.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend_from_slice(&2_u16.to_le_bytes()); // ET_EXEC
    elf.extend_from_slice(&machine.to_le_bytes());
    elf.extend_from_slice(&1_u32.to_le_bytes());
    elf.extend_from_slice(&entry.to_le_bytes());
    elf.extend_from_slice(&64_u64.to_le_bytes()); // program headers
    elf.extend_from_slice(&0_u64.to_le_bytes()); // no section headers
    elf.extend_from_slice(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    elf.extend_from_slice(&1_u32.to_le_bytes()); // PT_LOAD
    elf.extend_from_slice(&5_u32.to_le_bytes()); // read, execute
    for word in [0_u64, 0x40_0000, 0x40_0000, size, size, 0x1000] {
        elf.extend_from_slice(&word.to_le_bytes());
    }
    elf.extend_from_slice(&code);
    elf
}

/// The ELF machine number and `exit(status)`.
fn tiny_code(status: u8) -> (u16, Vec<u8>) {
    if cfg!(target_arch = "x86_64") {
        // mov edi, status; mov eax, 60 (exit); syscall
        (62, vec![0xbf, status, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05])
    } else if cfg!(target_arch = "aarch64") {
        // mov x0, status; mov x8, 93 (exit); svc 0
        let set_status = (0xd280_0000_u32 | u32::from(status) << 5).to_le_bytes();
        (183, [set_status, 0xd280_0ba8_u32.to_le_bytes(), 0xd400_0001_u32.to_le_bytes()].concat())
    } else {
        panic!("no tiny program for this processor")
    }
}

/// A bad program: [`tiny_program`] that carries the EICAR string, so that engines that look for a
/// marker and engines that compare hashes both know it.
pub fn bad_program() -> Vec<u8> {
    let mut program = tiny_program(PROGRAM_STATUS);
    program.extend_from_slice(&eicar());
    program
}

/// Writes `content` to `path`, readable and executable by everybody.
///
/// # Errors
///
/// If the file cannot be written.
pub fn put(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot change the mode of {}", path.display()))
}

/// SHA-256 of `content`, in lower-case hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
