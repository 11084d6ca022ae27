//! YARA rules, searched for by YARA-X: an engine that looks into what a file holds.
//!
//! The content folder holds rule files, `NAME.yar` or `NAME.yara`, each a namespace of its own. A file that a
//! rule matches is denied, under the rule's name; `private` rules deny nothing by themselves. A folder is
//! taken whole or not at all: after an error, which is told with file and line, the rules that were in force
//! stay so. A reload compiles on a thread of its own, and questions are judged by the old rules until the new
//! ones and a scanner for them are ready. A verdict depends on the bytes alone, so what would make it depend on more is not there: no
//! `include`, no `time` module, no external variables.
//!
//! **Time.** YARA-X looks at its own time limit once a second, which is longer than a question may take, and
//! cannot be stopped. So the SDK looks at the clock ([`outrigger_sdk::Engine::judges`]): a file whose reading and
//! scan take longer than [`Options::scan_time`], or three quarters of what is left to the question, is abstained from, and
//! the scan is left to itself; YARA-X ends it some two seconds later. The next question gets another scanner.
//! While [`outrigger_sdk::LATE_MAX`] scans are late, further questions are abstained from at once.
//!
//! **Size.** Of a file over [`Options::scan_bytes`] the beginning is scanned, or nothing and the engine
//! abstains: [`OverSize`].
//!
//! **No code is made at run time.** YARA-X compiles conditions to WebAssembly; this build runs it in
//! Wasmtime's interpreter, so the engine needs no memory that it can write and execute.

#![forbid(unsafe_code)]

mod engine;
mod options;
mod rules;

pub use engine::Yara;
pub use options::{Options, OptionsError, OverSize};
pub use rules::{ALL_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, RuleSet, RulesError};
