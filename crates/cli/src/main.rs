//! `outrigger`, the operator's tool: asks a running host and shows what it says. And a vendor's: `outrigger package`
//! builds, signs and publishes releases ([`package`]), without a host.
//!
//! It owns nothing but its terminal: every other command is one request over the host's control socket
//! ([`outrigger_api::control`]) and its answer, as text for a person or, with `--json`, as the host
//! sent it. It never hangs: connecting, asking and waiting have a time limit, and an answer has a
//! size limit.
//!
//! Threat position: the host is trusted, but its answers carry paths and texts that anybody on the
//! machine, and any engine, can choose. Nothing of them reaches the terminal before control
//! characters are made visible ([`text`]).

#![forbid(unsafe_code)]

mod arguments;
mod link;
mod package;
mod policy;
mod preflight;
mod record;
mod repair;
mod replay;
mod run;
mod show;
mod steps;
mod table;
mod text;
mod top;
mod update;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::run::Outcome;

fn main() -> ExitCode {
    match run::run(&Arguments::parse(), &mut anstream::stdout().lock()) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(arguments::BAD),
        // The reader of our output has seen enough (`outrigger watch | head`).
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let message = text::visible_lines(&format!("{error:#}"));
            // Nothing is left to do if even the error stream is closed.
            let _ = writeln!(anstream::stderr(), "outrigger: {message}");
            ExitCode::from(run::exit_code(&error))
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
