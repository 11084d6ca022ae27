//! The platform where BPF LSM loads, as a whole: an engine docked, rules that only the kernel's programs can decide, filters
//! of an engine that is told, and what becomes of all that when the host dies.
//!
//! The acts are done by processes of their own, since nothing of the platform's is evaluated. Programs take up to a minute to
//! load on an emulated processor, so everything waits for what status says of them and for no time.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::control::{PlaneCounts, Request, Response, Status};
use outrigger_api::coverage::{Coverage, Level};
use outrigger_api::{Event, EventSet};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::host::Part;
use outrigger_testkit::{EngineSetup, Host, Setup, bait};
use rustix::mount::{MountFlags, mount};
use rustix::process::Signal;

use crate::machine::tell_end_of;
use crate::report::{Report, say};

/// Where the platform's files lie: not on what it protects.
const HOME: &str = "/var/lib/outrigger-ruled";
/// What it protects.
const TREE: &str = "/ruled";
/// The program of the acts, under another name: filters know a process by it.
const OTHER: &str = "/usr/local/bin/outrigger-other";
/// The port that nobody may connect to.
const PORT: u16 = 4747;
/// Longest wait for the programs: a minute or two, on a processor that has nothing else to do.
const LOADING: Duration = Duration::from_secs(600);
/// Longest wait for anything else.
const PATIENCE: Duration = Duration::from_secs(60);
/// Acts of each kind that a filter lets through, and those that it leaves out.
const ACTS: u64 = 20;
const UNWANTED: u64 = 50;
/// The events that rules decide here and only the kernel's programs can.
const RULED: [Event; 4] =
    [Event::FileUnlink, Event::NetConnect, Event::KernelModuleLoad, Event::FileTruncate];

/// An act, by its arguments: exits with the error that it met, 0 for none.
pub(crate) fn deed(words: &[&str]) -> ExitCode {
    let done = match words {
        ["unlink", file] => fs::remove_file(file),
        ["truncate", file] => {
            OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(1))
        }
        ["connect", port] => match port.parse::<u16>() {
            Ok(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop),
            Err(_) => Err(std::io::ErrorKind::InvalidInput.into()),
        },
        ["chmod", file, count] => (0..count.parse().unwrap_or(0)).try_for_each(|turn: u32| {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600 + turn % 2))
        }),
        ["module", file] => File::open(file).and_then(|file| {
            match rustix::system::finit_module(file, c"", 0) {
                // It was read, and is none: it was let through.
                Err(rustix::io::Errno::NOEXEC) => Ok(()),
                other => Ok(other?),
            }
        }),
        // Makes and removes files, and is there until all of that was told.
        ["files", folder, count] => {
            let made = (0..count.parse().unwrap_or(0)).try_for_each(|number: u32| {
                let file = Path::new(folder).join(format!("made{number}"));
                fs::write(&file, b"content")?;
                fs::remove_file(&file)
            });
            // Its end of the pipe says that nothing more comes.
            say("done");
            made.and_then(|()| std::io::read_to_string(std::io::stdin()).map(drop))
        }
        _ => Err(std::io::ErrorKind::InvalidInput.into()),
    };
    let errno = done.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    ExitCode::from(u8::try_from(errno).unwrap_or(u8::MAX))
}

/// The error that an act of this program met, 0 for none.
fn act(words: &[&str]) -> Result<i32> {
    act_as(&std::env::current_exe()?, words)
}

fn act_as(program: &Path, words: &[&str]) -> Result<i32> {
    let status = Command::new(program).arg("ruled-deed").args(words).status()?;
    status.code().with_context(|| format!("{words:?} ended with {status}"))
}

fn refused(words: &[&str]) -> Result<()> {
    let errno = act(words)?;
    ensure!(errno == libc::EPERM, "{words:?} met error {errno}, not EPERM");
    Ok(())
}

fn through(words: &[&str]) -> Result<()> {
    let errno = act(words)?;
    ensure!(errno == 0, "{words:?} met error {errno}");
    Ok(())
}

/// A path below the tree.
fn at(path: &str) -> PathBuf {
    Path::new(TREE).join(path)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The rules; `seen` is watched or enforced.
fn rules(seen: &str) -> String {
    let (keep, watched) = (at("keep"), at("seen"));
    format!(
        "@id(\"keep\") forbid (principal, action == Action::\"file.unlink\", resource)\n\
         when {{ resource in Directory::{keep:?} }};\n\
         @id(\"no-connect\") forbid (principal, action == Action::\"net.connect\", resource)\n\
         when {{ resource.port == {PORT} }};\n\
         @id(\"modules\") forbid (principal, action == Action::\"kernel.module_load\", resource)\n\
         unless {{ resource in Directory::\"/usr/lib/modules\" }};\n\
         @id(\"seen\") @mode(\"{seen}\")\n\
         forbid (principal, action == Action::\"file.truncate\", resource)\n\
         when {{ resource in Directory::{watched:?} }};\n"
    )
}

/// An engine that is told of files by these filters.
fn watcher(name: &'static str, filter: &str) -> EngineSetup {
    ["file.unlink", "file.setattr"].iter().fold(
        EngineSetup::faulty(name, TALLY).hang_ms(60_000).without_events().filter(filter).optional(),
        |engine, event| engine.subscribed(event, "notify", None),
    )
}

/// It counts what it is told.
const TALLY: &str = "tally 1";

/// Runs everything.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    fs::create_dir_all(TREE)?;
    mount("tmpfs", TREE, "tmpfs", MountFlags::empty(), None)?;
    for folder in ["keep", "seen", "wanted", "else"] {
        fs::create_dir(at(folder))?;
    }
    fs::copy(std::env::current_exe()?, OTHER)?;
    bait::put(&at("eicar.com"), &bait::eicar())?;
    let setup = Setup::protecting(Path::new(TREE))
        .budget_ms(500)
        .engine(EngineSetup::hashlist())
        .engine(watcher("by-path", &format!("paths = [{:?}]", at("wanted"))))
        .engine(watcher("by-tree", &format!("programs = [{OTHER:?}]")))
        .policy("ruled.cedar", &rules("monitor"));
    let host = Host::start(Path::new(HOME), &setup)?;
    let loaded = wait_plane(&host);
    report.test("ruled::the_kernels_programs_decide", || {
        let (status, took) = loaded?;
        covered(&host, &status)?;
        Ok(format!("{} events, after {} s", RULED.len(), took.as_secs()))
    });
    report.test("ruled::what_only_the_kernel_can_refuse_is_refused", || denied(&host));
    report.test("ruled::what_is_watched_goes_through_and_is_told", || watched(&host));
    report.test("ruled::monitor_becomes_enforce_at_once", || switched(&host));
    report.test("ruled::the_engine_decides_beside_rules", || {
        let path = at("eicar.com");
        ensure!(File::open(&path).is_err(), "the bad file is served");
        Ok("the bad file is refused by its engine".to_owned())
    });
    report.test("ruled::a_filter_by_path_leaves_out_the_rest", || by_path(&host));
    report.test("ruled::a_filter_by_program_leaves_out_the_rest", || by_tree(&host));
    report.test("ruled::the_next_host_decides_as_the_one_before", || killed(&host));
    if report.has_failed() {
        tell_end_of(&host.log());
    }
    report.test("ruled::the_platform_ends", || {
        host.end()?;
        fs::write(at("keep/last"), "")?;
        through(&["unlink", &text(&at("keep/last"))])?;
        Ok("no process is left, and no rule".to_owned())
    });
    Ok(())
}

/// Waits until the programs decide by a set of rules; the status then.
fn wait_plane(host: &Host) -> Result<(Status, Duration)> {
    let begun = Instant::now();
    let status = wait_for("the kernel's programs", LOADING, || {
        // A host that starts does not answer for a moment.
        let Ok(status) = host.status() else { return Ok(None) };
        let late = status.policy.as_ref().and_then(|rules| rules.problem.as_deref());
        if late.is_some_and(|problem| problem.contains("did not end within")) {
            // The processor was elsewhere for too long.
            host.ask(&Request::ApplyPolicy)?;
        }
        let decides = status.plane.as_ref().is_some_and(|plane| {
            let decided: EventSet =
                plane.ruled.iter().filter_map(|name| name.parse().ok()).collect();
            RULED.iter().all(|event| decided.contains(*event))
                && status.policy.as_ref().is_some_and(|rules| rules.generation == plane.generation)
        });
        Ok(decides.then_some(status))
    })?;
    Ok((status, begun.elapsed()))
}

/// Status and doctor say the same, and that rules decide.
fn covered(host: &Host, status: &Status) -> Result<()> {
    let doctor: Coverage = match host.ask(&Request::Doctor)? {
        Response::Doctor(coverage) => coverage,
        other => bail!("the host answered {other:?}"),
    };
    for event in RULED {
        let found = doctor.event(event).with_context(|| format!("no coverage of {event}"))?;
        ensure!(status.coverage.event(event) == Some(found), "status and doctor differ: {found:?}");
        ensure!(
            found.level == Level::Rule && found.ruled_by.as_deref() == Some("lsm"),
            "{found:?}"
        );
    }
    ensure!(doctor.shrunk.is_empty(), "{:?}", doctor.shrunk);
    let undecided = status.problems.iter().find(|problem| problem.contains("decide nothing"));
    ensure!(undecided.is_none(), "{undecided:?}");
    Ok(())
}

/// What the programs said of an event.
fn counts(host: &Host, event: Event) -> Result<PlaneCounts> {
    let plane = host.status()?.plane.context("no plane in the status")?;
    Ok(plane.events.get(event.name()).copied().unwrap_or_default())
}

/// Waits for the journal's line of what a rule did.
fn journaled(host: &Host, rule: &str, denied: bool) -> Result<()> {
    let words = [
        r#""kind":"rule""#.to_owned(),
        format!(r#""rule":"{rule}""#),
        format!(r#""denied":{denied}"#),
    ];
    wait_for(&format!("a line of rule {rule}"), PATIENCE, || {
        let log = host.log();
        Ok(log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()))
    })
}

fn denied(host: &Host) -> Result<String> {
    let before = counts(host, Event::FileUnlink)?.denied;
    let (kept, other, module) = (at("keep/file"), at("else/file"), at("else/module.ko"));
    for file in [&kept, &other, &module] {
        fs::write(file, "content")?;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;

    refused(&["unlink", &text(&kept)])?;
    refused(&["connect", &PORT.to_string()])?;
    refused(&["module", &text(&module)])?;
    through(&["unlink", &text(&other)])?;
    through(&["connect", &elsewhere.local_addr()?.port().to_string()])?;
    drop(listener);

    ensure!(kept.exists() && !other.exists(), "what was refused was done, or the other way round");
    for rule in ["keep", "no-connect", "modules"] {
        journaled(host, rule, true)?;
    }
    let counted = counts(host, Event::FileUnlink)?.denied - before;
    ensure!(counted == 1, "{counted} denials of file.unlink were counted");
    ensure!(host.status()?.policy.is_some_and(|rules| rules.denied >= 3), "status counts fewer");
    Ok("unlink, connect and a module: EPERM, each in the journal by its rule".to_owned())
}

fn watched(host: &Host) -> Result<String> {
    let file = at("seen/file");
    fs::write(&file, "content")?;

    through(&["truncate", &text(&file)])?;

    ensure!(fs::metadata(&file)?.len() == 1, "it was not truncated");
    journaled(host, "seen", false)?;
    ensure!(counts(host, Event::FileTruncate)?.would_deny > 0, "it was not counted");
    Ok("let through, and told as what would have been denied".to_owned())
}

fn switched(host: &Host) -> Result<String> {
    let file = at("seen/file");
    fs::write(&file, "content")?;
    let before = host.status()?.policy.context("no rules")?.generation;
    for turn in 0..3 {
        host.apply_policy("ruled.cedar", &rules("enforce"))?;
        refused(&["truncate", &text(&file)]).with_context(|| format!("enforced, turn {turn}"))?;
        host.apply_policy("ruled.cedar", &rules("monitor"))?;
        through(&["truncate", &text(&file)]).with_context(|| format!("watched, turn {turn}"))?;
    }
    let status = host.status()?;
    let (rules, plane) = (status.policy.context("no rules")?, status.plane.context("no plane")?);
    ensure!(rules.generation == plane.generation, "{} and {}", rules.generation, plane.generation);
    journaled(host, "seen", true)?;
    Ok(format!("6 switches, sets {before} to {}", rules.generation))
}

/// What an engine was told of an event, as it says itself.
fn told(host: &Host, engine: &str, event: &str) -> Result<u64> {
    let line = host.behave(engine, TALLY)?;
    let name = format!("{event}=");
    let count = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(&name));
    count.map_or(Ok(0), |count| Ok(count.parse()?))
}

/// Waits until the engine was told of `count` more than `before`; an error if it is of still more.
fn expect_told(host: &Host, engine: &str, event: &str, before: u64, count: u64) -> Result<()> {
    let told = wait_for(&format!("{count} {event} for {engine}"), PATIENCE, || {
        let told = told(host, engine, event)? - before;
        Ok((told >= count).then_some(told))
    })?;
    ensure!(told == count, "{engine} was told of {told} {event}, not of {count}");
    Ok(())
}

/// `file.unlink` is told by fanotify and filtered in the host, `file.setattr` by the kernel's programs and filtered there.
fn by_path(host: &Host) -> Result<String> {
    let engine = "by-path";
    let before = [told(host, engine, "file.unlink")?, told(host, engine, "file.setattr")?];
    let noticed = counts(host, Event::FileSetattr)?.notices;
    let own = std::env::current_exe()?;
    let mut makers = Vec::new();
    for (folder, count) in [("else", UNWANTED), ("wanted", ACTS)] {
        let file = at(folder).join("mode");
        fs::write(&file, "content")?;
        through(&["chmod", &text(&file), &count.to_string()])?;
        makers.push(Maker::start(&own, folder, count)?);
    }
    expect_told(host, engine, "file.unlink", before[0], ACTS)?;
    expect_told(host, engine, "file.setattr", before[1], ACTS)?;
    makers.into_iter().try_for_each(Maker::end)?;
    let noticed = counts(host, Event::FileSetattr)?.notices - noticed;
    ensure!(
        noticed == ACTS,
        "{noticed} notices of file.setattr came out of the kernel, not {ACTS}"
    );
    let all = ACTS + UNWANTED;
    Ok(format!("{ACTS} of {all} of each event were told; the kernel left out the rest"))
}

fn by_tree(host: &Host) -> Result<String> {
    let engine = "by-tree";
    let before = [told(host, engine, "file.unlink")?, told(host, engine, "file.setattr")?];
    let own = std::env::current_exe()?;
    let file = at("else/tree");
    fs::write(&file, "content")?;
    let mut makers = Vec::new();
    for (program, count) in [(own.as_path(), UNWANTED), (Path::new(OTHER), ACTS)] {
        let errno = act_as(program, &["chmod", &text(&file), &count.to_string()])?;
        ensure!(errno == 0, "chmod met error {errno}");
        makers.push(Maker::start(program, "else", count)?);
    }
    expect_told(host, engine, "file.unlink", before[0], ACTS)?;
    expect_told(host, engine, "file.setattr", before[1], ACTS)?;
    makers.into_iter().try_for_each(Maker::end)?;
    Ok(format!("{ACTS} of {} of each event were told", ACTS + UNWANTED))
}

/// A process that has made and removed files and is there until this is dropped: of one that is gone, who it was may not
/// be known when that is read.
struct Maker(Child);

impl Maker {
    fn start(program: &Path, folder: &str, count: u64) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["ruled-deed", "files", &text(&at(folder)), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take().context("it says something")?;
        let maker = Self(child);
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        ensure!(line == "done\n", "it says {line:?}");
        Ok(maker)
    }

    /// Ends it; an error if it could not do all.
    fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        // One that was ended is reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills the host. What its programs decided is undecided until the next host's are loaded, and then decided as before.
fn killed(host: &Host) -> Result<String> {
    let old = host.signal(Part::Host, Signal::KILL)?;
    let begun = Instant::now();
    host.wait_successor(old, PATIENCE)?;
    let file = at("keep/again");
    let mut undecided = 0;
    let decided = wait_for("rules by the next host", LOADING, || {
        OpenOptions::new().create(true).append(true).open(&file)?;
        match act(&["unlink", &text(&file)])? {
            libc::EPERM => Ok(Some(begun.elapsed())),
            0 => {
                undecided += 1;
                Ok(None)
            }
            errno => bail!("unlink met error {errno}"),
        }
    })?;
    let (status, _) = wait_plane(host)?;
    covered(host, &status)?;
    refused(&["connect", &PORT.to_string()])?;
    ensure!(File::open(at("eicar.com")).is_err(), "the bad file is served");
    Ok(format!(
        "decided again after {} s; {undecided} unlinks meanwhile were not",
        decided.as_secs()
    ))
}
