//! The automaton that finds all patterns of a text in one pass (Aho and Corasick, 1975), with a next state
//! for every symbol, so that each byte is one step.
//!
//! What is anchored is found like anything else, by two symbols that no byte is: one before the text and
//! one behind it.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "states are below 65535 and classes below 259, and their product was compared with the limit"
)]

use std::collections::VecDeque;

use super::atom::Anchors;
use super::layout::{NO_ATOM, STATES};

/// What there are too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLarge {
    /// States.
    States,
    /// Bytes.
    Bytes,
}

/// An automaton as `rules.h` lays it out.
#[derive(Debug)]
pub(super) struct Automaton {
    pub(super) class_of: [u8; 256],
    pub(super) classes: usize,
    pub(super) states: usize,
    pub(super) first_out: usize,
    /// The next states: a row per state, a cell per class.
    pub(super) next: Vec<u16>,
    /// The atom that is found in each state from `first_out` on.
    pub(super) outs: Vec<u16>,
    /// The next atom that is found where an atom is.
    pub(super) links: Vec<u16>,
}

/// No state: where a tree has no branch. There are fewer states than this.
const NONE: u16 = u16::MAX;

impl Automaton {
    /// The one of these patterns, none twice and none empty without an anchor. Its atoms are their places.
    /// `bytes`: the most that its next states may take.
    pub(super) fn build(patterns: &[(Anchors, &str)], bytes: usize) -> Result<Self, TooLarge> {
        let (class_of, classes) = classes(patterns);
        let mut tree = Tree { classes, next: vec![NONE; classes], ends: vec![NO_ATOM] };
        for (atom, (anchors, text)) in (0_u16..).zip(patterns) {
            let begin = anchors.begin.then_some(classes - 2);
            let end = anchors.end.then_some(classes - 1);
            let text = text.bytes().map(|byte| usize::from(class_of[usize::from(byte)]));
            tree.add(atom, begin.into_iter().chain(text).chain(end), bytes)?;
        }
        let links = tree.close(patterns.len());
        let Tree { next, ends, .. } = tree;

        // States in which something is found are moved behind the others, so that a look at the number
        // says whether there is anything to do.
        let (without, with): (Vec<usize>, Vec<usize>) =
            (0..ends.len()).partition(|state| ends[*state] == NO_ATOM);
        let mut number = vec![0_u16; ends.len()];
        for (new, old) in (0_u16..).zip(without.iter().chain(&with)) {
            number[*old] = new;
        }
        let rows = without.iter().chain(&with).map(|state| &next[state * classes..][..classes]);
        Ok(Self {
            class_of,
            classes,
            states: ends.len(),
            first_out: without.len(),
            next: rows.flatten().map(|state| number[usize::from(*state)]).collect(),
            outs: with.iter().map(|state| ends[*state]).collect(),
            links,
        })
    }
}

/// The class of each byte, and how many classes there are with those of the two ends. Bytes that stand in
/// no pattern are of class 0; the others each of their own. Texts are UTF-8, in which 13 bytes never
/// stand, so that all classes of bytes have numbers below 256.
fn classes(patterns: &[(Anchors, &str)]) -> ([u8; 256], usize) {
    let mut class_of = [0; 256];
    let mut next = 1_u8;
    for byte in patterns.iter().flat_map(|(_, text)| text.bytes()) {
        let class = &mut class_of[usize::from(byte)];
        if *class == 0 {
            *class = next;
            next = next.saturating_add(1);
        }
    }
    (class_of, usize::from(next) + 2)
}

/// The tree of the patterns' beginnings, then the automaton.
struct Tree {
    classes: usize,
    next: Vec<u16>,
    /// What is found in each state: the atom, whose links are the others.
    ends: Vec<u16>,
}

impl Tree {
    fn add(
        &mut self,
        atom: u16,
        symbols: impl Iterator<Item = usize>,
        bytes: usize,
    ) -> Result<(), TooLarge> {
        let mut state = 0_usize;
        for class in symbols {
            let cell = state * self.classes + class;
            if self.next[cell] == NONE {
                let new = self.ends.len();
                if new >= STATES {
                    return Err(TooLarge::States);
                }
                if (self.next.len() + self.classes) * 2 > bytes {
                    return Err(TooLarge::Bytes);
                }
                self.next[cell] = u16::try_from(new).map_err(|_| TooLarge::States)?;
                self.next.resize(self.next.len() + self.classes, NONE);
                self.ends.push(NO_ATOM);
            }
            state = usize::from(self.next[cell]);
        }
        self.ends[state] = atom;
        Ok(())
    }

    /// Fills in what follows where the tree has no branch, and gives the links of the atoms.
    fn close(&mut self, atoms: usize) -> Vec<u16> {
        let mut links = vec![NO_ATOM; atoms];
        // The state of the longest other ending of what was read that is a beginning, too.
        let mut fallback = vec![0_usize; self.ends.len()];
        let mut queue = VecDeque::from([0_usize]);
        while let Some(state) = queue.pop_front() {
            let below = fallback[state];
            if state != below {
                match links.get_mut(usize::from(self.ends[state])) {
                    Some(link) => *link = self.ends[below],
                    None => self.ends[state] = self.ends[below],
                }
            }
            for class in 0..self.classes {
                let cell = state * self.classes + class;
                let other = if state == 0 { 0 } else { self.next[below * self.classes + class] };
                match self.next[cell] {
                    NONE => self.next[cell] = other,
                    child => {
                        let child = usize::from(child);
                        fallback[child] = usize::from(other);
                        queue.push_back(child);
                    }
                }
            }
        }
        links
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IS: Anchors = Anchors { begin: true, end: true };
    const BEGINS: Anchors = Anchors { begin: true, end: false };
    const ENDS: Anchors = Anchors { begin: false, end: true };
    const CONTAINS: Anchors = Anchors { begin: false, end: false };

    /// The atoms that are found in a text, by the steps that `rules.h` says.
    fn found(automaton: &Automaton, text: &[u8]) -> Vec<u16> {
        let begin = automaton.classes - 2;
        let symbols = text.iter().map(|byte| usize::from(automaton.class_of[usize::from(*byte)]));
        let (mut state, mut found) = (0, Vec::new());
        for class in [begin].into_iter().chain(symbols).chain([begin + 1]) {
            state = usize::from(automaton.next[state * automaton.classes + class]);
            if state >= automaton.first_out {
                let mut atom = automaton.outs[state - automaton.first_out];
                while atom != NO_ATOM && !found.contains(&atom) {
                    found.push(atom);
                    atom = automaton.links[usize::from(atom)];
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn every_pattern_is_found_where_it_stands_and_nowhere_else() {
        let patterns = [
            (IS, "/etc/passwd"),
            (BEGINS, "/etc/"),
            (ENDS, "passwd"),
            (CONTAINS, "c/p"),
            (CONTAINS, "/"),
            (CONTAINS, "//"),
            (BEGINS, ""),
            (IS, ""),
        ];
        let automaton = Automaton::build(&patterns, usize::MAX).expect("small");

        assert_eq!(found(&automaton, b"/etc/passwd"), [0, 1, 2, 3, 4, 6]);
        assert_eq!(found(&automaton, b"/etc/passwd-"), [1, 3, 4, 6]);
        assert_eq!(found(&automaton, b"x/etc/passwd"), [2, 3, 4, 6]);
        assert_eq!(found(&automaton, b"/etc"), [4, 6]);
        assert_eq!(found(&automaton, b"a//b\xff"), [4, 5, 6]);
        assert_eq!(found(&automaton, b""), [6, 7]);
    }

    #[test]
    fn a_pattern_that_ends_in_another_leads_to_it() {
        let patterns = [(CONTAINS, "aaa"), (CONTAINS, "aa"), (CONTAINS, "a"), (ENDS, "ba")];
        let automaton = Automaton::build(&patterns, usize::MAX).expect("small");

        assert_eq!(found(&automaton, b"aaa"), [0, 1, 2]);
        assert_eq!(found(&automaton, b"aaba"), [1, 2, 3]);
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_made() {
        let long = "abcdefgh".repeat(STATES);

        let many = Automaton::build(&[(CONTAINS, &long)], usize::MAX).map(|_| ());
        assert_eq!(many, Err(TooLarge::States));
        let large = Automaton::build(&[(CONTAINS, "abc")], 3 * 2 * 6).map(|_| ());
        assert_eq!(large, Err(TooLarge::Bytes));
    }
}
