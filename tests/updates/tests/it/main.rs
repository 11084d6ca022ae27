//! Updates from outside, one test program.

mod client;
mod command;
mod cut;
mod preflight;
mod publishing;
