//! The control groups of one confined process.
//!
//! A process gets one group per hierarchy, `outrigger/<name>-<pid namespace>-<host's pid>-<n>`: with version 2
//! one that holds all controllers, with version 1 one per controller, and a version 2 group beside them
//! for `cgroup.kill` where the machine has both. The groups go with the process. What a dead host
//! left under the same name is killed and removed before the next start. Whether a host of another pid namespace
//! lives cannot be told from here, so of its groups only those are removed that are old and empty.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::confined::{Enforcement, Usage};
use crate::confinement::Limits;

/// The folder of all our groups at the top of each hierarchy.
const FOLDER: &str = "outrigger";

/// Length of a CPU period, µs (the kernel's default).
const CPU_PERIOD_US: u64 = 100_000;

/// How long the end of a killed leftover is waited for: 200 ms.
const LEFTOVER_END: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// From which age on a group of another pid namespace that holds no process counts as left. Its maker puts a process
/// into it within milliseconds.
const EMPTY_FOR: Duration = Duration::from_mins(1);

/// The groups of one process.
#[derive(Debug)]
pub(crate) struct Groups {
    memory: Option<Group>,
    pids: Option<Group>,
    cpu: Option<Group>,
    /// Where CPU time is counted: any version 2 group does it, version 1 has a controller for it.
    account: Option<Group>,
    /// A version 2 group, for `cgroup.kill`.
    whole: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Group {
    path: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What the limits by control group came to.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) memory: Enforcement,
    pub(crate) threads: Enforcement,
    pub(crate) cpu: Enforcement,
}

impl Groups {
    /// Makes the groups of a process called `name` with these limits. Never fails: what could not
    /// be had is in [`Applied`].
    pub(crate) fn create(name: &str, limits: &Limits) -> (Self, Applied) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let hierarchies = Hierarchies::parse(&mounts);
        let leaf = leaf_name(name);
        let make = |controller: &str| hierarchies.make_group(controller, name, &leaf);

        let mut groups = Self { memory: None, pids: None, cpu: None, account: None, whole: None };
        groups.whole = hierarchies.two.as_ref().and_then(|top| {
            remove_leftovers(&top.join(FOLDER), name);
            let path = top.join(FOLDER).join(&leaf);
            fs::create_dir_all(&path).ok().map(|()| path)
        });
        let memory = settle(make("memory"), "memory", &mut groups.memory, |group| {
            group.limit_memory(limits.memory_bytes)
        });
        let threads = settle(make("pids"), "pids", &mut groups.pids, |group| {
            group.write("pids.max", limits.threads)
        });
        // Only where there is a limit: each level of CPU groups makes every switch to the engine and
        // back dearer, and two of them are on the way of every question.
        let cpu = match limits.cpu_percent {
            Some(percent) => {
                settle(make("cpu"), "cpu", &mut groups.cpu, |group| group.limit_cpu(percent))
            }
            None => Enforcement::Full,
        };
        groups.account = match groups.whole.clone() {
            Some(path) => Some(Group { path, version: Version::Two }),
            None => make("cpuacct").ok(),
        };
        (groups, Applied { memory, threads, cpu })
    }

    /// Puts the process into all of its groups.
    pub(crate) fn join(&self, pid: u32) -> io::Result<()> {
        self.paths().try_for_each(|path| fs::write(path.join("cgroup.procs"), pid.to_string()))
    }

    /// Kills what is in the version 2 group, if there is one.
    pub(crate) fn kill(&self) {
        if let Some(path) = &self.whole {
            let _ = fs::write(path.join("cgroup.kill"), "1");
        }
    }

    /// Whether the kernel killed a process of this group for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.memory.as_ref().is_some_and(|group| {
            let file = match group.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            group.keyed(file, "oom_kill").is_some_and(|kills| kills > 0)
        })
    }

    /// How often the kernel refused a thread at the limit of this group, since it was made. `None` without
    /// the controller.
    pub(crate) fn refused_threads(&self) -> Option<u64> {
        // The same file in both versions since Linux 4.6.
        self.pids.as_ref()?.keyed("pids.events", "max")
    }

    pub(crate) fn usage(&self) -> Usage {
        let cpu_ns = self.account.as_ref().and_then(|group| match group.version {
            Version::One => group.number("cpuacct.usage"),
            Version::Two => group.keyed("cpu.stat", "usage_usec").map(|us| us.saturating_mul(1000)),
        });
        let memory_bytes = self.memory.as_ref().and_then(|group| match group.version {
            Version::One => group.number("memory.usage_in_bytes"),
            Version::Two => group.number("memory.current"),
        });
        Usage { cpu_ns, memory_bytes }
    }

    /// Removes the groups; the process must have been waited for.
    pub(crate) fn remove(&self) {
        for path in self.paths() {
            let _ = fs::remove_dir(path);
        }
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let limits = [&self.memory, &self.pids, &self.cpu, &self.account].into_iter().flatten();
        let mut paths: Vec<_> =
            limits.map(|group| group.path.as_path()).chain(self.whole.as_deref()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.into_iter()
    }
}

/// Applies a limit to a group that may not be there, keeps the group, and says how it went.
fn settle(
    group: io::Result<Group>,
    controller: &str,
    kept: &mut Option<Group>,
    apply: impl FnOnce(&Group) -> io::Result<()>,
) -> Enforcement {
    let group = match group {
        Ok(group) => kept.insert(group),
        Err(reason) => {
            return Enforcement::Missing(format!("no control group for {controller}: {reason}"));
        }
    };
    match apply(group) {
        Ok(()) => Enforcement::Full,
        Err(reason) => {
            Enforcement::Missing(format!("cannot set the limit of {controller}: {reason}"))
        }
    }
}

impl Group {
    fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        match self.version {
            Version::Two => {
                self.write("memory.max", bytes)?;
                // Swapped-out state would let a leak go on at the disk's expense.
                self.write_optional("memory.swap.max", 0)
            }
            Version::One => {
                self.write("memory.limit_in_bytes", bytes)?;
                self.write_optional("memory.memsw.limit_in_bytes", bytes)
            }
        }
    }

    fn limit_cpu(&self, percent: u32) -> io::Result<()> {
        let quota = CPU_PERIOD_US.saturating_mul(u64::from(percent)) / 100;
        match self.version {
            Version::Two => self.write("cpu.max", format_args!("{quota} {CPU_PERIOD_US}")),
            Version::One => self.write("cpu.cfs_quota_us", quota),
        }
    }

    fn write(&self, file: &str, value: impl std::fmt::Display) -> io::Result<()> {
        fs::write(self.path.join(file), value.to_string())
    }

    /// Writes a file that kernels without swap accounting do not have. `fs::write` then asks to make
    /// it, which a control group file system forbids (`EACCES`).
    fn write_optional(&self, file: &str, value: u64) -> io::Result<()> {
        match self.write(file, value) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        }
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.path.join(file)).ok()?.trim().parse().ok()
    }

    fn keyed(&self, file: &str, key: &str) -> Option<u64> {
        let text = fs::read_to_string(self.path.join(file)).ok()?;
        keyed_value(&text, key)
    }
}

/// The number behind `key` in a file of `key number` lines.
fn keyed_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A name that no other start on this machine uses while this host lives.
fn leaf_name(name: &str) -> String {
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let n = STARTS.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{}-{n}", pid_namespace(), std::process::id())
}

/// Number of the pid namespace in which this process' id means something; 0 if it cannot be told.
fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// Where the control groups of this machine are mounted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hierarchies {
    two: Option<PathBuf>,
    /// Version 1: controller and mount point.
    one: Vec<(String, PathBuf)>,
}

impl Hierarchies {
    /// Reads `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    fn parse(mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) => found.two = Some(point.into()),
                (Some("cgroup"), Some(options)) => {
                    found.one.extend(options.split(',').map(|o| (o.to_owned(), point.into())));
                }
                _ => {}
            }
        }
        found
    }

    /// Makes the group of one controller: version 2 where it is to be had there, else version 1.
    fn make_group(&self, controller: &str, name: &str, leaf: &str) -> io::Result<Group> {
        if let Some(top) = &self.two {
            let folder = top.join(FOLDER);
            if offers(top, controller) {
                fs::create_dir_all(&folder)?;
                let enable = format!("+{controller}");
                fs::write(top.join("cgroup.subtree_control"), &enable)?;
                fs::write(folder.join("cgroup.subtree_control"), &enable)?;
                let path = folder.join(leaf);
                fs::create_dir_all(&path)?;
                return Ok(Group { path, version: Version::Two });
            }
        }
        let (_, top) = self
            .one
            .iter()
            .find(|(option, _)| option == controller)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let folder = top.join(FOLDER);
        remove_leftovers(&folder, name);
        let path = folder.join(leaf);
        fs::create_dir_all(&path)?;
        Ok(Group { path, version: Version::One })
    }
}

fn offers(top: &Path, controller: &str) -> bool {
    fs::read_to_string(top.join("cgroup.controllers"))
        .is_ok_and(|list| list.split_whitespace().any(|item| item == controller))
}

/// Kills and removes the groups of `name` whose host is dead.
fn remove_leftovers(folder: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let ours = pid_namespace();
    for entry in entries.flatten() {
        let leaf = entry.file_name();
        let Some((namespace, host)) = leaf.to_str().and_then(|leaf| host_of(leaf, name)) else {
            continue;
        };
        if namespace == ours {
            if Path::new(&format!("/proc/{host}")).exists() {
                continue;
            }
            kill_members(&entry.path());
        } else if !is_older(&entry, EMPTY_FOR) {
            continue;
        }
        // The kernel removes none that holds a process.
        let _ = fs::remove_dir(entry.path());
    }
}

fn is_older(entry: &fs::DirEntry, age: Duration) -> bool {
    let made = entry.metadata().and_then(|metadata| metadata.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// Pid namespace and pid of the host that made the group `leaf`, if it is one of `name`'s.
fn host_of(leaf: &str, name: &str) -> Option<(u64, u32)> {
    let mut parts = leaf.strip_prefix(name)?.strip_prefix('-')?.split('-');
    let (namespace, host) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next()?.parse::<u32>().ok()?;
    parts.next().is_none().then_some((namespace, host))
}

/// Kills what is left in a group and waits a moment for its end, before which the group cannot be
/// removed. Each pid is checked again once it is held by a pidfd.
fn kill_members(group: &Path) {
    let members = || fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for line in members().lines() {
        let Some(pid) = line.parse().ok().and_then(Pid::from_raw) else { continue };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if members().lines().any(|again| again == line) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&LEFTOVER_END));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 24 0:26 / /sys/fs/cgroup ro,nosuid shared:5 - tmpfs tmpfs ro,mode=755
32 31 0:27 / /sys/fs/cgroup/unified rw shared:6 - cgroup2 cgroup2 rw,nsdelegate
34 31 0:29 / /sys/fs/cgroup/memory rw shared:8 - cgroup cgroup rw,memory
35 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
";

    #[test]
    fn a_machine_with_both_versions_is_read() {
        let found = Hierarchies::parse(HYBRID);

        let at = |controller: &str| {
            found.one.iter().find(|(c, _)| c == controller).map(|(_, p)| p.to_str().unwrap())
        };
        assert_eq!(found.two.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(at("memory"), Some("/sys/fs/cgroup/memory"));
        assert_eq!(at("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn only_groups_of_the_same_name_are_leftovers() {
        assert_eq!(host_of("scan-4026531836-12-0", "scan"), Some((4_026_531_836, 12)));
        assert_eq!(host_of("scan-7-4026531836-12-0", "scan"), None);
        assert_eq!(host_of("scan-deep-4026531836-12-0", "scan"), None);
        assert_eq!(host_of("scanner-4026531836-12-0", "scan"), None);
    }

    #[test]
    fn a_key_is_not_mistaken_for_a_longer_one() {
        let events = "oom 3\noom_kill 1\noom_group_kill 7\n";

        assert_eq!(keyed_value(events, "oom_kill"), Some(1));
    }
}
