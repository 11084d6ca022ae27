//! Runs tests one after the other, each in a world of its own and under a time limit.
//!
//! The program that calls [`main`] takes the words that `cargo test` passes on: names to run (any
//! part of the name), `--exact`, `--list`. It never runs two tests at a time: they measure.

use std::env;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::Late;
use crate::world::Ended;
use crate::{Lab, World, agent, floor, stall};

/// One test.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Its name: `subject::what_holds`.
    pub name: &'static str,
    /// After this many seconds everything in its world is killed, and it has failed.
    pub limit_s: u64,
    /// What it does.
    pub body: fn(&Lab) -> Result<()>,
}

/// The reason for which a test could not be run here.
#[derive(Debug)]
pub struct Skipped(pub String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKIPPED: {}", self.0)
    }
}

impl std::error::Error for Skipped {}

/// The exit code of a test that was skipped.
const SKIPPED: u8 = 77;
/// The exit code of a test in which somebody waited longer than promised, and nothing else was wrong.
const LATE: u8 = 78;
/// The word that has one test run inside its world.
const INSIDE: &str = "--inside-world";

/// Whether the tests are to take their full time (`OUTRIGGER_TEST_FULL=1`) rather than a short one.
pub fn full() -> bool {
    env::var_os("OUTRIGGER_TEST_FULL").is_some_and(|value| value == "1")
}

/// The `main` of a program of tests.
pub fn main(tests: &[Test], pending: &[(&str, &str)]) -> ExitCode {
    if let Some(code) = agent::played() {
        return code;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [word, name] = arguments.as_slice()
        && word == INSIDE
    {
        return inside(tests, name);
    }
    outside(tests, pending, &arguments)
}

fn inside(tests: &[Test], name: &str) -> ExitCode {
    let Some(test) = tests.iter().find(|test| test.name == name) else {
        return failed(&format!("no test {name}"));
    };
    let world = match World::entered() {
        Ok(Some(world)) => world,
        Ok(None) => return failed("not inside a world"),
        Err(error) => return failed(&format!("{error:#}")),
    };
    stall::watch();
    let lab = Lab::new(world);
    match (test.body)(&lab) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Skipped>() => {
            say(&format!("    {error}"));
            ExitCode::from(SKIPPED)
        }
        Err(error) => {
            say(&format!("    {error:#}\n{}", lab.logs()));
            if error.is::<Late>() { ExitCode::from(LATE) } else { ExitCode::FAILURE }
        }
    }
}

fn outside(tests: &[Test], pending: &[(&str, &str)], arguments: &[String]) -> ExitCode {
    let (flags, names): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| argument.starts_with('-'));
    let exact = flags.iter().any(|flag| *flag == "--exact");
    let wanted = |test: &&Test| {
        let matches = |name: &&String| {
            if exact { test.name == **name } else { test.name.contains(name.as_str()) }
        };
        names.is_empty() || names.iter().any(matches)
    };
    let chosen: Vec<&Test> = tests.iter().filter(wanted).collect();
    if flags.iter().any(|flag| *flag == "--list") {
        chosen.iter().for_each(|test| say(&format!("{}: test", test.name)));
        return ExitCode::SUCCESS;
    }
    let missing = missing();
    let (mut passed, mut skipped, mut broken) = (0, 0, Vec::new());
    for test in &chosen {
        let full = env::var_os("OUTRIGGER_TEST_FULL").is_some();
        // A promise that is not kept yet is tried where somebody asks for it, by name or by full length.
        let not_yet = pending
            .iter()
            .find(|(name, _)| *name == test.name && names.is_empty() && !full)
            .map(|(_, why)| format!("NOT KEPT YET: {why}"));
        let outcome = match missing.clone().or(not_yet) {
            Some(why) => Outcome::Skipped(why),
            None => run_again_if_late(test),
        };
        match outcome {
            Outcome::Passed => passed += 1,
            Outcome::Skipped(why) => {
                skipped += 1;
                say(&format!("test {} ... SKIPPED: {why}", test.name));
            }
            Outcome::Late | Outcome::Failed => broken.push(test.name),
        }
    }
    broken.iter().for_each(|name| say(&format!("failed: {name}")));
    say(&format!("{passed} passed, {} failed, {skipped} SKIPPED", broken.len()));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

enum Outcome {
    Passed,
    Skipped(String),
    Late,
    Failed,
}

/// Runs a test, and once more, saying so, if all that was wrong is that somebody waited too long: other
/// work on the machine can do that too, but hardly twice. Whatever else is wrong counts at once.
fn run_again_if_late(test: &Test) -> Outcome {
    match run(test) {
        Outcome::Late => {
            say(&format!("test {} is tried AGAIN, for a wait longer than promised", test.name));
            run(test)
        }
        outcome => outcome,
    }
}

fn run(test: &Test) -> Outcome {
    say(&format!("test {} ...", test.name));
    let start = Instant::now();
    let arguments = [INSIDE.to_owned(), test.name.to_owned()];
    let ended = World::run(&arguments, Duration::from_secs(test.limit_s));
    let took = start.elapsed().as_secs_f64();
    let (word, outcome) = match ended {
        Ok(Ended::By(status)) if status.success() => ("ok", Outcome::Passed),
        Ok(Ended::By(status)) if status.code() == Some(i32::from(SKIPPED)) => {
            ("SKIPPED", Outcome::Skipped("see above".to_owned()))
        }
        Ok(Ended::By(status)) if status.code() == Some(i32::from(LATE)) => ("LATE", Outcome::Late),
        Ok(Ended::By(_)) => ("FAILED", Outcome::Failed),
        Ok(Ended::TimedOut(doing)) => {
            say(&format!("    not done after {} s:\n{}", test.limit_s, doing.join("\n")));
            ("FAILED", Outcome::Failed)
        }
        Err(error) => {
            say(&format!("    {error:#}"));
            ("FAILED", Outcome::Failed)
        }
    };
    say(&format!("test {} ... {word} ({took:.1} s)", test.name));
    outcome
}

/// What this machine lacks for tests that mark file systems of their own, if anything.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    floor::available().err().map(|error| format!("{error:#}"))
}

fn failed(why: &str) -> ExitCode {
    say(why);
    ExitCode::FAILURE
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more if it cannot be written, so nothing is lost.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
