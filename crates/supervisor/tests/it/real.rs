//! A real engine in a real sandbox: docked, killed, docked again.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use outrigger_api::FailureReason;
use outrigger_api::settings::Manifest;
use outrigger_supervisor::{EngineSpec, Happening, SandboxLauncher, Supervisor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::world::{MS, spec};

const PROGRAM: &str = "outrigger-engine-hashlist";
const MANIFEST: &str = include_str!("../../../../engines/hashlist/manifest.toml");
/// How often it is killed. The budget is larger, so each is a restart after a back-off of 1, 2, … ms.
const KILLS: usize = 5;
/// What the promise "docked again within 100 ms" allows.
const AGAIN_NS: u64 = 100 * MS;
/// No test runs longer.
const LIMIT_NS: u64 = 20_000 * MS;

#[test]
fn a_killed_engine_is_docked_again_within_100_ms() {
    let Some(folder) = what_it_takes() else { return };
    let content = tempfile::tempdir().expect("a folder");
    fs::write(content.path().join("bad.deny"), "0".repeat(64)).expect("a list");
    let mut host = Host::new(&folder, content.path());
    host.until_docked();

    let mut took: Vec<u64> = (0..KILLS)
        .map(|_| {
            let killed = now();
            host.kill();
            host.until_docked();
            now() - killed
        })
        .collect();

    took.sort_unstable();
    let said = host.supervisor.status()[0].content.clone().unwrap_or_default();
    println!(
        "killed to docked again, µs: {:?}",
        took.iter().map(|ns| ns / 1000).collect::<Vec<_>>()
    );
    assert!(took[KILLS / 2] <= AGAIN_NS, "median over 100 ms: {took:?} ns");
    assert!(said.contains('1'), "it has read its one entry: {said}");
    host.supervisor.stop_all(now());
}

/// Its content is swapped while it runs: the next process docks beside it, and it ends when told.
#[test]
fn an_engine_is_replaced_by_one_with_other_content() {
    let Some(folder) = what_it_takes() else { return };
    let lists = [1, 2].map(|count| {
        let content = tempfile::tempdir().expect("a folder");
        let digests: Vec<String> = (0..count).map(|digit| digit.to_string().repeat(64)).collect();
        fs::write(content.path().join("bad.deny"), digests.join("\n")).expect("a list");
        content
    });
    let mut host = Host::new(&folder, lists[0].path());
    host.until_docked();
    let old = host.supervisor.status()[0].pid;

    let next = Host::spec(&folder, lists[1].path());
    host.supervisor.replace(0, next, now()).expect("nothing is under way");
    host.until(|happening| matches!(happening, Happening::ReplacementReady(0)));
    assert_eq!(host.supervisor.status()[0].pid, old, "it waits for its promotion");
    let mut out = Vec::new();
    assert!(host.supervisor.promote(0, 500 * MS, now(), &mut out));
    host.supervisor.dismiss(0, now(), &mut out);

    let told: Vec<bool> =
        out.iter().map(|happening| matches!(happening, Happening::Replaced(..))).collect();
    assert_eq!(told, [true, false], "{out:?}");
    let status = host.supervisor.status().swap_remove(0);
    assert!(status.pid.is_some() && status.pid != old);
    assert!(status.content.is_some_and(|content| content.contains('2')), "the other list");
    host.supervisor.stop_all(now());
}

/// Real processes in shadow: one is killed, one is stopped, and the engine does not notice.
#[test]
fn a_version_in_shadow_that_dies_or_stops_is_ended_and_the_engine_runs_on() {
    let Some(folder) = what_it_takes() else { return };
    let content = tempfile::tempdir().expect("a folder");
    fs::write(content.path().join("bad.deny"), "0".repeat(64)).expect("a list");
    let mut host = Host::new(&folder, content.path());
    host.until_docked();
    let engine = host.supervisor.status()[0].pid;
    let mut ends = Vec::new();

    for signal in [Signal::KILL, Signal::STOP] {
        let mut next = Host::spec(&folder, content.path());
        next.manifest.limits.heartbeat_ms = 50;
        next.manifest.limits.hang_ms = 200;
        host.supervisor.shadow(0, next, now()).expect("none is in shadow");
        host.until(|happening| matches!(happening, Happening::ShadowDocked(0, _)));
        let shadow = host.supervisor.shadow_pid(0).expect("it runs");
        assert_ne!(Some(shadow), engine);
        assert_ne!(session(shadow), session(engine.expect("it is docked")));
        let usage = host.supervisor.shadow_usage(0).expect("it runs");
        println!("in shadow, docked: {usage:?}");
        kill_process(Pid::from_raw(shadow.cast_signed()).expect("a process id"), signal)
            .expect("it runs");
        host.until(|happening| match happening {
            Happening::ShadowFailed { engine: 0, reason, .. } => {
                ends.push(*reason);
                true
            }
            _ => false,
        });
    }

    assert_eq!(ends, [FailureReason::EngineCrashed, FailureReason::EngineHung]);
    let status = host.supervisor.status().swap_remove(0);
    assert_eq!((status.pid, status.starts, status.last_fault), (engine, 1, None));
    host.supervisor.stop_all(now());
}

/// The folder of the engine's program; `None`, said loudly, where this test cannot run.
fn what_it_takes() -> Option<PathBuf> {
    let skip = |why: &str| {
        eprintln!("SKIPPED: {why}");
        None
    };
    if !rustix::process::geteuid().is_root() {
        return skip("starting a sandbox needs root");
    }
    let named = env::var_os("OUTRIGGER_BIN_DIR").map(PathBuf::from);
    let own = env::current_exe().expect("a test has a path");
    let folders = named.iter().map(PathBuf::as_path).chain(own.ancestors().skip(1).take(2));
    match folders.into_iter().find(|folder| folder.join(PROGRAM).is_file()) {
        Some(folder) => Some(folder.to_owned()),
        None => skip("outrigger-engine-hashlist is not built: run `cargo build --bins`"),
    }
}

struct Host {
    supervisor: Supervisor,
    end: u64,
}

impl Host {
    fn new(folder: &Path, content: &Path) -> Self {
        let launcher = SandboxLauncher::new(Vec::new, 0);
        let specs = vec![Self::spec(folder, content)];
        Self { supervisor: Supervisor::new(specs, Box::new(launcher)), end: now() + LIMIT_NS }
    }

    fn spec(folder: &Path, content: &Path) -> EngineSpec {
        let manifest = Manifest::parse(MANIFEST, &folder.join("manifest.toml")).expect("sound");
        let events = manifest.events.iter().map(|subscription| subscription.event).collect();
        let mut config = spec("hashlist").config;
        config.content_dir = Some(content.to_owned());
        config.restarts_max = 100;
        config.backoff_ms = 1;
        EngineSpec { manifest, config, events }
    }

    fn kill(&self) {
        let pid = self.supervisor.status()[0].pid.expect("it is docked");
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
        kill_process(pid, Signal::KILL).expect("it runs");
    }

    /// Serves the engine until it has docked.
    fn until_docked(&mut self) {
        self.until(|happening| matches!(happening, Happening::Docked(..)));
    }

    /// Serves the engine until what is `wanted` has happened.
    fn until(&mut self, mut wanted: impl FnMut(&Happening) -> bool) {
        let mut told = Vec::new();
        loop {
            let at = now();
            assert!(at < self.end, "not in time: {told:?}");
            let mut out = Vec::new();
            self.serve(&mut out);
            if out.iter().any(&mut wanted) {
                return;
            }
            told.extend(out.iter().map(|happening| format!("{happening:?}")));
        }
    }

    fn serve(&mut self, out: &mut Vec<Happening>) {
        let readable: Vec<_> = {
            let all = self.supervisor.descriptors();
            let mut polled: Vec<_> =
                all.iter().map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
            let due = self.supervisor.next_wake().unwrap_or(u64::MAX).saturating_sub(now());
            let nanos = due.min(100 * MS);
            let limit = Timespec { tv_sec: 0, tv_nsec: nanos.cast_signed() };
            let _ = poll(&mut polled, Some(&limit));
            let readable = polled.iter().map(|fd| !fd.revents().is_empty());
            all.iter().zip(readable).filter(|(_, is)| *is).map(|((_, token), _)| *token).collect()
        };
        for token in readable {
            self.supervisor.ready(token, now(), out);
        }
        self.supervisor.tick(now(), out);
    }
}

/// The session of a process, between which the kernel shares processors: 0 where its leader is of
/// an outer pid namespace, as in a container that was begun from outside (so not by `getsid`, whose
/// wrapper takes 0 for impossible).
fn session(pid: u32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, after_name) = stat.rsplit_once(')').expect("a name in brackets");
    let session = after_name.split_whitespace().nth(3).expect("state, parent, group, session");
    session.parse().expect("a number")
}

/// ns of `CLOCK_MONOTONIC`.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1000 * MS + time.tv_nsec.cast_unsigned()
}
