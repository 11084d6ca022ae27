//! What the trusted processes take while nothing happens: memory and processor time.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use outrigger_testkit::figures::say;
use outrigger_testkit::{openers, proc};

use crate::scenario::{Bench, FILES, Running, Scenario};
use outrigger_bench::report::{Figure, Promise, Report};

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// Measures what is wanted, after every file was opened and cached once.
pub(crate) fn measure(
    bench: &Bench,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> Result<()> {
    if !["resident", "proportional", "idle_cpu"].into_iter().any(wanted) {
        return Ok(());
    }
    let running = Scenario::Cached.start(bench)?;
    let Running::Platform(host) = &running else { return Ok(()) };
    for path in bench.paths()?.iter().cycle().take(2 * FILES) {
        openers::open_once(path, false)?;
    }
    say("memory and processor time while idle");
    let pids = host.pids()?;
    let pids = [pids.keeper, pids.gate, pids.host];
    let before = sum(&pids, cpu_ns)?;
    sleep(IDLE);
    let used = sum(&pids, cpu_ns)? - before;

    let mut add = |name, value, unit, promise| {
        report.add(name, Figure { p50: value, p99: value, unit, promise, ..Figure::default() });
    };
    let promise = Some(Promise::AtMost(30e6));
    add("resident", sum(&pids, proc::resident_bytes)?, "bytes", promise);
    add("proportional", sum(&pids, proc::proportional_bytes)?, "bytes", None);
    let percent = used / IDLE.as_secs_f64() / 1e9 * 100.0;
    add("idle_cpu", percent, "cpu_percent", Some(Promise::AtMost(1.0)));
    running.end()
}

fn cpu_ns(pid: u32) -> Option<u64> {
    u64::try_from(proc::cpu_time(pid)?.as_nanos()).ok()
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn sum(pids: &[u32], of: fn(u32) -> Option<u64>) -> Result<f64> {
    let values = pids.iter().map(|pid| of(*pid).with_context(|| format!("{pid} is gone")));
    Ok(values.sum::<Result<u64>>()? as f64)
}
