//! A publisher whose every file a test can get wrong.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

/// The roles of a root.
pub(super) const ROLES: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

/// Keys, versions and content, and the files that were signed of them.
pub(super) struct Author {
    pub(super) keys: BTreeMap<&'static str, Vec<Ed25519KeyPair>>,
    pub(super) thresholds: BTreeMap<&'static str, usize>,
    pub(super) versions: BTreeMap<&'static str, u64>,
    pub(super) expires: BTreeMap<&'static str, Timestamp>,
    /// Versions that snapshot and timestamp name, where they shall lie.
    pub(super) pins: BTreeMap<&'static str, u64>,
    /// Whether lengths and sums of metadata are named.
    pub(super) sums: bool,
    pub(super) targets: BTreeMap<String, Vec<u8>>,
    /// What a mirror serves, by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

impl Author {
    /// One key a role, everything in its first version, valid for 30 days from `now`, published.
    pub(super) fn new(now: Timestamp) -> Self {
        let month = now + SignedDuration::from_hours(30 * 24);
        let mut author = Self {
            keys: ROLES.map(|role| (role, vec![key()])).into(),
            thresholds: ROLES.map(|role| (role, 1)).into(),
            versions: ROLES.map(|role| (role, 1)).into(),
            expires: ROLES.map(|role| (role, month)).into(),
            pins: BTreeMap::new(),
            sums: false,
            targets: [("scan/code/1.0.0.tar.gz".to_owned(), b"the first".to_vec())].into(),
            files: BTreeMap::new(),
        };
        author.publish(&["root", "targets", "snapshot", "timestamp"]);
        author
    }

    /// A new version of each of these roles, in this order.
    pub(super) fn release(&mut self, roles: &[&'static str]) {
        for role in roles {
            *self.versions.get_mut(role).expect("a role") += 1;
        }
        self.publish(roles);
    }

    /// Signs these roles as they are, in this order, and serves them.
    pub(super) fn publish(&mut self, roles: &[&'static str]) {
        for role in roles {
            let signed = self.signed(role);
            let bytes = envelope(&signed, &self.keys[role]);
            self.serve(role, bytes);
        }
    }

    /// Serves `bytes` under the name of the role's present version.
    pub(super) fn serve(&mut self, role: &str, bytes: Vec<u8>) {
        let name = self.name(role);
        self.files.insert(name, bytes);
    }

    /// The path of the role's present version.
    pub(super) fn name(&self, role: &str) -> String {
        match role {
            "timestamp" => "metadata/timestamp.json".to_owned(),
            _ => format!("metadata/{}.{role}.json", self.versions[role]),
        }
    }

    /// What the role says.
    pub(super) fn signed(&self, role: &str) -> Value {
        let mut signed = json!({
            "_type": role,
            "spec_version": "1.0.34",
            "version": self.versions[role],
            "expires": self.expires[role].to_string(),
        });
        let more = match role {
            "root" => self.root(),
            "targets" => json!({ "targets": self.target_files() }),
            "snapshot" => json!({ "meta": { "targets.json": self.pin("targets") } }),
            _ => json!({ "meta": { "snapshot.json": self.pin("snapshot") } }),
        };
        let (Value::Object(signed_map), Value::Object(more)) = (&mut signed, more) else {
            unreachable!("both are objects");
        };
        signed_map.extend(more);
        signed
    }

    fn root(&self) -> Value {
        let public = self.keys.values().flatten().map(|key| {
            let key_value = json!({ "public": hex::encode(key.public_key()) });
            (id(key), json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": key_value }))
        });
        let roles = self.keys.iter().map(|(role, keys)| {
            let ids: Vec<String> = keys.iter().map(id).collect();
            ((*role).to_owned(), json!({ "keyids": ids, "threshold": self.thresholds[role] }))
        });
        json!({
            "consistent_snapshot": true,
            "keys": public.collect::<Map<_, _>>(),
            "roles": roles.collect::<Map<_, _>>(),
        })
    }

    fn target_files(&self) -> Value {
        let files = self.targets.iter().map(|(name, bytes)| {
            (name.clone(), json!({ "length": bytes.len(), "hashes": { "sha256": sum(bytes) } }))
        });
        Value::Object(files.collect())
    }

    fn pin(&self, role: &'static str) -> Value {
        let version = self.pins.get(role).copied().unwrap_or_else(|| self.versions[role]);
        match self.files.get(&self.name(role)) {
            Some(bytes) if self.sums => {
                json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": sum(bytes) } })
            }
            _ => json!({ "version": version }),
        }
    }

    /// Puts a target where a client looks for it, as these bytes.
    pub(super) fn serve_target(&mut self, name: &str, bytes: &[u8]) {
        let (folder, file) = name.rsplit_once('/').expect("a target in a folder");
        let sum = sum(&self.targets[name]);
        self.files.insert(format!("targets/{folder}/{sum}.{file}"), bytes.to_vec());
    }
}

/// A file of metadata: what is said, and by whom it is signed.
pub(super) fn envelope(signed: &Value, keys: &[Ed25519KeyPair]) -> Vec<u8> {
    let canonical =
        sigstore_tuf::canonical_json::to_canonical_bytes(signed).expect("integers and texts alone");
    let signatures = keys.iter().map(|key| {
        let signature = key.sign(&canonical);
        json!({ "keyid": id(key), "sig": hex::encode(signature.as_ref()) })
    });
    let signatures: Vec<Value> = signatures.collect();
    json!({ "signed": signed, "signatures": signatures }).to_string().into_bytes()
}

/// A new key.
pub(super) fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::generate().expect("chance")
}

fn id(key: &Ed25519KeyPair) -> String {
    sum(key.public_key().as_ref())
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}
