//! Why a rule applies to an event or does not: its condition, part by part.
//!
//! For people, and for tests of the compiled tables: it goes through the condition as it is written, which
//! takes the longer the more there is of it, and decides nothing.

use std::net::{IpAddr, Ipv6Addr};

use outrigger_api::attribute::{Place, arguments};
use outrigger_api::{Event, Mode};
use outrigger_decision::rules::{
    Cidr, Comparison, Condition, Effect, Facts, LineageKey, MarkNames, Number, Pattern, Process,
    Rule, Text,
};

/// One part of a condition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Part {
    /// How deep it stands.
    pub depth: usize,
    /// Whether it holds.
    pub holds: bool,
    /// What it asks, and what the event has there.
    pub text: String,
}

/// The parts of a rule's condition, the whole first.
pub fn explain(rule: &Rule, facts: &Facts<'_>, key: &LineageKey, marks: &MarkNames) -> Vec<Part> {
    let mut parts = Vec::new();
    Explainer { facts, key, marks }.part(&rule.when, 0, &mut parts);
    parts
}

/// Whether a condition holds, where all that it asks for is known.
pub fn holds(when: &Condition, facts: &Facts<'_>, key: &LineageKey, marks: &MarkNames) -> bool {
    Explainer { facts, key, marks }.holds(when)
}

/// What a rule does, in a word.
pub fn effect(rule: &Rule) -> String {
    match (&rule.effect, rule.mode) {
        (Effect::Deny, Mode::Enforce) => "denies".to_owned(),
        (Effect::Deny, Mode::Monitor) => "would deny".to_owned(),
        (Effect::Allow, _) => "allows".to_owned(),
        (Effect::Mark(mark), _) => {
            format!("marks the {} {}", if mark.object { "object" } else { "subject" }, mark.name)
        }
        (Effect::Tell(engine), _) => format!("tells engine {engine}"),
    }
}

struct Explainer<'a> {
    facts: &'a Facts<'a>,
    key: &'a LineageKey,
    marks: &'a MarkNames,
}

impl Explainer<'_> {
    fn part(&self, when: &Condition, depth: usize, parts: &mut Vec<Part>) {
        let text = match when {
            Condition::All(of) if of.is_empty() => "always".to_owned(),
            Condition::Any(of) if of.is_empty() => "never".to_owned(),
            Condition::All(_) => "all of".to_owned(),
            Condition::Any(_) => "any of".to_owned(),
            Condition::Not(of) if !is_group(of) => {
                let text = format!("not {}", self.leaf(of));
                parts.push(Part { depth, holds: self.holds(when), text });
                return;
            }
            Condition::Not(_) => "not".to_owned(),
            leaf => self.leaf(leaf),
        };
        parts.push(Part { depth, holds: self.holds(when), text });
        match when {
            Condition::All(of) | Condition::Any(of) => {
                of.iter().for_each(|one| self.part(one, depth + 1, parts));
            }
            Condition::Not(of) => self.part(of, depth + 1, parts),
            _ => {}
        }
    }

    fn holds(&self, when: &Condition) -> bool {
        let facts = self.facts;
        match when {
            Condition::All(of) => of.iter().all(|one| self.holds(one)),
            Condition::Any(of) => of.iter().any(|one| self.holds(one)),
            Condition::Not(of) => !self.holds(of),
            Condition::Number { place, is, value } => {
                facts.number(*place).is_some_and(|number| match is {
                    Comparison::Is => number == *value,
                    Comparison::Less => number < *value,
                    Comparison::AtMost => number <= *value,
                })
            }
            Condition::Text { place, is } => facts.text(*place).is_some_and(|text| match is {
                Pattern::Is(other) => text == other.as_bytes(),
                Pattern::Begins(other) => text.starts_with(other.as_bytes()),
                Pattern::Ends(other) => text.ends_with(other.as_bytes()),
                Pattern::Contains(other) => contains(text, other.as_bytes()),
                Pattern::AtLeast(length) => text.len() >= usize::from(*length),
            }),
            Condition::Within(cidr) => self.address().is_some_and(|address| within(address, *cidr)),
            Condition::Descends { process, program } => {
                let lineage = match process {
                    Process::Subject => &facts.lineage,
                    Process::Object => &facts.target_lineage,
                };
                lineage.programs().contains(&self.key.hash(program.as_bytes()))
            }
            Condition::Marked { whose, mark } => {
                let marks = match whose {
                    Process::Subject => facts.marks,
                    Process::Object => facts.object_marks,
                };
                self.marks.bit(mark).is_some_and(|bit| marks & 1 << bit != 0)
            }
        }
    }

    fn address(&self) -> Option<IpAddr> {
        let six = Ipv6Addr::from(self.facts.address()?);
        Some(six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4))
    }

    /// What a comparison asks, and what the event has there.
    fn leaf(&self, leaf: &Condition) -> String {
        let unknown = || "not known".to_owned();
        match leaf {
            Condition::Number { place, is, value } => {
                let is = match is {
                    Comparison::Is => "==",
                    Comparison::Less => "<",
                    Comparison::AtMost => "<=",
                };
                let has = self.facts.number(*place).map_or_else(unknown, |has| has.to_string());
                format!("{} {is} {value} (it is {has})", number(self.facts.event, *place))
            }
            Condition::Text { place, is } => {
                let has = self.facts.text(*place);
                let has =
                    has.map_or_else(unknown, |has| format!("{:?}", String::from_utf8_lossy(has)));
                let is = match is {
                    Pattern::Is(other) => format!("== {other:?}"),
                    Pattern::Begins(other) => format!("begins with {other:?}"),
                    Pattern::Ends(other) => format!("ends with {other:?}"),
                    Pattern::Contains(other) => format!("contains {other:?}"),
                    Pattern::AtLeast(length) => format!("has at least {length} bytes"),
                };
                format!("{} {is} (it is {has})", text(self.facts.event, *place))
            }
            Condition::Within(Cidr { address, prefix }) => {
                let has = self.address().map_or_else(unknown, |has| has.to_string());
                format!("resource.address in {address}/{prefix} (it is {has})")
            }
            Condition::Descends { process, program } => {
                format!("{} in Program::{program:?}", who(*process))
            }
            Condition::Marked { whose, mark } => format!("{} has mark {mark}", who(*whose)),
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => String::new(),
        }
    }
}

const fn is_group(condition: &Condition) -> bool {
    matches!(condition, Condition::All(_) | Condition::Any(_) | Condition::Not(_))
}

const fn who(process: Process) -> &'static str {
    match process {
        Process::Subject => "principal",
        Process::Object => "resource",
    }
}

fn number(event: Event, which: Number) -> String {
    match which {
        Number::SubjectUid => "principal.uid".to_owned(),
        Number::SubjectGid => "principal.gid".to_owned(),
        Number::TargetUid => "resource.uid".to_owned(),
        Number::TargetGid => "resource.gid".to_owned(),
        Number::Owner => "resource.owner".to_owned(),
        Number::PathKnown => "resource.path_known".to_owned(),
        Number::Family => "resource.family".to_owned(),
        Number::Port => "resource.port".to_owned(),
        Number::Value0 | Number::Value1 => argument(event, which.place()),
    }
}

fn text(event: Event, which: Text) -> String {
    match which {
        Text::Exe => "principal.exe".to_owned(),
        Text::Cgroup => "principal.cgroup".to_owned(),
        Text::Path => "resource.path".to_owned(),
        Text::TargetExe => "resource.exe".to_owned(),
        Text::NewPath | Text::Text => argument(event, which.place()),
    }
}

fn argument(event: Event, place: Place) -> String {
    let name = arguments(event).iter().find(|one| one.place == place).map_or("?", |one| one.name);
    format!("context.{name}")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// An IPv4 address lies in no IPv6 network.
fn within(address: IpAddr, network: Cidr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(four) => (32, u128::from(four.to_bits())),
        IpAddr::V6(six) => (128, six.to_bits()),
    };
    let ((size, address), (of, network_bits)) = (bits(address), bits(network.address));
    let host = size - u32::from(network.prefix).min(size);
    size == of
        && address.checked_shr(host).unwrap_or(0) == network_bits.checked_shr(host).unwrap_or(0)
}
