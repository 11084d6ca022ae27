//! How an image is laid out: the numbers and offsets of `crates/sensor/bpf/rules.h`, which says what they
//! mean. A test here reads that file and compares every one.

/// `RULES_MAGIC`.
pub(super) const MAGIC: u64 = 0x5345_4c55_5254_554f;
/// `RULES_VERSION`.
pub(super) const VERSION: u32 = 1;
/// `RULES_PAGE`: bytes of a page.
pub const PAGE: usize = 4096;
/// `RULES_PAGES`: most pages of an image.
pub const PAGES: usize = 4096;
/// `RULES_CLAUSES`: most clauses of a set.
pub const CLAUSES: usize = 2048;
/// `RULES_WORDS`: most words of a vector.
pub const WORDS: usize = 32;
/// `RULES_EVENTS`: places for events.
pub(super) const EVENTS: usize = 64;
/// `RULES_MARKS`: most names of marks.
pub const MARKS: usize = 64;
/// `RULES_TIMED`: most marks with a lifetime; they have the lowest bits.
pub const TIMED: usize = 8;
/// `RULES_BOUNDS`: most bounds of a table of numbers.
pub const BOUNDS: usize = 4096;
/// `RULES_ATOMS`: most atoms of a table.
pub const ATOMS: usize = 4096;
/// `RULES_LITERALS`: most literals of a table of atoms.
pub const LITERALS: usize = 16384;
/// `RULES_STATES`: most states of an automaton.
pub const STATES: usize = 65535;
/// `RULES_PROBES`: slots to look at for a program.
pub(super) const PROBES: usize = 8;
/// `RULES_LENGTHS`: the first table of a text's length.
pub(super) const LENGTHS: usize = 10;
/// `RULES_ADDRESS`: the table of addresses.
pub(super) const ADDRESS: usize = 16;
/// `RULES_NUMBERS`: tables of numbers.
pub(super) const NUMBERS: usize = 17;
/// `RULES_TEXTS`: texts, which have the first tables of atoms.
pub(super) const TEXTS: usize = 6;
/// `RULES_LINEAGE`: the table of the subject's lineage.
pub(super) const LINEAGE: usize = 6;
/// `RULES_TARGET_LINEAGE`: the table of the object's lineage.
pub(super) const TARGET_LINEAGE: usize = 7;
/// `RULES_SUBJECT_MARKS`: the table of the subject's marks.
pub(super) const SUBJECT_MARKS: usize = 8;
/// `RULES_OBJECT_MARKS`: the table of the object's marks.
pub(super) const OBJECT_MARKS: usize = 9;
/// `RULES_TABLES`: tables of atoms.
pub(super) const TABLES: usize = 10;
/// Kinds of clauses: enforced denies, allows, denies that are only watched, marks, filters.
pub(super) const KINDS: usize = 5;
/// `RULES_ON_OBJECT`.
pub(super) const ON_OBJECT: u8 = 1;
/// `RULES_INHERITED`.
pub(super) const INHERITED: u8 = 2;
/// `RULES_NEGATED`.
pub(super) const NEGATED: u32 = 0x8000_0000;
/// `RULES_NO_ATOM`.
pub(super) const NO_ATOM: u16 = 0xffff;

/// Bytes of a `struct rules_clause`.
pub(super) const CLAUSE_BYTES: usize = 4;
/// Bytes of a `struct rules_program`.
pub(super) const PROGRAM_BYTES: usize = 16;
/// Longest program, control group or text, bytes (`plane.h`: `FACTS_SHORT`).
pub(super) const SHORT_MAX: usize = 256;
/// Longest path, bytes (`plane.h`: `FACTS_PATH`).
pub(super) const PATH_MAX: usize = 4096;
/// Programs of a lineage that are remembered (`plane.h`: `FACTS_LINEAGE`).
pub const LINEAGE_MAX: usize = 32;

/// `struct rules_event`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EventEntry {
    pub(super) vector_at: u32,
    pub(super) numbers: u32,
    pub(super) tables: u32,
    pub(super) acting_at: u32,
}

/// `struct rules_numbers`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NumberTable {
    pub(super) len: u32,
    pub(super) bounds_at: u32,
    pub(super) vectors_at: u32,
    pub(super) missing_at: u32,
}

/// `struct rules_table`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AtomTable {
    pub(super) atoms: u32,
    pub(super) literals: u32,
    pub(super) rest: u32,
    pub(super) base_at: u32,
    pub(super) missing_at: u32,
    pub(super) starts_at: u32,
    pub(super) literals_at: u32,
    pub(super) rest_at: u32,
}

/// `struct rules_automaton`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AutomatonEntry {
    pub(super) states: u32,
    pub(super) classes: u32,
    pub(super) first_out: u32,
    pub(super) next_at: u32,
    pub(super) outs_at: u32,
    pub(super) links_at: u32,
}

/// `struct rules_header`, but for what is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) generation: u64,
    pub(super) size: u32,
    pub(super) rules: u32,
    pub(super) clauses: u32,
    pub(super) words: u32,
    pub(super) end_deny: u32,
    pub(super) end_allow: u32,
    pub(super) end_watch: u32,
    pub(super) end_mark: u32,
    pub(super) clauses_at: u32,
    pub(super) doubt_at: u32,
    pub(super) programs_at: u32,
    pub(super) programs: u32,
    pub(super) numbers: u32,
    pub(super) tables: u32,
    pub(super) inherited: u64,
    pub(super) seconds: [u32; TIMED],
    pub(super) since: [u64; MARKS],
    pub(super) events: [EventEntry; EVENTS],
    pub(super) number_tables: [NumberTable; NUMBERS],
    pub(super) atom_tables: [AtomTable; TABLES],
    pub(super) automata: [AutomatonEntry; TEXTS],
    pub(super) classes: [[u8; 256]; TEXTS],
}

impl Default for Header {
    fn default() -> Self {
        Self {
            generation: 0,
            size: 0,
            rules: 0,
            clauses: 0,
            words: 0,
            end_deny: 0,
            end_allow: 0,
            end_watch: 0,
            end_mark: 0,
            clauses_at: 0,
            doubt_at: 0,
            programs_at: 0,
            programs: 0,
            numbers: 0,
            tables: 0,
            inherited: 0,
            seconds: [0; TIMED],
            since: [0; MARKS],
            events: [EventEntry::default(); EVENTS],
            number_tables: [NumberTable::default(); NUMBERS],
            atom_tables: [AtomTable::default(); TABLES],
            automata: [AutomatonEntry::default(); TEXTS],
            classes: [[0; 256]; TEXTS],
        }
    }
}

/// What goes over a header's fields in the order in which they stand, to read them or to write them.
trait Visit {
    fn u64(&mut self, name: &'static str, value: &mut u64);
    fn u32(&mut self, name: &'static str, value: &mut u32);
    fn bytes(&mut self, name: &'static str, value: &mut [u8]);
}

impl Header {
    /// The one place that says in which order the fields stand.
    fn visit(&mut self, magic: &mut u64, version: &mut u32, by: &mut impl Visit) {
        by.u64("magic", magic);
        by.u64("generation", &mut self.generation);
        by.u32("version", version);
        by.u32("size", &mut self.size);
        by.u32("rules", &mut self.rules);
        by.u32("clauses", &mut self.clauses);
        by.u32("words", &mut self.words);
        by.u32("end_deny", &mut self.end_deny);
        by.u32("end_allow", &mut self.end_allow);
        by.u32("end_watch", &mut self.end_watch);
        by.u32("end_mark", &mut self.end_mark);
        by.u32("clauses_at", &mut self.clauses_at);
        by.u32("doubt_at", &mut self.doubt_at);
        by.u32("programs_at", &mut self.programs_at);
        by.u32("programs", &mut self.programs);
        by.u32("numbers", &mut self.numbers);
        by.u32("tables", &mut self.tables);
        by.u32("unused", &mut 0);
        by.u64("inherited", &mut self.inherited);
        self.seconds.iter_mut().for_each(|one| by.u32("seconds", one));
        self.since.iter_mut().for_each(|one| by.u64("since", one));
        for event in &mut self.events {
            by.u32("events", &mut event.vector_at);
            by.u32("events", &mut event.numbers);
            by.u32("events", &mut event.tables);
            by.u32("events", &mut event.acting_at);
        }
        for table in &mut self.number_tables {
            by.u32("number_tables", &mut table.len);
            by.u32("number_tables", &mut table.bounds_at);
            by.u32("number_tables", &mut table.vectors_at);
            by.u32("number_tables", &mut table.missing_at);
        }
        for table in &mut self.atom_tables {
            by.u32("atom_tables", &mut table.atoms);
            by.u32("atom_tables", &mut table.literals);
            by.u32("atom_tables", &mut table.rest);
            by.u32("atom_tables", &mut table.base_at);
            by.u32("atom_tables", &mut table.missing_at);
            by.u32("atom_tables", &mut table.starts_at);
            by.u32("atom_tables", &mut table.literals_at);
            by.u32("atom_tables", &mut table.rest_at);
        }
        for automaton in &mut self.automata {
            by.u32("automata", &mut automaton.states);
            by.u32("automata", &mut automaton.classes);
            by.u32("automata", &mut automaton.first_out);
            by.u32("automata", &mut automaton.next_at);
            by.u32("automata", &mut automaton.outs_at);
            by.u32("automata", &mut automaton.links_at);
        }
        self.classes.iter_mut().for_each(|of| by.bytes("classes", of));
    }

    /// The header that a page holds, with its magic and version.
    pub(super) fn read(page: &[u8; PAGE]) -> (Self, u64, u32) {
        let (mut header, mut magic, mut version) = (Self::default(), 0, 0);
        header.visit(&mut magic, &mut version, &mut Reader(page));
        (header, magic, version)
    }

    /// The page that holds it.
    pub(super) fn write(&self) -> [u8; PAGE] {
        let mut page = Vec::with_capacity(PAGE);
        self.clone().visit(&mut { MAGIC }, &mut { VERSION }, &mut Writer(&mut page));
        page.resize(PAGE, 0);
        page.try_into().expect("it was made as long")
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().expect("a header is shorter than its page");
        self.0 = rest;
        *first
    }
}

impl Visit for Reader<'_> {
    fn u64(&mut self, _: &'static str, value: &mut u64) {
        *value = u64::from_le_bytes(self.take());
    }

    fn u32(&mut self, _: &'static str, value: &mut u32) {
        *value = u32::from_le_bytes(self.take());
    }

    fn bytes(&mut self, _: &'static str, value: &mut [u8]) {
        let (first, rest) = self.0.split_at(value.len());
        value.copy_from_slice(first);
        self.0 = rest;
    }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Visit for Writer<'_> {
    fn u64(&mut self, _: &'static str, value: &mut u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, _: &'static str, value: &mut u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, _: &'static str, value: &mut [u8]) {
        self.0.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests;
