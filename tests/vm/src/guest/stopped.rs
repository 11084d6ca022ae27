//! Every engine is stopped, and stays so: what needs to open files waits for its budget each time, and
//! nothing waits for itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::{EngineAction, EngineState, Request};
use outrigger_testkit::clock::{as_ms, now, wait_for};
use outrigger_testkit::openers::{Tally, Target};
use outrigger_testkit::{Host, binaries, host};
use rustix::process::Signal;

use crate::machine::{BUDGET_MS, Fresh, SLACK_MS, wait_whole};
use crate::report::{Report, at_most};
use crate::waits::Watcher;

/// Longest that one of these may take as a whole: dozens of opens, each with its budget.
const LIMIT: Duration = Duration::from_secs(90);

/// Name, and what a shell is told to do.
const PROGRAMS: &[(&str, &str)] = &[
    ("user_lookup", "getent passwd root"),
    ("log_rotation", "logrotate -f /root/rotate.conf"),
    ("sqlite_checkpoint", "sqlite3 /root/trial.db 'pragma wal_checkpoint(truncate)'"),
];

pub(crate) fn run(
    host: &mut Host,
    closed: bool,
    fresh: &mut Fresh,
    report: &mut Report,
) -> Result<()> {
    wait_whole(host)?;
    // Open already, as the database of a service is.
    let mut service = Command::new("sqlite3")
        .arg("/root/service.db")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut orders = service.stdin.take().context("its input is a pipe")?;
    writeln!(orders, "pragma journal_mode = wal; create table t(x); insert into t values (1);")?;
    // It says "wal" once it runs.
    let mut said = String::new();
    // Held until the end: it writes on.
    let mut output = BufReader::new(service.stdout.take().context("its output is a pipe")?);
    output.read_line(&mut said)?;
    ensure!(said == "wal\n", "the service said {said:?}");
    let watcher = Watcher::start();
    stop_all(host)?;

    report.test("stopped::an_open_waits_for_the_budget", || {
        let mut tally = Tally::default();
        for _ in 0..5 {
            tally.open(&Target::clean(fresh.file()?));
        }
        let came = if closed { tally.wrongly_refused } else { tally.served };
        ensure!(came == 5, "{} served, {} refused", tally.served, tally.wrongly_refused);
        let shortest = as_ms(tally.waits.quantile(1));
        ensure!(shortest >= f64::from(BUDGET_MS) * 0.9, "an engine was asked and did not stop");
        at_most("longest", as_ms(tally.waits.max()), f64::from(BUDGET_MS) + SLACK_MS)
    });
    for (name, script) in PROGRAMS {
        report.test(&format!("stopped::{name}_ends"), || {
            let took = within(script)?;
            longest_wait(&watcher, &format!("took {took:.1} s, longest wait"))
        });
    }
    report.test("stopped::a_service_checkpoints_its_database", || {
        let start = now();
        writeln!(orders, "insert into t values (2); pragma wal_checkpoint(truncate);\n.quit")?;
        drop(orders);
        let mut rest = String::new();
        output.read_to_string(&mut rest)?;
        let status = wait_for("the service's end", LIMIT, || Ok(service.try_wait()?))?;
        let took = as_ms(now() - start) / 1000.0;
        ensure!(closed || status.success(), "it ended with {status}");
        longest_wait(&watcher, &format!("took {took:.1} s, longest wait"))
    });
    report.test("stopped::an_engine_starts", || {
        let start = now();
        host.engine_action("first", EngineAction::Restart)?;
        host.wait_engine("first", EngineState::Docked, Duration::from_secs(20))?;
        let took = as_ms(now() - start) / 1000.0;
        longest_wait(&watcher, &format!("docked after {took:.1} s, longest wait"))
    });
    stop_all(host)?;
    report.test("stopped::a_configuration_is_put_in_force", || {
        let old = host.pids()?.host;
        let start = now();
        host.ask(&Request::Reload)?;
        host.wait_successor(old, Duration::from_secs(20))?;
        wait_whole(host)?;
        let took = as_ms(now() - start) / 1000.0;
        longest_wait(&watcher, &format!("whole after {took:.1} s, longest wait"))
    });
    stop_all(host)?;
    report.test("stopped::the_operator_is_answered", || {
        let tool = binaries::path(binaries::TOOL)?;
        let socket = host.folder().join("control.sock");
        let script = format!("{} --socket {} status", tool.display(), socket.display());
        let took = within(&script)?;
        longest_wait(&watcher, &format!("took {took:.1} s, longest wait"))
    });
    report.test("stopped::the_journal_is_written", || {
        let counters = host.counters()?;
        let slow = counters.fallbacks.get("engine-slow").copied().unwrap_or_default();
        ensure!(slow > 0, "no question ended by its budget: {:?}", counters.fallbacks);
        ensure!(host.log().contains("engine-slow"), "the journal does not name a fallback");
        longest_wait(&watcher, &format!("{slow} fallbacks, longest wait"))
    });
    for engine in host.status()?.engines {
        let Some(pid) = engine.pid else { continue };
        let _ = host::send(pid, Signal::CONT);
    }
    Ok(())
}

/// Stops every engine, and waits until the kernel says that it is.
fn stop_all(host: &Host) -> Result<()> {
    for engine in wait_whole(host)?.engines {
        let pid = engine.pid.context("a docked engine has a process")?;
        host::send(pid, Signal::STOP)?;
        wait_for("a stopped engine", Duration::from_secs(5), || {
            Ok((outrigger_testkit::proc::state(pid) == Some('T')).then_some(()))
        })?;
    }
    Ok(())
}

/// Has a shell do something, which may be refused but must end in time; gives the seconds that it took.
fn within(script: &str) -> Result<f64> {
    let start = now();
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(child) = &mut child
        && wait_for("its end", LIMIT, || Ok(child.try_wait()?)).is_err()
    {
        let _ = child.kill();
        let _ = child.wait();
        anyhow::bail!("it was not done after {} s", LIMIT.as_secs());
    }
    Ok(as_ms(now() - start) / 1000.0)
}

/// The longest wait for an answer since the last look, and nobody of the platform among those who waited.
fn longest_wait(watcher: &Watcher, what: &str) -> Result<String> {
    let waited = watcher.take();
    let own: Vec<_> = waited.iter().filter(|waited| waited.is_own()).collect();
    ensure!(own.is_empty(), "the platform waited for itself: {own:?}");
    let longest = waited.iter().map(|waited| waited.longest_ms).fold(0.0, f64::max);
    let count: u64 = waited.iter().map(|waited| waited.count).sum();
    let said = at_most(what, longest, f64::from(BUDGET_MS) + SLACK_MS)?;
    Ok(format!("{said}, {count} waits"))
}
