//! What can go wrong with slots and journal.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};

use super::types::{Note, ReleaseId};

/// Why the store could not do what it was asked to. What was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder or file of the store could not be made, read or made durable.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others could change what the store relies on.
    #[error(
        "{} belongs to user {owner} with mode {mode:04o}: others could change it; give it to user {expected} and run: chmod go-w on it",
        path.display()
    )]
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode, permission bits only.
        mode: u32,
        /// Who runs this.
        expected: u32,
    },
    /// Another process changes the store just now.
    #[error("{} is held by {holder}: wait until it has ended, or end it", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
        /// Process id and name, as it wrote them.
        holder: String,
    },
    /// There is no room for it.
    #[error(
        "the disk is full: cannot {what} {}: {}{free} bytes are free; make room and run it again, what is in force stays so",
        path.display(),
        needed.map(|bytes| format!("{bytes} bytes are needed, ")).unwrap_or_default()
    )]
    DiskFull {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What it takes, in bytes, if that is known.
        needed: Option<u64>,
        /// What is free there, in bytes.
        free: u64,
    },
    /// SQLite says that its file is not what it wrote, or a row says what cannot be.
    #[error(
        "the journal {} is damaged: {detail}; keep a copy, move it and the folder engines beside it away, and install again",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// There are filled slots and no journal that speaks of them.
    #[error(
        "{} is gone, and {} is still there: put the journal back, or move the folder engines away and install again",
        path.display(), slot.display()
    )]
    JournalGone {
        /// The database.
        path: PathBuf,
        /// A slot with something in it.
        slot: PathBuf,
    },
    /// A row is not what was written, or one is missing.
    #[error("the journal {} was altered: row {seq}: {detail}", path.display())]
    Altered {
        /// The database.
        path: PathBuf,
        /// The first row that does not fit.
        seq: u64,
        /// What does not fit.
        detail: String,
    },
    /// A later version of this program wrote the journal.
    #[error(
        "the journal {} has layout {found}, and this version knows {known}: run the version that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest layout known here.
        known: i64,
    },
    /// Any other answer of SQLite.
    #[error("the journal {} cannot be used", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The picture in [`outrigger_api::release`] has no such arrow.
    #[error(
        "{release} cannot become {to}: it is {}",
        from.map_or("new", State::name)
    )]
    Transition {
        /// The release.
        release: ReleaseId,
        /// Where it stands.
        from: Option<State>,
        /// Where it was to go.
        to: State,
    },
    /// A note that cannot be made on a release that stands there.
    #[error(
        "{release} cannot be {note}: it is {}",
        state.map_or("new", State::name)
    )]
    Note {
        /// The release.
        release: ReleaseId,
        /// Where it stands.
        state: Option<State>,
        /// What was to be said of it.
        note: Note,
    },
    /// No such release.
    #[error("the journal knows no {release}")]
    Unknown {
        /// The release.
        release: ReleaseId,
    },
    /// The release lies in no slot (any more).
    #[error("{release} lies in no slot: stage it first")]
    NotInSlot {
        /// The release.
        release: ReleaseId,
    },
    /// The slot that is to be filled holds what a bad sign in the probation of the one in force leads back to.
    #[error(
        "{engine}'s {part} in force, {release}, is on probation, and the other slot holds the one to go back to: wait for the end of it, or end it with: outrigger update stop {engine}"
    )]
    OnProbation {
        /// The release in force.
        release: ReleaseId,
        /// The engine.
        engine: EngineName,
        /// What of the engine.
        part: Part,
    },
    /// There is no release on this machine that was in force before.
    #[error(
        "{engine} cannot go back{}: no release that was in force before lies on this machine",
        part.map(|part| format!(" to another {part}")).unwrap_or_default()
    )]
    NothingBefore {
        /// The engine.
        engine: EngineName,
        /// What of the engine, if one part was asked for.
        part: Option<Part>,
    },
    /// What was to write the release into its slot failed.
    #[error("cannot unpack {release} into {}", path.display())]
    Unpack {
        /// The release's version and part, for people.
        release: String,
        /// The slot.
        path: PathBuf,
        /// Its error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A slot holds what no release may hold.
    #[error("{} {what}", path.display())]
    Foreign {
        /// What it is.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A text that somebody goes by is longer than the journal takes.
    #[error("{what} has {len} bytes, over the limit of {max}")]
    TooLong {
        /// Which.
        what: &'static str,
        /// Its length, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
}

impl StoreError {
    pub(super) fn file(what: &'static str, path: PathBuf, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        if is_full(&source) {
            let free = free_beside(&path);
            return Self::DiskFull { what, path, needed: None, free };
        }
        Self::File { what, path, source }
    }

    pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), detail: detail.into() }
    }

    /// Whether SQLite could not do with its files what it wanted to, rather than found something wrong in them.
    pub(super) fn is_of_the_disk(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        let Self::Database { source, .. } = self else { return false };
        matches!(
            source.sqlite_error_code(),
            Some(Code::DiskFull | Code::SystemIoFailure | Code::CannotOpen)
        )
    }

    /// The same, with the path of the database of `state_dir`, and told by what really stopped it.
    pub(super) fn at(self, state_dir: &Path) -> Self {
        let path = state_dir.join(super::database::NAME);
        match self {
            Self::Database { source, .. } => told(path, source),
            Self::Damaged { detail, .. } => Self::Damaged { path, detail },
            Self::Altered { seq, detail, .. } => Self::Altered { path, seq, detail },
            Self::Newer { found, known, .. } => Self::Newer { path, found, known },
            other => other,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Database { path: PathBuf::new(), source }
    }
}

/// The least that is free on a disk where SQLite fails for another reason than want of room, in bytes. A file
/// that it cannot extend or make durable it reports as an error of the device.
const ROOM: u64 = 256 << 10;

fn told(path: PathBuf, source: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode as Code;
    let Some(code) = source.sqlite_error_code() else {
        return match source {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => {
                StoreError::Damaged { path, detail: source.to_string() }
            }
            source => StoreError::Database { path, source },
        };
    };
    let free = free_beside(&path);
    if matches!(code, Code::SystemIoFailure | Code::CannotOpen) && no_name_beside(&path) {
        let what = "make a file (df -i: no inode is free) beside";
        return StoreError::DiskFull { what, path, needed: None, free };
    }
    match code {
        Code::DiskFull => {
            StoreError::DiskFull { what: "write to the journal", path, needed: None, free }
        }
        Code::SystemIoFailure | Code::CannotOpen if free < ROOM => {
            StoreError::DiskFull { what: "write to the journal", path, needed: Some(ROOM), free }
        }
        Code::DatabaseCorrupt | Code::NotADatabase => {
            StoreError::Damaged { path, detail: source.to_string() }
        }
        _ => StoreError::Database { path, source },
    }
}

/// Whether a disk or a quota had no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a disk or a quota had no room, at any depth of an error.
pub(super) fn is_full_below(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if error.downcast_ref::<io::Error>().is_some_and(is_full)
            || error
                .downcast_ref::<rustix::io::Errno>()
                .is_some_and(|&errno| is_full(&io::Error::from(errno)))
        {
            return true;
        }
        at = error.source();
    }
    false
}

/// Whether the file system where `path` is or would be has room for no other file, however small.
fn no_name_beside(path: &Path) -> bool {
    let stat = path.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    stat.is_some_and(|stat| stat.f_files > 0 && stat.f_favail == 0)
}

/// Free bytes where `path` is or would be; 0 if nobody can say.
pub(super) fn free_beside(path: &Path) -> u64 {
    path.ancestors()
        .find_map(|folder| rustix::fs::statvfs(folder).ok())
        .map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}
