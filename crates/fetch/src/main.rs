//! `outrigger-fetch`, the confined child that downloads.

#![forbid(unsafe_code)]

fn main() {}
