//! Lets rules decide in the kernel, and measures it.
//!
//! ```text
//! ruled measure             open, read and close: without rules, with 10, with 1,000
//! ```
//!
//! For a guest whose kernel takes BPF programs at security hooks; see `tests/vm`. Ends with 2 if the kernel lets rules
//! decide nothing.
#![expect(clippy::print_stdout, reason = "what it found is its result")]

mod measure;

use std::error::Error;
use std::process::ExitCode;

use outrigger_api::{Event, Mode};
use outrigger_decision::rules::{
    Condition, Effect, LineageKey, MarkNames, Pattern, Rule, Source, Text, compile,
};
use outrigger_sensor::plane::{Plane, Settings};
use rustix::mount::{MountFlags, mount};

const KEY: [u8; 16] = [7; 16];

/// Where all happens: a file system of this test's own.
const PLACE: &str = "/ruled";

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let what = arguments.first().map_or("", String::as_str);
    let seconds = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let settings = Settings { lineage_key: KEY, own: Vec::new(), ..Settings::default() };
    let ruling = match Plane::open(&settings) {
        Ok(plane) => Ruling { plane, generation: 0, names: MarkNames::default() },
        Err(error) => {
            println!("no plane: {error}: {:?}", error.source().map(ToString::to_string));
            return ExitCode::from(2);
        }
    };
    let refused = ruling.plane.trials().iter().find(|trial| trial.event == Event::FileOpen);
    if let Some(Err(why)) = refused.map(|trial| &trial.ruled) {
        println!("{why}");
        return ExitCode::from(2);
    }
    let run = match what {
        "measure" => measure::run,
        _ => {
            println!("nothing of the name {what:?}");
            return ExitCode::FAILURE;
        }
    };
    match place().and_then(|()| run(ruling, seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the place.
fn place() -> Outcome {
    std::fs::create_dir_all(PLACE)?;
    mount("ruled", PLACE, "tmpfs", MountFlags::empty(), None)?;
    Ok(())
}

/// Rules in the kernel.
struct Ruling {
    plane: Plane,
    generation: u64,
    names: MarkNames,
}

impl Ruling {
    /// Puts a set in force in place of the one before.
    fn replace(&mut self, rules: &[Rule]) -> Outcome {
        self.generation += 1;
        let compiled = compile(rules, &LineageKey(KEY), self.generation, &self.names)?;
        self.plane.set_rules(compiled.image.bytes())?;
        self.names = compiled.marks;
        Ok(())
    }
}

/// A rule about one event.
fn rule(name: &str, event: Event, effect: Effect, when: Condition) -> Rule {
    Rule {
        name: name.to_owned(),
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect,
        events: vec![event],
        when,
    }
}

/// The object's path begins so.
fn under(folder: &str) -> Condition {
    Condition::Text { place: Text::Path, is: Pattern::Begins(folder.to_owned()) }
}
