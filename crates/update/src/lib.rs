//! Releases of engines: verified, staged, tried out and put in force, on one machine.
//!
//! ```text
//!  repository ──bytes──▶ package ──files──▶ store ──slot──▶ preflight ──report──▶ store
//!  TUF: who signed       format: what       two slots a part,     the interpreter that     active, or
//!  what, how old         may lie in it      journal of states     will run it, recorded    rejected
//!  it may be                                (SQLite, chained)     events, limits           with the reason
//! ```
//!
//! Nothing here starts an engine or opens a socket to the network: a confined child downloads
//! ([`repository::ChildTransport`]), and who interprets is a trait, whose implementation lives with whoever
//! starts engines.
//!
//! Threat position: everything that comes from a repository is hostile until its signatures were checked,
//! and a signed package is still a vendor's: its archive, its manifest, its content are parsed with
//! limits, in one place each, and no byte of it is written outside its slot.

#![forbid(unsafe_code)]

pub mod boot;
pub mod content;
pub mod finding;
mod misses;
pub mod package;
pub mod preflight;
pub mod probation;
pub mod publish;
pub mod readings;
pub mod repair;
pub mod repository;
pub mod rollout;
pub mod shadow;
pub mod store;
mod words;
