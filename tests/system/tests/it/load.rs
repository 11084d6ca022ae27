//! Many files, many threads, many users, and nothing at all.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::Request;
use outrigger_testkit::agent::{Agent, Opened};
use outrigger_testkit::clock::{as_ms, wait_for};
use outrigger_testkit::figures::{at_most, say, waits_at_most};
use outrigger_testkit::openers::{Openers, Target};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, proc};

use crate::scene::{BUDGET_MS, Scene, expect, short_or_full, show};

pub(crate) fn forty_thousand_files_leave_no_descriptor(lab: &Lab) -> Result<()> {
    const FILES: usize = 40_000;
    const THREADS: usize = 64;
    let scene = Scene::new(lab, FILES)?;
    let setup = Setup::protecting(scene.path()).budget_ms(1000).fail_closed();
    let host = lab.start(&setup.engine(EngineSetup::hashlist()))?;
    // The kernel's programs, which have descriptors, are loaded when each was tried.
    host.coverage()?;
    let before = descriptors(&host)?;

    let openers = Openers::start(THREADS, scene.clean.iter().map(Target::clean).collect());
    let passes = short_or_full(1, 5) * FILES as u64;
    wait_for("every file to be opened", Duration::from_secs(90), || {
        Ok((openers.finished().iter().sum::<u64>() >= passes).then_some(()))
    })?;
    let tally = openers.stop()?;
    let loaded = host.status()?;
    host.ask(&Request::Flush)?;
    let after = wait_for("the flush", Duration::from_secs(10), || {
        let count = descriptors(&host)?;
        Ok((host.status()?.descriptors.leases == 0).then_some(count))
    })?;

    show("openers", &tally);
    say(format_args!(
        "{} cached, {} leases of at most {}; descriptors {before} before, {after} after the flush",
        loaded.counters.cached, loaded.descriptors.leases, loaded.descriptors.leases_max
    ));
    ensure!(tally.wrongly_refused == 0, "{} opens gave EPERM", tally.wrongly_refused);
    ensure!(tally.failed == 0, "{} opens failed with error {}", tally.failed, tally.last_error);
    ensure!(loaded.counters.cached > 1000, "nothing was cached");
    at_most("descriptors kept", after.saturating_sub(before), 8, "descriptors")?;
    expect("the bad file after it", ways::open(&scene.eicar), Outcome::Refused)?;
    host.end()
}

fn descriptors(host: &Host) -> Result<usize> {
    proc::descriptors(host.pids()?.host).context("the host is gone")
}

pub(crate) fn one_user_cannot_starve_another(lab: &Lab) -> Result<()> {
    const FILES: usize = 2000;
    let scene = Scene::new(lab, FILES)?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let host = lab.start(&setup.engine(EngineSetup::hashlist()))?;
    let folder = scene.path().to_string_lossy().into_owned();
    let victim = || -> Result<Opened> {
        let arguments = [folder.as_str(), "0", &FILES.to_string(), "500"];
        let mut agent = Agent::start_as("pace", &arguments, 1001)?;
        agent.ready()?;
        agent.result()
    };

    let alone = victim()?;
    let mut flood = Agent::start_as("flood", &[&folder, &FILES.to_string(), "32"], 65534)?;
    flood.ready()?;
    let flooded = victim()?;
    drop(flood);

    say(format_args!("alone: {}", alone.waits));
    say(format_args!("flooded: {}", flooded.waits));
    ensure!(flooded.served == FILES as u64, "the victim was refused {}", flooded.refused);
    let ratio = tenths(flooded.waits.p99, alone.waits.p99);
    at_most("p99 under the other's flood, times that alone", ratio, 3.0, "×")?;
    host.end()
}

/// More questions at a time than the limit: those over it get the fallback at once, and are counted.
pub(crate) fn over_the_limit_is_answered_at_once(lab: &Lab) -> Result<()> {
    const LIMIT: u32 = 16;
    const THREADS: usize = 48;
    let scene = Scene::new(lab, 500)?;
    let setup = Setup::protecting(scene.path()).budget_ms(3000).in_flight_max(LIMIT).uncached();
    let host = lab
        .start(&setup.engine(EngineSetup::faulty_reader("judge", "deny-marked").hang_ms(20_000)))?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    host.behave("judge", "silent")?;

    let openers = Openers::start(THREADS, scene.clean.iter().map(Target::clean).collect());
    wait_for("questions over the limit", Duration::from_secs(2), || {
        let full = host.counters()?.fallbacks.get("queue-full").copied().unwrap_or(0);
        Ok((full > 1000).then_some(()))
    })?;
    let in_flight = host.status()?.descriptors.in_flight;
    host.behave("judge", "deny-marked")?;
    let tally = openers.stop()?;

    show("openers", &tally);
    at_most("questions decided at a time", in_flight, LIMIT, "questions")?;
    ensure!(in_flight > 0, "no question was being decided, so there was no limit to reach");
    ensure!(tally.served == tally.opens(), "the policy fails open, and some were not served");
    waits_at_most("the middle open", as_ms(tally.waits.quantile(500)), 5.0)?;
    host.end()
}

#[expect(clippy::cast_precision_loss, reason = "durations of less than a day")]
fn tenths(value: u64, of: u64) -> f64 {
    value as f64 / of.max(1) as f64
}

pub(crate) fn idle_costs_next_to_nothing(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 5000)?;
    let host = lab.start(&Setup::protecting(scene.path()).engine(EngineSetup::hashlist()))?;
    let mut tally = outrigger_testkit::openers::Tally::default();
    scene.clean.iter().for_each(|path| tally.open(&Target::clean(path)));
    // The last of what a host does at its start, which takes its time: it tries the kernel.
    host.coverage()?;
    let pids = host.pids()?;
    let pids = [("keeper", pids.keeper), ("gate", pids.gate), ("host", pids.host)];
    let used = || -> Duration { pids.iter().filter_map(|(_, pid)| proc::cpu_time(*pid)).sum() };

    let (before, time) = (used(), Duration::from_secs(short_or_full(5, 30)));
    std::thread::sleep(time);
    let percent = (used() - before).as_secs_f64() / time.as_secs_f64() * 100.0;

    // Most pages are shared among the three; together, each counts once.
    let mut together = 0;
    for (name, pid) in pids {
        let gone = || format!("the {name} is gone");
        let resident = proc::resident_bytes(pid).with_context(gone)?;
        let share = proc::proportional_bytes(pid).with_context(gone)?;
        say(format_args!("{name}: {} kB resident, {} kB its share", resident / 1024, share / 1024));
        together += share;
    }
    at_most("resident together", together / 1024, 30 * 1024, "kB")?;
    at_most("processor time while idle", percent, 1.0, "%")?;
    host.end()
}
