//! What an engine links to dock.
//!
//! An engine is a program with one type that implements [`Engine`] and a `main` that calls [`run`]:
//!
//! ```no_run
#![doc = include_str!("../examples/tiny.rs")]
//! ```
//!
//! The host starts it in a sandbox of its own: an unprivileged user, no network, a root that holds
//! what its manifest names, its content folder at [`CONTENT_DIR`]. It reads a question's file through
//! [`Question::content`] and nothing else of the machine. `fork`, `exec`, sockets, locks, leases and
//! `ioctl` are refused there, threads are not.
//!
//! How the engine lives: two threads of the SDK, as a rule. The one that called [`run`] judges; it loads the
//! content, takes questions off the ring, and sleeps while there are none. The other waits for the
//! host's messages and hands them over. A ping is answered by the judging thread, between two
//! questions: an engine whose judge is stuck looks stuck. So does a reload happen between two
//! questions, and those that come meanwhile wait for it, unless the engine has a [`Loader`]: that one
//! reads the content on a thread of its own, and the judge goes on by the old.
//!
//! An engine that cannot bound its own time has judges ([`Engine::judges`]): threads that take turns at the ring,
//! one at a time, while the thread that called [`run`] looks at the clock, answers for a judge that is late
//! and puts the next one in his place.
//!
//! A file on FUSE or a network file system can keep its readers waiting for ever. The SDK reads such a
//! file before it asks the judge, on up to four more threads, while the judge is asked about others. It
//! takes up to [`READ_AHEAD_MAX`] bytes of memory for each thread, which the manifest's limits must leave
//! room for. From a question whose file system does not answer in time, the SDK abstains by itself.
//!
//! What an engine is told ([`Engine::notice`]) waits for nobody: the judging thread takes everything off
//! the ring as it comes, judges the questions, and handles a notice when there is no question. What waits
//! meanwhile is bounded by the host, which drops what is too much, counts it, and says so in its place
//! ([`Engine::gap`]), but not before it has warned ([`Engine::pressure`]).
//!
//! What the SDK does not do: it opens no file, and it catches no panic. A panic ends the process, the
//! host answers what was open by its rules, and starts the engine again.
//!
//! Deadlines: for a question whose deadline has passed the SDK sends nothing. It does not hand it to
//! the judge if it came too late, nor sends the verdict if that came too late: the host has answered
//! by then, and a late answer is a fault that counts against the engine.

#![forbid(unsafe_code)]

mod clock;
mod content;
mod desk;
mod engine;
mod inbox;
#[cfg(feature = "kit")]
pub mod kit;
mod lane;
mod listener;
mod loading;
mod notice;
mod question;
mod run;
mod shift;
mod table;

pub use content::{Content, ContentAbsent, READ_AHEAD_MAX};
pub use engine::{Engine, Judgement, Loaded, Loader};
pub use notice::{Notice, Pressure};
pub use outrigger_api::record::notice::DecidedBy;
pub use outrigger_api::record::{Endpoint, RuleOutcome};
pub use outrigger_api::{
    Answer, CaseId, Event, EventSet, FileKey, Loss, LossCause, Lost, ProcessKey, Verdict,
};
pub use question::Question;
pub use run::{CONTENT_DIR, Ended, RunError, content_dir, run, run_in, run_on};
pub use shift::{Judges, LATE_MAX, Shift};
