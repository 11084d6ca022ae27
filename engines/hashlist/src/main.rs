//! The engine `hashlist`; see the library. An argument, if given, is the content folder.

use std::path::Path;
use std::process::ExitCode;

use outrigger_engine_hashlist::Hashlist;
use outrigger_sdk::{CONTENT_DIR, run_in};

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1);
    run_in(Hashlist::default(), folder.as_deref().map_or_else(|| Path::new(CONTENT_DIR), Path::new))
}
