//! Plays the platform unattended, in a world of its own, and says what happens as it happens.
//!
//! Ends with 0 only if all of it held. Nothing that it mounts, marks or starts outlives it.

mod acts;
mod teller;

use std::process::ExitCode;
use std::time::Duration;

use outrigger_testkit::{Lab, World, agent, figures};

use crate::teller::Teller;

/// After this everything in the world is killed and the demonstration has failed.
const LIMIT: Duration = Duration::from_secs(50);

fn main() -> ExitCode {
    if let Some(code) = agent::played() {
        return code;
    }
    World::within(LIMIT, |world| Ok(play(&Lab::new(world)))).unwrap_or_else(|error| {
        figures::say(format_args!("not played: {error:#}"));
        ExitCode::FAILURE
    })
}

fn play(lab: &Lab) -> ExitCode {
    let mut teller = Teller::default();
    let played = acts::protection(lab, &mut teller).and_then(|()| acts::faults(lab, &mut teller));
    match played {
        Ok(()) => {
            teller.end();
            ExitCode::SUCCESS
        }
        Err(error) => {
            teller.fail(&error, &lab.logs());
            ExitCode::FAILURE
        }
    }
}
