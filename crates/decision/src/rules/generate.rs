//! Random sets of rules with facts that nearly fit them, for whoever shows that two evaluations agree.
//!
//! Everything follows from a seed, so that a failure is found again by it; [`shrink`] makes its case
//! small. Texts and numbers of facts are taken from the constants of the rules, off by one byte or one as
//! often as not.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
#![expect(missing_docs, reason = "fields are named as those of Facts")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outrigger_api::{Event, Mode};

use super::compile::{compile, has};
use super::facts::{Facts, Lineage, LineageKey};
use super::layout::{ADDRESS, LINEAGE, OBJECT_MARKS, SUBJECT_MARKS, TARGET_LINEAGE, TEXTS};
use super::marks::MarkNames;
use super::normal::named;
use super::rule::{
    Cidr, Comparison, Condition, Effect, Mark, Number, Pattern, Process, Rule, Source, Text,
};

/// The numbers that rules name, in the order of their places.
pub const NUMBERS: [Number; 10] = [
    Number::SubjectUid,
    Number::SubjectGid,
    Number::TargetUid,
    Number::TargetGid,
    Number::Owner,
    Number::PathKnown,
    Number::Family,
    Number::Port,
    Number::Value0,
    Number::Value1,
];

/// The texts, in the order of their places.
pub const ALL_TEXTS: [Text; TEXTS] =
    [Text::Exe, Text::Cgroup, Text::Path, Text::TargetExe, Text::NewPath, Text::Text];

/// Facts that own their texts. What is `None` is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFacts {
    pub event: Event,
    pub numbers: [Option<u64>; 10],
    pub address: Option<IpAddr>,
    pub texts: [Option<Vec<u8>>; TEXTS],
    pub marks: u64,
    pub object_marks: u64,
    /// Paths of the programs, and whether there were more.
    pub lineage: (Vec<String>, bool),
    pub target_lineage: (Vec<String>, bool),
}

impl OwnedFacts {
    /// Those of an event of which nothing is known.
    pub fn new(event: Event) -> Self {
        Self {
            event,
            numbers: [None; 10],
            address: None,
            texts: [const { None }; TEXTS],
            marks: 0,
            object_marks: 0,
            lineage: (Vec::new(), true),
            target_lineage: (Vec::new(), true),
        }
    }

    /// What is decided on.
    pub fn facts(&self, key: &LineageKey) -> Facts<'_> {
        let mut facts = Facts::new(self.event);
        for (number, value) in NUMBERS.into_iter().zip(self.numbers) {
            if let Some(value) = value {
                facts.set_number(number, value);
            }
        }
        for (text, value) in ALL_TEXTS.into_iter().zip(&self.texts) {
            if let Some(value) = value {
                facts.set_text(text, value);
            }
        }
        if let Some(address) = self.address {
            facts.set_address(address);
        }
        (facts.marks, facts.object_marks) = (self.marks, self.object_marks);
        let lineage = |(programs, cut): &(Vec<String>, bool)| {
            let hashes: Vec<u64> =
                programs.iter().map(|program| key.hash(program.as_bytes())).collect();
            Lineage::new(&hashes, *cut)
        };
        facts.lineage = lineage(&self.lineage);
        facts.target_lineage = lineage(&self.target_lineage);
        facts
    }
}

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

    /// Facts of `event` that are near the constants of the rules.
    pub fn facts(&mut self, rules: &[Rule], event: Event) -> OwnedFacts {
        let mut constants = Constants::default();
        rules.iter().for_each(|rule| constants.collect(&rule.when));
        let mut facts = OwnedFacts::new(event);
        for literal in literals(event) {
            if self.once_in(12) {
                continue;
            }
            match literal {
                Kind::Number(place) => {
                    facts.numbers[place.place() as usize] =
                        Some(self.near(place, &constants.numbers));
                }
                Kind::Text(place) => {
                    facts.texts[place as usize] = Some(self.near_text(&constants.texts));
                }
                Kind::Address => facts.address = Some(self.near_address(&constants.networks)),
                Kind::Lineage(Process::Subject) => facts.lineage = self.lineage(),
                Kind::Lineage(Process::Object) => facts.target_lineage = self.lineage(),
                Kind::Marks(Process::Subject) => facts.marks = self.next() & self.next(),
                Kind::Marks(Process::Object) => facts.object_marks = self.next() & self.next(),
            }
        }
        facts
    }

    fn near(&mut self, place: Number, constants: &[(Number, u64)]) -> u64 {
        let of: Vec<u64> = constants
            .iter()
            .filter(|(number, _)| *number == place)
            .map(|(_, value)| *value)
            .collect();
        let value = if of.is_empty() { *self.one_of(&VALUES) } else { *self.one_of(&of) };
        match self.below(3) {
            0 => value.wrapping_sub(1),
            1 => value.wrapping_add(1),
            _ => value,
        }
    }

    fn near_text(&mut self, constants: &[String]) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..self.below(3) {
            if constants.is_empty() || self.once_in(3) {
                text.extend(self.text().bytes());
            } else {
                text.extend(self.one_of(constants).bytes());
            }
        }
        let at = usize::try_from(self.below(1 + text.len() as u64)).unwrap_or(0);
        match self.below(6) {
            0 => drop(text.pop()),
            1 if at < text.len() => drop(text.remove(at)),
            2 if at < text.len() => text[at] ^= 1 << self.below(8),
            3 => text.insert(at, b'a'),
            _ => {}
        }
        text
    }

    fn near_address(&mut self, networks: &[Cidr]) -> IpAddr {
        if networks.is_empty() || self.once_in(4) {
            return *self.one_of(&ADDRESSES);
        }
        let Cidr { address, prefix } = *self.one_of(networks);
        // A bit that does not count, or the last one that does, is turned over.
        let flip = |bits: u8, prefix: u8, times: u64| {
            u32::from(bits).saturating_sub(u32::from(prefix) + u32::from(times == 0)).min(127)
        };
        match address {
            IpAddr::V4(four) => {
                let bit = flip(32, prefix, self.below(2));
                let turned = four.to_bits() ^ 1_u32.checked_shl(bit).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(turned))
            }
            IpAddr::V6(six) => {
                let bit = flip(128, prefix, self.below(2));
                let turned = Ipv6Addr::from_bits(six.to_bits() ^ 1 << bit);
                // As facts have it: a mapped address is the IPv4 address that it is.
                IpAddr::V6(turned).to_canonical()
            }
        }
    }

    fn lineage(&mut self) -> (Vec<String>, bool) {
        let programs = (0..self.below(4)).map(|_| (*self.one_of(&PROGRAMS)).to_owned()).collect();
        (programs, self.once_in(4))
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
    for number in NUMBERS {
        if numbers & 1 << number.place() as u32 != 0 {
            all.push(Kind::Number(number));
        }
    }
    for text in ALL_TEXTS {
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

/// The constants of conditions.
#[derive(Debug, Default)]
struct Constants {
    numbers: Vec<(Number, u64)>,
    texts: Vec<String>,
    networks: Vec<Cidr>,
}

impl Constants {
    fn collect(&mut self, condition: &Condition) {
        match condition {
            Condition::All(all) | Condition::Any(all) => {
                all.iter().for_each(|one| self.collect(one))
            }
            Condition::Not(not) => self.collect(not),
            Condition::Number { place, value, .. } => self.numbers.push((*place, *value)),
            Condition::Text { is, .. } => match is {
                Pattern::Is(text)
                | Pattern::Begins(text)
                | Pattern::Ends(text)
                | Pattern::Contains(text) => self.texts.push(text.clone()),
                Pattern::AtLeast(len) => self.texts.push("a".repeat((*len).into())),
            },
            Condition::Within(cidr) => self.networks.push(*cidr),
            Condition::Descends { .. } | Condition::Marked { .. } => {}
        }
    }
}

/// Rules and facts on which two evaluations do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub rules: Vec<Rule>,
    pub facts: OwnedFacts,
}

/// The smallest case that can be had of this one, step by step, for which `fails` still holds.
pub fn shrink(mut case: Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    'again: loop {
        for smaller in smaller(&case) {
            if fails(&smaller) {
                case = smaller;
                continue 'again;
            }
        }
        return case;
    }
}

/// The cases that are one step smaller.
fn smaller(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    for at in 0..case.rules.len() {
        let mut less = case.clone();
        less.rules.remove(at);
        all.push(less);
        for when in smaller_conditions(&case.rules[at].when) {
            let mut less = case.clone();
            less.rules[at].when = when;
            all.push(less);
        }
    }
    let mut with = |change: &dyn Fn(&mut OwnedFacts)| {
        let mut less = case.clone();
        change(&mut less.facts);
        if less.facts != case.facts {
            all.push(less);
        }
    };
    with(&|facts| facts.marks = 0);
    with(&|facts| facts.object_marks = 0);
    with(&|facts| facts.lineage = (Vec::new(), false));
    with(&|facts| facts.target_lineage = (Vec::new(), false));
    for at in 0..TEXTS {
        with(&|facts| {
            if let Some(text) = &mut facts.texts[at] {
                text.pop();
            }
        });
    }
    all
}

fn smaller_conditions(condition: &Condition) -> Vec<Condition> {
    let mut all = Vec::new();
    match condition {
        Condition::All(of) | Condition::Any(of) => {
            let is_all = matches!(condition, Condition::All(_));
            let again = |of| if is_all { Condition::All(of) } else { Condition::Any(of) };
            all.extend(of.iter().cloned());
            for (at, one) in of.iter().enumerate() {
                let mut less = of.clone();
                less.remove(at);
                all.push(again(less));
                for smaller in smaller_conditions(one) {
                    let mut less = of.clone();
                    less[at] = smaller;
                    all.push(again(less));
                }
            }
        }
        Condition::Not(not) => {
            all.push((**not).clone());
            all.extend(
                smaller_conditions(not).into_iter().map(|less| Condition::Not(Box::new(less))),
            );
        }
        Condition::Number { .. }
        | Condition::Text { .. }
        | Condition::Within(_)
        | Condition::Descends { .. }
        | Condition::Marked { .. } => {}
    }
    all
}

/// Whether an event has everything that a condition names.
pub fn fits(condition: &Condition, event: Event) -> bool {
    let ((numbers, tables), (has_numbers, has_tables)) = (named(condition), has(event));
    numbers & !has_numbers == 0 && tables & !has_tables == 0
}
