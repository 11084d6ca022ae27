//! Rows that are played one after the other, each in a world of its own, by a program that starts itself again for
//! each and is told what came of it in a file.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::world::Ended;
use crate::{Lab, World, stall};

/// Starts this program again in a world of its own with `flags`, and with `--inside ROW --outcome FILE`, which it
/// has to answer with [`inside`]; gives what came of the row, or why nothing did.
///
/// # Errors
///
/// If no world can be made, or what the row left cannot be read.
pub fn apart<T: DeserializeOwned>(
    row: &str,
    flags: &[String],
    limit: Duration,
) -> Result<Result<T, String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("outcome.json");
    let path = file.to_string_lossy().into_owned();
    let own = ["--inside".to_owned(), row.to_owned(), "--outcome".to_owned(), path];
    let arguments: Vec<String> = flags.iter().cloned().chain(own).collect();
    Ok(match World::run(&arguments, limit)? {
        Ended::By(status) if status.success() => {
            let text = fs::read(&file).context("the row left no outcome")?;
            Ok(serde_json::from_slice(&text).context("the row's outcome cannot be read")?)
        }
        Ended::By(_) => Err("it could not be played, see above".to_owned()),
        Ended::TimedOut(doing) => Err(format!(
            "not done after {} s; it was doing:\n{}",
            limit.as_secs(),
            doing.join("\n")
        )),
    })
}

/// In the world: plays `row` and leaves what came of it in `file`.
///
/// # Errors
///
/// If this is no process in a world, or the file cannot be written. A row that cannot be played is told, and is
/// no error here.
pub fn inside<T: Serialize>(
    row: &str,
    file: &Path,
    play: impl FnOnce(&Lab) -> Result<T>,
) -> Result<ExitCode> {
    let world = World::entered()?.context("--inside is for processes in a world")?;
    stall::watch();
    let lab = Lab::new(world);
    match play(&lab) {
        Ok(outcome) => {
            fs::write(file, serde_json::to_vec(&outcome)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            say(true, &format!("{row}: {error:#}\n{}", lab.logs()));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Says it where people read, on the stream for errors if it is to stay `apart` from what is printed; nobody
/// reads it if it cannot be written.
pub fn say(apart: bool, text: &str) {
    if apart {
        let _ = writeln!(std::io::stderr(), "{text}");
    } else {
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}
