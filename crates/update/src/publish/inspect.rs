//! What a package or a repository holds, for people and scripts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outrigger_api::settings::{Releases, package_target};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::package::{Package, PackageLimits, Refusal};
use crate::publish::document::{
    Envelope, RootDoc, Signable, SnapshotDoc, TargetsDoc, TimestampDoc,
};
use crate::publish::files::Folder;
use crate::publish::releases::PENDING_TARGETS;
use crate::publish::root::PENDING_ROOT;
use crate::publish::{PublishError, Role, root, standing};

/// What a package holds.
#[derive(Debug, Serialize)]
pub struct PackageView {
    /// Whose it is.
    pub engine: String,
    /// Code or content.
    pub part: &'static str,
    /// Its version.
    pub version: String,
    /// Its content's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The version of its content's schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// The versions of the code that its content is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// The target that it becomes.
    pub target: String,
    /// Its bytes as transferred.
    pub packed_bytes: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// The digest of a folder that it is unpacked to.
    pub tree: String,
    /// Its files.
    pub files: Vec<FileView>,
}

/// A file of a package.
#[derive(Debug, Serialize)]
pub struct FileView {
    /// Where it lies.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Whether it may be run.
    pub executable: bool,
}

/// What a repository holds.
#[derive(Debug, Serialize)]
pub struct RepositoryView {
    /// Where it lies.
    pub path: PathBuf,
    /// The roles in force, the root first; a role that signed nothing yet is not there.
    pub roles: Vec<RoleView>,
    /// The releases that are offered.
    pub releases: Vec<ReleaseView>,
    /// What is not signed by enough yet.
    pub pending: Vec<PendingView>,
    /// What needs somebody's attention; empty where all is well.
    pub problems: Vec<String>,
}

/// What a role signed.
#[derive(Debug, Serialize)]
pub struct RoleView {
    /// Which role.
    pub role: &'static str,
    /// The version of what it signed.
    pub version: u64,
    /// When that expires.
    pub expires: String,
    /// Whether it has.
    pub expired: bool,
    /// Signatures that it needs.
    pub threshold: u32,
    /// The keys that may sign, by id.
    pub keys: Vec<String>,
    /// Those that have.
    pub signed_by: Vec<String>,
}

/// A release that is offered.
#[derive(Debug, Serialize, Clone, PartialEq, Eq)]
pub struct ReleaseView {
    /// Whose it is.
    pub engine: String,
    /// Code or content.
    pub part: &'static str,
    /// Its version.
    pub version: String,
    /// When it was added.
    pub published: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// What is pending of a role.
#[derive(Debug, Serialize)]
pub struct PendingView {
    /// What it would be, and who signed it.
    #[serde(flatten)]
    pub role: RoleView,
    /// Signatures that are still missing.
    pub missing: u32,
    /// Releases that it adds.
    pub adds: Vec<ReleaseView>,
    /// Releases that it withdraws.
    pub withdraws: Vec<ReleaseView>,
    /// What it changes in the keys of roles.
    pub changes: Vec<String>,
}

/// What the package `packed` holds.
///
/// # Errors
///
/// What a machine would refuse it for.
pub fn inspect_package(packed: &[u8]) -> Result<PackageView, Refusal> {
    let package = Package::read(packed, &PackageLimits::default())?;
    let release = package.release();
    let content = release.content.as_ref();
    let files = release.files.iter().map(|file| FileView {
        path: file.path.clone(),
        bytes: file.digest.size,
        sha256: hex::encode(file.digest.sha256),
        executable: file.executable,
    });
    Ok(PackageView {
        engine: release.engine.to_string(),
        part: release.part.name(),
        version: release.version.to_string(),
        kind: content.map(|content| content.kind.name()),
        schema: content.map(|content| content.schema),
        interpreter: content.map(|content| content.interpreter.to_string()),
        target: package_target(&release.engine, release.part, &release.version),
        packed_bytes: packed.len() as u64,
        bytes: package.size(),
        sha256: hex::encode(Sha256::digest(packed)),
        tree: package.tree().to_string(),
        files: files.collect(),
    })
}

/// What the repository in `folder` holds at `now`.
///
/// # Errors
///
/// If there is none, or a file of it cannot be read.
pub fn inspect_repository(folder: &Path, now: Timestamp) -> Result<RepositoryView, PublishError> {
    let folder = Folder::new(folder);
    let version = folder.root_version()?;
    let root = folder.metadata::<RootDoc>(&format!("{version}.root.json"))?;
    let pending_root = folder.pending::<RootDoc>(PENDING_ROOT)?;
    let path = folder.path().to_owned();
    let mut view =
        RepositoryView { path, roles: vec![], releases: vec![], pending: vec![], problems: vec![] };
    if root.is_none() && pending_root.is_none() {
        return Err(PublishError::NoRepository(view.path));
    }
    if let Some(root) = &root {
        view.role(root, &root.signed, now)?;
        if let Some(newest) = folder.published()? {
            let name = format!("{}.targets.json", newest.targets);
            if let Some(targets) = folder.metadata::<TargetsDoc>(&name)? {
                view.role(&targets, &root.signed, now)?;
                view.releases = releases(&folder, &targets.signed)?;
            }
            let name = format!("{}.snapshot.json", newest.snapshot);
            if let Some(snapshot) = folder.metadata::<SnapshotDoc>(&name)? {
                view.role(&snapshot, &root.signed, now)?;
            }
            if let Some(timestamp) = folder.metadata::<TimestampDoc>("timestamp.json")? {
                view.role(&timestamp, &root.signed, now)?;
            }
        } else {
            view.problems.push("nothing is published yet".to_owned());
        }
    }
    let mut signs = root.as_ref().map(|root| &root.signed);
    if let Some(pending) = &pending_root {
        let pending_view = pending_root_view(pending, signs, now)?;
        if pending_view.missing == 0 {
            signs = Some(&pending.signed);
        }
        view.pending.push(pending_view);
    }
    if let (Some(root), Some(pending)) = (signs, folder.pending::<TargetsDoc>(PENDING_TARGETS)?) {
        let after = releases(&folder, &pending.signed)?;
        let less = |all: &[ReleaseView], without: &[ReleaseView]| {
            all.iter().filter(|one| !without.contains(one)).cloned().collect()
        };
        view.pending.push(PendingView {
            role: role_view(&pending, root, now)?,
            missing: standing(&pending, root)?.missing,
            adds: less(&after, &view.releases),
            withdraws: less(&view.releases, &after),
            changes: Vec::new(),
        });
    }
    Ok(view)
}

impl RepositoryView {
    fn role<T: Signable>(
        &mut self,
        envelope: &Envelope<T>,
        root: &RootDoc,
        now: Timestamp,
    ) -> Result<(), PublishError> {
        let role = role_view(envelope, root, now)?;
        if role.expired {
            self.problems.push(format!(
                "{} {} expired at {}: machines take nothing until it is renewed",
                role.role, role.version, role.expires
            ));
        }
        let missing = standing(envelope, root)?.missing;
        if missing > 0 {
            self.problems.push(format!(
                "{} {} is signed by {} of {} keys that may sign today: sign it again",
                role.role,
                role.version,
                role.signed_by.len(),
                role.threshold
            ));
        }
        self.roles.push(role);
        Ok(())
    }
}

fn role_view<T: Signable>(
    envelope: &Envelope<T>,
    root: &RootDoc,
    now: Timestamp,
) -> Result<RoleView, PublishError> {
    let of_role = root.role(T::ROLE);
    let head = envelope.signed.head();
    Ok(RoleView {
        role: T::ROLE.name(),
        version: head.version,
        expires: head.expires.clone(),
        expired: head.is_expired(now),
        threshold: of_role.threshold,
        keys: of_role.keyids,
        signed_by: envelope.signers(root)?,
    })
}

fn pending_root_view(
    pending: &Envelope<RootDoc>,
    old: Option<&RootDoc>,
    now: Timestamp,
) -> Result<PendingView, PublishError> {
    let signed = root::standing(pending, old)?;
    let role = RoleView { signed_by: signed.by, ..role_view(pending, &pending.signed, now)? };
    let mut changes = Vec::new();
    for role in Role::ALL {
        let before = old.map(|old| old.role(role)).unwrap_or_default();
        let after = pending.signed.role(role);
        let gone = before.keyids.iter().filter(|id| !after.keyids.contains(id));
        let new = after.keyids.iter().filter(|id| !before.keyids.contains(id));
        changes.extend(gone.map(|id| format!("{role} loses key {id}")));
        changes.extend(new.map(|id| format!("{role} gets key {id}")));
        if before.threshold != after.threshold {
            let (before, after) = (before.threshold, after.threshold);
            changes.push(format!("{role} needs {after} signatures, before {before}"));
        }
    }
    let (missing, adds, withdraws) = (signed.missing, Vec::new(), Vec::new());
    Ok(PendingView { role, missing, adds, withdraws, changes })
}

/// The releases that `targets` offer, by engine, part and version.
fn releases(folder: &Folder, targets: &TargetsDoc) -> Result<Vec<ReleaseView>, PublishError> {
    let mut found = BTreeMap::new();
    for (name, pinned) in targets.targets.iter().filter(|(name, _)| name.ends_with(".toml")) {
        let bytes = folder.target(name, pinned)?;
        let path = folder.target_path(name, pinned);
        let list = Releases::parse(&String::from_utf8_lossy(&bytes), &path)?;
        for offered in list.releases {
            let target = package_target(&list.engine, offered.part, &offered.version);
            let Some(package) = targets.targets.get(&target) else {
                let what = format!("offers {target}, which is no target");
                return Err(PublishError::Damaged { path, what });
            };
            let view = ReleaseView {
                engine: list.engine.to_string(),
                part: offered.part.name(),
                version: offered.version.to_string(),
                published: offered.published,
                bytes: package.length,
                sha256: package.hashes.sha256.clone(),
            };
            found.insert((list.engine.clone(), offered.part, offered.version), view);
        }
    }
    Ok(found.into_values().collect())
}
