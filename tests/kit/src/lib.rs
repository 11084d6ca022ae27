//! What runs the platform in a world of its own, and what measures and breaks it there.
//!
//! A test that puts permission marks on file systems can freeze the machine that it runs on. So every
//! such test runs in a [`world`]: mount and process namespaces of its own, with file systems that it
//! made itself, under a time limit after which the kernel ends everything in it at once, which also
//! releases whoever waits for an answer. In a world a [`lab`] starts the platform with a configuration
//! made from a [`setup`], and [`openers`], [`agent`]s and [`ways`] open files as programs do.
//!
//! Threat position: none. This crate is run by developers and never by the product.

pub mod agent;
pub mod bait;
pub mod binaries;
pub mod clock;
pub mod control;
pub mod corpus;
pub mod figures;
pub mod floor;
pub mod fuse;
pub mod histogram;
pub mod host;
pub mod lab;
pub mod matrix;
pub mod openers;
pub mod proc;
pub mod publisher;
pub mod race;
pub mod releases;
pub mod root;
pub mod setup;
pub mod shared;
pub mod stall;
pub mod suite;
mod sys;
pub mod trespass;
pub mod victim;
pub mod volume;
pub mod ways;
pub mod world;

pub use histogram::Histogram;
pub use host::Host;
pub use lab::Lab;
pub use releases::Releases;
pub use setup::{EngineSetup, Setup};
pub use victim::Victim;
pub use volume::Volume;
pub use world::World;
