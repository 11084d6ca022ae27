//! The root: which keys sign for which role, changed and signed by the holders of the root keys.

use jiff::Timestamp;

use crate::publish::document::{
    Envelope, Head, KeyDoc, RootDoc, Signable, SnapshotDoc, TargetsDoc, TimestampDoc,
};
use crate::publish::{self, Key, PublicKey, PublishError, Publisher, Role, Signed, sign};

/// Name of the root that is not signed by enough keys yet.
pub(super) const PENDING_ROOT: &str = "root.json";

/// The keys of a role, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many must sign.
    pub threshold: u32,
}

/// The keys of every role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// Those of the root.
    pub root: RoleKeys,
    /// Those of the releases.
    pub targets: RoleKeys,
    /// Those of the snapshot.
    pub snapshot: RoleKeys,
    /// Those of the timestamp.
    pub timestamp: RoleKeys,
}

/// What becomes different in a new root.
#[derive(Debug, Clone, Default)]
pub struct RootChange {
    /// Keys that a role gets.
    pub add: Vec<(Role, PublicKey)>,
    /// Keys that a role loses, by id.
    pub remove: Vec<(Role, String)>,
    /// How many of its keys must sign for a role. A role that gets its first key has 1.
    pub thresholds: Vec<(Role, u32)>,
}

impl Roles {
    /// One key for each: root, targets, and one for both snapshot and timestamp.
    pub fn simple(root: &PublicKey, targets: &PublicKey, online: &PublicKey) -> Self {
        let one = |key: &PublicKey| RoleKeys { keys: vec![key.clone()], threshold: 1 };
        Self {
            root: one(root),
            targets: one(targets),
            snapshot: one(online),
            timestamp: one(online),
        }
    }

    fn parts(&self) -> [(Role, &RoleKeys); 4] {
        [
            (Role::Root, &self.root),
            (Role::Targets, &self.targets),
            (Role::Snapshot, &self.snapshot),
            (Role::Timestamp, &self.timestamp),
        ]
    }
}

impl From<&Roles> for RootChange {
    fn from(roles: &Roles) -> Self {
        let mut change = Self::default();
        for (role, RoleKeys { keys, threshold }) in roles.parts() {
            change.add.extend(keys.iter().map(|key| (role, key.clone())));
            change.thresholds.push((role, *threshold));
        }
        change
    }
}

impl Publisher {
    /// Makes the next root pending: as the one in force, or the one that is pending, but for `change`.
    /// Signatures of what was pending are dropped.
    ///
    /// # Errors
    ///
    /// [`PublishError::NoSuchKey`].
    pub fn change_root(
        &mut self,
        change: &RootChange,
        expires: Timestamp,
    ) -> Result<(), PublishError> {
        let current = self.root()?.map(|root| root.signed);
        let version = current.as_ref().map_or(0, |root| root.head.version) + 1;
        let pending = self.folder.pending::<RootDoc>(PENDING_ROOT)?.map(|root| root.signed);
        let head = Head::new(Role::Root, version, expires);
        let mut root = pending.or(current).map_or_else(
            || RootDoc {
                head: head.clone(),
                consistent_snapshot: true,
                keys: [].into(),
                roles: Role::ALL.map(|role| (role.name().to_owned(), Default::default())).into(),
            },
            |root| RootDoc { head: head.clone(), ..root },
        );
        for (role, key) in &change.add {
            root.keys.insert(key.id().to_owned(), KeyDoc::from(key));
            let of_role = root.roles.entry(role.name().to_owned()).or_default();
            if !of_role.has(key.id()) {
                of_role.keyids.push(key.id().to_owned());
            }
            of_role.threshold = of_role.threshold.max(1);
        }
        for (role, id) in &change.remove {
            let of_role = root.roles.entry(role.name().to_owned()).or_default();
            let before = of_role.keyids.len();
            of_role.keyids.retain(|known| known != id);
            if of_role.keyids.len() == before {
                return Err(PublishError::NoSuchKey { role: *role, id: id.clone() });
            }
        }
        for (role, threshold) in &change.thresholds {
            root.roles.entry(role.name().to_owned()).or_default().threshold = *threshold;
        }
        let used = |id: &String| root.roles.values().any(|role| role.keyids.contains(id));
        let unused: Vec<String> = root.keys.keys().filter(|id| !used(id)).cloned().collect();
        unused.iter().for_each(|id| _ = root.keys.remove(id));
        self.folder.write_pending(PENDING_ROOT, &Envelope::new(root).to_bytes())
    }

    /// Signs the pending root with `keys`. It is complete once the keys of the root in force and those of the
    /// new one have both signed, each to its threshold. It is put in force then, unless what is published
    /// would no longer be taken: then it waits for [`Publisher::publish`], so that machines never see the one
    /// without the other.
    ///
    /// # Errors
    ///
    /// [`PublishError::Nothing`] if none is pending, [`PublishError::RoleUnmet`] if a role could never be
    /// met, [`PublishError::NotSigner`] for a key that is none of a root's.
    pub fn sign_root(&mut self, keys: &[Key]) -> Result<Signed, PublishError> {
        let nothing = "no root is pending: change it with --add, --remove or --threshold, or renew it with --renew";
        let pending = self.folder.pending::<RootDoc>(PENDING_ROOT)?;
        let mut pending = pending.ok_or(PublishError::Nothing(nothing))?;
        for role in Role::ALL {
            let of_role = pending.signed.role(role);
            let (keys, threshold) = (of_role.keyids.len(), of_role.threshold);
            if threshold == 0 || u32::try_from(keys).is_ok_and(|keys| keys < threshold) {
                return Err(PublishError::RoleUnmet { role, keys, threshold: threshold.max(1) });
            }
        }
        let current = self.root()?;
        let new = pending.signed.clone();
        let roots: Vec<&RootDoc> = current.iter().map(|root| &root.signed).chain([&new]).collect();
        for key in keys {
            let signs = |root: &&RootDoc| root.role(Role::Root).has(key.id());
            if !roots.iter().any(signs) {
                let of = format!("root {}", new.head.version);
                return Err(PublishError::NotSigner { id: key.id().to_owned(), of });
            }
        }
        sign(&mut pending, &roots, keys)?;
        let mut signed = standing(&pending, roots.first().copied().filter(|_| roots.len() > 1))?;
        let bytes = pending.to_bytes();
        self.folder.write_pending(PENDING_ROOT, &bytes)?;
        if signed.missing == 0 && self.leaves_what_is_published(&new)? {
            self.install_root(&pending)?;
            signed.in_force = true;
        }
        Ok(signed)
    }

    /// Makes the repository's first root of `roles`, signed with `keys`: all in one step.
    ///
    /// # Errors
    ///
    /// As [`Publisher::change_root`] and [`Publisher::sign_root`], and [`PublishError::ThresholdUnmet`] if
    /// `keys` do not suffice.
    pub fn init(
        &mut self,
        roles: &Roles,
        expires: Timestamp,
        keys: &[Key],
    ) -> Result<Signed, PublishError> {
        self.change_root(&RootChange::from(roles), expires)?;
        let signed = self.sign_root(keys)?;
        if signed.missing > 0 {
            return Err(PublishError::ThresholdUnmet {
                what: format!("root {}", signed.version),
                have: signed.by.len(),
                threshold: roles.root.threshold,
                hint: "it stays pending",
            });
        }
        Ok(signed)
    }

    /// Puts a root in force that is signed by enough.
    pub(super) fn install_root(&mut self, root: &Envelope<RootDoc>) -> Result<(), PublishError> {
        let bytes = root.to_bytes();
        sigstore_tuf::TrustedMetadataSet::from_root(&bytes)?;
        let name = format!("{}.root.json", root.signed.head.version);
        self.folder.write_metadata(&name, &bytes)?;
        self.folder.drop_pending(PENDING_ROOT)
    }

    /// Whether `root` lets the keys sign that signed what is published.
    fn leaves_what_is_published(&self, root: &RootDoc) -> Result<bool, PublishError> {
        let Some(newest) = self.folder.published()? else { return Ok(true) };
        let targets = format!("{}.targets.json", newest.targets);
        let snapshot = format!("{}.snapshot.json", newest.snapshot);
        Ok(self.is_signed::<TargetsDoc>(&targets, root)?
            && self.is_signed::<SnapshotDoc>(&snapshot, root)?
            && self.is_signed::<TimestampDoc>("timestamp.json", root)?)
    }

    fn is_signed<T: Signable>(&self, name: &str, root: &RootDoc) -> Result<bool, PublishError> {
        match self.folder.metadata::<T>(name)? {
            Some(envelope) => Ok(publish::standing(&envelope, root)?.missing == 0),
            None => Ok(false),
        }
    }

    /// Refuses a root that has expired.
    pub(super) fn check_root(&self, root: &RootDoc, now: Timestamp) -> Result<(), PublishError> {
        if root.head.is_expired(now) {
            return Err(PublishError::Expired {
                what: format!("root {}", root.head.version),
                expires: root.head.expires.clone(),
                hint: "renew it with `outrigger package root --renew`, signed by its holders",
            });
        }
        Ok(())
    }
}

/// How far a new root is signed: by the keys of the one in force, if there is one, and by its own.
pub(super) fn standing(
    pending: &Envelope<RootDoc>,
    current: Option<&RootDoc>,
) -> Result<Signed, PublishError> {
    let mut signed = publish::standing(pending, &pending.signed)?;
    if let Some(current) = current {
        let by_old = publish::standing(pending, current)?;
        signed.missing = signed.missing.max(by_old.missing);
        signed.by.extend(by_old.by);
        signed.by.sort();
        signed.by.dedup();
    }
    Ok(signed)
}
