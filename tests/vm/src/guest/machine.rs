//! The whole machine: `/` and everything mounted below it, the platform's own files among it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use outrigger_api::control::{EngineState, Status};
use outrigger_testkit::{EngineSetup, Host, Setup, bait, stall};

use crate::report::{Report, say};
use crate::{faults, programs, stopped};

/// The budget of every question here, ms: emulated processors are slow, and pause with those of the
/// machine below.
pub(crate) const BUDGET_MS: u32 = 500;
/// How much longer than its budget one open may wait, ms.
pub(crate) const SLACK_MS: f64 = 100.0;
/// Where the tests keep their own files: on the disk that is protected.
const HOME: &str = "/var/lib/outrigger-tests";

/// Fresh files of each kind: a machine with nothing else to do opens 1,500 while its shell is watched.
const FRESH: usize = 5000;

/// Files that nobody has opened yet, so that each makes a question, made before anything is protected.
#[derive(Debug)]
pub(crate) struct Fresh {
    files: Vec<PathBuf>,
    programs: Vec<PathBuf>,
}

impl Fresh {
    fn make(count: usize) -> Result<Self> {
        let folder = Path::new(HOME).join("fresh");
        fs::create_dir_all(&folder)?;
        let make = |kind: &str, content: &dyn Fn(usize) -> Vec<u8>| -> Result<Vec<PathBuf>> {
            (0..count)
                .map(|number| {
                    let path = folder.join(format!("{kind}{number}"));
                    bait::put(&path, &content(number))?;
                    Ok(path)
                })
                .collect()
        };
        Ok(Self {
            files: make("file", &|number| format!("file {number}\n").into_bytes())?,
            programs: make("program", &|_| bait::tiny_program(0))?,
        })
    }

    /// A file that was not opened yet.
    pub(crate) fn file(&mut self) -> Result<PathBuf> {
        self.files.pop().ok_or_else(|| anyhow::anyhow!("there are no fresh files left"))
    }

    /// A program that was not executed yet.
    pub(crate) fn program(&mut self) -> Result<PathBuf> {
        self.programs.pop().ok_or_else(|| anyhow::anyhow!("there are no fresh programs left"))
    }
}

/// Runs everything, failing closed if `closed`.
pub(crate) fn run(closed: bool, report: &mut Report) -> Result<()> {
    stall::watch();
    let mut fresh = Fresh::make(FRESH)?;
    programs::prepare()?;
    let fallback = |setup: Setup| if closed { setup.fail_closed() } else { setup };

    // Programs read megabytes of libraries, which emulated processors take long to hash.
    let setup = fallback(Setup::protecting(Path::new("/")).budget_ms(10_000))
        .engine(EngineSetup::hashlist());
    with_host("programs", &setup, report, |host, report| programs::run(host, report));

    let patient = |name| {
        // They stay stopped for as long as the test wants: the platform does not end them for it.
        EngineSetup::faulty(name, "allow").hang_ms(60_000).misses_max(1_000_000)
    };
    let setup = fallback(Setup::protecting(Path::new("/")).budget_ms(BUDGET_MS))
        .engine(patient("first"))
        .engine(patient("second"));
    with_host("stopped", &setup, report, |host, report| {
        stopped::run(host, closed, &mut fresh, report)
    });

    let alone = faults::alone(&mut fresh)?;
    say(format_args!("the shell alone under the load: longest {alone:.0} ms"));
    let restless = |name| EngineSetup::faulty(name, "allow").hang_ms(2000).restarts_max(1000);
    let setup = fallback(Setup::protecting(Path::new("/")).budget_ms(BUDGET_MS))
        .engine(restless("first"))
        .engine(restless("second"));
    with_host("faults", &setup, report, |host, report| {
        faults::run(host, alone, &mut fresh, report)
    });
    Ok(())
}

/// Starts the platform, has `body` use it, and ends it; what fails on the way is told.
fn with_host(
    name: &str,
    setup: &Setup,
    report: &mut Report,
    body: impl FnOnce(&mut Host, &mut Report) -> Result<()>,
) {
    let folder = Path::new(HOME).join(name);
    let mut host = match Host::start(&folder, setup) {
        Ok(host) => host,
        Err(error) => return report.fail(&format!("{name}::starts"), &format!("{error:#}")),
    };
    if let Err(error) = body(&mut host, report) {
        report.fail(&format!("{name}::goes_on"), &format!("{error:#}"));
        tell_end_of(&host.log());
    }
    // The keeper may have been killed, which was the last that was tried.
    if host.status().is_ok() {
        report.test(&format!("{name}::the_platform_ends"), || {
            host.end()?;
            Ok("no process is left".to_owned())
        });
    }
}

/// The last lines of a log, as the job's own output: of what was printed, and of the journal behind it.
pub(crate) fn tell_end_of(log: &str) {
    let (journal, printed): (Vec<&str>, Vec<&str>) =
        log.lines().partition(|line| line.starts_with('{'));
    for lines in [printed, journal] {
        lines[lines.len().saturating_sub(TOLD)..].iter().for_each(say);
    }
}

/// Lines of each that are told.
const TOLD: usize = 25;

/// Waits until every engine is docked and nothing is wrong; gives the status then.
pub(crate) fn wait_whole(host: &Host) -> Result<Status> {
    let mut last = String::new();
    let found = outrigger_testkit::clock::wait_for("a healthy platform", LIMIT, || {
        let Ok(status) = host.status() else { return Ok(None) };
        let docked = status.engines.iter().all(|engine| engine.state == EngineState::Docked);
        last = status.problems.join("; ");
        Ok(docked.then_some(status))
    });
    ensure!(found.is_ok(), "{:#}; problems: {last}", found.err().unwrap_or_else(|| unreachable!()));
    found
}

const LIMIT: Duration = Duration::from_secs(20);
