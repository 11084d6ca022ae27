//! Who does what, and what its ancestors have run: looked at in thousands of processes that fork, run
//! programs, take other users, make and enter namespaces, and get the numbers of those before them.
//!
//! For a guest whose kernel takes BPF programs at security hooks and that nothing else runs in: it makes
//! process ids scarce. Each process makes a symbolic link that leads to what is true of it; what the plane
//! says of that event is compared, and the lineage by a filter for each of four programs. Ends with 1 if
//! anything was said wrongly or is missing without being counted as lost.
//!
//! ```text
//! identity [PROCESSES]
//! ```
#![expect(clippy::print_stdout, reason = "what it found is its result")]

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode};

use outrigger_api::{Event, EventSet, Mode, ProcessKey};
use outrigger_decision::rules::{Condition, Effect, LineageKey, Process, Rule, Source, compile};
use outrigger_sensor::notice::{Notice, Seen};
use outrigger_sensor::plane::{Plane, Settings};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Where it happens; the guest's alone.
const PLACE: &str = "/tmp/identity";
/// Programs whose descendants are told apart.
const LINES: usize = 4;
const KEY: [u8; 16] = *b"no secret at all";
/// Numbers that processes can have: the least that the kernel allows is 301.
const PIDS: &str = "600";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let result = match words.as_slice() {
        ["spawner", line, count] => spawn(line, count),
        ["worker", line, number, kind] => work(line, number, kind),
        [] => check(2_000),
        [count] => count.parse().map_err(Into::into).and_then(check),
        _ => Err("what to do?".into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{words:?} broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes processes, one after the other.
fn spawn(line: &str, count: &str) -> Result<bool, Box<dyn Error>> {
    for number in 0..count.parse::<usize>()? {
        let kind = number % 5;
        let mut command = Command::new(format!("{PLACE}/worker"));
        command.args(["worker", line, &number.to_string(), &kind.to_string()]);
        if kind == 1 {
            command.uid(1000 + u32::try_from(number % 1000)?);
        }
        if !command.status()?.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Does something about its identity, then says what is true of it by where a link leads.
fn work(line: &str, number: &str, kind: &str) -> Result<bool, Box<dyn Error>> {
    match kind {
        "2" => {
            let made = UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC;
            new_namespaces(made)?;
        }
        "3" => {
            let parent = rustix::process::getppid().ok_or("no parent")?;
            let uts = fs::File::open(format!("/proc/{}/ns/uts", parent.as_raw_nonzero()))?;
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&uts),
                Some(LinkNameSpaceType::HostNameAndNISDomainName),
            )?;
        }
        "4" => {
            // Another program in the same process.
            let mut command = Command::new(format!("{PLACE}/again"));
            return Err(command.args(["worker", line, number, "5"]).exec().into());
        }
        _ => {}
    }
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let user = rustix::process::geteuid().as_raw();
    let truth = format!("{} {user} {parent} {line} {number}", std::process::id());
    symlink(truth, format!("{PLACE}/links/{line}-{number}"))?;
    Ok(true)
}

#[expect(
    unsafe_code,
    reason = "a process can do things to itself by this that it does not survive"
)]
fn new_namespaces(made: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: no descriptor table is unshared, so nobody's descriptors become others.
    unsafe { unshare_unsafe(made) }
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

/// Has `count` processes made, and looks at what is said of each.
fn check(count: usize) -> Result<bool, Box<dyn Error>> {
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
    fs::write("/proc/sys/kernel/pid_max", PIDS)?;

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
            Command::new(program).args(["spawner", &line.to_string(), &each.to_string()]).spawn()
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

    let missing = each * LINES - found.right.min(each * LINES);
    println!(
        "{} of {} processes told of rightly, {} wrongly, {} lost by the plane's own count; {} numbers for \
         them",
        found.right,
        each * LINES,
        found.wrong.len(),
        found.lost,
        found.pids.len(),
    );
    found.wrong.iter().take(20).for_each(|line| println!("WRONG {line}"));
    let whole =
        spawners.iter_mut().all(|spawner| spawner.wait().is_ok_and(|status| status.success()));
    Ok(whole && found.wrong.is_empty() && missing as u64 == found.lost)
}

/// A filter per program: told to the engine of its number is what descends from it.
fn filters(lines: &[String]) -> Result<Vec<u8>, Box<dyn Error>> {
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
