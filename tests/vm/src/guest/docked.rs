//! The docked side of the comparison: the same C, the same tables, in an engine's process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_api::control::{EngineState, EngineStatus, Request, Response};
use outrigger_api::release::{Part, State};
use outrigger_testkit::clock::{as_ms, now, wait_for};
use outrigger_testkit::publisher::{Publisher, ReleaseFile, Told, Typed, update};
use outrigger_testkit::setup::control_socket;
use outrigger_testkit::{EngineSetup, Host, Setup, bait, binaries, stall};
use outrigger_vm_tests::fact;

use crate::machine::{BUDGET_MS, SLACK_MS, tell_end_of};
use crate::report::{at_most, say};
use crate::versus::{BAD, GOOD, LATE, PLACE, RARE, WHILE, expect_refused, prepare_dropper};
use crate::work::Work;

const HOME: &str = "/var/lib/outrigger-tests/versus";
const ENGINE: &str = "channel291";
/// The engine's program, which has the C of the module.
const PROGRAM: &str = "outrigger-engine-channel291c";
/// What its manifest calls it.
const ENTRY: &str = "outrigger-engine-channel291";
/// Nothing was recorded on this machine; a short trial, on processors that are emulated.
const POLICY: &str = "samples_min = 0\n\n[shadow]\nlength_ms = 5000\nmisses_max = 1000\n\n\
                      [probation]\nlength_ms = 15000\nmisses_max = 1000\nlatency_percent = 100000\n\
                      cpu_percent = 100000\n";
/// Why a release is rejected that ends its process on live events.
const CRASHED: &str = "engine-crashed:";
/// The versions of the content.
const BEFORE: &str = "1.0.0";
const AFTER: &str = "1.1.0";
/// From the first crash of a version that decides to the one before, on processors that are emulated.
const RECOVERY_MS: f64 = 15_000.0;
/// An update's part that waits for nobody.
const STEP: Duration = Duration::from_secs(120);

/// What the content is called, which is what preflight knows of it.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A table: preflight makes up instances of it, with a value in each field.
    Known,
    /// Something that preflight has the engine read, and cannot make up: with nothing recorded on this machine, it
    /// asks the engine nothing.
    Foreign,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Known => "table",
            Self::Foreign => "yara",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Known => "pipes.table",
            Self::Foreign => "pipes.yar",
        }
    }

    /// The manifest of the code for it.
    fn manifest(self) -> Result<Vec<u8>> {
        let text = fs::read_to_string(Path::new(PLACE).join("manifest.toml"))?;
        let Self::Foreign = self else { return Ok(text.into_bytes()) };
        // The inputs are the last of it, and of tables alone.
        let (text, _) = text.split_once("\ninputs = ").context("the manifest names no inputs")?;
        Ok(text.replace("type = \"table\"", "type = \"yara\"").into_bytes())
    }
}

struct Site {
    publisher: Publisher,
    config: PathBuf,
    host: Host,
    kind: Kind,
}

/// Preflight tries the new table before it decides anything.
pub(crate) fn preflight() -> Result<()> {
    play(Kind::Known, refused_in_preflight)
}

/// Preflight cannot see what is wrong with it; the first events of this machine show it, in shadow.
pub(crate) fn shadow() -> Result<()> {
    play(Kind::Foreign, refused_in_shadow)
}

/// Neither can the shadow, since nothing happens meanwhile that it breaks on; it decides, and then that happens.
pub(crate) fn probation() -> Result<()> {
    play(Kind::Foreign, rolled_back)
}

fn play(kind: Kind, body: impl FnOnce(&Site) -> Result<()>) -> Result<()> {
    stall::watch();
    let site = Site::start(kind)?;
    let played = body(&site);
    if played.is_err() {
        tell_end_of(&site.host.log());
    }
    played?;
    site.host.end()
}

impl Site {
    /// A vendor, and a machine on which its first releases decide.
    fn start(kind: Kind) -> Result<Self> {
        prepare_dropper()?;
        let publisher = Publisher::new(&Path::new(HOME).join("vendor"))?;
        let folder = Path::new(HOME).join("host");
        let (state, socket) = (folder.join("state"), control_socket(&folder));
        let config = publisher.updates(&state, &socket, &[ENGINE], POLICY)?;
        let engine = EngineSetup::faulty(ENGINE, "unused").installed();
        let setup = Setup::protecting(Path::new("/"))
            .budget_ms(BUDGET_MS)
            .uncached()
            .updates(&publisher.updates_text(&state, &socket, &[ENGINE], POLICY))
            .engine(engine);
        let host = Host::start(&folder, &setup)?;
        let site = Self { publisher, config, host, kind };
        let program = fs::read(binaries::path(PROGRAM)?)?;
        let code: [ReleaseFile; 2] = [
            ("manifest.toml".to_owned(), kind.manifest()?, false),
            (ENTRY.to_owned(), program, true),
        ];
        site.publisher.release(ENGINE, Part::Code, "0.1.0", None, &code)?;
        site.publish(BEFORE, GOOD)?;
        site.apply()?.expect(0)?;
        site.docked()?;
        expect_refused()?;
        Ok(site)
    }

    fn publish(&self, version: &str, table: &str) -> Result<()> {
        let typed = Typed { kind: self.kind.name(), interpreter: ">=0.1" };
        let bytes = fs::read(Path::new(PLACE).join(table))?;
        let files = [(self.kind.file().to_owned(), bytes, false)];
        self.publisher.release(ENGINE, Part::Content, version, Some(typed), &files)
    }

    fn apply(&self) -> Result<Told> {
        update(&self.config, &["apply"])
    }

    fn docked(&self) -> Result<EngineStatus> {
        self.host.wait_engine(ENGINE, EngineState::Docked, Duration::from_secs(30))
    }

    /// Whether the new content is on probation; `None` while the host does not say.
    fn is_on_probation(&self) -> Option<bool> {
        match self.host.ask(&Request::Trials).ok()? {
            Response::Trials { trials } => {
                Some(trials.iter().any(|trial| trial.state == State::Probation))
            }
            _ => None,
        }
    }

    /// The steps that the journal has of the new content.
    fn way(&self) -> Result<Vec<String>> {
        let told = update(&self.config, &["history"])?;
        told.expect(0)?;
        let content = told.lines.iter().find(|line| line["version"] == AFTER);
        let content = content.context("the journal has no such release")?;
        let steps = content["transitions"].as_array().context("it has no story")?;
        Ok(steps.iter().filter_map(|step| step["to"].as_str()).map(str::to_owned).collect())
    }
}

/// Offers another table while the machine works, and once more after it was not taken, for `reason` and at the end of
/// this `way`. In the end everything has to be as it was, and nobody to have waited or been refused.
fn offered(
    site: &Site,
    table: &str,
    apply: impl FnOnce() -> Result<Told>,
    reason: &str,
    way: &[&str],
) -> Result<()> {
    let starts = site.host.status()?.host_starts;
    let work = Work::start(&Path::new(HOME).join("work"))?;
    work.go_on(WHILE);
    site.publish(AFTER, table)?;
    say(fact("update", "the table with a value in field 21 is offered"));
    work.tell();
    let applied = apply()?;
    applied.expect(1)?;
    let why = applied.steps("rejected").join("; ");
    ensure!(why.starts_with(reason), "it was rejected for another reason: {why}");
    say(fact("rejected", &why));
    let went = site.way()?;
    ensure!(
        went.ends_with(&way.iter().map(|&step| step.to_owned()).collect::<Vec<_>>()),
        "{went:?}"
    );
    say(fact("way", &went.join(", ")));
    let again = site.apply()?;
    again.expect(1)?;
    ensure!(!again.steps("known-bad").is_empty(), "it was tried again: {:?}", again.lines);
    say(fact("again", &again.steps("known-bad").join("; ")));
    work.go_on(WHILE);
    let last = work.end()?;

    expect_refused()?;
    let content = site.docked()?.content.context("it has no content")?;
    say(fact("in-force", &content));
    let now = site.host.status()?.host_starts;
    ensure!(now == starts, "the host was started {} times meanwhile", now - starts);
    ensure!(last.failed == 0 && last.programs_failed == 0, "not everything was served: {last:?}");
    ensure!(last.alive == last.openers, "an opener is gone: {last:?}");
    #[expect(clippy::cast_precision_loss, reason = "ms of a test")]
    let longest = at_most("longest", last.longest_ms as f64, f64::from(BUDGET_MS) + SLACK_MS)?;
    say(fact("waits", &longest));
    Ok(())
}

fn refused_in_preflight(site: &Site) -> Result<()> {
    offered(site, BAD, || site.apply(), "crashed:", &["preflight", "rejected"])?;
    untouched(site)
}

fn refused_in_shadow(site: &Site) -> Result<()> {
    offered(site, BAD, || site.apply(), CRASHED, &["preflight", "shadow", "rejected"])?;
    untouched(site)
}

/// That the process that decides was never concerned.
fn untouched(site: &Site) -> Result<()> {
    let engine = site.host.engine(ENGINE)?;
    ensure!(engine.faults.is_empty(), "the engine in force was at fault: {:?}", engine.faults);
    Ok(())
}

fn rolled_back(site: &Site) -> Result<()> {
    bait::put(Path::new(LATE), &bait::tiny_program(0))?;
    let apply = || {
        std::thread::scope(|scope| {
            let applied = scope.spawn(|| site.apply());
            wait_for("the probation", STEP, || Ok(site.is_on_probation().filter(|is| *is)))?;
            let broken = now();
            // Its question ends with the fallback, which is to allow.
            let ran = Command::new(LATE).status().context("it is executed")?;
            ensure!(ran.success(), "{LATE} ended with {ran}");
            wait_for("the end of the probation", STEP, || {
                Ok(site.is_on_probation().filter(|is| !is))
            })?;
            site.docked()?;
            let took =
                at_most("the content before decides after", as_ms(now() - broken), RECOVERY_MS)?;
            say(fact("recovered", &took));
            applied.join().map_err(|_| anyhow!("the thread of the update panicked"))?
        })
    };
    offered(site, RARE, apply, CRASHED, &["shadow", "probation", "rejected"])
}
