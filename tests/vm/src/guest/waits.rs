//! Who waits for an answer, and how long, seen from outside: every thread of the machine, again and again.
//!
//! The kernel tells of each thread in which of its functions it sleeps (`/proc/PID/task/TID/wchan`) and
//! how often it has slept (`voluntary_ctxt_switches`). A thread that sleeps for an answer in two looks,
//! and has not slept again between them, has waited for that long.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use outrigger_testkit::clock::{as_ms, now};
use outrigger_testkit::proc;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The kernel's own threads have smaller numbers, but for some that come later.
const KERNEL_PIDS: u32 = 120;

/// The waits of one program.
#[derive(Debug, Clone)]
pub(crate) struct Waited {
    /// The program's file; its name where that cannot be told.
    pub(crate) program: String,
    /// The longest wait, ms.
    pub(crate) longest_ms: f64,
    /// Waits seen.
    pub(crate) count: u64,
}

impl Waited {
    /// Whether the program is the platform's own: keeper, gate and host are one, engines are named alike.
    pub(crate) fn is_own(&self) -> bool {
        let name = Path::new(&self.program).file_name().unwrap_or_default().to_string_lossy();
        name == "outriggerd" || name.starts_with("outrigger-engine-")
    }
}

/// A thread that looks, until the value is dropped or asked.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<HashMap<String, Waited>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub(crate) fn start() -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let thread = {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            std::thread::spawn(move || watch(&stop, &seen))
        };
        Self { stop, seen, thread: Some(thread) }
    }

    /// What was seen since the start or the last call, by program.
    pub(crate) fn take(&self) -> Vec<Waited> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.drain().map(|(_, waited)| waited).collect()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's id, and how often it had slept: one wait.
type Wait = (u32, u64);

fn watch(stop: &AtomicBool, seen: &Mutex<HashMap<String, Waited>>) {
    let mut since: HashMap<Wait, u64> = HashMap::new();
    let mut kernel: HashSet<u32> = HashSet::new();
    while !stop.load(Ordering::Relaxed) {
        let mut still = HashMap::new();
        for pid in proc::all() {
            // Threads of the kernel open nothing of their own. They were there first and stay.
            if kernel.contains(&pid) {
                continue;
            }
            if fs::read_link(format!("/proc/{pid}/exe")).is_err() && pid < KERNEL_PIDS {
                kernel.insert(pid);
                continue;
            }
            for (thread, sleeps) in waiting_threads(pid) {
                let wait = (thread, sleeps);
                let begun = since.get(&wait).copied();
                still.insert(wait, begun.unwrap_or_else(now));
                let lasts = begun.map_or(0, |begun| now().saturating_sub(begun));
                note(seen, pid, as_ms(lasts), begun.is_none());
            }
        }
        since = still;
        std::thread::sleep(PAUSE);
    }
}

fn note(seen: &Mutex<HashMap<String, Waited>>, pid: u32, ms: f64, is_new: bool) {
    let program = program_of(pid);
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = Waited { program: program.clone(), longest_ms: 0.0, count: 0 };
    let waited = seen.entry(program).or_insert(fresh);
    waited.longest_ms = waited.longest_ms.max(ms);
    waited.count += u64::from(is_new);
}

/// The threads of a process that wait for an answer, each with how often it has slept.
fn waiting_threads(pid: u32) -> Vec<Wait> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|entry| {
            let thread = entry.file_name().to_str()?.parse().ok()?;
            // The platform tries what this kernel gives on a file system of its own, with a group of its own.
            let name = || fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let function = fs::read_to_string(entry.path().join("wchan")).ok()?;
            // The readers of a group sleep in a function of the same family.
            let waits = function.starts_with("fanotify_") && function != "fanotify_read";
            if waits && name().trim_end() == "trial" {
                return None;
            }
            let status = waits.then(|| fs::read_to_string(entry.path().join("status")).ok())??;
            let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?;
            Some((thread, line.trim().parse().ok()?))
        })
        .collect()
}

fn program_of(pid: u32) -> String {
    match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(path) => path.display().to_string(),
        Err(_) => fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default(),
    }
}
