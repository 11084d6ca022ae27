//! Conditions brought into clauses: each a conjunction of which any may hold.
//!
//! Alternatives of one number, of one text's patterns, of programs or of marks are not clauses of their
//! own but one set: `uid in [1, 2, 3]` is one range of numbers, `path` one of fifty patterns one literal
//! of fifty atoms. What is left is distributed, within a bound on the work.
//!
//! Nothing is simplified here that could decide differently where a text is not known: a clause is
//! dropped only where numbers or addresses contradict each other.

#![expect(clippy::arithmetic_side_effects, reason = "lengths of what is in memory are added")]

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::atom::{Anchors, Atom, agree, has_room, implies, pattern};
use super::error::CompileError;
use super::facts::{LineageKey, index, longest};
use super::layout::{
    ADDRESS, CLAUSES, LENGTHS, LINEAGE, OBJECT_MARKS, SUBJECT_MARKS, TARGET_LINEAGE,
};
use super::marks::MarkNames;
use super::ranges::Ranges;
use super::rule::{Comparison, Condition, Number, Pattern, Process, Rule};

/// Deepest nesting of a condition.
pub const DEPTH_MAX: usize = 64;

/// Most work that the conditions of a set may take: literals that are put into clauses, or looked at.
pub const WORK_MAX: usize = 1_000_000;

/// An atom by its number in [`Normal::atoms`].
pub(super) type AtomId = u32;

/// What must hold together. Everything is sorted, so that equal clauses are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Clause {
    /// What is left of the number of a table; each table stands here once.
    pub(super) numbers: Vec<(usize, Ranges)>,
    /// One of these atoms of a table must be so.
    pub(super) some: Vec<(usize, Rc<[AtomId]>)>,
    /// This atom of a table must not be so.
    pub(super) none: Vec<(usize, AtomId)>,
}

/// Brings conditions into clauses.
#[derive(Debug)]
pub(super) struct Normal<'a> {
    key: &'a LineageKey,
    marks: &'a MarkNames,
    /// Every atom once.
    pub(super) atoms: Vec<Atom>,
    ids: HashMap<Atom, AtomId>,
    /// Steps that are left.
    work: usize,
}

/// Why a condition has no clauses; what rule it is of is said by whoever knows.
enum Stop {
    Nested,
    Work,
    Clauses,
    Other(CompileError),
}

type Clauses = Vec<Clause>;

impl<'a> Normal<'a> {
    pub(super) fn new(key: &'a LineageKey, marks: &'a MarkNames) -> Self {
        Self { key, marks, atoms: Vec::new(), ids: HashMap::new(), work: WORK_MAX }
    }

    /// The clauses of a rule, each once.
    pub(super) fn clauses(&mut self, rule: &Rule) -> Result<Clauses, CompileError> {
        let name = || rule.name.clone();
        let clauses = self.read(rule, &rule.when, false, DEPTH_MAX).and_then(|clauses| {
            if !self.is_possible(&clauses)? {
                return Err(Stop::Other(CompileError::Impossible { rule: name() }));
            }
            self.spread(clauses)
        });
        clauses.map_err(|stop| match stop {
            Stop::Nested => CompileError::Nested { rule: name() },
            Stop::Work => CompileError::Work { rule: name() },
            Stop::Clauses => CompileError::Clauses { rule: name() },
            Stop::Other(error) => error,
        })
    }

    /// What an atom is.
    pub(super) fn atom(&self, id: AtomId) -> &Atom {
        &self.atoms[id as usize]
    }

    fn read(
        &mut self,
        rule: &Rule,
        condition: &Condition,
        negated: bool,
        depth: usize,
    ) -> Result<Clauses, Stop> {
        let deeper = depth.checked_sub(1).ok_or(Stop::Nested)?;
        self.spend(1)?;
        match (condition, negated) {
            (Condition::Not(not), _) => self.read(rule, not, !negated, deeper),
            (Condition::All(all), false) | (Condition::Any(all), true) => {
                // What has no alternatives is put together at once, and before what has.
                let (mut single, mut several) = (Vec::new(), Vec::new());
                for one in all {
                    match &mut self.read(rule, one, negated, deeper)?[..] {
                        [clause] => single.push(std::mem::take(clause)),
                        clauses => several.push(clauses.to_vec()),
                    }
                }
                let mut product = self.together(single)?;
                for clauses in several {
                    product = self.all(&product, &clauses)?;
                }
                Ok(product)
            }
            (Condition::Any(any), false) | (Condition::All(any), true) => {
                let mut sum = Vec::new();
                for one in any {
                    sum.extend(self.read(rule, one, negated, deeper)?);
                }
                self.any(sum)
            }
            (literal, _) => self.literal(rule, literal, negated).map_err(Stop::Other),
        }
    }

    /// The clauses of a literal: one, or none where it never holds.
    fn literal(
        &mut self,
        rule: &Rule,
        condition: &Condition,
        negated: bool,
    ) -> Result<Clauses, CompileError> {
        let mut clause = Clause::default();
        let (table, atom) = match condition {
            Condition::Number { place, is, value } => {
                let set = compare(*is, (*value).into());
                clause.numbers.push((place.place() as usize, turn(set, negated, u64::MAX.into())));
                return Ok(possible_numbers(clause));
            }
            Condition::Within(cidr) => {
                let set = Ranges::network(*cidr).ok_or_else(|| CompileError::Network {
                    rule: rule.name.clone(),
                    prefix: cidr.prefix,
                })?;
                clause.numbers.push((ADDRESS, turn(set, negated, u128::MAX)));
                return Ok(possible_numbers(clause));
            }
            Condition::Text { place, is: Pattern::AtLeast(len) } => {
                let set = Ranges::of((*len).into(), u64::MAX.into());
                let table = LENGTHS + index(*place);
                clause.numbers.push((table, turn(set, negated, u64::MAX.into())));
                return Ok(vec![clause]);
            }
            Condition::Text { place, is } => {
                let (anchors, text) = pattern(is);
                let (len, max) = (text.len(), longest(*place));
                if len > max {
                    let (rule, place) = (rule.name.clone(), *place);
                    return Err(CompileError::Long { rule, place, len, max });
                }
                // That nothing stands in it, or at its end, is so of every text: as that it begins so.
                let anchors = if len == 0 && !(anchors.begin && anchors.end) {
                    Anchors { begin: true, end: false }
                } else {
                    anchors
                };
                (index(*place), Atom::Pattern(anchors, text.into()))
            }
            Condition::Descends { process, program } => {
                let table = of(*process, LINEAGE, TARGET_LINEAGE);
                (table, Atom::Program(self.key.hash(program.as_bytes())))
            }
            Condition::Marked { whose, mark } => {
                let Some(bit) = self.marks.bit(mark) else { return Ok(Vec::new()) };
                (of(*whose, SUBJECT_MARKS, OBJECT_MARKS), Atom::Mark(bit))
            }
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => return Ok(Vec::new()),
        };
        let id = self.id(atom);
        if negated {
            clause.none.push((table, id));
        } else {
            clause.some.push((table, Rc::new([id])));
        }
        Ok(vec![clause])
    }

    fn id(&mut self, atom: Atom) -> AtomId {
        let next = AtomId::try_from(self.atoms.len()).unwrap_or(AtomId::MAX);
        *self.ids.entry(atom).or_insert_with_key(|atom| {
            self.atoms.push(atom.clone());
            next
        })
    }

    /// Those of which one holds: alternatives of one table alone become one clause.
    fn any(&mut self, clauses: Clauses) -> Result<Clauses, Stop> {
        let mut numbers: Vec<(usize, Vec<Ranges>)> = Vec::new();
        let mut some: Vec<(usize, BTreeSet<AtomId>)> = Vec::new();
        let mut sum = BTreeSet::new();
        for mut clause in clauses {
            self.spend(1 + clause.size())?;
            match (&mut clause.numbers[..], &clause.some[..], &clause.none[..]) {
                ([(table, set)], [], []) => entry(&mut numbers, *table).push(set.clone()),
                ([], [(table, atoms)], []) => entry(&mut some, *table).extend(atoms.iter()),
                _ => {
                    sum.insert(clause);
                }
            }
        }
        sum.extend(numbers.into_iter().map(|(table, sets)| Clause {
            numbers: vec![(table, Ranges::any(&sets))],
            ..Clause::default()
        }));
        sum.extend(some.into_iter().map(|(table, atoms)| Clause {
            some: vec![(table, atoms.into_iter().collect())],
            ..Clause::default()
        }));
        if sum.len() > CLAUSES {
            return Err(Stop::Clauses);
        }
        Ok(sum.into_iter().collect())
    }

    /// The clause of all of these, unless their numbers contradict each other.
    fn together(&mut self, clauses: Clauses) -> Result<Clauses, Stop> {
        let mut all = Clause::default();
        for clause in clauses {
            let mut steps = 1 + clause.size();
            for (table, set) in clause.numbers {
                match all.numbers.iter_mut().find(|(of, _)| *of == table) {
                    Some((_, is)) => {
                        *is = is.and(&set);
                        steps += is.len();
                    }
                    None => all.numbers.push((table, set)),
                }
            }
            all.some.extend(clause.some);
            all.none.extend(clause.none);
            self.spend(steps)?;
        }
        Ok(possible_numbers(sorted(all)))
    }

    /// Those of which one of each holds.
    fn all(&mut self, these: &[Clause], those: &[Clause]) -> Result<Clauses, Stop> {
        let mut product = BTreeSet::new();
        for this in these {
            for that in those {
                self.spend(1 + this.size() + that.size())?;
                product.extend(both(this, that));
                if product.len() > CLAUSES {
                    return Err(Stop::Clauses);
                }
            }
        }
        Ok(product.into_iter().collect())
    }

    /// Has each clause say at most one set of several atoms per table; of others it names single atoms.
    fn spread(&mut self, clauses: Clauses) -> Result<Clauses, Stop> {
        let mut all = BTreeSet::new();
        for clause in clauses {
            let mut kept = Clause { some: Vec::new(), ..clause.clone() };
            let mut others: Vec<(usize, Rc<[AtomId]>)> = Vec::new();
            let mut sets = clause.some;
            // The largest set of each table first: it stays as it is.
            sets.sort_by_key(|(table, atoms)| (*table, usize::MAX - atoms.len()));
            for (table, atoms) in sets {
                let first = kept.some.last().is_none_or(|(of, _)| *of != table);
                if first || atoms.len() == 1 {
                    kept.some.push((table, atoms));
                } else {
                    others.push((table, atoms));
                }
            }
            let mut spread = vec![kept];
            for (table, atoms) in others {
                let mut more = Vec::new();
                for clause in &spread {
                    for &atom in atoms.iter() {
                        self.spend(1 + clause.size())?;
                        let mut clause = clause.clone();
                        clause.some.push((table, Rc::new([atom])));
                        more.push(clause);
                    }
                    if more.len() > CLAUSES {
                        return Err(Stop::Clauses);
                    }
                }
                spread = more;
            }
            all.extend(spread.into_iter().map(|mut clause| {
                clause.some.sort();
                clause.some.dedup();
                clause
            }));
            if all.len() > CLAUSES {
                return Err(Stop::Clauses);
            }
        }
        Ok(all.into_iter().collect())
    }

    /// Whether any of these clauses can hold of any event.
    fn is_possible(&mut self, clauses: &[Clause]) -> Result<bool, Stop> {
        for clause in clauses {
            if self.can_hold(clause)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn can_hold(&mut self, clause: &Clause) -> Result<bool, Stop> {
        for (nth, (table, atoms)) in clause.some.iter().enumerate() {
            let sets = clause.some.iter().enumerate();
            let sets: Vec<_> = sets
                .filter(|(at, (of, _))| of == table && *at != nth)
                .map(|(_, (_, set))| set)
                .collect();
            let none: Vec<AtomId> =
                clause.none.iter().filter(|(of, _)| of == table).map(|(_, atom)| *atom).collect();
            let others = || sets.iter().flat_map(|set| set.iter()).chain(&none);
            let bytes: usize = others().map(|atom| self.atom(*atom).bytes()).sum();
            let cost = 1 + others().count() + bytes / 64;
            let length = table.checked_add(LENGTHS).filter(|_| *table < LINEAGE);
            let length = clause.numbers.iter().find(|(of, _)| Some(*of) == length);
            let mut can = false;
            for atom in atoms.iter() {
                self.spend(cost)?;
                let atom = self.atom(*atom);
                can = none.iter().all(|other| !implies(atom, self.atom(*other)))
                    && sets.iter().all(|set| set.iter().any(|one| agree(atom, self.atom(*one))))
                    && length.is_none_or(|(_, length)| has_room(atom, length));
                if can {
                    break;
                }
            }
            if !can {
                return Ok(false);
            }
        }
        Ok(clause.numbers.iter().all(|(table, set)| {
            let longest = table.checked_sub(LENGTHS).and_then(|text| TEXT_MAX.get(text));
            !set.is_empty() && longest.is_none_or(|max| !set.and(&Ranges::of(0, *max)).is_empty())
        }))
    }

    fn spend(&mut self, steps: usize) -> Result<(), Stop> {
        self.work = self.work.checked_sub(steps).ok_or(Stop::Work)?;
        Ok(())
    }
}

impl Clause {
    /// How many literals it has, as steps: atoms of a set are shared, and only compared.
    fn size(&self) -> usize {
        let ranges: usize = self.numbers.iter().map(|(_, set)| set.len()).sum();
        let atoms: usize = self.some.iter().map(|(_, atoms)| 1 + atoms.len() / 16).sum();
        ranges + atoms + self.none.len()
    }
}

/// Longest texts, by their tables.
const TEXT_MAX: [u128; super::layout::TEXTS] = {
    const SHORT: u128 = super::layout::SHORT_MAX as u128;
    const PATH: u128 = super::layout::PATH_MAX as u128;
    [SHORT, SHORT, PATH, SHORT, PATH, SHORT]
};

fn compare(is: Comparison, value: u128) -> Ranges {
    match is {
        Comparison::Is => Ranges::of(value, value),
        Comparison::Less => {
            value.checked_sub(1).map_or_else(|| Ranges::of(1, 0), |last| Ranges::of(0, last))
        }
        Comparison::AtMost => Ranges::of(0, value),
    }
}

fn turn(set: Ranges, negated: bool, max: u128) -> Ranges {
    if negated { set.not(max) } else { set }
}

/// The clause, unless its numbers contradict each other. What is not known of a text's length counts as a
/// text that is not known, so that is left to the evaluation.
fn possible_numbers(clause: Clause) -> Clauses {
    let is_length = |table: usize| (LENGTHS..ADDRESS).contains(&table);
    let never = clause.numbers.iter().any(|(table, set)| set.is_empty() && !is_length(*table));
    if never { Vec::new() } else { vec![clause] }
}

/// What holds where both do.
fn both(this: &Clause, that: &Clause) -> Clauses {
    let mut clause = this.clone();
    for (table, set) in &that.numbers {
        match clause.numbers.iter_mut().find(|(of, _)| of == table) {
            Some((_, is)) => *is = is.and(set),
            None => clause.numbers.push((*table, set.clone())),
        }
    }
    clause.some.extend(that.some.iter().cloned());
    clause.none.extend_from_slice(&that.none);
    possible_numbers(sorted(clause))
}

/// The clause with everything in its order, and once.
fn sorted(mut clause: Clause) -> Clause {
    clause.numbers.sort_by_key(|(table, _)| *table);
    clause.some.sort();
    clause.some.dedup();
    clause.none.sort_unstable();
    clause.none.dedup();
    clause
}

fn entry<T: Default>(all: &mut Vec<(usize, T)>, table: usize) -> &mut T {
    let at = all.iter().position(|(of, _)| *of == table).unwrap_or(all.len());
    if at == all.len() {
        all.push((table, T::default()));
    }
    &mut all[at].1
}

const fn of(process: Process, subject: usize, object: usize) -> usize {
    match process {
        Process::Subject => subject,
        Process::Object => object,
    }
}

/// The tables that a condition names: of numbers and of atoms, a bit each.
pub(super) fn named(condition: &Condition) -> (u32, u32) {
    match condition {
        Condition::All(all) | Condition::Any(all) => {
            all.iter().map(named).fold((0, 0), |(a, b), (c, d)| (a | c, b | d))
        }
        Condition::Not(not) => named(not),
        Condition::Number { place, .. } => (1 << number_table(*place), 0),
        Condition::Within(_) => (1 << ADDRESS, 0),
        Condition::Text { place, is: Pattern::AtLeast(_) } => (1 << (LENGTHS + index(*place)), 0),
        Condition::Text { place, .. } => (0, 1 << index(*place)),
        Condition::Descends { process, .. } => (0, 1 << of(*process, LINEAGE, TARGET_LINEAGE)),
        Condition::Marked { whose, .. } => (0, 1 << of(*whose, SUBJECT_MARKS, OBJECT_MARKS)),
    }
}

const fn number_table(number: Number) -> usize {
    number.place() as usize
}
