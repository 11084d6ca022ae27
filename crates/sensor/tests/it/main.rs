//! The sensors on real file systems and processes, each test on file systems of its own.
//!
//! Needs root; without, each test says that it was skipped.

mod changes;
mod harness;
