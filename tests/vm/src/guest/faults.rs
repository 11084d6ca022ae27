//! Host, gate, engines and keeper killed and stopped in turn under load: does the shell still answer?

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::clock::{as_ms, now, ns, wait_for};
use outrigger_testkit::host::{self, Part};
use outrigger_testkit::openers::{Openers, Target};
use outrigger_testkit::{Host, proc};
use rustix::process::Signal;

use crate::machine::{BUDGET_MS, Fresh, wait_whole};
use crate::report::{Report, at_most, say};
use crate::shell::Shell;

/// How long the shell is watched after each fault.
const WATCHED: Duration = Duration::from_secs(3);
/// What the shell may need beyond the budget, ms.
const SLACK_MS: f64 = 250.0;
/// A file that the shell knows.
const KNOWN: &str = "/root/known";
/// Threads that open files without pause.
const THREADS: usize = 3;

/// What is done to whom.
#[derive(Debug, Clone, Copy)]
enum Fault {
    None,
    Engine(Signal),
    Engines(Signal),
    Platform(Part, Signal),
}

const FAULTS: &[(&str, Fault)] = &[
    ("nothing", Fault::None),
    ("engine_killed", Fault::Engine(Signal::KILL)),
    ("engine_stopped", Fault::Engine(Signal::STOP)),
    ("engines_killed", Fault::Engines(Signal::KILL)),
    ("engines_stopped", Fault::Engines(Signal::STOP)),
    ("host_killed", Fault::Platform(Part::Host, Signal::KILL)),
    ("host_stopped", Fault::Platform(Part::Host, Signal::STOP)),
    ("gate_killed", Fault::Platform(Part::Gate, Signal::KILL)),
    ("gate_stopped", Fault::Platform(Part::Gate, Signal::STOP)),
    ("keeper_stopped", Fault::Platform(Part::Keeper, Signal::STOP)),
];

/// The longest answer of the shell under the same load on this machine without the platform, ms.
pub(crate) fn alone(fresh: &mut Fresh) -> Result<f64> {
    let mut shell = Shell::start()?;
    let known = Path::new(KNOWN);
    shell.append(known)?;
    let load = Load::start(fresh)?;
    let longest = watch(&mut shell, known, fresh)?;
    load.stop()?;
    Ok(longest)
}

/// `alone` is what [`alone`] gave: an emulated machine that is busy takes its time without us too.
pub(crate) fn run(
    host: &mut Host,
    alone: f64,
    fresh: &mut Fresh,
    report: &mut Report,
) -> Result<()> {
    let limit = f64::from(BUDGET_MS) + SLACK_MS + alone;
    let mut shell = Shell::start()?;
    let known = Path::new(KNOWN);
    let load = Load::start(fresh)?;
    for (name, fault) in FAULTS {
        wait_whole(host)?;
        report.test(&format!("faults::shell_answers_with_{name}"), || {
            let mut once = || -> Result<f64> {
                // So that there is a cached verdict to be dropped.
                shell.open(known)?;
                let hit = strike(host, *fault)?;
                let longest = watch(&mut shell, known, fresh)?;
                for pid in hit {
                    // Gone where the platform ended it.
                    let _ = host::send(pid, Signal::CONT);
                }
                Ok(longest)
            };
            let mut longest = once()?;
            if longest > limit {
                // Other work on the machine below can do that too, but hardly twice.
                say(format_args!("{name}: {longest:.0} ms, tried AGAIN"));
                wait_whole(host)?;
                longest = once()?;
            }
            let said = at_most("longest", longest, limit)?;
            let stuck = load.longest_ms();
            ensure!(
                stuck <= 2.0 * f64::from(BUDGET_MS),
                "an open of the load waits for {stuck} ms"
            );
            Ok(said)
        });
    }
    let pids = host.pids()?;
    report.test("faults::shell_answers_with_keeper_killed", || {
        host::send(pids.keeper, Signal::KILL)?;
        let longest = watch(&mut shell, known, fresh)?;
        at_most("longest", longest, limit)
    });
    report.test("faults::nothing_is_left_of_the_platform", || {
        wait_for("the end of host and gate", Duration::from_secs(5), || {
            let alive = [pids.host, pids.gate].into_iter().any(proc::is_alive);
            Ok((!alive).then_some(()))
        })?;
        Ok("host and gate are gone".to_owned())
    });
    report.test("faults::the_load_went_on", || load.stop());
    Ok(())
}

/// Does the fault; gives who has to be continued afterwards.
fn strike(host: &Host, fault: Fault) -> Result<Vec<u32>> {
    let engines = || -> Result<Vec<u32>> {
        let engines = host.status()?.engines;
        engines.iter().map(|engine| engine.pid.context("a docked engine has a process")).collect()
    };
    let (pids, signal) = match fault {
        Fault::None => (Vec::new(), Signal::CONT),
        Fault::Engine(signal) => (engines()?.into_iter().take(1).collect(), signal),
        Fault::Engines(signal) => (engines()?, signal),
        Fault::Platform(part, signal) => return Ok(vec![host.signal(part, signal)?]),
    };
    pids.iter().try_for_each(|pid| host::send(*pid, signal))?;
    Ok(pids)
}

/// Has the shell open, execute and write, one after the other; ms of the longest.
fn watch(shell: &mut Shell, known: &Path, fresh: &mut Fresh) -> Result<f64> {
    let until = now() + ns(WATCHED);
    let mut longest = 0.0_f64;
    while now() < until {
        longest = longest.max(shell.open(&fresh.file()?)?);
        longest = longest.max(shell.execute(&fresh.program()?)?);
        longest = longest.max(shell.open(known)?);
        longest = longest.max(shell.append(known)?);
    }
    Ok(longest)
}

/// Programs that start programs, and threads that open files.
struct Load {
    openers: Openers,
    starter: Child,
}

impl Load {
    fn start(fresh: &mut Fresh) -> Result<Self> {
        let targets = (0..200).map(|_| fresh.file().map(Target::clean)).collect::<Result<_>>()?;
        let script = "while :; do cat /etc/passwd; ls /etc; done >/dev/null 2>&1";
        let starter = Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::null()).spawn()?;
        Ok(Self { openers: Openers::start(THREADS, targets), starter })
    }

    fn longest_ms(&self) -> f64 {
        as_ms(self.openers.longest_wait())
    }

    fn stop(mut self) -> Result<String> {
        let ended = self.starter.try_wait()?;
        let _ = self.starter.kill();
        let _ = self.starter.wait();
        let before = self.openers.finished();
        wait_for("progress of every opener", Duration::from_secs(2), || {
            let moved = before.iter().zip(self.openers.finished()).all(|(old, new)| new > *old);
            Ok(moved.then_some(()))
        })?;
        let tally = self.openers.stop()?;
        ensure!(tally.failed == 0, "{} opens failed ({})", tally.failed, tally.last_error);
        ensure!(ended.is_none(), "the shell that starts programs ended: {ended:?}");
        Ok(format!(
            "{} served, {} refused, longest wait {:.0} ms",
            tally.served,
            tally.wrongly_refused,
            as_ms(tally.waits.max())
        ))
    }
}
