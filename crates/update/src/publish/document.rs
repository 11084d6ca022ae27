//! The metadata of the four roles as they are written (TUF 1.0, section 4).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sigstore_tuf::canonical_json::to_canonical_bytes;

use crate::publish::{Key, PublicKey, PublishError, Role};

/// The version of the specification that is written.
const SPEC: &str = "1.0.31";

/// Metadata and its signatures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) signatures: Vec<Signature>,
    pub(super) signed: T,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Signature {
    pub(super) keyid: String,
    pub(super) sig: String,
}

/// What every role's metadata has.
pub(super) trait Signable: Serialize + DeserializeOwned + Clone {
    /// The role that signs it.
    const ROLE: Role;
    fn head(&self) -> &Head;

    fn version(&self) -> u64 {
        self.head().version
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Head {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    pub(super) version: u64,
    pub(super) expires: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RootDoc {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) consistent_snapshot: bool,
    pub(super) keys: BTreeMap<String, KeyDoc>,
    pub(super) roles: BTreeMap<String, RoleDoc>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyDoc {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeyValue {
    public: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RoleDoc {
    pub(super) keyids: Vec<String>,
    pub(super) threshold: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TargetsDoc {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) targets: BTreeMap<String, Pinned>,
}

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pinned {
    pub(super) length: u64,
    pub(super) hashes: Hashes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hashes {
    pub(super) sha256: String,
}

/// The version and bytes of a role's metadata.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PinnedMeta {
    #[serde(flatten)]
    pub(super) file: Pinned,
    pub(super) version: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SnapshotDoc {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) meta: SnapshotMeta,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SnapshotMeta {
    #[serde(rename = "targets.json")]
    pub(super) targets: PinnedMeta,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TimestampDoc {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) meta: TimestampMeta,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TimestampMeta {
    #[serde(rename = "snapshot.json")]
    pub(super) snapshot: PinnedMeta,
}

macro_rules! signable {
    ($($document:ident is $role:ident),*) => {
        $(impl Signable for $document {
            const ROLE: Role = Role::$role;

            fn head(&self) -> &Head {
                &self.head
            }
        })*
    };
}

signable!(RootDoc is Root, TargetsDoc is Targets, SnapshotDoc is Snapshot, TimestampDoc is Timestamp);

impl Head {
    pub(super) fn new(role: Role, version: u64, expires: Timestamp) -> Self {
        let kind = role.name().to_owned();
        Self { kind, spec_version: SPEC.to_owned(), version, expires: time(expires) }
    }

    /// Whether it is no longer taken at `now`.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.parse::<Timestamp>().is_ok_and(|expires| expires < now)
    }
}

impl RoleDoc {
    /// Whether the key with `id` may sign for it.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keyids.iter().any(|known| known == id)
    }
}

impl RootDoc {
    pub(super) fn role(&self, role: Role) -> RoleDoc {
        self.roles.get(role.name()).cloned().unwrap_or_default()
    }

    /// The key with `id`, if it is one of ours.
    pub(super) fn key(&self, id: &str) -> Option<PublicKey> {
        let key = self.keys.get(id)?;
        PublicKey::from_hex(&key.keyval.public).filter(|public| public.id() == id)
    }
}

impl From<&PublicKey> for KeyDoc {
    fn from(key: &PublicKey) -> Self {
        let ed25519 = || "ed25519".to_owned();
        let keyval = KeyValue { public: key.to_hex() };
        Self { keytype: ed25519(), scheme: ed25519(), keyval }
    }
}

impl Pinned {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let sha256 = hex::encode(Sha256::digest(bytes));
        Self { length: bytes.len() as u64, hashes: Hashes { sha256 } }
    }
}

impl PinnedMeta {
    pub(super) fn of(bytes: &[u8], version: u64) -> Self {
        Self { file: Pinned::of(bytes), version }
    }
}

impl<T: Signable> Envelope<T> {
    pub(super) fn new(signed: T) -> Self {
        Self { signatures: Vec::new(), signed }
    }

    /// The bytes that signatures are of.
    fn canonical(&self) -> Result<Vec<u8>, PublishError> {
        let value = serde_json::to_value(&self.signed).expect("plain data");
        Ok(to_canonical_bytes(&value)?)
    }

    /// The file's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_string_pretty(self).expect("plain data");
        text.push('\n');
        text.into_bytes()
    }

    /// Adds the signature of `key`, in the place of an older one.
    pub(super) fn sign(&mut self, key: &Key) -> Result<(), PublishError> {
        let signature =
            Signature { keyid: key.id().to_owned(), sig: key.sign(&self.canonical()?)? };
        self.signatures.retain(|known| known.keyid != key.id());
        self.signatures.push(signature);
        self.signatures.sort_by(|one, other| one.keyid.cmp(&other.keyid));
        Ok(())
    }

    /// The keys that `root` lets sign and that have, each once.
    pub(super) fn signers(&self, root: &RootDoc) -> Result<Vec<String>, PublishError> {
        let (role, message) = (root.role(T::ROLE), self.canonical()?);
        let mut signers: Vec<String> = Vec::new();
        for Signature { keyid, sig } in &self.signatures {
            let known = role.keyids.contains(keyid) && !signers.contains(keyid);
            if known && root.key(keyid).is_some_and(|key| key.verifies(&message, sig)) {
                signers.push(keyid.clone());
            }
        }
        Ok(signers)
    }
}

/// `time` as metadata has it: UTC, whole seconds.
pub(super) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
