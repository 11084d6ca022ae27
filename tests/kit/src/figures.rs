//! Figures that tests measure: printed always, and an error where they break a promise.

use std::fmt::{self, Display};
use std::io::Write;

use anyhow::{Result, ensure};

use crate::stall;

/// A wait that was longer than promised.
#[derive(Debug)]
pub struct Late(String);

impl Late {
    /// As a failure of its own: tried once more, since other work on the machine does that too.
    pub fn new(what: String) -> Self {
        Self(what)
    }
}

impl Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Late {}

/// Prints one line to the test's output.
pub fn say(text: impl Display) {
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more if it cannot be written, so nothing is lost.
    let _ = writeln!(out, "    {text}");
    let _ = out.flush();
}

/// Prints `value` beside the largest that is promised.
///
/// # Errors
///
/// If it is larger.
pub fn at_most<T: PartialOrd + Display>(
    what: &str,
    value: T,
    promised: T,
    unit: &str,
) -> Result<()> {
    say(format_args!("{what}: {value:.2} {unit} (promised at most {promised} {unit})"));
    ensure!(value <= promised, "{what}: {value:.2} {unit}, promised at most {promised} {unit}");
    Ok(())
}

/// Prints the longest wait beside the one that is promised, both in milliseconds. Where the machine
/// itself stood still meanwhile, the wait may be longer by as much, and the line says so.
///
/// # Errors
///
/// [`Late`] if it is longer.
pub fn waits_at_most(what: &str, ms: f64, promised: f64) -> Result<()> {
    let stood_still = stall::longest_ms();
    let mut allowed = promised;
    if ms > promised && stood_still > 0.0 {
        say(format_args!("the machine stood still for {stood_still:.2} ms, which is allowed for:"));
        allowed += stood_still;
    }
    at_most(what, ms, allowed, "ms").map_err(|error| Late(error.to_string()).into())
}

/// Prints `value` beside the smallest that is promised.
///
/// # Errors
///
/// If it is smaller.
pub fn at_least<T: PartialOrd + Display>(
    what: &str,
    value: T,
    promised: T,
    unit: &str,
) -> Result<()> {
    say(format_args!("{what}: {value:.2} {unit} (promised at least {promised} {unit})"));
    ensure!(value >= promised, "{what}: {value:.2} {unit}, promised at least {promised} {unit}");
    Ok(())
}
