//! Who does what, and what its ancestors have run: looked at in thousands of processes that fork, run
//! programs, take other users, make and enter namespaces, and get the numbers of those before them.
//!
//! Process ids are made scarce, so that each number is given again and again. Each process makes a symbolic link that
//! leads to what is true of it; what the plane says of that event is compared, and the lineage by a filter for each of
//! four programs.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use outrigger_api::{Event, EventSet, Mode, ProcessKey};
use outrigger_decision::rules::{Condition, Effect, LineageKey, Process, Rule, Source, compile};
use outrigger_sensor::notice::{Notice, Seen};
use outrigger_sensor::plane::{Plane, Settings};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::report::{Report, say};

/// Where it happens; the guest's alone.
const PLACE: &str = "/tmp/identity";
/// Programs whose descendants are told apart.
const LINES: usize = 4;
const KEY: [u8; 16] = *b"no secret at all";
/// Numbers that processes can have: the least that the kernel allows is 301.
const SCARCE: usize = 600;

/// The word after which this program is one of those that are looked at.
pub(crate) const WORD: &str = "identity-of";

/// Has `count` processes made, and looks at what is said of each.
pub(crate) fn run(count: &str, report: &mut Report) -> Result<()> {
    let count = count.parse().context("how many processes?")?;
    report.test("identity::every_subject_is_right_or_counted_as_lost", || check(count));
    Ok(())
}

/// One of those that are looked at.
pub(crate) fn play(words: &[&str]) -> ExitCode {
    let done = match words {
        ["spawner", line, count] => spawn(line, count),
        ["worker", line, number, kind] => work(line, number, kind),
        _ => Err(anyhow!("what to do?")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{words:?} broke off: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Makes processes, one after the other.
fn spawn(line: &str, count: &str) -> Result<()> {
    for number in 0..count.parse::<usize>()? {
        let kind = number % 5;
        let mut command = Command::new(format!("{PLACE}/worker"));
        command.args([WORD, "worker", line, &number.to_string(), &kind.to_string()]);
        if kind == 1 {
            command.uid(1000 + u32::try_from(number % 1000)?);
        }
        let status = command.status()?;
        ensure!(status.success(), "process {number} ended with {status}");
    }
    Ok(())
}

/// Does something about its identity, then says what is true of it by where a link leads.
fn work(line: &str, number: &str, kind: &str) -> Result<()> {
    match kind {
        "2" => sys::new_namespaces()?,
        "3" => {
            let parent = rustix::process::getppid().context("no parent")?;
            let uts = fs::File::open(format!("/proc/{}/ns/uts", parent.as_raw_nonzero()))?;
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&uts),
                Some(LinkNameSpaceType::HostNameAndNISDomainName),
            )?;
        }
        "4" => {
            // Another program in the same process.
            let mut command = Command::new(format!("{PLACE}/again"));
            return Err(command.args([WORD, "worker", line, number, "5"]).exec().into());
        }
        _ => {}
    }
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let user = rustix::process::geteuid().as_raw();
    let truth = format!("{} {user} {parent} {line} {number}", std::process::id());
    symlink(truth, format!("{PLACE}/links/{line}-{number}"))?;
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "a process can do things to itself by this that it does not survive"
)]
mod sys {
    use rustix::thread::{UnshareFlags, unshare_unsafe};

    /// Gives this process namespaces of its own: of mounts, names and System V IPC.
    pub(super) fn new_namespaces() -> rustix::io::Result<()> {
        let made = UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
        // SAFETY: no descriptor table is unshared, so nobody's descriptors become others.
        unsafe { unshare_unsafe(made) }
    }
}

/// What is true of a process, as it says itself.
struct Truth {
    pid: u32,
    user: u32,
    parent: u32,
    line: usize,
    number: usize,
}

impl Truth {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        let mut words = text.split(' ');
        Some(Self {
            pid: words.next()?.parse().ok()?,
            user: words.next()?.parse().ok()?,
            parent: words.next()?.parse().ok()?,
            line: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
        })
    }
}

fn check(count: usize) -> Result<String> {
    let _ = fs::remove_dir_all(PLACE);
    fs::create_dir_all(format!("{PLACE}/links"))?;
    fs::set_permissions(format!("{PLACE}/links"), fs::Permissions::from_mode(0o777))?;
    let own = std::env::current_exe()?;
    let lines: Vec<String> = (0..LINES).map(|line| format!("{PLACE}/line-{line}")).collect();
    for copy in
        lines.iter().cloned().chain(["worker", "again"].map(|name| format!("{PLACE}/{name}")))
    {
        fs::copy(&own, copy)?;
    }
    fs::write("/proc/sys/kernel/pid_max", SCARCE.to_string())?;

    let settings = Settings { lineage_key: KEY, ring: 1 << 22, ..Settings::default() };
    let mut plane = Plane::open(&settings)?;
    plane.set_rules(&filters(&lines)?)?;
    let links = EventSet::EMPTY.with(Event::FileSymlink);
    plane.attach(links, links)?;

    let each = count / LINES;
    let mut spawners: Vec<Child> = lines
        .iter()
        .enumerate()
        .map(|(line, program)| {
            Command::new(program)
                .args([WORD, "spawner", &line.to_string(), &each.to_string()])
                .spawn()
        })
        .collect::<Result<_, _>>()?;
    let pids: Vec<u32> = spawners.iter().map(Child::id).collect();
    let mut found = Found::default();
    let mut seen = Vec::new();
    loop {
        let mut ended = true;
        for spawner in &mut spawners {
            ended &= spawner.try_wait()?.is_some();
        }
        plane.drain(&mut seen)?;
        seen.drain(..).for_each(|seen| found.take(&seen, &pids));
        if ended {
            break;
        }
        let mut fds = [PollFd::new(&plane, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 }))?;
    }
    plane.drain(&mut seen)?;
    seen.drain(..).for_each(|seen| found.take(&seen, &pids));

    let wanted = each * LINES;
    let said = format!(
        "{} of {wanted} processes told of rightly, {} wrongly, {} counted as lost; {} numbers for them",
        found.right,
        found.wrong.len(),
        found.lost,
        found.pids.len(),
    );
    for spawner in &mut spawners {
        let status = spawner.wait()?;
        ensure!(status.success(), "{said}; a process that makes others ended with {status}");
    }
    if !found.wrong.is_empty() {
        bail!("{said}:\n{}", found.wrong[..found.wrong.len().min(20)].join("\n"));
    }
    let missing = wanted.checked_sub(found.right).context("some were told of twice")?;
    ensure!(u64::try_from(missing)? == found.lost, "{said}");
    // There are not that many numbers.
    ensure!(found.pids.len() < SCARCE, "{said}: none can have been given again");
    Ok(said)
}

/// A filter per program: told to the engine of its number is what descends from it.
fn filters(lines: &[String]) -> Result<Vec<u8>> {
    let rules: Vec<Rule> = lines
        .iter()
        .enumerate()
        .map(|(line, program)| Rule {
            name: program.clone(),
            source: Source::Administrator,
            mode: Mode::Enforce,
            effect: Effect::Tell(u8::try_from(line).unwrap_or(u8::MAX)),
            events: vec![Event::FileSymlink],
            when: Condition::Descends { process: Process::Subject, program: program.clone() },
        })
        .collect();
    let compiled = compile(&rules, &LineageKey(KEY), 1, &Default::default())?;
    Ok(compiled.image.bytes().to_vec())
}

#[derive(Default)]
struct Found {
    right: usize,
    wrong: Vec<String>,
    lost: u64,
    /// Whose key each is.
    keys: HashMap<ProcessKey, (usize, usize)>,
    parents: HashMap<usize, ProcessKey>,
    pids: HashMap<u32, usize>,
}

impl Found {
    fn take(&mut self, seen: &Seen, spawners: &[u32]) {
        match seen {
            Seen::Loss(loss) => self.lost += loss.lost.at_least(),
            Seen::Notice(notice) => match self.look(notice, spawners) {
                Ok(()) => self.right += 1,
                Err(what) => self.wrong.push(format!("{what}: {notice:?}")),
            },
        }
    }

    fn look(&mut self, notice: &Notice, spawners: &[u32]) -> Result<(), &'static str> {
        let text = notice.text.as_deref().ok_or("no text")?;
        let truth = Truth::parse(text).ok_or("another text")?;
        let whole = (truth.line, truth.number);
        let path = format!("{PLACE}/links/{}-{}", truth.line, truth.number);
        let user = notice.credentials.ok_or("no user")?.uid;
        let key = notice.process.ok_or("no key")?;
        let parent = notice.parent.ok_or("no parent")?;
        *self.pids.entry(truth.pid).or_default() += 1;
        if notice.path.as_deref() != Some(path.as_bytes()) {
            return Err("another path");
        }
        if (notice.pid, user, notice.parent_pid) != (truth.pid, truth.user, Some(truth.parent)) {
            return Err("another process, user or parent");
        }
        if spawners.get(truth.line) != Some(&truth.parent) {
            return Err("a parent that it has not");
        }
        if *self.keys.entry(key).or_insert(whole) != whole {
            return Err("a key that another process had");
        }
        if *self.parents.entry(truth.line).or_insert(parent) != parent {
            return Err("another parent than its siblings");
        }
        if notice.wanted != Some(1 << truth.line) {
            return Err("another lineage");
        }
        Ok(())
    }
}
