//! Why a package is refused.

use outrigger_api::settings::{PathFault, SettingsErrors};

/// What is wrong with a package. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is longer than the limit; it was not unpacked.
    #[error("the package has {len} bytes, over the limit of {max}")]
    TooLong {
        /// Its length, in bytes.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// It is not compressed as a package is, or its checksum is another.
    #[error("the package is not whole gzip: {0}")]
    Gzip(String),
    /// It unpacks to too much for its length; unpacking stopped there.
    #[error("the package unpacks to more than {ratio} times its {len} bytes")]
    BombRatio {
        /// The limit.
        ratio: u64,
        /// Its length, in bytes.
        len: u64,
    },
    /// It unpacks to more than the limit; unpacking stopped there.
    #[error("the package unpacks to more than the limit of {max} bytes")]
    BombSize {
        /// The limit.
        max: u64,
    },
    /// It ends before its end.
    #[error("the package ends in the middle of {0}")]
    Truncated(&'static str),
    /// Something follows its end.
    #[error("{len} bytes follow the end of the {after}")]
    TrailingData {
        /// What ended.
        after: &'static str,
        /// How many bytes.
        len: usize,
    },
    /// It has more files than the limit.
    #[error("the package has more than {max} files, the limit")]
    TooManyFiles {
        /// The limit.
        max: usize,
    },
    /// Its first member is not `release.toml`.
    #[error("the first member is {0:?} and not \"release.toml\"")]
    NoRelease(String),
    /// Its `release.toml` is wrong.
    #[error("{0}")]
    Release(SettingsErrors),
    /// Its manifest is wrong, or none is there.
    #[error("{0}")]
    Manifest(String),
    /// A member's path cannot be unpacked.
    #[error("the path {path:?} {fault}")]
    Path {
        /// The path.
        path: String,
        /// Which rule it breaks.
        fault: PathFault,
    },
    /// A member is something else than a file.
    #[error("{path:?} is a {kind}; a package holds plain files only")]
    Kind {
        /// Its path.
        path: String,
        /// What it is.
        kind: Kind,
    },
    /// A member would be run with its owner's rights.
    #[error("{path:?} has mode {mode:04o}, with a set-user-ID, set-group-ID or sticky bit")]
    SetId {
        /// Its path.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// A member's mode is not the one that `release.toml` says.
    #[error("{path:?} has mode {mode:04o}; by release.toml it is {expected:04o}")]
    Mode {
        /// Its path.
        path: String,
        /// Its mode.
        mode: u32,
        /// The one that follows from `executable`.
        expected: u32,
    },
    /// A path is there twice.
    #[error("{0:?} is there twice")]
    Duplicate(String),
    /// A member is not listed in `release.toml`.
    #[error("{0:?} is not listed in release.toml")]
    Unlisted(String),
    /// A file that `release.toml` lists is not there.
    #[error("{0:?} is listed in release.toml and missing")]
    Missing(String),
    /// A member is not where the order of paths puts it.
    #[error("{found:?} is where {expected:?} belongs: members stand in the order of their paths")]
    Order {
        /// The member found.
        found: String,
        /// The one that belongs there.
        expected: String,
    },
    /// A file has another size than listed.
    #[error("{path:?} has {found} bytes; release.toml says {listed}")]
    Size {
        /// Its path.
        path: String,
        /// Its size in bytes.
        found: u64,
        /// The one listed.
        listed: u64,
    },
    /// A file has other bytes than listed.
    #[error("{path:?} does not have the SHA-256 that release.toml says")]
    Sum {
        /// Its path.
        path: String,
    },
    /// A header says more than a package's does.
    #[error("the header of {path:?} is not as `outrigger package build` writes it: {what}")]
    Header {
        /// The member's path.
        path: String,
        /// The field that differs.
        what: &'static str,
    },
    /// It is another package than the one asked for.
    #[error("the package's {what} is {found}, and not {expected}")]
    Other {
        /// Engine, part or version.
        what: &'static str,
        /// What the package says.
        found: String,
        /// What was asked for.
        expected: String,
    },
}

/// What a member is that is no plain file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name for a path.
    Symlink,
    /// A second name of a file.
    HardLink,
    /// A character or block device.
    Device,
    /// A named pipe.
    Fifo,
    /// A folder; they follow from the paths of files.
    Folder,
    /// A file with holes.
    Sparse,
    /// A header that speaks of another: PAX, or GNU's long names.
    Extension,
    /// Anything else.
    Unknown,
}

impl Kind {
    /// How it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Symlink => "symlink",
            Self::HardLink => "hard link",
            Self::Device => "device node",
            Self::Fifo => "named pipe",
            Self::Folder => "folder",
            Self::Sparse => "sparse file",
            Self::Extension => "extended header",
            Self::Unknown => "member of unknown kind",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Refusal {
    /// Its name, for logs, reports and tests; never changed.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too-long",
            Self::Gzip(_) => "not-gzip",
            Self::BombRatio { .. } => "zip-bomb-ratio",
            Self::BombSize { .. } => "zip-bomb-size",
            Self::Truncated(_) => "truncated",
            Self::TrailingData { .. } => "trailing-data",
            Self::TooManyFiles { .. } => "too-many-files",
            Self::NoRelease(_) => "no-release-file",
            Self::Release(_) => "release-file",
            Self::Manifest(_) => "manifest",
            Self::Path { fault: PathFault::Absolute, .. } => "absolute-path",
            Self::Path { fault: PathFault::Upwards, .. } => "path-traversal",
            Self::Path { fault: PathFault::Unfit, .. } => "path",
            Self::Kind { kind, .. } => match kind {
                Kind::Symlink => "symlink",
                Kind::HardLink => "hard-link",
                Kind::Device => "device-node",
                Kind::Fifo => "fifo",
                Kind::Folder => "folder",
                Kind::Sparse => "sparse-file",
                Kind::Extension => "extended-header",
                Kind::Unknown => "unknown-kind",
            },
            Self::SetId { .. } => "setuid",
            Self::Mode { .. } => "mode",
            Self::Duplicate(_) => "duplicate-path",
            Self::Unlisted(_) => "unlisted-file",
            Self::Missing(_) => "missing-file",
            Self::Order { .. } => "order",
            Self::Size { .. } => "size",
            Self::Sum { .. } => "sum",
            Self::Header { .. } => "header",
            Self::Other { .. } => "other-package",
        }
    }
}
