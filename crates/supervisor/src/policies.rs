//! Text of rules, taken in where it lies and read by a confined program of its own.
//!
//! The host reads the administrator's so, and what engines' content brings along; whoever tries a release reads its
//! rules in the same way. What comes of it is plain data, which the caller checks and compiles.

pub mod child;
pub mod folder;

/// Name of the program that reads policies, beside the one that starts it.
pub const COMPILER: &str = "outrigger-policy-compiler";
