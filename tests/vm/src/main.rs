//! Boots a virtual machine with a kernel and a root file system of its own, and runs tests there.
//!
//! ```text
//! outrigger-vm [FILTER]…                      the jobs of this repository whose name holds a filter, on every kernel
//! outrigger-vm run --name X -- COMMAND …      any command, as root in the guest
//! outrigger-vm versus                         the kernel against the dock
//! outrigger-vm prepare                        fetches the kernel and makes the root file system, if need be
//! ```
//!
//! What is needed is fetched and made once and kept in a folder (see [`store`]). The guest's root is
//! thrown away after each job. QEMU emulates the processor (TCG): what happens, hangs and panics is real,
//! times are 3 to 30 times those of a machine.

mod archive;
mod coverage;
mod figures;
mod job;
mod kernel;
mod machine;
mod memory;
mod queue;
mod root;
mod store;
mod versus;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use outrigger_testkit::figures::say;

use crate::job::{Boot, Clock, Failing, File, Job, Root};
use crate::kernel::{Kernel, Unfetched};
use crate::queue::{Done, Task};
use crate::store::Store;

/// Boots a virtual machine and runs tests there.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Run the jobs whose name holds one of these; all of them without any.
    filters: Vec<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Kernels to boot, with spaces between: a name, or the paths of Debian packages joined by commas. Without
    /// it all that have a name, of which one that is not to be had is skipped; a command of one's own, and the
    /// kernel against the dock, are run on the oldest.
    #[arg(long, env = "KERNEL", value_delimiter = ' ', global = true)]
    kernel: Vec<String>,
    /// Where what was fetched and made is kept.
    #[arg(long, env = "OUTRIGGER_VM_CACHE", global = true)]
    cache: Option<PathBuf>,
    /// A file in which the table of events by kernel is kept from one run to the next, besides target/vm.
    #[arg(long)]
    page: Option<PathBuf>,
    /// If apt cannot fetch a kernel, say so and end well; without it, one kernel at least has to be had.
    #[arg(long)]
    without_network: bool,
    /// Show all that the guest says.
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the kernel and make the root file system, if that was not done.
    Prepare,
    /// Give content with a fault to the same code as a kernel module and in a docked engine; print a table.
    Versus {
        /// Where the table is written as JSON.
        #[arg(long)]
        report: Option<PathBuf>,
        /// Play the rows whose side holds one of these; all of them without any.
        filters: Vec<String>,
    },
    /// Run a command as root in the guest; ends with its status.
    Run {
        /// What the job is called.
        #[arg(long, default_value = "command")]
        name: String,
        /// A file to put into the guest: PATH, or PATH=WHERE with an absolute path there.
        #[arg(long = "with", value_name = "PATH[=WHERE]")]
        with: Vec<String>,
        /// After so many seconds the guest counts as hung.
        #[arg(long, default_value_t = 120)]
        limit: u64,
        /// The guest's memory, MiB.
        #[arg(long, default_value_t = 1024)]
        memory: u32,
        /// Boot systemd instead of a script, and run the command when it is up.
        #[arg(long)]
        systemd: bool,
        /// The command; a program's bare name is looked up in the guest, and beside the programs put there.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> Result<ExitCode> {
    let Arguments { place, filters, command } = Arguments::parse();
    let store = Store::open(place.cache.clone())?;
    match command {
        None => matrix(&store, &place, &filters),
        Some(Command::Prepare) => {
            root(&store)?;
            kernels(&store, &place, true)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Versus { report, filters }) => {
            let report = report.unwrap_or_else(versus::default_report);
            versus(&store, &place, &report, &filters)
        }
        Some(Command::Run { name, with, limit, memory, systemd, command }) => {
            let job = Job {
                name,
                files: with.iter().map(|text| File::parse(text)).collect::<Result<_>>()?,
                setup: Vec::new(),
                command,
                limit: Duration::from_secs(limit),
                memory_mib: memory,
                boot: if systemd { Boot::Systemd } else { Boot::Script },
                root: Root::Debian,
                failing: Failing::Ends,
                shows_output: true,
                measures: false,
                clock: Clock::OfThisMachine,
                everywhere: true,
            };
            let (kernels, skipped) = kernels(&store, &place, false)?;
            let tasks: Vec<Task<'_>> =
                kernels.iter().map(|kernel| Task { kernel, job: &job }).collect();
            let done = queue::run(&tasks, Some(&root(&store)?), place.verbose)?;
            Ok(told(&done, &skipped))
        }
    }
}

/// Runs the jobs of this repository whose name holds a filter.
fn matrix(store: &Store, place: &Place, filters: &[String]) -> Result<ExitCode> {
    let jobs = job::of_this_repository()?;
    let wanted = |job: &&Job| {
        filters.is_empty() || filters.iter().any(|filter| job.name.contains(filter.as_str()))
    };
    let chosen: Vec<&Job> = jobs.iter().filter(wanted).collect();
    ensure!(
        !chosen.is_empty(),
        "no job's name holds {}; there are: {}",
        filters.join(" or "),
        jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    let (kernels, skipped) = kernels(store, place, true)?;
    if kernels.is_empty() {
        return Ok(told(&[], &skipped));
    }
    let on_disk = chosen.iter().any(|job| job.root == Root::Debian);
    let root = if on_disk { Some(root(store)?) } else { None };
    let mut tasks = Vec::new();
    for (number, kernel) in kernels.iter().enumerate() {
        // On a kernel that was asked for by name everything is run.
        let here = |job: &&&Job| job.everywhere || number == 0 || !place.kernel.is_empty();
        tasks.extend(chosen.iter().filter(here).map(|&job| Task { kernel, job }));
    }
    let begun = Instant::now();
    let done = queue::run(&tasks, root.as_deref(), place.verbose)?;
    say(format_args!("{} jobs in {} s", done.len(), begun.elapsed().as_secs()));
    figures::gather(&done)?;
    let proven = coverage::gather(&done, place.page.as_deref())?;
    let code = told(&done, &skipped);
    Ok(if proven { code } else { ExitCode::FAILURE })
}

/// The kernels that were asked for, or `all` that have a name, or else the oldest of them; and which of them are
/// not to be had, and why.
///
/// # Errors
///
/// If one that was given as packages cannot be unpacked, or none is to be had; with `--without-network`, if one is
/// not to be had for another reason than that apt cannot fetch it.
fn kernels(store: &Store, place: &Place, all: bool) -> Result<(Vec<Kernel>, Vec<String>)> {
    let mut names: Vec<&str> = place.kernel.iter().map(String::as_str).collect();
    if names.is_empty() {
        let count = if all { kernel::NAMED.len() } else { 1 };
        names.extend(kernel::NAMED.iter().take(count).map(|named| named.name));
    }
    let (mut kernels, mut skipped) = (Vec::new(), Vec::new());
    for name in names {
        let is_named = kernel::NAMED.iter().any(|named| named.name == name);
        match kernel(store, name) {
            Ok(kernel) => kernels.push(kernel),
            Err(error) if is_named && (!place.without_network || error.is::<Unfetched>()) => {
                let line = format!("the kernel {name} is SKIPPED: {error:#}");
                say(&line);
                skipped.push(line);
            }
            Err(error) => return Err(error),
        }
    }
    ensure!(
        place.without_network || !kernels.is_empty(),
        "no kernel is to be had:\n{}",
        skipped.join("\n")
    );
    Ok((kernels, skipped))
}

/// Says what came of it all.
fn told(done: &[Done<'_>], skipped: &[String]) -> ExitCode {
    let broken: Vec<&Done<'_>> = done.iter().filter(|done| !done.held).collect();
    for done in &broken {
        say(format_args!("failed: {} on {}", done.task.job.name, done.task.kernel.release));
    }
    skipped.iter().for_each(say);
    say(format_args!("{} jobs held, {} failed", done.len() - broken.len(), broken.len()));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn versus(store: &Store, place: &Place, report: &Path, filters: &[String]) -> Result<ExitCode> {
    let (kernels, _) = kernels(store, place, false)?;
    let [kernel] = kernels.as_slice() else {
        bail!(
            "the kernel against the dock is played on one kernel at a time, not on {:?}",
            place.kernel
        )
    };
    let held = versus::run(store, kernel, &root(store)?, report, filters, place.verbose)?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn root(store: &Store) -> Result<PathBuf> {
    root::image(store).context("cannot make the guest's root file system")
}

fn kernel(store: &Store, name: &str) -> Result<Kernel> {
    Kernel::get(store, name).with_context(|| format!("cannot get the kernel {name}"))
}
