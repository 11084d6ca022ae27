//! Random policies of the documented subset, and now and then one just beside it.
//!
//! Constants come from small pools, and so do the values of events ([`super::case`]), so that they meet.

use outrigger_api::Event;
use outrigger_api::attribute::{Kind, arguments};
use outrigger_api::catalogue::ObjectKind;
use outrigger_api::coverage::Level;

use super::random::Random;

/// What texts are put together from.
pub(crate) const FRAGMENTS: &[&str] = &[
    "/",
    "/etc",
    "/usr/bin",
    "passwd",
    "/etc/passwd",
    "a",
    "b",
    "ab",
    "aa",
    "*",
    "é",
    "\"",
    "\\",
    ".so",
    "",
];
/// What numbers are compared with.
pub(crate) const NUMBERS: &[i64] =
    &[0, 1, 2, 6, 10, 17, 80, 443, 999, 1000, 4_294_967_295, i64::MAX, i64::MAX - 1, -1];
/// What programs are called.
pub(crate) const PROGRAMS: &[&str] = &["/usr/sbin/sshd", "/bin/sh", "/é", "/opt/a b/c"];
const FOLDERS: &[&str] = &["/", "/etc", "/usr", "/usr/bin", "/a", "/ab"];
/// What marks are called.
pub(crate) const MARKS: &[&str] = &["seen", "dropped", "read.secret", "a-b_c"];
/// Networks that addresses are compared with.
pub(crate) const ADDRESSES: &[&str] = &[
    "10.0.0.0/8",
    "10.1.2.3",
    "127.0.0.0/8",
    "192.0.2.128/25",
    "0.0.0.0/0",
    "0.0.0.0/1",
    "224.0.0.0/4",
    "::1",
    "::/0",
    "::/96",
    "::/64",
    "2001:db8::/33",
    "fe80::/10",
    "ff00::/8",
    "ffff::/16",
    "10.1.2.4/31",
];

/// A policy, as a tree that can be made smaller.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    annotations: String,
    effect: &'static str,
    principal: Option<String>,
    action: String,
    resource: Option<String>,
    conditions: Vec<(&'static str, Expr)>,
    /// The events that its scope names.
    pub(crate) events: Vec<Event>,
    /// Whether something in it is not of the subset, or may not be.
    pub(crate) near_miss: bool,
}

#[derive(Debug, Clone)]
enum Expr {
    Leaf(String),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Number,
    Flag,
    Text,
    Marks,
    Address,
}

impl Policy {
    pub(crate) fn random(random: &mut Random) -> Self {
        let decidable: Vec<Event> =
            Event::ALL.iter().copied().filter(|one| one.strongest() != Level::Notify).collect();
        let (action, events) = match random.below(8) {
            0 => ("action".to_owned(), decidable),
            1 => group(random, &decidable),
            2 | 3 => {
                let events: Vec<Event> =
                    (0..2 + random.below(2)).map(|_| *random.of(&decidable)).collect();
                let names: Vec<String> = events.iter().map(|one| action(one.name())).collect();
                (format!("action in [{}]", names.join(", ")), events)
            }
            _ => {
                let event = *random.of(&decidable);
                (format!("action == {}", action(event.name())), vec![event])
            }
        };
        let mut policy = Self {
            annotations: String::new(),
            effect: "permit",
            principal: None,
            action,
            resource: None,
            conditions: Vec::new(),
            events,
            near_miss: false,
        };
        policy.what_it_does(random);
        if random.one_in(6) {
            let program = quoted(random.of(PROGRAMS));
            let is = if random.one_in(2) { "is Process " } else { "" };
            policy.principal = Some(format!("principal {is}in Program::{program}"));
        }
        if random.one_in(6) && policy.events.iter().all(|one| one.object() == ObjectKind::File) {
            let folder = quoted(random.of(FOLDERS));
            let is = if random.one_in(2) { "is File " } else { "" };
            policy.resource = Some(format!("resource {is}in Directory::{folder}"));
        }
        for _ in 0..random.below(3) {
            let kind = if random.one_in(4) { "unless" } else { "when" };
            let expr = policy.expr(random, 3);
            policy.conditions.push((kind, expr));
        }
        policy
    }

    pub(crate) fn text(&self) -> String {
        let principal = self.principal.as_deref().unwrap_or("principal");
        let resource = self.resource.as_deref().unwrap_or("resource");
        let scope = format!("{principal}, {}, {resource}", self.action);
        let conditions =
            self.conditions.iter().map(|(kind, expr)| format!(" {kind} {{ {} }}", expr.text()));
        format!(
            "{}{} ({scope}){};\n",
            self.annotations,
            self.effect,
            conditions.collect::<String>()
        )
    }

    fn what_it_does(&mut self, random: &mut Random) {
        match random.below(8) {
            0..4 => self.effect = "forbid",
            4 => {
                self.effect = "forbid";
                "@mode(\"monitor\") ".clone_into(&mut self.annotations);
            }
            5 => {
                // How long a mark lives and who inherits it is one thing per mark.
                let which = random.below(MARKS.len());
                let lifetime = if which == 0 { "@lifetime(\"60s\") " } else { "" };
                let markable =
                    |one: &Event| matches!(one.object(), ObjectKind::File | ObjectKind::Process);
                let on = if self.events.iter().all(markable) && random.one_in(2) {
                    "@on(\"object\") "
                } else {
                    ""
                };
                self.annotations = format!("@mark({}) {on}{lifetime}", quoted(MARKS[which]));
            }
            _ => {}
        }
    }

    fn expr(&mut self, random: &mut Random, depth: usize) -> Expr {
        let mut inner = |random: &mut Random| Box::new(self.expr(random, depth - 1));
        match random.below(if depth == 0 { 4 } else { 10 }) {
            4 => Expr::Not(inner(random)),
            5 | 6 => Expr::And(inner(random), inner(random)),
            7 | 8 => Expr::Or(inner(random), inner(random)),
            9 => Expr::If(inner(random), inner(random), inner(random)),
            _ => Expr::Leaf(self.leaf(random)),
        }
    }

    /// A comparison; what not every event of the policy has is asked of the one that has it.
    fn leaf(&mut self, random: &mut Random) -> String {
        if random.one_in(60) {
            self.near_miss = true;
            return (*random.of(NEAR_MISSES)).to_owned();
        }
        let event = *random.of(&self.events);
        if random.one_in(12) {
            return certain(random, event);
        }
        let (needs, leaf) = comparison(random, event);
        let is_common = needs.is_none_or(|needs| {
            self.events.iter().all(|event| attributes(*event).contains(&needs))
        });
        let in_all = |kind| self.events.iter().all(|event| event.object() == kind);
        let is_inside = leaf.contains("resource in") && !in_all(event.object());
        if is_common && !is_inside {
            return leaf;
        }
        let name = action(event.name());
        match random.below(3) {
            0 => format!("(action == {name} && {leaf})"),
            1 => format!("(action != {name} || {leaf})"),
            _ => format!("(if action in [{name}] then {leaf} else {})", random.one_in(2)),
        }
    }

    /// Each policy that has a part less.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut policy = self.clone();
            change(&mut policy);
            all.push(policy);
        };
        if self.principal.is_some() {
            with(&|policy| policy.principal = None);
        }
        if self.resource.is_some() {
            with(&|policy| policy.resource = None);
        }
        for event in self.events.iter().filter(|_| !self.action.contains("==")) {
            with(&|policy| {
                policy.action = format!("action == {}", action(event.name()));
                policy.events = vec![*event];
            });
        }
        for at in 0..self.conditions.len() {
            with(&|policy| drop(policy.conditions.remove(at)));
            for simpler in self.conditions[at].1.simpler() {
                with(&|policy| policy.conditions[at].1 = simpler.clone());
            }
        }
        all
    }
}

impl Expr {
    fn text(&self) -> String {
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Not(of) => format!("!({})", of.text()),
            Self::And(left, right) => format!("({} && {})", left.text(), right.text()),
            Self::Or(left, right) => format!("({} || {})", left.text(), right.text()),
            Self::If(test, then, other) => {
                format!("(if {} then {} else {})", test.text(), then.text(), other.text())
            }
        }
    }

    /// Its parts, and itself with a simpler part.
    fn simpler(&self) -> Vec<Self> {
        let rebuilt = |parts: Vec<&Self>, build: &dyn Fn(Vec<Self>) -> Self| {
            let mut all: Vec<Self> = parts.iter().map(|part| (*part).clone()).collect();
            for at in 0..parts.len() {
                for simpler in parts[at].simpler() {
                    let mut changed: Vec<Self> = parts.iter().map(|part| (*part).clone()).collect();
                    changed[at] = simpler;
                    all.push(build(changed));
                }
            }
            all
        };
        let take = |parts: &mut Vec<Self>| Box::new(parts.remove(0));
        match self {
            Self::Leaf(_) => Vec::new(),
            Self::Not(of) => rebuilt(vec![of], &|mut parts| Self::Not(take(&mut parts))),
            Self::And(left, right) => rebuilt(vec![left, right], &|mut parts| {
                Self::And(take(&mut parts), take(&mut parts))
            }),
            Self::Or(left, right) => rebuilt(vec![left, right], &|mut parts| {
                Self::Or(take(&mut parts), take(&mut parts))
            }),
            Self::If(test, then, other) => rebuilt(vec![test, then, other], &|mut parts| {
                Self::If(take(&mut parts), take(&mut parts), take(&mut parts))
            }),
        }
    }
}

/// What is just not in the subset, of a wrong type, or not there at all.
const NEAR_MISSES: &[&str] = &[
    "principal.exe like \"/a*b*c\"",
    "principal.exe like \"*a*b*\"",
    "principal.uid == principal.gid",
    "principal.uid + 1 == 2",
    "principal.uid == \"0\"",
    "principal.user == 0",
    "principal == Process::\"1\"",
    "principal in Program::\"sshd\"",
    "principal in Program::\"/usr/../sshd\"",
    "principal in Directory::\"/usr\"",
    "principal.marks == [\"seen\"]",
    "principal.marks.isEmpty()",
    "[\"seen\"].containsAll(principal.marks)",
    "principal.marks.contains(\"no such mark!\")",
    "principal.exe.contains(\"a\")",
    "[principal.exe].contains(\"a\")",
    "1 == 1",
    "\"a\" like \"a*\"",
    "principal has uid.low",
    "(if principal.uid == 0 then principal.gid else 1) == 1",
    "{a: 1}.a == 1",
    "context.nothing",
    "ip(\"10.0.0.1\").isInRange(ip(\"10.0.0.0/8\"))",
    "principal.uid",
    "[].contains(principal.uid)",
];

fn group(random: &mut Random, events: &[Event]) -> (String, Vec<Event>) {
    let family = |event: Event| event.name().split('.').next().unwrap_or_default();
    let name = family(*random.of(events));
    let members = events.iter().copied().filter(|one| family(*one) == name).collect();
    (format!("action in {}", action(name)), members)
}

fn action(name: &str) -> String {
    format!("Action::\"{name}\"")
}

fn quoted(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What an event has, and as which type.
fn attributes(event: Event) -> Vec<(String, Type)> {
    let mut all: Vec<(String, Type)> = Vec::new();
    let mut add = |of: &str, attributes: &[(&str, Type)]| {
        all.extend(attributes.iter().map(|(name, kind)| (format!("{of}.{name}"), *kind)));
    };
    add("principal", &[("uid", Type::Number), ("gid", Type::Number), ("exe", Type::Text)]);
    add("principal", &[("cgroup", Type::Text), ("marks", Type::Marks)]);
    add(
        "resource",
        match event.object() {
            ObjectKind::File => &[
                ("path", Type::Text),
                ("path_known", Type::Flag),
                ("owner", Type::Number),
                ("marks", Type::Marks),
            ],
            ObjectKind::Process => &[
                ("uid", Type::Number),
                ("gid", Type::Number),
                ("exe", Type::Text),
                ("marks", Type::Marks),
            ],
            ObjectKind::Endpoint => {
                &[("family", Type::Number), ("port", Type::Number), ("address", Type::Address)]
            }
            ObjectKind::System => &[],
        },
    );
    for argument in arguments(event) {
        let kind = match argument.kind {
            Kind::Bool => Type::Flag,
            Kind::Long => Type::Number,
            Kind::Text => Type::Text,
        };
        add("context", &[(argument.name, kind)]);
    }
    all
}

/// What is certain of an event, whatever happens.
fn certain(random: &mut Random, event: Event) -> String {
    let kind = random.of(&["File", "Process", "Endpoint", "System"]);
    match random.below(5) {
        0 => format!("resource is {kind}"),
        1 => format!("action == {}", action(event.name())),
        2 => format!("context has {}", random.of(&["write", "mode", "mark"])),
        3 => format!("{}", random.one_in(2)),
        _ => "principal is Process".to_owned(),
    }
}

/// A comparison of something that `event` has: what it needs to be there, and the text.
fn comparison(random: &mut Random, event: Event) -> (Option<(String, Type)>, String) {
    if random.one_in(6) {
        return (None, lineage(random, event));
    }
    let attributes = attributes(event);
    let (name, kind) = random.of(&attributes).clone();
    let text = match kind {
        Type::Number => number(random, &name),
        Type::Flag => match random.below(4) {
            0 => format!("{name} == {}", random.one_in(2)),
            1 => format!("{} != {name}", random.one_in(2)),
            2 => format!("!{name}"),
            _ => name.clone(),
        },
        Type::Text => text(random, &name),
        Type::Marks => marks(random, &name),
        Type::Address => address(random, &name),
    };
    (Some((name, kind)), text)
}

fn lineage(random: &mut Random, event: Event) -> String {
    let list = |random: &mut Random, kind: &str, of: &[&str]| {
        let one = |random: &mut Random| format!("{kind}::{}", quoted(random.of(of)));
        if random.one_in(3) { format!("[{}, {}]", one(random), one(random)) } else { one(random) }
    };
    match (event.object(), random.one_in(2)) {
        (ObjectKind::File, true) => format!("resource in {}", list(random, "Directory", FOLDERS)),
        (ObjectKind::Process, true) => format!("resource in {}", list(random, "Program", PROGRAMS)),
        _ => format!("principal in {}", list(random, "Program", PROGRAMS)),
    }
}

fn number(random: &mut Random, name: &str) -> String {
    let constant = *random.of(NUMBERS);
    let op = random.of(&["==", "!=", "<", "<=", ">", ">="]);
    match random.below(6) {
        0 => format!("{constant} {op} {name}"),
        1 => format!("[{constant}, {}].contains({name})", random.of(NUMBERS)),
        _ => format!("{name} {op} {constant}"),
    }
}

fn text(random: &mut Random, name: &str) -> String {
    let mut constant =
        || -> String { (0..random.below(3)).map(|_| *random.of(FRAGMENTS)).collect() };
    let (one, other) = (constant(), constant());
    let inside = |text: &str| {
        let text = quoted(text);
        text[1..text.len() - 1].replace('*', "\\*")
    };
    let (first, last) = (inside(&one), inside(&other));
    match random.below(9) {
        0 => format!("{name} != {}", quoted(&one)),
        1 => format!("{} == {name}", quoted(&one)),
        2 => format!("[{}, {}].contains({name})", quoted(&one), quoted(&other)),
        3 => format!("{name} like \"{first}\""),
        4 => format!("{name} like \"{first}*\""),
        5 => format!("{name} like \"*{first}\""),
        6 => format!("{name} like \"*{first}*\""),
        7 => format!("{name} like \"{first}*{last}\""),
        _ => format!("{name} == {}", quoted(&one)),
    }
}

fn marks(random: &mut Random, name: &str) -> String {
    let (one, other) = (quoted(random.of(MARKS)), quoted(random.of(MARKS)));
    match random.below(5) {
        0 => format!("{name}.containsAny([{one}, {other}])"),
        1 => format!("[{one}, {other}].containsAny({name})"),
        2 => format!("{name}.containsAll([{one}, {other}])"),
        _ => format!("{name}.contains({one})"),
    }
}

fn address(random: &mut Random, name: &str) -> String {
    let network = random.of(ADDRESSES);
    let single = network.split_once('/').map_or(*network, |(address, _)| address);
    match random.below(8) {
        0 => format!("{name}.isIpv4()"),
        1 => format!("{name}.isIpv6()"),
        2 => format!("{name}.isLoopback()"),
        3 => format!("{name}.isMulticast()"),
        4 => format!("{name} == ip(\"{single}\")"),
        5 => format!("[ip(\"{single}\"), ip(\"10.1.2.3\")].contains({name})"),
        _ => format!("{name}.isInRange(ip(\"{network}\"))"),
    }
}
