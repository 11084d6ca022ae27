//! One publisher's repository, asked.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str;
use std::time::Duration;

use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::settings::{
    self, DownloadConfig, Releases, RepositoryConfig, SettingsErrors, UpdatesConfig,
    releases_target,
};
use outrigger_update::repository::{
    ChildTransport, Limits, Progress, Refusal, Repository, Target, Versions,
};

/// The program that downloads; it lies beside this one.
const FETCH: &str = "outrigger-fetch";
/// Folder of the state folder with what is trusted of each repository.
const TRUSTED: &str = "repositories";
/// Longest root metadata that an administrator may install, in bytes.
const ROOT_MAX: u64 = 512_000;
/// Longest list of releases, in bytes.
const RELEASES_MAX: u64 = settings::FILE_MAX;

/// A repository that was asked what it has.
pub(super) struct Source {
    /// What it is called.
    pub(super) name: String,
    /// What is trusted now.
    pub(super) versions: Versions,
    repository: Repository,
}

/// The list of releases is not to be had, or is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    /// The repository does not give it.
    #[error("{}: {refusal}. {}", refusal.name(), refusal.advice())]
    Refused {
        /// Why not.
        #[from]
        refusal: Refusal,
    },
    /// What was signed is no list of releases.
    #[error("{0}")]
    Wrong(#[from] SettingsErrors),
    /// It is of another engine.
    #[error("the list of {asked}'s releases says that it is of {found}")]
    Other {
        /// The engine that was asked for.
        asked: EngineName,
        /// The one that it names.
        found: EngineName,
    },
}

impl Source {
    /// Asks `repository` what it has, as of `now`.
    pub(super) fn open(
        config: &UpdatesConfig,
        repository: &RepositoryConfig,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let root = root(&repository.root)?;
        let base = match &repository.source {
            settings::Source::Http(url) => url.clone(),
            settings::Source::Folder(path) => path.display().to_string(),
        };
        let metadata = format!("{base}/metadata");
        let targets = format!("{base}/targets");
        let transport = ChildTransport::new(&fetch_program(), &metadata, &targets)?;
        let folder = config.state_dir.join(TRUSTED).join(&repository.name);
        make(&folder)?;
        let limits = limits(&config.download);
        let mut asked = Repository::open(&folder, &root, Box::new(transport), limits)?;
        let versions = asked.refresh(now)?;
        Ok(Self { name: repository.name.clone(), versions, repository: asked })
    }

    /// What it offers of `engine`.
    pub(super) fn releases(&mut self, engine: &EngineName) -> Result<Releases, ListError> {
        let name = releases_target(engine);
        let bytes = self.repository.target(&name, RELEASES_MAX, |_| {})?;
        let file = Path::new(&name);
        let text = str::from_utf8(&bytes).map_err(|_| Refusal::Malformed {
            file: name.clone(),
            why: "it is not UTF-8".to_owned(),
        })?;
        let releases = Releases::parse(text, file)?;
        if releases.engine != *engine {
            return Err(ListError::Other { asked: engine.clone(), found: releases.engine });
        }
        Ok(releases)
    }

    /// What was signed about the target `name`.
    pub(super) fn find(&mut self, name: &str) -> Result<Target, Refusal> {
        self.repository.find(name)
    }

    /// The verified bytes of `target`, at most `limit`.
    pub(super) fn download(
        &mut self,
        target: &Target,
        limit: u64,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<u8>, Refusal> {
        self.repository.download(target, limit, progress)
    }
}

/// The program beside this one.
fn fetch_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or_else(|| Path::new("/usr/bin")).join(FETCH)
}

fn limits(download: &DownloadConfig) -> Limits {
    Limits {
        silence: Duration::from_millis(download.stall_ms.into()),
        target_time: Duration::from_millis(download.total_ms.into()),
        refresh_time: Duration::from_millis(download.total_ms.into()),
        ..Limits::default()
    }
}

/// Makes the folder of what is trusted.
fn make(folder: &Path) -> Result<(), Refusal> {
    std::fs::create_dir_all(folder).map_err(|source| Refusal::Store {
        what: "make the folder",
        path: folder.to_owned(),
        source,
    })
}

/// The root metadata that the administrator installed.
fn root(file: &Path) -> Result<Vec<u8>, Refusal> {
    let wrong = |why: String| Refusal::Malformed { file: file.display().to_string(), why };
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(ROOT_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > ROOT_MAX {
        return Err(wrong(format!("longer than {ROOT_MAX} bytes")));
    }
    Ok(bytes)
}
