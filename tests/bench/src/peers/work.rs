//! What is done and timed while somebody watches.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use outrigger_bench::rate;
use outrigger_testkit::Histogram;
use outrigger_testkit::agent::Agent;
use outrigger_testkit::clock::now;
use outrigger_testkit::histogram::Summary;
use serde::{Deserialize, Serialize};

use crate::ground::{FILES, Ground, SOURCES};
use crate::side::{Side, USER};

/// How often each known file is opened.
const PASSES: usize = 4;
/// Programs started.
const SPAWNS: usize = 500;
/// How often unpacking, reading and compiling are done again.
const REPEATS: usize = 5;

/// Everything that is measured, in the order of the table.
pub(crate) const WORKS: [Work; 12] = [
    Work::new("open_first", "open, first"),
    Work::new("open_first_user", "open, first, uid 1000"),
    Work::new("open_known", "open, again"),
    Work::new("open_known_user", "open, again, uid 1000"),
    Work::new("spawn", "spawn /bin/true"),
    Work::new("tar_first", "tar x of 800 files, first"),
    Work::new("tar_known", "tar x, again"),
    Work::new("cat_first", "find | cat of 800, first"),
    Work::new("cat_known", "find | cat, again"),
    Work::new("gcc_first", "8 × gcc -c, first"),
    Work::new("gcc_known", "8 × gcc -c, again"),
    Work::new("open8", "8 processes, again"),
];

/// One thing that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// Its name in the table.
    pub(crate) title: &'static str,
}

impl Work {
    const fn new(name: &'static str, title: &'static str) -> Self {
        Self { name, title }
    }

    /// Whether it is a rate, of which more is better.
    pub(crate) fn is_rate(&self) -> bool {
        self.name == "open8"
    }
}

/// The figures of one side in one round: ns, or opens per second.
pub(crate) type Samples = BTreeMap<String, Sample>;

/// One of them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

impl From<Summary> for Sample {
    fn from(summary: Summary) -> Self {
        Self { p50: summary.p50, p99: summary.p99 }
    }
}

/// Starts the side, does everything, and ends it; each step between two proofs that it protects.
pub(crate) fn measure(side: Side, ground: &Ground) -> Result<Samples> {
    let running = side.start(ground)?;
    let samples = work(ground, || running.prove(ground))?;
    running.finish()?;
    Ok(samples)
}

fn work(ground: &Ground, prove: impl Fn() -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::new();
    let mut add = |name: &str, sample: Sample| {
        samples.insert(name.to_owned(), sample);
        prove().with_context(|| format!("after {name}"))
    };

    for (name, act) in [("tar", unpack as Act), ("cat", read), ("gcc", compile)] {
        let first = act(ground)?;
        add(&format!("{name}_first"), Sample { p50: first, p99: first })?;
        let mut again = Histogram::default();
        for _ in 0..REPEATS {
            again.add(act(ground)?);
        }
        add(&format!("{name}_known"), again.summary().into())?;
    }
    let count = (FILES.to_string(), PASSES.to_string());
    for (owner, end) in [("root", ""), ("user", "_user")] {
        let folder = ground.join(owner).to_str().context("a path is not UTF-8")?.to_owned();
        let arguments = [folder.as_str(), &count.0, &count.1];
        let mut opener = match owner {
            "root" => Agent::start("each", &arguments)?,
            _ => Agent::start_as("each", &arguments, USER)?,
        };
        let [first, again]: [Summary; 2] = opener.result()?;
        add(&format!("open_first{end}"), first.into())?;
        add(&format!("open_known{end}"), again.into())?;
    }
    spawn(1)?;
    add("spawn", spawn(SPAWNS)?.into())?;
    let rate = rate::of_eight(&ground.join("root"), FILES)? / rate::ROUND.as_secs();
    add("open8", Sample { p50: rate, p99: rate })?;
    Ok(samples)
}

type Act = fn(&Ground) -> Result<u64>;

/// Unpacks the headers into a fresh folder.
fn unpack(ground: &Ground) -> Result<u64> {
    let out = ground.join("out");
    fs::create_dir(&out)?;
    let mut command = Command::new("/usr/bin/tar");
    command.arg("--extract").arg("--file").arg(ground.join("headers.tar"));
    let took = timed(command.arg("--directory").arg(&out))?;
    fs::remove_dir_all(&out)?;
    Ok(took)
}

/// Reads every header, fifty to a process.
fn read(ground: &Ground) -> Result<u64> {
    let line = "find headers -type f | xargs -n50 cat";
    timed(Command::new("/bin/sh").args(["-c", line]).current_dir(&ground.folder))
}

/// Compiles the sources, one after the other.
fn compile(ground: &Ground) -> Result<u64> {
    let mut sum = 0;
    for index in 0..SOURCES {
        let mut command = Command::new("/usr/bin/gcc");
        command.current_dir(&ground.folder).arg("-c").arg(format!("sources/s{index}.c"));
        sum += timed(command.arg("-o").arg(format!("objects/s{index}.o")))?;
    }
    Ok(sum)
}

fn spawn(count: usize) -> Result<Summary> {
    let mut waits = Histogram::default();
    for _ in 0..count {
        waits.add(timed(&mut Command::new("/bin/true"))?);
    }
    Ok(waits.summary())
}

/// Runs the command to its end; how long that took, ns.
fn timed(command: &mut Command) -> Result<u64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = now();
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    let took = now() - start;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(took)
}
