//! Publication: what was signed becomes the newest, in one step, and stays so for a short time.

use jiff::Timestamp;
use sigstore_tuf::TrustedMetadataSet;

use crate::publish::document::{
    Envelope, Head, PinnedMeta, RootDoc, Signable, SnapshotDoc, SnapshotMeta, TargetsDoc,
    TimestampDoc, TimestampMeta,
};
use crate::publish::releases::PENDING_TARGETS;
use crate::publish::{Key, PublishError, Publisher, Role, sign, standing};

/// When what is published expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// The snapshot.
    pub snapshot: Timestamp,
    /// The timestamp: how long a machine may be kept from the newest without telling.
    pub timestamp: Timestamp,
}

/// The versions that are the newest now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Published {
    /// Of the root.
    pub root: u64,
    /// Of the releases.
    pub targets: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the timestamp.
    pub timestamp: u64,
}

impl Publisher {
    /// Publishes what is pending, a root that is complete and releases, and renews snapshot and timestamp.
    /// Signed with those of `keys` that the roles take.
    ///
    /// # Errors
    ///
    /// [`PublishError::ThresholdUnmet`] if what is pending is not signed by enough, or `keys` do not suffice
    /// for snapshot and timestamp. Then nothing is published.
    pub fn publish(
        &mut self,
        keys: &[Key],
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Published, PublishError> {
        let root = self.root_to_sign_for()?;
        let pending = self.folder.pending::<TargetsDoc>(PENDING_TARGETS)?;
        if let Some(targets) = pending.as_ref().or(self.targets()?.as_ref()) {
            let hint = "its holders sign with `outrigger package sign`; until then `--refresh` renews the timestamp";
            check_threshold(targets, &root.signed, hint)?;
        }
        self.put_in_force(&root, pending.as_ref(), keys, lifetimes, now)
    }

    /// Renews the timestamp, and the snapshot where it must be; what is pending stays so.
    ///
    /// # Errors
    ///
    /// As [`Publisher::publish`].
    pub fn refresh(
        &mut self,
        keys: &[Key],
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Published, PublishError> {
        let root = self.root_in_force()?;
        self.put_in_force(&root, None, keys, lifetimes, now)
    }

    fn put_in_force(
        &mut self,
        new_root: &Envelope<RootDoc>,
        pending: Option<&Envelope<TargetsDoc>>,
        keys: &[Key],
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Published, PublishError> {
        let root = &new_root.signed;
        self.check_root(root, now)?;
        for key in keys {
            let signs = |role| root.role(role).has(key.id());
            if ![Role::Snapshot, Role::Timestamp].into_iter().any(signs) {
                let of = "snapshot or timestamp".to_owned();
                return Err(PublishError::NotSigner { id: key.id().to_owned(), of });
            }
        }
        let newest = self.folder.published()?;
        let targets = match (pending, &newest) {
            (Some(pending), _) => pending.to_bytes(),
            (None, Some(newest)) => {
                self.folder.metadata_bytes(&format!("{}.targets.json", newest.targets))?
            }
            (None, None) => {
                let nothing = "nothing is signed yet: add a release with `outrigger package sign`";
                return Err(PublishError::Nothing(nothing));
            }
        };
        let targets_version = match (pending, &newest) {
            (Some(pending), _) => pending.signed.version(),
            (None, newest) => newest.as_ref().map_or(0, |newest| newest.targets),
        };
        let snapshot = self.snapshot(root, (targets_version, &targets), keys, lifetimes, now)?;
        let snapshot_version = snapshot.signed.version();
        let snapshot = snapshot.to_bytes();
        let version = newest.map_or(0, |newest| newest.timestamp) + 1;
        let mut timestamp = Envelope::new(TimestampDoc {
            head: Head::new(Role::Timestamp, version, lifetimes.timestamp),
            meta: TimestampMeta { snapshot: PinnedMeta::of(&snapshot, snapshot_version) },
        });
        sign(&mut timestamp, &[root], keys)?;
        check_threshold(&timestamp, root, KEYS_HINT)?;
        let timestamp = timestamp.to_bytes();
        try_as_a_client(&new_root.to_bytes(), &timestamp, &snapshot, &targets, now)?;

        // What is new first; only the last file, which names it all, takes the place of another.
        self.folder.write_metadata(&format!("{targets_version}.targets.json"), &targets)?;
        self.folder.write_metadata(&format!("{snapshot_version}.snapshot.json"), &snapshot)?;
        if self.folder.root_version()? < root.version() {
            self.install_root(new_root)?;
        }
        self.folder.write_metadata("timestamp.json", &timestamp)?;
        if pending.is_some() {
            self.folder.drop_pending(PENDING_TARGETS)?;
        }
        let root = root.version();
        Ok(Published {
            root,
            targets: targets_version,
            snapshot: snapshot_version,
            timestamp: version,
        })
    }

    /// The snapshot of `targets`: the one in force where it says the same, is signed by the keys of today
    /// and lives as long as the timestamp; else a new one.
    fn snapshot(
        &self,
        root: &RootDoc,
        (targets_version, targets): (u64, &[u8]),
        keys: &[Key],
        lifetimes: Lifetimes,
        now: Timestamp,
    ) -> Result<Envelope<SnapshotDoc>, PublishError> {
        let meta = SnapshotMeta { targets: PinnedMeta::of(targets, targets_version) };
        let newest = self.folder.published()?.map_or(0, |newest| newest.snapshot);
        let name = format!("{newest}.snapshot.json");
        let lasts = now.max(lifetimes.timestamp);
        if let Some(current) = self.folder.metadata::<SnapshotDoc>(&name)? {
            let same = current.signed.meta.targets.file == meta.targets.file;
            if same
                && !current.signed.head.is_expired(lasts)
                && standing(&current, root)?.missing == 0
            {
                return Ok(current);
            }
        }
        let head = Head::new(Role::Snapshot, newest + 1, lifetimes.snapshot);
        let mut snapshot = Envelope::new(SnapshotDoc { head, meta });
        sign(&mut snapshot, &[root], keys)?;
        check_threshold(&snapshot, root, KEYS_HINT)?;
        Ok(snapshot)
    }
}

/// Refuses what a client that trusts `root` would.
fn try_as_a_client(
    root: &[u8],
    timestamp: &[u8],
    snapshot: &[u8],
    targets: &[u8],
    now: Timestamp,
) -> Result<(), PublishError> {
    let mut client = TrustedMetadataSet::from_root(root)?;
    client.update_timestamp(timestamp, now)?;
    client.update_snapshot(snapshot, now)?;
    client.update_targets(targets, now)?;
    Ok(())
}

const KEYS_HINT: &str = "give the file of each of its keys with `--key`";

fn check_threshold<T: Signable>(
    envelope: &Envelope<T>,
    root: &RootDoc,
    hint: &'static str,
) -> Result<(), PublishError> {
    let signed = standing(envelope, root)?;
    if signed.missing == 0 {
        return Ok(());
    }
    Err(PublishError::ThresholdUnmet {
        what: format!("{} {}", signed.role, signed.version),
        have: signed.by.len(),
        threshold: root.role(T::ROLE).threshold,
        hint,
    })
}
