//! Why a set of rules is not compiled.

use super::layout::{ATOMS, BOUNDS, CLAUSES, LITERALS, MARKS, PAGE, PAGES, STATES, TIMED};
use super::normal::{DEPTH_MAX, WORK_MAX};
use super::rule::{Number, Text};

/// A set of rules that is not compiled. Nothing of it is in force, and what was before still is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A rule's name, or that of a mark, is too long.
    #[error("rule {number} (from 0) has or names {what} of {len} bytes: 1 to {max}")]
    Name {
        /// The rule's place in the set.
        number: usize,
        /// A name or a mark.
        what: &'static str,
        /// Its bytes.
        len: usize,
        /// Most that there may be.
        max: usize,
    },
    /// Two rules have one name.
    #[error("two rules are called {rule:?}: give each a name of its own")]
    NameTwice {
        /// The name.
        rule: String,
    },
    /// A rule is about no event.
    #[error("rule {rule:?} names no event")]
    NoEvent {
        /// The rule's name.
        rule: String,
    },
    /// A rule names something that none of its events has.
    #[error("rule {rule:?} names something that none of its events has, so it would never decide")]
    Nowhere {
        /// The rule's name.
        rule: String,
    },
    /// A rule's condition contradicts itself.
    #[error("rule {rule:?} can never apply: its condition contradicts itself")]
    Impossible {
        /// The rule's name.
        rule: String,
    },
    /// An engine's rule does more than deny and filter.
    #[error("rule {rule:?} comes from an engine: it may deny, but not allow or set marks")]
    EngineMayOnlyDeny {
        /// The rule's name.
        rule: String,
    },
    /// A filter is of an engine that cannot be.
    #[error("rule {rule:?} tells engine {engine}, and there are 64: 0 to 63")]
    NoSuchEngine {
        /// The rule's name.
        rule: String,
        /// The engine's number.
        engine: u8,
    },
    /// A condition is nested too deeply.
    #[error(
        "the condition of rule {rule:?} is nested more than {DEPTH_MAX} deep: write it flatter"
    )]
    Nested {
        /// The rule's name.
        rule: String,
    },
    /// A condition is too much work to bring into clauses.
    #[error(
        "the conditions up to rule {rule:?} take more than {WORK_MAX} steps to work out: split them \
         into several rules, or use fewer alternatives in one"
    )]
    Work {
        /// The rule's name.
        rule: String,
    },
    /// A set has too many clauses.
    #[error(
        "with rule {rule:?} the set has more than {CLAUSES} clauses (alternatives that are all looked \
         at): use fewer, or fewer combinations of them"
    )]
    Clauses {
        /// The rule at which there were too many.
        rule: String,
    },
    /// A constant is longer than what it is compared with ever is.
    #[error("rule {rule:?} compares {place:?} with {len} bytes, and it has at most {max}")]
    Long {
        /// The rule's name.
        rule: String,
        /// What is compared.
        place: Text,
        /// Bytes of the constant.
        len: usize,
        /// Most that there can be.
        max: usize,
    },
    /// A network has more bits than an address.
    #[error("rule {rule:?} has a network with a prefix of {prefix}: at most 32 or 128")]
    Network {
        /// The rule's name.
        rule: String,
        /// The prefix.
        prefix: u8,
    },
    /// There are too many marks.
    #[error("rule {rule:?} names mark {mark:?}, and there are {} marks without a lifetime already", MARKS - TIMED)]
    Marks {
        /// The rule's name.
        rule: String,
        /// The mark.
        mark: String,
    },
    /// There are too many marks that have a lifetime.
    #[error("rule {rule:?} gives mark {mark:?} a lifetime, and {TIMED} marks have one already")]
    Timed {
        /// The rule's name.
        rule: String,
        /// The mark.
        mark: String,
    },
    /// Two rules set a mark differently, or one for no time.
    #[error(
        "rule {rule:?} sets mark {mark:?} for another time, or is of another mind about children, than \
         another rule does, or for 0 s: all that set it must say the same"
    )]
    MarkDiffers {
        /// The rule's name.
        rule: String,
        /// The mark.
        mark: String,
    },
    /// A number is compared with too many constants.
    #[error("{} is compared with more than {BOUNDS} bounds in all", .place.map_or("the address or a length".to_owned(), |place| format!("{place:?}")))]
    Bounds {
        /// Which; none: the address, or the length of a text.
        place: Option<Number>,
    },
    /// A text is compared with too many constants, or there are too many programs.
    #[error("{what} is compared with more than {ATOMS} different constants in all")]
    Atoms {
        /// What is compared.
        what: &'static str,
    },
    /// Too many clauses name constants of one text, or programs, or marks.
    #[error("{what} stands in more than {LITERALS} comparisons in all")]
    Literals {
        /// What is compared.
        what: &'static str,
    },
    /// The constants of one text are too long in all.
    #[error("the constants that {what} is compared with have more than {STATES} beginnings in all")]
    States {
        /// What is compared.
        what: &'static str,
    },
    /// The image would be too large.
    #[error("the compiled set is larger than {} bytes: use fewer or shorter constants", PAGES * PAGE)]
    Bytes,
}

impl CompileError {
    /// The name of the rule that is in the way, where it is one.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::NameTwice { rule }
            | Self::NoEvent { rule }
            | Self::Nowhere { rule }
            | Self::Impossible { rule }
            | Self::EngineMayOnlyDeny { rule }
            | Self::NoSuchEngine { rule, .. }
            | Self::Nested { rule }
            | Self::Work { rule }
            | Self::Clauses { rule }
            | Self::Long { rule, .. }
            | Self::Network { rule, .. }
            | Self::Marks { rule, .. }
            | Self::Timed { rule, .. }
            | Self::MarkDiffers { rule, .. } => Some(rule),
            Self::Name { .. }
            | Self::Bounds { .. }
            | Self::Atoms { .. }
            | Self::Literals { .. }
            | Self::States { .. }
            | Self::Bytes => None,
        }
    }
}
