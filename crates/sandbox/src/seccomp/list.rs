//! Allow-lists of system calls: what each kind of child may call, and why.
//!
//! One file per kind (`engine.rs`, `gate.rs`, `fetch.rs`) holds its list; `cargo xtask docs` writes the reference page
//! from the same tables, so that what is documented is what is compiled.

use std::borrow::Cow;
use std::collections::BTreeMap;

use libc::c_int;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::names::call_name;

/// The rules by call number; a call without rules is allowed whatever its arguments are.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What one kind of child may call.
#[derive(Debug)]
pub struct CallList {
    /// The kind of child.
    pub kind: &'static str,
    /// What happens to a call that is not on the list.
    pub otherwise: &'static str,
    pub(super) allowed: &'static [Allowed],
    /// Calls that the filter hands to the host, and what that answers. The answers are `judge.rs`'s.
    pub(super) judged: &'static [Judged],
}

/// Calls that are allowed for one reason.
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) why: &'static str,
    pub(super) calls: &'static [i64],
    /// They are allowed if one of these holds; always, if there is none.
    pub(super) when: &'static [Case],
}

/// A call that is decided outside of the filter.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) call: i64,
    pub(super) answer: &'static str,
}

/// Conditions on a call's arguments that must hold together.
#[derive(Debug)]
pub(super) struct Case {
    /// The same in words.
    pub(super) says: &'static str,
    pub(super) conditions: &'static [Condition],
}

/// Bits of one argument's low 32 that must have a value.
#[derive(Debug)]
pub(super) struct Condition {
    argument: u8,
    mask: u32,
    value: u32,
}

/// One row of a list, for people.
#[derive(Debug)]
pub struct CallRow {
    /// The calls by name, in the list's order.
    pub calls: Vec<Cow<'static, str>>,
    /// The arguments with which they are allowed; empty for any.
    pub only: Vec<&'static str>,
    /// Why they are allowed, or what the host answers.
    pub why: &'static str,
}

pub(super) const fn always(why: &'static str, calls: &'static [i64]) -> Allowed {
    Allowed { why, calls, when: &[] }
}

pub(super) const fn when(
    why: &'static str,
    calls: &'static [i64],
    when: &'static [Case],
) -> Allowed {
    Allowed { why, calls, when }
}

pub(super) const fn case(says: &'static str, conditions: &'static [Condition]) -> Case {
    Case { says, conditions }
}

pub(super) const fn equal(argument: u8, value: c_int) -> Condition {
    Condition { argument, mask: u32::MAX, value: value.cast_unsigned() }
}

pub(super) const fn masked(argument: u8, mask: c_int, value: c_int) -> Condition {
    Condition { argument, mask: mask.cast_unsigned(), value: value.cast_unsigned() }
}

impl CallList {
    /// The calls that are allowed, with the arguments that they need.
    pub fn allowed(&self) -> impl Iterator<Item = CallRow> {
        self.allowed.iter().map(|group| CallRow {
            calls: group.calls.iter().map(|number| call_name(*number)).collect(),
            only: group.when.iter().map(|case| case.says).collect(),
            why: group.why,
        })
    }

    /// The calls that the host answers in the kernel's place.
    pub fn judged(&self) -> impl Iterator<Item = CallRow> {
        self.judged.iter().map(|judged| CallRow {
            calls: vec![call_name(judged.call)],
            only: Vec::new(),
            why: judged.answer,
        })
    }

    /// The list as the compiler of filters takes it.
    pub(super) fn rules(&self) -> Result<Rules, BackendError> {
        let mut rules = Rules::new();
        for group in self.allowed {
            for number in group.calls {
                let known = rules.entry(*number).or_default();
                for case in group.when {
                    known.push(case.compile()?);
                }
            }
        }
        Ok(rules)
    }
}

impl Case {
    fn compile(&self) -> Result<SeccompRule, BackendError> {
        let conditions = self.conditions.iter().map(Condition::compile);
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    }
}

impl Condition {
    fn compile(&self) -> Result<SeccompCondition, BackendError> {
        let operator = SeccompCmpOp::MaskedEq(u64::from(self.mask));
        let width = SeccompCmpArgLen::Dword;
        SeccompCondition::new(self.argument, width, operator, u64::from(self.value))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A call that is on a list twice would have its conditions joined, and one without conditions
    /// would lose to one with them.
    pub(crate) fn no_call_stands_twice(list: &CallList) {
        let mut numbers: Vec<_> = list.allowed.iter().flat_map(|group| group.calls).collect();
        let count = numbers.len();

        numbers.sort_unstable();
        numbers.dedup();

        assert_eq!(numbers.len(), count, "{} has a call twice", list.kind);
    }

    /// The name of every call is known, so that the page shows no bare number.
    pub(crate) fn every_call_has_a_name(list: &CallList) {
        let unnamed: Vec<_> = list
            .allowed()
            .chain(list.judged())
            .flat_map(|row| row.calls)
            .filter(|name| name.starts_with("syscall "))
            .collect();

        assert!(unnamed.is_empty(), "{}: {unnamed:?}", list.kind);
    }
}
