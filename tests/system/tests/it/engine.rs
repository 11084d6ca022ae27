//! Whatever an engine does, openers wait no longer than their budget.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::{Decision, EngineAction, EngineState, Request};
use outrigger_testkit::agent::{Agent, Opened};
use outrigger_testkit::clock::{as_ms, now, wait_for};
use outrigger_testkit::figures::{at_most, say, waits_at_most};
use outrigger_testkit::host::Part;
use outrigger_testkit::openers::{Openers, Target};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, bait, host};
use rustix::process::Signal;

use crate::scene::{BUDGET_MS, SLACK_MS, Scene, expect, short_or_full, show, timed_open};

const ENGINE: &str = "judge";
const NORMAL: &str = "deny-marked";
const NOBODY: u32 = 65534;

fn stop(host: &Host) -> Result<()> {
    host::send(host.engine(ENGINE)?.pid.context("the engine has a process")?, Signal::STOP)
}

fn make_loop(host: &Host) -> Result<()> {
    host.behave(ENGINE, "loop").map(drop)
}

fn make_silent(host: &Host) -> Result<()> {
    host.behave(ENGINE, "silent").map(drop)
}

fn make_slow(host: &Host) -> Result<()> {
    host.behave(ENGINE, "slow 200").map(drop)
}

pub(crate) fn stopped_costs_no_more_than_the_budget(lab: &Lab) -> Result<()> {
    costs_no_more_than_the_budget(lab, stop)
}

pub(crate) fn looping_costs_no_more_than_the_budget(lab: &Lab) -> Result<()> {
    costs_no_more_than_the_budget(lab, make_loop)
}

pub(crate) fn silent_costs_no_more_than_the_budget(lab: &Lab) -> Result<()> {
    costs_no_more_than_the_budget(lab, make_silent)
}

pub(crate) fn slow_costs_no_more_than_the_budget(lab: &Lab) -> Result<()> {
    costs_no_more_than_the_budget(lab, make_slow)
}

pub(crate) fn stopped_under_load_keeps_to_the_budget(lab: &Lab) -> Result<()> {
    under_load_keeps_to_the_budget(lab, stop)
}

pub(crate) fn looping_under_load_keeps_to_the_budget(lab: &Lab) -> Result<()> {
    under_load_keeps_to_the_budget(lab, make_loop)
}

pub(crate) fn silent_under_load_keeps_to_the_budget(lab: &Lab) -> Result<()> {
    under_load_keeps_to_the_budget(lab, make_silent)
}

pub(crate) fn slow_under_load_keeps_to_the_budget(lab: &Lab) -> Result<()> {
    under_load_keeps_to_the_budget(lab, make_slow)
}

/// One open after the other while the engine is at fault, until it is quarantined and costs nothing.
fn costs_no_more_than_the_budget(lab: &Lab, fault: fn(&Host) -> Result<()>) -> Result<()> {
    const MISSES: u32 = 8;
    const OPENS: usize = 60;
    let scene = Scene::new(lab, OPENS)?;
    let judge = EngineSetup::faulty_reader(ENGINE, NORMAL).misses_max(MISSES).hang_ms(10_000);
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let host = lab.start(&setup.engine(judge))?;
    expect("the bad file before the fault", ways::open(&scene.eicar), Outcome::Refused)?;

    fault(&host)?;
    let mut waited = Vec::new();
    for path in &scene.clean {
        let (ms, served) = timed_open(path);
        ensure!(served, "{} was refused although the policy fails open", path.display());
        waited.push(ms);
    }

    let longest = waited.iter().copied().fold(0.0, f64::max);
    let full_waits = waited.iter().filter(|ms| **ms > f64::from(BUDGET_MS) * 0.9).count();
    say(format_args!("{full_waits} of {OPENS} opens waited for the whole budget"));
    ensure!(full_waits >= 1, "no open waited at all, so there was no fault");
    waits_at_most("the longest open", longest, f64::from(BUDGET_MS) + SLACK_MS)?;
    let engine = host.wait_engine(ENGINE, EngineState::Quarantined, Duration::from_secs(1))?;
    say(format_args!("quarantined: {}", engine.last_fault.unwrap_or_default()));
    at_most("opens that waited before it", full_waits, MISSES as usize + 2, "opens")?;
    let last = waited[OPENS - 10..].iter().copied().fold(0.0, f64::max);
    waits_at_most("opens after it, the longest of ten", last, 5.0)?;
    let fallbacks = host.counters()?.fallbacks;
    let counted: u64 = fallbacks.values().sum();
    ensure!(counted >= OPENS as u64, "{counted} fallbacks were counted of {OPENS}");
    let of = |reason: &str| fallbacks.get(reason).copied().unwrap_or(0);
    ensure!(of("engine-slow") >= full_waits as u64, "of those that waited: {fallbacks:?}");
    ensure!(of("quarantined") >= 10, "after the quarantine: {fallbacks:?}");
    ensure!(!host.status()?.healthy, "status says healthy with a required engine in quarantine");
    host.end()
}

/// 64 threads wait for an engine at fault that is never quarantined.
fn under_load_keeps_to_the_budget(lab: &Lab, fault: fn(&Host) -> Result<()>) -> Result<()> {
    const THREADS: usize = 64;
    let scene = Scene::new(lab, 1000)?;
    let judge = EngineSetup::faulty_reader(ENGINE, NORMAL).misses_max(1_000_000).hang_ms(60_000);
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let host = lab.start(&setup.engine(judge))?;
    expect("the bad file before the fault", ways::open(&scene.eicar), Outcome::Refused)?;

    fault(&host)?;
    let openers = Openers::start(THREADS, scene.clean.iter().map(Target::clean).collect());
    std::thread::sleep(Duration::from_secs(short_or_full(3, 10)));
    let tally = openers.stop()?;

    show("openers", &tally);
    let (p50, p99) = (tally.waits.quantile(500), tally.waits.quantile(990));
    ensure!(as_ms(p50) > f64::from(BUDGET_MS) * 0.9, "openers did not wait: there was no fault");
    ensure!(tally.served == tally.opens(), "some opens were refused or failed");
    waits_at_most("p99", as_ms(p99), f64::from(BUDGET_MS) + SLACK_MS)?;
    waits_at_most("the longest", as_ms(tally.waits.max()), f64::from(BUDGET_MS) + 50.0)?;
    host.end()
}

pub(crate) fn killed_ends_its_questions_at_once(lab: &Lab) -> Result<()> {
    const THREADS: usize = 8;
    let scene = Scene::new(lab, THREADS)?;
    let judge = EngineSetup::faulty_reader(ENGINE, NORMAL).hang_ms(30_000);
    let setup = Setup::protecting(scene.path()).budget_ms(8000).uncached();
    let host = lab.start(&setup.engine(judge))?;
    host.behave(ENGINE, "silent")?;
    let pid = host.engine(ENGINE)?.pid.context("the engine has a process")?;

    let opened = std::thread::scope(|scope| -> Result<Vec<(f64, bool)>> {
        let openers: Vec<_> =
            scene.clean.iter().map(|path| scope.spawn(move || timed_open(path))).collect();
        wait_for("all questions", Duration::from_secs(5), || {
            Ok((usize::try_from(host.status()?.descriptors.in_flight)? >= THREADS).then_some(()))
        })?;
        let killed = now();
        host::send(pid, Signal::KILL)?;
        let opened: Vec<_> = openers.into_iter().filter_map(|opener| opener.join().ok()).collect();
        waits_at_most("from the kill to the last answer", as_ms(now() - killed), 100.0)?;
        Ok(opened)
    })?;

    ensure!(opened.iter().all(|(_, served)| *served), "the policy fails open: {opened:?}");
    let fallbacks = host.counters()?.fallbacks;
    let crashed = fallbacks.get("engine-crashed").copied().unwrap_or(0);
    ensure!(crashed >= THREADS as u64, "fallbacks are counted as {fallbacks:?}");
    host.end()
}

/// Of two required engines only the dead one knows the file as bad: it is refused all the same.
pub(crate) fn dead_and_required_fails_closed(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let setup = Setup::protecting(scene.path())
        .budget_ms(BUDGET_MS)
        .fail_closed()
        .engine(EngineSetup::faulty("trusting", "allow"))
        .engine(EngineSetup::faulty_reader(ENGINE, NORMAL).restarts_max(2));
    let host = lab.start(&setup)?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    let decision = |host: &Host| {
        let is_ours = |decision: &Decision| {
            decision.path.as_deref().is_some_and(|path| path.ends_with("/eicar.com"))
        };
        host.watch()?.find(|| Ok(ways::open(&scene.eicar)), is_ours)
    };
    let (_, by_engine) = decision(&host)?;
    ensure!(by_engine.decided_by.contains(ENGINE), "decided by {}", by_engine.decided_by);

    host.restart_with(ENGINE, "crash-at-start")?;
    let (outcome, restarting) = decision(&host)?;
    expect("the bad file while its engine is dead", outcome, Outcome::Refused)?;
    host.wait_engine(ENGINE, EngineState::Quarantined, Duration::from_secs(10))?;
    let (outcome, quarantined) = decision(&host)?;
    expect("the bad file while its engine is in quarantine", outcome, Outcome::Refused)?;

    say(format_args!("decided by {}, then {}", restarting.decided_by, quarantined.decided_by));
    let decided_by = quarantined.decided_by;
    ensure!(decided_by == "fallback: quarantined", "decided by {decided_by}");
    let faults = host.counters()?.faults;
    ensure!(faults.get("budget-exhausted") == Some(&1), "faults are counted as {faults:?}");
    host.end()
}

pub(crate) fn killed_docks_again_at_once(lab: &Lab) -> Result<()> {
    const ROUNDS: usize = 3;
    let scene = Scene::new(lab, 0)?;
    let setup = Setup::protecting(scene.path()).engine(EngineSetup::hashlist());
    let host = lab.start(&setup)?;
    for _ in 0..ROUNDS {
        let old = host.engine("hashlist")?.pid.context("the engine has a process")?;
        let killed = now();
        host::send(old, Signal::KILL)?;

        wait_for("the engine's return", Duration::from_secs(5), || {
            let engine = host.engine("hashlist")?;
            let is_back = engine.state == EngineState::Docked && engine.pid != Some(old);
            Ok(is_back.then_some(()))
        })?;

        waits_at_most("from the kill to the next dock", as_ms(now() - killed), 100.0)?;
        expect("the bad file after it", ways::open(&scene.eicar), Outcome::Refused)?;
    }
    host.end()
}

/// An ordinary user opens a file that crashes the engine, again and again.
pub(crate) fn a_poisoned_file_switches_nothing_off(lab: &Lab) -> Result<()> {
    const OPENS: u64 = 1000;
    let scene = Scene::new(lab, 1)?;
    let poison = scene.volume.put("poison", b"CRASHME")?;
    let judge = EngineSetup::faulty_reader(ENGINE, "deny-marked crash-on CRASHME");
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS);
    let host = lab.start(&setup.engine(judge))?;
    let starts = host.engine(ENGINE)?.starts;

    let path = poison.to_string_lossy();
    let mut user = Agent::start_as("open", &[&path, &OPENS.to_string()], NOBODY)?;
    let opened: Opened = user.result()?;

    say(format_args!("the poisoned file's opens: {}", opened.waits));
    let engine = host.wait_engine(ENGINE, EngineState::Docked, Duration::from_secs(5))?;
    ensure!(engine.starts > starts, "the file did not crash the engine at all");
    at_most("restarts", engine.starts - starts, 2, "restarts")?;
    ensure!(engine.poisoned_objects == 1, "{} poisoned objects are known", engine.poisoned_objects);
    expect("the bad file after it", ways::open(&scene.eicar), Outcome::Refused)?;
    let fallbacks = host.counters()?.fallbacks;
    let counted: u64 = fallbacks.values().sum();
    ensure!(counted >= OPENS, "{counted} fallbacks were counted of {OPENS}");
    // All but the two on which it crashed, and those that came while it started again in vain.
    let of = |reason: &str| fallbacks.get(reason).copied().unwrap_or(0);
    ensure!(of("engine-crashed") >= 1, "fallbacks are counted as {fallbacks:?}");
    ensure!(of("poisoned-object") >= OPENS - 10, "fallbacks are counted as {fallbacks:?}");
    ensure!(host.log().contains("object-poisoned"), "the journal does not name the object");
    host.end()
}

/// What crashed an engine twice is not put to it again by the next host, whether that came by a reload or by
/// a crash, until the engine reads its content again.
pub(crate) fn a_poisoned_file_is_known_to_the_next_host(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let poison = scene.volume.put("poison", b"CRASHME")?;
    let judge = EngineSetup::faulty_reader(ENGINE, "deny-marked crash-on CRASHME");
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let host = lab.start(&setup.engine(judge))?;
    let docked =
        |host: &Host| host.wait_engine(ENGINE, EngineState::Docked, Duration::from_secs(5));
    wait_for("a poisoned object", Duration::from_secs(10), || {
        expect("the poisoned file", ways::open(&poison), Outcome::Through)?;
        Ok((docked(&host)?.poisoned_objects == 1).then_some(()))
    })?;

    for end in ["a reload", "a crash"] {
        let old = host.pids()?.host;
        match end {
            "a reload" => drop(host.ask(&Request::Reload)?),
            _ => drop(host.signal(Part::Host, Signal::KILL)?),
        }
        host.wait_successor(old, Duration::from_secs(5))?;
        docked(&host)?;
        expect("the poisoned file", ways::open(&poison), Outcome::Through)?;
        expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
        let engine = host.engine(ENGINE)?;
        ensure!(engine.starts == 1, "after {end} it was started {} times", engine.starts);
        ensure!(engine.poisoned_objects == 1, "after {end}: {}", engine.poisoned_objects);
    }

    host.engine_action(ENGINE, EngineAction::Reload)?;
    wait_for("everything to be asked again", Duration::from_secs(5), || {
        Ok((host.engine(ENGINE)?.poisoned_objects == 0).then_some(()))
    })?;
    let kept = std::fs::read_to_string(host.folder().join("state/poisoned.jsonl"))?;
    ensure!(kept.is_empty(), "still kept for the next host: {kept}");
    host.end()
}

pub(crate) fn quarantine_ends_by_release(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let setup = Setup::protecting(scene.path()).engine(EngineSetup::hashlist());
    let host = lab.start(&setup)?;

    host.engine_action("hashlist", EngineAction::Quarantine)?;
    host.wait_engine("hashlist", EngineState::Quarantined, Duration::from_secs(5))?;
    expect("the bad file meanwhile", ways::open(&scene.eicar), Outcome::Through)?;
    host.engine_action("hashlist", EngineAction::Release)?;
    host.wait_engine("hashlist", EngineState::Docked, Duration::from_secs(5))?;

    expect("the bad file after it", ways::open(&scene.eicar), Outcome::Refused)?;
    ensure!(bait::eicar().len() == 68, "the EICAR file has 68 bytes");
    host.end()
}
