//! What is run in a guest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::binaries;

use crate::archive::Archive;

/// Where programs are put in the guest, side by side as in the folder in which they were built.
pub(crate) const PROGRAMS: &str = "/usr/lib/outrigger-tests";
/// The program that tests from inside.
pub(crate) const GUEST: &str = "outrigger-vm-guest";
/// The program that plays the matrix of faults.
const FAULTS: &str = "outrigger-faults";
/// The program that compiles rules, which the host starts.
const COMPILER: &str = "outrigger-policy-compiler";
/// Largest file put into a guest, bytes: it has to fit into its memory.
const FILE_MAX: u64 = 256 << 20;

/// One thing to run in a guest of its own.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    /// What the guest needs besides its root.
    pub(crate) files: Vec<File>,
    /// What is run first, before systemd; nothing if empty.
    pub(crate) setup: Vec<String>,
    pub(crate) command: Vec<String>,
    /// After this the guest counts as hung.
    pub(crate) limit: Duration,
    pub(crate) memory_mib: u32,
    pub(crate) boot: Boot,
    pub(crate) root: Root,
    pub(crate) failing: Failing,
    /// Whether what the command prints is the result, to be shown.
    pub(crate) shows_output: bool,
    /// Whether it measures time, so that no other guest may run beside it.
    pub(crate) measures: bool,
    pub(crate) clock: Clock,
    /// Whether it is run on every kernel, and not on the oldest alone unless others are asked for.
    pub(crate) everywhere: bool,
}

/// What the guest's time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// That of the machine that emulates it, on two processors.
    OfThisMachine,
    /// A nanosecond for each instruction, on one: what is measured by it is the same on a busy machine.
    Instructions,
}

/// How the guest comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boot {
    /// A script mounts what programs expect, and runs the command.
    Script,
    /// systemd, which runs the command when everything else is up.
    Systemd,
}

/// What the guest's root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// Debian, on a disk.
    Debian,
    /// What the job's files need and little else, in memory: nothing is made for it, and it needs no root here.
    Memory,
}

/// What becomes of the guest when its kernel oopses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// It panics, and that is the guest's end.
    Ends,
    /// It panics and boots again, with what is on its disk.
    BootsAgain,
    /// It goes on as well as it can, as Debian's kernel does by default.
    LimpsOn,
}

/// A file of this machine that the guest gets.
#[derive(Debug)]
pub(crate) struct File {
    from: PathBuf,
    to: String,
}

impl File {
    /// Where it lies here.
    pub(crate) fn source(&self) -> &Path {
        &self.from
    }

    /// A program of this workspace.
    pub(crate) fn built(name: &str) -> Result<Self> {
        Ok(Self { from: binaries::path(name)?, to: format!("{PROGRAMS}/{name}") })
    }

    /// An example of this workspace: `cargo build --examples` makes those.
    fn example(name: &str) -> Result<Self> {
        let from = binaries::path(&format!("examples/{name}"))?;
        Ok(Self { from, to: format!("{PROGRAMS}/{name}") })
    }

    /// `PATH`, put beside the programs, or `PATH=WHERE`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (from, to) = match text.split_once('=') {
            Some((from, to)) => (PathBuf::from(from), to.to_owned()),
            None => {
                let from = PathBuf::from(text);
                let name = from.file_name().with_context(|| format!("{text} names no file"))?;
                let to = format!("{PROGRAMS}/{}", name.to_string_lossy());
                (from, to)
            }
        };
        ensure!(to.starts_with('/'), "{to} is no absolute path");
        Ok(Self { from, to })
    }

    /// Adds it to what the guest's root is given, with its mode.
    pub(crate) fn add_to(&self, archive: &mut Archive) -> Result<()> {
        let wrong = || format!("cannot read {}", self.from.display());
        let about = fs::metadata(&self.from).with_context(wrong)?;
        ensure!(
            about.len() <= FILE_MAX,
            "{} has {} bytes, more than {FILE_MAX}",
            self.from.display(),
            about.len()
        );
        let content = fs::read(&self.from).with_context(wrong)?;
        let mode = about.permissions().mode() & 0o777;
        archive.file(&format!("job{}", self.to), mode, &content);
        Ok(())
    }
}

/// How much is done: the whole length, and where not that much time is to be spent. Seconds under load.
const STRESS: [&str; 2] = ["60", "10"];
/// Processes that are looked at.
const IDENTITY: [&str; 2] = ["10000", "400"];
/// Pairs that are compared.
const AGREE: [&str; 2] = ["100000", "5000"];
/// Seconds of each kind.
const RACES: [&str; 2] = ["10", "3"];
/// Set by who wants the whole length, as for the other tests.
const FULL: &str = "OUTRIGGER_TEST_FULL";

/// The jobs that `make vm` runs.
pub(crate) fn of_this_repository() -> Result<Vec<Job>> {
    let platform = || -> Result<Vec<File>> {
        let programs =
            [GUEST, binaries::HOST, binaries::TOOL, binaries::HASHLIST, binaries::HOSTILE];
        programs.into_iter().map(File::built).collect()
    };
    let guest = |words: &[&str]| -> Vec<String> {
        let program = format!("{PROGRAMS}/{GUEST}");
        [program.as_str()].iter().chain(words).map(|&word| word.to_owned()).collect()
    };
    let job = |name: &str, words: &[&str], boot, limit_s| -> Result<Job> {
        Ok(Job {
            name: name.to_owned(),
            files: platform()?,
            setup: if boot == Boot::Systemd { guest(&["boot-setup"]) } else { Vec::new() },
            command: guest(words),
            limit: Duration::from_secs(limit_s),
            memory_mib: 1024,
            boot,
            root: Root::Debian,
            failing: Failing::Ends,
            shows_output: false,
            measures: true,
            clock: Clock::OfThisMachine,
            everywhere: false,
        })
    };
    let mut jobs = vec![
        job("machine-open", &["machine", "open"], Boot::Script, 420)?,
        job("machine-closed", &["machine", "closed"], Boot::Script, 420)?,
        job("booted", &["booted"], Boot::Systemd, 300)?,
        job("trial", &["trial"], Boot::Script, 300)?,
    ];
    // The newest kernel takes a minute to check all programs, twice, on a processor that has nothing else to do.
    for (name, limit_s) in [("causes", 300), ("events", 900), ("policies", 420)] {
        let mut job = job(name, &[name], Boot::Script, limit_s)?;
        if name == "policies" {
            job.files.push(File::built("outrigger-policy-compiler")?);
        }
        jobs.push(Job { measures: false, everywhere: true, ..job });
    }
    let bench = job("bench-rules", &["bench-rules"], Boot::Script, 900)?;
    let clock = Clock::Instructions;
    jobs.push(Job { measures: false, clock, everywhere: true, root: Root::Memory, ..bench });
    let short = usize::from(std::env::var_os(FULL).is_none());
    let mut stress = job("stress", &["stress", STRESS[short]], Boot::Script, 1800)?;
    stress.files.push(File::built(COMPILER)?);
    jobs.push(Job { everywhere: true, root: Root::Memory, ..stress });
    for (name, length) in [("identity", IDENTITY), ("agree", AGREE), ("races", RACES)] {
        let mut job = job(name, &[name, length[short]], Boot::Script, 1800)?;
        job.files = vec![File::built(GUEST)?];
        if name == "agree" {
            job.files.push(File::example(name)?);
        }
        // Names move on the disk's file system too.
        let root = if name == "races" { Root::Debian } else { Root::Memory };
        jobs.push(Job { measures: false, everywhere: true, root, ..job });
    }
    // Twice all programs, and on the newest kernel that takes a minute each.
    let mut ruled = job("ruled", &["ruled"], Boot::Script, 1500)?;
    ruled.files.push(File::built(COMPILER)?);
    jobs.push(Job { measures: false, everywhere: true, ..ruled });
    // The p99 of an engine says nothing on emulated processors.
    let flags = ["--budget-ms", "500", "--slack-ms", "250", "--p99", "skip"];
    let faults = format!("{PROGRAMS}/{FAULTS}");
    let mut files = platform()?;
    files.push(File::built(FAULTS)?);
    jobs.push(Job {
        name: "faults".to_owned(),
        files,
        setup: Vec::new(),
        command: [faults.as_str()].into_iter().chain(flags).map(str::to_owned).collect(),
        limit: Duration::from_secs(600),
        memory_mib: 1024,
        boot: Boot::Script,
        root: Root::Debian,
        failing: Failing::Ends,
        shows_output: true,
        measures: true,
        clock: Clock::OfThisMachine,
        everywhere: false,
    });
    Ok(jobs)
}
