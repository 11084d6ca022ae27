//! What an image decides of the facts of an event: the steps that `crates/sensor/bpf/rules.h` describes,
//! which the BPF programs take too.
//!
//! It neither allocates nor fails, and its work is bounded by the limits of [`super::layout`].

#![expect(
    clippy::arithmetic_side_effects,
    reason = "indices are below the counts that were checked with the image"
)]

use outrigger_api::attribute::Place;

use super::facts::{Facts, Lineage};
use super::image::{Decision, Image};
use super::layout::{
    ADDRESS, ATOMS, AtomTable, AutomatonEntry, LENGTHS, LINEAGE, NEGATED, NO_ATOM, NUMBERS,
    OBJECT_MARKS, ON_OBJECT, PROBES, SUBJECT_MARKS, TABLES, TARGET_LINEAGE, TEXTS, WORDS,
};

type Vector = [u64; WORDS];

impl Image {
    /// What the rules decide of an event.
    ///
    /// What is not known decides as follows. A rule that names a number or the address does not apply where
    /// that is not there. A text that is not there, and whether a program that was not found is in a
    /// lineage that is cut, is for an Allow as if it did not hold and for a Deny as if it held, whether it
    /// is negated or not; for a mark it is whichever can only lead to more denials.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        let entry = match self.header.events.get(facts.event.index()) {
            Some(entry) if entry.vector_at != 0 => entry,
            _ => return Decision::default(),
        };
        let mut vector = self.vector(entry.vector_at);
        for which in (0..NUMBERS).filter(|which| entry.numbers & 1 << which != 0) {
            self.number(which, facts, &mut vector);
        }
        for which in (0..TABLES).filter(|which| entry.tables & 1 << which != 0) {
            self.atoms(which, facts, &mut vector);
        }
        self.conclude(&vector)
    }

    /// Takes the clauses away that a number contradicts.
    fn number(&self, which: usize, facts: &Facts<'_>, vector: &mut Vector) {
        let Some(table) = self.header.number_tables.get(which) else { return };
        let len = table.len as usize;
        let interval = match which {
            ADDRESS => facts.address().map(|address| {
                let value = u128::from_be_bytes(address);
                partition(len, |bound| {
                    let high = self.u64_at(table.bounds_at, bound * 2);
                    let low = self.u64_at(table.bounds_at, bound * 2 + 1);
                    u128::from(high) << 64 | u128::from(low) <= value
                })
            }),
            _ => value(which, facts)
                .map(|value| partition(len, |bound| self.u64_at(table.bounds_at, bound) <= value)),
        };
        match interval {
            Some(interval) => {
                self.keep(table.vectors_at as usize + interval * self.vector_bytes(), vector);
            }
            None => self.keep(table.missing_at as usize, vector),
        }
    }

    /// Takes the clauses away that the atoms of a table contradict.
    fn atoms(&self, which: usize, facts: &Facts<'_>, vector: &mut Vector) {
        let Some(table) = self.header.atom_tables.get(which) else { return };
        let mut found = Found { positive: self.vector(table.base_at), ..Found::default() };
        let known = match which {
            LINEAGE => self.find_programs(table, &facts.lineage, &mut found),
            TARGET_LINEAGE => self.find_programs(table, &facts.target_lineage, &mut found),
            SUBJECT_MARKS => self.find_marks(table, facts.marks, &mut found),
            OBJECT_MARKS => self.find_marks(table, facts.object_marks, &mut found),
            text => self.find_patterns(text, table, facts, &mut found),
        };
        for entry in 0..table.rest as usize {
            let entry = self.u32_at(table.rest_at, entry);
            if !found.has((entry >> 16) as usize) {
                clear(&mut found.positive, entry & 0xffff);
            }
        }
        if !known {
            for (word, doubt) in found.positive.iter_mut().zip(self.vector(self.header.doubt_at)) {
                *word |= doubt;
            }
            self.keep(table.missing_at as usize, vector);
        }
        for (word, (positive, negative)) in
            vector.iter_mut().zip(found.positive.iter().zip(&found.negative))
        {
            *word &= positive & !negative;
        }
    }

    fn find_marks(&self, table: &AtomTable, marks: u64, found: &mut Found) -> bool {
        for mark in bits(marks).filter(|mark| *mark < table.atoms as usize) {
            self.find(table, mark, found);
        }
        true
    }

    fn find_programs(&self, table: &AtomTable, lineage: &Lineage, found: &mut Found) -> bool {
        for &hash in lineage.programs() {
            if let Some(atom) = self.program(hash).filter(|atom| *atom < table.atoms as usize) {
                self.find(table, atom, found);
            }
        }
        !lineage.is_cut()
    }

    /// The atom of a program.
    fn program(&self, hash: u64) -> Option<usize> {
        let (slots, at) = (self.header.programs, self.header.programs_at);
        let mask = usize::try_from(slots.checked_sub(1)?).ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits are used")]
        let first = hash as usize;
        (0..PROBES)
            .map(|probe| first.wrapping_add(probe) & mask)
            .take_while(|slot| self.u32_at(at, slot * 4 + 3) != 0)
            .find(|slot| self.u64_at(at, slot * 2) == hash)
            .map(|slot| self.u32_at(at, slot * 4 + 2) as usize)
    }

    /// Runs the automaton of a text.
    fn find_patterns(
        &self,
        which: usize,
        table: &AtomTable,
        facts: &Facts<'_>,
        found: &mut Found,
    ) -> bool {
        let Some(text) = text(which, facts) else { return false };
        let Some(automaton) = self.header.automata.get(which).filter(|one| one.states != 0) else {
            return true;
        };
        let AutomatonEntry { classes, first_out, next_at, outs_at, links_at, .. } = *automaton;
        let class_of = self.header.classes.get(which).unwrap_or(&[0; 256]);
        let begin = (classes as usize).saturating_sub(2);
        let symbols = text.iter().map(|&byte| usize::from(class_of[usize::from(byte)]));
        let mut state = 0;
        for class in [begin].into_iter().chain(symbols).chain([begin + 1]) {
            state = usize::from(self.u16_at(next_at, state * classes as usize + class));
            let Some(out) = state.checked_sub(first_out as usize) else { continue };
            let mut atom = self.u16_at(outs_at, out);
            while atom != NO_ATOM && !found.has(atom.into()) {
                self.find(table, atom.into(), found);
                atom = self.u16_at(links_at, atom.into());
            }
        }
        true
    }

    /// An atom is so: what its literals say of their clauses.
    fn find(&self, table: &AtomTable, atom: usize, found: &mut Found) {
        if let Some(word) = found.atoms.get_mut(atom / 64) {
            *word |= 1 << (atom % 64);
        }
        let first = self.u32_at(table.starts_at, atom) as usize;
        let end = self.u32_at(table.starts_at, atom + 1) as usize;
        for literal in first..end {
            let literal = self.u32_at(table.literals_at, literal);
            let clause = literal & !NEGATED;
            set(if literal == clause { &mut found.positive } else { &mut found.negative }, clause);
        }
    }

    /// `vector &=` the one that stands there.
    fn keep(&self, at: usize, vector: &mut Vector) {
        let (words, _) = self.slice(at, self.vector_bytes()).as_chunks();
        for (to, from) in vector.iter_mut().zip(words) {
            *to &= u64::from_le_bytes(*from);
        }
    }

    /// What the clauses that hold come to.
    fn conclude(&self, vector: &Vector) -> Decision {
        let header = &*self.header;
        let mut decision = Decision::default();
        let (mut subject_marks, mut object_marks) = (0, 0);
        for clause in vector
            .iter()
            .enumerate()
            .flat_map(|(word, &of)| bits(of).map(move |bit| word * 64 + bit))
        {
            let [low, high, argument, flags] = self.clause(clause);
            let rule = u16::from_le_bytes([low, high]);
            let argument = 1_u64.checked_shl(argument.into()).unwrap_or(0);
            let clause = clause as u64;
            if clause < header.end_deny.into() {
                decision.deny = decision.deny.or(Some(rule));
            } else if clause < header.end_allow.into() {
                decision.allow = decision.allow.or(Some(rule));
            } else if clause < header.end_watch.into() {
                decision.would_deny = decision.would_deny.or(Some(rule));
            } else if clause >= header.end_mark.into() {
                decision.tell |= argument;
            } else if flags & ON_OBJECT != 0 {
                object_marks |= argument;
            } else {
                subject_marks |= argument;
            }
        }
        if decision.deny.is_some() {
            return Decision { allow: None, ..decision };
        }
        Decision { subject_marks, object_marks, ..decision }
    }
}

/// What was found of one table.
struct Found {
    atoms: [u64; ATOMS / 64],
    positive: Vector,
    negative: Vector,
}

impl Default for Found {
    fn default() -> Self {
        Self { atoms: [0; ATOMS / 64], positive: [0; WORDS], negative: [0; WORDS] }
    }
}

impl Found {
    fn has(&self, atom: usize) -> bool {
        self.atoms.get(atom / 64).is_some_and(|word| word & 1 << (atom % 64) != 0)
    }
}

/// The number of a table that is not the address's.
fn value(which: usize, facts: &Facts<'_>) -> Option<u64> {
    match which.checked_sub(LENGTHS) {
        Some(of) => text(of, facts).map(|text| text.len() as u64),
        None => there(facts, which).then(|| facts.numbers.get(which).copied()).flatten(),
    }
}

/// The text of a table.
fn text<'a>(which: usize, facts: &Facts<'a>) -> Option<&'a [u8]> {
    there(facts, Place::FIRST_TEXT + which).then(|| facts.texts.get(which).copied()).flatten()
}

fn there(facts: &Facts<'_>, place: usize) -> bool {
    facts.has & 1 << place != 0
}

/// How many of the first `len` numbers `below` holds for; it holds for none behind one for which it does
/// not.
fn partition(len: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut first, mut end) = (0, len);
    while first < end {
        let middle = first.midpoint(end);
        if below(middle) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    first
}

fn set(vector: &mut Vector, clause: u32) {
    if let Some(word) = vector.get_mut(clause as usize / 64) {
        *word |= 1 << (clause % 64);
    }
}

fn clear(vector: &mut Vector, clause: u32) {
    if let Some(word) = vector.get_mut(clause as usize / 64) {
        *word &= !(1 << (clause % 64));
    }
}

/// The bits that are set, the lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

const _: () = assert!(LINEAGE == TEXTS, "what is no lineage and no marks is a text");
