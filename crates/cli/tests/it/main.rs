//! Runs the real `outrigger` against a host played by the test.

mod commands;
mod host;
mod pages;
mod policies;
mod recordings;
mod samples;
mod screen;
mod trouble;
mod updates;
