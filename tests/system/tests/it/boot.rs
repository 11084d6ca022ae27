//! Starts that come to no health lead back to what is known to be good, and then to no engine at all; and an
//! administrator's file leads out of that.
//!
//! A power cut is the end of all three processes at once, and another boot id, bound over the kernel's in this world,
//! is another boot.

use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use outrigger_api::control::{EngineState, Request};
use outrigger_api::release::{Part, State};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;
use outrigger_testkit::host::{self, Host, Part as Process};
use outrigger_testkit::releases::{Releases, Staged};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Lab, Setup, Volume, binaries};
use rustix::mount::mount_bind;
use rustix::process::Signal;

use crate::scene::{Scene, expect};

const ENGINE: &str = "hashlist";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// A file that the second list denies and the first one does not.
const MARK: &[u8] = b"denied by the second list";
const UNCLEAN_MAX: u32 = 2;
/// A start that is to be healthy is so after this, ms.
const SOON: u32 = 1000;
/// A start that is not to be healthy is not so before this, ms.
const LATE: u32 = 3_600_000;
/// What is judged here is who answers and not how fast: a host that has just started has everything to do.
const PATIENT_MS: u32 = 1000;
const LIMIT: Duration = Duration::from_secs(10);

/// A machine that is started, cut off and started again.
struct Machine<'l> {
    lab: &'l Lab,
    scene: Scene,
    mark: PathBuf,
    folder: PathBuf,
    setup: Setup,
    boots: Cell<usize>,
    updates: RefCell<String>,
}

impl<'l> Machine<'l> {
    /// One with an engine from releases, of which the first is in force.
    fn with_releases(lab: &'l Lab) -> Result<Self> {
        let machine = Self::new(lab, &EngineSetup::hashlist().installed())?;
        machine.releases().install(&EngineSetup::hashlist(), "1.0.0")?;
        Ok(machine)
    }

    fn new(lab: &'l Lab, engine: &EngineSetup) -> Result<Self> {
        let scene = Scene::new(lab, 1)?;
        let mark = scene.volume.put("mark", MARK)?;
        let folder = lab.path("machine");
        fs::create_dir_all(folder.join("state"))?;
        let setup =
            Setup::protecting(scene.path()).budget_ms(PATIENT_MS).uncached().engine(engine.clone());
        fs::write(lab.path("boot-id"), "first\n")?;
        mount_bind(lab.path("boot-id"), BOOT_ID).context("cannot bind a boot id")?;
        let machine = Self {
            lab,
            scene,
            mark,
            folder,
            setup,
            boots: Cell::new(0),
            updates: RefCell::default(),
        };
        machine.settings(LATE, "")?;
        Ok(machine)
    }

    fn releases(&self) -> Releases {
        Releases::of(&self.folder)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.folder.join("state").join(name)
    }

    fn settings(&self, healthy_ms: u32, more: &str) -> Result<()> {
        let text = format!(
            "state_dir = {:?}\n[boot]\nunclean_max = {UNCLEAN_MAX}\nhealthy_ms = {healthy_ms}\n{more}",
            self.folder.join("state").display()
        );
        fs::write(self.folder.join("updates.toml"), &text)?;
        self.updates.replace(text);
        Ok(())
    }

    /// Another boot, of which nothing is known that was not written down.
    fn boot(&self) -> Result<Host> {
        self.boots.set(self.boots.get() + 1);
        fs::write(self.lab.path("boot-id"), format!("boot-{}\n", self.boots.get()))?;
        self.start()
    }

    /// Another start of the service on the same boot.
    fn start(&self) -> Result<Host> {
        Host::start(&self.folder, &self.setup.clone().updates(&self.updates.borrow()))
    }

    /// A boot that comes to health and ends as it should.
    fn healthy_boot(&self) -> Result<()> {
        self.settings(SOON, "")?;
        let host = self.boot()?;
        wait_journal(&host, "start-healthy", "")?;
        self.settings(LATE, "")?;
        host.end()
    }

    /// A second release of the content, staged.
    fn second(&self) -> Result<Staged> {
        let engine = EngineSetup::hashlist().also_denying(MARK);
        self.releases().stage(&engine, Part::Content, "2.0.0")
    }

    fn content(&self) -> Result<String> {
        Ok(self.releases().active(ENGINE, Part::Content)?.version.to_string())
    }

    fn expect_second_decides(&self, decides: bool) -> Result<()> {
        let wanted = if decides { Outcome::Refused } else { Outcome::Through };
        expect("the bad file", ways::open(&self.scene.eicar), Outcome::Refused)?;
        expect("the mark", ways::open(&self.mark), wanted)
    }
}

/// Cuts the power: nobody ends anything.
fn cut(host: Host) {
    drop(host);
}

fn unclean(host: &Host) -> Result<u64> {
    Ok(host.counters()?.faults.get("unclean-boots").copied().unwrap_or(0))
}

/// Waits for a line of this kind that says `word`.
fn wait_journal(host: &Host, kind: &str, word: &str) -> Result<()> {
    let kind = format!(r#""kind":"{kind}""#);
    wait_for(&format!("{kind} with {word:?}"), LIMIT, || {
        let log = host.log();
        let says = |line: &&str| line.contains(&kind) && line.contains(word);
        Ok(log.lines().find(says).map(|line| say(format_args!("logged: {line}"))))
    })
}

/// An error unless the status says so, and is not healthy.
fn expect_problem(host: &Host, words: &[&str]) -> Result<()> {
    let status = host.status()?;
    let says = |problem: &&String| words.iter().all(|word| problem.contains(word));
    let found = status.problems.iter().find(says);
    let problem = found.with_context(|| format!("{words:?} in none of {:?}", status.problems))?;
    ensure!(!status.healthy, "healthy, with {problem}");
    say(format_args!("problem: {problem}"));
    Ok(())
}

/// Ends the host by `signal`, and waits for the next one.
fn end_host(host: &Host, signal: Signal) -> Result<()> {
    let old = host.signal(Process::Host, signal)?;
    host.wait_successor(old, LIMIT).map(drop)
}

pub(crate) fn boots_without_health_lead_to_known_good_and_then_to_none(lab: &Lab) -> Result<()> {
    let machine = Machine::with_releases(lab)?;
    machine.healthy_boot()?;
    let second = machine.second()?;
    machine.releases().put_in_force(&second)?;

    // Two boots that nothing comes of, with what was not there at the healthy one.
    for number in 0..u64::from(UNCLEAN_MAX) {
        let host = machine.boot()?;
        machine.expect_second_decides(true)?;
        ensure!(unclean(&host)? == number.min(1), "{number}: {}", unclean(&host)?);
        cut(host);
    }
    let known_good = machine.boot()?;
    machine.expect_second_decides(false)?;
    expect_problem(&known_good, &["unclean-boots", "only what is known to be good docks"])?;
    wait_journal(&known_good, "engine-went-back", "content 2.0.0 to 1.0.0")?;
    let told = machine.releases().story(&second)?;
    let last = told.transitions.last().context("no story")?;
    ensure!(told.state == State::Rejected, "{told:?}");
    ensure!(last.reason.as_deref() == Some("unclean-boots"), "{last:?}");
    ensure!(machine.releases().known_bad(&second)?.is_some(), "it would be taken again");
    cut(known_good);
    let still = machine.boot()?;
    machine.expect_second_decides(false)?;
    cut(still);

    let safe = machine.boot()?;
    expect_problem(&safe, &["SAFE MODE", "4 starts in a row", "leave-safe-mode"])?;
    ensure!(safe.engine(ENGINE)?.state == EngineState::Withheld, "{:?}", safe.engine(ENGINE)?);
    expect("the bad file, by the fallback", ways::open(&machine.scene.eicar), Outcome::Through)?;
    let fallbacks = safe.counters()?.fallbacks;
    ensure!(fallbacks.get("unclean-boots").copied().unwrap_or(0) >= 1, "{fallbacks:?}");
    let status = tool(&machine, &["status"])?;
    ensure!(status.code == 1 && status.said.contains("SAFE MODE"), "{status:?}");
    safe.end()?;

    // Neither another boot nor a good end leads out of it.
    let later = machine.boot()?;
    expect_problem(&later, &["SAFE MODE"])?;
    let left = tool(&machine, &["repair", "leave-safe-mode"])?;
    ensure!(left.code == 0, "{left:?}");
    later.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    machine.expect_second_decides(false)?;
    let again = tool(&machine, &["repair", "leave-safe-mode"])?;
    ensure!(again.code == 1 && again.said.contains("no safe mode"), "{again:?}");
    later.end()
}

pub(crate) fn health_and_a_clean_end_count_for_nothing(lab: &Lab) -> Result<()> {
    let machine = Machine::with_releases(lab)?;
    let second = machine.second()?;

    for _ in 0..3 {
        let host = machine.boot()?;
        ensure!(unclean(&host)? == 0, "a clean end counted");
        host.end()?;
    }
    machine.settings(SOON, "")?;
    for _ in 0..3 {
        let host = machine.boot()?;
        ensure!(unclean(&host)? == 0, "a healthy start counted");
        wait_for("health", LIMIT, || {
            let journal = fs::read_to_string(machine.state("journal.jsonl"))?;
            let healthy = journal.matches(r#""kind":"start-healthy""#).count();
            Ok((healthy == machine.boots.get() - 3).then_some(()))
        })?;
        cut(host);
    }
    // One that is unclean, and the next one healthy: the row begins anew.
    machine.settings(LATE, "")?;
    cut(machine.boot()?);
    machine.settings(SOON, "")?;
    machine.releases().put_in_force(&second)?;
    let host = machine.boot()?;
    ensure!(unclean(&host)? == 1, "{}", unclean(&host)?);
    wait_for("health", LIMIT, || {
        let journal = fs::read_to_string(machine.state("journal.jsonl"))?;
        Ok((journal.matches(r#""kind":"start-healthy""#).count() == 4).then_some(()))
    })?;
    cut(host);
    machine.settings(LATE, "")?;
    cut(machine.boot()?);
    let host = machine.boot()?;
    // Second in the row by the old count, first by the new: what is in force was so at the healthy start.
    machine.expect_second_decides(true)?;
    ensure!(machine.content()? == "2.0.0", "{}", machine.content()?);
    host.end()
}

pub(crate) fn a_host_that_crashes_again_and_again_comes_to_safe_mode(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab, &EngineSetup::hashlist())?;
    let host = machine.boot()?;

    // Whoever may kill the host cannot switch an engine off by it.
    for _ in 0..2 * UNCLEAN_MAX + 1 {
        end_host(&host, Signal::KILL)?;
        host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    }
    ensure!(unclean(&host)? == 0, "what was killed counted");
    for count in 1..2 * UNCLEAN_MAX {
        end_host(&host, Signal::ABORT)?;
        host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
        ensure!(unclean(&host)? == u64::from(count), "{} after {count}", unclean(&host)?);
    }
    expect("the bad file", ways::open(&machine.scene.eicar), Outcome::Refused)?;
    end_host(&host, Signal::ABORT)?;

    host.wait_engine(ENGINE, EngineState::Withheld, LIMIT)?;
    expect_problem(&host, &["SAFE MODE"])?;
    // A start of the service does not lead out of it.
    host.end()?;
    let host = machine.start()?;
    expect_problem(&host, &["SAFE MODE"])?;
    host.end()
}

pub(crate) fn a_release_on_probation_goes_back_after_an_unclean_start(lab: &Lab) -> Result<()> {
    let machine = Machine::with_releases(lab)?;
    let second = machine.second()?;
    let host = machine.boot()?;
    host.end()?;
    machine.releases().put_on_probation(&second)?;

    let host = machine.boot()?;
    machine.expect_second_decides(true)?;
    // Somebody's doing, and not the release's.
    end_host(&host, Signal::KILL)?;
    host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    machine.expect_second_decides(true)?;
    end_host(&host, Signal::ABORT)?;

    host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    machine.expect_second_decides(false)?;
    ensure!(machine.content()? == "1.0.0", "{}", machine.content()?);
    ensure!(machine.releases().known_bad(&second)?.is_some(), "it would be taken again");
    wait_journal(&host, "engine-went-back", "content 2.0.0 to 1.0.0")?;
    host.end()
}

pub(crate) fn a_damaged_count_leads_to_caution(lab: &Lab) -> Result<()> {
    let machine = Machine::with_releases(lab)?;
    machine.boot()?.end()?;
    let second = machine.second()?;
    machine.releases().put_on_probation(&second)?;
    let file = OpenOptions::new().write(true).open(machine.state("boots"))?;
    let len = file.metadata()?.len();
    file.write_all_at(&vec![b'?'; usize::try_from(len)?], 0)?;

    let host = machine.boot()?;

    expect_problem(&host, &["unclean-boots", "cannot be read"])?;
    machine.expect_second_decides(false)?;
    ensure!(machine.content()? == "1.0.0", "{}", machine.content()?);
    ensure!(machine.releases().known_bad(&second)?.is_none(), "nothing speaks against it");
    cut(host);
    // It is written again, and counts on.
    cut(machine.boot()?);
    let host = machine.boot()?;
    expect_problem(&host, &["SAFE MODE"])?;
    host.end()
}

/// The room for the count was taken before the disk was full.
pub(crate) fn a_full_disk_keeps_no_start_from_being_counted(lab: &Lab) -> Result<()> {
    let machine = Machine::new(lab, &EngineSetup::hashlist())?;
    let _small = Volume::small_tmpfs(&machine.folder.join("state"), "512k")?;
    let host = machine.boot()?;
    cut(host);
    fill(&machine.state("ballast"))?;

    for number in 1..2 * u64::from(UNCLEAN_MAX) {
        let host = machine.boot()?;
        ensure!(unclean(&host)? == 1, "start {number} was not counted");
        cut(host);
    }
    let host = machine.boot()?;

    expect_problem(&host, &["SAFE MODE"])?;
    host.end()
}

/// What a program said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    said: String,
}

/// Runs the operator's tool for the machine.
fn tool(machine: &Machine<'_>, arguments: &[&str]) -> Result<Said> {
    let mut command = Command::new(binaries::path(binaries::TOOL)?);
    command.arg("--socket").arg(machine.folder.join("control.sock")).args(arguments);
    if arguments[0] == "repair" {
        command.arg("--config").arg(machine.folder.join("updates.toml"));
    }
    let ran = command.output()?;
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    Ok(Said { code: ran.status.code().context("it was ended")?, said: said.into_owned() })
}

/// An administrator, with a key that the machine knows.
struct Administrator<'m, 'l> {
    machine: &'m Machine<'l>,
    key: PathBuf,
}

impl<'m, 'l> Administrator<'m, 'l> {
    fn new(machine: &'m Machine<'l>, name: &str) -> Result<Self> {
        let key = machine.lab.path(name);
        let made = tool(machine, &["package", "new-key", text(&key)?])?;
        ensure!(made.code == 0, "{made:?}");
        Ok(Self { machine, key })
    }

    fn is_known(&self, healthy_ms: u32) -> Result<()> {
        let key = format!("[repair]\nkey = \"{}.pub\"\n", self.key.display());
        self.machine.settings(healthy_ms, &key)
    }

    /// A signed instruction, not dropped yet.
    fn sign(&self, name: &str, instruction: &str) -> Result<PathBuf> {
        let plain = self.machine.lab.path(&format!("{name}.toml"));
        let signed = self.machine.lab.path(&format!("{name}.repair"));
        fs::write(&plain, instruction)?;
        let (key, out) = (text(&self.key)?, text(&signed)?);
        let done =
            tool(self.machine, &["repair", "sign", "--key", key, "--out", out, text(&plain)?])?;
        ensure!(done.code == 0, "{done:?}");
        Ok(signed)
    }

    fn drop(&self, name: &str, instruction: &str) -> Result<()> {
        let signed = self.sign(name, instruction)?;
        put(self.machine, name, &fs::read(signed)?)
    }
}

/// Drops a file as a whole.
fn put(machine: &Machine<'_>, name: &str, bytes: &[u8]) -> Result<()> {
    let fresh = machine.state("repair").join("fresh");
    fs::write(&fresh, bytes)?;
    Ok(fs::rename(&fresh, machine.state("repair").join(format!("{name}.repair")))?)
}

/// Waits until the instruction has come to this end; gives what stands beside it.
fn wait_end(machine: &Machine<'_>, name: &str, ending: &str) -> Result<String> {
    let folder = machine.state("repair");
    wait_for(&format!("{name}.{ending}"), LIMIT, || {
        if !folder.join(format!("{name}.{ending}")).exists() {
            return Ok(None);
        }
        let told = fs::read_to_string(folder.join(format!("{name}.{ending}.txt")))?;
        say(format_args!("{name} {ending}: {}", told.trim_end()));
        Ok(Some(told))
    })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("not UTF-8")
}

fn action(serial: u32, verb: &str) -> String {
    format!("serial = {serial}\n[[action]]\ndo = \"{verb}\"\n")
}

fn fill(path: &Path) -> Result<()> {
    let mut file = fs::File::create(path)?;
    loop {
        match file.write_all(&[b'.'; 512]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => bail!("{} cannot be filled: {error}", path.display()),
        }
    }
}

pub(crate) fn an_instruction_is_obeyed_in_safe_mode(lab: &Lab) -> Result<()> {
    let machine = Machine::with_releases(lab)?;
    let second = machine.second()?;
    machine.releases().put_in_force(&second)?;
    let administrator = Administrator::new(&machine, "admin.key")?;
    administrator.is_known(LATE)?;
    let host = machine.boot()?;
    machine.expect_second_decides(true)?;

    // By a host that runs: everything ends.
    administrator.drop("off", &action(1, "enter-safe-mode"))?;
    let told = wait_end(&machine, "off", "done")?;
    ensure!(told.starts_with("enter-safe-mode: safe mode"), "{told}");
    host.wait_engine(ENGINE, EngineState::Withheld, LIMIT)?;
    expect_problem(&host, &["SAFE MODE", "by an instruction of the administrator"])?;
    expect("the bad file, by the fallback", ways::open(&machine.scene.eicar), Outcome::Through)?;

    // In safe mode, back to what was before, and out of it.
    let back = "serial = 2\n[[action]]\ndo = \"go-back\"\nengine = \"hashlist\"\npart = \"content\"\n\
        [[action]]\ndo = \"leave-safe-mode\"\n";
    let checked = tool(&machine, &["repair", "check", text(&administrator.sign("back", back)?)?])?;
    ensure!(checked.code == 0 && checked.said.contains("go-back hashlist content"), "{checked:?}");
    administrator.drop("back", back)?;
    let told = wait_end(&machine, "back", "done")?;
    ensure!(
        told.contains("content 2.0.0 to 1.0.0") && told.contains("leave-safe-mode: done"),
        "{told}"
    );
    host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    machine.expect_second_decides(false)?;
    ensure!(
        machine.releases().known_bad(&second)?.is_some(),
        "what was gone back from is taken again"
    );

    // What was gone back from may be taken again, if he says so.
    let package = machine.releases().story(&second)?.package;
    let forget = format!("serial = 3\n[[action]]\ndo = \"forget-bad\"\npackage = \"{package}\"\n");
    administrator.drop("forget", &forget)?;
    wait_end(&machine, "forget", "done")?;
    ensure!(machine.releases().known_bad(&second)?.is_none(), "it is still known bad");

    // One engine alone, before a host that is to dock it starts.
    host.end()?;
    let off = "serial = 4\n[[action]]\ndo = \"enter-safe-mode\"\nengine = \"hashlist\"\n";
    administrator.drop("one", off)?;
    let host = machine.boot()?;
    ensure!(host.engine(ENGINE)?.state == EngineState::Withheld, "{:?}", host.engine(ENGINE)?);
    wait_end(&machine, "one", "done")?;
    expect_problem(&host, &["engine hashlist is kept off the dock", "leave-safe-mode hashlist"])?;
    host.ask(&Request::LeaveSafeMode { engine: Some(ENGINE.parse()?) })?;
    host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    let listed = tool(&machine, &["repair", "list"])?;
    ensure!(listed.code == 0 && listed.said.matches("done").count() >= 4, "{listed:?}");
    host.end()
}

pub(crate) fn an_instruction_that_is_not_to_be_obeyed_is_refused(lab: &Lab) -> Result<()> {
    let machine = Machine::with_releases(lab)?;
    let administrator = Administrator::new(&machine, "admin.key")?;
    let other = Administrator::new(&machine, "other.key")?;
    let host = machine.boot()?;
    let refused = |name: &str, reason: &str| -> Result<()> {
        let told = wait_end(&machine, name, "refused")?;
        ensure!(told.starts_with(&format!("{reason}: ")), "{name}: {told}");
        wait_journal(&host, "repair-refused", &format!(r#""reason":"{reason}""#))?;
        ensure!(host.engine(ENGINE)?.state == EngineState::Docked, "{name} was obeyed");
        Ok(())
    };
    let off = |serial, more: &str| {
        format!("serial = {serial}\n{more}[[action]]\ndo = \"enter-safe-mode\"\n")
    };

    administrator.drop("nobody", &off(1, ""))?;
    refused("nobody", "no-key")?;
    administrator.is_known(LATE)?;
    other.drop("foreign", &off(1, ""))?;
    refused("foreign", "wrong-signature")?;
    administrator.drop("late", &off(1, "not_after = \"2020-01-01T00:00:00Z\"\n"))?;
    refused("late", "expired")?;
    let machines = "machines = [\"00000000000000000000000000000bad\"]\n";
    administrator.drop("elsewhere", &off(1, machines))?;
    refused("elsewhere", "other-machine")?;
    put(&machine, "garbage", b"not an instruction")?;
    refused("garbage", "garbage")?;
    put(&machine, "long", &vec![b'x'; 100_000])?;
    refused("long", "too-long")?;
    let signed = fs::read(administrator.sign("changed", &off(1, ""))?)?;
    let changed = String::from_utf8(signed)?.replace("enter-safe-mode", "enter-safe-mode #");
    put(&machine, "changed", changed.as_bytes())?;
    refused("changed", "wrong-signature")?;
    administrator.drop("good", &action(7, "leave-safe-mode"))?;
    wait_end(&machine, "good", "done")?;
    let replayed = fs::read(machine.state("repair").join("good.done"))?;
    host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    put(&machine, "again", &replayed)?;
    refused("again", "replayed")?;
    administrator.drop("older", &off(6, ""))?;
    refused("older", "replayed")?;

    // With settings that say nothing of whose they must be, they wait, and status says so.
    fs::write(machine.folder.join("updates.toml"), "[repair]\nkey = 7\n")?;
    administrator.drop("waits", &action(8, "leave-safe-mode"))?;
    wait_for("a problem", LIMIT, || {
        let waits = |problem: &String| problem.contains("instructions to repair wait");
        Ok(host.status()?.problems.iter().any(waits).then_some(()))
    })?;
    administrator.is_known(LATE)?;
    wait_end(&machine, "waits", "done")?;
    host.wait_engine(ENGINE, EngineState::Docked, LIMIT)?;
    host.end()
}

pub(crate) fn an_engine_is_kept_off_by_hand_and_another_goes_on(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let setup = Setup::protecting(scene.path())
        .budget_ms(PATIENT_MS)
        .uncached()
        .engine(EngineSetup::hashlist())
        .engine(EngineSetup::faulty("judge", "allow"));
    let host = lab.start(&setup)?;
    let (hashlist, judge) = (host.engine(ENGINE)?, host.engine("judge")?);

    host.ask(&Request::EnterSafeMode { engine: Some("judge".parse()?) })?;

    let off = host.wait_engine("judge", EngineState::Withheld, LIMIT)?;
    wait_for("its end", LIMIT, || Ok(host.engine("judge")?.pid.is_none().then_some(())))?;
    ensure!(off.last_fault.as_ref().is_some_and(|why| why.contains("by the operator")), "{off:?}");
    ensure!(host.engine(ENGINE)?.pid == hashlist.pid, "the other one was disturbed");
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    let refused = host.engine_action("judge", outrigger_api::control::EngineAction::Restart);
    ensure!(refused.is_err(), "it was started in spite of that");
    ensure!(host.swap("judge").is_err(), "it was replaced in spite of that");
    let old = host.pids()?.host;
    host.ask(&Request::LeaveSafeMode { engine: Some("judge".parse()?) })?;
    host.wait_successor(old, LIMIT)?;
    let back = host.wait_engine("judge", EngineState::Docked, LIMIT)?;
    ensure!(back.pid != judge.pid, "it is the same process");
    host::send(back.pid.context("it runs")?, Signal::CONT)?;
    host.end()
}
