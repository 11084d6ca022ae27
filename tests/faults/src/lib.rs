//! The matrix of faults: each is caused once, beside a well-behaved engine and under load, and what the platform
//! made of it is told and judged: who noticed, what was counted, how long the longest open waited, what it did to the
//! other engine, how it ended.
//!
//! A row's promise stands in its entry of `row`; how it is played and measured, in `play`. Every row is played in a
//! world of its own (`outrigger_testkit::world`), so nothing of it outlives it.

mod load;
mod outcome;
mod play;
mod row;
mod run;
mod seen;
mod settings;
mod table;

pub use run::run;
pub use settings::{Compare, Settings};
