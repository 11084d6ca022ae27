//! Expressions of the subset, as conditions on the facts of one event.
//!
//! An expression is translated for each event that its policy is about, with what is certain of that event
//! put in: which action it is, what kind of object it has. What is then certain to be false or true takes its
//! `&&`, `||` or `if` with it, as in Cedar's validator, so that `action == Action::"file.open" &&
//! context.write` may stand in a policy about other events too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cedar_policy_core::ast::{BinaryOp, EntityUID, Expr, ExprKind, Literal, Pattern as Like};
use cedar_policy_core::ast::{PatternElem, UnaryOp};
use outrigger_api::Event;
use outrigger_api::catalogue::ObjectKind;
use outrigger_decision::rules::{Cidr, Comparison, Condition, Number, Pattern, Process, Text};

use crate::errors::Outside;
use crate::schema::{entity, group};
use crate::terms::{Term, has, mark, outside};

type Translated = Result<Condition, Outside>;

/// What must hold for `expr` to be true in an `event`.
pub(crate) fn condition(expr: &Expr, event: Event) -> Translated {
    match expr.expr_kind() {
        ExprKind::And { left, right } => {
            let left = condition(left, event)?;
            if is_never(&left) { Ok(left) } else { Ok(both(left, condition(right, event)?)) }
        }
        ExprKind::Or { left, right } => {
            let left = condition(left, event)?;
            if is_always(&left) { Ok(left) } else { Ok(either(left, condition(right, event)?)) }
        }
        ExprKind::If { test_expr, then_expr, else_expr } => {
            let test = condition(test_expr, event)?;
            if is_always(&test) {
                return condition(then_expr, event);
            }
            if is_never(&test) {
                return condition(else_expr, event);
            }
            let (then, other) = (condition(then_expr, event)?, condition(else_expr, event)?);
            Ok(either(both(test.clone(), then), both(not(test), other)))
        }
        ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Ok(not(condition(arg, event)?)),
        ExprKind::BinaryApp { op, arg1, arg2 } => binary(expr, *op, arg1, arg2, event),
        ExprKind::Like { expr: of, pattern } => match Term::of(of, event)? {
            Term::Text(place) => like(expr, place, pattern),
            _ => Err(outside(of, "`like` on what is no attribute", "compare an attribute")),
        },
        ExprKind::Is { expr: of, entity_type } => {
            let kind = match Term::of(of, event)? {
                Term::Principal => "Process",
                Term::Resource => entity(event.object()),
                _ => return Err(outside(of, "`is` on what is no subject or object", IS_HELP)),
            };
            Ok(constant(entity_type.to_string() == kind))
        }
        ExprKind::HasAttr { expr: of, attr } => {
            let has = has(&Term::of(of, event)?, attr, event);
            has.map(constant).ok_or_else(|| outside(expr, "`has` on a value", IS_HELP))
        }
        ExprKind::ExtensionFunctionApp { fn_name, args } => {
            method(expr, &fn_name.to_string(), args, event)
        }
        _ => match Term::of(expr, event)? {
            Term::Flag(place) => Ok(number(place, Comparison::Is, 1)),
            Term::Bool(value) => Ok(constant(value)),
            _ => Err(outside(expr, "this is neither true nor false", "compare it with something")),
        },
    }
}

const IS_HELP: &str = "it stands after `principal`, `resource` or `context`";

fn binary(expr: &Expr, op: BinaryOp, left: &Expr, right: &Expr, event: Event) -> Translated {
    if op == BinaryOp::In {
        return inside(expr, left, right, event);
    }
    let (first, second) = (Term::of(left, event)?, Term::of(right, event)?);
    match (op, &first, &second) {
        (BinaryOp::Eq, one, other) => equal(expr, one, other, event),
        (BinaryOp::Less, Term::Number(place), Term::Long(value)) => Ok(less(*place, *value)),
        (BinaryOp::LessEq, Term::Number(place), Term::Long(value)) => Ok(at_most(*place, *value)),
        (BinaryOp::Less, Term::Long(value), Term::Number(place)) => {
            Ok(not(at_most(*place, *value)))
        }
        (BinaryOp::LessEq, Term::Long(value), Term::Number(place)) => Ok(not(less(*place, *value))),
        (BinaryOp::Less | BinaryOp::LessEq, ..) => Err(comparison(expr, &first, &second)),
        (BinaryOp::Contains, Term::Set(members), _) => {
            let one = |member: &Expr| equal(expr, &second, &Term::of(member, event)?, event);
            any(members.iter().map(one))
        }
        (BinaryOp::Contains, Term::Marks(whose), _) => Ok(marked(*whose, mark(right, event)?)),
        (BinaryOp::ContainsAny, Term::Marks(whose), Term::Set(members))
        | (BinaryOp::ContainsAny, Term::Set(members), Term::Marks(whose)) => {
            any(members.iter().map(|member| Ok(marked(*whose, mark(member, event)?))))
        }
        (BinaryOp::ContainsAll, Term::Marks(whose), Term::Set(members)) => {
            members.iter().try_fold(constant(true), |all, member| {
                Ok(both(all, marked(*whose, mark(member, event)?)))
            })
        }
        (BinaryOp::Contains | BinaryOp::ContainsAny | BinaryOp::ContainsAll, ..) => Err(outside(
            expr,
            "a set that is neither a list nor marks",
            "write `[\"a\", \"b\"].contains(resource.path)` or `principal.marks.contains(\"a\")`",
        )),
        _ => Err(outside(
            expr,
            "a value that is computed",
            "compare an attribute with a constant, as in `principal.uid < 1000`",
        )),
    }
}

/// `==`, which is true of both orders.
fn equal(expr: &Expr, one: &Term<'_>, other: &Term<'_>, event: Event) -> Translated {
    match (one, other) {
        (Term::Number(place), Term::Long(value)) | (Term::Long(value), Term::Number(place)) => {
            Ok(match u64::try_from(*value) {
                Ok(value) => number(*place, Comparison::Is, value),
                Err(_) => nothing(*place),
            })
        }
        (Term::Flag(place), Term::Bool(value)) | (Term::Bool(value), Term::Flag(place)) => {
            let is_set = number(*place, Comparison::Is, 1);
            Ok(if *value { is_set } else { not(is_set) })
        }
        (Term::Text(place), Term::String(value)) | (Term::String(value), Term::Text(place)) => {
            Ok(text(*place, Pattern::Is((*value).to_owned())))
        }
        (Term::Address, Term::Network(cidr, true)) | (Term::Network(cidr, true), Term::Address) => {
            Ok(Condition::Within(*cidr))
        }
        (Term::Address, Term::Network(_, false)) | (Term::Network(_, false), Term::Address) => {
            Err(outside(expr, "an address is no network", "write `.isInRange(ip(\"…\"))`"))
        }
        (Term::Action, Term::Uid(uid)) | (Term::Uid(uid), Term::Action) => {
            Ok(constant(is_action(uid, event.name())))
        }
        (Term::Principal | Term::Resource, Term::Uid(_))
        | (Term::Uid(_), Term::Principal | Term::Resource) => Err(outside(
            expr,
            "the subject and the object have no name of their own",
            "compare `principal.exe` or `resource.path`; `in` asks for lineage and folders: \
             `principal in Program::\"/usr/sbin/sshd\"`, `resource in Directory::\"/etc\"`",
        )),
        _ => Err(comparison(expr, one, other)),
    }
}

fn comparison(expr: &Expr, one: &Term<'_>, other: &Term<'_>) -> Outside {
    if one.is_constant() && other.is_constant() {
        return outside(expr, "two constants are compared", "write `true` or `false`");
    }
    if !one.is_constant() && !other.is_constant() {
        let what = "two values of the event are compared with each other";
        return outside(expr, what, "compare each with a constant; an engine can do more");
    }
    let help = "numbers are compared by ==, <, <=, > and >=, texts by == and `like`, marks by \
                `contains`, addresses by == and `isInRange`";
    outside(expr, "these two are not compared in this way", help)
}

/// `in`: lineage, folders and groups of actions.
fn inside(expr: &Expr, left: &Expr, right: &Expr, event: Event) -> Translated {
    let of = Term::of(left, event)?;
    match Term::of(right, event)? {
        Term::Uid(uid) => inside_one(right, &of, uid, event),
        Term::Set(members) => any(members.iter().map(|member| match member.expr_kind() {
            ExprKind::Lit(Literal::EntityUID(uid)) => inside_one(member, &of, uid, event),
            _ => Err(outside(member, "`in` what is no constant", IN_HELP)),
        })),
        _ => Err(outside(expr, "`in` what is no constant", IN_HELP)),
    }
}

const IN_HELP: &str = "write `principal in Program::\"/usr/sbin/sshd\"`, \
                       `resource in Directory::\"/etc\"` or `action in Action::\"file\"`";

fn inside_one(expr: &Expr, of: &Term<'_>, uid: &EntityUID, event: Event) -> Translated {
    let (kind, name) = (uid.entity_type().to_string(), uid.eid().as_ref());
    let is_process = matches!(of, Term::Principal) || event.object() == ObjectKind::Process;
    match (of, kind.as_str()) {
        (Term::Action, _) => {
            Ok(constant(is_action(uid, event.name()) || is_action(uid, group(event))))
        }
        (Term::Principal | Term::Resource, "Program") if is_process => {
            let process =
                if matches!(of, Term::Principal) { Process::Subject } else { Process::Object };
            absolute(expr, name, "a program")?;
            Ok(Condition::Descends { process, program: name.to_owned() })
        }
        (Term::Resource, "Directory") if event.object() == ObjectKind::File => {
            absolute(expr, name, "a folder")?;
            let below = if name == "/" { name.to_owned() } else { format!("{name}/") };
            Ok(text(Text::Path, Pattern::Begins(below)))
        }
        (Term::Principal | Term::Resource, "Program" | "Directory") => Ok(constant(false)),
        (Term::Principal | Term::Resource, _) if kind != entity(event.object()) => {
            Ok(constant(false))
        }
        _ => {
            Err(outside(expr, "only programs, folders and groups of actions have members", IN_HELP))
        }
    }
}

fn absolute(expr: &Expr, path: &str, what: &str) -> Result<(), Outside> {
    let parts = path.strip_prefix('/').map(|rest| rest.split('/').collect::<Vec<_>>());
    let is_plain = |part: &&str| !matches!(*part, "" | "." | "..");
    match parts {
        Some(parts) if path == "/" || parts.iter().all(is_plain) => Ok(()),
        _ => Err(outside(
            expr,
            &format!("{what} is named by its absolute path"),
            "write it with a `/` before and none after, and without `//`, `.` and `..`",
        )),
    }
}

/// Whether `uid` is the action or group of actions called `name`.
fn is_action(uid: &EntityUID, name: &str) -> bool {
    uid.entity_type().to_string() == "Action" && uid.eid().as_ref() == name
}

fn like(expr: &Expr, place: Text, pattern: &Like) -> Translated {
    let mut parts = vec![String::new()];
    for element in pattern.iter() {
        match (element, parts.last_mut()) {
            (PatternElem::Char(one), Some(part)) => part.push(*one),
            _ => parts.push(String::new()),
        }
    }
    let begin = parts.remove(0);
    let Some(end) = parts.pop() else {
        return Ok(text(place, Pattern::Is(begin)));
    };
    // Stars that stand beside each other are one.
    parts.retain(|part| !part.is_empty());
    match (begin.as_str(), parts.as_slice(), end.as_str()) {
        ("", [], "") => Ok(text(place, Pattern::AtLeast(0))),
        (_, [], "") => Ok(text(place, Pattern::Begins(begin))),
        ("", [], _) => Ok(text(place, Pattern::Ends(end))),
        (_, [], _) => {
            let length = u16::try_from(begin.len() + end.len());
            let length =
                length.map_err(|_| outside(expr, "a text too long", "write a shorter one"))?;
            let ends = both(text(place, Pattern::Ends(end)), text(place, Pattern::AtLeast(length)));
            Ok(both(text(place, Pattern::Begins(begin)), ends))
        }
        ("", [part], "") => Ok(text(place, Pattern::Contains(part.clone()))),
        _ => Err(outside(
            expr,
            "a pattern with so many stars",
            "write `a*`, `*a`, `*a*` or `a*b`; join several by `&&`",
        )),
    }
}

/// What is asked of an address.
fn method(expr: &Expr, name: &str, args: &[Expr], event: Event) -> Translated {
    let terms: Vec<Term<'_>> =
        args.iter().map(|arg| Term::of(arg, event)).collect::<Result<_, _>>()?;
    let v4 = |a, b, c, d, prefix| within(Ipv4Addr::new(a, b, c, d).into(), prefix);
    let v6 =
        |first, last, prefix| within(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last).into(), prefix);
    match (name, terms.as_slice()) {
        ("isInRange", [Term::Address, Term::Network(cidr, _)]) => {
            Ok(within(cidr.address, cidr.prefix))
        }
        ("isIpv4", [Term::Address]) => Ok(v4(0, 0, 0, 0, 0)),
        ("isIpv6", [Term::Address]) => Ok(not(v4(0, 0, 0, 0, 0))),
        ("isLoopback", [Term::Address]) => Ok(either(v4(127, 0, 0, 0, 8), v6(0, 1, 128))),
        ("isMulticast", [Term::Address]) => Ok(either(v4(224, 0, 0, 0, 4), v6(0xff00, 0, 8))),
        _ => Err(outside(
            expr,
            "what is asked here is not asked of an event's address",
            "write `resource.address.isInRange(ip(\"192.0.2.0/24\"))`, or `isIpv4`, `isIpv6`, \
             `isLoopback`, `isMulticast`",
        )),
    }
}

const fn within(address: IpAddr, prefix: u8) -> Condition {
    Condition::Within(Cidr { address, prefix })
}

fn less(place: Number, value: i64) -> Condition {
    u64::try_from(value)
        .map_or_else(|_| nothing(place), |value| number(place, Comparison::Less, value))
}

fn at_most(place: Number, value: i64) -> Condition {
    u64::try_from(value)
        .map_or_else(|_| nothing(place), |value| number(place, Comparison::AtMost, value))
}

/// What holds for no number, and still asks for this one.
const fn nothing(place: Number) -> Condition {
    number(place, Comparison::Less, 0)
}

const fn number(place: Number, is: Comparison, value: u64) -> Condition {
    Condition::Number { place, is, value }
}

const fn text(place: Text, is: Pattern) -> Condition {
    Condition::Text { place, is }
}

const fn marked(whose: Process, mark: String) -> Condition {
    Condition::Marked { whose, mark }
}

const fn constant(value: bool) -> Condition {
    if value { Condition::All(Vec::new()) } else { Condition::Any(Vec::new()) }
}

pub(crate) fn is_never(condition: &Condition) -> bool {
    matches!(condition, Condition::Any(of) if of.is_empty())
}

fn is_always(condition: &Condition) -> bool {
    matches!(condition, Condition::All(of) if of.is_empty())
}

fn both(left: Condition, right: Condition) -> Condition {
    match (left, right) {
        (never, _) | (_, never) if is_never(&never) => never,
        (always, other) | (other, always) if is_always(&always) => other,
        (Condition::All(mut left), Condition::All(right)) => {
            left.extend(right);
            Condition::All(left)
        }
        (Condition::All(mut all), one) => {
            all.push(one);
            Condition::All(all)
        }
        (one, Condition::All(mut all)) => {
            all.insert(0, one);
            Condition::All(all)
        }
        (left, right) => Condition::All(vec![left, right]),
    }
}

fn either(left: Condition, right: Condition) -> Condition {
    match (left, right) {
        (always, _) | (_, always) if is_always(&always) => always,
        (never, other) | (other, never) if is_never(&never) => other,
        (Condition::Any(mut left), Condition::Any(right)) => {
            left.extend(right);
            Condition::Any(left)
        }
        (Condition::Any(mut any), one) => {
            any.push(one);
            Condition::Any(any)
        }
        (one, Condition::Any(mut any)) => {
            any.insert(0, one);
            Condition::Any(any)
        }
        (left, right) => Condition::Any(vec![left, right]),
    }
}

fn any(conditions: impl Iterator<Item = Translated>) -> Translated {
    conditions.into_iter().try_fold(constant(false), |any, one| Ok(either(any, one?)))
}

fn not(condition: Condition) -> Condition {
    match condition {
        Condition::Not(inner) => *inner,
        other if is_always(&other) => constant(false),
        other if is_never(&other) => constant(true),
        other => Condition::Not(Box::new(other)),
    }
}
