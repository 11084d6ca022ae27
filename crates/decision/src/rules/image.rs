//! An image: the run of bytes that a set of rules is compiled to, and that decides.
//!
//! [`Image::check`] looks at every offset, count and index once, so that an [`Image`] can be evaluated
//! whatever bytes it was made of: nothing in it leads outside it, and no loop in it is longer than the
//! limits of [`super::layout`]. It does not say that the bytes mean what somebody wrote as a rule; that is
//! so of what [`super::compile`] makes.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "offsets and counts are compared with an image's size, 16 MiB, before they are added"
)]

use std::fmt;

use outrigger_api::Event;

use super::layout::{
    ADDRESS, ATOMS, AtomTable, AutomatonEntry, BOUNDS, CLAUSE_BYTES, CLAUSES, Header, LITERALS,
    MAGIC, MARKS, NEGATED, NO_ATOM, NUMBERS, PAGE, PAGES, PROGRAM_BYTES, STATES, TABLES,
    TARGET_LINEAGE, TEXTS, VERSION, WORDS,
};

/// Bytes that are no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Their number is none that an image has.
    #[error("an image of {len} bytes is not 1 to {PAGES} whole pages of {PAGE}")]
    Size {
        /// How many there are.
        len: usize,
    },
    /// They are something else, or of another version of this.
    #[error("not an image of rules of version {VERSION}")]
    Format,
    /// A count or a choice is none that an image has.
    #[error("{what} of an image is {is}, over the limit of {limit}")]
    Count {
        /// Of what.
        what: &'static str,
        /// What stands there.
        is: u64,
        /// The most that may.
        limit: u64,
    },
    /// Something does not lie within the image, or not as it must.
    #[error("{what} of an image is at {at}, which is outside it or not a multiple of its size")]
    Place {
        /// What.
        what: &'static str,
        /// Where.
        at: u32,
    },
}

/// What rules decide of one event. Rules are named by their place in the slice that was compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decision {
    /// The first enforced rule that denies it.
    pub deny: Option<u16>,
    /// The first rule in Monitor mode that would have.
    pub would_deny: Option<u16>,
    /// The first rule that allows it without asking, unless it is denied.
    pub allow: Option<u16>,
    /// Marks that the subject gets, by their bits; none where it is denied.
    pub subject_marks: u64,
    /// Marks that the object gets.
    pub object_marks: u64,
    /// Engines that are told of it, by their numbers.
    pub tell: u64,
}

/// A compiled set of rules.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    pub(super) bytes: Vec<u8>,
    pub(super) header: Box<Header>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { generation, rules, clauses, .. } = *self.header;
        write!(f, "Image {{ generation: {generation}, rules: {rules}, clauses: {clauses}, ")?;
        write!(f, "bytes: {} }}", self.bytes.len())
    }
}

impl Image {
    /// The image that these bytes are.
    ///
    /// # Errors
    ///
    /// They are none; nothing was evaluated.
    pub fn check(bytes: Vec<u8>) -> Result<Self, ImageError> {
        let size = ImageError::Size { len: bytes.len() };
        if bytes.len() > PAGES * PAGE || !bytes.len().is_multiple_of(PAGE) {
            return Err(size);
        }
        let page = bytes.first_chunk::<PAGE>().ok_or(size)?;
        let (header, magic, version) = Header::read(page);
        if magic != MAGIC || version != VERSION || header.size as usize != bytes.len() {
            return Err(ImageError::Format);
        }
        let this = Self { bytes, header: Box::new(header) };
        this.check_clauses()?;
        this.check_events()?;
        for which in 0..NUMBERS {
            this.check_numbers(which)?;
        }
        for which in 0..TABLES {
            this.check_atoms(which)?;
        }
        this.check_programs()?;
        Ok(this)
    }

    /// The bytes: whole pages of [`PAGE`], at most [`PAGES`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The generation that was given when it was compiled.
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// How many clauses its rules have become.
    pub fn clauses(&self) -> usize {
        self.header.clauses as usize
    }

    /// Whether any rule is about this event.
    pub fn is_about(&self, event: Event) -> bool {
        self.header.events.get(event.index()).is_some_and(|entry| entry.vector_at != 0)
    }

    /// Whether any rule decides about this event: denies it, would deny it, allows it, or marks by it.
    /// The others are filters, which only tell.
    pub fn decides(&self, event: Event) -> bool {
        let Some(entry) = self.header.events.get(event.index()) else { return false };
        if entry.vector_at == 0 {
            return false;
        }
        let vector = self.vector(entry.vector_at);
        (0..self.header.end_mark as usize).any(|clause| bit_of(&vector, clause))
    }

    fn check_clauses(&self) -> Result<(), ImageError> {
        let header = &*self.header;
        limit("the number of clauses", header.clauses, CLAUSES)?;
        limit("the number of words of a vector", header.words, WORDS)?;
        if !header.words.is_power_of_two() || header.words * 64 < header.clauses {
            return Err(ImageError::Format);
        }
        limit("the number of rules", header.rules, u16::MAX.into())?;
        let ends =
            [header.end_deny, header.end_allow, header.end_watch, header.end_mark, header.clauses];
        if !ends.is_sorted() {
            return Err(ImageError::Format);
        }
        self.area("the clauses", header.clauses_at, header.clauses as usize, CLAUSE_BYTES)?;
        for clause in 0..header.clauses as usize {
            let [low, high, argument, _] = self.clause(clause);
            let rule = u16::from_le_bytes([low, high]);
            limit("a clause's rule", rule.into(), (header.rules as usize).saturating_sub(1))?;
            limit("a clause's mark or engine", argument.into(), MARKS - 1)?;
        }
        self.vector_area("the doubtful clauses", header.doubt_at)
    }

    fn check_events(&self) -> Result<(), ImageError> {
        let header = &*self.header;
        for entry in header.events.iter().filter(|entry| entry.vector_at != 0) {
            self.vector_area("the clauses of an event", entry.vector_at)?;
            let vector = self.vector(entry.vector_at);
            let clauses = self.header.clauses as usize;
            let beyond = (clauses..WORDS * 64).find(|clause| bit_of(&vector, *clause));
            if let Some(beyond) = beyond {
                limit("a clause of an event", as_u32(beyond), clauses.saturating_sub(1))?;
            }
            let mut acting = [0; WORDS];
            if entry.acting_at != 0 {
                self.vector_area("the acting clauses of an event", entry.acting_at)?;
                acting = self.vector(entry.acting_at);
            }
            let allows = header.end_deny as usize..header.end_allow as usize;
            let acts = |clause| bit_of(&vector, clause) && !allows.contains(&clause);
            if (0..clauses).any(|clause| acts(clause) != bit_of(&acting, clause)) {
                return Err(ImageError::Format);
            }
            limit("an event's tables of numbers", entry.numbers, (1 << NUMBERS) - 1)?;
            limit("an event's tables of atoms", entry.tables, (1 << TABLES) - 1)?;
            if entry.numbers & !self.header.numbers != 0 || entry.tables & !self.header.tables != 0
            {
                return Err(ImageError::Format);
            }
        }
        Ok(())
    }

    fn check_numbers(&self, which: usize) -> Result<(), ImageError> {
        if self.header.numbers & 1 << which == 0 {
            return Ok(());
        }
        let table = &self.header.number_tables[which];
        let len = table.len as usize;
        limit("the bounds of a table", table.len, BOUNDS)?;
        let each = if which == ADDRESS { 16 } else { 8 };
        self.area("the bounds of a table", table.bounds_at, len, each)?;
        self.area("the vectors of a table", table.vectors_at, len + 1, self.vector_bytes())?;
        self.vector_area("the vector of a missing number", table.missing_at)
    }

    fn check_atoms(&self, which: usize) -> Result<(), ImageError> {
        if self.header.tables & 1 << which == 0 {
            return Ok(());
        }
        let table = &self.header.atom_tables[which];
        let atoms = table.atoms as usize;
        limit("the atoms of a table", table.atoms, ATOMS)?;
        limit("the literals of a table", table.literals, LITERALS)?;
        limit("the further literals of a table", table.rest, LITERALS)?;
        self.vector_area("the first vector of a table", table.base_at)?;
        self.vector_area("the vector of a missing text", table.missing_at)?;
        self.area("the starts of a table", table.starts_at, atoms + 1, 4)?;
        self.area("the literals of a table", table.literals_at, table.literals as usize, 4)?;
        self.area("the further literals of a table", table.rest_at, table.rest as usize, 4)?;
        let starts = (0..=atoms).map(|atom| self.u32_at(table.starts_at, atom));
        if !starts.clone().is_sorted() {
            return Err(ImageError::Format);
        }
        for start in starts {
            limit("the literals of an atom", start, table.literals as usize)?;
        }
        let last = self.header.words as usize * 64 - 1;
        for literal in 0..table.literals as usize {
            limit("a literal's clause", self.u32_at(table.literals_at, literal) & !NEGATED, last)?;
        }
        for entry in 0..table.rest as usize {
            let entry = self.u32_at(table.rest_at, entry);
            limit("a further literal's clause", entry & 0xffff, last)?;
            limit("a further literal's atom", entry >> 16, atoms.saturating_sub(1))?;
        }
        match self.header.automata.get(which) {
            Some(automaton) if atoms != 0 => self.check_automaton(table, automaton, which),
            _ => Ok(()),
        }
    }

    fn check_automaton(
        &self,
        table: &AtomTable,
        automaton: &AutomatonEntry,
        which: usize,
    ) -> Result<(), ImageError> {
        let AutomatonEntry { states, classes, first_out, .. } = *automaton;
        limit("the states of an automaton", states, STATES)?;
        limit("the classes of an automaton", classes, 258)?;
        if classes < 3 || states == 0 || first_out > states {
            return Err(ImageError::Format);
        }
        for &class in self.header.classes.get(which).into_iter().flatten() {
            limit("a byte's class", class.into(), classes as usize - 3)?;
        }
        let cells = states as usize * classes as usize;
        self.area("the states of an automaton", automaton.next_at, cells, 2)?;
        for cell in 0..cells {
            let next = self.u16_at(automaton.next_at, cell);
            limit("a next state", next.into(), states as usize - 1)?;
        }
        let outs = (states - first_out) as usize;
        let atoms = table.atoms as usize;
        self.area("what is found in a state", automaton.outs_at, outs, 2)?;
        self.area("the links of atoms", automaton.links_at, atoms, 2)?;
        let found = (0..outs).map(|out| self.u16_at(automaton.outs_at, out));
        let links = (0..atoms).map(|atom| self.u16_at(automaton.links_at, atom));
        for atom in found.chain(links).filter(|atom| *atom != NO_ATOM) {
            limit("an atom of an automaton", atom.into(), atoms - 1)?;
        }
        Ok(())
    }

    fn check_programs(&self) -> Result<(), ImageError> {
        let Header { programs, programs_at, .. } = *self.header;
        if programs == 0 {
            return Ok(());
        }
        limit("the slots of programs", programs, PAGES * PAGE)?;
        if !programs.is_power_of_two() {
            return Err(ImageError::Format);
        }
        self.area("the slots of programs", programs_at, programs as usize, PROGRAM_BYTES)?;
        // An atom of a table that has fewer is none of it, so no evaluation follows it.
        (0..programs as usize).try_for_each(|slot| {
            limit("a program's atom", self.u32_at(programs_at, slot * 4 + 2), ATOMS - 1)
        })
    }

    /// Whether `count` things of `each` bytes lie behind the header, none across two pages.
    fn area(
        &self,
        what: &'static str,
        at: u32,
        count: usize,
        each: usize,
    ) -> Result<(), ImageError> {
        let begin = at as usize;
        let end = count.checked_mul(each).and_then(|bytes| bytes.checked_add(begin));
        let fits = end.is_some_and(|end| end <= self.bytes.len());
        if count == 0 || fits && begin >= PAGE && begin.is_multiple_of(each) {
            return Ok(());
        }
        Err(ImageError::Place { what, at })
    }

    fn vector_area(&self, what: &'static str, at: u32) -> Result<(), ImageError> {
        self.area(what, at, 1, self.vector_bytes())
    }

    pub(super) fn vector_bytes(&self) -> usize {
        self.header.words as usize * 8
    }

    /// The bytes of something that [`Image::check`] found to lie within the image.
    pub(super) fn slice(&self, at: usize, len: usize) -> &[u8] {
        self.bytes.get(at..at + len).unwrap_or_default()
    }

    pub(super) fn u16_at(&self, at: u32, index: usize) -> u16 {
        self.slice(at as usize + index * 2, 2).try_into().map_or(0, u16::from_le_bytes)
    }

    pub(super) fn u32_at(&self, at: u32, index: usize) -> u32 {
        self.slice(at as usize + index * 4, 4).try_into().map_or(0, u32::from_le_bytes)
    }

    pub(super) fn u64_at(&self, at: u32, index: usize) -> u64 {
        self.slice(at as usize + index * 8, 8).try_into().map_or(0, u64::from_le_bytes)
    }

    pub(super) fn clause(&self, clause: usize) -> [u8; CLAUSE_BYTES] {
        let at = self.header.clauses_at as usize + clause * CLAUSE_BYTES;
        self.slice(at, CLAUSE_BYTES).try_into().unwrap_or_default()
    }

    /// A vector; the words that the image has none of are zero.
    pub(super) fn vector(&self, at: u32) -> [u64; WORDS] {
        let mut vector = [0; WORDS];
        let (words, _) = self.slice(at as usize, self.vector_bytes()).as_chunks();
        for (to, from) in vector.iter_mut().zip(words) {
            *to = u64::from_le_bytes(*from);
        }
        vector
    }
}

/// Whether a clause's bit is set.
pub(super) fn bit_of(vector: &[u64; WORDS], clause: usize) -> bool {
    vector.get(clause / 64).is_some_and(|word| word & 1 << (clause % 64) != 0)
}

fn limit(what: &'static str, is: u32, limit: usize) -> Result<(), ImageError> {
    if is as usize <= limit {
        return Ok(());
    }
    Err(ImageError::Count { what, is: is.into(), limit: limit as u64 })
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const _: () = assert!(Event::ALL.len() <= super::layout::EVENTS, "an event has its place");
const _: () = assert!(TARGET_LINEAGE == TEXTS + 1, "the texts' tables come first");
