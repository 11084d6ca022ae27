//! The five policies of `docs/policy.md`, each with the act that it is about: in Monitor the act goes through and is told as
//! one that would have been denied, in Enforce it fails with EPERM and is told as denied.
//!
//! The policies are those that are shipped, read and compiled as the host does, and put in force in the kernel. The act is
//! done by a process of its own, since nothing of ours is evaluated.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use outrigger_api::{EventSet, Mode};
use outrigger_decision::rules::reading::{Answer, Question};
use outrigger_decision::rules::{LineageKey, MarkNames, Rule, Source, compile};
use outrigger_sensor::notice::{RuleOutcome, Seen};
use outrigger_sensor::plane::{Plane, Settings};
use outrigger_testkit::binaries;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::report::Report;

/// How long a notice may take on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(3);
/// The program that reads policies.
const COMPILER: &str = "outrigger-policy-compiler";
const KEY: [u8; 16] = [0x5a; 16];
/// A control group as a container engine would call it.
const CONTAINER: &str = "/sys/fs/cgroup/docker-0123";
const DAEMON: &str = "/usr/sbin/sshd";
const DOWNLOADER: &str = "/usr/bin/curl";

/// A policy, and the act that it is about.
struct Example {
    file: &'static str,
    text: &'static str,
    /// The rule that decides the act.
    rule: &'static str,
    act: fn(Mode) -> Result<i32>,
}

macro_rules! example {
    ($file:literal, $rule:literal, $act:ident) => {
        Example {
            file: concat!($file, ".cedar"),
            text: include_str!(concat!("../../../../policies/", $file, ".cedar")),
            rule: $rule,
            act: $act,
        }
    };
}

const EXAMPLES: &[Example] = &[
    example!("kernel-modules", "module-from-elsewhere", load_module),
    example!("protected-process", "sshd-signal", signal_daemon),
    example!("credential-files", "password-hashes", read_hashes),
    example!("dropped-and-executed", "dropped-and-executed", run_dropped),
    example!("container-escape", "escape-by-a-helper", set_helper),
];

/// Does every act under its policy, in both modes.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let settings = Settings { lineage_key: KEY, ..Settings::default() };
    let mut plane = Plane::open(&settings).context("no plane")?;
    let mut marks = MarkNames::default();
    let mut generation = 0;
    for example in EXAMPLES {
        for (mode, word) in [(Mode::Monitor, "monitored"), (Mode::Enforce, "enforced")] {
            generation += 1;
            let name = format!("policies::{}::{word}", example.file.trim_end_matches(".cedar"));
            report.test(&name, || show(&mut plane, example, mode, generation, &mut marks));
        }
    }
    Ok(())
}

/// The act of a policy, by its arguments: exits with the error that it met, 0 for none.
pub(crate) fn deed(words: &[&str]) -> ExitCode {
    let done = match words {
        ["module", file] => File::open(file).and_then(|file| {
            match rustix::system::finit_module(file, c"", 0) {
                // It was read, and is none: it was let through.
                Err(rustix::io::Errno::NOEXEC) => Ok(()),
                other => Ok(other?),
            }
        }),
        ["signal", pid] => pid.parse().ok().and_then(Pid::from_raw).map_or_else(
            || Err(io::Error::from_raw_os_error(libc::ESRCH)),
            // Nobody who does not wait for it notices this one.
            |pid| Ok(kill_process(pid, Signal::URG)?),
        ),
        ["open", file] => File::open(file).map(drop),
        ["drop", file] => fs::copy("/proc/self/exe", file)
            .and_then(|_| fs::set_permissions(file, fs::Permissions::from_mode(0o755))),
        ["start", file] => Command::new(file).args(["deed", "nothing"]).status().map(drop),
        ["escape", file] => fs::write(format!("{CONTAINER}/cgroup.procs"), "0")
            .and_then(|()| OpenOptions::new().write(true).open(file).map(drop)),
        ["wait"] => io::copy(&mut io::stdin(), &mut io::sink()).map(drop),
        ["nothing"] => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    };
    let errno = done.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    ExitCode::from(u8::try_from(errno).unwrap_or(u8::MAX))
}

fn show(
    plane: &mut Plane,
    example: &Example,
    mode: Mode,
    generation: u64,
    marks: &mut MarkNames,
) -> Result<String> {
    let mut rules = read(example)?;
    rules.iter_mut().for_each(|rule| rule.mode = mode);
    let events: EventSet = rules.iter().flat_map(|rule: &Rule| rule.events.clone()).collect();
    let set = compile(&rules, &LineageKey(KEY), generation, marks)?;
    *marks = set.marks.clone();
    plane.set_rules(set.image.bytes()).context("the rules were not taken")?;
    plane.attach(events, events).context("the programs were not attached")?;
    plane.drain(&mut Vec::new())?;

    let errno = (example.act)(mode)?;

    let (wanted, outcome) = match mode {
        Mode::Monitor => (0, RuleOutcome::WouldDeny),
        Mode::Enforce => (libc::EPERM, RuleOutcome::Denied),
    };
    ensure!(errno == wanted, "the act ended with {errno} and not {wanted}");
    let until = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        plane.drain(&mut seen)?;
        let told = seen.iter().any(|seen| match seen {
            Seen::Notice(notice) => notice.ruled.is_some_and(|ruled| {
                // A policy about several events can be several rules, each called after its event too.
                let name = set.rules.get(usize::from(ruled.rule)).map(String::as_str);
                ruled.outcome == outcome
                    && ruled.generation == generation
                    && name.and_then(|name| name.split('/').next()) == Some(example.rule)
            }),
            Seen::Loss(_) => false,
        });
        if told {
            return Ok(format!("errno {errno}, told as {outcome:?} by {}", example.rule));
        }
        let left = until.saturating_duration_since(Instant::now());
        ensure!(
            !left.is_zero(),
            "{} was not told as {outcome:?} in {} notices",
            example.rule,
            seen.len()
        );
        let left = Timespec::try_from(left)?;
        poll(&mut [PollFd::new(&plane.as_fd(), PollFlags::IN)], Some(&left))?;
    }
}

/// The rules of a policy, from the program that the host has read them by.
fn read(example: &Example) -> Result<Vec<Rule>> {
    let mut question = Question::new(Source::Administrator);
    question.add(example.file, example.text.as_bytes()).map_err(|error| anyhow!("{error:?}"))?;
    let mut compiler = Command::new(binaries::path(COMPILER)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start what reads policies")?;
    // It reads all of it before it writes anything.
    compiler.stdin.take().context("a pipe")?.write_all(&question.frame())?;
    match Answer::parse(&compiler.wait_with_output()?.stdout)? {
        Answer::Read { rules, .. } => Ok(rules),
        Answer::Refused { errors } => bail!("{}: {errors:?}", example.file),
    }
}

/// Has a program do a deed; the error that it met.
fn has_done(program: &Path, words: &[&str]) -> Result<i32> {
    let status = Command::new(program)
        .arg("deed")
        .args(words)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    status.code().with_context(|| format!("{words:?} ended by {status}"))
}

fn own() -> Result<std::path::PathBuf> {
    Ok(std::env::current_exe()?)
}

/// Our own program, elsewhere.
fn copy_to(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    if !path.exists() {
        fs::create_dir_all(path.parent().context("it lies in a folder")?)?;
        fs::copy(own()?, path)?;
    }
    Ok(path)
}

fn load_module(_: Mode) -> Result<i32> {
    let file = "/tmp/elsewhere.ko";
    fs::write(file, "no module")?;
    has_done(&own()?, &["module", file])
}

fn signal_daemon(_: Mode) -> Result<i32> {
    /// Ended as soon as it is of no more use, by its input's end.
    struct Daemon(Child);
    impl Drop for Daemon {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }
    let mut command = Command::new(copy_to(DAEMON)?);
    let daemon = Daemon(command.args(["deed", "wait"]).stdin(Stdio::piped()).spawn()?);
    has_done(&own()?, &["signal", &daemon.0.id().to_string()])
}

fn read_hashes(_: Mode) -> Result<i32> {
    let file = "/etc/shadow";
    if !Path::new(file).exists() {
        fs::write(file, "")?;
    }
    has_done(&own()?, &["open", file])
}

fn run_dropped(mode: Mode) -> Result<i32> {
    let file = format!("/tmp/dropped-{mode:?}");
    let errno = has_done(copy_to(DOWNLOADER)?, &["drop", &file])?;
    if errno != 0 {
        bail!("nothing was written: {}", io::Error::from_raw_os_error(errno));
    }
    has_done(&own()?, &["start", &file])
}

fn set_helper(_: Mode) -> Result<i32> {
    fs::create_dir_all(CONTAINER)?;
    has_done(&own()?, &["escape", "/proc/sys/kernel/core_pattern"])
}
