//! Preflight: whether a release may decide, found out before it does.
//!
//! ```text
//!  compatibility ─▶ schema ─▶ rules ─▶ start ─▶ known-good ─▶ own-events ─▶ instances ─▶ samples ─▶ latency, memory
//!  code ↔ content   files,    for the  in the   corpus of a   this          each field   what the   over all that
//!                   fields    platform sandbox  base system   machine's     both ways    vendor     was asked
//!                                                             recordings                 brings
//! ```
//!
//! The first five words hold for every release; the rest as far as there is something to try. The engine is
//! started and asked through [`Interpreter`], which is the very code, sandbox and limits that it will run
//! with; who starts processes implements it. The first check that fails ends it: what comes after is said
//! not to have been tried.
//!
//! What decides is evidence, so its lack is a result as well: an object that is gone, a question from which
//! the engine abstained, a corpus that is not there are counted and told, and under a minimum the release is
//! not put in force ([`Limits::samples_min`]).

mod blame;
mod course;
mod instances;
mod interpreter;
mod limits;
mod reason;
mod replay;
mod report;

use std::path::Path;

use outrigger_api::release::Part;
use semver::Version;

use crate::content::{Code, Declaration};
pub use interpreter::{
    Asked, Broken, Evidence, Interpreter, Material, Object, Reply, RuleCount, RuleWord,
    RulesRefused, Started, Usage,
};
pub use limits::Limits;
pub use reason::{CheckName, Reason};
pub use report::{Check, Finding, Outcome, Report, Versions};

/// What is tried: a release together with the other part of its engine that it would run with.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Which part is new.
    pub part: Part,
    /// The code.
    pub code: Code<'a>,
    /// The content; `None` for an engine that has none.
    pub content: Option<Offered<'a>>,
    /// An empty folder for content that is made up. The engine's user must be able to reach it.
    pub scratch: &'a Path,
}

/// Content as it lies in its slot.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// The version of its release; `None` for a folder that an administrator fills by hand.
    pub version: Option<&'a Version>,
    /// Its folder.
    pub folder: &'a Path,
    /// What its release says of it; `None` for a folder that an administrator fills by hand, whose type is
    /// then what the code reads.
    pub declared: Option<&'a Declaration>,
}

/// Recorded events and their objects.
pub struct Corpora<'a> {
    /// Of a base system, all of it known to be good.
    pub known_good: &'a mut dyn Iterator<Item = Result<Evidence, String>>,
    /// Recent ones of this machine.
    pub own: &'a mut dyn Iterator<Item = Result<Evidence, String>>,
}

impl std::fmt::Debug for Corpora<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Corpora").finish_non_exhaustive()
    }
}

/// How far it is, for a person who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub check: CheckName,
    /// Questions asked, or trials made.
    pub done: u64,
    /// Of how many, where that is known.
    pub of: Option<u64>,
}

/// Tries `candidate` out. The engine is ended when it returns, whatever came of it.
pub fn run(
    candidate: &Candidate<'_>,
    corpora: Corpora<'_>,
    interpreter: &mut dyn Interpreter,
    limits: &Limits,
    progress: &mut dyn FnMut(Progress),
) -> Report {
    let mut course = course::Course::new(candidate, interpreter, limits, progress);
    course.run(corpora);
    course.finish()
}

#[cfg(test)]
mod tests;
