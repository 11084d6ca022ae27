//! Why a repository's offer was refused: which attack or fault, in which file, against which limit.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

/// The offer was refused, or never came. What was trusted before stays in force.
///
/// The message says what and where; [`Refusal::advice`] says what to do; [`Refusal::name`] is stable, for
/// journals and scripts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A file without any signature.
    #[error("{file} has no signature; the role {role} needs {threshold}")]
    Unsigned {
        /// As it was asked for.
        file: String,
        /// Whose signature it needs.
        role: String,
        /// How many it needs.
        threshold: usize,
    },
    /// Signed, but not by a key that is trusted for it, or over other bytes.
    #[error("{file} is signed by no key that is trusted for the role {role}")]
    WrongKey {
        /// As it was asked for.
        file: String,
        /// Whose signature it needs.
        role: String,
    },
    /// Signed by fewer keys than its role needs.
    #[error("{file} has {found} good signatures of the {threshold} that the role {role} needs")]
    SignatureThreshold {
        /// As it was asked for.
        file: String,
        /// Whose signatures it needs.
        role: String,
        /// How many are good.
        found: usize,
        /// How many it needs.
        threshold: usize,
    },
    /// Signed, but over.
    #[error(
        "{role} metadata expired at {expires}; this machine's clock says {now}{}",
        since(*seen)
    )]
    Expired {
        /// Whose metadata.
        role: String,
        /// The end that its signers set.
        expires: Timestamp,
        /// What the clock says.
        now: Timestamp,
        /// The last time at which a refresh succeeded here.
        seen: Option<Timestamp>,
    },
    /// The repository still offers what was trusted already, and that is over: a mirror that holds this
    /// machine back, or a publisher who stopped.
    #[error(
        "the repository offers nothing newer than timestamp version {version}, which expired at {expires}; \
         this machine's clock says {now}{}",
        since(*seen)
    )]
    Freeze {
        /// The version that is offered and was trusted.
        version: u64,
        /// The end that its signers set.
        expires: Timestamp,
        /// What the clock says.
        now: Timestamp,
        /// The last time at which a refresh succeeded here.
        seen: Option<Timestamp>,
    },
    /// The clock is behind a time that it has shown before: no expiry can be judged by it.
    #[error(
        "this machine's clock says {now}, but a refresh succeeded at {seen}: it was set back by {} days",
        now.duration_until(*seen).as_hours() / 24
    )]
    Clock {
        /// What the clock says.
        now: Timestamp,
        /// What it said at the last refresh that succeeded.
        seen: Timestamp,
        /// The file that remembers it.
        file: PathBuf,
    },
    /// An older version than the one that was trusted before.
    #[error("version {offered} of {role} is offered, but version {trusted} was trusted before")]
    Rollback {
        /// Whose metadata.
        role: String,
        /// The version that was trusted.
        trusted: u64,
        /// The version that is offered.
        offered: u64,
    },
    /// A root that does not follow on the trusted one.
    #[error("root version {offered} is offered as the one after {trusted}")]
    RootVersion {
        /// The version that is trusted.
        trusted: u64,
        /// The version in the file.
        offered: u64,
    },
    /// A file that is none of this release of the metadata: its version, length or hash is not the one
    /// that the role above it signed.
    #[error("{file} does not belong to the metadata that names it: {why}")]
    MixAndMatch {
        /// As it was asked for.
        file: String,
        /// What does not fit.
        why: String,
    },
    /// A target whose bytes are not those that were signed.
    #[error("the target {target} is not what was signed: {why}")]
    Altered {
        /// Its name.
        target: String,
        /// What does not fit.
        why: String,
    },
    /// A file that ended too early.
    #[error("{file} is cut short: {why}")]
    Truncated {
        /// As it was asked for.
        file: String,
        /// How that shows.
        why: String,
    },
    /// A file that is no metadata, or breaks its rules.
    #[error("{file} is no sound TUF metadata: {why}")]
    Malformed {
        /// As it was asked for.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The repository does not have a file that it must have.
    #[error("the repository has no {file}")]
    Missing {
        /// As it was asked for.
        file: String,
    },
    /// No trusted role lists the target.
    #[error("no trusted role of the repository lists the target {name}")]
    NoTarget {
        /// Its name.
        name: String,
    },
    /// A target was asked for before a refresh succeeded.
    #[error("the target {name} was asked for, but no refresh has succeeded yet")]
    NotRefreshed {
        /// Its name.
        name: String,
    },
    /// More roots in a row than are followed in one refresh.
    #[error("the repository offers more than {limit} new roots at once")]
    TooManyRoots {
        /// How many are followed.
        limit: u32,
    },
    /// Over its limit; what came was thrown away.
    #[error("{file} is over its limit of {limit} bytes ({of})")]
    TooLong {
        /// As it was asked for.
        file: String,
        /// The limit, in bytes.
        limit: u64,
        /// Which limit that is.
        of: &'static str,
    },
    /// Over the time that it may take.
    #[error("{file} came too slowly: {got} bytes in {} s, {why}", after.as_secs())]
    TooSlow {
        /// As it was asked for.
        file: String,
        /// How much of it came.
        got: u64,
        /// How long that took.
        after: Duration,
        /// Against which limit.
        why: String,
    },
    /// The repository did not answer, or not with the file.
    #[error("{file} did not come: {why}")]
    Unreachable {
        /// As it was asked for.
        file: String,
        /// What the child saw; its text, made safe to show.
        why: String,
    },
    /// A name that could lead out of the repository.
    #[error("{path:?} is no path inside a repository")]
    UnsafePath {
        /// The path.
        path: String,
    },
    /// The place of a repository that cannot be one.
    #[error("{given:?} is no place of a repository: {why}")]
    Place {
        /// What was given.
        given: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The confined child does not start, or is not what it should be.
    #[error("the confined child {} failed: {why}", program.display())]
    Child {
        /// Its program.
        program: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Trusted metadata cannot be read or written.
    #[error("{} {}", what, path.display())]
    Store {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another process works with the same trusted metadata.
    #[error("another update works with {}", folder.display())]
    Busy {
        /// Where the metadata lies.
        folder: PathBuf,
    },
}

impl Refusal {
    /// The stable name of this kind of refusal.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "unsigned",
            Self::WrongKey { .. } => "wrong-key",
            Self::SignatureThreshold { .. } => "signature-threshold",
            Self::Expired { .. } => "expired",
            Self::Freeze { .. } => "freeze",
            Self::Clock { .. } => "clock",
            Self::Rollback { .. } => "rollback",
            Self::RootVersion { .. } => "root-version",
            Self::MixAndMatch { .. } => "mix-and-match",
            Self::Altered { .. } => "altered",
            Self::Truncated { .. } => "truncated",
            Self::Malformed { .. } => "malformed",
            Self::Missing { .. } => "missing",
            Self::NoTarget { .. } => "no-target",
            Self::NotRefreshed { .. } => "not-refreshed",
            Self::TooManyRoots { .. } => "too-many-roots",
            Self::TooLong { .. } => "too-long",
            Self::TooSlow { .. } => "too-slow",
            Self::Unreachable { .. } => "unreachable",
            Self::UnsafePath { .. } => "unsafe-path",
            Self::Place { .. } => "place",
            Self::Child { .. } => "child",
            Self::Store { .. } => "store",
            Self::Busy { .. } => "busy",
        }
    }

    /// What the operator can do about it, as a sentence.
    pub fn advice(&self) -> String {
        match self {
            Self::Unsigned { .. } | Self::WrongKey { .. } | Self::SignatureThreshold { .. } => {
                "Somebody between the publisher and this machine may have changed it, or the publisher signed \
                 it wrongly: ask the publisher, and install nothing from there meanwhile."
                    .into()
            }
            Self::Expired { .. } | Self::Freeze { .. } => {
                "If the clock is wrong, set it. If it is right, the mirror holds back what is newer, or the \
                 publisher has not renewed its metadata: try another mirror, or ask the publisher."
                    .into()
            }
            Self::Clock { file, .. } => format!(
                "Set the clock. If it is right now, and was wrong then, remove {}.",
                file.display()
            ),
            Self::Rollback { .. } | Self::RootVersion { .. } => {
                "The mirror is behind, or somebody replays old metadata: try again later or another mirror. \
                 A publisher who lost count recovers by changing the keys of timestamp and snapshot."
                    .into()
            }
            Self::MixAndMatch { .. } | Self::Altered { .. } | Self::Truncated { .. } => {
                "The mirror may be in the middle of a change: try again in a minute, then another mirror."
                    .into()
            }
            Self::Malformed { .. } | Self::UnsafePath { .. } | Self::TooManyRoots { .. } => {
                "The repository is not made as it should be: ask its publisher.".into()
            }
            Self::Missing { .. } | Self::Unreachable { .. } => {
                "Check the repository's place in the configuration, the network and the proxy.".into()
            }
            Self::NoTarget { .. } => "Check the engine's name, and what the repository has.".into(),
            Self::NotRefreshed { .. } => "Refresh first.".into(),
            Self::TooLong { .. } => {
                "Ask the publisher whether it should be that long; if so, raise the limit.".into()
            }
            Self::TooSlow { .. } => "Try again, or another mirror.".into(),
            Self::Place { .. } => {
                "Give http://HOST/PATH/, https://HOST/PATH/ or a folder's path.".into()
            }
            Self::Child { .. } => {
                "Check that outrigger-fetch is installed beside outrigger, of the same version.".into()
            }
            Self::Store { .. } => {
                "Check the free space and the rights of the folder; the next run goes on from what was \
                 trusted before."
                    .into()
            }
            Self::Busy { .. } => "Wait until it has ended.".into(),
        }
    }
}

fn since(seen: Option<Timestamp>) -> String {
    seen.map(|seen| format!("; a refresh last succeeded at {seen}")).unwrap_or_default()
}
