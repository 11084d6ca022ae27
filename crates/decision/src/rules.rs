//! Rules: decisions in the path, of which no engine is asked.
//!
//! A [`Rule`] names events, a [`Condition`] on the facts of one, and an [`Effect`]. A set of them is
//! compiled to one image, a run of bytes that the host and the BPF programs evaluate alike
//! (`crates/sensor/bpf/rules.h` says how it is laid out). Filters are rules too: their effect is that an
//! engine is told.
//!
//! What comes of an event: a Deny of any enforced rule denies; else an Allow of any rule allows, and
//! nobody is asked; else no rule has decided. Order between rules means nothing.

mod rule;

pub use rule::{Cidr, Comparison, Condition, Effect, Mark, Number, Pattern, Process, Rule, Source, Text};
