//! What a call that is not on the allow-list is answered, and whether it is worth a report.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use libc::c_int;

/// Decides the calls of one process. Pure: the path of an open comes from a function.
#[derive(Debug)]
pub(crate) struct Judge {
    visible: Vec<PathBuf>,
    /// Whether the program has been run; before, the calls are those of our own child.
    runs: bool,
    /// Whether it may map no more files to execute them.
    has_its_code: bool,
}

/// The answer to one call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The kernel goes on with it.
    GoOn,
    /// It fails with this errno, as part of what a C library tries at its start.
    Quiet(c_int),
    /// It is reported; and fails with this errno, or goes on to fail by itself.
    Report { errno: Option<c_int>, detail: Option<String> },
}

/// Paths that C libraries and language runtimes try by themselves, and do without.
const TRIED_BY_RUNTIMES: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/self/auxv",
    "/proc/self/cgroup",
    "/proc/self/maps",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/possible",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
];

/// Where a loader looks for libraries, in more folders than there are.
const LIBRARY_FOLDERS: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// `open(2)` flags that ask for more than reading.
const WRITING: c_int = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;

impl Judge {
    /// For a process whose root holds what lies at or below `visible`.
    pub(crate) fn new(visible: Vec<PathBuf>) -> Self {
        Self { visible, runs: false, has_its_code: false }
    }

    /// Lets it map no more files to execute them.
    pub(crate) const fn refuse_code(&mut self) {
        self.has_its_code = true;
    }

    /// Answers one call by its number and arguments. `path` reads a string at an address.
    pub(crate) fn rule(
        &mut self,
        number: i64,
        args: [u64; 6],
        path: impl FnOnce(u64) -> Option<Vec<u8>>,
    ) -> Ruling {
        match number {
            // Our own child makes the first one, before any foreign code has run.
            libc::SYS_execve if !self.runs => {
                self.runs = true;
                Ruling::GoOn
            }
            libc::SYS_openat => self.rule_open(path(args[1]), low(args[2])),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => self.rule_open(path(args[0]), low(args[1])),
            // Its flags are behind a pointer: nothing to decide by, so it goes on like a read.
            libc::SYS_openat2 => self.rule_open(path(args[1]), 0),
            libc::SYS_mmap => self.rule_code(low(args[2]), low(args[3])),
            // C libraries fall back to clone, whose flags the filter can see.
            libc::SYS_clone3 => Ruling::Quiet(libc::ENOSYS),
            // "Is this a terminal?", asked by C libraries before the first line of output.
            libc::SYS_ioctl if args[1] == libc::TCGETS => Ruling::Quiet(libc::ENOTTY),
            // Shadow stacks and the like, tried by the loader.
            #[cfg(target_arch = "x86_64")]
            libc::SYS_arch_prctl => Ruling::Quiet(libc::EINVAL),
            _ => Ruling::Report { errno: Some(libc::EPERM), detail: detail(number, args) },
        }
    }

    fn rule_open(&self, path: Option<Vec<u8>>, flags: c_int) -> Ruling {
        let shown = path.map(|bytes| normal(Path::new(OsStr::from_bytes(&bytes))));
        if flags & WRITING != 0 && shown.as_deref() != Some(Path::new("/dev/null")) {
            let detail = shown.map(|path| format!("{} for writing", path.display()));
            return Ruling::Report { errno: Some(libc::EPERM), detail };
        }
        match shown {
            Some(path) if !self.exists(&path) && !tried_by_runtimes(&path) => {
                Ruling::Report { errno: None, detail: Some(path.display().to_string()) }
            }
            _ => Ruling::GoOn,
        }
    }

    /// Answers a mapping to be executed. The loader's are private ones of files, which its root holds
    /// read-only. A shared one could be of memory that it also writes; one without a file is a compiler's.
    fn rule_code(&self, rights: c_int, flags: c_int) -> Ruling {
        let refused = if rights & libc::PROT_WRITE != 0 {
            "memory to write and execute"
        } else if flags & libc::MAP_ANONYMOUS != 0 {
            "memory to execute that is no file's"
        } else if flags & libc::MAP_TYPE != libc::MAP_PRIVATE {
            "shared memory to execute"
        } else if self.has_its_code {
            "a file to execute, after it was given its rings"
        } else {
            return Ruling::GoOn;
        };
        Ruling::Report { errno: Some(libc::EPERM), detail: Some(refused.to_owned()) }
    }

    /// Whether `path` is at, below or above something that the root holds.
    fn exists(&self, path: &Path) -> bool {
        self.visible.iter().any(|held| path.starts_with(held) || held.starts_with(path))
    }
}

fn tried_by_runtimes(path: &Path) -> bool {
    TRIED_BY_RUNTIMES.iter().any(|tried| path == Path::new(tried))
        || LIBRARY_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// The path with `.` and `..` resolved by their text, from the working folder, which is `/`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

/// What the arguments say about a refused call.
fn detail(number: i64, args: [u64; 6]) -> Option<String> {
    let text = match number {
        libc::SYS_fcntl => fcntl_command(low(args[1])),
        libc::SYS_ioctl => format!("request {:#x}", args[1]),
        libc::SYS_kill | libc::SYS_tkill => format!("pid {}, signal {}", low(args[0]), args[1]),
        libc::SYS_tgkill => format!("pid {}, signal {}", low(args[0]), args[2]),
        libc::SYS_mprotect => "memory made executable".to_owned(),
        libc::SYS_prlimit64 => format!("pid {}, resource {}", low(args[0]), args[1]),
        libc::SYS_clone => format!("flags {:#x}", args[0]),
        libc::SYS_prctl => format!("option {}", low(args[0])),
        libc::SYS_socket => format!("family {}", low(args[0])),
        _ => return None,
    };
    Some(text)
}

fn fcntl_command(command: c_int) -> String {
    let name = match command {
        libc::F_SETLK | libc::F_SETLKW | libc::F_GETLK => "a lock",
        libc::F_OFD_SETLK | libc::F_OFD_SETLKW | libc::F_OFD_GETLK => "a lock",
        libc::F_SETLEASE | libc::F_GETLEASE => "a lease",
        libc::F_SETOWN | libc::F_GETOWN => "an owner",
        libc::F_NOTIFY => "a watch",
        libc::F_SETFL => "status flags",
        libc::F_ADD_SEALS => "a seal",
        other => return format!("command {other}"),
    };
    name.to_owned()
}

/// The low half of a register, where the kernel finds an `int`.
fn low(register: u64) -> c_int {
    let bytes = register.to_le_bytes();
    c_int::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge() -> Judge {
        Judge::new(vec!["/content".into(), "/engine".into()])
    }

    fn open(path: &str, flags: c_int) -> Ruling {
        let args = [0, 1, u64::from(flags.cast_unsigned()), 0, 0, 0];
        judge().rule(libc::SYS_openat, args, |_| Some(path.into()))
    }

    #[test]
    fn only_the_first_execve_goes_on() {
        let mut judge = judge();
        let mut execve = || judge.rule(libc::SYS_execve, [0; 6], |_| None);

        let first = execve();
        let second = execve();

        assert_eq!(first, Ruling::GoOn);
        assert_eq!(second, Ruling::Report { errno: Some(libc::EPERM), detail: None });
    }

    fn map(judge: &mut Judge, rights: c_int, flags: c_int) -> Ruling {
        let [rights, flags] = [rights, flags].map(|bits| u64::from(bits.cast_unsigned()));
        judge.rule(libc::SYS_mmap, [0, 4096, rights, flags, 3, 0], |_| None)
    }

    #[test]
    fn a_file_is_mapped_as_code_until_code_is_refused() {
        let mut judge = judge();
        let code = libc::PROT_READ | libc::PROT_EXEC;

        let loading = map(&mut judge, code, libc::MAP_PRIVATE | libc::MAP_FIXED);
        judge.refuse_code();
        let later = map(&mut judge, code, libc::MAP_PRIVATE | libc::MAP_FIXED);

        assert_eq!(loading, Ruling::GoOn);
        assert!(matches!(later, Ruling::Report { errno: Some(libc::EPERM), .. }));
    }

    #[test]
    fn only_a_private_mapping_of_a_file_is_mapped_as_code() {
        let mut judge = judge();
        let code = libc::PROT_READ | libc::PROT_EXEC;

        let shared = map(&mut judge, code, libc::MAP_SHARED);
        let validated = map(&mut judge, code, libc::MAP_SHARED_VALIDATE);
        let no_file = map(&mut judge, code, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let writable = map(&mut judge, code | libc::PROT_WRITE, libc::MAP_PRIVATE);

        let refused = |ruling: &Ruling| matches!(ruling, Ruling::Report { errno: Some(_), .. });
        assert!([shared, validated, no_file, writable].iter().all(refused));
    }

    #[test]
    fn whatever_else_the_list_leaves_to_the_host_is_not_just_let_go_on() {
        let nowhere = |judge: &mut Judge, call| {
            judge.rule(call, [u64::MAX; 6], |_| Some(b"/nowhere".to_vec()))
        };
        let listed = crate::seccomp::engine::ENGINE.judged.iter().map(|judged| judged.call);
        let mut judge = judge();
        judge.refuse_code();
        judge.runs = true;

        let gone_on: Vec<_> =
            listed.filter(|call| nowhere(&mut judge, *call) == Ruling::GoOn).collect();

        assert_eq!(gone_on, []);
    }

    #[test]
    fn content_is_opened_without_a_report() {
        assert_eq!(open("/content/list.txt", libc::O_RDONLY), Ruling::GoOn);
        assert_eq!(open("content", libc::O_RDONLY | libc::O_DIRECTORY), Ruling::GoOn);
    }

    #[test]
    fn a_path_outside_the_root_is_reported_and_left_to_the_kernel() {
        let climbing = open("/content/../etc/shadow", libc::O_RDONLY);

        let detail = Some("/etc/shadow".to_owned());
        assert_eq!(climbing, Ruling::Report { errno: None, detail });
    }

    #[test]
    fn opening_for_writing_is_refused_by_its_flags() {
        let writing = open("/content/list.txt", libc::O_RDWR);

        let detail = Some("/content/list.txt for writing".to_owned());
        assert_eq!(writing, Ruling::Report { errno: Some(libc::EPERM), detail });
    }

    #[test]
    fn a_path_that_cannot_be_read_is_left_to_the_kernel() {
        let args = [0, 1, 0, 0, 0, 0];

        assert_eq!(judge().rule(libc::SYS_openat, args, |_| None), Ruling::GoOn);
    }

    #[test]
    fn the_loaders_search_is_no_news() {
        let search = open("/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libc.so.6", 0);

        assert_eq!(search, Ruling::GoOn);
    }
}
