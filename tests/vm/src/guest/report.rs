//! What is told to the one who started the guest.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use outrigger_testkit::stall;
use outrigger_vm_tests::Outcome;

/// The results so far; each is told as it comes.
#[derive(Debug, Default)]
pub(crate) struct Report {
    failed: usize,
}

impl Report {
    /// Tries one thing and tells what came of it. The next is tried all the same.
    pub(crate) fn test(&mut self, name: &str, body: impl FnOnce() -> Result<String>) {
        match body() {
            Ok(detail) => self.tell(true, name, &detail),
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
    }

    /// Tells that something did not hold.
    pub(crate) fn fail(&mut self, name: &str, why: &str) {
        self.failed += 1;
        self.tell(false, name, why);
    }

    /// Whether anything did not hold so far.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// 0 if everything held.
    pub(crate) fn code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    #[expect(clippy::unused_self, reason = "only who has the report tells")]
    fn tell(&self, held: bool, name: &str, detail: &str) {
        let outcome = Outcome { held, name: name.to_owned(), detail: detail.to_owned() };
        say(outcome);
    }
}

/// Prints a line at once.
pub(crate) fn say(text: impl Display) {
    let mut out = std::io::stdout().lock();
    // Nobody reads it any more if it cannot be written, so nothing is lost.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Checks that `what` took at most `limit` ms, and tells both. Where the machine itself stood still
/// meanwhile (its processors are threads of a busy machine), as much more is allowed, and said.
pub(crate) fn at_most(what: &str, ms: f64, limit: f64) -> Result<String> {
    let stood_still = stall::longest_ms();
    let said = format!("{what} {ms:.0} ms of {limit:.0}");
    if ms <= limit {
        return Ok(said);
    }
    ensure!(ms <= limit + stood_still, "{said}; the machine stood still for {stood_still:.0} ms");
    Ok(format!("{said}, {stood_still:.0} ms of them the machine stood still"))
}
