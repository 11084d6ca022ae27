//! What the virtual machine and the one who started it say to each other.
//!
//! The guest writes lines on its second serial port. Those that begin with a word of [`Said`] are
//! read; any other is the job's own output and is passed on as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

const UP: &str = "OUTRIGGER-UP";
const RESULT: &str = "OUTRIGGER-RESULT";
const EXIT: &str = "OUTRIGGER-EXIT";
const BEAT: &str = "OUTRIGGER-BEAT";
const FACT: &str = "OUTRIGGER-FACT";

/// One line of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The guest runs; seconds since its kernel started.
    Up(String),
    /// One thing was tried.
    Result(Outcome),
    /// The job ended with this status.
    Exit(i32),
    /// How the guest's work goes, some times a second.
    Beat(Beat),
    /// Something happened there: what, and what is to be said of it.
    Fact(String, String),
    /// The job's own output.
    Text(String),
}

/// What came of one thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it held.
    pub held: bool,
    /// What was tried: `subject::what_holds`.
    pub name: String,
    /// Figures, or what went wrong.
    pub detail: String,
}

/// What programs of the guest could do so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Since the guest's kernel started, ms.
    pub uptime_ms: u64,
    /// Opens that gave a file.
    pub opens: u64,
    /// Opens that were refused or failed.
    pub failed: u64,
    /// The longest that an open took, one that has not ended included, ms.
    pub longest_ms: u64,
    /// Openers that are there, of [`Self::openers`].
    pub alive: u64,
    /// Openers that were started.
    pub openers: u64,
    /// Programs that were started and did their work.
    pub programs: u64,
    /// Programs that did not come to that.
    pub programs_failed: u64,
}

/// The name of the fact that says what was proven of an event, a [`Proven`] as JSON.
pub const COVERAGE: &str = "coverage";

/// What a guest proved of one event by causing it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Its name.
    pub event: String,
    /// It was told, with the right subject and object.
    pub told: bool,
    /// Rules on object, user and lineage each denied it, and let pass what they do not match.
    pub ruled: bool,
    /// An agent was asked, and its answer was obeyed.
    pub asked: bool,
    /// What the kernel refused the sensor, where something is missing.
    pub missing: Option<String>,
}

/// The name of the fact that says what was measured, a [`Measured`] as JSON.
pub const MEASURED: &str = "measured";

/// What a guest measured: one side against another, both in the same run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What the figure is called.
    pub figure: String,
    /// What one takes on the one side, instructions.
    pub instructions: f64,
    /// What one takes on the other.
    pub against: f64,
    /// The one by the other, in the middle of the rounds.
    pub ratio: f64,
    /// The most that is promised; nothing is where it is missing.
    pub at_most: Option<f64>,
}

impl Measured {
    /// Whether it is as promised, where something is.
    pub fn is_kept(&self) -> bool {
        self.at_most.is_none_or(|most| self.ratio <= most)
    }
}

/// The line of a beat.
///
/// # Errors
///
/// None that can happen: it holds numbers only.
pub fn beat(beat: &Beat) -> Result<String, serde_json::Error> {
    Ok(format!("{BEAT} {}", serde_json::to_string(beat)?))
}

/// The line of a fact, whatever line ends `text` has.
pub fn fact(name: &str, text: &str) -> String {
    format!("{FACT} {name} {}", text.replace(['\n', '\r'], " | "))
}

impl Said {
    /// Reads a line, without its end. One with a word of ours that does not parse is text.
    pub fn parse(line: &str) -> Self {
        Self::parse_known(line).unwrap_or_else(|| Self::Text(line.to_owned()))
    }

    fn parse_known(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            UP => Some(Self::Up(rest.to_owned())),
            EXIT => rest.trim().parse().ok().map(Self::Exit),
            BEAT => serde_json::from_str(rest).ok().map(Self::Beat),
            FACT => {
                let (name, text) = rest.split_once(' ')?;
                Some(Self::Fact(name.to_owned(), text.to_owned()))
            }
            RESULT => {
                let (word, rest) = rest.split_once(' ')?;
                let (name, detail) = rest.split_once(' ').unwrap_or((rest, ""));
                let held = match word {
                    "ok" => true,
                    "FAILED" => false,
                    _ => return None,
                };
                let (name, detail) = (name.to_owned(), detail.to_owned());
                Some(Self::Result(Outcome { held, name, detail }))
            }
            _ => None,
        }
    }
}

/// One line, whatever line ends the detail has.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.held { "ok" } else { "FAILED" };
        write!(f, "{RESULT} {word} {} {}", self.name, self.detail.replace(['\n', '\r'], " | "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_as_it_was_written() {
        let outcome = Outcome {
            held: false,
            name: "shell::answers".to_owned(),
            detail: "waited 900 ms\nof 750".to_owned(),
        };

        let read = Said::parse(&outcome.to_string());

        let detail = "waited 900 ms | of 750".to_owned();
        assert_eq!(read, Said::Result(Outcome { detail, ..outcome }));
    }

    #[test]
    fn a_beat_and_a_fact_come_back_as_they_were_written() {
        let written = Beat { opens: 3, longest_ms: 17, ..Beat::default() };

        let line = beat(&written).expect("numbers");

        assert_eq!(Said::parse(&line), Said::Beat(written));
        let text = "crashed | twice".to_owned();
        assert_eq!(Said::parse(&fact("x", "crashed\ntwice")), Said::Fact("x".to_owned(), text));
    }

    #[test]
    fn what_is_no_line_of_ours_is_text() {
        let text = |line: &str| Said::Text(line.to_owned());

        assert_eq!(Said::parse("OUTRIGGER-EXIT soon"), text("OUTRIGGER-EXIT soon"));
        assert_eq!(Said::parse("OUTRIGGER-RESULT maybe x"), text("OUTRIGGER-RESULT maybe x"));
        assert_eq!(Said::parse("hello there"), text("hello there"));
        assert_eq!(Said::parse("OUTRIGGER-EXIT 3"), Said::Exit(3));
    }
}
