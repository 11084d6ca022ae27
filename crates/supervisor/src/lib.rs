//! Engines' lives: start, feed, heartbeat, restart budget, quarantine.
//!
//! A [`Supervisor`] owns the processes of all engines and the sockets to them. Its caller owns the
//! thread and the clock: it polls [`Supervisor::descriptors`], sleeps no longer than until
//! [`Supervisor::next_wake`], calls [`Supervisor::ready`] and [`Supervisor::tick`], and acts on the
//! [`Happening`]s. The rings of an engine are made here and handed over when it has docked; what goes
//! through them is the caller's, who reports what it finds there ([`Supervisor::fault`],
//! [`Supervisor::misses`]).
//!
//! ```text
//! launcher ──▶ process ──Hello──▶ Welcome + rings ──Docked──▶ Happening::Docked(Link)
//!     ▲                                                            │ Ping / Heartbeat
//!     │ budget, back-off (life.rs)                                 ▼
//!     └───────────── Happening::Lost ◀── exit, hang, time-out, ring corrupt
//!                         │ budget used up, misses, garbage
//!                         ▼
//!                    Quarantined: no process, costs nothing, until released
//! ```
//!
//! Another version takes an engine's place without a gap: its process docks beside the one that decides
//! ([`Supervisor::replace`]), the caller then says when it decides ([`Supervisor::promote`]), and the one
//! before it answers what it has in hand. At no time has an engine more than two processes.
//!
//! ```text
//! unit (decides) ─────────────────────────┬──▶ former (finishes) ──▶ remains
//! rival: started ──▶ docked, ready ───────┴──▶ unit (decides)
//!           └────────── ReplaceFailed, remains    ▲ promote
//! ```
//!
//! Threat position: every byte on the control socket and on the output pipe, and every refused call,
//! is a hostile engine's. What is read from one engine per call is bounded, what is passed on of its
//! texts is cut, cleaned and rate-limited, and one that floods is ended.
//!
//! Nothing here waits, [`Supervisor::stop_all`] aside. A start takes some milliseconds in the kernel,
//! so a tick makes one at most.

#![forbid(unsafe_code)]

mod engine;
mod happening;
mod launcher;
mod life;
mod meter;
pub mod policies;
pub mod replay;
mod supervisor;
mod text;
mod unit;

pub use engine::{CommandError, ReplaceError};
pub use happening::{EngineIndex, EngineSpec, Happening, Level, Link};
pub use launcher::{LaunchError, Launcher, Process, SandboxLauncher, Start};
pub use outrigger_sandbox::Usage;
pub use supervisor::{Supervisor, Token};
