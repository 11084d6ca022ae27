//! A TUF repository of releases: what it offers, verified.
//!
//! ```text
//!  Repository ──▶ sigstore-tuf ──▶ Bridge ──▶ Transport ──socket──▶ outrigger-fetch ──▶ network, or a folder
//!  the clock,     signatures,      limits     bytes, bounded       confined, unprivileged
//!  the reasons    versions, expiry    │
//!       └─────────── Keeper ◀─────────┘ trusted metadata, on the disk, only what was verified
//! ```
//!
//! Who signed what, which version follows on which, what has expired: all that is `sigstore-tuf`'s, which
//! follows the specification's client workflow (TUF 1.0.34, section 5). What is here besides: limits on bytes and
//! on time, a store that outlives a power cut, the clock, and reasons that an operator can act on.
//!
//! Time is an argument: `now` judges expiry. How long a transfer takes is measured, by a clock that cannot be set.

mod bridge;
mod child;
mod clock;
mod keep;
mod limits;
mod reason;
mod refusal;
mod transport;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use sigstore_tuf::client::Updater;
use sigstore_tuf::{TargetFile, TrustedMetadataSet, UpdaterConfig};

pub use bridge::OnProgress;
pub use child::ChildTransport;
pub use limits::Limits;
pub use refusal::Refusal;
pub use transport::{Place, Progress, Transport, Wanted};

use bridge::{Bridge, Handle, Last};
use keep::Keeper;
use reason::Circumstances;

/// A repository, with what of it is trusted already.
#[derive(Debug)]
pub struct Repository {
    updater: Updater,
    bridge: Arc<Bridge>,
    keeper: Arc<Keeper>,
    limits: Limits,
    /// The time of the refresh that succeeded; targets are judged by the same.
    refreshed: Option<Timestamp>,
}

/// The versions that are trusted after a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Of the root.
    pub root: u64,
    /// Of the timestamp.
    pub timestamp: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the top-level targets.
    pub targets: u64,
    /// When the timestamp expires.
    pub expires: Timestamp,
}

/// What was signed about a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    name: String,
    signed: TargetFile,
}

impl Repository {
    /// Writes `root` into an empty `folder` as the root to trust, without a request to anybody; its version.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`], [`Refusal::Unsigned`], [`Refusal::WrongKey`] or [`Refusal::SignatureThreshold`] if
    /// it is no root that its own keys have signed; [`Refusal::Store`], [`Refusal::Busy`].
    pub fn adopt(folder: &Path, root: &[u8]) -> Result<u64, Refusal> {
        let trusted =
            TrustedMetadataSet::from_root(root).map_err(|error| wrong_root(error, root))?;
        Keeper::open(folder)?.write("root.json", root)?;
        Ok(trusted.root().version)
    }

    /// Opens the repository whose trusted metadata lies in `folder` (made if its parent is there). `root` is
    /// the root that was installed with the configuration: newer ones must follow on it.
    ///
    /// Asks nobody for anything.
    ///
    /// # Errors
    ///
    /// As [`Repository::adopt`].
    pub fn open(
        folder: &Path,
        root: &[u8],
        transport: Box<dyn Transport>,
        limits: Limits,
    ) -> Result<Self, Refusal> {
        let keeper = Arc::new(Keeper::open(folder)?);
        let bridge = Arc::new(Bridge::new(transport, Arc::clone(&keeper), limits));
        let updater = Updater::new(Handle(Arc::clone(&bridge)), root)
            .map_err(|error| wrong_root(error, root))?
            .with_config(config(&limits))
            .with_store(Arc::clone(&keeper));
        Ok(Self { updater, bridge, keeper, limits, refreshed: None })
    }

    /// Asks the repository what there is, as of `now`.
    ///
    /// # Errors
    ///
    /// Any [`Refusal`] but those about targets. What was verified before the refusal is kept, as the
    /// specification wants it (a new root, for one); no target can be had until a refresh succeeds.
    pub fn refresh(&mut self, now: Timestamp) -> Result<Versions, Refusal> {
        self.refreshed = None;
        if let Some(failure) = self.keeper.take_failure() {
            return Err(failure);
        }
        let seen = clock::seen(&self.keeper)?;
        clock::check(now, seen, &self.keeper)?;
        let timestamp_before = self.kept_timestamp()?;
        self.bridge.begin_metadata();
        let refreshed = pollster::block_on(self.updater.refresh(now));
        let last = self.bridge.end();
        if let Some(failure) = self.keeper.take_failure() {
            return Err(failure);
        }
        let circumstances = |last| Circumstances {
            last,
            trusted: self.updater.trusted(),
            timestamp_before,
            now,
            seen,
            roots: self.limits.roots,
            target: None,
        };
        refreshed.map_err(|error| circumstances(last).refusal(error))?;
        let versions = self.versions().ok_or_else(|| {
            circumstances(Last::Nothing).refusal(sigstore_tuf::Error::NotRefreshed)
        })?;
        clock::remember(now, seen, &self.keeper)?;
        self.refreshed = Some(now);
        Ok(versions)
    }

    /// What was signed about the target `name`; may ask for metadata of roles that it is delegated to.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoTarget`] if no trusted role lists it; what [`Repository::refresh`] gives.
    pub fn find(&mut self, name: &str) -> Result<Target, Refusal> {
        let Some(now) = self.refreshed else {
            return Err(Refusal::NotRefreshed { name: name.to_owned() });
        };
        self.bridge.begin_metadata();
        let found = pollster::block_on(self.updater.get_target_info(name, now));
        let last = self.bridge.end();
        if let Some(failure) = self.keeper.take_failure() {
            return Err(failure);
        }
        match found {
            Ok(Some(signed)) => Ok(Target { name: name.to_owned(), signed }),
            Ok(None) => Err(Refusal::NoTarget { name: name.to_owned() }),
            Err(error) => Err(self.target_refusal(error, last, now, None)),
        }
    }

    /// Downloads the target `name` of at most `limit` bytes, and verifies it.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooLong`] before a byte of it is fetched if its signed length is over `limit`;
    /// [`Refusal::Altered`], [`Refusal::Truncated`], [`Refusal::Missing`]; what [`Repository::find`] gives.
    pub fn target(
        &mut self,
        name: &str,
        limit: u64,
        on_progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<u8>, Refusal> {
        let target = self.find(name)?;
        self.download(&target, limit, on_progress)
    }

    /// Downloads a target that was found, as [`Repository::target`] does.
    ///
    /// # Errors
    ///
    /// As [`Repository::target`].
    pub fn download(
        &mut self,
        target: &Target,
        limit: u64,
        on_progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Vec<u8>, Refusal> {
        let name = &target.name;
        let Some(now) = self.refreshed else {
            return Err(Refusal::NotRefreshed { name: name.clone() });
        };
        let length = target.length();
        if length > limit {
            return Err(Refusal::TooLong { file: name.clone(), limit, of: "one target" });
        }
        self.bridge.begin_target(Box::new(on_progress));
        let downloaded = pollster::block_on(self.updater.download_target(&target.signed, name));
        let last = self.bridge.end();
        downloaded.map_err(|error| self.target_refusal(error, last, now, Some((name, length))))
    }

    /// What this machine did not give to confine whoever fetches, for the operator; empty if nothing, or before
    /// the first request.
    pub fn weak(&self) -> String {
        self.bridge.weak()
    }

    fn target_refusal(
        &self,
        error: sigstore_tuf::Error,
        last: Last,
        now: Timestamp,
        target: Option<(&str, u64)>,
    ) -> Refusal {
        let circumstances = Circumstances {
            last,
            trusted: self.updater.trusted(),
            timestamp_before: None,
            now,
            seen: None,
            roots: self.limits.roots,
            target,
        };
        circumstances.refusal(error)
    }

    fn versions(&self) -> Option<Versions> {
        let trusted = self.updater.trusted();
        let timestamp = trusted.timestamp()?;
        Some(Versions {
            root: trusted.root().version,
            timestamp: timestamp.version,
            snapshot: trusted.snapshot()?.version,
            targets: trusted.targets_role("targets")?.version,
            expires: timestamp.expires,
        })
    }

    /// The version of the timestamp on the disk, trusted or not: compared with what is offered.
    fn kept_timestamp(&self) -> Result<Option<u64>, Refusal> {
        let kept = self.keeper.read("timestamp.json")?;
        let parse = |bytes: Vec<u8>| {
            sigstore_tuf::Metadata::<sigstore_tuf::Timestamp>::from_slice(&bytes).ok()
        };
        Ok(kept.and_then(parse).map(|timestamp| timestamp.signed().version))
    }
}

impl Target {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length that was signed, in bytes.
    pub const fn length(&self) -> u64 {
        self.signed.length
    }

    /// Its SHA-256 that was signed, if one was.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        let signed = self.signed.hashes.get("sha256")?;
        let mut digest = [0; 32];
        hex::decode_to_slice(signed, &mut digest).ok().map(|()| digest)
    }

    /// Whether these are its bytes: of the signed length, and of each signed hash that is known here (SHA-256 and
    /// SHA-512), of which there must be one.
    pub fn is(&self, bytes: &[u8]) -> bool {
        let mut known = self.signed.hashes.iter().filter_map(|(algorithm, signed)| {
            let algorithm = match algorithm.as_str() {
                "sha256" => &aws_lc_rs::digest::SHA256,
                "sha512" => &aws_lc_rs::digest::SHA512,
                _ => return None,
            };
            let digest = hex::encode(aws_lc_rs::digest::digest(algorithm, bytes));
            Some(digest.eq_ignore_ascii_case(signed))
        });
        let first = known.next().unwrap_or(false);
        bytes.len() as u64 == self.signed.length && first && known.all(|fits| fits)
    }
}

fn config(limits: &Limits) -> UpdaterConfig {
    let mut config = UpdaterConfig::default();
    config.root_max_length = limits.root_bytes;
    config.timestamp_max_length = limits.timestamp_bytes;
    config.snapshot_max_length = limits.snapshot_bytes;
    config.targets_max_length = limits.targets_bytes;
    // Each target has a limit of its own, given when it is asked for.
    config.target_max_length = u64::MAX;
    config.max_root_rotations = limits.roots;
    config.max_delegations = limits.roles;
    config
}

/// The refusal of a root that was given, not fetched.
fn wrong_root(error: sigstore_tuf::Error, root: &[u8]) -> Refusal {
    let file = "the given root".to_owned();
    match error {
        sigstore_tuf::Error::ThresholdNotMet { role, found: 0, .. } if !root.is_empty() => {
            Refusal::WrongKey { file, role }
        }
        sigstore_tuf::Error::ThresholdNotMet { role, found, threshold } => {
            Refusal::SignatureThreshold { file, role, found, threshold }
        }
        other => Refusal::Malformed { file, why: other.to_string() },
    }
}
