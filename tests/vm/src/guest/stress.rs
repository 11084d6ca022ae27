//! The whole platform under load: three engines, one of them hostile, every event subscribed to and caused, and the
//! rules replaced all the while. Whoever started the guest looks whether its kernel complained.
//!
//! What is looked at: each set is obeyed from the moment on that the host says so, and the last one to the end; of one
//! event, which nobody else causes, each is told to an engine or counted as lost; every act can be done; nothing is
//! restarted but the hostile engine; the host's memory does not grow.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_api::Event;
use outrigger_api::control::{EngineAction, EngineState, EngineStatus};
use outrigger_api::coverage::Level;
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::{EngineSetup, Host, Setup, proc, stall};
use rustix::fs::removexattr;

use crate::events::{cause, scene};
use crate::machine::tell_end_of;
use crate::report::{Report, say};

/// Where the platform's files lie: not on what it protects.
const HOME: &str = "/var/lib/outrigger-stress";
/// Processes that act at the same time.
const CAUSING: usize = 2;
/// The event of which each is counted: it is caused in [`burst`]s, by this process alone.
const COUNTED: Event = Event::FileRemovexattr;
/// How many of it at once.
const BURST: u64 = 400;
/// The budget of every question, ms; the gate takes a host for hung that reads none for as long.
const BUDGET_MS: u32 = 10_000;
/// Where the machine itself stood still for longer, ms, a gate may have been taken for hung.
const STILL_MS: f64 = 200.0;
/// What counts what it is told. It follows the children of the first process, which has none.
const WATCHER: &str = "watcher";
const COUNTS: &str = "tally 1";
/// What the hostile engine does, one after the other; the first ends it.
const HOSTILE: &str = "hostile";
const DEEDS: [&str; 4] = ["crash-after 5", "stall 200", "leak-threads", "print-for 500"];
/// How long it may take for each.
const DEED_LIMIT: Duration = Duration::from_secs(3);
/// How long the watcher may take for what it has been told.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much more memory the host may have at the end than after the first third, in bytes: its tables are full by then.
const GROWTH_MAX: u64 = 4 << 20;
/// The first set, and how long it may take until it is in force.
const FIRST: u64 = 1;
const FIRST_LIMIT: Duration = Duration::from_secs(300);
/// Least sets of rules that are put in force.
const SETS_MIN: u64 = 4;
/// What the host says of a set that could not be read in time, on processors that have other things to do.
const TOO_LATE: &str = "did not end within";

/// What has been done.
#[derive(Default)]
struct Done {
    ended: AtomicBool,
    acts: AtomicU64,
    counted: AtomicU64,
    /// Why acts could not be done, and how many of them.
    failed: Mutex<BTreeMap<String, u64>>,
    /// Held by whoever uses the port, of which there is one.
    port: Mutex<()>,
}

/// What came of the sets of rules.
#[derive(Default)]
struct Sets {
    /// Sets put in force, and sets that could not be read in time.
    switched: u64,
    late: u64,
    /// The number of the one in force.
    last: u64,
    /// The host's memory after a third of the time and at its end, in bytes.
    memory: Option<u64>,
    memory_last: u64,
}

/// Runs everything for `seconds`.
pub(crate) fn run(seconds: &str, report: &mut Report) -> Result<()> {
    let limit = Duration::from_secs(seconds.parse().context("how many seconds?")?);
    stall::watch();
    scene::build()?;
    for parity in 0..2 {
        fs::write(of_parity(parity), "content")?;
    }
    let mut watcher = EngineSetup::faulty(WATCHER, COUNTS).field("path").optional();
    for &event in Event::ALL.iter().filter(|event| !event.can_be_asked()) {
        watcher = watcher.subscribed(event.name(), "notify", None);
    }
    let hostile = EngineSetup::faulty(HOSTILE, "allow").optional().restarts_max(1_000);
    let setup = Setup::protecting(Path::new(scene::OBJECTS))
        // While programs are attached, emulated processors do nothing else for a second and more.
        .budget_ms(BUDGET_MS)
        .engine(EngineSetup::hashlist().misses_max(1_000_000).hang_ms(60_000))
        // It may be late for every question, but not gone.
        .engine(watcher.misses_max(1_000_000).hang_ms(60_000))
        .engine(hostile.misses_max(1_000_000).backoff_ms(100));
    let host = Host::start(Path::new(HOME), &setup)?;
    report.test("stress::every_set_is_obeyed", || {
        let (sets, done) = load(&host, limit)?;
        is_obeyed(sets.last)?;
        let status = host.status()?;
        let policy = status.policy.context("there are no rules")?;
        ensure!(sets.late > 0 || policy.problem.is_none(), "{policy:?}");
        report_of(&host, &sets, &done)
    });
    if report.has_failed() {
        tell_end_of(&host.log());
        tell_kernels_end();
    }
    report.test("stress::the_platform_ends", || {
        let begun = Instant::now();
        host.end()?;
        Ok(format!("no process is left after {} ms", begun.elapsed().as_millis()))
    });
    Ok(())
}

/// Everything at once, until the time is up.
fn load(host: &Host, limit: Duration) -> Result<(Sets, Done)> {
    let begun = Instant::now();
    host.coverage()?;
    let done = Done::default();
    say(format_args!("{} s after its start the kernel was tried", begun.elapsed().as_secs()));
    // The first set has every program attached, which alone can take longer than the host lets an operator wait.
    wait_for("the first set", FIRST_LIMIT, || {
        Ok(host.apply_policy("stress.cedar", &rules(FIRST)).is_ok().then_some(()))
    })?;
    say(format_args!("{} s after its start the first set was in force", begun.elapsed().as_secs()));
    let sets = thread::scope(|scope| {
        for number in 0..CAUSING {
            let done = &done;
            scope.spawn(move || act_until_over(done, number));
        }
        scope.spawn(|| misbehave(host, &done));
        let sets = replace_rules(host, limit, &done);
        done.ended.store(true, Ordering::Relaxed);
        sets
    });
    Ok((sets?, done))
}

/// What is to hold at the end, and its figures.
fn report_of(host: &Host, sets: &Sets, done: &Done) -> Result<String> {
    let acts = done.acts.load(Ordering::Relaxed);
    let failed = done.failed.lock().map(|failed| failed.clone()).unwrap_or_default();
    ensure!(failed.is_empty(), "{acts} acts, and these could not be done: {failed:?}");
    ensure!(acts > 0, "nothing was caused");
    let (told, lost) = all_counted(host, done.counted.load(Ordering::Relaxed))?;
    let status = host.status()?;
    let starts = |name: &str| -> Result<u64> {
        let engine = status.engines.iter().find(|engine| engine.name.as_str() == name);
        Ok(engine.with_context(|| format!("there is no engine {name}"))?.starts)
    };
    ensure!(starts(HOSTILE)? > 1, "the hostile engine did nothing");
    let once = [starts(WATCHER)?, starts("hashlist")?, status.host_starts];
    ensure!(once == [1; 3], "watcher, hashlist and host were started {once:?} times");
    let (gates, still) = (status.gate_starts, stall::longest_ms());
    ensure!(gates == 1 || still > STILL_MS, "the gate was started {gates} times");
    let memory = sets.memory.context("the host's memory was not looked at")?;
    let (before, after) = (memory >> 10, sets.memory_last >> 10);
    ensure!(
        sets.memory_last <= memory + GROWTH_MAX,
        "the host had {before} KiB after a third of the time, and {after} KiB at its end"
    );
    Ok(format!(
        "{acts} acts; {} sets of rules, {} more not read in time; {} events counted: {told} told, {lost} \
         lost; {} lives of the hostile engine; {gates} gates, the machine stood still for {still:.0} ms; host {before} KiB, at the end {after} KiB",
        sets.switched,
        sets.late,
        told + lost,
        starts(HOSTILE)?,
    ))
}

/// Causes one event after the other, but the one that is counted.
fn act_until_over(done: &Done, number: usize) {
    let events: Vec<Event> = Event::ALL.iter().copied().filter(|event| *event != COUNTED).collect();
    for turn in 0.. {
        if done.ended.load(Ordering::Relaxed) {
            return;
        }
        let serial = turn * CAUSING + number;
        let event = events[serial % events.len()];
        let _port = event.name().starts_with("net.").then(|| done.port.lock());
        done.acts.fetch_add(1, Ordering::Relaxed);
        if let (Err(error), Ok(mut failed)) = (cause(event, 1000 + serial), done.failed.lock()) {
            *failed.entry(format!("{event}: {error:#}")).or_default() += 1;
        }
    }
}

/// Has the hostile engine do one thing after the other. It may be gone just then, of what it did before.
fn misbehave(host: &Host, done: &Done) {
    let starts = || host.engine(HOSTILE).map_or(0, |engine| engine.starts);
    for deed in DEEDS.iter().cycle() {
        // Quarantined for what it did; an operator who does not learn gives it back.
        if host.engine(HOSTILE).is_ok_and(|engine| engine.state == EngineState::Quarantined) {
            let _ = host.engine_action(HOSTILE, EngineAction::Release);
        }
        let before = starts();
        let told = host.tell(HOSTILE, deed).is_ok();
        let is_seen = |engine: &EngineStatus| {
            let has_it = engine.content.as_ref().is_some_and(|content| content.starts_with(deed));
            engine.starts > before || (told && has_it && !deed.starts_with("crash"))
        };
        // What it does not do in time, the next deed follows.
        let _ = wait_for("a deed", DEED_LIMIT, || {
            let over = done.ended.load(Ordering::Relaxed);
            Ok((over || host.engine(HOSTILE).is_ok_and(|engine| is_seen(&engine))).then_some(()))
        });
        if done.ended.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Puts one set of rules after the other in force until the time is up, each looked at before the next.
fn replace_rules(host: &Host, limit: Duration, done: &Done) -> Result<Sets> {
    let begun = Instant::now();
    let mut sets = Sets { last: FIRST, ..Sets::default() };
    let keeper = host.pids()?;
    for number in FIRST + 1.. {
        // On a machine that has other things to do it takes as long as it takes.
        if begun.elapsed() >= limit && sets.switched >= SETS_MIN {
            break;
        }
        match host.apply_policy("stress.cedar", &rules(number)) {
            Ok(_) => (sets.switched, sets.last) = (sets.switched + 1, number),
            Err(error) if format!("{error:#}").contains(TOO_LATE) => sets.late += 1,
            Err(error) => return Err(error),
        }
        is_obeyed(sets.last)?;
        burst(done)?;
        sets.memory_last = proc::resident_bytes(keeper.host).context("the host is gone")?;
        if begun.elapsed() >= limit / 3 {
            sets.memory.get_or_insert(sets.memory_last);
        }
    }
    Ok(sets)
}

/// Whether the set of this number decides: on a folder that is made, where no answer is ever kept, and on files that
/// are opened, where it is; nothing is left of the set before.
fn is_obeyed(number: u64) -> Result<()> {
    let place = |number: u64| format!("{}/set-{number}", scene::OBJECTS);
    let made = |number: u64| -> Result<bool> {
        let made = allowed(fs::create_dir(place(number)))?;
        if made {
            fs::remove_dir(place(number))?;
        }
        Ok(made)
    };
    ensure!(!made(number)?, "set {number}: the folder that it denies was made");
    let before = number.wrapping_sub(1);
    ensure!(made(before)?, "set {number}: a folder that it does not deny was refused");
    // The second time what was kept decides.
    for time in ["first", "second"] {
        let denied = !allowed(File::open(of_parity(number % 2)).map(drop))?;
        ensure!(denied, "set {number}: the file that it denies was opened, the {time} time");
        let opened = allowed(File::open(of_parity((number + 1) % 2)).map(drop))?;
        ensure!(opened, "set {number}: a file that it does not deny was refused, the {time} time");
    }
    Ok(())
}

/// Whether something could be done; an error that is not a denial is one.
fn allowed(done: io::Result<()>) -> Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Causes the event that is counted, faster than an engine can take it: an attribute removed that is not there.
fn burst(done: &Done) -> Result<()> {
    for _ in 0..BURST {
        match removexattr(of_parity(0), "trusted.nothing") {
            Err(rustix::io::Errno::NODATA) => done.counted.fetch_add(1, Ordering::Relaxed),
            other => anyhow::bail!("removing an attribute that is not there: {other:?}"),
        };
    }
    Ok(())
}

/// How many of the event that is counted the watcher was told, and how many were counted as lost: together all.
fn all_counted(host: &Host, caused: u64) -> Result<(u64, u64)> {
    let mut seen = (0, 0);
    let found = wait_for("every event", PATIENCE, || {
        let Ok(content) = host.behave(WATCHER, COUNTS) else { return Ok(None) };
        let words: HashMap<&str, u64> = content
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .filter_map(|(name, number)| Some((name, number.parse().ok()?)))
            .collect();
        let number = |name: &str| words.get(name).copied().unwrap_or(0);
        seen = (number(COUNTED.name()), number(&format!("lost.{COUNTED}")));
        Ok((seen.0 + seen.1 >= caused).then_some(seen))
    });
    let (told, lost) = found.with_context(|| format!("{caused} caused; told, lost: {seen:?}"))?;
    ensure!(told + lost == caused, "{caused} were caused, {told} told and {lost} lost");
    Ok((told, lost))
}

/// The last lines of the kernel's own log: which process it ended and why is not on its console.
fn tell_kernels_end() {
    let said = Command::new("/usr/lib/outrigger-vm/busybox").arg("dmesg").output();
    let said = said.map(|done| String::from_utf8_lossy(&done.stdout).into_owned());
    tell_end_of(&said.unwrap_or_default());
}

fn of_parity(parity: u64) -> String {
    format!("{}/parity-{parity}", scene::OBJECTS)
}

/// A set of rules: one about every event, which stops no act, one about a folder and one about a file.
fn rules(number: u64) -> String {
    let decided = |event: &&Event| matches!(event.strongest(), Level::Ask | Level::Rule);
    let events: Vec<String> =
        Event::ALL.iter().filter(decided).map(|event| format!("Action::\"{event}\"")).collect();
    let when = |path: String| format!("when {{ resource.path == \"{path}\" }};\n");
    [
        format!("@id(\"every-{number}\")\nforbid (principal in Program::\"/opt/other-{number}\", "),
        format!("action in [{}], resource)\n", events.join(", ")),
        format!("when {{ principal.uid == {number} }};\n@id(\"folder-{number}\")\n"),
        "forbid (principal, action == Action::\"file.mkdir\", resource)\n".to_owned(),
        when(format!("{}/set-{number}", scene::OBJECTS)),
        format!("@id(\"file-{number}\")\n"),
        "forbid (principal, action == Action::\"file.open\", resource)\n".to_owned(),
        when(of_parity(number % 2)),
    ]
    .concat()
}
