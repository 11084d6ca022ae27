//! The kernel against the dock: the same content with a fault, for the same C as a kernel module and in an engine.
//!
//! Each row of the table is a guest of its own. Its machine works all the while: openers and somebody who starts
//! programs; it says some times a second how they get on, so that what it says last is what it came to. A row holds if
//! what it is there to show is what happened, whichever side looks bad by it.

mod headers;
mod row;
mod seen;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use outrigger_testkit::binaries;
use outrigger_testkit::figures::say;
use tempfile::TempDir;

use crate::job::{Boot, Clock, Failing, File, GUEST, Job, PROGRAMS, Root};
use crate::kernel::Kernel;
use crate::machine;
use crate::store::Store;
use crate::versus::row::Row;
use crate::versus::seen::Seen;

/// Times that a guest whose kernel panicked is watched booting again.
const BOOTS: usize = 3;
/// After this a guest counts as hung.
const LIMIT: Duration = Duration::from_secs(300);
/// The docked engine, of the same C.
const ENGINE: &str = "outrigger-engine-channel291c";

/// Whom the tool has fetch packages.
const FETCHER: &str = "outrigger-fetch";

macro_rules! engine_file {
    ($name:literal) => {
        include_bytes!(concat!("../../../engines/channel291/", $name))
    };
}

/// The same bytes for both sides, by the names that the guest knows.
const FILES: [(&str, &[u8]); 4] = [
    ("good.table", engine_file!("content/20/pipes.table")),
    ("bad.table", engine_file!("content/21-specific/pipes.table")),
    ("rare.table", include_bytes!("../module/rare.table")),
    ("manifest.toml", engine_file!("manifest-lies.toml")),
];

/// One row: a way to run the interpreter, and what is to be shown of it.
struct Play {
    side: &'static str,
    /// What the guest's program is told.
    word: &'static str,
    failing: Failing,
    judge: fn(&Seen) -> Row,
}

const PLAYS: [Play; 5] = [
    Play {
        side: "kernel module, oops=panic",
        word: "kernel",
        failing: Failing::BootsAgain,
        judge: row::panicked,
    },
    Play {
        side: "kernel module, Debian's default",
        word: "kernel",
        failing: Failing::LimpsOn,
        judge: row::limped,
    },
    Play { side: "docked engine", word: "preflight", failing: Failing::Ends, judge: row::refused },
    Play {
        side: "docked engine, preflight blind",
        word: "shadow",
        failing: Failing::Ends,
        judge: row::refused_in_shadow,
    },
    Play {
        side: "docked engine, preflight and shadow blind",
        word: "probation",
        failing: Failing::Ends,
        judge: row::rolled_back,
    },
];

/// Plays every row whose side holds one of `filters`, or all without any, on `kernel`, prints the table and writes it to `report`; whether all of it held.
///
/// # Errors
///
/// If a guest cannot be started, the module is not built though there are headers, or the report not written.
pub(crate) fn run(
    store: &Store,
    kernel: &Kernel,
    root: &Path,
    report: &Path,
    filters: &[String],
    verbose: bool,
) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let module = match headers::get(store, kernel) {
        Ok(headers) => Some(headers::build(&headers, folder.path())?),
        Err(error) => {
            say(format_args!("the rows of the kernel module are SKIPPED: {error:#}"));
            None
        }
    };
    let mut rows = Vec::new();
    let wanted = |play: &&Play| {
        filters.is_empty() || filters.iter().any(|filter| play.side.contains(filter.as_str()))
    };
    let plays: Vec<&Play> = PLAYS.iter().filter(wanted).collect();
    for play in &plays {
        let needs_module = play.word == "kernel";
        if needs_module && module.is_none() {
            continue;
        }
        let job = job(play, module.as_deref().filter(|_| needs_module), &folder)?;
        say(format_args!("vm {} on {} ...", play.side, kernel.release));
        let mut seen = Seen::default();
        let (end, console) =
            machine::watch(kernel, Some(root), &job, &mut |line| seen.take(line, verbose, BOOTS))?;
        seen.end(end, &console);
        let row = (play.judge)(&seen).of(play.side);
        for wrong in &row.wrong {
            say(format_args!("  FAILED: {wrong}"));
        }
        if !row.wrong.is_empty() {
            seen.tell_last();
        }
        rows.push(row);
    }
    let skipped = plays.len() - rows.len();
    let held = rows.iter().filter(|row| row.wrong.is_empty()).count();
    row::write(report, &kernel.release, &rows)?;
    say(format_args!("\n{}", row::Table(&rows)));
    let failed = rows.len() - held;
    say(format_args!("{held} rows held, {failed} failed, {skipped} skipped"));
    say(format_args!("written to {}", report.display()));
    Ok(failed == 0)
}

fn job(play: &Play, module: Option<&Path>, folder: &TempDir) -> Result<Job> {
    let mut files = vec![File::built(GUEST)?];
    let put = |path: &Path| File::parse(&path.display().to_string());
    for (name, bytes) in FILES {
        let path = folder.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(put(&path)?);
    }
    match module {
        Some(module) => files.push(put(module)?),
        None => {
            for program in [binaries::HOST, binaries::TOOL, FETCHER, ENGINE] {
                files.push(File::built(program)?);
            }
        }
    }
    let command = [&format!("{PROGRAMS}/{GUEST}"), "versus", play.word];
    Ok(Job {
        name: play.word.to_owned(),
        files,
        setup: Vec::new(),
        command: command.into_iter().map(str::to_owned).collect(),
        limit: LIMIT,
        memory_mib: 1024,
        boot: Boot::Script,
        root: Root::Debian,
        failing: play.failing,
        shows_output: false,
        measures: true,
        clock: Clock::OfThisMachine,
        everywhere: false,
    })
}

/// Where the report goes unless a file is named.
pub(crate) fn default_report() -> PathBuf {
    PathBuf::from("target/vm/kernel-vs-dock.json")
}
