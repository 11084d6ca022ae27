//! The tables of an image: numbers by intervals, atoms by their literals.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "counts are compared with their limits, and offsets with an image's size"
)]

use std::collections::BTreeMap;

use super::atom::Atom;
use super::automaton::{Automaton, TooLarge};
use super::error::CompileError;
use super::layout::TABLES;
use super::layout::{
    ADDRESS, ATOMS, AtomTable, AutomatonEntry, BOUNDS, LINEAGE, LITERALS, NEGATED, NumberTable,
    PAGE, PAGES, PROBES, PROGRAM_BYTES, SUBJECT_MARKS, WORDS,
};
use super::normal::{AtomId, Clause, Normal};
use super::ranges::Ranges;
use super::rule::Number;

/// Clauses, a bit each.
pub(super) type Vector = [u64; WORDS];

/// Every clause.
pub(super) const ALL: Vector = [u64::MAX; WORDS];

/// The vector with these clauses taken from every one.
pub(super) fn without(clauses: impl IntoIterator<Item = usize>) -> Vector {
    let mut vector = ALL;
    clauses.into_iter().for_each(|clause| vector[clause / 64] &= !(1 << (clause % 64)));
    vector
}

/// The vector of these clauses.
pub(super) fn with(clauses: impl IntoIterator<Item = usize>) -> Vector {
    without(clauses).map(|word| !word)
}

/// The bytes behind the header, as they grow.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) bytes: Vec<u8>,
    /// Words of a vector.
    words: usize,
}

impl Space {
    /// With room for the header, for vectors of this many clauses.
    pub(super) fn new(clauses: usize) -> Self {
        let words = clauses.div_ceil(64).next_power_of_two();
        Self { bytes: vec![0; PAGE], words }
    }

    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// Puts things of `N` bytes one behind the other, and says where.
    pub(super) fn put<const N: usize>(
        &mut self,
        all: impl IntoIterator<Item = [u8; N]>,
    ) -> Result<u32, CompileError> {
        self.bytes.resize(self.bytes.len().next_multiple_of(N), 0);
        let at = self.bytes.len();
        for one in all {
            self.bytes.extend_from_slice(&one);
            if self.bytes.len() > PAGES * PAGE {
                return Err(CompileError::Bytes);
            }
        }
        u32::try_from(at).map_err(|_| CompileError::Bytes)
    }

    /// Puts vectors one behind the other, and says where.
    pub(super) fn vectors<'a>(
        &mut self,
        all: impl IntoIterator<Item = &'a Vector>,
    ) -> Result<u32, CompileError> {
        self.bytes.resize(self.bytes.len().next_multiple_of(self.words * 8), 0);
        let words = self.words;
        self.put(all.into_iter().flat_map(|vector| &vector[..words]).map(|word| word.to_le_bytes()))
    }

    fn left(&self) -> usize {
        (PAGES * PAGE).saturating_sub(self.bytes.len())
    }
}

/// Makes the table of a number, a length or the address. `missing`: what holds where it is not there.
pub(super) fn numbers(
    space: &mut Space,
    which: usize,
    clauses: &[Clause],
    missing: &Vector,
) -> Result<NumberTable, CompileError> {
    let sets: Vec<(usize, &Ranges)> = clauses
        .iter()
        .enumerate()
        .flat_map(|(at, clause)| {
            clause
                .numbers
                .iter()
                .filter(|(table, _)| *table == which)
                .map(move |(_, set)| (at, set))
        })
        .collect();
    let mut bounds: Vec<u128> = Vec::new();
    for (_, set) in &sets {
        for (first, last) in set.iter() {
            bounds.extend([Some(first), last.checked_add(1)].into_iter().flatten());
        }
        // Kept short, since many sets have the same.
        if bounds.len() > BOUNDS * 4 {
            bounds.sort_unstable();
            bounds.dedup();
        }
        if bounds.len() > BOUNDS * 4 {
            return Err(CompileError::Bounds { place: number(which) });
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    // A bound at the beginning, or behind the greatest number, cuts nothing.
    let most = if which == ADDRESS { u128::MAX } else { u64::MAX.into() };
    bounds.retain(|bound| *bound != 0 && *bound <= most);
    if bounds.len() > BOUNDS {
        return Err(CompileError::Bounds { place: number(which) });
    }

    let open = without(sets.iter().map(|(clause, _)| *clause));
    let mut vectors = vec![open; bounds.len() + 1];
    for (clause, set) in &sets {
        for (first, last) in set.iter() {
            let interval = |value: u128| bounds.partition_point(|bound| *bound <= value);
            for vector in &mut vectors[interval(first)..=interval(last)] {
                vector[clause / 64] |= 1 << (clause % 64);
            }
        }
    }
    let bounds_at = if which == ADDRESS {
        space.put(bounds.iter().map(|bound| address(*bound)))?
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "larger ones were left out above")]
        space.put(bounds.iter().map(|bound| (*bound as u64).to_le_bytes()))?
    };
    Ok(NumberTable {
        len: count(bounds.len()),
        bounds_at,
        vectors_at: space.vectors(&vectors)?,
        missing_at: space.vectors([missing])?,
    })
}

/// A bound of addresses: its first half, then its last.
fn address(bound: u128) -> [u8; 16] {
    let mut bytes = bound.to_be_bytes();
    bytes[..8].reverse();
    bytes[8..].reverse();
    bytes
}

fn number(table: usize) -> Option<Number> {
    use Number::{
        Family, Owner, PathKnown, Port, SubjectGid, SubjectUid, TargetGid, TargetUid, Value0,
        Value1,
    };
    [SubjectUid, SubjectGid, TargetUid, TargetGid, Owner, PathKnown, Family, Port, Value0, Value1]
        .into_iter()
        .find(|number| number.place() as usize == table)
}

/// What a table of atoms is about, for messages.
const fn what(table: usize) -> &'static str {
    match table {
        0 => "the program's path",
        1 => "the control group",
        2 => "the object's path",
        3 => "the path of the object's program",
        4 => "the new path",
        5 => "the event's text",
        6 => "the lineage",
        7 => "the object's lineage",
        _ => "the marks",
    }
}

/// The literals of a table of atoms.
#[derive(Debug, Default)]
struct Literals {
    /// The clauses of each atom, with whether it must not be so.
    of: BTreeMap<AtomId, Vec<u32>>,
    /// Second and further atoms that must be so, of each clause.
    rest: Vec<(usize, AtomId)>,
    /// Clauses with an atom that must be so.
    positive: Vec<usize>,
    /// Clauses with an atom that must not be so.
    negative: Vec<usize>,
}

impl Literals {
    fn new(which: usize, clauses: &[Clause]) -> Self {
        let mut this = Self::default();
        for (at, clause) in clauses.iter().enumerate() {
            let mut sets: Vec<_> =
                clause.some.iter().filter(|(table, _)| *table == which).collect();
            // At most one has several atoms; any of them being so is enough for it.
            sets.sort_by_key(|(_, atoms)| usize::MAX - atoms.len());
            for (nth, (_, atoms)) in sets.into_iter().enumerate() {
                for &atom in atoms.iter() {
                    let of = this.of.entry(atom).or_default();
                    if nth == 0 {
                        of.push(count(at));
                    } else {
                        this.rest.push((at, atom));
                    }
                }
                this.positive.push(at);
            }
            for (_, atom) in clause.none.iter().filter(|(table, _)| *table == which) {
                this.of.entry(*atom).or_default().push(count(at) | NEGATED);
                this.negative.push(at);
            }
        }
        this
    }
}

/// Makes the table of a text's patterns, of a lineage or of marks. `doubt`: the clauses for which what is
/// not known is so.
pub(super) fn atoms(
    space: &mut Space,
    which: usize,
    clauses: &[Clause],
    doubt: &Vector,
    place: impl Fn(AtomId) -> usize,
) -> Result<AtomTable, CompileError> {
    let Literals { of, rest, positive, negative } = Literals::new(which, clauses);
    let what = what(which);
    let literals: usize = of.values().map(Vec::len).sum();
    if literals > LITERALS || rest.len() > LITERALS {
        return Err(CompileError::Literals { what });
    }
    // Where each atom's literals begin: atoms that the table has none of have none.
    let by_place: BTreeMap<usize, &Vec<u32>> = of.iter().map(|(id, of)| (place(*id), of)).collect();
    let atoms = by_place.last_key_value().map_or(0, |(last, _)| last + 1);
    if atoms > ATOMS {
        return Err(CompileError::Atoms { what });
    }
    let mut starts = vec![0];
    let mut all: Vec<u32> = Vec::with_capacity(literals);
    for atom in 0..atoms {
        all.extend(by_place.get(&atom).into_iter().copied().flatten());
        starts.push(count(all.len()));
    }
    let mut missing = without(negative);
    for (word, doubt) in missing.iter_mut().zip(doubt) {
        *word |= doubt;
    }
    let rest = rest.into_iter().map(|(clause, atom)| count(clause) | count(place(atom)) << 16);
    Ok(AtomTable {
        atoms: count(atoms),
        literals: count(literals),
        rest: count(rest.len()),
        base_at: space.vectors([&without(positive)])?,
        missing_at: space.vectors([&missing])?,
        starts_at: space.put(starts.into_iter().map(u32::to_le_bytes))?,
        literals_at: space.put(all.into_iter().map(u32::to_le_bytes))?,
        rest_at: space.put(rest.map(u32::to_le_bytes))?,
    })
}

/// Which place in its table each atom has: that of a mark is its bit, of a program the same in both
/// lineages.
#[derive(Debug)]
pub(super) struct Places {
    /// The atoms of each table, in their order.
    tables: Vec<BTreeMap<AtomId, usize>>,
}

impl Places {
    /// # Errors
    ///
    /// A table has more literals than it may, which is found before they are looked at one by one.
    pub(super) fn new(normal: &Normal<'_>, clauses: &[Clause]) -> Result<Self, CompileError> {
        for which in 0..TABLES {
            let some = clauses.iter().flat_map(|clause| &clause.some);
            let some = some.filter(|(table, _)| *table == which).map(|(_, atoms)| atoms.len());
            if some.sum::<usize>() > LITERALS * 2 {
                return Err(CompileError::Literals { what: what(which) });
            }
        }
        let mut tables = vec![BTreeMap::new(); SUBJECT_MARKS];
        for clause in clauses {
            let some =
                clause.some.iter().flat_map(|(table, ids)| ids.iter().map(move |id| (*table, *id)));
            for (table, id) in some.chain(clause.none.iter().copied()) {
                if !matches!(normal.atom(id), Atom::Mark(_)) {
                    let table: &mut BTreeMap<_, _> = &mut tables[table.min(LINEAGE)];
                    let next = table.len();
                    table.entry(id).or_insert(next);
                }
            }
        }
        Ok(Self { tables })
    }

    pub(super) fn of(&self, normal: &Normal<'_>, table: usize, id: AtomId) -> usize {
        match normal.atom(id) {
            Atom::Mark(bit) => usize::from(*bit),
            Atom::Pattern(..) | Atom::Program(_) => {
                self.tables.get(table.min(LINEAGE)).and_then(|of| of.get(&id)).copied().unwrap_or(0)
            }
        }
    }

    /// The atoms of a table in the order of their places.
    fn atoms<'a>(&self, normal: &'a Normal<'_>, table: usize) -> Vec<&'a Atom> {
        let mut all: Vec<(usize, AtomId)> =
            self.tables[table].iter().map(|(id, place)| (*place, *id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| normal.atom(id)).collect()
    }

    /// Makes the automaton of a text, and gives the classes of its bytes.
    pub(super) fn automaton(
        &self,
        space: &mut Space,
        normal: &Normal<'_>,
        table: usize,
    ) -> Result<(AutomatonEntry, [u8; 256]), CompileError> {
        let patterns: Vec<_> = self
            .atoms(normal, table)
            .into_iter()
            .filter_map(|atom| match atom {
                Atom::Pattern(anchors, text) => Some((*anchors, &**text)),
                Atom::Program(_) | Atom::Mark(_) => None,
            })
            .collect();
        let what = what(table);
        if patterns.is_empty() {
            return Ok((AutomatonEntry::default(), [0; 256]));
        }
        if patterns.len() > ATOMS {
            return Err(CompileError::Atoms { what });
        }
        let automaton = Automaton::build(&patterns, space.left()).map_err(|error| match error {
            TooLarge::States => CompileError::States { what },
            TooLarge::Bytes => CompileError::Bytes,
        })?;
        let entry = AutomatonEntry {
            states: count(automaton.states),
            classes: count(automaton.classes),
            first_out: count(automaton.first_out),
            next_at: space.put(automaton.next.iter().map(|state| state.to_le_bytes()))?,
            outs_at: space.put(automaton.outs.iter().map(|atom| atom.to_le_bytes()))?,
            links_at: space.put(automaton.links.iter().map(|atom| atom.to_le_bytes()))?,
        };
        Ok((entry, automaton.class_of))
    }

    /// Makes the slots of the programs: where they are, and how many.
    pub(super) fn programs(
        &self,
        space: &mut Space,
        normal: &Normal<'_>,
    ) -> Result<(u32, u32), CompileError> {
        let hashes: Vec<u64> = self
            .atoms(normal, LINEAGE)
            .into_iter()
            .filter_map(|atom| match atom {
                Atom::Program(hash) => Some(*hash),
                Atom::Pattern(..) | Atom::Mark(_) => None,
            })
            .collect();
        if hashes.is_empty() {
            return Ok((0, 0));
        }
        if hashes.len() > ATOMS {
            return Err(CompileError::Atoms { what: what(LINEAGE) });
        }
        let mut slots = (hashes.len() * 2).next_power_of_two();
        loop {
            if slots * PROGRAM_BYTES > space.left() {
                return Err(CompileError::Bytes);
            }
            if let Some(table) = place_all(&hashes, slots) {
                let at = space.put(table.into_iter().map(program))?;
                return Ok((at, count(slots)));
            }
            slots *= 2;
        }
    }
}

/// The slots with the programs in them, unless one has no place within its probes.
fn place_all(hashes: &[u64], slots: usize) -> Option<Vec<Option<(u64, u32)>>> {
    let mut table = vec![None; slots];
    for (atom, &hash) in (0_u32..).zip(hashes) {
        #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits are used")]
        let first = hash as usize;
        let mut probes = (0..PROBES).map(|probe| first.wrapping_add(probe) & (slots - 1));
        let free = probes.find(|slot| table[*slot].is_none())?;
        table[free] = Some((hash, atom));
    }
    Some(table)
}

fn program(slot: Option<(u64, u32)>) -> [u8; PROGRAM_BYTES] {
    let (hash, atom) = slot.unwrap_or_default();
    let mut bytes = [0; PROGRAM_BYTES];
    bytes[..8].copy_from_slice(&hash.to_le_bytes());
    bytes[8..12].copy_from_slice(&atom.to_le_bytes());
    bytes[12] = slot.is_some().into();
    bytes
}

/// A count that was compared with a limit far below 2^32, or will be.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
