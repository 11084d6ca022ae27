//! From a published release to one that decides, by the commands that people use, with a host at work; and what
//! stops on the way while what was in force goes on deciding.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use outrigger_api::release::Part;
use outrigger_testkit::clock::as_ms;
use outrigger_testkit::figures::{say, waits_at_most};
use outrigger_testkit::openers::{Openers, Target};
use outrigger_testkit::publisher::{Publisher, ReleaseFile, Typed, shipped, update};
use outrigger_testkit::releases::end_trials;
use outrigger_testkit::setup::control_socket;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, Volume, bait, binaries};

use crate::scene::{BUDGET_MS, SLACK_MS, Scene, expect, show};

const HASHLIST: &str = "hashlist";
const CHANNEL: &str = "channel291";
const THREADS: usize = 8;
/// From a published release of content to an active one, by the policy of an empty file: 10 s of shadow and 20 s of
/// probation are in it, ms.
const LIMIT_MS: u128 = 60_000;
/// A policy for tests that are about something else.
const QUICK: &str = "[shadow]\nlength_ms = 1500\n[probation]\nlength_ms = 1500\n";
/// One whose shadow does not end before somebody ends it.
const ENDLESS: &str = "[shadow]\nlength_ms = 600000\n";
/// A file that a later list denies.
const MARK: &[u8] = b"denied from the second list on";
/// What is tried on where nothing was recorded.
const NO_EVIDENCE: &str = "samples_min = 0\n";

/// A vendor, a machine's configuration for it, and its host.
struct Site {
    publisher: Publisher,
    config: PathBuf,
    host: Host,
    folder: PathBuf,
    engine: &'static str,
}

impl Site {
    /// From the next trial on the host goes by `policy`.
    fn policy(&self, policy: &str) -> Result<()> {
        Ok(fs::write(self.folder.join("updates.toml"), policy)?)
    }

    /// From the next command on the tool goes by `policy`.
    fn rollout(&self, policy: &str) -> Result<()> {
        let (state, socket) = (self.folder.join("state"), control_socket(&self.folder));
        let policy = format!("{NO_EVIDENCE}{policy}");
        self.publisher.updates(&state, &socket, &[self.engine], &policy).map(drop)
    }
}

/// A host that docks what is installed of `engine`, and a vendor of it.
fn site(lab: &Lab, setup: Setup, name: &'static str, engine: &EngineSetup) -> Result<Site> {
    let publisher = Publisher::new(&lab.path("vendor"))?;
    let folder = lab.next_folder();
    let host = lab.start(&setup.updates(QUICK).engine(engine.clone().installed()))?;
    host.coverage()?;
    let (state, socket) = (folder.join("state"), control_socket(&folder));
    let config = publisher.updates(&state, &socket, &[name], NO_EVIDENCE)?;
    Ok(Site { publisher, config, host, folder, engine: name })
}

fn hashlist(version: &str) -> Result<Vec<ReleaseFile>> {
    shipped(HASHLIST, "manifest.toml", binaries::HASHLIST, version)
}

fn lists(also: &[&[u8]]) -> Vec<ReleaseFile> {
    let denied = [bait::eicar(), bait::bad_program()];
    let denied = denied.iter().map(Vec::as_slice).chain(also.iter().copied());
    let text: String = denied.map(|bytes| bait::sha256(bytes) + "\n").collect();
    vec![("tests.deny".to_owned(), text.into_bytes(), false)]
}

const LISTS: Option<Typed<'static>> = Some(Typed { kind: "hashlist", interpreter: ">=0.1" });
const TABLES: Option<Typed<'static>> = Some(Typed { kind: "table", interpreter: ">=0.1" });

pub(crate) fn a_release_decides_by_one_command(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 200)?;
    let mark = scene.volume.put("mark", MARK)?;
    let targets = scene.mixed_targets(20)?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let site = site(lab, setup, HASHLIST, &EngineSetup::hashlist())?;
    let release = |part, version, typed, files: &[ReleaseFile]| {
        site.publisher.release(HASHLIST, part, version, typed, files)
    };
    release(Part::Code, "0.1.0", None, &hashlist("0.1.0")?)?;
    release(Part::Content, "1.0.0", LISTS, &lists(&[]))?;
    let first = update(&site.config, &["apply"])?;
    first.expect(0)?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    expect("the mark before its list", ways::open(&mark), Outcome::Through)?;

    site.policy("")?;
    release(Part::Content, "1.1.0", LISTS, &lists(&[MARK]))?;
    let openers = Openers::start(THREADS, targets);
    let checked = update(&site.config, &["check"])?;
    let second = update(&site.config, &["apply", HASHLIST])?;
    let tally = openers.stop()?;

    checked.expect(0)?;
    let offered = checked.lines.iter().find(|line| line["part"] == "content");
    let offered = offered.context("nothing is said of the content")?;
    ensure!(offered["newer"] == true && offered["active"] == "1.0.0", "{offered}");
    second.expect(0)?;
    expect("the mark after its list", ways::open(&mark), Outcome::Refused)?;
    for step in ["shadow", "probation", "active"] {
        ensure!(second.steps(step).len() == 1, "{step}: {:?}", second.lines);
    }
    let going = second.lines.iter().filter(|line| line.get("trial").is_some()).count();
    ensure!(going >= 10, "it was told {going} times how the trial goes");
    say(format_args!("from published to active: {} ms", second.took.as_millis()));
    ensure!(second.took.as_millis() <= LIMIT_MS, "it took {} ms", second.took.as_millis());
    show("openers", &tally);
    ensure!(tally.wrongly_refused == 0 && tally.slipped == 0 && tally.failed == 0, "{tally:?}");
    let again = update(&site.config, &["apply"])?;
    again.expect(0)?;
    ensure!(!again.steps("current").is_empty(), "{:?}", again.lines);
    let history = update(&site.config, &["history"])?;
    history.expect(0)?;
    let states: Vec<&str> =
        history.lines.iter().filter_map(|release| release["state"].as_str()).collect();
    ensure!(states == ["active", "retired", "active"], "{states:?}");
    site.host.end()
}

/// Approval, a look, an end by hand, the way back, and forgiveness, by the commands that people use.
pub(crate) fn the_administrator_holds_the_controls(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 20)?;
    let mark = scene.volume.put("mark", MARK)?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let site = site(lab, setup, HASHLIST, &EngineSetup::hashlist())?;
    let run = |arguments: &[&str]| update(&site.config, arguments);
    let release = |part, version, typed, files: &[ReleaseFile]| {
        site.publisher.release(HASHLIST, part, version, typed, files)
    };
    release(Part::Code, "0.1.0", None, &hashlist("0.1.0")?)?;
    release(Part::Content, "1.0.0", LISTS, &lists(&[]))?;
    run(&["apply"])?.expect(0)?;
    release(Part::Content, "1.1.0", LISTS, &lists(&[MARK]))?;

    site.rollout("[rollout]\napproval = \"content\"\n")?;
    site.policy(ENDLESS)?;
    let held = run(&["apply"])?;
    held.expect(0)?;
    ensure!(held.steps("held").join("").contains("update approve hashlist"), "{:?}", held.lines);
    run(&["approve", HASHLIST])?.expect(0)?;
    // Newer, and nobody has said yes to it.
    release(Part::Content, "1.2.0", LISTS, &lists(&[MARK, b"denied from the third list on"]))?;
    let begun = run(&["apply", "--no-wait"])?;
    begun.expect(0)?;
    ensure!(begun.steps("shadow").len() == 1, "{:?}", begun.lines);
    let status = run(&["status"])?;
    status.expect(0)?;
    let trial = &status.lines.first().context("nothing is said")?["trials"][0];
    ensure!(trial["engine"] == HASHLIST && trial["state"] == "shadow", "{trial}");
    ensure!(trial["releases"][0]["version"] == "1.1.0", "{trial}");
    run(&["stop", HASHLIST])?.expect(0)?;
    expect("the mark while 1.0.0 decides", ways::open(&mark), Outcome::Through)?;

    site.policy(QUICK)?;
    site.rollout("[[pin]]\nengine = \"hashlist\"\npart = \"content\"\nversion = \"1.0.0\"\n")?;
    let pinned = run(&["apply"])?;
    pinned.expect(0)?;
    ensure!(pinned.steps("held") == ["pinned to 1.0.0"], "{:?}", pinned.lines);
    site.rollout("")?;
    let active = run(&["apply"])?;
    active.expect(0)?;
    ensure!(active.steps("active").len() == 1, "{:?}", active.lines);
    expect("the mark while 1.2.0 decides", ways::open(&mark), Outcome::Refused)?;

    let back = run(&["back", HASHLIST, "--part", "content"])?;
    back.expect(0)?;
    say(format_args!("back by hand: {} ms", back.took.as_millis()));
    expect("the mark after going back", ways::open(&mark), Outcome::Through)?;
    // Nothing is held against the one that was stopped; the one that was gone back from is not taken.
    let again = run(&["apply"])?;
    again.expect(1)?;
    ensure!(again.steps("known-bad").len() == 1, "{:?}", again.lines);
    ensure!(again.steps("active").len() == 1, "{:?}", again.lines);
    run(&["forget-bad", HASHLIST, "1.2.0"])?.expect(0)?;
    run(&["apply"])?.expect(0)?;
    let history = run(&["history"])?;
    history.expect(0)?;
    let told = |release: &serde_json::Value| {
        let text = |key: &str| release[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("part"), text("version"), text("state"))
    };
    let states: Vec<String> = history.lines.iter().map(told).collect();
    ensure!(
        states
            == [
                "code 0.1.0 active",
                "content 1.0.0 retired",
                "content 1.1.0 rejected",
                "content 1.2.0 rejected",
                "content 1.1.0 retired",
                "content 1.2.0 active",
            ],
        "{states:?}"
    );
    site.host.end()
}

pub(crate) fn channel_file_291_is_refused_by_its_schema(lab: &Lab) -> Result<()> {
    // Field 21 by name, and code that supplies 20 and says so.
    channel_file_291(lab, "manifest.toml", "schema:")
}

/// The manifest says 21 where the code supplies 20, which is what the validator of that day believed: the schema
/// has nothing to object, the replay has.
pub(crate) fn channel_file_291_that_fits_its_schema_crashes_in_preflight(lab: &Lab) -> Result<()> {
    channel_file_291(lab, "manifest-lies.toml", "crashed:")
}

/// The instance with a value in field 21, for the code with `manifest`: rejected as `reason` says, with the field
/// named, while the content before it decides.
fn channel_file_291(lab: &Lab, manifest: &str, reason: &str) -> Result<()> {
    let scene = Scene::new(lab, 200)?;
    // By its name, so nothing but the table in force refuses it.
    let marked = scene.volume.put("pipe-tool", b"denied by its name")?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let site = site(lab, setup, CHANNEL, &EngineSetup::faulty(CHANNEL, "unused"))?;
    let release = |part, version, typed, files: &[ReleaseFile]| {
        site.publisher.release(CHANNEL, part, version, typed, files)
    };
    let table = |column: &str, cell: &str| -> Vec<ReleaseFile> {
        let text = format!("columns\tname\t{column}\ntool\tpipe-tool\t{cell}\n");
        vec![("pipes.table".to_owned(), text.into_bytes(), false)]
    };
    let code = shipped(CHANNEL, manifest, binaries::CHANNEL291, "0.1.0")?;
    release(Part::Code, "0.1.0", None, &code)?;
    release(Part::Content, "1.0.0", TABLES, &table("uid", "*"))?;
    update(&site.config, &["apply"])?.expect(0)?;
    let decides = || expect("the marked file", ways::open(&marked), Outcome::Refused);
    decides()?;
    // The first one that docks comes with a host of its own.
    site.host.coverage()?;
    let before: u64 = site.host.counters()?.fallbacks.values().sum();

    let openers = Openers::start(THREADS, scene.clean.iter().map(Target::clean).collect());
    release(Part::Content, "1.1.0", TABLES, &table("ipc_name", "c2-pipe"))?;
    let refused = update(&site.config, &["apply"])?;
    refused.expect(1)?;
    let said = refused.steps("rejected").join("\n");
    ensure!(said.starts_with(reason) && said.contains("ipc_name"), "{said}");
    decides()?;
    let again = update(&site.config, &["apply"])?;
    again.expect(1)?;
    ensure!(!again.steps("known-bad").is_empty(), "it was tried again: {:?}", again.lines);
    let tally = openers.stop()?;

    show("openers", &tally);
    ensure!(tally.wrongly_refused == 0 && tally.failed == 0, "{tally:?}");
    waits_at_most("the longest open", as_ms(tally.waits.max()), f64::from(BUDGET_MS) + SLACK_MS)?;
    let after: u64 = site.host.counters()?.fallbacks.values().sum();
    ensure!(after == before, "{} questions fell back", after - before);
    let engine = site.host.engine(CHANNEL)?;
    ensure!(engine.faults.is_empty(), "the engine in force was at fault: {:?}", engine.faults);
    site.host.end()
}

/// The publisher is gone, the disk is full: old in force, a clear message, and it goes on by itself after.
pub(crate) fn trouble_leaves_the_old_in_force(lab: &Lab) -> Result<()> {
    let publisher = Publisher::new(&lab.path("vendor"))?;
    let state = lab.path("small");
    let _small = Volume::small_tmpfs(&state, "24m")?;
    let socket = lab.path("none.sock");
    let config = publisher.updates(&state, &socket, &[HASHLIST], NO_EVIDENCE)?;
    publisher.release(HASHLIST, Part::Code, "0.1.0", None, &hashlist("0.1.0")?)?;
    publisher.release(HASHLIST, Part::Content, "1.0.0", LISTS, &lists(&[]))?;
    let first = update(&config, &["apply"])?;
    first.expect(0)?;
    ensure!(
        first.steps("shadow").len() == 2,
        "without a host both wait for one: {:?}",
        first.lines
    );
    end_trials(&state, HASHLIST)?;
    let in_force = || -> Result<String> {
        let checked = update(&config, &["check"])?;
        checked.expect(0)?;
        let content = checked.lines.iter().find(|line| line["part"] == "content");
        Ok(content.context("no content")?["active"].as_str().unwrap_or_default().to_owned())
    };

    let wrong = lab.path("wrong.toml");
    fs::write(&wrong, "[download]\nfiles_max = 0\n")?;
    let refused = update(&wrong, &["apply"])?;
    refused.expect(2)?;
    let said =
        refused.errors.matches("wrong.toml:2:13: download.files_max: 0 is out of range").count();
    ensure!(said == 1, "the error is told {said} times: {}", refused.errors);

    publisher.release(HASHLIST, Part::Content, "1.1.0", LISTS, &lists(&[MARK]))?;
    let repository = publisher.repository();
    let away = repository.with_extension("away");
    fs::rename(&repository, &away)?;
    let gone = update(&config, &["apply"])?;
    gone.expect(1)?;
    let said = gone.steps("refused").join("\n");
    ensure!(
        said.contains("vendor") || said.contains("unreachable") || said.contains("root"),
        "{said}"
    );
    fs::rename(&away, &repository)?;
    ensure!(in_force()? == "1.0.0", "something else is in force");

    let filler = state.join("filler");
    fill(&filler)?;
    let full = update(&config, &["apply"])?;
    ensure!(full.code != Some(0), "it went through on a full disk");
    let said = format!("{} {}", full.errors, full.steps("refused").join("\n"));
    ensure!(said.contains("space") || said.contains("full") || said.contains("room"), "{said}");
    fs::remove_file(&filler)?;
    ensure!(in_force()? == "1.0.0", "something else is in force");

    update(&config, &["apply"])?.expect(0)?;
    end_trials(&state, HASHLIST)?;
    ensure!(in_force()? == "1.1.0", "it did not go on by itself");
    Ok(())
}

/// Takes all the room there is.
fn fill(file: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut open = fs::File::create(file)?;
    let block = vec![0; 4096];
    while open.write_all(&block).is_ok() {}
    Ok(())
}
