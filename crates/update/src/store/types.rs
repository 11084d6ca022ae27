//! What the store speaks in: releases, their transitions, what is in force.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use semver::Version;
use serde::{Serialize, Serializer};

use super::StoreError;
use crate::package::TreeDigest;

/// Longest text that the journal takes as one field, in bytes. Details over it are shortened, names refused.
pub const TEXT_MAX: usize = 4096;

/// A SHA-256 digest; written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// The text is no SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SHA-256 digest: 64 hexadecimal digits")]
pub struct DigestError(String);

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<TreeDigest> for Digest {
    fn from(tree: TreeDigest) -> Self {
        Self(tree.0)
    }
}

impl From<Digest> for TreeDigest {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(DigestError(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One release's entry in the journal of this machine; a release that is offered again after its end has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ReleaseId(pub(super) i64);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "release {}", self.0)
    }
}

/// One of the two places of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The first; where the first release of a part goes.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its folder's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The one that it is not.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.name() == name)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A release as its repository names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The engine that it is a release of.
    pub engine: EngineName,
    /// What of the engine.
    pub part: Part,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the package as it is published.
    pub package: Digest,
    /// Where it is offered, for people; at most [`TEXT_MAX`] bytes.
    pub repository: String,
}

/// Why a release will not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What scripts go by: a stable name, in kebab case.
    pub(super) name: String,
    /// What a person reads.
    pub(super) text: String,
    /// Whether it was for what the release did, so that its package is remembered.
    pub(super) conduct: bool,
}

impl Rejection {
    /// For a reason that lies outside of what the release does: its signature, a newer one, the administrator.
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: shortened(text), conduct: false }
    }

    /// For what the release did when it was tried out: its package is [known bad](super::Reader::known_bad)
    /// from now on.
    pub fn for_conduct(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: shortened(text), conduct: true }
    }

    /// Its stable name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person reads.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A release and its story.
#[derive(Debug, Clone, Serialize)]
pub struct Release {
    /// Its entry.
    pub id: ReleaseId,
    /// The engine that it is a release of.
    pub engine: EngineName,
    /// What of the engine.
    pub part: Part,
    /// Its version.
    #[serde(serialize_with = "display")]
    pub version: Version,
    /// SHA-256 of the package.
    pub package: Digest,
    /// Where it was offered.
    pub repository: String,
    /// Where it stands.
    pub state: State,
    /// How it got there, oldest first.
    pub transitions: Vec<Transition>,
}

/// One step of a release's story, or a note on it: one row of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// The row's number, from 1.
    pub seq: u64,
    /// Where it stood before; none for the first step.
    pub from: Option<State>,
    /// Where it stood then.
    pub to: State,
    /// When, by the wall clock of the machine.
    #[serde(serialize_with = "display")]
    pub at: Timestamp,
    /// What is worth knowing, for people; for a rejection, the reason's text.
    pub detail: String,
    /// For a rejection, the reason's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For a note, which; it leaves the release where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// What the administrator said of a release, and the journal keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// It may go on; said of one that has not come to its end.
    Approved,
    /// Its package is not known bad any more; said of one that was rejected for what it did.
    Forgotten,
}

impl Note {
    /// All.
    pub const ALL: [Self; 2] = [Self::Approved, Self::Forgotten];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Forgotten => "forgotten",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|note| note.name() == name)
    }

    /// Whether it can be said of a release that stands there.
    pub(super) const fn goes_with(self, state: State) -> bool {
        match self {
            Self::Approved => !matches!(state, State::Retired | State::Rejected),
            Self::Forgotten => matches!(state, State::Rejected),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is in force of one part of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Active {
    /// Its entry.
    pub release: ReleaseId,
    /// [`State::Active`] or [`State::Probation`].
    pub state: State,
    /// Its version.
    #[serde(serialize_with = "display")]
    pub version: Version,
    /// The slot that it lies in.
    pub slot: Slot,
    /// The slot's folder.
    pub dir: PathBuf,
    /// Digest of the tree as it was staged; what lies there now must give the same.
    pub tree: Digest,
    /// Since when it stands so, by the wall clock of the machine.
    #[serde(serialize_with = "display")]
    pub since: Timestamp,
}

/// A part of an engine that went back to what was in force before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WentBack {
    /// The engine.
    pub engine: EngineName,
    /// What of the engine.
    pub part: Part,
    /// The version that is rejected now.
    #[serde(serialize_with = "display")]
    pub from: Version,
    /// The version that is in force now; none if nothing is.
    #[serde(serialize_with = "display_if_any")]
    pub to: Option<Version>,
}

/// What lies whole in a slot: a release under way, one from before, or the one in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standby {
    /// Its entry.
    pub release: ReleaseId,
    /// Where it stands.
    pub state: State,
    /// Its version.
    #[serde(serialize_with = "display")]
    pub version: Version,
    /// The slot that it lies in.
    pub slot: Slot,
    /// The slot's folder.
    pub dir: PathBuf,
    /// Digest of the tree as it was staged.
    pub tree: Digest,
}

/// A package that was rejected for what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnownBad {
    /// The release that did it.
    pub release: ReleaseId,
    /// The reason's name.
    pub reason: String,
    /// The reason's text.
    pub detail: String,
    /// When, by the wall clock of the machine.
    #[serde(serialize_with = "display")]
    pub at: Timestamp,
}

/// The last row of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Its number; 0 in a journal without a row.
    pub seq: u64,
    /// Its hash, over its content and the hash of the row before.
    pub hash: Digest,
}

fn display<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn display_if_any<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

/// Refuses a text that the journal would have to shorten although somebody goes by it.
pub(super) fn within(what: &'static str, text: &str) -> Result<(), StoreError> {
    if text.len() <= TEXT_MAX {
        return Ok(());
    }
    Err(StoreError::TooLong { what, len: text.len(), max: TEXT_MAX })
}

/// `text`, or as much of it as the journal takes.
pub(super) fn shortened(text: &str) -> String {
    const MORE: &str = " …";
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_MAX - MORE.len());
    format!("{}{MORE}", &text[..end])
}
