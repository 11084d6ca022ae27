//! From an error of the TUF library to the reason of a refusal.
//!
//! The library says what failed; which attack that is follows from the file that came last and from what was
//! trusted before.

use jiff::Timestamp;
use outrigger_api::reason::chain;
use sigstore_tuf::metadata::{MetaFile, Metadata};
use sigstore_tuf::{Error, TrustedMetadataSet};

use super::Refusal;
use super::bridge::Last;

/// What is known beside the error.
pub(super) struct Circumstances<'a> {
    pub(super) last: Last,
    pub(super) trusted: &'a TrustedMetadataSet,
    /// The version of the timestamp that was trusted before.
    pub(super) timestamp_before: Option<u64>,
    pub(super) now: Timestamp,
    pub(super) seen: Option<Timestamp>,
    pub(super) roots: u32,
    /// The target that is being fetched, with its length.
    pub(super) target: Option<(&'a str, u64)>,
}

impl Circumstances<'_> {
    /// The reason for this error.
    pub(super) fn refusal(self, error: Error) -> Refusal {
        let file = match self.last {
            Last::Refused(refusal) => return refusal,
            Last::Missing { ref file } | Last::Metadata { ref file, .. } => file.clone(),
            Last::Target { .. } | Last::Nothing => "the trusted metadata".to_owned(),
        };
        match error {
            Error::ThresholdNotMet { role, found, threshold } => {
                self.signatures(file, role, found, threshold)
            }
            Error::Expired { role, expires } => self.expired(role, expires),
            Error::Rollback { role, trusted, new } => {
                Refusal::Rollback { role, trusted, offered: new }
            }
            Error::BadRootVersion { trusted, new } if new <= trusted => {
                Refusal::Rollback { role: "root".to_owned(), trusted, offered: new }
            }
            Error::BadRootVersion { trusted, new } => {
                Refusal::RootVersion { trusted, offered: new }
            }
            Error::IntegrityMismatch(why) => self.mismatch(file, why),
            Error::Json(source) if source.is_eof() => {
                Refusal::Truncated { file, why: source.to_string() }
            }
            Error::TargetNotFound(name) => Refusal::NoTarget { name },
            Error::NotRefreshed => {
                let name = self.target.map(|(name, _)| name).unwrap_or_default().to_owned();
                Refusal::NotRefreshed { name }
            }
            Error::Transport { .. } if matches!(self.last, Last::Missing { .. }) => {
                Refusal::Missing { file }
            }
            // Only the walk along the roots ends without a request that failed.
            Error::Transport { .. } => Refusal::TooManyRoots { limit: self.roots },
            other => Refusal::Malformed { file, why: chain(&other) },
        }
    }

    fn signatures(self, file: String, role: String, found: usize, threshold: usize) -> Refusal {
        let signed = match &self.last {
            Last::Metadata { bytes, .. } => has_signatures(bytes),
            _ => true,
        };
        match found {
            0 if !signed => Refusal::Unsigned { file, role, threshold },
            0 => Refusal::WrongKey { file, role },
            _ => Refusal::SignatureThreshold { file, role, found, threshold },
        }
    }

    /// A timestamp that expired and that is the one trusted already: nothing newer is offered.
    fn expired(self, role: String, expires: Timestamp) -> Refusal {
        let Self { now, seen, timestamp_before, .. } = self;
        let offered = match &self.last {
            Last::Metadata { file, bytes } if file == "timestamp.json" => {
                Metadata::<sigstore_tuf::Timestamp>::from_slice(bytes).ok()
            }
            _ => None,
        };
        let offered = offered.map(|timestamp| timestamp.signed().version);
        match offered {
            Some(version) if role == "timestamp" && timestamp_before == offered => {
                Refusal::Freeze { version, expires, now, seen }
            }
            _ => Refusal::Expired { role, expires, now, seen },
        }
    }

    fn mismatch(self, file: String, why: String) -> Refusal {
        match (&self.last, self.target) {
            (Last::Target { length }, Some((target, signed))) => {
                let file = target.to_owned();
                if *length < signed {
                    return Refusal::Truncated { file, why };
                }
                Refusal::Altered { target: file, why }
            }
            (Last::Metadata { bytes, .. }, _) => {
                let pinned = self.pin(&file).and_then(|pin| pin.length);
                if pinned.is_some_and(|length| (bytes.len() as u64) < length) {
                    return Refusal::Truncated { file, why };
                }
                Refusal::MixAndMatch { file, why }
            }
            _ => Refusal::MixAndMatch { file, why },
        }
    }

    /// What the role above says about this file.
    fn pin(&self, file: &str) -> Option<&MetaFile> {
        // `VERSION.role.json` with consistent snapshots.
        let plain = match file.split_once('.') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            _ => file,
        };
        match plain {
            "snapshot.json" => self.trusted.timestamp()?.snapshot_meta(),
            _ => self.trusted.snapshot()?.meta.get(plain),
        }
    }
}

/// Whether there is any signature in it at all; an empty one is a place kept for one.
fn has_signatures(bytes: &[u8]) -> bool {
    let Ok(file) = serde_json::from_slice::<serde_json::Value>(bytes) else { return false };
    let signatures = file.get("signatures").and_then(|signatures| signatures.as_array());
    let filled = |signature: &serde_json::Value| {
        signature.get("sig").and_then(|sig| sig.as_str()).is_some_and(|sig| !sig.is_empty())
    };
    signatures.is_some_and(|signatures| signatures.iter().any(filled))
}
