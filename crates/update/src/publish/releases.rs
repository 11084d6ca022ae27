//! The releases: added and withdrawn, and signed by the holders of the targets keys.

use std::path::Path;

use jiff::Timestamp;
use outrigger_api::key::EngineName;
use outrigger_api::release::Part;
use outrigger_api::settings::{Offered, Release, Releases, package_target, releases_target};
use semver::Version;

use crate::package::{Package, PackageLimits};
use crate::publish::document::{Envelope, Head, Pinned, TargetsDoc, time};
use crate::publish::{Key, PublishError, Publisher, Role, Signed, sign, standing};

/// Name of the list of targets that is not signed by enough keys yet.
pub(super) const PENDING_TARGETS: &str = "targets.json";

impl Publisher {
    /// Adds the release that `packed` is to what is pending. Signatures of what was pending are dropped.
    ///
    /// # Errors
    ///
    /// [`PublishError::Refused`] as a machine would refuse it, [`PublishError::Taken`] if there is a
    /// release of its engine, part and version.
    pub fn add(&mut self, packed: &[u8], now: Timestamp) -> Result<Release, PublishError> {
        let package = Package::read(packed, &PackageLimits::default())?;
        let release = package.release();
        let target = package_target(&release.engine, release.part, &release.version);
        let mut next = self.next_targets(now)?;
        if let Some(known) = next.targets.get(&target) {
            let same = *known == Pinned::of(packed);
            return Err(PublishError::Taken { target, same });
        }
        let mut releases = self.releases(&next, &release.engine)?;
        let (part, version) = (release.part, release.version.clone());
        releases.releases.push(Offered { part, version, published: time(now) });
        let pinned = self.folder.write_target(&target, packed)?;
        next.targets.insert(target, pinned);
        self.write_releases(&mut next, releases)?;
        Ok(Release { files: release.files.clone(), ..release.clone() })
    }

    /// Takes a release out of what is pending, and with it out of what is offered once that is published.
    ///
    /// # Errors
    ///
    /// [`PublishError::NotReleased`].
    pub fn withdraw(
        &mut self,
        engine: &EngineName,
        part: Part,
        version: &Version,
        now: Timestamp,
    ) -> Result<(), PublishError> {
        let target = package_target(engine, part, version);
        let mut next = self.next_targets(now)?;
        if next.targets.remove(&target).is_none() {
            return Err(PublishError::NotReleased(target));
        }
        let mut releases = self.releases(&next, engine)?;
        releases.releases.retain(|offered| (offered.part, &offered.version) != (part, version));
        self.write_releases(&mut next, releases)
    }

    /// Signs what is pending with `keys`; where nothing is, the releases that are published, for longer. It
    /// is good until `expires`, unless somebody has signed it for another time already.
    ///
    /// Before anything is signed, every package that was not published yet is read again.
    ///
    /// # Errors
    ///
    /// [`PublishError::NotSigner`] for a key that is none of the role's, and what is wrong with a package.
    pub fn sign_targets(
        &mut self,
        keys: &[Key],
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Signed, PublishError> {
        let root = self.root_to_sign_for()?.signed;
        self.check_root(&root, now)?;
        let pending = self.folder.pending::<TargetsDoc>(PENDING_TARGETS)?;
        let mut pending = match pending {
            Some(pending) => pending,
            None => Envelope::new(self.next_targets(now)?),
        };
        let of_role = root.role(Role::Targets);
        for key in keys {
            if !of_role.has(key.id()) {
                let of = "targets".to_owned();
                return Err(PublishError::NotSigner { id: key.id().to_owned(), of });
            }
        }
        let published = self.targets()?.map(|targets| targets.signed.targets).unwrap_or_default();
        for (name, pinned) in &pending.signed.targets {
            if published.get(name) != Some(pinned) {
                self.check_target(name, pinned)?;
            }
        }
        let version = pending.signed.head.version;
        if pending.signers(&root)?.is_empty() {
            pending.signatures.clear();
            pending.signed.head = Head::new(Role::Targets, version, expires);
        }
        sign(&mut pending, &[&root], keys)?;
        self.folder.write_pending(PENDING_TARGETS, &pending.to_bytes())?;
        standing(&pending, &root)
    }

    /// Drops what is pending of the releases.
    ///
    /// # Errors
    ///
    /// [`PublishError::Io`].
    pub fn discard(&mut self) -> Result<(), PublishError> {
        self.folder.drop_pending(PENDING_TARGETS)
    }

    /// What is pending, or what is published, as the next version that nobody has signed.
    fn next_targets(&self, now: Timestamp) -> Result<TargetsDoc, PublishError> {
        let published = self.targets()?.map(|targets| targets.signed);
        let version = published.as_ref().map_or(0, |targets| targets.head.version) + 1;
        let pending = self.folder.pending::<TargetsDoc>(PENDING_TARGETS)?;
        let targets = pending.map(|pending| pending.signed).or(published);
        let targets = targets.map(|targets| targets.targets).unwrap_or_default();
        // The time is set when the first holder signs.
        Ok(TargetsDoc { head: Head::new(Role::Targets, version, now), targets })
    }

    /// The releases of `engine` by `targets`.
    fn releases(
        &self,
        targets: &TargetsDoc,
        engine: &EngineName,
    ) -> Result<Releases, PublishError> {
        let name = releases_target(engine);
        let Some(pinned) = targets.targets.get(&name) else {
            return Ok(Releases { engine: engine.clone(), releases: Vec::new() });
        };
        let bytes = self.folder.target(&name, pinned)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(Releases::parse(&text, &self.folder.target_path(&name, pinned))?)
    }

    fn write_releases(
        &mut self,
        targets: &mut TargetsDoc,
        mut releases: Releases,
    ) -> Result<(), PublishError> {
        releases
            .releases
            .sort_by(|one, other| (one.part, &one.version).cmp(&(other.part, &other.version)));
        let name = releases_target(&releases.engine);
        let text = releases.to_toml();
        // What no machine would read is not written: too many releases, say.
        Releases::parse(&text, Path::new(&name))?;
        let pinned = self.folder.write_target(&name, text.as_bytes())?;
        targets.targets.insert(name, pinned);
        let envelope = Envelope::new(targets.clone());
        self.folder.write_pending(PENDING_TARGETS, &envelope.to_bytes())
    }

    /// Refuses a target that is not the file that its name says.
    fn check_target(&self, name: &str, pinned: &Pinned) -> Result<(), PublishError> {
        let bytes = self.folder.target(name, pinned)?;
        let path = || self.folder.target_path(name, pinned);
        if name.ends_with(".toml") {
            let releases = Releases::parse(&String::from_utf8_lossy(&bytes), &path())?;
            if releases_target(&releases.engine) != name {
                let what = "lists the releases of another engine".to_owned();
                return Err(PublishError::Damaged { path: path(), what });
            }
            return Ok(());
        }
        let package = Package::read(&bytes, &PackageLimits::default())?;
        let release = package.release();
        if package_target(&release.engine, release.part, &release.version) != name {
            let what = "is the package of another release".to_owned();
            return Err(PublishError::Damaged { path: path(), what });
        }
        Ok(())
    }
}
