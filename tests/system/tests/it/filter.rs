//! What an engine's filters leave out is not told to it, and does not wake it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;
use outrigger_testkit::suite::Skipped;
use outrigger_testkit::{EngineSetup, Host, Lab, Setup};

use crate::ledger::ledger;
use crate::scene::Scene;

const CREATE: &str = "file.create";
const UNLINK: &str = "file.unlink";
const OPEN: &str = "file.open";
/// How long an engine may take to handle what it was told.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at what an engine was told.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Acts that a filter lets through, and that it leaves out.
const WANTED: u64 = 30;
const UNWANTED: u64 = 300;

/// What an engine says that it was told, by name; it follows the children of `spawner`.
fn told(host: &Host, engine: &str, spawner: u32, name: &str) -> Result<u64> {
    // Each look has the engine say something, and one that says too much at once is ended.
    thread::sleep(BETWEEN_LOOKS);
    // It is never asked, so how long it would take to answer is only a number by which to know what is new.
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let look = LOOKS.fetch_add(1, Ordering::Relaxed);
    let line = host.behave(engine, &format!("tally {spawner} work {look}"))?;
    let name = format!("{name}=");
    let count = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(&name));
    count.map_or(Ok(0), |count| Ok(count.parse()?))
}

/// Waits until the engine was told of so many more than `before`; an error if it is of others too.
fn expect_told(host: &Host, engine: &str, event: &str, before: u64, count: u64) -> Result<()> {
    wait_for(&format!("{count} {event} for {engine}"), PATIENCE, || {
        let now = told(host, engine, 1, event)?.saturating_sub(before);
        Ok((now >= count).then_some(()))
    })?;
    let now = told(host, engine, 1, event)?.saturating_sub(before);
    ensure!(now == count, "{engine} was told of {now} {event}, not of {count}");
    Ok(())
}

/// An engine that is told of these events, but for what its filters leave out.
fn listener(name: &'static str, events: &[&'static str], filters: &[String]) -> EngineSetup {
    let engine = EngineSetup::faulty(name, "tally 1").hang_ms(60_000).without_events();
    let engine =
        events.iter().fold(engine, |engine, event| engine.subscribed(event, "notify", None));
    filters.iter().fold(engine, |engine, filter| engine.filter(filter))
}

/// How often the engine was woken.
fn woken(host: &Host, name: &str) -> Result<u64> {
    let ledger = ledger(host)?;
    let engine = ledger.engines.iter().find(|engine| engine.name.as_str() == name);
    Ok(engine.with_context(|| format!("{name} is not in the ledger"))?.woken)
}

fn folder(scene: &Scene, name: &str) -> Result<PathBuf> {
    let path = scene.path().join(name);
    fs::create_dir(&path)?;
    Ok(path)
}

/// Makes, opens and removes files.
fn change(folder: &Path, count: u64) -> Result<()> {
    for number in 0..count {
        let file = folder.join(format!("file{number}"));
        fs::write(&file, b"content")?;
        drop(fs::File::open(&file)?);
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// By path, inverted and muted: each engine gets its part, and sleeps through the rest.
pub(crate) fn by_path_the_rest_wakes_nobody(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let [wanted, other] = [folder(&scene, "wanted")?, folder(&scene, "other")?];
    let paths = |path: &Path, more: &str| vec![format!("paths = [{path:?}]\n{more}")];
    let changes = [CREATE, UNLINK];
    let setup = Setup::protecting(scene.path())
        .uncached()
        .engine(listener("everything", &changes, &[]))
        .engine(listener("within", &changes, &paths(&wanted, "")))
        .engine(listener("outside", &changes, &paths(&other, "invert = true\n")))
        .engine(listener("muted", &changes, &paths(&other, "mute = true\n")))
        .engine(listener("opens", &[OPEN], &paths(&wanted, "")));
    let host = lab.start(&setup)?;
    let filtered = ["within", "outside", "muted", "opens"];
    // The first change of each kind, so that everything that begins has begun.
    change(&wanted, 1)?;
    for engine in filtered {
        let event = if engine == "opens" { OPEN } else { UNLINK };
        wait_for("the first change", PATIENCE, || {
            Ok((told(&host, engine, 1, event)? > 0).then_some(()))
        })?;
    }
    let count = |engine, event| told(&host, engine, 1, event);
    let all = count("everything", UNLINK)?;
    let before = filtered
        .iter()
        .map(|engine| Ok((*engine, woken(&host, engine)?)))
        .collect::<Result<Vec<_>>>()?;

    change(&other, UNWANTED)?;
    // It looks at everything, so what the others were not told of has been read.
    expect_told(&host, "everything", UNLINK, all, UNWANTED)?;

    for (engine, before) in before {
        let woken = woken(&host, engine)? - before;
        ensure!(woken == 0, "{engine} was woken {woken} times by what it does not want");
    }
    let before: Vec<_> = ["within", "outside", "muted"]
        .into_iter()
        .map(|engine| Ok((engine, count(engine, CREATE)?, count(engine, UNLINK)?)))
        .collect::<Result<_>>()?;
    let opens = count("opens", OPEN)?;
    change(&wanted, WANTED)?;
    for (engine, created, unlinked) in before {
        expect_told(&host, engine, UNLINK, unlinked, WANTED)?;
        expect_told(&host, engine, CREATE, created, WANTED)?;
        ensure!(unlinked == 1, "{engine} was told of {unlinked} before, not of one");
    }
    // Each file is opened to be written and to be read.
    ensure!(opens == 2, "opens was told of {opens} before, not of two");
    expect_told(&host, "opens", OPEN, opens, 2 * WANTED)?;
    say(format_args!("{UNWANTED} unwanted changes woke nobody; {WANTED} wanted ones were told"));
    host.end()
}

/// A shell of its own, which begins when it is told to and is there until this is dropped.
struct Shell {
    process: Child,
    input: Option<ChildStdin>,
}

impl Shell {
    fn start(program: &Path, script: &str) -> Result<Self> {
        let mut process = Command::new(program)
            .args(["-c", &format!("read begin; {script}; echo done; read end")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        Ok(Self { process, input })
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Has it do what it is there for.
    fn go(&mut self) -> Result<()> {
        use std::io::{BufRead as _, BufReader};
        self.input.as_mut().context("it was told before")?.write_all(b"go\n")?;
        let mut line = String::new();
        let said = self.process.stdout.take().context("it has said all")?;
        BufReader::new(said).read_line(&mut line)?;
        ensure!(line == "done\n", "it says {line:?}");
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A copy of the shell at a path of its own, by which filters know what it begins.
fn shell(lab: &Lab, name: &str) -> Result<PathBuf> {
    let path = lab.path(name);
    fs::copy(fs::canonicalize("/bin/sh")?, &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// By the program that a process descends from, of processes that are there and of those that are gone.
pub(crate) fn by_program_the_rest_is_left_out(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let [marked, plain] = [shell(lab, "marked-sh")?, shell(lab, "plain-sh")?];
    let filter = [format!("programs = [{marked:?}]")];
    let processes = ["process.fork", "process.exec", "process.exit"];
    let setup = Setup::protecting(scene.path())
        .uncached()
        .engine(listener("everything", &[CREATE], &[]))
        .engine(listener("files", &[CREATE], &filter))
        .engine(listener("family", &processes, &filter))
        .engine(listener("strangers", &processes, &filter))
        .engine(listener("all", &processes, &[]));
    let host = lab.start(&setup)?;
    // What a process descends from is known once the kernel remembers processes.
    host.coverage()?;
    let script = |folder: &Path| {
        format!(
            "i=0; while [ $i -lt {WANTED} ]; do : > {}/f$i; /bin/true; i=$((i+1)); done",
            folder.display()
        )
    };
    let mut stranger = Shell::start(&plain, &script(&folder(&scene, "a")?))?;
    let mut child = Shell::start(&marked, &script(&folder(&scene, "b")?))?;
    let (all, files) = (told(&host, "everything", 1, CREATE)?, told(&host, "files", 1, CREATE)?);
    // From now on each follows the children of its shell.
    told(&host, "family", child.pid(), "forked")?;
    told(&host, "strangers", stranger.pid(), "forked")?;
    told(&host, "all", stranger.pid(), "forked")?;

    stranger.go()?;
    child.go()?;

    expect_told(&host, "everything", CREATE, all, 2 * WANTED)?;
    expect_told(&host, "files", CREATE, files, WANTED)?;
    wait_for("the end of every child", PATIENCE, || {
        let ended = told(&host, "all", stranger.pid(), "ended")?;
        Ok((ended >= WANTED).then_some(()))
    })?;
    wait_for("the end of every wanted child", PATIENCE, || {
        let ended = told(&host, "family", child.pid(), "ended")?;
        Ok((ended >= WANTED).then_some(()))
    })?;
    for (engine, shell, count) in [("family", &child, WANTED), ("strangers", &stranger, 0)] {
        for what in ["forked", "ran", "ended"] {
            let told = told(&host, engine, shell.pid(), what)?;
            ensure!(told == count, "{engine} was told of {told} {what}, not of {count}");
        }
    }
    host.end()
}

/// By control group.
pub(crate) fn by_control_group_the_rest_is_left_out(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let group = Group::new()?;
    let setup = Setup::protecting(scene.path())
        .uncached()
        .engine(listener("everything", &[CREATE], &[]))
        .engine(listener("inside", &[CREATE], &[format!("cgroups = [{:?}]", group.name)]))
        .engine(listener(
            "elsewhere",
            &[CREATE],
            &[format!("cgroups = [{:?}]\ninvert = true\n", group.name)],
        ));
    let host = lab.start(&setup)?;
    let script = |folder: &Path, count: u64| {
        let folder = folder.display();
        format!("i=0; while [ $i -lt {count} ]; do : > {folder}/f$i; i=$((i+1)); done")
    };
    let sh = Path::new("/bin/sh");
    let mut outside = Shell::start(sh, &script(&folder(&scene, "a")?, 2 * WANTED))?;
    let mut inside = Shell::start(sh, &script(&folder(&scene, "b")?, WANTED))?;
    group.take(inside.pid())?;
    let before = |engine| told(&host, engine, 1, CREATE);
    let (all, within, elsewhere) = (before("everything")?, before("inside")?, before("elsewhere")?);

    outside.go()?;
    inside.go()?;

    expect_told(&host, "everything", CREATE, all, 3 * WANTED)?;
    expect_told(&host, "inside", CREATE, within, WANTED)?;
    expect_told(&host, "elsewhere", CREATE, elsewhere, 2 * WANTED)?;
    drop((outside, inside));
    host.end()
}

/// A control group of version 2.
struct Group {
    path: PathBuf,
    /// Its path among the groups.
    name: String,
}

impl Group {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            words.next().filter(|_| words.clone().nth(1) == Some("cgroup2"))?;
            words.next().map(PathBuf::from)
        });
        let Some(root) = root else {
            return Err(Skipped("no cgroup v2 is mounted here".to_owned()).into());
        };
        let name = format!("/outrigger-filter-{}", std::process::id());
        let path = root.join(name.trim_start_matches('/'));
        fs::create_dir(&path)?;
        let group = Self { path, name };
        let mut probe = Shell::start(Path::new("/bin/sh"), ":")?;
        group.take(probe.pid())?;
        let seen = fs::read_to_string(format!("/proc/{}/cgroup", probe.pid()))?;
        probe.go()?;
        let line = format!("0::{}\n", group.name);
        // In a namespace of control groups its path has another beginning.
        ensure!(seen.contains(&line), "it is in another group: {seen}");
        Ok(group)
    }

    fn take(&self, pid: u32) -> Result<()> {
        Ok(fs::write(self.path.join("cgroup.procs"), pid.to_string())?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last of it may be ending; a group that stays is empty and harmless.
        let _ = fs::remove_dir(&self.path);
    }
}
