//! Another version takes an engine's place while files are opened: nobody waits longer than the budget, no
//! fallback decides, and what cannot take the place does not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::control::{EngineAction, EngineState};
use outrigger_api::release::{Part, State};
use outrigger_testkit::clock::{as_ms, now, wait_for};
use outrigger_testkit::figures::{say, waits_at_most};
use outrigger_testkit::host;
use outrigger_testkit::openers::{Openers, Tally};
use outrigger_testkit::releases::Staged;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Releases, Setup};
use rustix::process::Signal;

use crate::scene::{BUDGET_MS, SLACK_MS, Scene, expect, short_or_full, show};

const THREADS: usize = 8;
const HASHLIST: &str = "hashlist";
const JUDGE: &str = "judge";
const DOCK: Duration = Duration::from_secs(10);
/// As short a trial as there is.
const QUICK: &str = "[shadow]\nlength_ms = 1000\n[probation]\nlength_ms = 1000\n";

/// Two files that are not opened by the threads; every other version of the list denies the first, the
/// versions between them the second.
struct Marks {
    files: [PathBuf; 2],
}

const MARKS: [&[u8]; 2] = [b"denied by the odd versions", b"denied by the even versions"];

impl Marks {
    fn put(scene: &Scene) -> Result<Self> {
        let put = |at: usize| scene.volume.put(&format!("mark{at}"), MARKS[at]);
        Ok(Self { files: [put(0)?, put(1)?] })
    }

    /// The engine with the list of version `number`.
    fn list(number: u64) -> EngineSetup {
        let denied = MARKS[usize::from(number.is_multiple_of(2))];
        EngineSetup::hashlist().also_denying(denied).installed()
    }

    /// Whether an odd version decides (1) or an even one (0); an error for anything between.
    fn in_force(&self) -> Result<u64> {
        self.look()?.context("neither version decides: both files were served")
    }

    /// The same after another host has started: what is asked first may fall back to Allow, as it may have
    /// waited since the host before ended.
    fn in_force_again(&self) -> Result<u64> {
        wait_for("a verdict of the new host's", DOCK, || self.look())
    }

    fn look(&self) -> Result<Option<u64>> {
        match [ways::open(&self.files[0]), ways::open(&self.files[1])] {
            [Outcome::Refused, Outcome::Through] => Ok(Some(1)),
            [Outcome::Through, Outcome::Refused] => Ok(Some(0)),
            [Outcome::Through, Outcome::Through] => Ok(None),
            other => bail!("no version decides so: {other:?}"),
        }
    }
}

/// A platform whose engine is installed in version 1.0.1, which is the odd list or the behaviour.
fn installed(lab: &Lab, setup: Setup, engine: &EngineSetup) -> Result<(Host, Releases)> {
    let releases = Releases::of(&lab.next_folder());
    std::fs::create_dir_all(lab.next_folder())?;
    releases.install(engine, "1.0.1")?;
    let host = lab.start(&setup.updates(QUICK).engine(engine.clone().installed()))?;
    // So that a swap is not refused because it is not known yet what this machine gives.
    host.coverage()?;
    Ok((host, releases))
}

/// Has what was staged tried, and waits until it decides; gives how long its shadow and the change took, ms.
fn put_in_force(host: &Host, releases: &Releases, engine: &str, staged: &[Staged]) -> Result<f64> {
    let asked = now();
    let names = staged.iter().map(|one| one.name.clone()).collect();
    host.try_out(engine, names)?;
    for one in staged {
        releases.wait_state(one, State::Probation, DOCK)?;
    }
    let took = as_ms(now() - asked);
    wait_for("its process to decide", DOCK, || {
        let trials = host.trials().unwrap_or_default();
        Ok(trials.iter().all(|trial| trial.state == State::Probation).then_some(()))
    })?;
    Ok(took)
}

/// Waits until it is in force for good, and the host has let go of the store.
fn confirmed(host: &Host, releases: &Releases, staged: &Staged) -> Result<()> {
    releases.wait_state(staged, State::Active, DOCK)?;
    wait_for("the end of its trial", DOCK, || {
        Ok(host.trials().is_ok_and(|trials| trials.is_empty()).then_some(()))
    })
}

fn fallbacks(host: &Host) -> Result<u64> {
    Ok(host.counters()?.fallbacks.values().sum())
}

/// Nothing slipped, nothing was refused wrongly, nobody waited longer than `budget_ms`.
fn sound(tally: &Tally, budget_ms: u32) -> Result<()> {
    show("openers", tally);
    ensure!(tally.slipped == 0, "{} bad files were opened", tally.slipped);
    ensure!(tally.wrongly_refused == 0, "{} clean files were refused", tally.wrongly_refused);
    ensure!(tally.failed == 0, "{} opens failed with error {}", tally.failed, tally.last_error);
    ensure!(tally.refused > 0 && tally.served > 0, "nothing was opened");
    waits_at_most("the longest open", as_ms(tally.waits.max()), f64::from(budget_ms) + SLACK_MS)
}

pub(crate) fn under_load_loses_no_question(lab: &Lab) -> Result<()> {
    let swaps = short_or_full(3, 10);
    let scene = Scene::new(lab, 500)?;
    let (marks, targets) = (Marks::put(&scene)?, scene.mixed_targets(50)?);
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let (host, releases) = installed(lab, setup, &Marks::list(1))?;
    ensure!(marks.in_force()? == 1, "the first version is not in force");
    let first = host.engine(HASHLIST)?;

    let calm = Openers::start(THREADS, targets.clone());
    std::thread::sleep(Duration::from_millis(short_or_full(500, 3000)));
    let calm = calm.stop()?;
    let before = fallbacks(&host)?;
    let openers = Openers::start(THREADS, targets);
    let mut took = Vec::new();
    for number in 2..=swaps + 1 {
        let staged =
            releases.stage(&Marks::list(number), Part::Content, &format!("1.0.{number}"))?;
        took.push(put_in_force(&host, &releases, HASHLIST, std::slice::from_ref(&staged))?);
        // From here on the new one decides, and it alone.
        let decides = marks.in_force()?;
        ensure!(decides == number % 2, "{number} is in force, and an older one decides");
        confirmed(&host, &releases, &staged)?;
        let active = releases.active(HASHLIST, Part::Content)?.version.to_string();
        ensure!(active == format!("1.0.{number}"), "the journal has {active} in force");
    }
    let tally = openers.stop()?;

    show("without a swap", &calm);
    say(format_args!("asked to answered, ms: {took:.1?}"));
    sound(&tally, BUDGET_MS)?;
    let counted = fallbacks(&host)? - before;
    ensure!(counted == 0, "{counted} questions fell back: {:?}", host.counters()?.fallbacks);
    let engine = host.engine(HASHLIST)?;
    ensure!(engine.faults.is_empty(), "faults: {:?}", engine.faults);
    ensure!(engine.starts == first.starts + swaps, "{} starts", engine.starts);
    ensure!(engine.restarts_left == first.restarts_left, "a swap cost a restart");
    wait_for("the end of the process before", DOCK, || {
        let pid = first.pid.unwrap_or_default();
        Ok((!outrigger_testkit::proc::is_alive(pid)).then_some(()))
    })?;
    host.end()
}

pub(crate) fn a_version_that_fails_leaves_the_old_one_in_force(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 200)?;
    let targets = scene.mixed_targets(20)?;
    let old = EngineSetup::faulty_reader(JUDGE, "deny-marked").start_ms(1000);
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let (host, releases) = installed(lab, setup, &old)?;
    let pid = host.engine(JUDGE)?.pid;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;

    let openers = Openers::start(THREADS, targets);
    let before = fallbacks(&host)?;
    // What it does, and what must stand in the answer.
    let table = [
        ("crash-at-start", "ended by signal"),
        ("crash-at-load", "ended by signal"),
        ("no-such-behaviour", "ended with status 1"),
        ("hang-at-start", "not docked 1000 ms after its start"),
        ("garble-at-start", "judge"),
    ];
    for (number, (behaviour, told)) in table.into_iter().enumerate() {
        let new = old.clone().with_content(behaviour);
        let staged = releases.stage(&new, Part::Content, &format!("2.0.{number}"))?;
        let refused = match host.try_out(JUDGE, vec![staged.name.clone()]) {
            Ok(done) => bail!("{behaviour}: {done}"),
            Err(error) => error.to_string(),
        };
        say(format_args!("{behaviour}: {refused}"));
        ensure!(refused.contains(told), "{behaviour} is not told: {refused}");
        ensure!(refused.contains("what was in force stays in force"), "not told: {refused}");
        let active = releases.active(JUDGE, Part::Content)?;
        ensure!(active.version.to_string() == "1.0.1", "{} is in force", active.version);
        let engine = host.engine(JUDGE)?;
        ensure!(engine.pid == pid && engine.state == EngineState::Docked, "{engine:?}");
        expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    }
    let tally = openers.stop()?;

    sound(&tally, BUDGET_MS)?;
    let counted = fallbacks(&host)? - before;
    ensure!(counted == 0, "{counted} questions fell back: {:?}", host.counters()?.fallbacks);
    // What failed stands in no way of what follows.
    let staged = releases.stage(&old, Part::Content, "3.0.0")?;
    put_in_force(&host, &releases, JUDGE, &[staged])?;
    ensure!(host.engine(JUDGE)?.pid != pid, "it was not replaced");
    host.end()
}

pub(crate) fn of_a_stopped_engine_answers_what_it_has_in_hand(lab: &Lab) -> Result<()> {
    const LONG_MS: u32 = 2000;
    let scene = Scene::new(lab, 200)?;
    let marks = Marks::put(&scene)?;
    let targets = scene.mixed_targets(20)?;
    let setup = Setup::protecting(scene.path()).budget_ms(LONG_MS).uncached();
    let (host, _releases) = installed(lab, setup, &Marks::list(1).hang_ms(10_000))?;
    let old = host.engine(HASHLIST)?.pid.unwrap_or_default();
    let before = fallbacks(&host)?;

    host::send(old, Signal::STOP)?;
    let openers = Openers::start(THREADS, targets);
    wait_for("questions in its hands", DOCK, || {
        Ok((host.status()?.descriptors.in_flight as usize >= THREADS).then_some(()))
    })?;
    let asked = now();
    let done = host.swap(HASHLIST)?;
    say(format_args!("{done} after {:.1} ms", as_ms(now() - asked)));
    ensure!(marks.in_force()? == 1, "nothing decides");
    let tally = openers.stop()?;

    sound(&tally, LONG_MS)?;
    let counted = fallbacks(&host)? - before;
    ensure!(counted == 0, "{counted} questions fell back: {:?}", host.counters()?.fallbacks);
    wait_for("the stopped one's end", DOCK, || {
        Ok((!outrigger_testkit::proc::is_alive(old)).then_some(()))
    })?;
    ensure!(host.engine(HASHLIST)?.misses == 0, "the new one is blamed");
    host.end()
}

/// The host is killed at another moment of the swap each time: the next one decides by what the journal
/// says, and that is one of the two.
pub(crate) fn cut_short_leaves_one_version_in_force(lab: &Lab) -> Result<()> {
    let rounds = short_or_full(8, 40);
    let scene = Scene::new(lab, 1)?;
    let marks = Marks::put(&scene)?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let (host, releases) = installed(lab, setup, &Marks::list(1))?;
    let (mut number, mut kept, mut changed) = (1, 0, 0);

    for round in 0..rounds {
        let next = number + 1;
        let version = format!("1.{round}.{next}");
        let staged = releases.stage(&Marks::list(next), Part::Content, &version)?;
        let pid = host.pids()?.host;
        host.try_out(HASHLIST, vec![staged.name.clone()])?;
        // From the end of its shadow to some time after it decides.
        std::thread::sleep(Duration::from_micros(1_000_000 + round * 80_000 / rounds));
        host::send(pid, Signal::KILL)?;
        host.wait_successor(pid, DOCK)?;
        host.wait_engine(HASHLIST, EngineState::Docked, DOCK)?;

        let active = releases.active(HASHLIST, Part::Content)?.version;
        let in_force = if active.to_string() == version { next } else { number };
        ensure!(active.patch == in_force, "{active} is in force, of {number} and {next}");
        let decides = marks.in_force_again()?;
        ensure!(decides == in_force % 2, "{active} is in force and another decides");
        host.coverage()?;
        if in_force == next {
            changed += 1;
        } else {
            kept += 1;
        }
        // Whichever it was, the next host brings it to the same end.
        confirmed(&host, &releases, &staged)?;
        ensure!(marks.in_force()? == next % 2, "{next} is in force and another decides");
        number = next;
    }

    say(format_args!("the old one {kept} times, the new one {changed} times"));
    ensure!(kept > 0 && changed > 0, "every kill came at the same side of the commit");
    host.end()
}

pub(crate) fn what_was_altered_in_a_slot_is_not_started(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let marks = Marks::put(&scene)?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let (host, releases) = installed(lab, setup, &Marks::list(1))?;
    let alter = |folder: &Path| std::fs::write(folder.join("tests.deny"), "0".repeat(64));

    let staged: Staged = releases.stage(&Marks::list(2), Part::Content, "1.0.2")?;
    alter(&staged.folder)?;
    let refused = host.try_out(HASHLIST, vec![staged.name.clone()]);
    let refused = refused.expect_err("it was altered").to_string();
    say(&refused);
    ensure!(refused.contains("was altered"), "not told: {refused}");
    ensure!(marks.in_force()? == 1, "the altered one decides");

    alter(&releases.active(HASHLIST, Part::Content)?.dir)?;
    host.engine_action(HASHLIST, EngineAction::Restart)?;
    let failed = host.wait_engine(HASHLIST, EngineState::Failed, DOCK)?;
    let why = failed.last_fault.unwrap_or_default();
    say(&why);
    ensure!(why.contains("was altered") && why.contains("digest"), "not told: {why}");
    expect("the bad file", ways::open(&scene.eicar), Outcome::Through)?;
    ensure!(host.log().contains("engine-failed"), "the journal does not say so");
    host.end()
}

pub(crate) fn what_is_not_installed_is_counted_until_it_is(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let marks = Marks::put(&scene)?;
    let releases = Releases::of(&lab.next_folder());
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).updates(QUICK);
    let setup = setup.engine(Marks::list(1));
    let host = lab.start(&setup)?;
    host.coverage()?;

    let engine = host.engine(HASHLIST)?;
    ensure!(engine.state == EngineState::NotInstalled, "{engine:?}");
    let why = engine.last_fault.unwrap_or_default();
    ensure!(why.contains("no release of its code is in force"), "not told: {why}");
    expect("the bad file", ways::open(&scene.eicar), Outcome::Through)?;
    let counted = host.counters()?.fallbacks.get("not-docked").copied().unwrap_or(0);
    ensure!(counted > 0, "its absence is not counted");
    let refused = host.engine_action(HASHLIST, EngineAction::Restart);
    ensure!(refused.is_err_and(|error| error.to_string().contains("is not installed")));

    let code = releases.stage(&Marks::list(1), Part::Code, "1.0.0")?;
    let content = releases.stage(&Marks::list(1), Part::Content, "1.0.0")?;
    let old = host.pids()?.host;
    put_in_force(&host, &releases, HASHLIST, &[code, content])?;
    host.wait_successor(old, DOCK)?;
    host.wait_engine(HASHLIST, EngineState::Docked, DOCK)?;
    ensure!(marks.in_force_again()? == 1, "it was installed and does not decide");
    host.end()
}

/// Its events are settled when a host starts: a version with others comes in force with the next one.
pub(crate) fn a_version_that_asks_for_more_comes_by_another_host(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 200)?;
    let targets = scene.mixed_targets(20)?;
    let old = EngineSetup::faulty_reader(JUDGE, "deny-marked");
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let (host, releases) = installed(lab, setup, &old)?;
    let pid = host.pids()?.host;

    let openers = Openers::start(THREADS, targets);
    let failing =
        old.clone().subscribed("process.fork", "notify", None).with_content("crash-at-load");
    let code = releases.stage(&failing, Part::Code, "2.0.0")?;
    let content = releases.stage(&failing, Part::Content, "2.0.0")?;
    let refused = host.try_out(JUDGE, vec![code.name, content.name]);
    ensure!(refused.is_err(), "it crashes, and yet {refused:?}");
    ensure!(host.pids()?.host == pid, "the host made way for what cannot dock");
    // Another package than the one that is known bad.
    let more = old.subscribed("process.fork", "notify", None).hang_ms(1001);
    let code = releases.stage(&more, Part::Code, "2.1.0")?;
    put_in_force(&host, &releases, JUDGE, &[code])?;
    host.wait_successor(pid, DOCK)?;
    let engine = host.wait_engine(JUDGE, EngineState::Docked, DOCK)?;
    let tally = openers.stop()?;

    show("openers", &tally);
    ensure!(tally.failed == 0 && tally.wrongly_refused == 0, "{tally:?}");
    let active = releases.active(JUDGE, Part::Code)?.version.to_string();
    ensure!(active == "2.1.0", "the journal has {active} in force");
    wait_for("the event that it asks for", DOCK, || {
        Ok(host.engine(JUDGE)?.told.contains(&"process.fork".to_owned()).then_some(()))
    })?;
    ensure!(engine.starts == 1, "{} starts", engine.starts);
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    host.end()
}

/// An engine that docks from a folder is started anew from what lies there, without a gap, too.
pub(crate) fn without_releases_the_files_are_taken_as_they_lie(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 200)?;
    let targets = scene.mixed_targets(20)?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS);
    let host = lab.start(&setup.engine(EngineSetup::hashlist()))?;
    host.coverage()?;
    let mark = scene.volume.put("mark", MARKS[0])?;
    expect("the mark", ways::open(&mark), Outcome::Through)?;
    wait_for("the mark to be cached", DOCK, || {
        ways::open(&mark);
        Ok((host.counters()?.cached > 0).then_some(()))
    })?;
    let before = fallbacks(&host)?;

    let openers = Openers::start(THREADS, targets);
    let file = host.folder().join("hashlist/content/more.deny");
    std::fs::write(file, outrigger_testkit::bait::sha256(MARKS[0]))?;
    say(host.swap(HASHLIST)?);
    expect("the mark, which was cached as clean", ways::open(&mark), Outcome::Refused)?;
    let tally = openers.stop()?;

    sound(&tally, BUDGET_MS)?;
    ensure!(fallbacks(&host)? == before, "questions fell back: {:?}", host.counters()?.fallbacks);
    host.end()
}
