//! Keeper, gate and host killed, stopped and replaced under load.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use outrigger_api::control::{Counters, EngineState, Pids, Request};
use outrigger_testkit::clock::{as_ms, now, wait_for};
use outrigger_testkit::figures::{say, waits_at_most};
use outrigger_testkit::host::Part;
use outrigger_testkit::openers::Openers;
use outrigger_testkit::suite::Skipped;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, binaries, proc, stall};
use rustix::process::Signal;

use crate::scene::{BUDGET_MS, Scene, expect, short_or_full, show, timed_open};

const THREADS: usize = 64;
/// What a part may need to come back.
const BACK_MS: f64 = 300.0;
/// A wait that is a hang.
const HANG_MS: f64 = 500.0;

fn start(lab: &Lab, scene: &Scene, closed: bool) -> Result<Host> {
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let setup = if closed { setup.fail_closed() } else { setup };
    lab.start(&setup.engine(EngineSetup::hashlist()))
}

pub(crate) fn killed_fails_closed(lab: &Lab) -> Result<()> {
    survives(lab, Signal::KILL, true)
}

pub(crate) fn killed_fails_open_and_counts(lab: &Lab) -> Result<()> {
    survives(lab, Signal::KILL, false)
}

pub(crate) fn stopped_fails_closed(lab: &Lab) -> Result<()> {
    survives(lab, Signal::STOP, true)
}

pub(crate) fn stopped_fails_open_and_counts(lab: &Lab) -> Result<()> {
    survives(lab, Signal::STOP, false)
}

/// The host gets `signal` again and again while 64 threads open clean and bad files.
fn survives(lab: &Lab, signal: Signal, closed: bool) -> Result<()> {
    let scene = Scene::new(lab, 500)?;
    let targets = scene.mixed_targets(50)?;
    let host = start(lab, &scene, closed)?;
    let openers = Openers::start(THREADS, targets);
    let mut longest_return = 0.0_f64;
    let mut longest_refusal = 0.0_f64;
    let ends = short_or_full(5, 20);
    for _ in 0..ends {
        std::thread::sleep(Duration::from_millis(100));
        let old = host.signal(Part::Host, signal)?;
        let sent = now();
        host.wait_successor(old, Duration::from_secs(5))?;
        longest_return = longest_return.max(as_ms(now() - sent));
        wait_for("a refusal of the bad file", Duration::from_secs(5), || {
            Ok((ways::open(&scene.eicar) == Outcome::Refused).then_some(()))
        })?;
        longest_refusal = longest_refusal.max(as_ms(now() - sent));
    }
    let waiting = openers.longest_wait();
    let reason = if signal == Signal::KILL { "host-dead" } else { "host-hung" };
    died_for(&host, reason, ends)?;
    let before = openers.finished();
    wait_for("progress of every opener", Duration::from_secs(2), || {
        Ok(before.iter().zip(openers.finished()).all(|(old, new)| new > *old).then_some(()))
    })?;
    let tally = openers.stop()?;

    show("openers", &tally);
    say(format_args!("fallbacks: {:?}", host.counters()?.fallbacks));
    ensure!(tally.failed == 0, "{} opens failed with error {}", tally.failed, tally.last_error);
    ensure!(tally.served > 0 && tally.refused > 0, "nothing was served or nothing refused");
    if closed {
        ensure!(tally.slipped == 0, "{} bad files were opened", tally.slipped);
    } else {
        ensure!(tally.wrongly_refused == 0, "{} clean files were refused", tally.wrongly_refused);
        let counted = fallbacks(&host.counters()?);
        say(format_args!("{} bad files were opened, {counted} fallbacks counted", tally.slipped));
        ensure!(tally.slipped <= counted, "{} slipped, {counted} counted", tally.slipped);
    }
    waits_at_most("waiting at the end", as_ms(waiting), HANG_MS)?;
    waits_at_most("the longest open", as_ms(tally.waits.max()), HANG_MS)?;
    waits_at_most("until another host answered", longest_return, BACK_MS)?;
    waits_at_most("until the bad file was refused", longest_refusal, BACK_MS)?;
    host.end()
}

/// Each of these ends of a host was counted and written down for this reason, and what it held fell back
/// for it. A machine that stands still may have had another host taken for hung.
fn died_for(host: &Host, reason: &str, ends: u64) -> Result<()> {
    let status = host.status()?;
    let Counters { faults, fallbacks, .. } = status.counters;
    let of = |reason: &str| faults.get(reason).copied().unwrap_or(0);
    ensure!(of(reason) >= ends, "{ends} hosts were ended, faults {faults:?}");
    let starts = status.host_starts;
    let all = of("host-dead") + of("host-hung");
    ensure!(all == starts - 1, "{starts} hosts were started, faults {faults:?}");
    ensure!(fallbacks.get(reason).is_some_and(|count| *count > 0), "fallbacks {fallbacks:?}");
    is_journaled(host, reason)
}

/// An error unless the journal has a fault of this reason.
fn is_journaled(host: &Host, reason: &str) -> Result<()> {
    let named = format!(r#""reason":"{reason}""#);
    let is_fault = |line: &str| line.contains(r#""kind":"fault""#) && line.contains(&named);
    wait_for(&format!("a fault {reason} in the journal"), Duration::from_secs(2), || {
        Ok(host.log().lines().any(is_fault).then_some(()))
    })
}

/// The only question for a while: the host stops with it in hand, and nobody asks another.
pub(crate) fn stopped_with_one_question_lets_it_go(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let host = lab.start(&setup.engine(EngineSetup::faulty_reader("judge", "deny-marked")))?;
    for _ in 0..short_or_full(2, 10) {
        host.behave("judge", "silent")?;
        // An idle second, after which the gate looks less often.
        std::thread::sleep(Duration::from_secs(1));
        let old = host.pids()?.host;
        let before = asked(&host)?;
        let waited = std::thread::scope(|scope| -> Result<f64> {
            let opener = scope.spawn(|| timed_open(&scene.clean[0]));
            wait_for("the question", Duration::from_secs(2), || {
                Ok((asked(&host)? > before).then_some(()))
            })?;
            host.signal(Part::Host, Signal::STOP)?;
            let (waited, served) = opener.join().map_err(|_| anyhow!("the opener panicked"))?;
            ensure!(served, "the policy fails open");
            Ok(waited)
        })?;
        waits_at_most("the only open", waited, HANG_MS)?;
        // Stopped after the answer it is not missed before the next question.
        let _ = timed_open(&scene.clean[0]);
        host.wait_successor(old, Duration::from_secs(5))?;
        host.wait_engine("judge", EngineState::Docked, Duration::from_secs(5))?;
    }
    host.end()
}

/// A host that is stopped is replaced although no question shows that it is: the kernel may have been handing one
/// over just then, which nobody sees but who waits for it.
pub(crate) fn stopped_while_idle_is_replaced(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, false)?;
    for _ in 0..short_or_full(2, 10) {
        let old = host.signal(Part::Host, Signal::STOP)?;
        let stopped = now();

        host.wait_successor(old, Duration::from_secs(5))?;

        waits_at_most("until another host answered", as_ms(now() - stopped), HANG_MS)?;
        host.wait_engine("hashlist", EngineState::Docked, Duration::from_secs(5))?;
        // Nothing was asked meanwhile, for longer than a budget: the first question has the whole of its own.
        wait_for("more than a budget", Duration::from_secs(5), || {
            Ok((as_ms(now() - stopped) > 4.0 * f64::from(BUDGET_MS)).then_some(()))
        })?;
        expect("the first open", ways::open(&scene.eicar), Outcome::Refused)?;
    }
    let counters = host.counters()?;
    let ends = counters.faults.get("host-hung").copied();
    ensure!(ends == Some(short_or_full(2, 10)), "faults {:?}", counters.faults);
    is_journaled(&host, "host-hung")?;
    host.end()
}

fn asked(host: &Host) -> Result<u64> {
    Ok(host.counters()?.asked.values().sum())
}

fn fallbacks(counters: &Counters) -> u64 {
    counters.fallbacks.values().sum()
}

/// Without a gate the host decides as before; with fail open nothing slips through meanwhile.
pub(crate) fn decides_on_while_the_gate_is_killed(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 500)?;
    let targets = scene.mixed_targets(50)?;
    let host = start(lab, &scene, false)?;
    let before = fallbacks(&host.counters()?);
    let openers = Openers::start(16, targets);
    let kills = short_or_full(5, 20);
    for _ in 0..kills {
        let starts = host.status()?.gate_starts;
        let old = host.signal(Part::Gate, Signal::KILL)?;
        let killed = now();

        let pids = wait_for("another gate", Duration::from_secs(5), || {
            let status = host.status()?;
            Ok((status.gate_starts > starts && status.pids.gate != old).then_some(status.pids))
        })?;

        waits_at_most("until another gate was there", as_ms(now() - killed), BACK_MS)?;
        ensure!(proc::is_alive(pids.gate), "the gate named by status is not alive");
    }
    let tally = openers.stop()?;

    show("openers", &tally);
    let counters = host.counters()?;
    ensure!(counters.faults.get("gate-dead") == Some(&kills), "faults {:?}", counters.faults);
    is_journaled(&host, "gate-dead")?;
    let fallbacks = fallbacks(&counters) - before;
    ensure!(tally.refused > 0 && tally.served > 0, "nothing was opened");
    ensure!(tally.slipped == 0, "{} bad files were opened, {fallbacks} fallbacks", tally.slipped);
    ensure!(tally.wrongly_refused == 0 && tally.failed == 0, "clean files were not served");
    waits_at_most("the longest open", as_ms(tally.waits.max()), HANG_MS)?;
    host.end()
}

pub(crate) fn without_its_keeper_everything_ends(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 100)?;
    let mut host = start(lab, &scene, true)?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    let pids = host.pids()?;
    let engine = host.engine("hashlist")?.pid;
    let openers = Openers::start(8, scene.mixed_targets(0)?);

    host.signal(Part::Keeper, Signal::KILL)?;
    host.wait_keeper_end()?;
    wait_for("the end of gate, host and engine", Duration::from_secs(2), || {
        let left = [Some(pids.gate), Some(pids.host), engine].into_iter().flatten();
        Ok(left.filter(|pid| proc::is_alive(*pid)).count().eq(&0).then_some(()))
    })?;

    expect("the bad file without the platform", ways::open(&scene.eicar), Outcome::Through)?;
    let tally = openers.stop()?;
    show("openers", &tally);
    waits_at_most("the longest open", as_ms(tally.waits.max()), HANG_MS)?;
    is_journaled(&host, "keeper-dead")
}

pub(crate) fn a_new_build_takes_over_under_load(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 500)?;
    let targets = scene.mixed_targets(50)?;
    let host = start(lab, &scene, true)?;
    let build = lab.path("outriggerd-new");
    fs::copy(binaries::path(binaries::HOST)?, &build)?;
    let old = host.pids()?;
    let openers = Openers::start(THREADS, targets);

    let asked = now();
    let binary = Some(build.to_string_lossy().into_owned());
    host.ask(&Request::Upgrade { binary })?;
    let is_new = |pid| proc::runs(pid, &build);
    wait_for("the new build", Duration::from_secs(10), || {
        let pids = host.pids_soon();
        let is_taken_over =
            pids.is_some_and(|new| [new.keeper, new.gate, new.host].into_iter().all(is_new));
        let is_old_gone = [old.gate, old.host].into_iter().all(|pid| !proc::is_alive(pid));
        Ok((is_taken_over && is_old_gone).then_some(()))
    })
    .with_context(|| {
        let described = |pids: Pids| [pids.keeper, pids.gate, pids.host].map(proc::describe);
        format!("old: {:?}, new: {:?}", described(old), host.pids_soon().map(described))
    })?;
    say(format_args!("took over after {:.0} ms", as_ms(now() - asked)));
    let tally = openers.stop()?;

    show("openers", &tally);
    ensure!(tally.slipped == 0, "{} bad files were opened", tally.slipped);
    ensure!(tally.failed == 0, "{} opens failed with error {}", tally.failed, tally.last_error);
    ensure!(tally.refused > 0 && tally.served > 0, "nothing was opened");
    waits_at_most("the longest open", as_ms(tally.waits.max()), HANG_MS)?;
    expect("the bad file after it", ways::open(&scene.eicar), Outcome::Refused)?;
    Ok(())
}

/// Whoever ends waits runs before every ordinary thread of the machine; nobody else does, and no engine.
pub(crate) fn who_keeps_deadlines_is_above_ordinary_threads(lab: &Lab) -> Result<()> {
    if !stall::real_time_is_to_be_had() {
        return Err(Skipped("no thread may have real-time priority here".to_owned()).into());
    }
    let scene = Scene::new(lab, 0)?;
    let host = start(lab, &scene, true)?;
    let pids = host.pids()?;

    wait_for("the thread that keeps deadlines", Duration::from_secs(5), || {
        Ok((proc::real_time_threads(pids.host) == ["deadlines"]).then_some(()))
    })
    .with_context(|| format!("the host has {:?}", proc::real_time_threads(pids.host)))?;
    let gate = proc::real_time_threads(pids.gate);
    ensure!(gate == ["outrigger-gate"], "the gate has {gate:?}");
    let engine = host.engine("hashlist")?.pid.context("the engine has a process")?;
    for pid in [pids.keeper, engine] {
        let raised = proc::real_time_threads(pid);
        ensure!(raised.is_empty(), "{} has {raised:?}", proc::describe(pid));
    }
    host.end()
}

/// The end of the platform leaves no process, no denial and nobody waiting.
pub(crate) fn ends_without_a_trace(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 100)?;
    let targets = scene.mixed_targets(10)?;
    let host = start(lab, &scene, true)?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    let openers = Openers::start(16, targets);
    std::thread::sleep(Duration::from_millis(200));

    host.end()?;

    expect("the bad file afterwards", ways::open(&scene.eicar), Outcome::Through)?;
    expect("the bad program afterwards", ways::exec(&scene.program), Outcome::Through)?;
    let tally = openers.stop()?;
    show("openers", &tally);
    waits_at_most("the longest open", as_ms(tally.waits.max()), HANG_MS)
}
