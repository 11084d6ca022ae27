//! The archive that the kernel unpacks into its first root: `newc` of `cpio`.
//!
//! The format is the kernel's own (`Documentation/driver-api/early-userspace/buffer-format.rst`): each
//! entry is a header of 13 numbers of 8 hexadecimal digits behind a magic one, the name with a zero
//! byte, and the content, both filled up to a multiple of 4 bytes.

use std::collections::BTreeSet;

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// An archive that is being written.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    inodes: u32,
}

impl Archive {
    /// Adds a folder and those above it. `path` is relative to the root.
    pub(crate) fn folder(&mut self, path: &str) {
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return;
        }
        self.folder(path.rsplit_once('/').map_or("", |(above, _)| above));
        self.entry(path, FOLDER, &[]);
    }

    /// Adds a file and the folders above it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.folder(path.rsplit_once('/').map_or("", |(above, _)| above));
        self.entry(path, FILE | mode, content);
    }

    /// Adds a symbolic link to `target`.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.folder(path.rsplit_once('/').map_or("", |(above, _)| above));
        self.entry(path, LINK, target.as_bytes());
    }

    /// The whole.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.inodes += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        // inode, mode, uid, gid, links, time, size, device (2), its own device (2), name, checksum
        let numbers = [self.inodes, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.fill();
        self.bytes.extend(content);
        self.fill();
    }

    fn fill(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_brings_its_folders_once_and_everything_is_aligned() {
        let mut archive = Archive::default();
        archive.file("a/b/one", 0o755, b"12345");
        archive.file("a/b/two", 0o644, b"");

        let bytes = archive.finish();

        let text = String::from_utf8(bytes.clone()).expect("all of it is text");
        assert_eq!(text.matches("070701").count(), 5, "a, a/b, both files and the end");
        assert_eq!(bytes.len() % 4, 0);
        assert!(text.contains("000081ed"), "the file's mode: {text}");
    }
}
