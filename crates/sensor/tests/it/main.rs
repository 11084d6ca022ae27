//! The sensors on real file systems and processes: each test makes happen what is to be seen.
//!
//! Needs root; without, each test says that it was skipped.

mod agreement;
mod changes;
mod groups;
mod harness;
mod kernel_rules;
mod lineage;
mod processes;
mod recordings;
mod sys;
mod watch;
