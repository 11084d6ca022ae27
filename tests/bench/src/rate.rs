//! How many opens eight processes finish in a while.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use outrigger_testkit::agent::Agent;
use outrigger_testkit::clock::{now, ns};
use outrigger_testkit::histogram::Summary;

const PROCESSES: usize = 8;
/// How long they open.
pub const ROUND: Duration = Duration::from_secs(2);
/// From the start of the last process to the start of the measurement.
const LEAD: Duration = Duration::from_millis(50);

/// Opens of eight processes together within [`ROUND`], each beginning elsewhere among the `files` files of
/// `folder`.
///
/// # Errors
///
/// If a process cannot be started or does not tell its count.
pub fn of_eight(folder: &Path, files: usize) -> Result<u64> {
    let folder = folder.to_str().context("a path is not UTF-8")?;
    let start = now() + ns(LEAD) * PROCESSES as u64;
    let stop = start + ns(ROUND);
    let (count, start, stop) = (files.to_string(), start.to_string(), stop.to_string());
    let mut openers = Vec::new();
    for index in 0..PROCESSES {
        let first = (index * files / PROCESSES).to_string();
        let mut opener = Agent::start("rate", &[folder, &count, &first, &start, &stop, "close"])?;
        opener.ready()?;
        openers.push(opener);
    }
    let mut opens = 0;
    for opener in &mut openers {
        opens += opener.result::<Summary>()?.count;
    }
    Ok(opens)
}
