//! The cost ledger says which engine openers wait for, and every question is in it once.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::control::{EngineState, Request, Response};
use outrigger_api::ledger::{Cost, EngineLedger, Ledger};
use outrigger_testkit::clock::{as_ms, wait_for};
use outrigger_testkit::figures::{at_least, at_most, say, waits_at_most};
use outrigger_testkit::openers::{Openers, Tally, Target};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, binaries, host};
use rustix::process::Signal;

use crate::scene::{BUDGET_MS, Scene, short_or_full, show, timed_open};

const OPEN: &str = "file.open";

/// Two engines are asked the same; one of them takes its time.
pub(crate) fn names_the_slow_engine(lab: &Lab) -> Result<()> {
    const SLOW_MS: f64 = 5.0;
    let scene = Scene::new(lab, 200)?;
    let setup = Setup::protecting(scene.path())
        .budget_ms(2000)
        .uncached()
        .engine(EngineSetup::faulty("aquick", "allow"))
        .engine(EngineSetup::faulty("bslow", "allow"));
    let host = lab.start(&setup)?;
    host.behave("bslow", &format!("slow {SLOW_MS}"))?;

    let before = ledger(&host)?;
    let openers = Openers::start(4, scene.clean.iter().map(Target::clean).collect());
    std::thread::sleep(Duration::from_secs(short_or_full(3, 10)));
    let tally = openers.stop()?;
    let after = quiet(&host)?;

    show("openers", &tally);
    tell(&after);
    let [slow, quick] = after.engines.as_slice() else { bail!("not two engines: {after:?}") };
    ensure!(slow.name.as_str() == "bslow", "the slow engine is not first");
    let (slow, quick) = (&slow.whole, &quick.whole);
    let (p50, p99) = (slow.added.recent.p50_ns, slow.added.recent.p99_ns);
    at_least("added by the slow engine, p50", as_ms(p50), SLOW_MS, "ms")?;
    // An opener waits for the host too; the ledger tells at most a sixteenth more than was.
    let seen = as_ms(tally.waits.quantile(990)) * 1.07;
    at_most("added by the slow engine, p99, and what openers saw", as_ms(p99), seen, "ms")?;
    waits_at_most("added by the quick one, p99", as_ms(quick.added.recent.p99_ns), SLOW_MS / 2.0)?;
    let ratio = slow.added.recent.sum_ns / quick.added.recent.sum_ns.max(1);
    at_least("openers waited for the slow one, times that for the quick one", ratio, 10, "×")?;
    for engine in &after.engines {
        adds_up(engine)?;
        let asked = event(engine, OPEN)?.asked - event_of(&before, engine, OPEN)?.asked;
        ensure!(asked == tally.opens(), "{} was asked {asked} of {}", engine.name, tally.opens());
        ensure!(engine.whole.allows == engine.whole.asked, "{}: not all are allowed", engine.name);
        ensure!(engine.cpu_ns.is_none_or(|ns| ns > 0), "{} used no processor time", engine.name);
        ensure!(engine.memory_bytes.is_none_or(|bytes| bytes > 0), "{}: no memory", engine.name);
    }
    let printed = top(&host, &["top", "--once"])?;
    let first = printed.lines().next().unwrap_or_default();
    say(first);
    ensure!(first.starts_with("openers wait most for bslow"), "the tool says {first:?}");
    host.end()
}

/// Answers, misses, an engine that dies with questions in its hands: each question is in one column.
pub(crate) fn adds_up_whatever_engines_do(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 100)?;
    let setup = Setup::protecting(scene.path())
        .budget_ms(BUDGET_MS)
        .uncached()
        .engine(EngineSetup::faulty_reader("denier", "deny-marked"))
        .engine(EngineSetup::faulty("judge", "allow").misses_max(1_000_000).hang_ms(60_000));
    let host = lab.start(&setup)?;
    let mut targets: Vec<Target> = scene.clean.iter().map(Target::clean).collect();
    targets.push(Target::bad(&scene.eicar));
    let open_all = || {
        let mut tally = Tally::default();
        targets.iter().for_each(|target| tally.open(target));
        tally
    };

    let mut tally = open_all();
    host.behave("judge", "silent")?;
    let (waited, served) = timed_open(&scene.clean[0]);
    let silent = quiet(&host)?;
    let openers = Openers::start(8, targets.clone());
    std::thread::sleep(Duration::from_secs(1));
    let before = host.engine("judge")?;
    host::send(before.pid.context("the engine has a process")?, Signal::KILL)?;
    wait_for("the engine's return", Duration::from_secs(5), || {
        let engine = host.engine("judge")?;
        Ok((engine.state == EngineState::Docked && engine.starts > before.starts).then_some(()))
    })?;
    tally.merge(&openers.stop()?);
    host.restart_with("judge", "allow")?;
    host.wait_engine("judge", EngineState::Docked, Duration::from_secs(5))?;
    tally.merge(&open_all());
    let after = quiet(&host)?;

    show("openers", &tally);
    tell(&after);
    ensure!(served && waited > f64::from(BUDGET_MS) * 0.9, "a silent engine cost {waited} ms");
    let judge = find(&silent, "judge")?;
    ensure!(silent.engines[0].name == judge.name, "the silent engine is not first");
    // Nine tenths of the budget from the reading; it is charged from the asking, a moment later.
    at_least("a miss", as_ms(judge.whole.added.recent.max_ns), f64::from(BUDGET_MS) * 0.85, "ms")?;
    let (judge, denier) = (find(&after, "judge")?, find(&after, "denier")?);
    for engine in [judge, denier] {
        adds_up(engine)?;
    }
    let cost = &judge.whole;
    ensure!(cost.allows > 0 && cost.misses > 0 && cost.lost > 0, "not all was played: {cost:?}");
    ensure!(denier.whole.denies > 0, "nothing was denied");
    ensure!(judge.restarts >= 2, "{} restarts", judge.restarts);
    let cpu = |ledger: &Ledger| Ok::<_, anyhow::Error>(find(ledger, "judge")?.cpu_ns);
    ensure!(cpu(&after)? >= cpu(&silent)?, "what an ended process used is forgotten");
    let fallbacks: u64 = after.counters.fallbacks.values().sum();
    ensure!(cost.misses <= fallbacks, "{} misses, {fallbacks} fallbacks", cost.misses);
    host.end()
}

/// Metrics say what the ledger says, to root alone, and nothing that is sent there disturbs anybody.
pub(crate) fn is_served_as_metrics(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 100)?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    let host = lab.start(&setup.engine(EngineSetup::faulty("judge", "allow")))?;
    let socket = host.folder().join("metrics.sock");
    let meta = std::fs::metadata(&socket).context("no metrics socket")?;
    ensure!(
        meta.uid() == 0 && meta.permissions().mode() & 0o777 == 0o600,
        "it is not root's alone"
    );

    // Eight that say nothing take every place there is; more are refused.
    let silent: Vec<UnixStream> =
        (0..12).map(|_| UnixStream::connect(&socket)).collect::<Result<_, _>>()?;
    let longest = scene.clean.iter().map(|path| timed_open(path).0).fold(0.0, f64::max);
    waits_at_most("opens meanwhile, the longest", longest, f64::from(BUDGET_MS))?;
    drop(silent);
    for garbage in [&b"\0\xff\r\n\r\n"[..], b"GET /metrics", &[b'x'; 100_000], b"\n\n"] {
        let answer = exchange(&socket, garbage)?;
        ensure!(!answer.contains(" 200 "), "garbage was answered with {answer:?}");
    }
    let ledger = quiet(&host)?;
    let page = wait_for("a free connection", Duration::from_secs(5), || {
        let answer = exchange(&socket, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        Ok(answer.starts_with("HTTP/1.1 200 OK\r\n").then_some(answer))
    })?;

    let asked = event(find(&ledger, "judge")?, OPEN)?.asked;
    ensure!(asked >= 100, "only {asked} were asked");
    let line =
        format!("\noutrigger_engine_events_total{{engine=\"judge\",event=\"{OPEN}\"}} {asked}\n");
    ensure!(page.contains(&line), "no line {line:?} in\n{page}");
    for line in
        ["\noutrigger_rules 0\n", "\noutrigger_plane ", "\noutrigger_rules_decisions_total{"]
    {
        ensure!(page.contains(line), "no line {line:?} in\n{page}");
    }
    say(format_args!("{} lines of metrics", page.lines().count()));
    host.end()?;
    ensure!(!socket.exists(), "the socket is left behind");
    Ok(())
}

/// Sends `bytes` and the end; gives what is answered before the connection ends. A local socket that is
/// closed with unread bytes, as those over a limit are, ends by a reset.
fn exchange(socket: &PathBuf, bytes: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // It may be refused before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => return Err(error.into()),
        Ok(_) | Err(_) => {}
    }
    Ok(String::from_utf8(answer)?)
}

fn top(host: &Host, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binaries::path(binaries::TOOL)?)
        .arg("--socket")
        .arg(host.folder().join("control.sock"))
        .args(arguments)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

pub(crate) fn ledger(host: &Host) -> Result<Ledger> {
    match host.ask(&Request::Ledger)? {
        Response::Ledger(ledger) => Ok(*ledger),
        other => bail!("the host answered {other:?}"),
    }
}

/// The ledger once no question is open.
fn quiet(host: &Host) -> Result<Ledger> {
    wait_for("no open question", Duration::from_secs(5), || {
        let ledger = ledger(host)?;
        Ok((ledger.descriptors.in_flight == 0).then_some(ledger))
    })
}

fn find<'a>(ledger: &'a Ledger, name: &str) -> Result<&'a EngineLedger> {
    let found = ledger.engines.iter().find(|engine| engine.name.as_str() == name);
    found.with_context(|| format!("the ledger has no {name}"))
}

fn event<'a>(engine: &'a EngineLedger, event: &str) -> Result<&'a Cost> {
    engine.events.get(event).with_context(|| format!("{} has no {event}", engine.name))
}

fn event_of<'a>(ledger: &'a Ledger, engine: &EngineLedger, name: &str) -> Result<&'a Cost> {
    event(find(ledger, engine.name.as_str())?, name)
}

/// Every question that was put to the engine is in one column, of each event and of all together.
fn adds_up(engine: &EngineLedger) -> Result<()> {
    for (name, cost) in engine
        .events
        .iter()
        .map(|(name, cost)| (name.as_str(), cost))
        .chain([("all", &engine.whole)])
    {
        let columns = cost.allows
            + cost.denies
            + cost.abstains
            + cost.misses
            + cost.excused
            + cost.lost
            + cost.moot;
        ensure!(
            cost.asked == columns,
            "{} {name}: {columns} of {} are told",
            engine.name,
            cost.asked
        );
        let votes = cost.allows + cost.denies + cost.abstains;
        ensure!(
            cost.answered.total.count == votes,
            "{} {name}: {votes} votes, {} times",
            engine.name,
            cost.answered.total.count
        );
    }
    let sum: u64 = engine.events.values().map(|cost| cost.asked).sum();
    ensure!(engine.whole.asked == sum, "{}: {sum} of {} by event", engine.name, engine.whole.asked);
    Ok(())
}

fn tell(ledger: &Ledger) {
    for EngineLedger { name, whole, .. } in &ledger.engines {
        say(format_args!(
            "{name}: asked {}, allowed {}, denied {}, abstained {}, missed {}, lost {}, moot {}, \
             dropped {}, absent {}; added p50 {:.3} ms, p99 {:.3} ms; votes p99 {:.3} ms",
            whole.asked,
            whole.allows,
            whole.denies,
            whole.abstains,
            whole.misses,
            whole.lost,
            whole.moot,
            whole.dropped,
            whole.absent,
            as_ms(whole.added.recent.p50_ns),
            as_ms(whole.added.recent.p99_ns),
            as_ms(whole.answered.recent.p99_ns)
        ));
    }
}
