//! A test-only engine that does what it is told, most of it forbidden.
//!
//! What it does stands in the file `behaviour` of its content folder, as words (see [`behaviour`]); it
//! reads the file when it starts and when the host tells it to read its content again. Started with
//! `attack WHAT` it uses no SDK but the bare ends of the dock, and lies through them ([`attack`]).

mod act;
mod attack;
mod behaviour;
mod judge;
mod sys;

use std::error::Error;

use crate::behaviour::Behaviour;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("usage: outrigger-engine-faulty NAME")?;
    let behaviour = Behaviour::read()?;
    if behaviour.crashes_at_start {
        std::process::abort();
    }
    match &behaviour.attack {
        Some(lie) => attack::run(&name, *lie),
        None => judge::run(&name),
    }
}
