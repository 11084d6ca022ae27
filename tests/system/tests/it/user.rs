//! What an ordinary user cannot do to the platform, and one engine not to another.
//!
//! Each act on a process is tried on one of the user's own as well, where the kernel lets it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::EngineState;
use outrigger_testkit::agent::Agent;
use outrigger_testkit::figures::say;
use outrigger_testkit::trespass::{self, Aim, Touch, Tried};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup};

use crate::scene::{Scene, expect};

/// A person's.
const USER: u32 = 1234;
const ENGINE: &str = "hashlist";
const OTHER: &str = "other";

fn start(lab: &Lab, scene: &Scene) -> Result<Host> {
    let setup = Setup::protecting(scene.path()).budget_ms(1000).fail_closed().uncached();
    lab.start(&setup.engine(EngineSetup::hashlist()).engine(EngineSetup::faulty(OTHER, "allow")))
}

/// Every process of the platform, with a word for each.
fn processes(host: &Host) -> Result<Vec<(String, u32)>> {
    let pids = host.pids()?;
    let own = [("keeper", pids.keeper), ("gate", pids.gate), ("host", pids.host)];
    let mut all: Vec<(String, u32)> = own.map(|(name, pid)| (name.to_owned(), pid)).into();
    for engine in [ENGINE, OTHER] {
        all.push((engine.to_owned(), host.engine(engine)?.pid.context("it runs")?));
    }
    Ok(all)
}

/// What `aim` names is let on a process of the user's own, and refused on every one of the platform's.
fn is_refused(lab: &Lab, aim: Aim) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene)?;
    let before = processes(&host)?;
    let mut own = Agent::start_as("idle", &[], USER)?;
    own.ready()?;

    let let_on_own = trespass::on_process(USER, aim, own.pid())?;

    for (name, pid) in &before {
        let tried = trespass::on_process(USER, aim, *pid)?;
        ensure!(tried.len() == let_on_own.len(), "not the same acts: {tried:?}");
        compare(name, &let_on_own, &tried)?;
    }
    nothing_changed(&host, &scene, &before)?;
    host.end()
}

fn compare(name: &str, own: &[Tried], theirs: &[Tried]) -> Result<()> {
    let mut refused = 0;
    for (own, theirs) in own.iter().zip(theirs) {
        if own.is_absent() {
            say(format_args!("not on this kernel: {}", own.act));
            continue;
        }
        ensure!(theirs.is_refused(), "on the {name}: {theirs:?}");
        // What root alone may shows nothing about whose process it is.
        refused += usize::from(!own.is_refused());
    }
    say(format_args!("{name}: {refused} acts refused"));
    ensure!(refused >= 5, "{refused} acts are too few to say anything");
    Ok(())
}

/// The same processes do what they did.
fn nothing_changed(host: &Host, scene: &Scene, before: &[(String, u32)]) -> Result<()> {
    let after = processes(host)?;
    ensure!(after == before, "before {before:?}, now {after:?}");
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    expect("a clean file", ways::open(&scene.clean[0]), Outcome::Through)?;
    for engine in [ENGINE, OTHER] {
        let engine = host.engine(engine)?;
        ensure!(engine.state == EngineState::Docked && engine.faults.is_empty(), "{engine:?}");
    }
    Ok(())
}

pub(crate) fn cannot_read_its_processes(lab: &Lab) -> Result<()> {
    is_refused(lab, Aim::Read)
}

pub(crate) fn cannot_stop_its_processes(lab: &Lab) -> Result<()> {
    is_refused(lab, Aim::Stop)
}

pub(crate) fn cannot_slow_its_processes(lab: &Lab) -> Result<()> {
    is_refused(lab, Aim::Slow)
}

/// Each of `paths` is there, and what is tried on it is refused.
fn all_refused(touch: Touch, paths: &[PathBuf]) -> Result<()> {
    ensure!(!paths.is_empty(), "nothing to try {touch:?} on");
    for path in paths {
        ensure!(path.exists(), "{} is not there", path.display());
    }
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    for tried in trespass::on_paths(USER, touch, &paths)? {
        ensure!(tried.is_refused(), "{tried:?}");
        say(format_args!("refused: {}", tried.act));
    }
    Ok(())
}

/// Neither the operator's socket nor that of the metrics, which both tell what every engine does.
pub(crate) fn cannot_connect_to_its_sockets(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene)?;
    let before = processes(&host)?;
    let sockets = ["control.sock", "metrics.sock"].map(|name| host.folder().join(name));

    all_refused(Touch::Connect, &sockets)?;
    // In their place another could be put, that answers what it likes.
    all_refused(Touch::Remove, &sockets)?;

    nothing_changed(&host, &scene, &before)?;
    host.end()
}

/// What was decided, for whom and about which files, is root's to read; what decides, to change.
pub(crate) fn cannot_read_its_records_or_change_its_files(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene)?;
    let before = processes(&host)?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    let folder = host.folder();
    let state = folder.join("state");
    let kept: Vec<PathBuf> = files(&state)?;
    ensure!(!kept.is_empty(), "{} holds nothing", state.display());
    let given: Vec<PathBuf> = [ENGINE, OTHER]
        .iter()
        .map(|engine| files(&folder.join(engine)))
        .collect::<Result<Vec<_>>>()?
        .concat();

    all_refused(Touch::Read, &kept)?;
    all_refused(Touch::Read, &[state])?;
    all_refused(Touch::Write, &kept)?;
    all_refused(Touch::Remove, &kept)?;
    all_refused(Touch::Write, &[given.as_slice(), &[folder.join("outrigger.toml")]].concat())?;
    all_refused(Touch::Remove, &given)?;

    nothing_changed(&host, &scene, &before)?;
    host.end()
}

/// The files in a folder and below it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

/// The control groups say how much an engine may have; and one file of them ends it.
pub(crate) fn cannot_change_an_engines_limits(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene)?;
    let before = processes(&host)?;
    let pid = host.engine(ENGINE)?.pid.context("it runs")?;
    let groups = groups_of(pid)?;
    ensure!(!groups.is_empty(), "it is in no control group");
    for group in &groups {
        let can_be_written = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|file| file.is_file() && !file.permissions().readonly())
        };
        let controls: Vec<PathBuf> = fs::read_dir(group)?
            .flatten()
            .map(|entry| entry.path())
            .filter(can_be_written)
            .collect();

        all_refused(Touch::Write, &controls)?;
    }

    nothing_changed(&host, &scene, &before)?;
    host.end()
}

/// The folders of the control groups that hold the process `pid`.
fn groups_of(pid: u32) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for hierarchy in fs::read_dir("/sys/fs/cgroup")?.flatten() {
        // Version 1 has a folder per controller, version 2 its own at the top.
        for top in [hierarchy.path(), PathBuf::from("/sys/fs/cgroup")] {
            for group in fs::read_dir(top.join("outrigger")).into_iter().flatten().flatten() {
                let members = fs::read_to_string(group.path().join("cgroup.procs"));
                let holds =
                    members.is_ok_and(|text| text.lines().any(|line| line == pid.to_string()));
                if holds && !found.contains(&group.path()) {
                    found.push(group.path());
                }
            }
        }
    }
    Ok(found)
}

/// A process that runs under the number of an engine by some mistake may signal it and count its
/// descriptors, but not look into it: it has no right in the engine's user namespace.
pub(crate) fn of_an_engines_number_cannot_read_it(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene)?;
    let before = processes(&host)?;
    let pid = host.engine(ENGINE)?.pid.context("it runs")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("it has a user")?;
    let uid: u32 = uid.split_whitespace().next().context("a number")?.parse()?;
    let mut own = Agent::start_as("idle", &[], uid)?;
    own.ready()?;

    let but_for_its_numbers = |mut tried: Vec<Tried>| {
        tried.retain(|tried| !tried.act.ends_with("/fd"));
        tried
    };
    let let_on_own = but_for_its_numbers(trespass::on_process(uid, Aim::Read, own.pid())?);
    let tried = but_for_its_numbers(trespass::on_process(uid, Aim::Read, pid)?);

    compare(&format!("engine of user {uid}"), &let_on_own, &tried)?;
    nothing_changed(&host, &scene, &before)?;
    host.end()
}

/// From inside, an engine sees no process but its own; from outside, two engines share nothing.
pub(crate) fn two_engines_share_nothing(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene)?;
    let before = processes(&host)?;

    let said = host.behave(OTHER, "allow act look-around")?;

    say(&said);
    ensure!(said.contains("proc No such file"), "it sees processes: {said}");
    ensure!(said.contains("pid 1; parent 0"), "it has a number among others: {said}");
    ensure!(said.contains("root Permission denied"), "it can list its root: {said}");
    let [one, other] = [ENGINE, OTHER].map(|name| host.engine(name).map(|engine| engine.pid));
    let (one, other) = (one?.context("it runs")?, other?.context("it runs")?);
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let space = |pid| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        ensure!(space(one)? != space(other)?, "they share their {kind} namespace");
    }
    let shared: Vec<_> = objects(one)?.intersection(&objects(other)?).cloned().collect();
    ensure!(shared == [PathBuf::from("/dev/null")], "both hold {shared:?}");
    let users: BTreeSet<u32> = [one, other].into_iter().map(owner).collect::<Result<_>>()?;
    ensure!(users.len() == 2 && !users.contains(&0), "their users: {users:?}");

    host.wait_engine(OTHER, EngineState::Docked, Duration::from_secs(5))?;
    nothing_changed(&host, &scene, &before)?;
    host.end()
}

/// What a process has open or mapped that others could have as well: sockets, pipes and memory by number.
fn objects(pid: u32) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        found.insert(fs::read_link(entry?.path())?);
    }
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    // proc_pid_maps(5): the inode is the fifth word, the path the sixth.
    for line in maps.lines().filter(|line| line.contains("memfd:")) {
        found.insert(PathBuf::from(line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")));
    }
    ensure!(found.len() > 4, "of {pid} only {found:?} is seen");
    // Anonymous kinds, of which each process has its own under one name.
    Ok(found.into_iter().filter(|path| !path.starts_with("anon_inode:")).collect())
}

fn owner(pid: u32) -> Result<u32> {
    use std::os::unix::fs::MetadataExt as _;

    Ok(fs::metadata(format!("/proc/{pid}/task"))?.uid())
}
