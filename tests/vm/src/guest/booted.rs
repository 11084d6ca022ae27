//! A machine that systemd boots under protection from early on, and shuts down under it.
//!
//! The platform is a service that is started before the rest of the boot, and writes to the journal: who
//! rotates that, waits for answers of the one who writes to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::control::{Request, Response, Status};
use outrigger_testkit::clock::{as_ms, now, wait_for};
use outrigger_testkit::{EngineSetup, Setup, binaries, control, host, stall};
use rustix::process::Signal;

use crate::machine::{BUDGET_MS, SLACK_MS};
use crate::programs::shell;
use crate::report::{Report, at_most, say};
use crate::waits::Watcher;

const FOLDER: &str = "/var/lib/outrigger-tests/boot";
const UNIT: &str = "outrigger.service";
/// What the platform wrote, by the time since the kernel's start.
const JOURNAL: [&str; 6] =
    ["--boot", "--no-pager", "--output=short-monotonic", "--unit", UNIT, "--lines=60"];

/// Name, and what a shell is told to do once the machine is up.
const PROGRAMS: &[(&str, &str)] = &[
    ("no_unit_failed", "test -z \"$(systemctl --failed --no-legend --plain)\""),
    ("journald_took_the_boot", "journalctl --boot --no-pager | grep -q systemd"),
    ("a_service_restarts", "systemctl restart cron && systemctl is-active cron"),
    (
        "journald_restarts",
        "systemctl restart systemd-journald && logger again && journalctl --sync",
    ),
    ("the_journal_is_rotated", "journalctl --rotate && journalctl --no-pager -n 1"),
    ("systemd_reads_its_units_again", "systemctl daemon-reload"),
];

/// Before systemd runs: a configuration and a unit for the platform.
pub(crate) fn prepare() -> Result<()> {
    let engine = EngineSetup::faulty("first", "allow").hang_ms(60_000).misses_max(1_000_000);
    let setup = Setup::protecting(Path::new("/")).budget_ms(BUDGET_MS).engine(engine);
    let config = setup.write(Path::new(FOLDER))?;
    let program = binaries::path(binaries::HOST)?;
    // Without the usual dependencies it is started first and ended last, by systemd's final round.
    let unit = format!(
        "[Unit]\nDefaultDependencies=no\nAfter=systemd-remount-fs.service\n\
         Before=sysinit.target systemd-udevd.service systemd-tmpfiles-setup.service\n\
         [Service]\nExecStart={} run --config {}\nLimitNOFILE=65536\n",
        program.display(),
        config.display()
    );
    let units = Path::new("/etc/systemd/system");
    fs::write(units.join(UNIT), unit)?;
    let wanted = units.join("sysinit.target.wants");
    fs::create_dir_all(&wanted)?;
    std::os::unix::fs::symlink(units.join(UNIT), wanted.join(UNIT))?;
    Ok(())
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    stall::watch();
    report.test("booted::under_protection", || {
        let status = status()?;
        let root = status.coverage.volumes.iter().find(|volume| volume.path == "/");
        ensure!(root.is_some_and(|root| root.covered), "the root is not covered");
        ensure!(status.host_starts == 1, "{} hosts were started", status.host_starts);
        let asked: u64 = status.counters.asked.values().sum();
        ensure!(asked > 200, "only {asked} questions: protection began after the boot");
        Ok(format!("{asked} questions, fallbacks {:?}", status.counters.fallbacks))
    });
    if report.has_failed() {
        let log = Command::new("journalctl").args(JOURNAL).output()?;
        String::from_utf8_lossy(&log.stdout).lines().for_each(say);
    }
    for (name, script) in PROGRAMS {
        report.test(&format!("booted::{name}"), || {
            let start = now();
            shell(script)?;
            Ok(format!("{:.1} s", as_ms(now() - start) / 1000.0))
        });
    }
    report.test("booted::the_journal_is_rotated_with_the_engine_stopped", || {
        let pid = status()?.engines.first().and_then(|engine| engine.pid);
        let pid = pid.context("the engine has no process")?;
        let watcher = Watcher::start();
        host::send(pid, Signal::STOP)?;
        let rotated = shell("logger hello && journalctl --rotate");
        host::send(pid, Signal::CONT)?;
        rotated?;
        let waited = watcher.take();
        let longest = waited.iter().map(|waited| waited.longest_ms).fold(0.0, f64::max);
        ensure!(!waited.iter().any(|waited| waited.is_own()), "it waited for itself: {waited:?}");
        at_most("longest wait", longest, f64::from(BUDGET_MS) + SLACK_MS)
    });
    Ok(())
}

fn status() -> Result<Status> {
    let socket = PathBuf::from(FOLDER).join("control.sock");
    wait_for("an answer of the host", Duration::from_secs(20), || {
        match control::ask(&socket, &Request::Status) {
            Ok(Response::Status(status)) => Ok(Some(*status)),
            Ok(other) => bail!("the host answered {other:?}"),
            Err(_) => Ok(None),
        }
    })
}
