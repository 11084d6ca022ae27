//! What can be so of an event besides numbers: patterns of texts, programs of lineages, marks; and what one
//! of them says of another.

use super::ranges::Ranges;
use super::rule::Pattern;

/// What an atom of a table is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Atom {
    /// A pattern of a text.
    Pattern(Anchors, Box<str>),
    /// A program, by its hash.
    Program(u64),
    /// A mark, by its bit.
    Mark(u8),
}

impl Atom {
    /// Bytes of its text.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Pattern(_, text) => text.len(),
            Self::Program(_) | Self::Mark(_) => 0,
        }
    }
}

/// Where a pattern stands in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Anchors {
    /// At its beginning.
    pub(super) begin: bool,
    /// At its end.
    pub(super) end: bool,
}

pub(super) fn pattern(pattern: &Pattern) -> (Anchors, &str) {
    let anchors = |begin, end| Anchors { begin, end };
    match pattern {
        Pattern::Is(text) => (anchors(true, true), text),
        Pattern::Begins(text) => (anchors(true, false), text),
        Pattern::Ends(text) => (anchors(false, true), text),
        Pattern::Contains(text) => (anchors(false, false), text),
        Pattern::AtLeast(_) => (anchors(false, false), ""),
    }
}

/// Whether `second` is so of a text of which `first` is; `None` if of some and of others not, or that is not
/// known.
pub(crate) fn follows(first: &Pattern, second: &Pattern) -> Option<bool> {
    if let (Pattern::AtLeast(_), _) | (_, Pattern::AtLeast(_)) = (first, second) {
        return None;
    }
    let atom = |of| {
        let (anchors, text) = pattern(of);
        Atom::Pattern(anchors, text.into())
    };
    let (first, second) = (atom(first), atom(second));
    if implies(&first, &second) {
        Some(true)
    } else if agree(&first, &second) {
        None
    } else {
        Some(false)
    }
}

/// Whether the second is so wherever the first is. False where it is not known.
pub(super) fn implies(first: &Atom, second: &Atom) -> bool {
    let (Atom::Pattern(at, text), Atom::Pattern(other_at, other)) = (first, second) else {
        return first == second;
    };
    // What stands at the beginning, the end or somewhere of the first's text is there in every text.
    match (other_at.begin, other_at.end) {
        (true, true) => at.begin && at.end && text == other,
        (true, false) => at.begin && text.starts_with(&**other),
        (false, true) => at.end && text.ends_with(&**other),
        (false, false) => text.contains(&**other),
    }
}

/// Whether both can be so. True where it is not known.
pub(super) fn agree(first: &Atom, second: &Atom) -> bool {
    let (Atom::Pattern(at, text), Atom::Pattern(other_at, other)) = (first, second) else {
        return true;
    };
    if at.begin && at.end {
        return implies(first, second);
    }
    if other_at.begin && other_at.end {
        return implies(second, first);
    }
    let begins =
        !(at.begin && other_at.begin) || text.starts_with(&**other) || other.starts_with(&**text);
    let ends = !(at.end && other_at.end) || text.ends_with(&**other) || other.ends_with(&**text);
    begins && ends
}

/// Whether a text can have one of these lengths where an atom is so.
pub(super) fn has_room(atom: &Atom, length: &Ranges) -> bool {
    match atom {
        Atom::Pattern(Anchors { begin: true, end: true }, text) => length.has(text.len() as u128),
        Atom::Pattern(_, text) => length.largest().is_some_and(|most| most >= text.len() as u128),
        Atom::Program(_) | Atom::Mark(_) => true,
    }
}
