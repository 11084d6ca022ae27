//! One event with its facts, near what policies compare them with.

use std::net::IpAddr;

use outrigger_api::Event;
use outrigger_api::attribute::{Kind, Place, arguments};
use outrigger_api::catalogue::ObjectKind;
use outrigger_api::coverage::Level;
use outrigger_decision::rules::{Facts, Lineage, MarkNames, Number, Text};

use super::KEY;
use super::policies::{ADDRESSES, FRAGMENTS, MARKS, NUMBERS, PROGRAMS, Policy};
use super::random::Random;

/// An event and all that is said of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    pub(crate) event: Event,
    pub(crate) numbers: Vec<(Number, u64)>,
    pub(crate) texts: Vec<(Text, String)>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) lineage: Vec<String>,
    pub(crate) target_lineage: Vec<String>,
    pub(crate) marks: Vec<String>,
    pub(crate) object_marks: Vec<String>,
}

impl Case {
    /// An event that one of `policies` is about, mostly, or any other.
    pub(crate) fn random(random: &mut Random, policies: &[Policy]) -> Self {
        let events = random.of(policies).events.clone();
        let decidable: Vec<Event> =
            Event::ALL.iter().copied().filter(|one| one.strongest() != Level::Notify).collect();
        let event = if random.one_in(8) { *random.of(&decidable) } else { *random.of(&events) };
        let mut case = Self {
            event,
            numbers: Vec::new(),
            texts: Vec::new(),
            address: None,
            lineage: some(random, PROGRAMS),
            target_lineage: Vec::new(),
            marks: some(random, MARKS),
            object_marks: Vec::new(),
        };
        let is_flag = |number: Number| {
            let argument = arguments(event).iter().find(|one| one.place == number.place());
            number == Number::PathKnown || argument.is_some_and(|one| one.kind == Kind::Bool)
        };
        for number in Number::ALL.into_iter().filter(|number| has(event, number.place())) {
            let value = if is_flag(number) { random.next() % 2 } else { near_number(random) };
            case.numbers.push((number, value));
        }
        for text in Text::ALL.into_iter().filter(|text| has(event, text.place())) {
            case.texts.push((text, near_text(random)));
        }
        match event.object() {
            ObjectKind::File => {
                case.object_marks = some(random, MARKS);
                if case.number(Number::PathKnown) == 0 {
                    case.set_text(Text::Path, "");
                }
            }
            ObjectKind::Process => {
                case.object_marks = some(random, MARKS);
                case.target_lineage = some(random, PROGRAMS);
            }
            ObjectKind::Endpoint => case.address = Some(near_address(random)),
            ObjectKind::System => {}
        }
        case
    }

    pub(crate) fn number(&self, which: Number) -> u64 {
        self.numbers.iter().find(|(one, _)| *one == which).map_or(0, |(_, value)| *value)
    }

    pub(crate) fn text(&self, which: Text) -> &str {
        self.texts.iter().find(|(one, _)| *one == which).map_or("", |(_, value)| value)
    }

    fn set_text(&mut self, which: Text, value: &str) {
        if let Some((_, text)) = self.texts.iter_mut().find(|(one, _)| *one == which) {
            value.clone_into(text);
        }
    }

    /// As the tables get it.
    pub(crate) fn facts(&self, names: &MarkNames) -> Facts<'_> {
        let mut facts = Facts::new(self.event);
        for (number, value) in &self.numbers {
            facts.set_number(*number, *value);
        }
        for (text, value) in &self.texts {
            facts.set_text(*text, value.as_bytes());
        }
        if let Some(address) = self.address {
            facts.set_address(address);
        }
        let lineage = |programs: &[String]| {
            let hashes: Vec<u64> = programs.iter().map(|one| KEY.hash(one.as_bytes())).collect();
            Lineage::new(&hashes, false)
        };
        facts.lineage = lineage(&self.lineage);
        facts.target_lineage = lineage(&self.target_lineage);
        let bits = |marks: &[String]| {
            marks.iter().filter_map(|mark| names.bit(mark)).fold(0, |bits, bit| bits | 1_u64 << bit)
        };
        facts.marks = bits(&self.marks);
        facts.object_marks = bits(&self.object_marks);
        facts
    }
}

/// Whether an event has a value there.
fn has(event: Event, place: Place) -> bool {
    let object = event.object();
    match place {
        Place::SubjectUid | Place::SubjectGid | Place::Exe | Place::Cgroup => true,
        Place::TargetUid | Place::TargetGid | Place::TargetExe => object == ObjectKind::Process,
        Place::Owner | Place::PathKnown | Place::Path => object == ObjectKind::File,
        Place::Family | Place::Port | Place::Address => object == ObjectKind::Endpoint,
        Place::Value0 | Place::Value1 | Place::NewPath | Place::Text => {
            arguments(event).iter().any(|one| one.place == place)
        }
    }
}

fn some(random: &mut Random, of: &[&str]) -> Vec<String> {
    of.iter().filter(|_| random.one_in(3)).map(|one| (*one).to_owned()).collect()
}

fn near_number(random: &mut Random) -> u64 {
    let constant = u64::try_from(*random.of(NUMBERS)).unwrap_or(0);
    let near = match random.below(6) {
        0 => constant.saturating_add(1),
        1 => constant.saturating_sub(1),
        2 => random.next() >> (1 + random.below(62)),
        _ => constant,
    };
    near.min(i64::MAX.unsigned_abs())
}

fn near_text(random: &mut Random) -> String {
    (0..random.below(4)).map(|_| *random.of(FRAGMENTS)).collect()
}

fn near_address(random: &mut Random) -> IpAddr {
    let network = random.of(ADDRESSES);
    let (address, prefix) = network.split_once('/').unwrap_or((network, "128"));
    let prefix: u32 = prefix.parse().expect("one of ours");
    // Somewhere within, at its ends, or just beside it.
    let kind = random.below(4);
    let noise = u128::from(random.next()) << 64 | u128::from(random.next());
    let host = |bits: u32| u128::MAX.checked_shr(prefix.min(bits) + 128 - bits).unwrap_or(0);
    let moved = |bits: u128, host: u128| match kind {
        0 => bits,
        1 => bits | host,
        2 => bits | host & noise,
        _ => (bits | host).wrapping_add(1),
    };
    match address.parse().expect("one of ours") {
        IpAddr::V4(four) => {
            let bits = moved(four.to_bits().into(), host(32));
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what is beside the last is the first"
            )]
            let bits = bits as u32;
            IpAddr::V4(bits.into())
        }
        IpAddr::V6(six) => {
            let six = std::net::Ipv6Addr::from_bits(moved(six.to_bits(), host(128)));
            six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4)
        }
    }
}
