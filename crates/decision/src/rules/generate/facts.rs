//! Facts that nearly fit rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outrigger_api::Event;
use outrigger_api::attribute::Place;

use super::super::facts::{Facts, Lineage, LineageKey};
use super::super::layout::TEXTS;
use super::super::rule::{Cidr, Condition, Number, Pattern, Process, Rule, Text};
use super::{ADDRESSES, Generator, Kind, PROGRAMS, VALUES, literals};

/// Facts that own their texts. What is `None` is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFacts {
    pub event: Event,
    pub numbers: [Option<u64>; Place::NUMBERS],
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
            numbers: [None; Place::NUMBERS],
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
        for (number, value) in Number::ALL.into_iter().zip(self.numbers) {
            if let Some(value) = value {
                facts.set_number(number, value);
            }
        }
        for (text, value) in Text::ALL.into_iter().zip(&self.texts) {
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

impl Generator {
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
