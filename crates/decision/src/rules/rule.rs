//! A rule as it is written down between whoever reads its text and whoever compiles it.

use std::net::IpAddr;

use outrigger_api::attribute::Place;
use outrigger_api::{EngineName, Event, Mode};
use serde::{Deserialize, Serialize};

/// Whose rule it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The machine's administrator.
    Administrator,
    /// Signed content of an engine: it can only deny, and no guard-railed object.
    Engine(EngineName),
}

/// A mark that a rule sets on a process or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// Whether the object is marked (where it is a file or a process) and not the subject.
    pub object: bool,
    /// Whether the children that a marked process makes from now on have it too.
    pub inherited: bool,
    /// How long it stays, in seconds; without one as long as what is marked.
    pub seconds: Option<u32>,
}

/// What a rule does where its condition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The event is denied (in Monitor mode: it is said that it would have been).
    Deny,
    /// The event is allowed, and no engine is asked; a Deny of another rule is stronger.
    Allow,
    /// A mark is set, unless the event is denied.
    Mark(Mark),
    /// The engine of this number is told of the event. Only the host makes such rules, of filters.
    Tell(u8),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it is called where it decided: `file.cedar:12` or the `@id` of its text; unique in a set.
    pub name: String,
    /// Whose it is.
    pub source: Source,
    /// Whether a Deny is enforced.
    pub mode: Mode,
    /// What it does.
    pub effect: Effect,
    /// The events that it is about, by name.
    #[serde(with = "names")]
    pub events: Vec<Event>,
    /// What must hold.
    pub when: Condition,
}

/// Which process a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// Who does it.
    Subject,
    /// The process that is the object.
    Object,
}

/// How a number is compared with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// It is that number.
    Is,
    /// It is less.
    Less,
    /// It is that number or less.
    AtMost,
}

/// What a text is compared with, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// It is that.
    Is(String),
    /// It begins so.
    Begins(String),
    /// It ends so.
    Ends(String),
    /// That stands in it.
    Contains(String),
    /// It is at least so many bytes long: with `Begins` and `Ends` this is `a*b`.
    AtLeast(u16),
}

/// A network: an address and how many bits of it count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cidr {
    /// The network's address. None is an IPv4 address mapped into IPv6.
    pub address: IpAddr,
    /// Bits of it that count: at most 32 or 128.
    pub prefix: u8,
}

/// What must hold of the facts of an event.
///
/// A number, text or address that the event does not have (of another event of the same rule) makes no
/// condition hold: neither it nor its negation is looked at, the whole rule does not apply to that event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Every one holds; without any, always.
    All(Vec<Self>),
    /// One holds at least; without any, never.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// A number.
    Number {
        /// Which.
        place: Number,
        /// How it is compared.
        is: Comparison,
        /// With what.
        value: u64,
    },
    /// A text.
    Text {
        /// Which.
        place: Text,
        /// With what it is compared.
        is: Pattern,
    },
    /// The address lies in a network.
    Within(Cidr),
    /// The process or one of its ancestors has run this program, by its path.
    Descends {
        /// Which process.
        process: Process,
        /// The program's absolute path.
        program: String,
    },
    /// The process, or the file that is the object, has a mark.
    Marked {
        /// `Object` for whatever the object is.
        whose: Process,
        /// The mark's name.
        mark: String,
    },
}

/// A [`Place`] of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the place of the same name")]
pub enum Number {
    SubjectUid,
    SubjectGid,
    TargetUid,
    TargetGid,
    Owner,
    PathKnown,
    Family,
    Port,
    Value0,
    Value1,
}

impl Number {
    /// Every one, in the order of their places.
    pub const ALL: [Self; Place::NUMBERS] = [
        Self::SubjectUid,
        Self::SubjectGid,
        Self::TargetUid,
        Self::TargetGid,
        Self::Owner,
        Self::PathKnown,
        Self::Family,
        Self::Port,
        Self::Value0,
        Self::Value1,
    ];

    /// Its place.
    pub const fn place(self) -> Place {
        match self {
            Self::SubjectUid => Place::SubjectUid,
            Self::SubjectGid => Place::SubjectGid,
            Self::TargetUid => Place::TargetUid,
            Self::TargetGid => Place::TargetGid,
            Self::Owner => Place::Owner,
            Self::PathKnown => Place::PathKnown,
            Self::Family => Place::Family,
            Self::Port => Place::Port,
            Self::Value0 => Place::Value0,
            Self::Value1 => Place::Value1,
        }
    }
}

/// A [`Place`] of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the place of the same name")]
pub enum Text {
    Exe,
    Cgroup,
    Path,
    TargetExe,
    NewPath,
    Text,
}

impl Text {
    /// Every one, in the order of their places.
    pub const ALL: [Self; Place::TEXTS_END - Place::FIRST_TEXT] =
        [Self::Exe, Self::Cgroup, Self::Path, Self::TargetExe, Self::NewPath, Self::Text];

    /// Its place.
    pub const fn place(self) -> Place {
        match self {
            Self::Exe => Place::Exe,
            Self::Cgroup => Place::Cgroup,
            Self::Path => Place::Path,
            Self::TargetExe => Place::TargetExe,
            Self::NewPath => Place::NewPath,
            Self::Text => Place::Text,
        }
    }
}

/// Events by their names.
mod names {
    use outrigger_api::Event;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(events: &[Event], to: S) -> Result<S::Ok, S::Error> {
        events.iter().map(|event| event.name()).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Event>, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        names.iter().map(|name| name.parse().map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_those_of_every_place_in_order() {
        let numbers = Number::ALL.map(|number| number.place() as usize);
        let texts = Text::ALL.map(|text| text.place() as usize);

        assert!(numbers.into_iter().eq(0..Place::NUMBERS));
        assert!(texts.into_iter().eq(Place::FIRST_TEXT..Place::TEXTS_END));
    }
}
