//! **TEST ONLY.** An engine that attacks its platform on command; never dock it on a machine.
//!
//! What it does stands in the file `behaviour` of its content folder, as words (see [`behaviour`]); it
//! reads the file when it starts and when the host tells it to read its content again. Words behind its name and
//! version on the command line, where a manifest puts them, come before the file. Told to
//! `attack WHAT` when it starts, it uses no SDK but the bare ends of the dock, and lies through them
//! ([`attack`]).

mod act;
mod attack;
mod behaviour;
mod judge;
mod sys;
mod tally;

use std::error::Error;

use crate::behaviour::Behaviour;

/// The version that the tests' manifests name, unless they say another.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What whoever starts it, by hand or as an engine, is told first.
const NOTICE: &str = "outrigger-engine-hostile is a TEST: it attacks the platform that docks it. \
                      Never dock it on a machine that anybody needs";

fn main() -> Result<(), Box<dyn Error>> {
    eprintln!("{NOTICE}");
    let usage = "usage: outrigger-engine-hostile NAME [VERSION [WORDS…]]";
    let name = std::env::args().nth(1).ok_or(usage)?;
    let version = std::env::args().nth(2).unwrap_or_else(|| VERSION.to_owned());
    let behaviour = Behaviour::at_start()?;
    if behaviour.crashes_at_start {
        std::process::abort();
    }
    if behaviour.garbles_at_start || behaviour.hangs_at_start {
        return attack::never_dock(behaviour.garbles_at_start);
    }
    match behaviour.attack {
        Some(lie) => attack::run(&name, &version, lie, behaviour.later),
        None => judge::run(&name, &version),
    }
}
