//! Updates from outside, one test program.

mod cut;
