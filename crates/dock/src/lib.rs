//! The shared-memory rings and the handshake between host and engine, both ends.
//!
//! One engine is docked by three things: a control socket ([`control`]), over which the handshake
//! ([`handshake`]) and the signs of life go; two rings in shared memory, events to the engine and
//! verdicts from it ([`EventWriter`] to [`EventReader`], [`VerdictWriter`] to [`VerdictReader`]); and
//! a socket for content descriptors ([`content`]). An engine starts with the control socket as
//! descriptor [`CONTROL_FD`] and the content socket as [`CONTENT_FD`]; the rings come with the
//! `Welcome`.
//!
//! Who sleeps and who wakes: the reader of a ring says through its [`Doorbell`] that it is about to
//! sleep, looks once more, and sleeps; the writer wakes it only if it said so. A busy reader costs the
//! writer no system call.
//!
//! Threat position: on the host's ends the peer is a hostile engine, which can write any byte of the
//! shared memory at any time. Every cursor it can move is checked before use, every record is copied
//! out once and only the copy is looked at, and nothing the host wrote there is ever read back. The
//! worst an engine gets is an error that names its ring as corrupt, too many wake-ups of its own
//! host thread, or no wake-up at all for itself. No end allocates after it was made.

pub mod content;
pub mod control;
mod doorbell;
mod feed;
pub mod handshake;
mod inherit;
mod memory;
mod ring;
mod rings;
mod sys;

pub use doorbell::{BELLS_MAX, Doorbell, Waker, sleep};
pub use feed::{Feed, QUESTION_ROOM, Told};
pub use inherit::inherited;
pub use ring::{PushError, RingCorrupt};
pub use rings::{EventReader, EventWriter, VerdictReader, VerdictWriter};

/// Data bytes of an event ring: room for more of the longest records than an engine is handed at a
/// time, and small enough to stay in a processor's cache as it goes round.
pub const EVENT_RING_BYTES: u32 = QUESTION_ROOM;
/// Data bytes of the event ring of an engine that is told of things: what it may leave unhandled is this
/// but [`QUESTION_ROOM`], some thousand notices.
pub const NOTICE_RING_BYTES: u32 = 1 << 21;
/// Data bytes of a verdict ring, by the same measure.
pub const VERDICT_RING_BYTES: u32 = 1 << 14;
/// An engine's descriptor of its control socket.
pub const CONTROL_FD: i32 = 3;
/// An engine's descriptor of its content socket.
pub const CONTENT_FD: i32 = 4;
