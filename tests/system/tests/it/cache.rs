//! The cache never lies, and nobody waits for it.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use outrigger_api::control::EngineState;
use outrigger_api::coverage::VolumeCoverage;
use outrigger_testkit::agent::Agent;
use outrigger_testkit::clock::{as_ms, now, ns};
use outrigger_testkit::figures::{say, waits_at_most};
use outrigger_testkit::histogram::Summary;
use outrigger_testkit::host::Part;
use outrigger_testkit::openers::{Openers, Tally, Target};
use outrigger_testkit::race::{self, Seen, Way};
use outrigger_testkit::shared::Shared;
use outrigger_testkit::suite::Skipped;
use outrigger_testkit::{EngineSetup, Histogram, Host, Lab, Setup, Volume, fuse};
use rustix::process::Signal;

use crate::scene::{BUDGET_MS, SLACK_MS, Scene, short_or_full, show};

const ENGINE: &str = "judge";
const READERS: usize = 3;
/// How long a writer may wait while a stopped gate is found and replaced, in milliseconds: three looks of
/// 100 ms, the one that is under way, and the new gate's start.
const GATE_BACK_MS: f64 = 600.0;

pub(crate) fn never_lies_on_tmpfs(lab: &Lab) -> Result<()> {
    let volume = lab.tmpfs("contested")?;
    never_lies(lab, &volume, volume.path(), &Way::ALL, true)
}

pub(crate) fn never_lies_on_ext4(lab: &Lab) -> Result<()> {
    let volume = Volume::ext4(lab.world(), "contested")
        .map_err(|error| Skipped(format!("no ext4 image here: {error:#}")))?;
    never_lies(lab, &volume, volume.path(), &Way::ALL, true)
}

/// On an overlay nothing may be cached: not even a writer of the layer below can be seen there.
pub(crate) fn never_lies_on_overlayfs(lab: &Lab) -> Result<()> {
    let volume = Volume::overlay(lab.world(), "contested")?;
    never_lies(lab, &volume, volume.path(), &Way::ALL, false)?;
    let layer = volume.upper().ok_or_else(|| anyhow!("an overlay has an upper layer"))?;
    say("writers of the layer below");
    never_lies(lab, &volume, layer, &[Way::Write, Way::Map, Way::KeptMap], false)
}

/// Races writers in `folder` against readers of `volume`, without the platform and then with it.
fn never_lies(lab: &Lab, volume: &Volume, folder: &Path, ways: &[Way], caches: bool) -> Result<()> {
    volume.put(race::FILE, &race::clean())?;
    let file = volume.join(race::FILE);
    open_to_the_writer(&file)?;
    let (seen, _) = race(lab, volume, folder, Way::Write, Duration::from_millis(300))?;
    ensure!(seen.stably_bad > 0, "without the platform nothing bad was read: {seen:?}");

    let judge = EngineSetup::faulty_reader(ENGINE, &format!("deny-marked exempt {}", race::WRITER));
    let setup = Setup::protecting(volume.path()).budget_ms(2000).fail_closed();
    let host = lab.start(&setup.engine(judge.field("credentials")))?;
    let time = Duration::from_secs(short_or_full(3, 10));
    for &way in ways {
        let before = host.counters()?;
        let (seen, waits) = race(lab, volume, folder, way, time)?;
        let after = host.counters()?;
        let cached = after.cached - before.cached;
        let breaks = after.lease_breaks - before.lease_breaks;
        say(format_args!(
            "{way:?}: {} opens, {} refused, {} stably bad; {cached} cached, {breaks} breaks; \
             writer's opens: {waits}",
            seen.opens, seen.refused, seen.stably_bad
        ));
        ensure!(seen.stably_bad == 0, "{way:?}: bad content was read {} times", seen.stably_bad);
        ensure!(seen.refused > 0, "{way:?}: nothing was ever refused, so nothing was raced");
        ensure!(
            caches || cached == 0,
            "{way:?}: {cached} verdicts were cached where they must not be"
        );
        if caches && way != Way::KeptMap {
            ensure!(cached > 0, "{way:?}: nothing was cached, so the cache was not raced");
        }
        let empty = after.empty - before.empty;
        if way == Way::Empty {
            say(format_args!("{empty} opens of the empty file asked nobody"));
            ensure!((empty > 0) == caches, "{empty} opens were answered as those of empty files");
        }
    }
    host.end()
}

fn race(
    lab: &Lab,
    volume: &Volume,
    folder: &Path,
    way: Way,
    time: Duration,
) -> Result<(Seen, Summary)> {
    let numbers = lab.path("numbers");
    let _ = std::fs::remove_file(&numbers);
    let shared = Shared::open(&numbers)?;
    open_to_the_writer(&numbers)?;
    let mut writer = race::start_writer(way, folder, &numbers)?;
    writer.ready()?;
    let end = now() + ns(time);
    let file = volume.join(race::FILE);
    let seen = thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|_| scope.spawn(|| race::read_until(end, &file, &shared))).collect();
        readers.into_iter().try_fold(Seen::default(), |sum, reader| {
            let seen = reader.join().map_err(|_| anyhow!("a reader panicked"))??;
            anyhow::Ok(sum.and(seen))
        })
    })?;
    race::stop_writer(&shared);
    Ok((seen, writer.result()?))
}

fn open_to_the_writer(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666))?)
}

/// Starts the platform and has `paths` cached.
fn cached(lab: &Lab, tree: &Path, paths: &[std::path::PathBuf]) -> Result<Host> {
    let setup = Setup::protecting(tree).budget_ms(BUDGET_MS).engine(EngineSetup::hashlist());
    let host = lab.start(&setup)?;
    let mut tally = Tally::default();
    paths.iter().for_each(|path| tally.open(&Target::clean(path)));
    let count = host.counters()?.cached;
    ensure!(count >= paths.len() as u64, "only {count} of {} files were cached", paths.len());
    Ok(host)
}

fn open_for_writing(paths: &[std::path::PathBuf]) -> Result<Histogram> {
    let mut waits = Histogram::default();
    for path in paths {
        let start = now();
        let file: File = OpenOptions::new().write(true).open(path)?;
        waits.add(now() - start);
        drop(file);
    }
    Ok(waits)
}

pub(crate) fn a_writer_waits_briefly(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1000)?;
    let host = cached(lab, scene.path(), &scene.clean)?;
    let before = host.counters()?.lease_breaks;

    let waits = open_for_writing(&scene.clean)?.summary();

    let breaks = host.counters()?.lease_breaks - before;
    say(format_args!("writer's opens: {waits}, {breaks} breaks"));
    ensure!(breaks >= 900, "only {breaks} of 1,000 opens broke a lease");
    waits_at_most("writer's open of a cached file, p99", as_ms(waits.p99), 5.0)?;
    waits_at_most("the longest", as_ms(waits.max), f64::from(BUDGET_MS))?;
    host.end()
}

pub(crate) fn a_writer_is_let_in_without_a_host(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 200)?;
    let limit = f64::from(BUDGET_MS) + SLACK_MS;
    for (signal, name) in [(Signal::STOP, "stopped"), (Signal::KILL, "killed")] {
        let host = cached(lab, scene.path(), &scene.clean)?;
        let pid = host.signal(Part::Host, signal)?;

        let waits = open_for_writing(&scene.clean)?.summary();

        say(format_args!("writer's opens with the host {name}: {waits}"));
        waits_at_most("the longest", as_ms(waits.max), limit)?;
        // A stopped host that nobody asks need not be replaced; one that is asked must.
        let (waited, _) = crate::scene::timed_open(&scene.volume.put("asks", b"new")?);
        say(format_args!("an open that asks waits {waited:.1} ms"));
        host.wait_successor(pid, Duration::from_secs(5))?;
        host.end()?;
    }
    Ok(())
}

/// Only the gate lets a writer into a cached file, so a gate that is stopped is replaced.
pub(crate) fn a_writer_is_let_in_though_the_gate_is_stopped(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 200)?;
    let host = cached(lab, scene.path(), &scene.clean)?;
    let starts = host.status()?.gate_starts;
    host.signal(Part::Gate, Signal::STOP)?;

    let waits = open_for_writing(&scene.clean)?.summary();

    say(format_args!("writer's opens with the gate stopped: {waits}"));
    waits_at_most("the longest", as_ms(waits.max), GATE_BACK_MS)?;
    let status = host.status()?;
    ensure!(status.gate_starts == starts + 1, "{} gates, {starts} before", status.gate_starts);
    host.end()
}

pub(crate) fn a_stopped_fuse_server_holds_nobody_up(lab: &Lab) -> Result<()> {
    holds_nobody_up(lab, fuse::FILE, |server| server.signal(Signal::STOP))
}

/// The engine itself waits here: whoever reads the file waits for ever.
pub(crate) fn an_unreadable_fuse_file_holds_nobody_up(lab: &Lab) -> Result<()> {
    holds_nobody_up(lab, fuse::UNREADABLE, |_| Ok(()))
}

/// Some open a FUSE file on which they or the engine must wait; others open other files meanwhile.
fn holds_nobody_up(lab: &Lab, name: &str, stall: fn(&Agent) -> Result<()>) -> Result<()> {
    const OTHERS: usize = 500;
    let scene = Scene::new(lab, OTHERS)?;
    let (server, served) = fuse::start(&scene.volume.join("fuse"))
        .map_err(|error| Skipped(format!("no FUSE here: {error:#}")))?;
    let folder = served.parent().unwrap_or(&served);
    let contested = folder.join(name);
    let mut tally = Tally::default();
    tally.open(&Target::clean(&contested));
    ensure!(tally.served == 1, "the file cannot be opened unprotected");
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let host = lab.start(&setup.engine(EngineSetup::hashlist()))?;
    let volumes = host.status()?.coverage.volumes;
    let is_right = |volume: &VolumeCoverage| {
        Path::new(&volume.path) == folder && volume.covered && !volume.cached
    };
    ensure!(volumes.iter().any(is_right), "FUSE is not covered, or is cached: {volumes:?}");

    stall(&server)?;
    let stuck = Openers::start(8, vec![Target::clean(&contested)]);
    let mut tally = Tally::default();
    let targets: Vec<Target> = scene.clean.iter().map(Target::clean).collect();
    let end = now() + ns(Duration::from_secs(short_or_full(4, 20)));
    for target in targets.iter().cycle() {
        if now() >= end {
            break;
        }
        tally.open(target);
    }

    show("others", &tally);
    say(format_args!(
        "who wants the file has waited {:.0} ms in {} opens",
        as_ms(stuck.longest_wait()),
        stuck.finished().iter().sum::<u64>()
    ));
    ensure!(tally.served == tally.opens(), "others were refused");
    waits_at_most("others, p99", as_ms(tally.waits.quantile(990)), 5.0)?;
    let limit = f64::from(BUDGET_MS) + SLACK_MS;
    waits_at_most("others, the longest", as_ms(tally.waits.max()), limit)?;
    let engine = host.engine("hashlist")?;
    ensure!(engine.state == EngineState::Docked, "the engine is {:?}", engine.state);
    drop(server);
    let freed = stuck.stop()?;
    say(format_args!("{} opens of the file ended, the last with its server", freed.opens()));
    host.end()
}
