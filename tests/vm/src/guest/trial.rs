//! A release is tried on a machine that is suspended meanwhile and whose clock jumps: neither is held against it, and
//! neither lets it off a part of its time.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_api::control::{EngineState, Trial};
use outrigger_api::release::{Part, State};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::releases::{Releases, Staged};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Setup, bait};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::machine::{BUDGET_MS, tell_end_of};
use crate::report::Report;

const HOME: &str = "/var/lib/outrigger-tests/trial";
const ENGINE: &str = "hashlist";
/// Each phase lasts longer than the machine takes to go to sleep.
const POLICY: &str = "[shadow]\nlength_ms = 6000\nmisses_max = 1000\n\n[probation]\nlength_ms = 6000\n\
                      misses_max = 1000\nlatency_percent = 100000\ncpu_percent = 100000\n";
/// What the second release refuses and the first does not.
const MARK: &[u8] = b"known by the second list alone\n";
const MARKED: &str = "/root/marked";
/// How long the machine sleeps: longer than a phase.
const ASLEEP: Duration = Duration::from_secs(8);
const YEAR_S: i64 = 365 * 24 * 3600;
const LIMIT: Duration = Duration::from_secs(90);
/// Wakes the machine at a time of its own clock.
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
/// How often the machine has slept.
const SLEPT: &str = "/sys/power/suspend_stats/success";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    bait::put(Path::new(MARKED), MARK)?;
    let folder = Path::new(HOME);
    fs::create_dir_all(folder)?;
    let engine = EngineSetup::hashlist();
    let setup = Setup::protecting(Path::new("/"))
        .budget_ms(BUDGET_MS)
        .uncached()
        .updates(POLICY)
        .engine(engine.clone().installed());
    let releases = Releases::of(folder);
    fs::create_dir_all(folder.join("state"))?;
    releases.install(&engine, "1.0.0")?;
    let host = Host::start(folder, &setup)?;
    host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    let before = host.pids()?;
    let second = releases.stage(&engine.also_denying(MARK), Part::Content, "2.0.0")?;
    host.try_out(ENGINE, vec![second.name.clone()])?;

    report.test("trial::suspended_and_set_in_shadow", || disturbed(&host, State::Shadow));
    report.test("trial::suspended_and_set_on_probation", || disturbed(&host, State::Probation));
    report.test("trial::comes_to_its_end", || ended(&host, &releases, &second));
    report.test("trial::nothing_was_started_again", || {
        let after = host.pids()?;
        ensure!(after == before, "{before:?} became {after:?}");
        Ok(format!("{after:?}"))
    });
    if report.has_failed() {
        tell_end_of(&host.log());
    }
    host.end()
}

/// The clock is set a year ahead, back by two, and right again; then the machine sleeps for longer than the phase lasts.
fn disturbed(host: &Host, phase: State) -> Result<String> {
    let found = wait_for("the phase", LIMIT, || {
        Ok(trial(host)?.filter(|trial| trial.state == phase && trial.served_ms > 0))
    })?;
    jump(YEAR_S)?;
    jump(-2 * YEAR_S)?;
    // It wakes with the time of its own clock, so that the two must not differ.
    jump(YEAR_S)?;
    let awake = sleep()?;
    let later = wait_for("the trial after the sleep", LIMIT, || Ok(Some(trial(host)?)))?;
    // Had the sleep counted, the phase would be over.
    let served = later.filter(|later| later.state == phase).map(|later| later.served_ms);
    let possible = found.served_ms + u64::try_from(awake.as_millis())? + 2500;
    ensure!(
        served.is_none_or(|served| served <= possible),
        "{served:?} ms are counted, of which at most {possible} were awake"
    );
    ensure!(
        served.is_some() || possible >= found.length_ms,
        "the phase was over after {} ms and {awake:?} awake",
        found.served_ms
    );
    Ok(format!("{awake:?} of it awake; {served:?} ms of {} served", found.length_ms))
}

fn ended(host: &Host, releases: &Releases, second: &Staged) -> Result<String> {
    wait_for("the end of the trial", LIMIT, || Ok(trial(host)?.is_none().then_some(())))?;
    let story = releases.wait_state(second, State::Active, LIMIT)?;
    let last = story.transitions.last().context("it has no story")?.detail.clone();
    host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    let opened = ways::open(Path::new(MARKED));
    ensure!(opened == Outcome::Refused, "what the second list names is {opened:?}");
    Ok(last)
}

fn trial(host: &Host) -> Result<Option<Trial>> {
    Ok(host.trials()?.into_iter().next())
}

/// Sets the wall clock by so many seconds.
fn jump(seconds: i64) -> Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec { tv_sec: now.tv_sec + seconds, ..now };
    clock_settime(ClockId::Realtime, then).context("cannot set the clock")
}

/// Has the machine sleep until its own clock wakes it; how long the going to sleep and the waking up took of the time
/// in which it ran.
fn sleep() -> Result<Duration> {
    let slept = || -> Result<u32> { Ok(fs::read_to_string(SLEPT)?.trim().parse()?) };
    let (before, began) = (slept()?, Instant::now());
    fs::write(ALARM, "0").context("the machine's clock cannot wake it")?;
    fs::write(ALARM, format!("+{}", ASLEEP.as_secs()))
        .context("the machine's clock cannot wake it")?;
    // To memory, not to idle: processors without idle states go on counting in the latter.
    fs::write("/sys/power/mem_sleep", "deep").context("the machine cannot sleep to memory")?;
    fs::write("/sys/power/state", "mem").context("the machine does not sleep")?;
    let awake = began.elapsed();
    ensure!(slept()? == before + 1, "the machine did not sleep");
    Ok(awake)
}
