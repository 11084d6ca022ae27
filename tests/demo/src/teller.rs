//! What the audience reads: an act's heading, then a tick for each thing that held.

#![expect(clippy::print_stdout, reason = "the demonstration's output is its purpose")]

use std::time::Instant;

use anyhow::{Context, Result};

/// Tells what happens, and how much of it held.
#[derive(Debug)]
pub(crate) struct Teller {
    start: Instant,
    held: usize,
}

impl Default for Teller {
    fn default() -> Self {
        Self { start: Instant::now(), held: 0 }
    }
}

impl Teller {
    /// Begins an act.
    pub(crate) fn act(&self, text: &str) {
        println!("\n{text}");
    }

    /// Does one thing; ticks it off with what it found, or ends with why it did not hold.
    pub(crate) fn step<T>(
        &mut self,
        text: &str,
        act: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        let (value, found) = act().with_context(|| text.to_owned())?;
        self.held += 1;
        let gap = if found.is_empty() { "" } else { ": " };
        println!("  ✓ {text}{gap}{found}");
        Ok(value)
    }

    pub(crate) fn end(&self) {
        println!("\nAll {} held, in {:.1} s.", self.held, self.start.elapsed().as_secs_f64());
    }

    pub(crate) fn fail(&self, error: &anyhow::Error, logs: &str) {
        println!("  ✗ {error:#}\n\n{} held before it.\n{logs}", self.held);
    }
}
