//! Rules: decisions in the path, of which no engine is asked.
//!
//! A [`Rule`] names events, a [`Condition`] on the facts of one, and an [`Effect`]. A set of them is
//! compiled ([`compile`]) to one [`Image`], a run of bytes that the host and the BPF programs evaluate
//! alike (`crates/sensor/bpf/rules.h` says how it is laid out). Filters are rules too: their effect is
//! that an engine is told.
//!
//! What comes of an event: a Deny of any enforced rule denies; else an Allow of any rule allows, and
//! nobody is asked; else no rule has decided. Order between rules means nothing.
//!
//! The way of a set: each condition is brought into clauses (`normal`), numbers become intervals and texts
//! one automaton per place (`tables`, `automaton`), so that a decision takes about as long with a
//! thousand rules as with ten.

mod atom;
mod automaton;
mod compile;
mod error;
mod evaluate;
mod facts;
pub mod filter;
#[cfg(any(test, feature = "generate"))]
pub mod generate;
mod image;
mod layout;
mod marks;
mod normal;
mod ranges;
pub mod reading;
mod rule;
mod tables;

pub(crate) use atom::follows;
pub use compile::{Compiled, MARK_NAME_MAX, RULE_NAME_MAX, compile};
pub use error::CompileError;
pub use facts::{Facts, Lineage, LineageKey, longest};
pub use image::{Decision, Image, ImageError};
pub use layout::{
    ATOMS, BOUNDS, CLAUSES, LINEAGE_MAX, LITERALS, MARKS, PAGE, PAGES, STATES, TIMED, WORDS,
};
pub use marks::MarkNames;
pub use normal::{DEPTH_MAX, WORK_MAX};
pub use rule::{
    Cidr, Comparison, Condition, Effect, Mark, Number, Pattern, Process, Rule, Source, Text,
};

#[cfg(test)]
mod tests;
