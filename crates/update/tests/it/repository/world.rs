//! A machine that trusts the first release of a repository, and the mirror between the two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use outrigger_update::repository::{
    Limits, Place, Progress, Refusal, Repository, Transport, Versions, Wanted,
};
use tempfile::TempDir;

use super::author::Author;

/// The package of the first release.
pub(super) const PACKAGE: &str = "scan/code/1.0.0.tar.gz";

pub(super) struct World {
    pub(super) author: Author,
    pub(super) now: Timestamp,
    pub(super) limits: Limits,
    served: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    root: Vec<u8>,
    folder: TempDir,
}

/// Serves what it was given, and keeps to the limits as a transport must.
struct Mirror(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Transport for Mirror {
    fn fetch(
        &mut self,
        wanted: &Wanted<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let folder = match wanted.place {
            Place::Metadata => "metadata",
            Place::Targets => "targets",
        };
        let served = self.0.lock().expect("no panic in here");
        let Some(bytes) = served.get(&format!("{folder}/{}", wanted.path)) else { return Ok(None) };
        let got = bytes.len() as u64;
        if got > wanted.limit {
            let file = wanted.path.to_owned();
            return Err(Refusal::TooLong { file, limit: wanted.limit, of: wanted.limit_of });
        }
        progress(Progress { got, of: Some(got) });
        Ok(Some(bytes.clone()))
    }
}

impl World {
    /// The first release is trusted here.
    pub(super) fn new() -> Self {
        Self::prepared(|_| ())
    }

    /// The same, of a publisher whom `prepare` changes before the first release.
    pub(super) fn prepared(prepare: impl FnOnce(&mut Author)) -> Self {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().expect("a time");
        let mut author = Author::new(now);
        prepare(&mut author);
        author.publish(&["root", "targets", "snapshot", "timestamp"]);
        author.serve_target(PACKAGE, &author.targets[PACKAGE].clone());
        let root = author.files["metadata/1.root.json"].clone();
        let world = Self {
            author,
            now,
            limits: Limits::default(),
            served: Arc::default(),
            root,
            folder: tempfile::tempdir().expect("a folder"),
        };
        world.refresh().expect("an honest release");
        world
    }

    /// Where trusted metadata is kept.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.path().join("trusted")
    }

    /// A client, as a run of the updater opens it, before a mirror that has what the author serves now.
    pub(super) fn client(&self) -> Repository {
        *self.served.lock().expect("no panic in here") = self.author.files.clone();
        let mirror = Box::new(Mirror(Arc::clone(&self.served)));
        Repository::open(&self.store(), &self.root, mirror, self.limits).expect("it opens")
    }

    pub(super) fn refresh(&self) -> Result<Versions, Refusal> {
        self.client().refresh(self.now)
    }

    /// What is offered is refused, no target can be had, and not a byte has changed anywhere.
    pub(super) fn refuses(&self) -> Refusal {
        let before = self.everything();

        let refusal = self.refuses_but_keeps(&[]);

        assert_eq!(self.everything(), before, "{refusal}");
        refusal
    }

    /// The same, but for the files of metadata that were sound and are kept.
    pub(super) fn refuses_but_keeps(&self, kept: &[&str]) -> Refusal {
        let before = self.everything();
        let mut client = self.client();

        let refusal = client.refresh(self.now).expect_err("it must be refused");

        let target = client.target(PACKAGE, 1 << 20, |_| ()).expect_err("none without a refresh");
        assert_eq!(target.name(), "not-refreshed");
        let changed: Vec<PathBuf> = self.changed(&before);
        let store = self.store();
        let sound = |path: &PathBuf| kept.iter().any(|name| store.join(name) == **path);
        assert!(changed.iter().all(sound), "{refusal}: {changed:?}");
        refusal
    }

    /// The honest publisher's next release is taken.
    pub(super) fn recovers(&mut self) -> Versions {
        self.refresh_next().expect("the attack is over")
    }

    /// Asks for a new release of the honest publisher.
    pub(super) fn refresh_next(&mut self) -> Result<Versions, Refusal> {
        self.author.release(&["targets", "snapshot", "timestamp"]);
        self.refresh()
    }

    /// Every file under the folder that the store is in, with its content.
    pub(super) fn everything(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        collect(self.folder.path(), &mut found);
        found
    }

    fn changed(&self, before: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
        let after = self.everything();
        let all = before.keys().chain(after.keys());
        all.filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
    }
}

fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
}
