//! What an engine must not do is refused by its sandbox, and told with its name; nothing else changes.

use std::time::Duration;

use anyhow::{Result, ensure};
use outrigger_api::control::EngineState;
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup};

use crate::scene::{Scene, expect};

const ENGINE: &str = "intruder";

fn start(lab: &Lab, scene: &Scene, intruder: EngineSetup) -> Result<Host> {
    let setup = Setup::protecting(scene.path()).budget_ms(1000).fail_closed();
    lab.start(&setup.engine(EngineSetup::hashlist()).engine(intruder))
}

/// Nothing else was affected: the bad file is refused by the other engine, a clean one is served.
fn nothing_else_changed(host: &Host, scene: &Scene) -> Result<()> {
    host.wait_engine(ENGINE, EngineState::Docked, Duration::from_secs(5))?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    expect("a clean file", ways::open(&scene.clean[0]), Outcome::Through)?;
    let other = host.engine("hashlist")?;
    ensure!(other.starts == 1 && other.faults.is_empty(), "the other engine: {other:?}");
    Ok(())
}

/// An error unless a line of the log or the journal has the engine's name and all `words`.
fn expect_logged(host: &Host, words: &[&str]) -> Result<()> {
    wait_for(&format!("a line with {ENGINE} and {words:?}"), Duration::from_secs(2), || {
        let log = host.log();
        let says =
            |line: &&str| line.contains(ENGINE) && words.iter().all(|word| line.contains(word));
        Ok(log.lines().find(says).map(|line| say(format_args!("logged: {line}"))))
    })
}

/// Has the engine do it when it is told to; the engine says what came of it.
fn is_refused(lab: &Lab, act: &str, call: &str, detail: &str) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, EngineSetup::faulty(ENGINE, "allow"))?;
    let before = host.engine(ENGINE)?.refused_calls;

    let said = host.behave(ENGINE, &format!("allow act {act}"))?;

    say(&said);
    ensure!(said.contains("refused"), "the engine says: {said}");
    expect_logged(&host, &["call-refused", &format!("\"call\":\"{call}\""), detail])?;
    let counted = host.engine(ENGINE)?.refused_calls;
    ensure!(counted > before, "{counted} refused calls are counted");
    nothing_else_changed(&host, &scene)?;
    host.end()
}

/// Has the engine do it to the descriptor of a file that it judges.
fn is_refused_on_content(lab: &Lab, act: &str, call: &str, detail: &str) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let intruder = EngineSetup::faulty_reader(ENGINE, "allow");
    let host = start(lab, &scene, intruder)?;
    let file = scene.volume.put("judged", b"clean")?;
    host.behave(ENGINE, &format!("allow act-on-content {act}"))?;

    let (_, decision) = host.watch()?.find(
        || Ok(ways::open(&file)),
        |decision| decision.path.as_deref().is_some_and(|path| path.ends_with("/judged")),
    )?;

    let vote = decision.votes.iter().find(|vote| vote.engine.as_str() == ENGINE);
    let said = vote.and_then(|vote| vote.detail.clone()).unwrap_or_default();
    say(&said);
    ensure!(said.contains("refused"), "the engine says: {said:?}");
    expect_logged(&host, &["call-refused", &format!("\"call\":\"{call}\""), detail])?;
    // It abstained from what it tried its act on.
    host.behave(ENGINE, "allow")?;
    nothing_else_changed(&host, &scene)?;
    host.end()
}

pub(crate) fn opening_outside_its_root_is_refused(lab: &Lab) -> Result<()> {
    is_refused(lab, "open-outside", "openat", "/etc/passwd")
}

pub(crate) fn connecting_is_refused(lab: &Lab) -> Result<()> {
    is_refused(lab, "connect", "socket", "")
}

pub(crate) fn tracing_is_refused(lab: &Lab) -> Result<()> {
    is_refused(lab, "ptrace", "ptrace", "")
}

pub(crate) fn signalling_is_refused(lab: &Lab) -> Result<()> {
    is_refused(lab, "kill", "kill", "")
}

pub(crate) fn forking_is_refused(lab: &Lab) -> Result<()> {
    is_refused(lab, "fork", "clone", "")
}

pub(crate) fn making_code_is_refused(lab: &Lab) -> Result<()> {
    is_refused(lab, "make-code", "mprotect", "memory made executable")
}

/// One fork is a strike; one that is tried again and again takes the engine off the dock.
pub(crate) fn forking_on_ends_in_quarantine(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, EngineSetup::faulty(ENGINE, "allow").optional())?;

    host.behave(ENGINE, "allow act fork")?;
    let once = host.engine(ENGINE)?;
    ensure!(once.faults.get("fork-bomb") == Some(&1), "one fork: {:?}", once.faults);
    ensure!(once.state == EngineState::Docked, "one fork put it into {:?}", once.state);
    expect_logged(&host, &["engine-fault", "fork-bomb"])?;
    let mut engine = once;
    for strikes in 2..=8 {
        host.tell(ENGINE, "allow act fork")?;
        engine = wait_for("the next strike", Duration::from_secs(5), || {
            let engine = host.engine(ENGINE)?;
            Ok((engine.faults.get("fork-bomb") == Some(&strikes)).then_some(engine))
        })?;
    }

    say(format_args!("faults: {:?}, {}", engine.faults, engine.last_fault.unwrap_or_default()));
    ensure!(engine.state == EngineState::Quarantined, "eight strikes: {:?}", engine.state);
    let counted = host.counters()?.faults;
    ensure!(counted.get("fork-bomb") == Some(&8), "counted: {counted:?}");
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    host.end()
}

pub(crate) fn threads_beyond_the_limit_are_refused(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, EngineSetup::faulty(ENGINE, "allow").threads(16))?;

    let said = host.behave(ENGINE, "allow act threads")?;

    say(&said);
    ensure!(said.contains("refused"), "the engine says: {said}");
    // The kernel does not say at once; it is asked once per heartbeat.
    expect_logged(&host, &["engine-fault", "fork-bomb"])?;
    let faults = host.engine(ENGINE)?.faults;
    ensure!(faults.get("fork-bomb") == Some(&1), "threads over the limit: {faults:?}");
    nothing_else_changed(&host, &scene)?;
    host.end()
}

/// An engine with no descriptor left can be given nothing to judge: it is ended and begins anew.
pub(crate) fn leaking_descriptors_ends_it(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, EngineSetup::faulty(ENGINE, "allow"))?;
    let starts = host.engine(ENGINE)?.starts;

    host.tell(ENGINE, "allow leak-descriptors")?;
    let engine = wait_for("the engine's next life", Duration::from_secs(10), || {
        let engine = host.engine(ENGINE)?;
        Ok((engine.starts > starts && engine.state == EngineState::Docked).then_some(engine))
    })?;

    say(format_args!("faults: {:?}, {}", engine.faults, engine.last_fault.unwrap_or_default()));
    ensure!(engine.faults.get("fd-leak") == Some(&1), "it did not end for its descriptors");
    let counted = host.counters()?.faults;
    ensure!(counted.get("fd-leak") == Some(&1), "counted: {counted:?}");
    expect_logged(&host, &["engine-lost", "fd-leak"])?;
    nothing_else_changed(&host, &scene)?;
    host.end()
}

pub(crate) fn memory_beyond_the_limit_ends_it(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let intruder = EngineSetup::faulty(ENGINE, "allow").memory_bytes(64 << 20);
    let host = start(lab, &scene, intruder)?;
    let starts = host.engine(ENGINE)?.starts;

    host.tell(ENGINE, "allow leak-once")?;
    let engine = wait_for("the engine's next life", Duration::from_secs(10), || {
        let engine = host.engine(ENGINE)?;
        Ok((engine.starts > starts && engine.state == EngineState::Docked).then_some(engine))
    })?;

    say(format_args!("faults: {:?}, {}", engine.faults, engine.last_fault.unwrap_or_default()));
    ensure!(engine.faults.contains_key("out-of-memory"), "it did not end for its memory");
    expect_logged(&host, &["out-of-memory"])?;
    nothing_else_changed(&host, &scene)?;
    host.end()
}

pub(crate) fn locking_content_is_refused(lab: &Lab) -> Result<()> {
    is_refused_on_content(lab, "flock", "flock", "")
}

pub(crate) fn leasing_content_is_refused(lab: &Lab) -> Result<()> {
    is_refused_on_content(lab, "lease", "fcntl", "lease")
}

pub(crate) fn reopening_content_is_refused(lab: &Lab) -> Result<()> {
    is_refused_on_content(lab, "reopen", "openat", "/proc/self/fd/")
}

/// A file that it judges, mapped to be executed: whoever wrote the file would be running.
pub(crate) fn executing_content_is_refused(lab: &Lab) -> Result<()> {
    is_refused_on_content(lab, "execute", "mmap", "a file to execute")
}
