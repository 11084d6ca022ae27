//! Starts real processes and tries what they must not do.
//!
//! Needs root and control groups; without, each test says that it was skipped.

mod harness;
mod life;
mod marks;
mod own;
#[path = "../refusals/code.rs"]
mod refusals_code;
#[path = "../refusals/descriptors.rs"]
mod refusals_descriptors;
#[path = "../refusals/files.rs"]
mod refusals_files;
#[path = "../refusals/kernel.rs"]
mod refusals_kernel;
#[path = "../refusals/processes.rs"]
mod refusals_processes;
#[path = "../refusals/resources.rs"]
mod refusals_resources;
