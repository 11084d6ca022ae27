//! Measures the platform with two engines docked beside other agents of its kind, all in one run.
//!
//! Each side (nobody, a bare responder, fapolicyd, clamonacc, the platform with either engine and with both)
//! is measured several times, in turns. Each time it gets a world of its own whose only file system is a tmpfs
//! with a small Debian in it, unpacked from the archive that `tools/peers.sh` makes: a mark on everything sees
//! nothing of the machine there, and the kernel ends an agent with its world, whatever it holds up. A side
//! shows before, between and after what is measured that it refuses what it must; otherwise it has no figures.
//!
//! `outrigger-bench-peers ARCHIVE [--rounds N] [SIDE…]` prints the figures beside the promises and writes them
//! to `target/bench/peers.json`, or the file named by `OUTRIGGER_BENCH_REPORT`. Ends with 0 whatever the
//! figures are, and with 1 if a side could not be measured.

mod clamonacc;
mod fapolicyd;
mod ground;
mod side;
mod table;
mod work;

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_testkit::figures::say;
use outrigger_testkit::world::Ended;
use outrigger_testkit::{World, agent, binaries, root};
use rustix::fd::AsFd;

use crate::side::Side;
use crate::table::Table;
use crate::work::Samples;

/// After this a side's world is ended with everything in it, and the side has failed.
const LIMIT: Duration = Duration::from_secs(300);
const ROUNDS: usize = 3;
/// Where the programs lie in the private root.
const PROGRAMS: &str = "/usr/lib/outrigger";
/// The rules that ship with the engine `yara`.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../engines/yara/content");
/// The argument of this program for a side that it is to measure in the private root around it.
const INSIDE: &str = "inside";

fn main() -> ExitCode {
    if let Some(code) = agent::played() {
        return code;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    run(&arguments).unwrap_or_else(|error| {
        say(format_args!("not measured: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    if let [word, side] = arguments
        && word == INSIDE
    {
        return inside(side.parse()?);
    }
    if let Some(world) = World::entered()? {
        let [archive, side, result] = arguments else { bail!("arguments of a world") };
        return enter(&world, Path::new(archive), side, Path::new(result));
    }
    let plan = Plan::parse(arguments)?;
    let table = plan.measure()?;

    let file = env::var_os("OUTRIGGER_BENCH_REPORT")
        .map_or_else(|| PathBuf::from("target/bench/peers.json"), PathBuf::from);
    // What a side that failed this time had the last time must not stand beside the others.
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", file.display()));
        }
        _ => {}
    }
    let report = table.report();
    report.write(&file)?;
    say(format_args!("\n{table}\n{report}\nwritten to {}", file.display()));
    for (side, error) in table.failed() {
        say(format_args!("\n{side} WAS NOT MEASURED: {error}"));
    }
    Ok(if table.failed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is to be measured.
struct Plan {
    archive: PathBuf,
    rounds: usize,
    sides: Vec<Side>,
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut arguments = arguments.iter();
        let archive = arguments.next().context("which archive? make bench-peers names it")?;
        let archive = fs::canonicalize(archive)
            .with_context(|| format!("no archive {archive}: tools/peers.sh makes it"))?;
        let (mut rounds, mut sides) = (ROUNDS, Vec::new());
        while let Some(argument) = arguments.next() {
            if argument == "--rounds" {
                rounds = arguments.next().context("--rounds needs a number")?.parse()?;
            } else {
                sides.push(argument.parse()?);
            }
        }
        ensure!(rounds > 0, "--rounds: at least 1");
        if sides.is_empty() {
            sides.extend(Side::ALL);
        } else if !sides.contains(&Side::None) {
            sides.insert(0, Side::None);
        }
        Ok(Self { archive, rounds, sides })
    }

    /// Every side in turn, several times, beginning with another each time.
    fn measure(&self) -> Result<Table> {
        let mut table = Table::default();
        for round in 0..self.rounds {
            for at in 0..self.sides.len() {
                let side = self.sides[(at + round) % self.sides.len()];
                if table.has_failed(side) {
                    continue;
                }
                say(format_args!("round {} of {}: {side}", round + 1, self.rounds));
                match self.once(side) {
                    Ok(samples) => table.add(round, side, samples),
                    Err(error) => {
                        say(format_args!("{side} FAILED: {error:#}"));
                        table.fail(side, format!("{error:#}"));
                    }
                }
            }
        }
        Ok(table)
    }

    /// One side in a world made for it.
    fn once(&self, side: Side) -> Result<Samples> {
        let result = tempfile::NamedTempFile::new()?;
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
        let arguments = [path(&self.archive)?, side.to_string(), path(result.path())?];
        match World::run(&arguments, LIMIT)? {
            Ended::By(status) => ensure!(status.success(), "its world ended with {status}"),
            Ended::TimedOut(doing) => {
                bail!("ended after {} s; it was doing:\n{}", LIMIT.as_secs(), doing.join("\n"))
            }
        }
        let told: Result<Samples, String> = serde_json::from_reader(File::open(result.path())?)
            .context("the world told nothing")?;
        told.map_err(anyhow::Error::msg)
    }
}

/// In a fresh world: makes the private root and goes on in it. The file for the figures is handed on as
/// standard input, since its path leads nowhere there.
fn enter(world: &World, archive: &Path, side: &str, result: &Path) -> Result<ExitCode> {
    let result = File::options().write(true).open(result)?;
    let own = env::current_exe()?;
    let root = root::fill(world, archive)?;
    let program = root::copy_into(&root, PROGRAMS, &own)?;
    // What is not built fails the sides that need it, and no other.
    let programs = [binaries::HOST, binaries::HASHLIST, binaries::YARA];
    for program in programs.into_iter().filter_map(|name| binaries::path(name).ok()) {
        root::copy_into(&root, PROGRAMS, &program)?;
    }
    for file in fs::read_dir(SHIPPED).with_context(|| SHIPPED)? {
        root::copy_into(&root, side::RULES, &file?.path())?;
    }
    let mut command = Command::new(program);
    command.args([INSIDE, side]).env_clear().env("PATH", "/usr/sbin:/usr/bin").env("LC_ALL", "C");
    root::exec_in(&root, command.stdin(Stdio::from(result)))?;
    Ok(ExitCode::FAILURE)
}

/// In the private root: measures one side and writes what was seen, or why nothing was.
fn inside(side: Side) -> Result<ExitCode> {
    root::check_alone()?;
    let result = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let samples = ground::prepare().and_then(|ground| work::measure(side, &ground));
    serde_json::to_writer(result, &samples.map_err(|error| format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}
