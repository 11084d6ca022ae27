//! The pure decision core: what is answered, when at the latest, and who decided it.
//!
//! A question comes in with the engines that are to be asked and its deadline; the [`arbiter`] holds it
//! as a case until the engines' votes, their faults or the deadline end it. What surrounds a case is
//! here as well: who takes part ([`policy`]), what a failure leads to ([`failure`]), what no engine may
//! deny ([`guard`]), what is not enforced ([`monitor`]), whose turn it is when too many ask ([`fair`], [`share`]),
//! and the two short memories that spare a second question ([`exec_once`]) and a second crash
//! ([`poison`]). [`clocks`] tells a sleep of the machine from a jump of its clock.
//!
//! The crate does no I/O, has no clock and starts no thread: time is an argument, ns of
//! `CLOCK_MONOTONIC`, and the caller writes the answers to the kernel. So everything in it can be tested
//! by calling it, and a recorded question is decided again as it was the first time.
//!
//! Threat position: case numbers and verdicts come from engines and are hostile; the arbiter refuses what
//! it did not ask for. Paths come from whoever opens a file and are hostile; see [`guard`] before one is
//! believed.
//!
//! What happens per question (open, vote, close) neither allocates nor takes time that grows with
//! anything but the number of engines and the logarithm of the cases that wait.

#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")
)]

pub mod arbiter;
pub mod clocks;
pub mod engines;
pub mod exec_once;
pub mod failure;
pub mod fair;
pub mod guard;
pub mod monitor;
pub mod poison;
pub mod policy;
pub mod rules;
pub mod share;

pub use arbiter::{Arbiter, Closed, DecidedBy, Question};
pub use engines::{EngineIndex, EngineSet};
