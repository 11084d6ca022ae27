//! The docked side of the comparison: the same C, the same tables, in an engine's process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::EngineState;
use outrigger_api::release::Part;
use outrigger_testkit::publisher::{Publisher, ReleaseFile, Typed, update};
use outrigger_testkit::setup::control_socket;
use outrigger_testkit::{EngineSetup, Host, Setup, binaries, stall};
use outrigger_vm_tests::{Beat, fact};

use crate::machine::{BUDGET_MS, SLACK_MS, tell_end_of};
use crate::report::{at_most, say};
use crate::versus::{BAD, GOOD, PLACE, WHILE, expect_refused, prepare_dropper};
use crate::work::Work;

const HOME: &str = "/var/lib/outrigger-tests/versus";
const ENGINE: &str = "channel291";
/// The engine's program, which has the C of the module.
const PROGRAM: &str = "outrigger-engine-channel291c";
/// What its manifest calls it.
const ENTRY: &str = "outrigger-engine-channel291";
/// Nothing was recorded on this machine.
const NO_EVIDENCE: &str = "samples_min = 0\n";

struct Site {
    publisher: Publisher,
    config: std::path::PathBuf,
    host: Host,
}

/// Preflight tries the new table before it decides anything.
pub(crate) fn preflight() -> Result<()> {
    stall::watch();
    let site = site()?;
    let played = refused_in_preflight(&site);
    if played.is_err() {
        tell_end_of(&site.host.log());
    }
    played?;
    site.host.end()
}

fn site() -> Result<Site> {
    prepare_dropper()?;
    let publisher = Publisher::new(&Path::new(HOME).join("vendor"))?;
    let folder = Path::new(HOME).join("host");
    let engine = EngineSetup::faulty(ENGINE, "unused").installed();
    let setup = Setup::protecting(Path::new("/")).budget_ms(BUDGET_MS).uncached().engine(engine);
    let host = Host::start(&folder, &setup)?;
    let config = publisher.updates(
        &folder.join("state"),
        &control_socket(&folder),
        &[ENGINE],
        NO_EVIDENCE,
    )?;
    publisher.release(ENGINE, Part::Code, "0.1.0", None, &code()?)?;
    content(&publisher, "1.0.0", GOOD)?;
    let site = Site { publisher, config, host };
    update(&site.config, &["apply"])?.expect(0)?;
    site.docked()?;
    expect_refused()?;
    Ok(site)
}

impl Site {
    fn docked(&self) -> Result<()> {
        self.host.wait_engine(ENGINE, EngineState::Docked, Duration::from_secs(30)).map(drop)
    }
}

fn code() -> Result<Vec<ReleaseFile>> {
    let manifest = fs::read(Path::new(PLACE).join("manifest.toml"))?;
    Ok(vec![
        ("manifest.toml".to_owned(), manifest, false),
        (ENTRY.to_owned(), fs::read(binaries::path(PROGRAM)?)?, true),
    ])
}

fn content(publisher: &Publisher, version: &str, table: &str) -> Result<()> {
    let typed = Typed { kind: "table", interpreter: ">=0.1" };
    let files = [("pipes.table".to_owned(), fs::read(Path::new(PLACE).join(table))?, false)];
    publisher.release(ENGINE, Part::Content, version, Some(typed), &files)
}

fn refused_in_preflight(site: &Site) -> Result<()> {
    let work = Work::start(&Path::new(HOME).join("work"))?;
    work.go_on(WHILE);
    content(&site.publisher, "1.1.0", BAD)?;
    say(fact("update", "the table with a value in field 21 is offered"));
    work.tell();
    let applied = update(&site.config, &["apply"])?;
    applied.expect(1)?;
    let why = applied.steps("rejected").join("; ");
    ensure!(why.starts_with("crashed:"), "it was rejected for another reason: {why}");
    say(fact("rejected", &why));
    let again = update(&site.config, &["apply"])?;
    again.expect(1)?;
    ensure!(!again.steps("known-bad").is_empty(), "it was tried again: {:?}", again.lines);
    say(fact("again", &again.steps("known-bad").join("; ")));
    work.go_on(WHILE);
    went_on(site, &work.end()?)
}

/// That nobody had to do anything: what decided before decides, and the machine worked all the while.
fn went_on(site: &Site, last: &Beat) -> Result<()> {
    expect_refused()?;
    let engine = site.host.engine(ENGINE)?;
    ensure!(engine.state == EngineState::Docked, "the engine is {:?}", engine.state);
    ensure!(engine.faults.is_empty(), "the engine in force was at fault: {:?}", engine.faults);
    let starts = site.host.status()?.host_starts;
    let version = engine.content.context("it has no content")?;
    say(fact("in-force", &version));
    ensure!(last.failed == 0 && last.programs_failed == 0, "not everything was served: {last:?}");
    ensure!(last.alive == last.openers, "an opener is gone: {last:?}");
    #[expect(clippy::cast_precision_loss, reason = "ms of a test")]
    let longest = at_most("longest", last.longest_ms as f64, f64::from(BUDGET_MS) + SLACK_MS)?;
    say(fact("waits", &format!("{longest}; the host was started {starts} times")));
    Ok(())
}
