//! What is played: what a protected folder refuses, and what faults do to those who open files.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::control::EngineState;
use outrigger_testkit::clock::{as_ms, now, ns, wait_for};
use outrigger_testkit::host::{self, Part};
use outrigger_testkit::openers::{Openers, Tally, Target};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, Volume, bait};
use rustix::process::Signal;

use crate::teller::Teller;

const ENGINE: &str = "hashlist";
const BUDGET_MS: u32 = 50;
/// What an opener may wait beyond its budget.
const SLACK: Duration = Duration::from_millis(5);
/// What a part of the platform may need to come back.
const BACK: Duration = Duration::from_millis(300);

struct Folder {
    volume: Volume,
    eicar: PathBuf,
    program: PathBuf,
    clean: PathBuf,
}

/// A fresh file system with a bad file, a bad program and clean files, none protected yet.
fn folder(lab: &Lab, name: &str) -> Result<Folder> {
    let volume = lab.tmpfs(name)?;
    let eicar = volume.put("eicar.com", &bait::eicar())?;
    let program = volume.put("bad-program", &bait::bad_program())?;
    let clean = volume.put("report.txt", b"nothing wrong with this one\n")?;
    Ok(Folder { volume, eicar, program, clean })
}

/// Refused, served, and what an engine's death and silence do.
pub(crate) fn protection(lab: &Lab, teller: &mut Teller) -> Result<()> {
    let folder = folder(lab, "documents")?;
    teller.act("A folder with the EICAR test file, before anything protects it");
    teller.step("anybody can read it", || came(ways::open(&folder.eicar), Outcome::Through))?;
    teller.step("anybody can run the bad program", || {
        came(ways::exec(&folder.program), Outcome::Through)
    })?;

    teller.act("The platform with one engine, hashlist, in a sandbox of its own");
    let host = teller.step("started", || {
        let start = now();
        let setup = Setup::protecting(folder.volume.path())
            .budget_ms(BUDGET_MS)
            .engine(EngineSetup::hashlist());
        Ok((lab.start(&setup)?, format!("serves after {:.0} ms", as_ms(now() - start))))
    })?;
    teller.step("status", || {
        host.coverage()?;
        let status = host.status()?;
        ensure!(status.healthy, "not healthy: {}", status.problems.join("; "));
        Ok(((), "healthy".to_owned()))
    })?;
    refusals(lab, teller, &folder)?;
    engine_faults(teller, &host, &folder)?;

    teller.act("Ctrl-C");
    teller.step("the platform ends and leaves no process", || Ok((host.end()?, String::new())))?;
    teller.step("and no denial", || came(ways::open(&folder.eicar), Outcome::Through))
}

fn refusals(lab: &Lab, teller: &mut Teller, folder: &Folder) -> Result<()> {
    teller.step("cat eicar.com", || {
        came(ways::shell("cat \"$1\"", &folder.eicar, None)?, Outcome::Refused)
    })?;
    teller.step("run the bad program", || came(ways::exec(&folder.program), Outcome::Refused))?;
    teller.step("cat eicar.com through a bind mount in a new mount namespace", || {
        let elsewhere = lab.path("elsewhere");
        fs::create_dir(&elsewhere)?;
        let script = format!(
            "mount --bind {} {} && cat {}/eicar.com",
            folder.volume.path().display(),
            elsewhere.display(),
            elsewhere.display()
        );
        came(ways::unshared(&["-m"], &script, Path::new("/"), None)?, Outcome::Refused)
    })?;
    teller.step("cat report.txt", || {
        came(ways::shell("cat \"$1\"", &folder.clean, None)?, Outcome::Through)
    })
}

fn engine_faults(teller: &mut Teller, host: &Host, folder: &Folder) -> Result<()> {
    teller.act("The engine is killed");
    let old = host.engine(ENGINE)?.pid.context("the engine has a process")?;
    teller.step("kill -9", || Ok((host::send(old, Signal::KILL)?, format!("process {old}"))))?;
    teller.step("it comes back", || {
        let start = now();
        let new = wait_for("the engine's return", Duration::from_secs(2), || {
            let engine = host.engine(ENGINE)?;
            let is_back = engine.state == EngineState::Docked && engine.pid != Some(old);
            Ok(engine.pid.filter(|_| is_back))
        })?;
        Ok(((), format!("process {new}, docked after {:.0} ms", as_ms(now() - start))))
    })?;
    teller.step("cat eicar.com", || came(ways::open(&folder.eicar), Outcome::Refused))?;

    teller.act("The engine is stopped: it lives and says nothing");
    let engine = host.engine(ENGINE)?.pid.context("the engine has a process")?;
    let unseen = folder.volume.put("unseen.txt", b"no verdict on this one is cached\n")?;
    teller.step("kill -STOP", || {
        Ok((host::send(engine, Signal::STOP)?, format!("process {engine}")))
    })?;
    teller.step("a file that it never saw is opened in time", || {
        let mut tally = Tally::default();
        tally.open(&Target::clean(&unseen));
        let waited = tally.waits.max();
        let limit = u64::from(BUDGET_MS) * 1_000_000 + ns(SLACK);
        ensure!(waited <= limit, "waited {:.1} ms", as_ms(waited));
        ensure!(tally.served == 1, "was not opened");
        Ok(((), format!("waited {:.1} ms of {BUDGET_MS}, then the fallback", as_ms(waited))))
    })?;
    teller.step("it is ended, comes back, and eicar.com is refused again", || {
        let start = now();
        wait_for("a refusal", Duration::from_secs(5), || {
            Ok((ways::open(&folder.eicar) == Outcome::Refused).then_some(()))
        })?;
        Ok(((), format!("after {:.0} ms", as_ms(now() - start))))
    })
}

/// The host killed again and again under load, failing closed.
pub(crate) fn faults(lab: &Lab, teller: &mut Teller) -> Result<()> {
    const THREADS: usize = 16;
    const KILLS: usize = 5;
    teller.act("The host is killed while 16 threads open files without pause; fail closed");
    let folder = folder(lab, "load")?;
    let mut targets: Vec<Target> =
        folder.volume.fill(500, 256)?.into_iter().map(Target::clean).collect();
    let bad = |index| folder.volume.put(&format!("bad{index}"), &bait::eicar()).map(Target::bad);
    targets.extend((0..50).map(bad).collect::<Result<Vec<_>>>()?);
    let setup = Setup::protecting(folder.volume.path())
        .budget_ms(BUDGET_MS)
        .fail_closed()
        .engine(EngineSetup::hashlist());
    let host = teller.step("started", || Ok((lab.start(&setup)?, String::new())))?;
    let openers = Openers::start(THREADS, targets);
    for _ in 0..KILLS {
        teller.step("kill -9 the host; another answers", || {
            let old = host.signal(Part::Host, Signal::KILL)?;
            let start = now();
            let new = host.wait_successor(old, BACK)?;
            Ok(((), format!("process {}, after {:.0} ms", new.host, as_ms(now() - start))))
        })?;
        sleep(Duration::from_millis(200));
    }
    teller.step("no opener hung", || {
        let before = openers.finished();
        wait_for("progress of every opener", Duration::from_secs(1), || {
            let moved = before.iter().zip(openers.finished()).all(|(old, new)| new > *old);
            Ok(moved.then_some(()))
        })?;
        Ok(((), format!("the longest waits {:.1} ms now", as_ms(openers.longest_wait()))))
    })?;
    let tally = openers.stop()?;
    teller.step("nothing slipped through", || {
        ensure!(tally.slipped == 0, "{} bad files were opened", tally.slipped);
        ensure!(tally.failed == 0, "{} opens failed ({})", tally.failed, tally.last_error);
        ensure!(tally.refused > 0 && tally.served > 0, "nothing was opened at all");
        Ok(((), format!("{} clean files served, {} bad ones refused", tally.served, tally.refused)))
    })?;
    teller.step("the platform ends and leaves no process", || Ok((host.end()?, String::new())))?;
    teller.step("and no denial", || came(ways::open(&folder.eicar), Outcome::Through))
}

fn came(outcome: Outcome, wanted: Outcome) -> Result<((), String)> {
    if outcome != wanted {
        bail!("{outcome:?}, and should be {wanted:?}");
    }
    let found = match outcome {
        Outcome::Through => "it goes",
        Outcome::Refused => "Operation not permitted",
        Outcome::Failed(_) => "failed",
    };
    Ok(((), found.to_owned()))
}
