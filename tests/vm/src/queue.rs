//! Jobs on kernels: which are run, some beside each other, and what came of all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result};
use outrigger_testkit::figures::say;
use serde::de::DeserializeOwned;

use crate::job::Job;
use crate::kernel::Kernel;
use crate::machine;

/// Memory of this machine per MiB of a guest's: QEMU's own is beside it.
const MEMORY_SHARE: u64 = 2;

/// A job on a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) job: &'a Job,
}

/// What came of a task.
#[derive(Debug)]
pub(crate) struct Done<'a> {
    pub(crate) task: Task<'a>,
    pub(crate) held: bool,
    /// What happened in the guest, by name.
    pub(crate) facts: Vec<(String, String)>,
}

/// The facts of one name that guests told, JSON each, by the name of their kernel.
///
/// # Errors
///
/// If one cannot be read.
pub(crate) fn facts<'a, Fact: DeserializeOwned>(
    done: &'a [Done<'_>],
    name: &str,
) -> Result<BTreeMap<&'a str, Vec<Fact>>> {
    let mut facts: BTreeMap<&str, Vec<Fact>> = BTreeMap::new();
    for done in done {
        for (_, text) in done.facts.iter().filter(|(told, _)| told == name) {
            let fact = serde_json::from_str(text)
                .with_context(|| format!("a guest told of \"{name}\": {text}"))?;
            facts.entry(&done.task.kernel.name).or_default().push(fact);
        }
    }
    Ok(facts)
}

/// Runs `tasks`, on throw-away copies of `root` where they want a disk, and gives what came of each, in no order. Jobs that
/// measure are run one after the other, the others beside each other: a guest per processor at most,
/// and no more than fit into the memory that is free.
///
/// # Errors
///
/// If a guest cannot be started.
pub(crate) fn run<'a>(
    tasks: &[Task<'a>],
    root: Option<&Path>,
    verbose: bool,
) -> Result<Vec<Done<'a>>> {
    let (alone, beside): (Vec<Task<'a>>, Vec<Task<'a>>) =
        tasks.iter().partition(|task| task.job.measures);
    let largest = beside.iter().map(|task| task.job.memory_mib).max().unwrap_or(1);
    let guests = guests(largest).min(beside.len());
    let waiting = Mutex::new(beside.into_iter());
    let done = Mutex::new(Vec::new());
    let work = |label: bool| -> Result<()> {
        loop {
            // Not held while the job runs.
            let next = waiting.lock().map(|mut waiting| waiting.next());
            let Ok(Some(task)) = next else { return Ok(()) };
            let ran = one(task, root, verbose, label)?;
            if let Ok(mut done) = done.lock() {
                done.push(ran);
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..guests).map(|_| scope.spawn(|| work(guests > 1))).collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        // A worker that panicked has said so; the others' jobs have ended by then.
        ended
            .map(|ended| ended.unwrap_or_else(|_| anyhow::bail!("a test of the tests' own failed")))
            .collect::<Result<Vec<()>>>()
    })?;
    let mut done = done.into_inner().unwrap_or_default();
    for task in alone {
        done.push(one(task, root, verbose, false)?);
    }
    Ok(done)
}

fn one<'a>(task: Task<'a>, root: Option<&Path>, verbose: bool, label: bool) -> Result<Done<'a>> {
    let label = label.then(|| format!("{} {}: ", task.job.name, task.kernel.name));
    let (held, facts) =
        machine::run(task.kernel, root, task.job, verbose, label.unwrap_or_default())?;
    Ok(Done { task, held, facts })
}

/// How many guests of so much memory this machine has room for.
fn guests(memory_mib: u32) -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let free = free_mib().unwrap_or_else(|error| {
        say(format_args!("one guest at a time: {error:#}"));
        0
    });
    let fit = free / (u64::from(memory_mib) * MEMORY_SHARE).max(1);
    usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, processors)
}

/// Memory that can be had without swapping, MiB.
fn free_mib() -> Result<u64> {
    let about = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let line = about.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("/proc/meminfo does not say what is free")? / 1024)
}
