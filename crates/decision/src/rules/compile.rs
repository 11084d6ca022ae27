//! A set of rules becomes an image.

#![expect(clippy::arithmetic_side_effects, reason = "counts are bounded by the number of clauses")]

use std::collections::HashSet;

use outrigger_api::attribute::{Place, arguments};
use outrigger_api::catalogue::ObjectKind;
use outrigger_api::{Event, Mode};

use super::error::CompileError;
use super::facts::LineageKey;
use super::image::Image;
use super::layout::{
    ADDRESS, CLAUSES, EVENTS, EventEntry, Header, INHERITED, KINDS, LENGTHS, LINEAGE, NUMBERS,
    OBJECT_MARKS, ON_OBJECT, PAGE, PAGES, SUBJECT_MARKS, TABLES, TARGET_LINEAGE, TEXTS,
};
use super::marks::{MarkNames, guarding, walk};
use super::normal::{Clause, DEPTH_MAX, Normal, named};
use super::rule::{Condition, Effect, Rule, Source};
use super::tables::{Places, Space, atoms, count, numbers, with, without};

/// Longest name of a rule, in bytes.
pub const RULE_NAME_MAX: usize = 512;
/// Longest name of a mark, in bytes.
pub const MARK_NAME_MAX: usize = 64;

/// A compiled set of rules, with the names of what it decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// What is evaluated.
    pub image: Image,
    /// The rules' names, by the numbers in a [`super::Decision`].
    pub rules: Vec<String>,
    /// The marks' names, by their bits. The next set is compiled with them.
    pub marks: MarkNames,
}

/// A clause with whose it is.
struct Owned {
    clause: Clause,
    rule: usize,
    /// The tables of numbers that its rule names, a bit each.
    names: u32,
}

/// Compiles a set of rules.
///
/// `generation`: a number that no set before had; `before`: the marks of the set before, of the first one
/// those of [`MarkNames::default`].
///
/// # Errors
///
/// The set is not compiled as a whole; the error says which rule is in the way, what of it, and the limit.
pub fn compile(
    rules: &[Rule],
    key: &LineageKey,
    generation: u64,
    before: &MarkNames,
) -> Result<Compiled, CompileError> {
    check(rules)?;
    let marks = before.next(rules, generation)?;
    let mut normal = Normal::new(key, &marks);
    let (owned, events) = clauses(rules, &mut normal)?;
    let image = write(rules, &owned, &events, &normal, &marks, generation)?;
    Ok(Compiled { image, rules: rules.iter().map(|rule| rule.name.clone()).collect(), marks })
}

/// Looks at what can be seen of each rule alone.
fn check(rules: &[Rule]) -> Result<(), CompileError> {
    let mut names = HashSet::new();
    for (number, rule) in rules.iter().enumerate() {
        let name = || rule.name.clone();
        check_name(number, "a name", &rule.name, RULE_NAME_MAX)?;
        if !names.insert(&*rule.name) {
            return Err(CompileError::NameTwice { rule: name() });
        }
        if names.len() > CLAUSES {
            return Err(CompileError::Clauses { rule: name() });
        }
        if rule.events.is_empty() {
            return Err(CompileError::NoEvent { rule: name() });
        }
        if is_deeper(&rule.when, DEPTH_MAX) {
            return Err(CompileError::Nested { rule: name() });
        }
        let mut marks = Ok(());
        walk(&rule.when, false, &mut |_, mark, _| {
            if marks.is_ok() {
                marks = check_name(number, "a mark", mark, MARK_NAME_MAX);
            }
        });
        marks?;
        if let Effect::Mark(mark) = &rule.effect {
            check_name(number, "a mark", &mark.name, MARK_NAME_MAX)?;
        }
        match (&rule.source, &rule.effect) {
            (_, Effect::Tell(engine)) if *engine > 63 => {
                return Err(CompileError::NoSuchEngine { rule: name(), engine: *engine });
            }
            (Source::Engine(_), Effect::Allow | Effect::Mark(_)) => {
                return Err(CompileError::EngineMayOnlyDeny { rule: name() });
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_name(
    number: usize,
    what: &'static str,
    name: &str,
    max: usize,
) -> Result<(), CompileError> {
    let len = name.len();
    if (1..=max).contains(&len) {
        Ok(())
    } else {
        Err(CompileError::Name { number, what, len, max })
    }
}

fn is_deeper(condition: &Condition, depth: usize) -> bool {
    let Some(below) = depth.checked_sub(1) else { return true };
    match condition {
        Condition::All(all) | Condition::Any(all) => all.iter().any(|one| is_deeper(one, below)),
        Condition::Not(not) => is_deeper(not, below),
        Condition::Number { .. }
        | Condition::Text { .. }
        | Condition::Within(_)
        | Condition::Descends { .. }
        | Condition::Marked { .. } => false,
    }
}

/// The clauses in their order, and the events of each rule that have what it names.
fn clauses(
    rules: &[Rule],
    normal: &mut Normal<'_>,
) -> Result<(Vec<Owned>, Vec<Vec<Event>>), CompileError> {
    let mut owned = Vec::new();
    let mut events = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let name = || rule.name.clone();
        let (numbers, mut tables) = named(&rule.when);
        if matches!(&rule.effect, Effect::Mark(mark) if mark.object) {
            tables |= 1 << OBJECT_MARKS;
        }
        let fits = |event: &Event| {
            let (has_numbers, has_tables) = has(*event);
            numbers & !has_numbers == 0 && tables & !has_tables == 0
        };
        let of: Vec<Event> = rule.events.iter().copied().filter(fits).collect();
        if of.is_empty() {
            return Err(CompileError::Nowhere { rule: name() });
        }
        events.push(of);
        let clauses = normal.clauses(rule)?;
        owned.extend(clauses.into_iter().map(|clause| Owned { clause, rule: at, names: numbers }));
        if owned.len() > CLAUSES {
            return Err(CompileError::Clauses { rule: name() });
        }
    }
    // Stable, so that rules of a kind stay in their order.
    owned.sort_by_key(|one| kind(&rules[one.rule]));
    Ok((owned, events))
}

/// The tables that an event can have the numbers and atoms of, a bit each.
pub(super) fn has(event: Event) -> (u32, u32) {
    let uid_and_gid = 1 << Place::SubjectUid as u32 | 1 << Place::SubjectGid as u32;
    let mut numbers: u32 = uid_and_gid;
    let mut tables: u32 = 1 << LINEAGE | 1 << SUBJECT_MARKS;
    let mut texts = vec![Place::Exe, Place::Cgroup];
    match event.object() {
        ObjectKind::File => {
            numbers |= 1 << Place::Owner as u32 | 1 << Place::PathKnown as u32;
            tables |= 1 << OBJECT_MARKS;
            texts.push(Place::Path);
        }
        ObjectKind::Process => {
            numbers |= 1 << Place::TargetUid as u32 | 1 << Place::TargetGid as u32;
            tables |= 1 << OBJECT_MARKS | 1 << TARGET_LINEAGE;
            texts.push(Place::TargetExe);
        }
        ObjectKind::Endpoint => {
            numbers |= 1 << Place::Family as u32 | 1 << Place::Port as u32 | 1 << ADDRESS;
        }
        ObjectKind::System => {}
    }
    for argument in arguments(event) {
        match argument.place as usize {
            place if place < Place::NUMBERS => numbers |= 1 << place,
            _ => texts.push(argument.place),
        }
    }
    for text in
        texts.into_iter().filter_map(|place| (place as usize).checked_sub(Place::FIRST_TEXT))
    {
        tables |= 1 << text;
        numbers |= 1 << (LENGTHS + text);
    }
    (numbers, tables)
}

/// A rule's kind: its place in the order of clauses.
const fn kind(rule: &Rule) -> usize {
    match (&rule.effect, rule.mode) {
        (Effect::Deny, Mode::Enforce) => 0,
        (Effect::Allow, _) => 1,
        (Effect::Deny, Mode::Monitor) => 2,
        (Effect::Mark(_), _) => 3,
        (Effect::Tell(_), _) => 4,
    }
}

fn write(
    rules: &[Rule],
    owned: &[Owned],
    events: &[Vec<Event>],
    normal: &Normal<'_>,
    marks: &MarkNames,
    generation: u64,
) -> Result<Image, CompileError> {
    let clauses: Vec<Clause> = owned.iter().map(|one| one.clause.clone()).collect();
    let mut space = Space::new(clauses.len());
    let of = |which: &dyn Fn(&Rule) -> bool| -> Vec<usize> {
        (0..owned.len()).filter(|at| which(&rules[owned[*at].rule])).collect()
    };
    let ends: [u32; KINDS] =
        std::array::from_fn(|most| count(of(&|rule| kind(rule) <= most).len()));

    let guarding = guarding(rules, marks);
    let doubt = with(of(&|rule| match &rule.effect {
        Effect::Deny | Effect::Tell(_) => true,
        Effect::Allow => false,
        Effect::Mark(mark) => marks.bit(&mark.name).is_some_and(|bit| guarding & 1 << bit != 0),
    }));
    let mut header = Header {
        generation,
        rules: count(rules.len()),
        clauses: count(clauses.len()),
        words: count(space.words()),
        end_deny: ends[0],
        end_allow: ends[1],
        end_watch: ends[2],
        end_mark: ends[3],
        inherited: marks.inherited,
        seconds: marks.seconds,
        since: marks.since,
        doubt_at: space.vectors([&doubt])?,
        clauses_at: space.put(owned.iter().map(|one| entry(one.rule, &rules[one.rule], marks)))?,
        ..Header::default()
    };
    write_events(&mut header, &mut space, rules, owned, events)?;
    for which in (0..NUMBERS).filter(|which| header.numbers & 1 << which != 0) {
        let names = |clause: &usize| match which {
            LENGTHS..ADDRESS => {
                clauses[*clause].numbers.iter().any(|(table, _)| *table == which)
                    && doubt[clause / 64] & 1 << (clause % 64) == 0
            }
            _ => owned[*clause].names & 1 << which != 0,
        };
        let missing = without((0..clauses.len()).filter(names));
        header.number_tables[which] = numbers(&mut space, which, &clauses, &missing)?;
    }
    let places = Places::new(normal, &clauses)?;
    for which in (0..TABLES).filter(|which| header.tables & 1 << which != 0) {
        let place = |id| places.of(normal, which, id);
        header.atom_tables[which] = atoms(&mut space, which, &clauses, &doubt, place)?;
        if which < TEXTS {
            (header.automata[which], header.classes[which]) =
                places.automaton(&mut space, normal, which)?;
        }
    }
    (header.programs_at, header.programs) = places.programs(&mut space, normal)?;
    finish(header, space)
}

/// The vector of each event, and the tables that it needs.
fn write_events(
    header: &mut Header,
    space: &mut Space,
    rules: &[Rule],
    owned: &[Owned],
    events: &[Vec<Event>],
) -> Result<(), CompileError> {
    for &event in Event::ALL {
        let about: Vec<usize> =
            (0..owned.len()).filter(|at| events[owned[*at].rule].contains(&event)).collect();
        if about.is_empty() {
            continue;
        }
        let acting: Vec<usize> = about
            .iter()
            .copied()
            .filter(|at| rules[owned[*at].rule].effect != Effect::Allow)
            .collect();
        let mut entry = EventEntry {
            vector_at: space.vectors([&with(about.iter().copied())])?,
            ..EventEntry::default()
        };
        if !acting.is_empty() {
            entry.acting_at = space.vectors([&with(acting)])?;
        }
        for &at in &about {
            let Owned { clause, names, .. } = &owned[at];
            entry.numbers |= names;
            entry.tables |=
                clause.some.iter().map(|(table, _)| 1 << table).fold(0, |a, b: u32| a | b);
            entry.tables |=
                clause.none.iter().map(|(table, _)| 1 << table).fold(0, |a, b: u32| a | b);
        }
        header.numbers |= entry.numbers;
        header.tables |= entry.tables;
        if let Some(place) = header.events.get_mut(event.index()) {
            *place = entry;
        }
    }
    Ok(())
}

/// A clause's entry.
fn entry(number: usize, rule: &Rule, marks: &MarkNames) -> [u8; 4] {
    let (argument, flags) = match &rule.effect {
        Effect::Deny | Effect::Allow => (0, 0),
        Effect::Tell(engine) => (*engine, 0),
        Effect::Mark(mark) => {
            let on = if mark.object { ON_OBJECT } else { 0 };
            let inherited = if mark.inherited && !mark.object { INHERITED } else { 0 };
            (marks.bit(&mark.name).unwrap_or(0), on | inherited)
        }
    };
    // There are fewer rules than clauses may be.
    let [low, high] = u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes();
    [low, high, argument, flags]
}

fn finish(mut header: Header, space: Space) -> Result<Image, CompileError> {
    let mut bytes = space.bytes;
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    if bytes.len() > PAGES * PAGE {
        return Err(CompileError::Bytes);
    }
    header.size = count(bytes.len());
    bytes[..PAGE].copy_from_slice(&header.write());
    let image = Image { bytes, header: Box::new(header) };
    debug_assert!(Image::check(image.bytes.clone()).as_ref() == Ok(&image), "it is one");
    Ok(image)
}

const _: () = assert!(Event::ALL.len() <= EVENTS, "each has its place");
