//! The whole platform under load: three engines, one of them hostile, every event subscribed to and caused, and the
//! rules replaced all the while. Whoever started the guest looks whether its kernel complained.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_api::Event;
use outrigger_api::coverage::Level;
use outrigger_testkit::{EngineSetup, Host, Setup};

use crate::events::{cause, scene};
use crate::machine::tell_end_of;
use crate::report::Report;

/// Where the platform's files lie: not on what it protects.
const HOME: &str = "/var/lib/outrigger-stress";
/// Processes that act at the same time.
const CAUSING: usize = 2;
/// What the hostile engine does, one after the other.
const DEEDS: [&str; 4] = ["crash-after 20", "stall 200", "leak-threads", "print-for 500"];

/// Runs everything for `seconds`.
pub(crate) fn run(seconds: &str, report: &mut Report) -> Result<()> {
    let limit = Duration::from_secs(seconds.parse().context("how many seconds?")?);
    scene::build()?;
    let mut watcher = EngineSetup::faulty("watcher", "allow").field("path").optional();
    for &event in Event::ALL.iter().filter(|event| !event.can_be_asked()) {
        watcher = watcher.subscribed(event.name(), "notify", None);
    }
    let hostile = EngineSetup::faulty("hostile", "allow").optional().restarts_max(1_000);
    let setup = Setup::protecting(Path::new(scene::OBJECTS))
        .budget_ms(500)
        .engine(EngineSetup::hashlist())
        .engine(watcher)
        .engine(hostile.misses_max(1_000_000).backoff_ms(100))
        .policy("stress.cedar", &rules(0));
    let host = Host::start(Path::new(HOME), &setup)?;
    let done = (|| {
        let ended = AtomicBool::new(false);
        let (caused, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        let switched = thread::scope(|scope| {
            for number in 0..CAUSING {
                let (ended, caused, failed) = (&ended, &caused, &failed);
                scope.spawn(move || {
                    for turn in 0.. {
                        if ended.load(Ordering::Relaxed) {
                            return;
                        }
                        let place = (turn * CAUSING + number) % Event::ALL.len();
                        let serial = 1000 + turn * CAUSING + number;
                        let done = cause(Event::ALL[place], serial).is_ok();
                        if done { caused } else { failed }.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let switched = replace_rules(&host, limit);
            ended.store(true, Ordering::Relaxed);
            switched
        });
        let (caused, failed) = (caused.into_inner(), failed.into_inner());
        Ok::<_, anyhow::Error>((switched?, caused, failed))
    })();
    report.test("stress::the_platform_stands", || {
        let (switched, caused, failed) = done?;
        ensure!(switched > 1, "the rules were replaced {switched} times only");
        ensure!(caused > 0, "nothing was caused");
        let status = host.status()?;
        ensure!(
            status.policy.as_ref().is_some_and(|policy| policy.problem.is_none()),
            "{:?}",
            status.policy
        );
        Ok(format!("{caused} acts, {failed} of them could not be done, {switched} sets of rules"))
    });
    if report.has_failed() {
        tell_end_of(&host.log());
    }
    report.test("stress::the_platform_ends", || {
        host.end()?;
        Ok("no process is left".to_owned())
    });
    Ok(())
}

/// Puts one set of rules after the other in force until the time is up, with the hostile engine at its deeds; how
/// many.
fn replace_rules(host: &Host, limit: Duration) -> Result<usize> {
    let until = Instant::now() + limit;
    let mut count = 0;
    while Instant::now() < until {
        count += 1;
        host.apply_policy("stress.cedar", &rules(count))?;
        // It may be gone just then, of what it did before.
        let _ = host.tell("hostile", DEEDS[count % DEEDS.len()]);
    }
    Ok(count)
}

/// A set of rules of every event, none of which stops the acts.
fn rules(number: usize) -> String {
    let mut text = String::new();
    let decided = |event: &&Event| matches!(event.strongest(), Level::Ask | Level::Rule);
    for event in Event::ALL.iter().filter(decided) {
        text += &format!(
            "@id(\"{event}-{number}\")\nforbid (principal in Program::\"/opt/other-{number}\", \
             action == Action::\"{event}\", resource) when {{ principal.uid == {number} }};\n"
        );
    }
    text
}
