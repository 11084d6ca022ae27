//! Updates from outside, one test program.

mod client;
mod cut;
mod preflight;
mod publishing;
