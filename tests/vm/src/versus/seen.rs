//! What was seen of one guest, from outside.

use std::time::{Duration, Instant};

use outrigger_testkit::figures::say;
use outrigger_vm_tests::{Beat, Said};

use crate::machine::{End, Next, tell_last};

/// What the guest says when the table with the fault comes.
const UPDATE: &str = "update";

/// A guest, as its lines came.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When it came up, each time.
    ups: Vec<Instant>,
    updated: Option<Instant>,
    facts: Vec<(String, String)>,
    /// The last of before the update, the first of after it, and the last.
    before: Option<Beat>,
    first: Option<Beat>,
    pub(super) after: Option<Beat>,
    /// Beats of a guest that has booted again.
    pub(super) beats_of_later_boots: usize,
    /// What did not hold, as the guest tells.
    pub(super) wrong: Vec<String>,
    pub(super) ended: Option<End>,
    /// Between the update and the end of the watch.
    pub(super) watched: Duration,
    console: Vec<String>,
    text: Vec<String>,
}

impl Seen {
    /// Takes a line; a guest that has booted again so often has shown enough.
    pub(super) fn take(&mut self, line: &str, verbose: bool, boots: usize) -> Next {
        if verbose {
            say(format_args!("  {line}"));
        }
        match Said::parse(line) {
            Said::Up(_) => {
                self.ups.push(Instant::now());
                // The last of them has only begun.
                if self.ups.len() > boots + 1 {
                    return Next::Enough;
                }
            }
            Said::Beat(_) if self.ups.len() > 1 => self.beats_of_later_boots += 1,
            Said::Beat(beat) if self.updated.is_some() => {
                self.first.get_or_insert_with(|| beat.clone());
                self.after = Some(beat);
            }
            Said::Beat(beat) => self.before = Some(beat),
            Said::Fact(name, text) => {
                say(format_args!("  {name}: {text}"));
                if name == UPDATE {
                    self.updated = Some(Instant::now());
                }
                self.facts.push((name, text));
            }
            Said::Result(outcome) if !outcome.held => self.wrong.push(outcome.detail),
            Said::Result(_) => {}
            Said::Exit(code) => return Next::Ended(code),
            Said::Text(text) => self.text.push(text),
        }
        Next::Listen
    }

    /// What the end was, and what the kernel said.
    pub(super) fn end(&mut self, end: End, console: &[u8]) {
        self.ended = Some(end);
        self.watched = self.updated.map(|at| at.elapsed()).unwrap_or_default();
        let text = String::from_utf8_lossy(console);
        let lines = text.lines().map(|line| line.trim_end_matches('\r'));
        self.console = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
    }

    /// How the work stood when the update had come.
    pub(super) fn base(&self) -> Option<&Beat> {
        // Where the machine was gone at once, that is the last that was heard.
        self.first.as_ref().or(self.before.as_ref())
    }

    /// What is to be said of the last thing called `name`.
    pub(super) fn fact(&self, name: &str) -> Option<&str> {
        let found = self.facts.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, text)| text.as_str())
    }

    /// How often it came up again.
    pub(super) fn boots_again(&self) -> usize {
        self.ups.len().saturating_sub(1)
    }

    /// How often the kernel said a line with `words`, and the first, without its time.
    pub(super) fn kernel_said(&self, words: &str) -> (usize, Option<String>) {
        let mut lines = self.console.iter().filter(|line| line.contains(words));
        let first = lines.next();
        let said = first.map(|line| line.split_once("] ").map_or(line.as_str(), |(_, text)| text));
        (usize::from(first.is_some()) + lines.count(), said.map(str::to_owned))
    }

    /// The last lines of the job and of the kernel.
    pub(super) fn tell_last(&self) {
        for (whose, lines) in [("the job", &self.text), ("the guest's kernel", &self.console)] {
            tell_last(whose, lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_vm_tests::{beat, fact};

    use super::*;

    #[test]
    fn what_comes_after_the_update_and_after_a_boot_is_told_apart() {
        let mut seen = Seen::default();
        let line = |opens| beat(&Beat { opens, ..Beat::default() }).expect("numbers");

        let lines = ["OUTRIGGER-UP 2".to_owned(), line(5), fact("update", "now"), line(6), line(7)];
        let next: Vec<Next> = lines.iter().map(|line| seen.take(line, false, 1)).collect();
        let again = seen.take("OUTRIGGER-UP 2", false, 1);
        let late = seen.take(&line(9), false, 1);
        let enough = seen.take("OUTRIGGER-UP 2", false, 1);

        assert!(next.iter().all(|next| *next == Next::Listen));
        assert_eq!((again, late, enough), (Next::Listen, Next::Listen, Next::Enough));
        assert_eq!(seen.base().map(|beat| beat.opens), Some(6));
        assert_eq!(seen.after.map(|beat| beat.opens), Some(7));
        assert_eq!(seen.beats_of_later_boots, 1);
    }
}
