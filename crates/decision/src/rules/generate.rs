//! Random sets of rules with facts that nearly fit them, for whoever shows that two evaluations agree.
//!
//! Everything follows from a seed, so that a failure is found again by it; [`shrink`] makes its case
//! small. Texts and numbers of facts are taken from the constants of the rules, off by one byte or one as
//! often as not.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
#![expect(missing_docs, reason = "fields are named as those of Facts")]

mod facts;
mod shrink;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outrigger_api::{Event, Mode};

use super::compile::{compile, has};
use super::facts::LineageKey;
use super::layout::{ADDRESS, LINEAGE, OBJECT_MARKS, SUBJECT_MARKS, TARGET_LINEAGE};
use super::marks::MarkNames;
use super::normal::named;
use super::rule::{
    Cidr, Comparison, Condition, Effect, Mark, Number, Pattern, Process, Rule, Source, Text,
};

pub use self::facts::OwnedFacts;
pub use self::shrink::{Case, shrink};

/// A source of random numbers (SplitMix64), rules and facts.
#[derive(Debug, Clone)]
pub struct Generator(u64);

/// What texts are made of, so that they often begin, end or go on alike.
const PIECES: [&str; 12] = [
    "/",
    "a",
    "b",
    "/etc/",
    "/etc/shadow",
    "/usr/bin/",
    "sh",
    "ab",
    "ba",
    ".so",
    "é",
    "/usr/bin/sh",
];

const PROGRAMS: [&str; 6] =
    ["/usr/bin/sh", "/usr/bin/a", "/usr/sbin/sshd", "/a", "/usr/bin/b", "/é"];

const VALUES: [u64; 8] = [0, 1, 2, 3, 1000, 65_535, u32::MAX as u64, i64::MAX as u64];

const ADDRESSES: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(0, 0, 0, 0)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff)),
];

/// How many marks rules name: `mark0` and so on.
const MARKS: u64 = 5;

impl Generator {
    /// The one of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `times`.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these; there is one at least.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)]
    }

    /// A set of 1 to `most` rules that compiles, of which most are about `event`.
    pub fn rules(&mut self, event: Event, most: u64) -> Vec<Rule> {
        let count = 1 + self.below(most);
        let mut rules: Vec<Rule> = Vec::new();
        while rules.len() < usize::try_from(count).unwrap_or(1) {
            let rule = self.rule(event, format!("rule{}", rules.len()));
            let alone = std::slice::from_ref(&rule);
            if compile(alone, &LineageKey([0; 16]), 1, &MarkNames::default()).is_ok() {
                rules.push(rule);
            }
        }
        rules
    }

    /// A rule that perhaps does not compile, and is perhaps about `event`.
    pub fn rule(&mut self, event: Event, name: String) -> Rule {
        let mut events = vec![if self.once_in(8) { *self.one_of(Event::ALL) } else { event }];
        if self.once_in(3) {
            events.push(*self.one_of(Event::ALL));
        }
        let mode = if self.once_in(3) { Mode::Monitor } else { Mode::Enforce };
        let effect = match self.below(8) {
            0..=2 => Effect::Deny,
            3 | 4 => Effect::Allow,
            5 | 6 => Effect::Mark(self.mark()),
            _ => Effect::Tell(u8::try_from(self.below(64)).unwrap_or(0)),
        };
        let literals = literals(events[0]);
        let when = self.condition(&literals, 4);
        Rule { name, source: Source::Administrator, mode, effect, events, when }
    }

    /// A mark, set as every rule sets it: what is fixed for all follows from its name.
    fn mark(&mut self) -> Mark {
        let number = self.below(MARKS);
        Mark {
            name: format!("mark{number}"),
            object: self.once_in(3),
            inherited: number.is_multiple_of(2),
            seconds: (number == 3).then_some(60),
        }
    }

    fn condition(&mut self, literals: &[Kind], depth: u32) -> Condition {
        if depth == 0 || self.once_in(4) {
            return self.literal(literals);
        }
        let count = self.below(4);
        match self.below(5) {
            0 => Condition::Not(Box::new(self.condition(literals, depth - 1))),
            1 | 2 => {
                Condition::All((0..count).map(|_| self.condition(literals, depth - 1)).collect())
            }
            _ => Condition::Any((0..=count).map(|_| self.condition(literals, depth - 1)).collect()),
        }
    }

    fn literal(&mut self, literals: &[Kind]) -> Condition {
        match *self.one_of(literals) {
            Kind::Number(place) => {
                let is = *self.one_of(&[Comparison::Is, Comparison::Less, Comparison::AtMost]);
                let value = if place == Number::PathKnown {
                    self.below(2)
                } else if self.once_in(20) {
                    self.next()
                } else {
                    *self.one_of(&VALUES)
                };
                Condition::Number { place, is, value }
            }
            Kind::Text(place) => {
                let text = self.text();
                let is = match self.below(6) {
                    0 => Pattern::AtLeast(u16::try_from(text.len()).unwrap_or(0)),
                    1 => Pattern::Is(text),
                    2 | 3 => Pattern::Begins(text),
                    4 => Pattern::Ends(text),
                    _ => Pattern::Contains(text),
                };
                Condition::Text { place, is }
            }
            Kind::Address => {
                let address = *self.one_of(&ADDRESSES);
                let most = if address.is_ipv4() { 32 } else { 128 };
                let prefix = u8::try_from(self.below(most + 1)).unwrap_or(0);
                Condition::Within(Cidr { address, prefix })
            }
            Kind::Lineage(process) => {
                let program = (*self.one_of(&PROGRAMS)).to_owned();
                Condition::Descends { process, program }
            }
            Kind::Marks(whose) => {
                Condition::Marked { whose, mark: format!("mark{}", self.below(MARKS)) }
            }
        }
    }

    fn text(&mut self) -> String {
        (0..self.below(4)).map(|_| *self.one_of(&PIECES)).collect()
    }
}

/// What a literal can be about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Number(Number),
    Text(Text),
    Address,
    Lineage(Process),
    Marks(Process),
}

/// What the facts of an event have.
fn literals(event: Event) -> Vec<Kind> {
    let (numbers, tables) = has(event);
    let mut all = Vec::new();
    for number in Number::ALL {
        if numbers & 1 << number.place() as u32 != 0 {
            all.push(Kind::Number(number));
        }
    }
    for text in Text::ALL {
        if tables & 1 << text as u32 != 0 {
            all.push(Kind::Text(text));
        }
    }
    if numbers & 1 << ADDRESS != 0 {
        all.push(Kind::Address);
    }
    for (table, kind) in [
        (LINEAGE, Kind::Lineage(Process::Subject)),
        (TARGET_LINEAGE, Kind::Lineage(Process::Object)),
        (SUBJECT_MARKS, Kind::Marks(Process::Subject)),
        (OBJECT_MARKS, Kind::Marks(Process::Object)),
    ] {
        if tables & 1 << table != 0 {
            all.push(kind);
        }
    }
    all
}

/// Whether an event has everything that a condition names.
pub fn fits(condition: &Condition, event: Event) -> bool {
    let ((numbers, tables), (has_numbers, has_tables)) = (named(condition), has(event));
    numbers & !has_numbers == 0 && tables & !has_tables == 0
}
