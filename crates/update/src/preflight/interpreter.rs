//! What runs a release while it is tried: a trait, since who starts processes is not this crate.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use outrigger_api::Verdict;
use outrigger_api::sample::Sample;

use crate::preflight::Reason;

/// An engine in its sandbox, of the code that is tried.
///
/// Questions are put one at a time: so a latency is the engine's own, and what it breaks on is the question
/// that it had.
pub trait Interpreter {
    /// Starts it on the folder `content` and waits until it is docked, at most as long as its manifest
    /// says. One that runs is ended before.
    ///
    /// # Errors
    ///
    /// What became of it instead.
    fn start(&mut self, content: Option<&Path>) -> Result<Started, Broken>;

    /// Puts one question and waits for its answer.
    ///
    /// # Errors
    ///
    /// If it does not run any more, or sent what is no answer.
    fn ask(&mut self, question: &Asked<'_>) -> Result<Reply, Broken>;

    /// What it uses now.
    fn usage(&mut self) -> Usage;

    /// Reads the rules for the platform that lie in the folder `content`, for [`Self::judge`]; `None` if there are
    /// none.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them; or why they could not be read.
    fn rules(&mut self, content: &Path) -> Result<Option<RuleCount>, RulesRefused>;

    /// What the rules that were read say of an event.
    fn judge(&mut self, sample: &Sample) -> RuleWord;

    /// Ends it, if it runs.
    fn end(&mut self);
}

/// The rules of a release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleCount {
    /// How many.
    pub rules: usize,
    /// Clauses that they become, guard rails included.
    pub clauses: usize,
    /// The events that they are about and that are never recorded.
    pub unrecorded: Vec<&'static str>,
}

/// Rules that are not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesRefused {
    /// What is wrong with them, each with its file and line.
    Wrong(Vec<String>),
    /// This machine could not read them.
    Host(String),
}

/// What rules say of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleWord {
    /// Nothing.
    Silent,
    /// This one denies it.
    Denies(String),
    /// One may deny it: that depends on what the recording does not tell.
    Unknown,
}

/// An engine that has docked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// How long that took.
    pub took: Duration,
    /// What it says of the content that it read.
    pub description: String,
    /// What of its sandbox does not hold on this machine; empty if all does.
    pub sandbox_missing: Vec<String>,
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The event.
    pub sample: &'a Sample,
    /// The object's bytes; `None` if engines were given none.
    pub object: Option<Object<'a>>,
}

/// The bytes of an object.
#[derive(Debug, Clone, Copy)]
pub enum Object<'a> {
    /// These.
    Bytes(&'a [u8]),
    /// Those of this file, from its beginning.
    File(&'a File),
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answered {
        /// The verdict.
        verdict: Verdict,
        /// What the engine says of it; hostile text.
        detail: String,
        /// From the question to the answer.
        latency: Duration,
    },
    /// None within the budget, however often it was asked: what other work on the machine made late is
    /// asked again before.
    Missed,
}

/// The engine does not run any more, or what it sends means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its process ended by itself.
    #[error("it crashed: {0}")]
    Crashed(String),
    /// It used more memory than its manifest asks for.
    #[error("it was ended at its memory limit of {limit_bytes} bytes")]
    OutOfMemory {
        /// The limit.
        limit_bytes: u64,
    },
    /// It did not dock in time.
    #[error("it was not docked after {} ms, its manifest's `start_ms`", .0.as_millis())]
    StartTimeout(Duration),
    /// It ended because it does not take its content; what it says.
    #[error("it refused its content: {0}")]
    Refused(String),
    /// It gave no sign of life.
    #[error("it gave no sign of life for {} ms, its manifest's `hang_ms`", .0.as_millis())]
    Hung(Duration),
    /// It sent what is no part of the contract.
    #[error("it sent garbage: {0}")]
    Garbage(String),
    /// It could not be tried, and not for a fault of its own.
    #[error("it could not be tried: {0}")]
    Host(String),
}

impl Broken {
    /// The reason for which a release that ends so is rejected.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Crashed(_) => Reason::Crashed,
            Self::OutOfMemory { .. } => Reason::OutOfMemory,
            Self::StartTimeout(_) => Reason::StartTimeout,
            Self::Refused(_) => Reason::ContentRefused,
            Self::Hung(_) => Reason::Hung,
            Self::Garbage(_) => Reason::Garbage,
            Self::Host(_) => Reason::NotTried,
        }
    }
}

/// What an engine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Memory charged to it, in bytes; `None` where that cannot be told.
    pub memory_bytes: Option<u64>,
    /// CPU time since its start; `None` where that cannot be told.
    pub cpu: Option<Duration>,
}

/// One recorded event and what there is of its object.
#[derive(Debug)]
pub struct Evidence {
    /// The event.
    pub sample: Sample,
    /// The object.
    pub material: Material,
}

/// What there is of a recorded object.
#[derive(Debug)]
pub enum Material {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// The file that it lies in, found to have the recorded sum.
    File(File),
    /// Engines were given none when it was recorded.
    NotGiven,
    /// Its bytes are not to be had any more; why.
    Gone(&'static str),
}
