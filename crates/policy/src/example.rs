//! One event written down by hand: what policies are tried on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use outrigger_api::Event;
use outrigger_api::attribute::{Kind, Place, arguments};
use outrigger_api::catalogue::ObjectKind;
use outrigger_decision::rules::{Facts, Lineage, LineageKey, MarkNames, Number, Text};
use serde::{Deserialize, Serialize};

/// An event. What is not written is 0, empty or false, and the object of no path is one whose path is not
/// known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Its name.
    pub event: String,
    /// Who does it.
    #[serde(default)]
    pub subject: Actor,
    /// To what.
    #[serde(default)]
    pub object: Object,
    /// What it carries besides, by the names in the schema.
    #[serde(default)]
    pub context: BTreeMap<String, Value>,
}

/// A process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Actor {
    /// Effective user.
    pub uid: u64,
    /// Effective group.
    pub gid: u64,
    /// Its program's path.
    pub exe: String,
    /// Its control group's path.
    pub cgroup: String,
    /// The programs that it and its ancestors have run, by their paths; `exe` need not be repeated.
    pub ran: Vec<String>,
    /// Its marks.
    pub marks: Vec<String>,
}

/// What is acted on: of these, what an event of its kind has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Object {
    /// A file's path.
    pub path: Option<String>,
    /// A file's owner.
    pub owner: Option<u64>,
    /// A file's or a process's marks.
    pub marks: Option<Vec<String>>,
    /// A process's effective user.
    pub uid: Option<u64>,
    /// A process's effective group.
    pub gid: Option<u64>,
    /// A process's program.
    pub exe: Option<String>,
    /// The programs that the process and its ancestors have run.
    pub ran: Option<Vec<String>>,
    /// An endpoint's family, if not that of its address.
    pub family: Option<u64>,
    /// An endpoint's port.
    pub port: Option<u64>,
    /// An endpoint's address.
    pub address: Option<IpAddr>,
}

/// What an event carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

/// An example that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExampleError {
    /// There is no such event.
    #[error("no event is called {0:?}; docs/events.md has all of them")]
    NoSuchEvent(String),
    /// The object of such an event has no such thing.
    #[error("the object of {event} has no `{key}`: it is {is}")]
    NotOfObject {
        /// The event.
        event: Event,
        /// What was said of the object.
        key: &'static str,
        /// What the object is.
        is: &'static str,
    },
    /// The event carries no such thing.
    #[error("{event} carries no `{key}`{}", known(*.event))]
    NotOfEvent {
        /// The event.
        event: Event,
        /// The name.
        key: String,
    },
    /// It is carried as something else.
    #[error("`{key}` of {event} is {is}")]
    OtherKind {
        /// The event.
        event: Event,
        /// The name.
        key: String,
        /// What it is.
        is: &'static str,
    },
}

fn known(event: Event) -> String {
    let names: Vec<&str> = arguments(event).iter().map(|one| one.name).collect();
    if names.is_empty() { String::new() } else { format!(", but `{}`", names.join("`, `")) }
}

impl Example {
    /// Nothing but an event.
    pub fn new(event: &str) -> Self {
        Self {
            event: event.to_owned(),
            subject: Actor::default(),
            object: Object::default(),
            context: BTreeMap::new(),
        }
    }

    /// Its facts, for rules that were compiled with `key` and `marks`.
    ///
    /// # Errors
    ///
    /// It says what no such event has.
    pub fn facts(&self, key: &LineageKey, marks: &MarkNames) -> Result<Facts<'_>, ExampleError> {
        let event: Event =
            self.event.parse().map_err(|_| ExampleError::NoSuchEvent(self.event.clone()))?;
        let mut facts = Facts::new(event);
        facts.set_number(Number::SubjectUid, self.subject.uid);
        facts.set_number(Number::SubjectGid, self.subject.gid);
        facts.set_text(Text::Exe, self.subject.exe.as_bytes());
        let cgroup = if self.subject.cgroup.is_empty() { "/" } else { &self.subject.cgroup };
        facts.set_text(Text::Cgroup, cgroup.as_bytes());
        facts.lineage = lineage(key, &self.subject.ran, &self.subject.exe);
        facts.marks = bits(marks, &self.subject.marks);
        self.object.check(event)?;
        let object = &self.object;
        match event.object() {
            ObjectKind::File => {
                let path = object.path.as_deref().filter(|path| !path.is_empty());
                facts.set_path(path.map(str::as_bytes));
                facts.set_number(Number::Owner, object.owner.unwrap_or(0));
            }
            ObjectKind::Process => {
                facts.set_number(Number::TargetUid, object.uid.unwrap_or(0));
                facts.set_number(Number::TargetGid, object.gid.unwrap_or(0));
                let exe = object.exe.as_deref().unwrap_or("");
                facts.set_text(Text::TargetExe, exe.as_bytes());
                facts.target_lineage = lineage(key, object.ran.as_deref().unwrap_or(&[]), exe);
            }
            ObjectKind::Endpoint => {
                let family = object.address.map_or(0, |one| if one.is_ipv4() { 2 } else { 10 });
                facts.set_number(Number::Family, object.family.unwrap_or(family));
                facts.set_number(Number::Port, object.port.unwrap_or(0));
                if let Some(address) = object.address {
                    facts.set_address(address);
                }
            }
            ObjectKind::System => {}
        }
        facts.object_marks = bits(marks, object.marks.as_deref().unwrap_or(&[]));
        self.set_context(event, &mut facts)?;
        Ok(facts)
    }

    fn set_context<'a>(&'a self, event: Event, facts: &mut Facts<'a>) -> Result<(), ExampleError> {
        let stray =
            self.context.keys().find(|key| !arguments(event).iter().any(|one| one.name == *key));
        if let Some(key) = stray {
            return Err(ExampleError::NotOfEvent { event, key: key.clone() });
        }
        for argument in arguments(event) {
            let number =
                if argument.place == Place::Value0 { Number::Value0 } else { Number::Value1 };
            let text = if argument.place == Place::NewPath { Text::NewPath } else { Text::Text };
            match (argument.kind, self.context.get(argument.name)) {
                (Kind::Bool, None) | (Kind::Long, None) => facts.set_number(number, 0),
                (Kind::Text, None) => facts.set_text(text, b""),
                (Kind::Bool, Some(Value::Bool(value))) => facts.set_number(number, (*value).into()),
                (Kind::Long, Some(Value::Number(value))) => facts.set_number(number, *value),
                (Kind::Text, Some(Value::Text(value))) => facts.set_text(text, value.as_bytes()),
                (kind, Some(_)) => {
                    let key = argument.name.to_owned();
                    return Err(ExampleError::OtherKind { event, key, is: name_of(kind) });
                }
            }
        }
        Ok(())
    }
}

const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Long => "a number",
        Kind::Text => "a text",
    }
}

impl Object {
    /// Refuses what objects of such events do not have.
    fn check(&self, event: Event) -> Result<(), ExampleError> {
        use ObjectKind::{Endpoint, File, Process};
        let said: [(&'static str, bool, &[ObjectKind]); 10] = [
            ("path", self.path.is_some(), &[File]),
            ("owner", self.owner.is_some(), &[File]),
            ("marks", self.marks.is_some(), &[File, Process]),
            ("uid", self.uid.is_some(), &[Process]),
            ("gid", self.gid.is_some(), &[Process]),
            ("exe", self.exe.is_some(), &[Process]),
            ("ran", self.ran.is_some(), &[Process]),
            ("family", self.family.is_some(), &[Endpoint]),
            ("port", self.port.is_some(), &[Endpoint]),
            ("address", self.address.is_some(), &[Endpoint]),
        ];
        let object = event.object();
        let is = match object {
            File => "a file",
            Process => "a process",
            Endpoint => "an end of a connection",
            ObjectKind::System => "the machine",
        };
        let wrong = said.iter().find(|(_, said, of)| *said && !of.contains(&object));
        wrong.map_or(Ok(()), |(key, ..)| Err(ExampleError::NotOfObject { event, key, is }))
    }
}

/// The lineage of a process that runs `exe` and descends from what has run `ran`; all of it is known.
fn lineage(key: &LineageKey, ran: &[String], exe: &str) -> Lineage {
    let all = ran.iter().map(String::as_str).chain(Some(exe)).filter(|program| !program.is_empty());
    Lineage::new(&all.map(|program| key.hash(program.as_bytes())).collect::<Vec<_>>(), false)
}

/// The bits of marks; one that no rule names has none, and nothing depends on it.
fn bits(names: &MarkNames, marks: &[String]) -> u64 {
    marks.iter().filter_map(|mark| names.bit(mark)).fold(0, |bits, bit| bits | 1 << bit)
}
