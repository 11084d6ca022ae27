//! What `/proc` tells about one process. `None` where the process is gone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// The state letter of `man 5 proc`: `R`, `S`, `D`, `T`, `Z`, …
pub fn state(pid: u32) -> Option<char> {
    stat_fields(pid)?.first()?.chars().next()
}

/// Whether the process runs or could: it is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Processor time that the process has used in user and kernel mode.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let fields = stat_fields(pid)?;
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / clock_ticks_per_second())))
}

/// The names of the process's threads that have real-time priority.
pub fn real_time_threads(pid: u32) -> Vec<String> {
    /// The numbers of `SCHED_FIFO` and `SCHED_RR` in `man 7 sched`.
    const REAL_TIME: [&str; 2] = ["1", "2"];
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let name = |thread: fs::DirEntry| {
        let fields = fields_of(&fs::read_to_string(thread.path().join("stat")).ok()?)?;
        let is_real_time = REAL_TIME.contains(&fields.get(38)?.as_str());
        let name = is_real_time.then(|| fs::read_to_string(thread.path().join("comm")).ok())??;
        Some(name.trim().to_owned())
    };
    threads.filter_map(name).collect()
}

/// Resident memory in bytes, pages that it shares with others included.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    kilobytes(pid, "status", "VmRSS:")
}

/// Resident memory in bytes, each page divided by the number of processes that share it.
pub fn proportional_bytes(pid: u32) -> Option<u64> {
    kilobytes(pid, "smaps_rollup", "Pss:")
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// Whether the file that it runs is the one at `program`; told by device and inode, since a path of
/// another mount namespace reads differently here.
pub fn runs(pid: u32, program: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let running = identity(Path::new(&format!("/proc/{pid}/exe")));
    running.is_some() && running == identity(program)
}

/// Every process of this process namespace, its threads not counted.
pub fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// One line for a person: pid, name, state and what it waits for in the kernel.
pub fn describe(pid: u32) -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let state = state(pid).unwrap_or('?');
    format!("{pid} {} {state} {}", read("comm").trim(), read("wchan").trim())
}

/// The fields of `/proc/PID/stat` after the name, so that the first is the state.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    fields_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields of a `stat` behind the name, which may hold spaces itself: `man 5 proc` has them from its third.
fn fields_of(stat: &str) -> Option<Vec<String>> {
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_ascii_whitespace().map(str::to_owned).collect())
}

fn kilobytes(pid: u32, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
