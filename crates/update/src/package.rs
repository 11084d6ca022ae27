//! The archive of a release: built, read, unpacked, and compared with what lies in a slot.
//!
//! A package is a gzipped tar archive of plain files: first `release.toml`, which lists all the others
//! with their sums, then these, in the order of their paths. Folders follow from the paths. There is
//! just one archive for a given list of files, and the reader takes no other: every header must be, byte for byte, the one
//! that [`Builder`] writes. So what tar can express besides (links, devices, owners, times, long names,
//! extended headers, sparse files) cannot reach the code that writes files.
//!
//! ```text
//!  bytes ──Package::read──▶ Package ──unpack──▶ an empty folder ──tree_digest──▶ equal to Package::tree
//!          all checks,               by descriptor,                read back, or
//!          nothing written           fsync'd                       read again before each use
//! ```
//!
//! Threat position: the bytes are a vendor's, hostile even where signed. They are checked in memory,
//! within [`PackageLimits`], before anything of them is written.

mod archive;
mod build;
mod refusal;
mod tree;
mod unpack;

use std::ops::Range;

use outrigger_api::key::EngineName;
use outrigger_api::release::Part;
use outrigger_api::settings::{DownloadConfig, Manifest, RELEASE_FILE, RELEASE_FILES_MAX, Release};
use semver::Version;

pub use build::{BuildError, Builder, build_folder};
pub use refusal::{Kind, Refusal};
pub use tree::{TreeDigest, TreeError, tree_digest};
pub use unpack::UnpackError;

/// Told while something takes long: how many bytes of how many are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// What a package may have before it is refused unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageLimits {
    /// Bytes as they are transferred.
    pub packed: u64,
    /// Bytes when unpacked, headers included; all of them are in memory at once.
    pub unpacked: u64,
    /// How many times as long the unpacked bytes may be as the packed ones. Less than
    /// [`RATIO_FREE`] bytes are never too many.
    pub ratio: u64,
    /// Files, `release.toml` not counted; at most [`RELEASE_FILES_MAX`].
    pub files: usize,
}

impl From<&DownloadConfig> for PackageLimits {
    fn from(config: &DownloadConfig) -> Self {
        Self {
            packed: config.package_bytes,
            unpacked: config.unpacked_bytes,
            files: usize::try_from(config.files_max).unwrap_or(RELEASE_FILES_MAX),
            ..Self::default()
        }
    }
}

impl PackageLimits {
    /// The widest that any policy allows, for what lies in a slot: it was within the policy of its day.
    pub fn widest() -> Self {
        Self::from(&DownloadConfig::widest())
    }
}

/// Bytes that a package may unpack to whatever its length.
pub const RATIO_FREE: u64 = 1 << 20;

impl Default for PackageLimits {
    fn default() -> Self {
        Self { packed: 256 << 20, unpacked: 1 << 30, ratio: 100, files: RELEASE_FILES_MAX }
    }
}

/// A package in which everything was checked but who signed it. Only [`Package::read`] makes one.
#[derive(Debug)]
pub struct Package {
    release: Release,
    manifest: Option<Manifest>,
    /// The unpacked archive.
    bytes: Vec<u8>,
    /// Where the bytes of `release.toml` lie in it, then those of the release's files, in their order.
    members: Vec<Range<usize>>,
}

impl Package {
    /// Checks `packed` from its first byte to its last. Writes nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the first that was found.
    pub fn read(packed: &[u8], limits: &PackageLimits) -> Result<Self, Refusal> {
        archive::read(packed, limits)
    }

    /// Refuses the package unless it is of `engine`, `part` and `version`.
    ///
    /// # Errors
    ///
    /// In what it differs.
    pub fn expect(
        &self,
        engine: &EngineName,
        part: Part,
        version: &Version,
    ) -> Result<(), Refusal> {
        let release = &self.release;
        let differs = |what, found: &dyn ToString, expected: &dyn ToString| Refusal::Other {
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        };
        if release.engine != *engine {
            return Err(differs("engine", &release.engine, engine));
        }
        if release.part != part {
            return Err(differs("part", &release.part, &part));
        }
        if release.version != *version {
            return Err(differs("version", &release.version, version));
        }
        Ok(())
    }

    /// What its `release.toml` says.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The engine's manifest, in a package of code. Its folder is empty: no path is resolved yet.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The bytes of the file at `path`.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files().find(|(name, _, _)| *name == path).map(|(_, bytes, _)| bytes)
    }

    /// Every file that [`Package::unpack`] writes, `release.toml` first: path, bytes, whether it may be run.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8], bool)> {
        let listed = self.release.files.iter().map(|file| (file.path.as_str(), file.executable));
        let own = (RELEASE_FILE, false);
        let names = std::iter::once(own).chain(listed);
        names.zip(&self.members).map(|((path, executable), range)| {
            let bytes = self.bytes.get(range.clone()).unwrap_or_default();
            (path, bytes, executable)
        })
    }

    /// Bytes of all its files.
    pub fn size(&self) -> u64 {
        self.members.iter().map(|range| range.len() as u64).sum()
    }
}
