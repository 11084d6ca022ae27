//! What an expression stands for that is no condition: a value of the event, or a constant.

use std::net::{IpAddr, Ipv6Addr};

use cedar_policy_core::ast::{EntityUID, Expr, ExprKind, Literal, Var};
use outrigger_api::Event;
use outrigger_api::attribute::{self, Kind};
use outrigger_api::catalogue::ObjectKind;
use outrigger_decision::rules::{Cidr, Number, Process, Text};

use crate::errors::Outside;

/// Longest text that a rule compares with, in bytes: no path is longer (`PATH_MAX`).
const TEXT_MAX: usize = 4096;
/// Longest name of a mark, in bytes.
pub(crate) const MARK_MAX: usize = 64;

/// A value.
#[derive(Debug)]
pub(crate) enum Term<'a> {
    /// The subject.
    Principal,
    /// The object.
    Resource,
    /// The event.
    Action,
    /// What the event carries besides.
    Context,
    /// A number of the event.
    Number(Number),
    /// A number of the event that is 0 or 1.
    Flag(Number),
    /// A text of the event.
    Text(Text),
    /// The address.
    Address,
    /// The marks of somebody.
    Marks(Process),
    /// A constant number.
    Long(i64),
    /// A constant truth.
    Bool(bool),
    /// A constant text.
    String(&'a str),
    /// A constant network, and whether it is a single address.
    Network(Cidr, bool),
    /// An entity by its name.
    Uid(&'a EntityUID),
    /// A list.
    Set(&'a [Expr]),
}

impl<'a> Term<'a> {
    /// What `expr` stands for in an `event`.
    pub(crate) fn of(expr: &'a Expr, event: Event) -> Result<Self, Outside> {
        match expr.expr_kind() {
            ExprKind::Lit(literal) => literal_term(expr, literal),
            ExprKind::Var(Var::Principal) => Ok(Self::Principal),
            ExprKind::Var(Var::Action) => Ok(Self::Action),
            ExprKind::Var(Var::Resource) => Ok(Self::Resource),
            ExprKind::Var(Var::Context) => Ok(Self::Context),
            ExprKind::Set(members) => Ok(Self::Set(members)),
            ExprKind::GetAttr { expr: of, attr } => {
                attribute(expr, &Self::of(of, event)?, attr, event)
            }
            ExprKind::ExtensionFunctionApp { fn_name, args } if fn_name.to_string() == "ip" => {
                network(expr, args.first())
            }
            ExprKind::UnaryApp { .. } | ExprKind::BinaryApp { .. } => Err(outside(
                expr,
                "a value that is computed",
                "compare an attribute with a constant, as in `principal.uid < 1000`",
            )),
            _ => Err(outside(
                expr,
                "this is no attribute and no constant",
                "compare attributes of `principal`, `resource` and `context` with constants",
            )),
        }
    }

    /// Whether it is the same in every event.
    pub(crate) const fn is_constant(&self) -> bool {
        matches!(
            self,
            Self::Long(_)
                | Self::Bool(_)
                | Self::String(_)
                | Self::Network(..)
                | Self::Uid(_)
                | Self::Set(_)
        )
    }
}

/// A refusal of `expr`.
pub(crate) fn outside(expr: &Expr, what: &str, help: impl Into<String>) -> Outside {
    Outside { place: expr.source_loc().cloned(), what: what.to_owned(), help: help.into() }
}

fn literal_term<'a>(expr: &Expr, literal: &'a Literal) -> Result<Term<'a>, Outside> {
    Ok(match literal {
        Literal::Bool(value) => Term::Bool(*value),
        Literal::Long(value) => Term::Long(*value),
        Literal::String(text) if text.len() > TEXT_MAX => {
            let what = format!("a text of {} bytes, over the limit of {TEXT_MAX}", text.len());
            return Err(outside(expr, &what, "no path is longer; compare with a part of it"));
        }
        Literal::String(text) => Term::String(text),
        Literal::EntityUID(uid) => Term::Uid(uid),
    })
}

fn attribute<'a>(
    expr: &Expr,
    of: &Term<'a>,
    attr: &str,
    event: Event,
) -> Result<Term<'a>, Outside> {
    let object = event.object();
    let term = match (of, object, attr) {
        (Term::Principal, _, "uid") => Term::Number(Number::SubjectUid),
        (Term::Principal, _, "gid") => Term::Number(Number::SubjectGid),
        (Term::Principal, _, "exe") => Term::Text(Text::Exe),
        (Term::Principal, _, "cgroup") => Term::Text(Text::Cgroup),
        (Term::Principal, _, "marks") => Term::Marks(Process::Subject),
        (Term::Resource, ObjectKind::Process, "uid") => Term::Number(Number::TargetUid),
        (Term::Resource, ObjectKind::Process, "gid") => Term::Number(Number::TargetGid),
        (Term::Resource, ObjectKind::Process, "exe") => Term::Text(Text::TargetExe),
        (Term::Resource, ObjectKind::Process, "cgroup") => {
            return Err(outside(
                expr,
                "the control group of the process that is the object is not known",
                "ask for its program (`resource.exe`, `resource in Program::\"…\"`) or its user",
            ));
        }
        (Term::Resource, ObjectKind::File, "path") => Term::Text(Text::Path),
        (Term::Resource, ObjectKind::File, "path_known") => Term::Flag(Number::PathKnown),
        (Term::Resource, ObjectKind::File, "owner") => Term::Number(Number::Owner),
        (Term::Resource, ObjectKind::File | ObjectKind::Process, "marks") => {
            Term::Marks(Process::Object)
        }
        (Term::Resource, ObjectKind::Endpoint, "family") => Term::Number(Number::Family),
        (Term::Resource, ObjectKind::Endpoint, "port") => Term::Number(Number::Port),
        (Term::Resource, ObjectKind::Endpoint, "address") => Term::Address,
        (Term::Context, _, _) => {
            return argument(attr, event).ok_or_else(|| no_such(expr, attr, event));
        }
        _ => return Err(no_such(expr, attr, event)),
    };
    Ok(term)
}

/// Validation has seen to it that this is never needed; if it is, nothing is guessed.
fn no_such(expr: &Expr, attr: &str, event: Event) -> Outside {
    let what = format!("{event} has no `{attr}` there");
    outside(expr, &what, "docs/reference/policy.cedarschema has what every event carries")
}

fn argument<'a>(attr: &str, event: Event) -> Option<Term<'a>> {
    let argument = attribute::arguments(event).iter().find(|one| one.name == attr)?;
    let place = argument.place;
    Some(match argument.kind {
        Kind::Bool => Term::Flag(NUMBERS.iter().copied().find(|one| one.place() == place)?),
        Kind::Long => Term::Number(NUMBERS.iter().copied().find(|one| one.place() == place)?),
        Kind::Text => Term::Text(TEXTS.iter().copied().find(|one| one.place() == place)?),
    })
}

/// Where arguments of events stand.
const NUMBERS: [Number; 2] = [Number::Value0, Number::Value1];
const TEXTS: [Text; 2] = [Text::NewPath, Text::Text];

/// Whether what `of` stands for has the attribute, which with this schema an event always or never has.
pub(crate) fn has(of: &Term<'_>, attr: &str, event: Event) -> Option<bool> {
    const PROCESS: &[&str] = &["uid", "gid", "exe", "cgroup", "marks"];
    Some(match (of, event.object()) {
        (Term::Principal, _) | (Term::Resource, ObjectKind::Process) => PROCESS.contains(&attr),
        (Term::Resource, ObjectKind::File) => {
            ["path", "path_known", "owner", "marks"].contains(&attr)
        }
        (Term::Resource, ObjectKind::Endpoint) => ["family", "port", "address"].contains(&attr),
        (Term::Resource, ObjectKind::System) => false,
        (Term::Context, _) => argument(attr, event).is_some(),
        _ => return None,
    })
}

fn network<'a>(expr: &Expr, argument: Option<&Expr>) -> Result<Term<'a>, Outside> {
    let refuse = |what: &str, help: &str| outside(expr, what, help);
    let Some(ExprKind::Lit(Literal::String(text))) = argument.map(Expr::expr_kind) else {
        return Err(refuse("an address that is computed", "write it: `ip(\"192.0.2.0/24\")`"));
    };
    let (address, prefix) = text
        .split_once('/')
        .map_or((text.as_str(), None), |(address, prefix)| (address, Some(prefix)));
    let no_address = || refuse("no address", "write it as `192.0.2.0/24` or `2001:db8::/32`");
    let address: IpAddr = address.parse().map_err(|_| no_address())?;
    let full = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = prefix.map_or(Ok(full), str::parse).map_err(|_| no_address())?;
    if prefix > full {
        return Err(no_address());
    }
    let cidr = Cidr { address: base(address, prefix), prefix };
    let mapped = |address: Ipv6Addr| address.to_ipv4_mapped().is_some();
    if prefix >= 96 && matches!(address, IpAddr::V6(address) if mapped(address)) {
        return Err(refuse(
            "no address of an event is an IPv4 address mapped into IPv6",
            "write it as the IPv4 address that it is",
        ));
    }
    Ok(Term::Network(cidr, prefix == full))
}

/// The first address of the network that `address` lies in.
fn base(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// The constant text that `expr` is, as the name of a mark.
pub(crate) fn mark(expr: &Expr, event: Event) -> Result<String, Outside> {
    match Term::of(expr, event)? {
        Term::String(name) if is_mark(name) => Ok(name.to_owned()),
        _ => Err(outside(expr, "no mark is called so", MARK_HELP)),
    }
}

/// What a mark may be called.
pub(crate) const MARK_HELP: &str =
    "a mark's name is 1 to 64 bytes of letters, digits, `-`, `_` and `.`";

/// Whether a mark may be called `name`.
pub(crate) fn is_mark(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MARK_MAX).contains(&name.len()) && name.bytes().all(is_part)
}
