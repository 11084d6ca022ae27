//! The numbers here and those of `rules.h` and `plane.h` are the same.

use std::collections::HashMap;

use super::*;

const RULES: &str = include_str!("../../../../sensor/bpf/rules.h");
const PLANE: &str = include_str!("../../../../sensor/bpf/plane.h");

/// What a header defines: names, and numbers as written in C.
fn defines(header: &str) -> HashMap<&str, u64> {
    header
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("#define ")?.split_once(char::is_whitespace)?;
            let number = rest.split_whitespace().next()?.trim_end_matches('U');
            let number = match number.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => number.parse(),
            };
            Some((name, number.ok()?))
        })
        .collect()
}

/// Bytes of each type, and the fields of each struct with their offsets, in the order in which they stand.
/// Each field must stand at a multiple of its own size: then the compiler leaves no hole either.
fn structs(header: &str) -> HashMap<String, (usize, Vec<(String, usize)>)> {
    let defines = defines(header);
    let mut sizes: HashMap<String, (usize, usize)> =
        [("__u8", 1), ("__u16", 2), ("__u32", 4), ("__u64", 8)]
            .map(|(name, bytes)| (name.to_owned(), (bytes, bytes)))
            .into();
    let mut all = HashMap::new();
    let code: String = header
        .split("/*")
        .map(|part| part.split_once("*/").map_or(part, |(_, code)| code))
        .collect::<Vec<_>>()
        .join(" ");
    for text in code.split("\nstruct ").skip(1) {
        let (name, body) = text.split_once('{').expect("a body");
        let body = body.split_once("};").expect("an end").0;
        let (mut at, mut align, mut fields) = (0, 1, Vec::new());
        for field in body.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            let (kind, names) =
                field.trim_start_matches("struct ").split_once([' ', '\t']).expect(field);
            let (bytes, of) = sizes[kind];
            let mut parts = names.trim().split('[');
            let field = parts.next().expect("a name").to_owned();
            let count: usize = parts
                .map(|part| part.trim_end_matches(']'))
                .map(|len| len.parse().unwrap_or_else(|_| as_usize(defines[len])))
                .product();
            assert_eq!(at % of, 0, "a hole before {field}");
            fields.push((field, at));
            at += bytes * count;
            align = align.max(of);
        }
        assert_eq!(at % align, 0, "a hole at the end of {name}");
        sizes.insert(name.trim().to_owned(), (at, align));
        all.insert(name.trim().to_owned(), (at, fields));
    }
    all
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

#[test]
fn every_number_is_the_headers() {
    let rules = defines(RULES);
    let expected: HashMap<&str, u64> = [
        ("RULES_MAGIC", MAGIC),
        ("RULES_VERSION", VERSION.into()),
        ("RULES_PAGE", PAGE as u64),
        ("RULES_PAGES", PAGES as u64),
        ("RULES_CLAUSES", CLAUSES as u64),
        ("RULES_WORDS", WORDS as u64),
        ("RULES_EVENTS", EVENTS as u64),
        ("RULES_MARKS", MARKS as u64),
        ("RULES_TIMED", TIMED as u64),
        ("RULES_BOUNDS", BOUNDS as u64),
        ("RULES_ATOMS", ATOMS as u64),
        ("RULES_LITERALS", LITERALS as u64),
        ("RULES_STATES", STATES as u64),
        ("RULES_PROBES", PROBES as u64),
        ("RULES_LENGTHS", LENGTHS as u64),
        ("RULES_ADDRESS", ADDRESS as u64),
        ("RULES_NUMBERS", NUMBERS as u64),
        ("RULES_TEXTS", TEXTS as u64),
        ("RULES_LINEAGE", LINEAGE as u64),
        ("RULES_TARGET_LINEAGE", TARGET_LINEAGE as u64),
        ("RULES_SUBJECT_MARKS", SUBJECT_MARKS as u64),
        ("RULES_OBJECT_MARKS", OBJECT_MARKS as u64),
        ("RULES_TABLES", TABLES as u64),
        ("RULES_SUBJECT_NUMBERS", 1 | 1 << 1 | 1 << LENGTHS | 1 << (LENGTHS + 1)),
        ("RULES_SUBJECT_TABLES", 1 | 1 << 1 | 1 << LINEAGE | 1 << SUBJECT_MARKS),
        ("RULES_OBJECT_NUMBERS", 1 << 4 | 1 << 5 | 1 << (LENGTHS + 2)),
        ("RULES_OBJECT_TABLES", 1 << 2 | 1 << OBJECT_MARKS),
        ("RULES_ON_OBJECT", ON_OBJECT.into()),
        ("RULES_INHERITED", INHERITED.into()),
        ("RULES_NEGATED", NEGATED.into()),
        ("RULES_NO_ATOM", NO_ATOM.into()),
    ]
    .into();

    assert_eq!(rules, expected);
}

#[test]
fn the_limits_of_facts_are_the_headers() {
    let plane = defines(PLANE);

    assert_eq!(plane["FACTS_SHORT"], SHORT_MAX as u64);
    assert_eq!(plane["FACTS_PATH"], PATH_MAX as u64);
    assert_eq!(plane["FACTS_LINEAGE"], LINEAGE_MAX as u64);
}

/// Notes where each field begins, of those that stand several times the first.
#[derive(Default)]
struct Offsets(Vec<(String, usize)>, usize);

impl Offsets {
    fn note(&mut self, name: &str, bytes: usize) {
        if self.0.last().is_none_or(|(last, _)| last != name) {
            self.0.push((name.to_owned(), self.1));
        }
        self.1 += bytes;
    }
}

impl Visit for Offsets {
    fn u64(&mut self, name: &'static str, _: &mut u64) {
        self.note(name, 8);
    }

    fn u32(&mut self, name: &'static str, _: &mut u32) {
        self.note(name, 4);
    }

    fn bytes(&mut self, name: &'static str, value: &mut [u8]) {
        self.note(name, value.len());
    }
}

#[test]
fn every_field_stands_where_the_header_has_it() {
    let structs = structs(RULES);
    let mut offsets = Offsets::default();

    Header::default().visit(&mut 0, &mut 0, &mut offsets);
    offsets.note("padding", 0);

    let (size, fields) = &structs["rules_header"];
    assert_eq!(*size, PAGE);
    assert_eq!(&offsets.0, fields);
    assert_eq!(structs["rules_clause"].0, CLAUSE_BYTES);
    assert_eq!(structs["rules_program"].0, PROGRAM_BYTES);
}

/// The order within the entries of the header's arrays: written down once more, next to the header's.
#[test]
fn the_fields_of_entries_stand_in_the_headers_order() {
    let structs = structs(RULES);
    let names = |name: &str| -> Vec<String> {
        structs[name].1.iter().map(|(field, _)| field.clone()).collect()
    };

    assert_eq!(names("rules_event"), ["vector_at", "numbers", "tables", "acting_at"]);
    assert_eq!(names("rules_numbers"), ["len", "bounds_at", "vectors_at", "missing_at"]);
    let table = [
        "atoms",
        "literals",
        "rest",
        "base_at",
        "missing_at",
        "starts_at",
        "literals_at",
        "rest_at",
    ];
    assert_eq!(names("rules_table"), table);
    let automaton = ["states", "classes", "first_out", "next_at", "outs_at", "links_at"];
    assert_eq!(names("rules_automaton"), automaton);
    assert_eq!(names("rules_program"), ["hash", "atom", "used"]);
    assert_eq!(names("rules_clause"), ["rule", "argument", "flags"]);
}

#[test]
fn a_header_reads_as_it_was_written() {
    let mut header = Header { generation: 7, end_mark: 3, inherited: 1 << 63, ..Header::default() };
    header.events[63].acting_at = 31;
    header.number_tables[ADDRESS].missing_at = 4096;
    header.atom_tables[OBJECT_MARKS].rest_at = 5;
    header.automata[5].links_at = 6;
    header.classes[5][255] = 9;
    header.since[63] = 11;

    assert_eq!(Header::read(&header.write()), (header, MAGIC, VERSION));
}
