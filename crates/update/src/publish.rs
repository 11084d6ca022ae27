//! A repository of releases, made and kept by a vendor: keys, roles, signatures, plain files.
//!
//! ```text
//!  REPOSITORY/metadata/   N.root.json  N.targets.json  N.snapshot.json  timestamp.json    served
//!  REPOSITORY/targets/    ENGINE/PART/SUM.VERSION.tar.gz  ENGINE/SUM.releases.toml        served
//!  REPOSITORY/pending/    root.json  targets.json: what is not signed by enough keys yet
//! ```
//!
//! The metadata is that of The Update Framework 1.0 with consistent snapshots: a file that is served is
//! never changed but `timestamp.json`, which is replaced last and at once. So a reader sees the state
//! before a publication or the one after it, whenever it asks.
//!
//! Four roles sign: `root` names the keys of all, `targets` the releases, `snapshot` the version of the
//! list of releases, `timestamp` the newest snapshot. Root and targets may need several holders, each of
//! whom signs what is pending in turn. A private key is read from its file for a signature and is written
//! nowhere else.

mod document;
mod files;
mod inspect;
mod key;
mod online;
mod releases;
mod root;

use std::path::{Path, PathBuf};

use outrigger_api::settings::{PathFault, SettingsErrors};

use crate::package::Refusal;
use crate::publish::document::{Envelope, RootDoc, Signable, TargetsDoc};
use crate::publish::files::{Folder, Lock};

pub use inspect::{
    FileView, PackageView, PendingView, ReleaseView, RepositoryView, RoleView, inspect_package,
    inspect_repository,
};
pub use key::{Key, KeyError, PublicKey};
pub use online::{Lifetimes, Published};
use root::PENDING_ROOT;
pub use root::{RoleKeys, Roles, RootChange};

/// One of the four roles that sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Names the keys of all roles, its own too.
    Root,
    /// Signs the releases.
    Targets,
    /// Signs which version of the releases is the newest.
    Snapshot,
    /// Signs which snapshot is the newest, for a short time.
    Timestamp,
}

impl Role {
    /// All, in the order of their weight.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("{text:?} is none of root, targets, snapshot, timestamp"))
    }
}

/// Why nothing was signed or published. What is served is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A file could not be read or written.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no repository.
    #[error(
        "{} is no repository: it has no metadata/1.root.json; make one with `outrigger package root`",
        .0.display()
    )]
    NoRepository(PathBuf),
    /// Another command works on the repository.
    #[error("{} is being worked on by another command", .0.display())]
    Locked(PathBuf),
    /// A file of the repository is not what was written there.
    #[error("{} {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A list of releases in the repository is wrong.
    #[error(transparent)]
    Releases(#[from] SettingsErrors),
    /// What should be released is no package.
    #[error("the package is refused ({})", .0.name())]
    Refused(#[from] Refusal),
    /// A path cannot be one of a repository.
    #[error("{path:?} {fault}")]
    Path {
        /// The path.
        path: String,
        /// Which rule it breaks.
        fault: PathFault,
    },
    /// The release is there already.
    #[error("{target} is there already{}", if *.same { ", with the same bytes" } else { " with other bytes; a version is never changed: release a later one" })]
    Taken {
        /// Its target.
        target: String,
        /// Whether it is the same.
        same: bool,
    },
    /// There is no such release.
    #[error("{0} is not released")]
    NotReleased(String),
    /// A role cannot be met: it has too few keys.
    #[error(
        "{role} needs {threshold} signatures and has {keys} keys: add keys with `--add {role}=FILE`, or lower `--threshold {role}=N`"
    )]
    RoleUnmet {
        /// Which.
        role: Role,
        /// Keys that it has.
        keys: usize,
        /// Signatures that it needs.
        threshold: u32,
    },
    /// A key was given that signs for none of the roles that are signed.
    #[error("key {id} does not sign for {of}")]
    NotSigner {
        /// The key.
        id: String,
        /// For what not.
        of: String,
    },
    /// The key is not one of the role's.
    #[error("{role} has no key {id}")]
    NoSuchKey {
        /// The role.
        role: Role,
        /// What was asked to be removed.
        id: String,
    },
    /// Nothing is pending and nothing changes.
    #[error("{0}")]
    Nothing(&'static str),
    /// Not enough keys signed.
    #[error("{what} has {have} of {threshold} signatures; {hint}")]
    ThresholdUnmet {
        /// What is to be signed.
        what: String,
        /// Signatures that it has.
        have: usize,
        /// Signatures that it needs.
        threshold: u32,
        /// What to do.
        hint: &'static str,
    },
    /// It has expired, so nothing that rests on it would be taken.
    #[error("{what} expired at {expires}; {hint}")]
    Expired {
        /// What.
        what: String,
        /// When.
        expires: String,
        /// What to do.
        hint: &'static str,
    },
    /// A client would refuse what was about to be published.
    #[error("a client would refuse what is signed")]
    Unreadable(#[from] sigstore_tuf::Error),
    /// The system's cryptography failed.
    #[error("signing failed")]
    Signing,
}

/// How far the signatures on something have come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Signed {
    /// The role that signs.
    pub role: &'static str,
    /// The version that is signed.
    pub version: u64,
    /// The keys that have signed, by id.
    pub by: Vec<String>,
    /// Signatures that are still missing; none is missing of what is complete.
    pub missing: u32,
    /// Whether it is in force already; else [`Publisher::publish`] puts it in force once it is complete.
    pub in_force: bool,
}

/// A repository that is being worked on; nobody else can while this lives.
#[derive(Debug)]
pub struct Publisher {
    folder: Folder,
    _lock: Lock,
}

impl Publisher {
    /// Opens the repository in `folder`.
    ///
    /// # Errors
    ///
    /// [`PublishError::NoRepository`], [`PublishError::Locked`].
    pub fn open(folder: &Path) -> Result<Self, PublishError> {
        let folder = Folder::new(folder);
        if folder.root_version()? == 0 {
            return Err(PublishError::NoRepository(folder.path().to_owned()));
        }
        let lock = folder.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    /// Opens the repository in `folder`, or makes an empty one: its first root is still to be signed.
    ///
    /// # Errors
    ///
    /// [`PublishError::Locked`], [`PublishError::Io`].
    pub fn create(folder: &Path) -> Result<Self, PublishError> {
        let folder = Folder::new(folder);
        folder.make()?;
        let lock = folder.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The root in force; none where the first is not signed yet.
    fn root(&self) -> Result<Option<Envelope<RootDoc>>, PublishError> {
        match self.folder.root_version()? {
            0 => Ok(None),
            version => self.folder.metadata(&format!("{version}.root.json")),
        }
    }

    /// The root in force.
    fn root_in_force(&self) -> Result<Envelope<RootDoc>, PublishError> {
        self.root()?.ok_or_else(|| PublishError::NoRepository(self.path().to_owned()))
    }

    /// The root that is signed for: the pending one where its signatures are complete, else the one in
    /// force.
    fn root_to_sign_for(&self) -> Result<Envelope<RootDoc>, PublishError> {
        let current = self.root_in_force()?;
        let pending = self.folder.pending::<RootDoc>(PENDING_ROOT)?;
        let complete = match &pending {
            Some(pending) => root::standing(pending, Some(&current.signed))?.missing == 0,
            None => false,
        };
        Ok(pending.filter(|_| complete).unwrap_or(current))
    }

    /// The releases that are published.
    fn targets(&self) -> Result<Option<Envelope<TargetsDoc>>, PublishError> {
        match self.folder.published()? {
            None => Ok(None),
            Some(published) => {
                let name = format!("{}.targets.json", published.targets);
                let envelope: Option<Envelope<TargetsDoc>> = self.folder.metadata(&name)?;
                let missing = || self.folder.damaged(&name, "is missing".to_owned());
                envelope.map(Some).ok_or_else(missing)
            }
        }
    }
}

/// Signs `envelope` with those of `keys` that `root` lets sign for `T`'s role.
fn sign<T: Signable>(
    envelope: &mut Envelope<T>,
    roots: &[&RootDoc],
    keys: &[Key],
) -> Result<(), PublishError> {
    for key in keys {
        if roots.iter().any(|root| root.role(T::ROLE).has(key.id())) {
            envelope.sign(key)?;
        }
    }
    Ok(())
}

/// How far `envelope` is signed, by what `root` says.
fn standing<T: Signable>(envelope: &Envelope<T>, root: &RootDoc) -> Result<Signed, PublishError> {
    let role = root.role(T::ROLE);
    let by: Vec<String> = envelope.signers(root)?;
    let missing = role.threshold.saturating_sub(u32::try_from(by.len()).unwrap_or(u32::MAX));
    let version = envelope.signed.version();
    Ok(Signed { role: T::ROLE.name(), version, by, missing, in_force: false })
}
