//! Names what lies in a folder, so that whatever is changed in it shows.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use outrigger_api::settings::{RELEASE_FILES_MAX, check_path};
use rustix::fs::{FileType, Mode, OFlags, RawDir, Stat, fstat, openat2};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::package::archive::MODES;
use crate::package::unpack::{FOLDER_MODE, WITHIN};
use crate::package::{Package, PackageLimits};

/// SHA-256 of the list of all that lies in a folder: paths, modes, sizes and contents.
///
/// Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeDigest(pub [u8; 32]);

/// What begins the list that a [`TreeDigest`] is the sum of.
const LIST: &str = "outrigger tree 1\n";

impl fmt::Display for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not the one form of a [`TreeDigest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree's digest is 64 lower-case hexadecimal digits")]
pub struct NoTreeDigest;

impl FromStr for TreeDigest {
    type Err = NoTreeDigest;

    fn from_str(text: &str) -> Result<Self, NoTreeDigest> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).map_err(|_| NoTreeDigest)?;
        let read = Self(digest);
        if read.to_string() == text { Ok(read) } else { Err(NoTreeDigest) }
    }
}

/// Why a folder has no digest: what lies in it is not what unpacking a package leaves.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The system refused.
    #[error("cannot read {path:?}")]
    Io {
        /// Which path below the folder.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Something in it is not as a package leaves it.
    #[error("{path:?} {what}")]
    Foreign {
        /// Which path below the folder.
        path: String,
        /// In what it differs.
        what: &'static str,
    },
    /// It holds more than any package.
    #[error("more lies in the folder than in any package: the limit is {max} {of}")]
    TooMuch {
        /// The limit.
        max: u64,
        /// Of what.
        of: &'static str,
    },
}

/// The digest of what lies in `folder`, read strictly: plain files and folders with the modes that
/// unpacking gives, of root or the caller, each file with one name, on one file system.
///
/// # Errors
///
/// If anything else lies there, more than `limits` allow, or something cannot be read.
pub fn tree_digest(
    folder: BorrowedFd<'_>,
    limits: &PackageLimits,
) -> Result<TreeDigest, TreeError> {
    let own = rustix::process::geteuid().as_raw();
    let mut walk =
        Walk { top: folder, own, list: List::default(), files: 0, left: limits.unpacked };
    walk.folder(".", "", limits)?;
    Ok(walk.list.digest())
}

impl Package {
    /// The digest of a folder that holds this package and nothing else.
    pub fn tree(&self) -> TreeDigest {
        let mut list = List::default();
        for (path, bytes, executable) in self.files() {
            for (at, _) in path.match_indices('/') {
                list.folder(&path[..at]);
            }
            let mode = MODES[usize::from(executable)];
            list.file(path, mode, bytes.len() as u64, Sha256::digest(bytes).into());
        }
        list.digest()
    }
}

/// The list that a digest is the sum of, a line for each path, in the order of the paths.
#[derive(Default)]
struct List(BTreeMap<String, String>);

impl List {
    fn folder(&mut self, path: &str) {
        self.0.insert(path.to_owned(), format!("folder {FOLDER_MODE:04o}"));
    }

    fn file(&mut self, path: &str, mode: u32, size: u64, sha256: [u8; 32]) {
        let sum = hex::encode(sha256);
        self.0.insert(path.to_owned(), format!("file {mode:04o} {size} {sum}"));
    }

    fn digest(&self) -> TreeDigest {
        let mut text = LIST.to_owned();
        for (path, line) in &self.0 {
            // A path holds no blank and no line end, so no two lists are written the same.
            writeln!(text, "{path} {line}").expect("a String takes all");
        }
        TreeDigest(Sha256::digest(text).into())
    }
}

struct Walk<'f> {
    top: BorrowedFd<'f>,
    /// Who may own what lies there, besides root.
    own: u32,
    list: List,
    files: usize,
    /// Bytes that may still be read.
    left: u64,
}

impl Walk<'_> {
    fn folder(&mut self, at: &str, prefix: &str, limits: &PackageLimits) -> Result<(), TreeError> {
        let folder = self.open(at, OFlags::DIRECTORY)?;
        let mut buffer = Vec::with_capacity(16 << 10);
        let mut entries = RawDir::new(&folder, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| unreadable(at, error))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
            if names.len() > RELEASE_FILES_MAX + 1 {
                return Err(TreeError::TooMuch { max: RELEASE_FILES_MAX as u64, of: "files" });
            }
        }
        for name in names {
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            self.entry(path, limits)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: String, limits: &PackageLimits) -> Result<(), TreeError> {
        let foreign = |what| Err(TreeError::Foreign { path: path.clone(), what });
        if check_path(&path).is_err() {
            return foreign("is no path of a package");
        }
        // Opened without waiting: what lies there may be a pipe.
        let opened = self.open(&path, OFlags::NONBLOCK)?;
        let facts = fstat(&opened).map_err(|error| unreadable(&path, error))?;
        if facts.st_uid != 0 && facts.st_uid != self.own {
            return foreign("belongs to somebody else than root and the caller");
        }
        let mode = facts.st_mode & 0o7777;
        match FileType::from_raw_mode(facts.st_mode) {
            FileType::Directory if mode != FOLDER_MODE => foreign("has another mode than 0755"),
            FileType::Directory => {
                drop(opened);
                self.list.folder(&path);
                self.folder(&path, &path, limits)
            }
            FileType::RegularFile if !MODES.contains(&mode) => {
                foreign("has another mode than 0644 and 0755")
            }
            FileType::RegularFile if facts.st_nlink != 1 => foreign("has another name elsewhere"),
            FileType::RegularFile => self.file(&path, mode, opened, &facts, limits),
            _ => foreign("is neither a plain file nor a folder"),
        }
    }

    fn file(
        &mut self,
        path: &str,
        mode: u32,
        opened: OwnedFd,
        facts: &Stat,
        limits: &PackageLimits,
    ) -> Result<(), TreeError> {
        self.files += 1;
        // `release.toml` is not one of the files that the limit counts.
        if self.files > limits.files + 1 {
            return Err(TreeError::TooMuch { max: limits.files as u64, of: "files" });
        }
        let size = u64::try_from(facts.st_size).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(size)
            .ok_or(TreeError::TooMuch { max: limits.unpacked, of: "bytes" })?;
        let mut sum = Sha256::new();
        let mut read = 0;
        let mut file = File::from(opened).take(size + 1);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let got = file.read(&mut buffer).map_err(|error| unreadable(path, error))?;
            if got == 0 {
                break;
            }
            read += got as u64;
            sum.update(&buffer[..got]);
        }
        if read != size {
            let what = "changed while it was read";
            return Err(TreeError::Foreign { path: path.to_owned(), what });
        }
        self.list.file(path, mode, size, sum.finalize().into());
        Ok(())
    }

    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, TreeError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(self.top.as_fd(), path, flags, Mode::empty(), WITHIN).map_err(|error| match error {
            Errno::LOOP => TreeError::Foreign { path: path.to_owned(), what: "is a symlink" },
            Errno::XDEV => TreeError::Foreign { path: path.to_owned(), what: "is a mount" },
            _ => unreadable(path, error),
        })
    }
}

fn unreadable(path: &str, source: impl Into<io::Error>) -> TreeError {
    TreeError::Io { path: path.to_owned(), source: source.into() }
}
