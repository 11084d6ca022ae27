//! The contract between sensors, host and engines.
//!
//! Everything that crosses a trust boundary of Outrigger is defined here, once: the event catalogue,
//! verdicts, failure reasons, coverage, the engine manifest, the host configuration, the records of
//! the shared-memory rings, the control frames of the dock and the operator's control protocol.
//!
//! Threat position: the codecs of this crate parse bytes from engines, packages and configuration
//! files, all hostile. They never panic and never allocate more than the limits named beside them.
//! The crate does no I/O but reading a named configuration file, keeps no clock and owns no thread.

#![forbid(unsafe_code)]

pub mod attribute;
pub mod catalogue;
pub mod content;
pub mod control;
pub mod coverage;
pub mod fetch;
pub mod frame;
pub mod key;
pub mod ledger;
pub mod loss;
pub mod reason;
pub mod record;
pub mod release;
pub mod sample;
pub mod settings;
pub mod verdict;

pub use catalogue::{Event, EventSet};
pub use content::{ContentType, EventInput, Interprets};
pub use coverage::Coverage;
pub use key::{CaseId, EngineName, FileKey, ProcessKey};
pub use loss::{Loss, LossCause, Lost};
pub use reason::FailureReason;
pub use verdict::{Answer, Mode, Verdict};
