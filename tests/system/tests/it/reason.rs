//! What happens to the machine around the platform is counted and told under its name.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::control::{EngineState, Request};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::{say, waits_at_most};
use outrigger_testkit::setup::control_socket;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, Volume, binaries, fuse};
use rustix::mount::mount_bind;

use crate::scene::{BUDGET_MS, Scene, expect, timed_open};

fn setup(scene: &Scene) -> Setup {
    Setup::protecting(scene.path()).budget_ms(1000).engine(EngineSetup::hashlist())
}

/// An error unless the reason was counted `count` times as a fault.
fn expect_counted(host: &Host, reason: &str, count: u64) -> Result<()> {
    let faults = host.counters()?.faults;
    ensure!(faults.get(reason).copied().unwrap_or(0) == count, "{reason}: faults {faults:?}");
    Ok(())
}

/// Waits for a line of the journal that has all `words`.
fn wait_journal(host: &Host, words: &[&str]) -> Result<()> {
    wait_for(&format!("a line with {words:?}"), Duration::from_secs(5), || {
        let log = host.log();
        let says = |line: &&str| words.iter().all(|word| line.contains(word));
        Ok(log.lines().find(says).map(|line| say(format_args!("logged: {line}"))))
    })
}

/// Waits until a problem that begins with the reason's name is in the status, or is not any more.
fn wait_problem(host: &Host, reason: &str, is_there: bool) -> Result<()> {
    let problem = wait_for(&format!("{reason}: {is_there}"), Duration::from_secs(10), || {
        let status = host.status()?;
        let problem = status.problems.into_iter().find(|problem| problem.starts_with(reason));
        ensure!(problem.is_none() || !status.healthy, "healthy, with the problem {problem:?}");
        Ok((problem.is_some() == is_there).then_some(problem))
    })?;
    if let Some(problem) = problem {
        say(format_args!("problem: {problem}"));
    }
    Ok(())
}

/// Writes to a new file until the file system is full.
fn fill(path: &Path) -> Result<()> {
    let mut file = fs::File::create(path)?;
    loop {
        match file.write_all(&[b'.'; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => bail!("{} cannot be filled: {error}", path.display()),
        }
    }
}

/// A full disk under the state folder stops nothing, not even a new host; what was lost is told after it.
pub(crate) fn a_full_disk_is_told_and_got_over(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let state = lab.next_folder().join("state");
    Volume::small_tmpfs(&state, "256k")?;
    let host = lab.start(&setup(&scene).fail_closed())?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    expect_counted(&host, "disk-full", 0)?;

    let ballast = state.join("ballast");
    fill(&ballast)?;
    wait_for("a line that does not fit", Duration::from_secs(10), || {
        expect("the bad file on a full disk", ways::open(&scene.eicar), Outcome::Refused)?;
        Ok((host.counters()?.faults.contains_key("disk-full")).then_some(()))
    })?;
    wait_problem(&host, "disk-full", true)?;
    wait_for("a line that was lost", Duration::from_secs(10), || {
        expect("the bad file on a full disk", ways::open(&scene.eicar), Outcome::Refused)?;
        let is_lost = |problem: &String| problem.contains("lines were lost");
        Ok(host.status()?.problems.iter().any(is_lost).then_some(()))
    })?;
    let old = host.pids()?.host;
    host.ask(&Request::Reload)?;
    host.wait_successor(old, Duration::from_secs(5))?;
    host.wait_engine("hashlist", EngineState::Docked, Duration::from_secs(5))?;
    expect("the bad file by the next host", ways::open(&scene.eicar), Outcome::Refused)?;
    expect("a clean file by the next host", ways::open(&scene.clean[0]), Outcome::Through)?;
    wait_problem(&host, "disk-full", true)?;

    fs::remove_file(&ballast)?;
    wait_problem(&host, "disk-full", false)?;

    wait_journal(&host, &[r#""kind":"lost""#, "disk-full", "count"])?;
    let journal = fs::read_to_string(state.join("journal.jsonl"))?;
    let broken = journal.lines().find(|line| !(line.starts_with('{') && line.ends_with('}')));
    ensure!(broken.is_none(), "half a line was left: {broken:?}");
    ensure!(state.join("last-good.toml").exists(), "the configuration is not kept");
    host.end()
}

/// Another kernel than the one that was probed is told once; the one that runs is kept from then on.
pub(crate) fn another_kernel_is_told_once(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let host = lab.start(&setup(&scene))?;
    let folder = host.folder().to_owned();
    let kept = folder.join("state/kernel");
    let kernel = wait_for("the kernel", Duration::from_secs(5), || Ok(fs::read(&kept).ok()))?;
    expect_counted(&host, "kernel-changed", 0)?;
    host.end()?;

    fs::write(&kept, "5.0.0 another one")?;
    let host = Host::start(&folder, &setup(&scene))?;
    expect_counted(&host, "kernel-changed", 1)?;
    wait_journal(&host, &[r#""kind":"fault""#, "kernel-changed", "5.0.0 another one"])?;
    wait_for("the kernel that runs", Duration::from_secs(5), || {
        Ok((fs::read(&kept)? == kernel).then_some(()))
    })?;
    host.end()?;

    let host = Host::start(&folder, &setup(&scene))?;
    expect_counted(&host, "kernel-changed", 0)?;
    host.end()
}

/// Less coverage than a host found before is told once, and stays a problem until somebody accepts it.
pub(crate) fn coverage_that_shrank_is_told_until_it_is_accepted(lab: &Lab) -> Result<()> {
    const REASON: &str = "coverage-shrank";
    const JOURNALED: &str = r#""kind":"coverage-shrank""#;
    let scene = Scene::new(lab, 0)?;
    let host = lab.start(&setup(&scene))?;
    let folder = host.folder().to_owned();
    let kept = folder.join("state/coverage.json");
    let found = host.coverage()?;
    let mut most: serde_json::Value =
        wait_for("what is kept of coverage", Duration::from_secs(5), || {
            Ok(fs::read(&kept).ok().and_then(|text| serde_json::from_slice(&text).ok()))
        })?;
    ensure!(found.shrunk.is_empty(), "a first start finds less than before: {:?}", found.shrunk);
    wait_problem(&host, REASON, false)?;
    host.end()?;

    // No kernel lets anybody be asked about it.
    most["events"]["kernel.settime"] =
        serde_json::json!({ "level": "ask", "kernel": "5.0.0-better" });
    fs::write(&kept, most.to_string())?;
    for start in 0..2 {
        let host = Host::start(&folder, &setup(&scene))?;
        wait_problem(&host, REASON, true)?;
        let status = host.status()?;
        let said = status.problems.join("\n");
        ensure!(!status.healthy && said.contains("kernel.settime was ask"), "{said}");
        ensure!(said.contains("outrigger coverage accept"), "{said}");
        let [shrunk] = &host.coverage()?.shrunk[..] else { bail!("more than one event shrank") };
        ensure!(shrunk.was_on == "5.0.0-better", "{shrunk:?}");
        // Told by the host that finds it, and by no later one.
        expect_counted(&host, REASON, u64::from(start == 0))?;
        wait_journal(&host, &[JOURNALED, "kernel.settime"])?;
        let journal = host.log();
        ensure!(journal.matches(JOURNALED).count() == 1, "told twice:\n{journal}");
        for command in ["status", "doctor"] {
            let (status, page) = tool(&host, &[command])?;
            ensure!(status == Some(1), "{command} ends with {status:?}:\n{page}");
            ensure!(page.contains("kernel.settime was ask on Linux 5.0.0-better"), "{page}");
        }
        host.end()?;
    }

    let host = Host::start(&folder, &setup(&scene))?;
    wait_problem(&host, REASON, true)?;
    let (status, said) = tool(&host, &["coverage", "accept"])?;
    ensure!(status == Some(0) && said.contains("kernel.settime"), "{status:?}: {said}");
    wait_problem(&host, REASON, false)?;
    ensure!(host.coverage()?.shrunk.is_empty(), "{:?}", host.coverage()?.shrunk);
    wait_journal(&host, &[r#""kind":"coverage-accepted""#])?;
    host.end()?;
    let host = Host::start(&folder, &setup(&scene))?;
    host.coverage()?;
    wait_problem(&host, REASON, false)?;
    host.end()?;

    fs::write(&kept, "{")?;
    let host = Host::start(&folder, &setup(&scene))?;
    host.coverage()?;
    wait_problem(&host, REASON, true)?;
    ensure!(fs::read_to_string(&kept)? == "{", "what cannot be read was written over");
    host.end()
}

/// Runs the operator's tool; its exit status and what it printed.
fn tool(host: &Host, words: &[&str]) -> Result<(Option<i32>, String)> {
    let ran = Command::new(binaries::path(binaries::TOOL)?)
        .arg("--socket")
        .arg(control_socket(host.folder()))
        .args(words)
        .output()?;
    Ok((ran.status.code(), String::from_utf8(ran.stdout)?))
}

/// What cannot be marked is told, and what can be is covered as before.
pub(crate) fn a_file_system_that_cannot_be_covered_is_a_lost_sensor(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let host = lab.start(&setup(&scene))?;
    let other = lab.tmpfs("other")?.put("file", b"of another file system")?;
    let (_server, served) = fuse::start(&scene.volume.join("remote"))?;
    expect_counted(&host, "sensor-lost", 0)?;

    // A file is enough to mount a file system on, here below one whose server may hang.
    mount_bind(&other, &served).context("cannot mount a file")?;
    let path = served.to_string_lossy();
    let volume = wait_for("the file system", Duration::from_secs(5), || {
        let volumes = host.status()?.coverage.volumes;
        Ok(volumes.into_iter().find(|volume| volume.path == path))
    })?;

    say(format_args!("{} is not covered: {:?}", volume.path, volume.reason));
    ensure!(!volume.covered, "{} is covered", volume.path);
    expect_counted(&host, "sensor-lost", 1)?;
    wait_journal(&host, &["volume-uncovered", "sensor-lost", &path])?;
    ensure!(!host.status()?.healthy, "status says healthy");
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    host.end()
}

/// An engine that waits long for its next start costs nobody a budget; its fallback says why.
pub(crate) fn an_engine_that_backs_off_costs_nothing(lab: &Lab) -> Result<()> {
    const ENGINE: &str = "judge";
    let scene = Scene::new(lab, 20)?;
    let judge = EngineSetup::faulty(ENGINE, "allow").backoff_ms(60_000);
    let host =
        lab.start(&Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached().engine(judge))?;
    let starts = host.engine(ENGINE)?.starts;

    // The first restart is at once, the second waits.
    host.restart_with(ENGINE, "crash-at-start")?;
    wait_for("the wait", Duration::from_secs(5), || {
        let engine = host.engine(ENGINE)?;
        let waits = engine.starts == starts + 2 && engine.state == EngineState::Restarting;
        Ok(waits.then_some(()))
    })?;
    let before = host.counters()?.fallbacks.get("not-docked").copied().unwrap_or(0);
    let waited: Vec<_> = scene.clean.iter().map(|path| timed_open(path)).collect();

    ensure!(waited.iter().all(|(_, served)| *served), "the policy fails open: {waited:?}");
    let longest = waited.iter().map(|(ms, _)| *ms).fold(0.0, f64::max);
    waits_at_most("the longest open", longest, 5.0)?;
    let counted = host.counters()?.fallbacks.get("not-docked").copied().unwrap_or(0) - before;
    ensure!(counted == scene.clean.len() as u64, "{counted} fallbacks were counted");
    host.end()
}
