//! Releases of engines in the store of a platform, brought to where the host is asked to put them in force.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use outrigger_api::control::ReleaseName;
use outrigger_api::release::{Part, State};
use outrigger_update::package::{Package, PackageLimits, tree_digest};
pub use outrigger_update::store::{Active, Release};
use outrigger_update::store::{Digest, Offer, ReleaseId, Store};
use rustix::fs::{Mode, OFlags, openat};
use semver::Version;
use sha2::{Digest as _, Sha256};

use crate::clock::wait_for;
use crate::{EngineSetup, bait};

/// The releases of one platform. The store is open only while something is changed.
#[derive(Debug)]
pub struct Releases {
    state: PathBuf,
}

/// A release that has passed preflight, and stands in shadow.
#[derive(Debug, Clone)]
pub struct Staged {
    /// What the host is asked for.
    pub name: ReleaseName,
    /// Where its files lie.
    pub folder: PathBuf,
    id: ReleaseId,
}

impl Releases {
    /// Those of the platform whose files lie below `folder`.
    pub fn of(folder: &Path) -> Self {
        Self { state: folder.join("state") }
    }

    /// Puts a release of `part` of `engine` into the free slot, in shadow, as the tool leaves it that has tried it.
    ///
    /// # Errors
    ///
    /// If the store or the disk refuses.
    pub fn stage(&self, engine: &EngineSetup, part: Part, version: &str) -> Result<Staged> {
        let files = match part {
            Part::Code => engine.code_files()?,
            Part::Content => engine.content_files(),
        };
        let bytes: usize = files.iter().map(|(_, bytes, _)| bytes.len()).sum();
        let offer = Offer {
            engine: engine.name().parse()?,
            part,
            version: Version::parse(version)?,
            package: package(&files)?,
            repository: "tests".to_owned(),
        };
        self.lay(&offer, bytes as u64, |folder| {
            for (path, bytes, program) in &files {
                put(folder, path, bytes, *program)?;
            }
            let tree = tree_digest(folder, &PackageLimits::default());
            tree.map(|tree| Digest(tree.0)).map_err(std::io::Error::other)
        })
    }

    /// Puts a release as its publisher packed it into the free slot, as preflight leaves it, whatever preflight would
    /// say of it.
    ///
    /// # Errors
    ///
    /// If the package, the store or the disk refuses.
    pub fn stage_package(&self, packed: &[u8]) -> Result<Staged> {
        let package = Package::read(packed, &PackageLimits::default())?;
        let release = package.release();
        let offer = Offer {
            engine: release.engine.clone(),
            part: release.part,
            version: release.version.clone(),
            package: Digest(Sha256::digest(packed).into()),
            repository: "tests".to_owned(),
        };
        self.lay(&offer, package.size(), |folder| {
            let unpacked = package.unpack(folder, &mut |_, _| {});
            unpacked.map_err(std::io::Error::other)?;
            Ok(Digest(package.tree().0))
        })
    }

    fn lay(
        &self,
        offer: &Offer,
        bytes: u64,
        unpack: impl FnOnce(BorrowedFd<'_>) -> Result<Digest, std::io::Error>,
    ) -> Result<Staged> {
        let now = Timestamp::now();
        let mut store = Store::open(&self.state)?;
        let id = store.offer(offer, now)?;
        store.advance(id, State::Verified, "", now)?;
        let standby = store.stage(id, bytes, now, unpack)?;
        store.advance(id, State::Preflight, "", now)?;
        store.advance(id, State::Shadow, "", now)?;
        let name = ReleaseName { part: offer.part, version: offer.version.to_string() };
        Ok(Staged { name, folder: standby.dir, id })
    }

    /// Puts it in force for good, as if it had stood shadow and probation.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub fn put_in_force(&self, staged: &Staged) -> Result<()> {
        let mut store = Store::open(&self.state)?;
        store.begin_probation(&[staged.id], "by a test", Timestamp::now())?;
        store.confirm(&[staged.id], "by a test", Timestamp::now())?;
        Ok(())
    }

    /// Puts it in force on probation, as when it has just stood its shadow.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub fn put_on_probation(&self, staged: &Staged) -> Result<()> {
        let mut store = Store::open(&self.state)?;
        Ok(store.begin_probation(&[staged.id], "by a test", Timestamp::now())?)
    }

    /// Stages and puts in force both parts of `engine`, for a platform that is not started yet.
    ///
    /// # Errors
    ///
    /// As [`Self::stage`].
    pub fn install(&self, engine: &EngineSetup, version: &str) -> Result<()> {
        for part in Part::ALL {
            self.put_in_force(&self.stage(engine, part, version)?)?;
        }
        Ok(())
    }

    /// Its story in the journal.
    ///
    /// # Errors
    ///
    /// If the journal cannot be read.
    pub fn story(&self, staged: &Staged) -> Result<Release> {
        Ok(Store::open_read(&self.state)?.release(staged.id)?)
    }

    /// Waits until the journal says that it stands in `state`; gives its story.
    ///
    /// # Errors
    ///
    /// If that does not come about within `limit`; tells its story.
    pub fn wait_state(&self, staged: &Staged, state: State, limit: Duration) -> Result<Release> {
        let what = format!("{} {} {state}", staged.name.part, staged.name.version);
        let found = wait_for(&what, limit, || {
            Ok(Some(self.story(staged)?).filter(|story| story.state == state))
        });
        found.with_context(|| format!("its story: {:?}", self.story(staged)))
    }

    /// Why the host will not take its package again, if that is so.
    ///
    /// # Errors
    ///
    /// If the journal cannot be read.
    pub fn known_bad(&self, staged: &Staged) -> Result<Option<String>> {
        let store = Store::open_read(&self.state)?;
        let package = store.release(staged.id)?.package;
        Ok(store.known_bad(&package)?.map(|bad| bad.reason))
    }

    /// What is in force of `part` of `engine`.
    ///
    /// # Errors
    ///
    /// If the journal cannot be read, or nothing is.
    pub fn active(&self, engine: &str, part: Part) -> Result<Active> {
        let store = Store::open_read(&self.state)?;
        store.active(&engine.parse()?, part)?.context("nothing is in force")
    }
}

/// The sum of a package with `files`: the same ones make the same package.
fn package(files: &[(String, Vec<u8>, bool)]) -> Result<Digest> {
    let mut bytes = Vec::new();
    for (path, content, _) in files {
        bytes.extend_from_slice(path.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(bait::sha256(content).as_bytes());
    }
    Ok(bait::sha256(&bytes).parse()?)
}

/// Puts in force, for good, what stands in shadow of `engine` below `state`, as a host does that has tried it.
///
/// # Errors
///
/// If nothing stands in shadow, or the store refuses.
pub fn end_trials(state: &Path, engine: &str) -> Result<()> {
    let mut store = Store::open(state)?;
    let tried = store.shadowing(&engine.parse()?)?;
    anyhow::ensure!(!tried.is_empty(), "nothing of {engine} stands in shadow");
    let releases: Vec<ReleaseId> = tried.into_iter().map(|(_, one)| one.release).collect();
    store.begin_probation(&releases, "by a test", Timestamp::now())?;
    store.confirm(&releases, "by a test", Timestamp::now())?;
    Ok(())
}

fn put(folder: BorrowedFd<'_>, path: &str, bytes: &[u8], program: bool) -> std::io::Result<()> {
    let mode = Mode::from_raw_mode(if program { 0o755 } else { 0o644 });
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(folder, path, flags, mode)?;
    // Whatever the mask of this process lets through.
    rustix::fs::fchmod(&file, mode)?;
    File::from(file).write_all(bytes)
}
