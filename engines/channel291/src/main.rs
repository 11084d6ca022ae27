//! **TEST ONLY.** The interpreter of July 2024, which crashes on a field that it has not got; never dock it
//! on a machine.
//!
//! It reads every `*.table` of its content folder and denies what matches an instance. A cell is compared with
//! the input of the same place in [`FIELDS`], and only if it is no wildcard. The code supplies
//! [`SUPPLIED`] inputs, and the names know one more: the place of `ipc_name` lies past their end, and
//! nothing checks it. That is the fault, and it is kept: see the README.

mod engine;
mod inputs;
mod table;

use std::process::ExitCode;

/// What whoever starts it, by hand or as an engine, is told first.
const NOTICE: &str = "outrigger-engine-channel291 is a TEST: it crashes on content that its manifest may \
                      call good. Never dock it on a machine that anybody needs";

fn main() -> ExitCode {
    eprintln!("{NOTICE}");
    outrigger_sdk::run(engine::Channel291::default())
}
