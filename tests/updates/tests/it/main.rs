//! Updates from outside, one test program.

mod client;
mod command;
mod cut;
mod deeds;
mod preflight;
mod publishing;
