//! Types of content: what an engine's rules or signatures are written in, as far as the trusted side
//! knows it. A release of content names its type; so does the manifest of the code that reads it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A type of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ContentType {
    /// Lists of SHA-256 that are denied or allowed.
    Hashlist,
    /// YARA rules.
    Yara,
    /// Patterns over the inputs that the code supplies for an event, one instance a line.
    Table,
    /// Rules that the platform itself decides by, and nothing for the code. Content of every other type may
    /// bring some along.
    Rules,
}

impl ContentType {
    /// All.
    pub const ALL: [Self; 4] = [Self::Hashlist, Self::Yara, Self::Table, Self::Rules];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hashlist => "hashlist",
            Self::Yara => "yara",
            Self::Table => "table",
            Self::Rules => "rules",
        }
    }

    /// The versions of its schema that this build checks. What it cannot check is not put in force.
    pub const fn schemas(self) -> RangeInclusive<u32> {
        match self {
            Self::Hashlist | Self::Yara | Self::Table | Self::Rules => 1..=1,
        }
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No content is of this type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no type of content: hashlist, yara, table, rules")]
pub struct UnknownContentType(pub String);

impl FromStr for ContentType {
    type Err = UnknownContentType;

    fn from_str(text: &str) -> Result<Self, UnknownContentType> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| UnknownContentType(text.to_owned()))
    }
}

/// What an engine's code says of the content that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interprets {
    /// The type.
    pub kind: ContentType,
    /// The versions of its schema.
    pub schema: RangeInclusive<u32>,
    /// For [`ContentType::Table`]: the inputs that it supplies for an event, in its order.
    pub inputs: Vec<String>,
}

/// Inputs of a table that are parts of the event itself; a code that supplies one has to ask for the
/// field. Any other name is one that the engine derives by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventInput {
    /// `event`: the event's name.
    Event,
    /// `path`: the object's path.
    Path,
    /// `folder`: the path without its last part, `/` for a file in the root.
    Folder,
    /// `name`: the path's last part.
    Name,
    /// `uid`: the subject's effective user id.
    Uid,
    /// `gid`: the subject's effective group id.
    Gid,
    /// `size`: the object's size in bytes.
    Size,
    /// `changed`: the object's change time, ns since the epoch.
    Changed,
}

impl EventInput {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::Event,
        Self::Path,
        Self::Folder,
        Self::Name,
        Self::Uid,
        Self::Gid,
        Self::Size,
        Self::Changed,
    ];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Path => "path",
            Self::Folder => "folder",
            Self::Name => "name",
            Self::Uid => "uid",
            Self::Gid => "gid",
            Self::Size => "size",
            Self::Changed => "changed",
        }
    }

    /// The input of this name, if it is one of the event's.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|input| input.name() == name)
    }
}
