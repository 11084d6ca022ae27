//! What has happened is told: with its lineage, in its order, and every loss with its count.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::Event;
use outrigger_api::control::EngineState;
use outrigger_testkit::clock::{as_ms, wait_for};
use outrigger_testkit::figures::{say, waits_at_most};
use outrigger_testkit::openers::{Openers, Target};
use outrigger_testkit::suite::Skipped;
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, host};
use rustix::process::Signal;

use crate::ledger::ledger;
use crate::scene::{BUDGET_MS, Scene, short_or_full, show, timed_open};

const FORK: &str = "process.fork";
const EXEC: &str = "process.exec";
const EXIT: &str = "process.exit";
const CREATE: &str = "file.create";
const RENAME: &str = "file.rename";
const WRITTEN: &str = "file.close_write";
const UNLINK: &str = "file.unlink";
const OPEN: &str = "file.open";
/// How long an engine may take to handle what it was told.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at what an engine was told.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What an engine says that it was told, by name.
struct Told(HashMap<String, u64>);

impl Told {
    fn of(host: &Host, engine: &str) -> Result<Self> {
        // Each look has the engine say something, and one that says too much at once is ended.
        thread::sleep(BETWEEN_LOOKS);
        let line = host.behave(engine, &behaviour())?;
        let number = |word: &str| {
            let (name, number) = word.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        Ok(Self(line.split_ascii_whitespace().filter_map(number).collect()))
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn lost(&self, event: &str) -> u64 {
        self.get(&format!("lost.{event}"))
    }
}

/// The engine counts, and follows this process's children.
fn behaviour() -> String {
    format!("tally {}", std::process::id())
}

/// An engine that is told of processes and of changes to files.
fn listener(name: &str) -> EngineSetup {
    [FORK, EXEC, EXIT, CREATE, RENAME, WRITTEN, UNLINK].iter().fold(
        EngineSetup::faulty(name, &behaviour()).field("path").hang_ms(60_000).without_events(),
        |engine, event| engine.subscribed(event, "notify", None),
    )
}

/// Runs `count` programs from four threads.
fn run_programs(count: u64) -> Result<()> {
    let each = move || -> Result<()> {
        for _ in 0..count / 4 {
            let status = Command::new("/bin/true").status()?;
            ensure!(status.success(), "/bin/true ended by {status}");
        }
        Ok(())
    };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(each)).collect();
    threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
}

fn engine_signal(host: &Host, engine: &str, signal: Signal) -> Result<()> {
    host::send(host.engine(engine)?.pid.context("the engine has a process")?, signal)
}

/// Two engines are told of every process, under load, with the right parents.
pub(crate) fn every_process_is_told_with_its_lineage(lab: &Lab) -> Result<()> {
    let count = short_or_full(1_000, 10_000);
    let scene = Scene::new(lab, 200)?;
    let setup = Setup::protecting(scene.path())
        .budget_ms(2000)
        .uncached()
        .engine(listener("alistener").subscribed(OPEN, "ask", None))
        .engine(listener("blistener").subscribed(OPEN, "ask", None));
    let host = lab.start(&setup)?;
    let openers = Openers::start(2, scene.clean.iter().map(Target::clean).collect());

    run_programs(count)?;

    show("openers meanwhile", &openers.stop()?);
    for engine in ["alistener", "blistener"] {
        let told = wait_for("the end of every process", PATIENCE, || {
            let told = Told::of(&host, engine)?;
            let lost = told.lost(FORK) + told.lost(EXEC) + told.lost(EXIT);
            Ok((told.get("ended") + lost >= count).then_some(told))
        })?;
        let (forked, ran, ended) = (told.get("forked"), told.get("ran"), told.get("ended"));
        say(format_args!("{engine}: {forked} forked, {ran} ran, {ended} ended of {count}"));
        ensure!((forked, ran, ended) == (count, count, count), "{engine} was not told of all");
        ensure!(told.get("wrong") == 0, "{engine}: {} with a wrong lineage", told.get("wrong"));
        ensure!(told.get("vague") == 0, "{engine} was told of a loss that nobody counted");
    }
    host.end()
}

/// An engine that stands still loses notices, each one counted, and the other loses none.
pub(crate) fn a_stopped_engine_loses_what_is_counted_exactly(lab: &Lab) -> Result<()> {
    let count = short_or_full(6_000, 10_000);
    let scene = Scene::new(lab, 10)?;
    let setup =
        Setup::protecting(scene.path()).engine(listener("awake")).engine(listener("stopped"));
    let host = lab.start(&setup)?;
    let before = Told::of(&host, "stopped")?;
    engine_signal(&host, "stopped", Signal::STOP)?;

    run_programs(count)?;

    let awake = wait_for("the end of every process", PATIENCE, || {
        let told = Told::of(&host, "awake")?;
        Ok((told.get("ended") >= count).then_some(told))
    })?;
    engine_signal(&host, "stopped", Signal::CONT)?;
    let stopped = wait_for("the gaps of the stopped engine", PATIENCE, || {
        let told = Told::of(&host, "stopped")?;
        let all =
            [FORK, EXEC, EXIT].iter().all(|event| told.get(event) + told.lost(event) >= count);
        Ok((all && told.lost(FORK) > 0).then_some(told))
    })?;
    let books = ledger(&host)?;
    let books = books.engines.iter().find(|engine| engine.name.as_str() == "stopped");
    let books = books.context("the engine is in the ledger")?;
    for event in [FORK, EXEC, EXIT] {
        let (told, lost) = (stopped.get(event), stopped.lost(event));
        say(format_args!("{event}: {told} told, {lost} lost; awake {} told", awake.get(event)));
        let cost = books.events.get(event).context("the event is in the ledger")?;
        let dropped = cost.untold.get("engine-ring").copied().unwrap_or(0);
        ensure!(lost == dropped, "{event}: told of {lost} lost, {dropped} were");
        ensure!(awake.lost(event) == 0, "the other engine lost {} {event}", awake.lost(event));
    }
    ensure!(stopped.get("pressed") > before.get("pressed"), "it was not warned");
    ensure!(stopped.get("vague") == 0 && awake.get("vague") == 0, "a loss was not counted");
    ensure!(awake.get("wrong") == 0, "{} with a wrong lineage", awake.get("wrong"));
    host.end()
}

/// Notices that are not taken leave room for questions.
pub(crate) fn a_question_is_answered_while_notices_have_no_room(lab: &Lab) -> Result<()> {
    /// Programs that are run at most until the engine's share is full.
    const MOST: u64 = 40_000;
    let scene = Scene::new(lab, 100)?;
    let setup = Setup::protecting(scene.path())
        .budget_ms(BUDGET_MS)
        .uncached()
        .engine(listener("judge").subscribed(OPEN, "ask", None));
    let host = lab.start(&setup)?;
    // It takes two milliseconds for each notice, and so takes none for long.
    let busy = format!("{} ponder 2", behaviour());
    host.behave("judge", &busy)?;

    let dropped = || -> Result<u64> {
        let untold = ledger(&host)?.engines[0].whole.untold.clone();
        Ok(untold.get("engine-ring").copied().unwrap_or(0))
    };
    // How many programs fill its share depends on how fast they end beside it.
    for _ in 0..MOST / 1_000 {
        run_programs(1_000)?;
        if dropped()? > 0 {
            break;
        }
    }
    let before = host.engine("judge")?;
    let full = dropped()?;
    ensure!(full > 0, "{MOST} programs did not fill the engine's share");
    let openers = Openers::start(2, scene.clean.iter().map(Target::clean).collect());
    thread::sleep(Duration::from_secs(1));
    let tally = openers.stop()?;

    show("openers", &tally);
    let after = host.engine("judge")?;
    say(format_args!("dropped: {full}; misses {} to {}", before.misses, after.misses));
    ensure!(tally.opens() > 100, "{} opens in a second", tally.opens());
    // Behind the notices, whose handling takes seconds, each would be missed; on a machine that does more
    // besides, some are.
    let missed = after.misses - before.misses;
    ensure!(missed * 10 <= tally.opens(), "{missed} questions waited behind notices");
    waits_at_most("the middle open", as_ms(tally.waits.quantile(500)), 10.0)?;
    host.end()
}

/// What is done to files under protection is told, with paths.
pub(crate) fn changes_to_files_are_told(lab: &Lab) -> Result<()> {
    const FILES: u64 = 100;
    let scene = Scene::new(lab, 1)?;
    let host = lab.start(&Setup::protecting(scene.path()).engine(listener("listener")))?;
    let before = Told::of(&host, "listener")?;

    for number in 0..FILES {
        let [old, new] = ["old", "new"].map(|name| scene.path().join(format!("{name}{number}")));
        fs::write(&old, b"content")?;
        fs::rename(&old, &new)?;
        fs::remove_file(&new)?;
    }

    let told = wait_for("every change", PATIENCE, || {
        let told = Told::of(&host, "listener")?;
        Ok((told.get(UNLINK) >= before.get(UNLINK) + FILES).then_some(told))
    })?;
    for event in [CREATE, WRITTEN, RENAME, UNLINK] {
        let count = told.get(event) - before.get(event);
        ensure!(count == FILES, "{count} of {FILES} {event} were told");
    }
    host.end()
}

/// An engine can be told what became of opens that another decides.
pub(crate) fn the_answer_to_an_open_is_told(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 50)?;
    let witness = EngineSetup::faulty("witness", &behaviour())
        .without_events()
        .subscribed(OPEN, "notify", None);
    let setup = Setup::protecting(scene.path())
        .uncached()
        .engine(EngineSetup::faulty_reader("judge", "deny-marked"))
        .engine(witness);
    let host = lab.start(&setup)?;

    let (_, served) = timed_open(&scene.eicar);
    scene.clean.iter().for_each(|file| _ = timed_open(file));

    ensure!(!served, "the bad file was served");
    let told = wait_for("every answer", PATIENCE, || {
        let told = Told::of(&host, "witness")?;
        Ok((told.get("allowed") >= 50 && told.get("denied") >= 1).then_some(told))
    })?;
    ensure!(told.get("denied") == 1, "{} denials were told", told.get("denied"));
    host.end()
}

/// An engine that needs what no machine gives does not dock, or goes on with less and is said to.
pub(crate) fn an_engine_that_gets_less_than_it_needs_is_told_of(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 10)?;
    let setup = Setup::protecting(scene.path())
        .uncached()
        .engine(EngineSetup::faulty("judge", "allow"))
        .engine(EngineSetup::faulty("modest", &behaviour()).without_events().subscribed(
            UNLINK,
            "rule",
            Some("notify"),
        ))
        .engine(
            EngineSetup::faulty("stubborn", "allow")
                .without_events()
                .subscribed(UNLINK, "rule", None)
                .optional(),
        );
    let host = lab.start(&setup)?;
    let ruled = host.coverage()?.event(Event::FileUnlink).and_then(|found| found.ruled_by.clone());
    if let Some(sensor) = ruled {
        let why = format!("rules decide {UNLINK} here ({sensor}), so an engine gets what it needs");
        return Err(Skipped(why).into());
    }

    host.wait_engine("modest", EngineState::Docked, Duration::from_secs(5))?;
    host.wait_engine("stubborn", EngineState::Failed, Duration::from_secs(5))?;
    for file in &scene.clean {
        fs::remove_file(file)?;
    }

    let stubborn = host.engine("stubborn")?;
    let why = stubborn.last_fault.unwrap_or_default();
    ensure!(why.contains("needs to be guarded by a rule on file.unlink"), "it says {why:?}");
    let modest = host.engine("modest")?;
    ensure!(modest.told == [UNLINK] && modest.events.is_empty(), "it gets {:?}", modest.told);
    ensure!(modest.degraded.len() == 1, "status says {:?}", modest.degraded);
    let problems = host.status()?.problems.join("\n");
    for said in ["engine modest gets less than it needs", "engine stubborn cannot start"] {
        ensure!(problems.contains(said), "status does not say {said:?}:\n{problems}");
    }
    ensure!(host.log().contains("\"engine-degraded\""), "the journal does not say it");
    wait_for("the files that it is told of", PATIENCE, || {
        Ok((Told::of(&host, "modest")?.get(UNLINK) >= 10).then_some(()))
    })?;
    host.end()
}
