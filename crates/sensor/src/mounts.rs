//! The mount table: `/proc/PID/mountinfo`, parsed.
//!
//! Mount points are chosen by users (any user, in a namespace of their own), so they are bytes with
//! the kernel's octal escapes, never trusted to be text. A line that does not parse is skipped.

use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Longest table read, in bytes; about 100,000 mounts. A longer one is cut at a line.
const TABLE_MAX: u64 = 16 << 20;

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The file system's device, `major << 32 | minor`, as in [`crate::identity::Object`].
    pub device: u64,
    /// Where it is mounted, as seen from the root of the reader.
    pub point: PathBuf,
    /// The type, without a subtype: `ext4`, `fuse`, …
    pub fs_type: String,
}

/// The mount table of one mount namespace, kept open so that changes can be waited for.
#[derive(Debug)]
pub struct MountTable {
    file: std::fs::File,
}

impl MountTable {
    /// Opens the table of the calling process's mount namespace, to which it stays bound.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`; `/proc` must be mounted.
    pub fn of_this_namespace() -> io::Result<Self> {
        Ok(Self { file: std::fs::File::open("/proc/thread-self/mountinfo")? })
    }

    /// The table behind a descriptor opened by [`MountTable::of_this_namespace`], maybe elsewhere.
    pub fn from_descriptor(fd: std::os::fd::OwnedFd) -> Self {
        Self { file: fd.into() }
    }

    /// Reads the whole table.
    ///
    /// # Errors
    ///
    /// Those of `read(2)`.
    pub fn read(&self) -> io::Result<Vec<Mount>> {
        (&self.file).seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        (&self.file).take(TABLE_MAX).read_to_end(&mut bytes)?;
        Ok(bytes.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
    }
}

/// Readable with `POLLPRI` after a change.
impl AsFd for MountTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG…] - TYPE SOURCE SUPEROPTIONS` (`man 5 proc`).
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = parse_device(fields.nth(2)?)?;
    let point = unescape(fields.nth(1)?);
    let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?;
    let whole = str::from_utf8(fs_type).ok()?;
    let fs_type = whole.split('.').next().unwrap_or(whole).to_owned();
    Some(Mount { device, point: PathBuf::from(OsString::from_vec(point)), fs_type })
}

fn parse_device(text: &[u8]) -> Option<u64> {
    let (major, minor) = str::from_utf8(text).ok()?.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(u64::from(major) << 32 | u64::from(minor))
}

/// `major:minor`, for people.
pub fn device_name(device: u64) -> String {
    format!("{}:{}", device >> 32, device & 0xffff_ffff)
}

/// Turns `\040` and its like back into bytes.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'\\').then(|| tail.get(..3)).flatten().and_then(octal);
        if let Some(value) = escaped {
            out.push(value);
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

/// The mount that holds `path`: the last one mounted at its longest prefix.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts
        .iter()
        .enumerate()
        .filter(|(_, mount)| path.starts_with(&mount.point))
        .max_by_key(|(index, mount)| (mount.point.components().count(), *index))
        .map(|(_, mount)| mount)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_with_tags_and_an_escaped_point_is_read() {
        let line =
            b"36 35 98:7 /mnt1 /mnt\\040two rw,noatime master:1 shared:7 - fuse.sshfs host rw";

        let mount = parse_line(line);

        assert_eq!(
            mount,
            Some(Mount {
                device: 98 << 32 | 7,
                point: "/mnt two".into(),
                fs_type: "fuse".to_owned()
            })
        );
    }

    #[test]
    fn a_path_lies_on_its_deepest_mount() {
        let mount = |point: &str| Mount { device: 1, point: point.into(), fs_type: "x".into() };
        let table = [mount("/"), mount("/a"), mount("/a/b"), mount("/a")];

        assert_eq!(mount_of(&table, Path::new("/a/b/c")), Some(&table[2]));
        assert_eq!(mount_of(&table, Path::new("/ab")), Some(&table[0]));
        assert!(std::ptr::eq(
            mount_of(&table, Path::new("/a/x")).expect("found"),
            &raw const table[3]
        ));
    }

    #[test]
    fn this_machines_table_has_a_root() {
        let mounts = MountTable::of_this_namespace().and_then(|table| table.read());

        assert!(mounts.expect("proc is mounted").iter().any(|mount| mount.point == Path::new("/")));
    }

    proptest! {
        #[test]
        fn any_line_parses_or_is_skipped(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_line(&line);
        }
    }
}
