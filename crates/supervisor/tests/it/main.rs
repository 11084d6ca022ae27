//! A supervisor with real sockets and rings: processes are played by the tests (`world.rs`), but for
//! `real.rs`, which starts some in a sandbox.

mod commands;
mod docking;
mod endings;
mod faults;
mod real;
mod replacing;
mod shadowing;
mod world;
