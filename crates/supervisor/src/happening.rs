//! What a supervisor is given and what it tells.

use std::os::fd::OwnedFd;

use outrigger_api::settings::{EngineConfig, Manifest};
use outrigger_api::{Event, FailureReason};
use outrigger_dock::{Feed, VerdictReader};

/// An engine's place in the list that the supervisor was made with; less than 64.
pub type EngineIndex = usize;

/// One engine as configured.
#[derive(Debug, Clone)]
pub struct EngineSpec {
    /// What its vendor says.
    pub manifest: Manifest,
    /// What the administrator says.
    pub config: EngineConfig,
    /// The events that it will be asked about or told of.
    pub events: Vec<Event>,
}

/// The host's ends of what questions and answers go through. Made anew for each process.
#[derive(Debug)]
pub struct Link {
    /// Questions and notices to the engine.
    pub events: Feed,
    /// Its verdicts, hostile.
    pub verdicts: VerdictReader,
    /// Content descriptors to the engine ([`outrigger_dock::content::send`]); `None` if it was
    /// granted no content.
    pub content: Option<OwnedFd>,
}

/// How much a line of an engine matters, as the engine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// Information.
    Info,
}

/// What happened to an engine.
#[derive(Debug)]
pub enum Happening {
    /// It has a process, which is not docked yet.
    Starting(EngineIndex),
    /// It takes questions from now on.
    Docked(EngineIndex, Box<Link>),
    /// Its process is gone or as good as gone: no answer of it counts any more. Comes for a process
    /// that had not docked as well. What becomes of it is decided by the next tick; until then
    /// [`crate::Supervisor::pardon`] costs it nothing.
    Lost(EngineIndex, FailureReason),
    /// It did something that counts against it or must be known, and its process goes on, or was gone
    /// already. What ends its process comes as `Lost` instead.
    Fault {
        /// The engine.
        engine: EngineIndex,
        /// What kind.
        reason: FailureReason,
        /// What, for a person, cleaned.
        detail: String,
    },
    /// It will be started again at `due`, ns of `CLOCK_MONOTONIC`.
    Waiting {
        /// The engine.
        engine: EngineIndex,
        /// When.
        due: u64,
    },
    /// It is off the dock until released, for this reason. If it had a process, `Lost` came first.
    Quarantined(EngineIndex, String),
    /// It could not be started, or was refused in the handshake, for this reason; it is not tried
    /// again until an operator restarts it.
    Failed(EngineIndex, String),
    /// An operator ended its quarantine; it starts.
    Released(EngineIndex),
    /// The process that is to take its place has docked, takes no questions yet and waits for
    /// [`crate::Supervisor::promote`].
    ReplacementReady(EngineIndex),
    /// New questions go to another process of another version from now on. The one before it goes on with
    /// what it has in hand, until `FormerEnded`.
    Replaced(EngineIndex, Box<Link>),
    /// The process that was to take its place will not. The one in its place goes on as if nothing had been.
    ReplaceFailed {
        /// The engine.
        engine: EngineIndex,
        /// What kind of failure.
        reason: FailureReason,
        /// Why, for a person, cleaned.
        why: String,
    },
    /// The process that was replaced gives no more answers: it has finished, or is gone.
    FormerEnded(EngineIndex),
    /// The process that runs in shadow beside it has docked: it takes copies of questions from now on.
    ShadowDocked(EngineIndex, Box<Link>),
    /// The process that ran in shadow is ended, or could not be started. The engine goes on as if nothing
    /// had been.
    ShadowFailed {
        /// The engine.
        engine: EngineIndex,
        /// What kind of failure.
        reason: FailureReason,
        /// Why, for a person, cleaned.
        why: String,
    },
    /// It judges by other content from now on, which it describes so: what was cached before is
    /// stale.
    ContentChanged(EngineIndex, String),
    /// It refused new content and goes on with the old; why.
    ContentRefused(EngineIndex, String),
    /// A line for the journal, from the engine or about it.
    Log {
        /// The engine.
        engine: EngineIndex,
        /// How much it matters.
        level: Level,
        /// The line, cleaned, at most 1,024 bytes.
        text: String,
    },
    /// Its sandbox refused a call. At most some per second; more are summed up in a `Log`.
    CallRefused {
        /// The engine.
        engine: EngineIndex,
        /// The call's name.
        call: String,
        /// The path of an open and the like.
        detail: Option<String>,
    },
}
