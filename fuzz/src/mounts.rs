//! The mount table, whose mount points any user can choose.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use outrigger_sensor::mounts::{Mount, MountTable};

use crate::memory;

thread_local! {
    /// The file in whose place the kernel's table stands.
    static TABLE: File = tempfile::tempfile().expect("a temporary file");
}

/// Reads `bytes` as a mount table; what was read and is written again must read the same.
pub fn check(bytes: &[u8]) {
    let mounts = memory::within(bytes.len(), 8192, 64, || read(bytes));

    assert!(mounts.len() <= bytes.split(|&byte| byte == b'\n').count());
    let mut again = Vec::new();
    for mount in &mounts {
        write(&mut again, mount);
    }
    assert_eq!(read(&again), mounts);
}

fn read(bytes: &[u8]) -> Vec<Mount> {
    TABLE.with(|table| {
        table.set_len(0).expect("emptied");
        table.write_all_at(bytes, 0).expect("written");
        let table = table.try_clone().expect("a descriptor");
        MountTable::from_descriptor(table.into()).read().expect("read")
    })
}

/// A line as the kernel writes it, every byte of the mount point escaped.
fn write(out: &mut Vec<u8>, mount: &Mount) {
    let (major, minor) = (mount.device >> 32, mount.device & 0xffff_ffff);
    write!(out, "1 0 {major}:{minor} / ").expect("a Vec takes all");
    for byte in mount.point.as_os_str().as_bytes() {
        write!(out, "\\{byte:03o}").expect("a Vec takes all");
    }
    writeln!(out, " rw shared:1 - {} none rw", mount.fs_type).expect("a Vec takes all");
}
