//! `outrigger-fetch`, the confined child that downloads. Started by an updater, with a socket as its standard
//! input; it takes no arguments and says nothing elsewhere.

#![forbid(unsafe_code)]

fn main() {
    outrigger_fetch::run();
}
