//! Empty files: one answer of the engines serves all of them, and no file that is not empty.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup};

use crate::scene::{Scene, expect};

const ENGINE: &str = "judge";
/// Another engine, of the hash lists.
const LISTS: &str = "hashlist";
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for an engine that takes its time.
const BUDGET_MS: u32 = 5000;

fn judge(behaviour: &str) -> EngineSetup {
    EngineSetup::faulty_reader(ENGINE, behaviour)
}

fn start(lab: &Lab, scene: &Scene, judge: EngineSetup) -> Result<Host> {
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).fail_closed();
    lab.start(&setup.engine(EngineSetup::hashlist()).engine(judge))
}

/// Makes an empty file, as whoever unpacks an archive does, and keeps it open for writing.
fn make(scene: &Scene, name: &str) -> Result<File> {
    let path = scene.path().join(name);
    OpenOptions::new().write(true).create_new(true).open(path).with_context(|| name.to_owned())
}

/// What both engines were asked so far, and how many opens of empty files asked nobody.
fn asked(host: &Host) -> Result<([u64; 2], u64)> {
    let each = [host.engine(ENGINE)?.asked, host.engine(LISTS)?.asked];
    Ok((each, host.counters()?.empty))
}

pub(crate) fn the_next_file_asks_nobody(lab: &Lab) -> Result<()> {
    const FILES: u64 = 100;
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, judge("deny-marked"))?;
    drop(make(&scene, "first")?);
    let (before, none) = asked(&host)?;

    let mut files = Vec::new();
    for index in 0..FILES {
        files.push(make(&scene, &format!("new{index}"))?);
    }
    let (after, empty) = asked(&host)?;
    // Their writers hold them open, so nothing of them is cached.
    files.iter_mut().try_for_each(|file| file.write_all(b"no longer empty"))?;
    for index in 0..FILES {
        let path = scene.path().join(format!("new{index}"));
        expect("a file with content", ways::open(&path), Outcome::Through)?;
    }
    let (with_content, empty_still) = asked(&host)?;
    let mut bad = make(&scene, "bad")?;
    bad.write_all(&outrigger_testkit::bait::eicar())?;

    say(format_args!(
        "{before:?} asked, then {after:?}, then {with_content:?}; {empty} asked nobody"
    ));
    ensure!(before == [1, 1], "the first file was to be put to both engines: {before:?}");
    ensure!((none, after) == (0, before), "new files were put to engines: {after:?}");
    ensure!(empty == FILES, "{empty} of {FILES} asked nobody");
    ensure!(with_content == [1 + FILES; 2], "files with content: {with_content:?}");
    ensure!(empty_still == empty, "a file with content was taken for an empty one");
    expect("a bad file that was empty", ways::open(&scene.path().join("bad")), Outcome::Refused)?;
    told_in_history(&host, &scene)?;
    host.end()
}

/// The decision is the operator's to see, with who made it.
fn told_in_history(host: &Host, scene: &Scene) -> Result<()> {
    let name = |decision: &outrigger_api::control::Decision| {
        decision.path.as_deref().is_some_and(|path| path.contains("/watched"))
    };
    let mut number = 0;
    // Another one each time: one that was opened before is cached.
    let open = || {
        number += 1;
        Ok(ways::open(&scene.volume.put(&format!("watched{number}"), b"")?))
    };
    let (outcome, decision) = host.watch()?.find(open, name)?;
    expect("an empty file", outcome, Outcome::Through)?;
    ensure!(decision.decided_by == "empty file, allowed before", "{decision:?}");
    ensure!(decision.votes.is_empty(), "{decision:?}");
    Ok(())
}

pub(crate) fn other_content_has_it_asked_again(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, judge("allow deny-marked"))?;
    drop((make(&scene, "first")?, make(&scene, "second")?));
    let (before, empty) = asked(&host)?;
    ensure!((before, empty) == ([1, 1], 1), "{before:?} asked, {empty} asked nobody");

    host.behave(ENGINE, "deny-marked")?;
    drop((make(&scene, "third")?, make(&scene, "fourth")?));
    let (again, empty) = asked(&host)?;
    host.behave(ENGINE, "deny-empty")?;
    let refused = ways::open(&scene.path().join("first"));

    ensure!((again, empty) == ([2, 2], 2), "{again:?} asked, {empty} asked nobody");
    expect("an empty file by content that denies it", refused, Outcome::Refused)?;
    host.end()
}

pub(crate) fn a_denied_one_is_asked_every_time(lab: &Lab) -> Result<()> {
    const OPENS: u64 = 20;
    let scene = Scene::new(lab, 1)?;
    let path = scene.volume.put("empty", b"")?;
    expect("an empty file unprotected", ways::open(&path), Outcome::Through)?;
    let host = start(lab, &scene, judge("deny-empty"))?;

    for _ in 0..OPENS {
        expect("an empty file", ways::open(&path), Outcome::Refused)?;
    }

    let (each, empty) = asked(&host)?;
    say(format_args!("{each:?} asked, {empty} asked nobody"));
    ensure!(each == [OPENS; 2] && empty == 0, "{each:?} asked, {empty} asked nobody");
    ensure!(host.engine(ENGINE)?.denies == OPENS, "not every open was denied by the engine");
    host.end()
}

/// A writer who is quicker than the engines must not have them say of nothing what they say of his content.
pub(crate) fn what_is_written_meanwhile_is_not_taken_for_it(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let path = scene.volume.put("empty", b"")?;
    let next = scene.volume.put("next", b"")?;
    let mut writer = OpenOptions::new().write(true).open(&path)?;
    let host = start(lab, &scene, judge("slow 500 deny-empty"))?;

    let outcome = thread::scope(|scope| {
        let opener = scope.spawn(|| ways::open(&path));
        wait_for("the question", PATIENCE, || Ok((host.engine(ENGINE)?.asked > 0).then_some(())))?;
        writer.write_all(b"allowed")?;
        opener.join().ok().context("the opener panicked")
    })?;
    let next = ways::open(&next);

    expect("a file that was empty when it was asked about", outcome, Outcome::Refused)?;
    expect("the next empty file", next, Outcome::Refused)?;
    expect("the file as it is now", ways::open(&path), Outcome::Through)?;
    host.end()
}

/// An engine without the content, one in Monitor mode, a policy without the cache: each question is put to all.
pub(crate) fn who_sees_more_than_content_is_always_asked(lab: &Lab) -> Result<()> {
    const FILES: u64 = 5;
    let scene = Scene::new(lab, 1)?;
    let protecting = || Setup::protecting(scene.path()).budget_ms(BUDGET_MS);
    let setups = [
        ("without content", protecting().engine(EngineSetup::faulty(ENGINE, "allow"))),
        ("content elsewhere", protecting().engine(judge("allow").content_below(Path::new("/etc")))),
        ("monitored", protecting().engine(judge("allow").monitored())),
        ("without a cache", protecting().engine(judge("allow")).uncached()),
    ];
    for (number, (what, setup)) in setups.into_iter().enumerate() {
        let host = lab.start(&setup)?;
        for index in 0..FILES {
            drop(make(&scene, &format!("new{number}-{index}"))?);
        }

        let (each, empty) = (host.engine(ENGINE)?.asked, host.counters()?.empty);
        say(format_args!("{what}: {each} asked, {empty} asked nobody"));
        ensure!((each, empty) == (FILES, 0), "{what}: {each} asked, {empty} asked nobody");
        host.end()?;
    }
    Ok(())
}
