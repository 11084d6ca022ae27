//! The engine `yara`; see the library. Its arguments: see [`Options`].

use std::process::ExitCode;

use outrigger_engine_yara::{Options, Yara};
use outrigger_sdk::run_in;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)) {
        Ok((options, folder)) => run_in(Yara::new(options), &folder),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
