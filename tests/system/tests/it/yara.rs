//! Two engines of two makers side by side: what each knows is refused, whatever the other says.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::Verdict;
use outrigger_api::control::{Decision, EngineAction, EngineState, Vote};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::{say, waits_at_most};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup};

use crate::scene::{Scene, expect, timed_open};

const ENGINE: &str = "yara";
const OTHER: &str = "hashlist";
const BUDGET_MS: u32 = 8000;
const DOCKS: Duration = Duration::from_secs(10);

/// Rules that ship.
pub(crate) const RULES: &str = concat!(
    include_str!("../../../../engines/yara/content/eicar.yar"),
    include_str!("../../../../engines/yara/content/webshells.yar"),
);

/// Minutes of work on a file that begins with `slow`, none on others.
const SLOW_RULE: &str = "
rule slow {
    condition:
        uint32be(0) == 0x736c6f77 and
        for all i in (0..1000000000) : (
            for all j in (0..1000000000) : ( uint8((i + j) % 4) != 0 )
        )
}
";

/// A page that runs what its visitor sends; in pieces, so that this source is none.
pub(crate) fn web_shell() -> Vec<u8> {
    ["<?", "php system($_", "GET['c']); ?>"].concat().into_bytes()
}

/// Both engines on the scene, and nothing cached.
fn start(lab: &Lab, scene: &Scene, yara: EngineSetup) -> Result<Host> {
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
    lab.start(&setup.engine(EngineSetup::hashlist()).engine(yara))
}

/// Opens the file of this name, which the scene has; how that was decided.
fn decided(host: &Host, scene: &Scene, name: &str) -> Result<(Outcome, Decision)> {
    let path = scene.path().join(name);
    let is_ours = |decision: &Decision| {
        decision.path.as_deref().is_some_and(|shown| shown.ends_with(&format!("/{name}")))
    };
    host.watch()?.find(|| Ok(ways::open(&path)), is_ours)
}

/// The engine's part in a decision.
fn vote<'a>(decision: &'a Decision, engine: &str) -> Result<&'a Vote> {
    let vote = decision.votes.iter().find(|vote| vote.engine.as_str() == engine);
    vote.with_context(|| format!("{engine} has no part in {decision:?}"))
}

/// Each engine refuses the test file by itself, the other being in quarantine. And the sandbox refuses them
/// no call: a refusal is a sign of something, not of a runtime's habits.
pub(crate) fn both_engines_refuse_the_test_file(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, EngineSetup::yara(RULES))?;
    expect("the bad file with both", ways::open(&scene.eicar), Outcome::Refused)?;
    expect("a clean file with both", ways::open(&scene.clean[0]), Outcome::Through)?;

    for (alone, away) in [(ENGINE, OTHER), (OTHER, ENGINE)] {
        host.engine_action(away, EngineAction::Quarantine)?;
        host.wait_engine(away, EngineState::Quarantined, DOCKS)?;
        let (outcome, decision) = decided(&host, &scene, "eicar.com")?;
        expect("the bad file", outcome, Outcome::Refused)?;
        let detail = vote(&decision, alone)?.detail.clone().unwrap_or_default();
        say(format_args!("decided by {}: {detail}", decision.decided_by));
        ensure!(decision.decided_by == format!("engine {alone}"), "{decision:?}");
        host.engine_action(away, EngineAction::Release)?;
        host.wait_engine(away, EngineState::Docked, DOCKS)?;
    }

    let log = host.log();
    let refused = |engine: &str| -> BTreeSet<&str> {
        let own = format!("{{\"engine\":\"{engine}\",\"call\":");
        let calls = log.lines().filter_map(|line| line.strip_prefix(own.as_str()));
        calls.filter_map(|call| call.split_once(",\"time_ms\":")).map(|(call, _)| call).collect()
    };
    for engine in [ENGINE, OTHER] {
        ensure!(refused(engine).is_empty(), "refused to {engine}: {:?}", refused(engine));
        let counted = host.engine(engine)?.refused_calls;
        ensure!(counted == 0, "{counted} calls were refused to {engine}");
    }
    host.end()
}

/// Conditions are interpreted: after scans, all that it can execute is mapped from a file.
pub(crate) fn it_executes_nothing_but_its_files(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let host = start(lab, &scene, EngineSetup::yara(RULES))?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    expect("a clean file", ways::open(&scene.clean[0]), Outcome::Through)?;

    let pid = host.engine(ENGINE)?.pid.context("the engine has a process")?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;

    // proc_pid_maps(5): range, permissions, offset, device, inode, and a path or a name in brackets.
    let executable: Vec<&str> = maps
        .lines()
        .filter(|line| line.split_whitespace().nth(1).is_some_and(|rights| rights.contains('x')))
        .collect();
    let (files, others): (Vec<&str>, Vec<&str>) =
        executable.iter().partition(|line| line.split_whitespace().nth(5).is_some_and(is_file));
    say(format_args!("executable: {} mappings of files, others: {others:?}", files.len()));
    ensure!(!files.is_empty(), "not even the program is mapped: {maps}");
    let kernels = |line: &&str| line.ends_with("[vdso]") || line.ends_with("[vsyscall]");
    ensure!(others.iter().all(kernels), "executable without a file: {others:?}");
    host.end()
}

fn is_file(path: &str) -> bool {
    path.starts_with('/')
}

pub(crate) fn a_web_shell_is_refused_by_yara_alone(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let shell = scene.volume.put("shell.php", &web_shell())?;
    expect("the web shell unprotected", ways::open(&shell), Outcome::Through)?;
    let host = start(lab, &scene, EngineSetup::yara(RULES))?;

    let (outcome, decision) = decided(&host, &scene, "shell.php")?;

    expect("the web shell", outcome, Outcome::Refused)?;
    ensure!(decision.decided_by == "engine yara", "{decision:?}");
    let vote = vote(&decision, ENGINE)?;
    ensure!(vote.detail.as_deref() == Some("PHP_Webshell_Request"), "{vote:?}");
    ensure!(host.engine(OTHER)?.denies == 0, "the hash lists know the web shell");
    expect("a clean file", ways::open(&scene.clean[0]), Outcome::Through)?;
    host.end()
}

pub(crate) fn a_bad_rule_file_keeps_the_old_rules(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let shell = scene.volume.put("shell.php", &web_shell())?;
    let host = start(lab, &scene, EngineSetup::yara(RULES))?;
    let before = host.engine(ENGINE)?.content;
    let content = host.folder().join(ENGINE).join("content");

    fs::write(content.join("broken.yar"), "// fine\n\nrule broken { condition: }\n")?;
    // Were the broken folder taken without the broken file, this would let the web shell through.
    fs::write(content.join("tests.yar"), "")?;
    host.engine_action(ENGINE, EngineAction::Reload)?;
    let engine = wait_for("the refusal", DOCKS, || {
        let engine = host.engine(ENGINE)?;
        Ok(engine.faults.contains_key("content-rejected").then_some(engine))
    })?;

    let told = engine.last_fault.unwrap_or_default();
    say(&told);
    ensure!(told.contains("broken.yar:3: "), "told without file and line: {told}");
    ensure!(engine.content == before, "now in force: {:?}", engine.content);
    ensure!(engine.starts == 1, "it was started {} times", engine.starts);
    expect("the web shell after it", ways::open(&shell), Outcome::Refused)?;

    fs::write(
        content.join("broken.yar"),
        "rule mended { strings: $a = \"nowhere\" condition: $a }\n",
    )?;
    host.engine_action(ENGINE, EngineAction::Reload)?;
    wait_for("the mended rules", DOCKS, || {
        let content = host.engine(ENGINE)?.content;
        Ok((content.as_deref() == Some("1 rule of 2 files")).then_some(()))
    })?;
    expect("the web shell by other rules", ways::open(&shell), Outcome::Through)?;
    host.end()
}

pub(crate) fn a_slow_scan_ends_in_time_and_holds_nobody_up(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let slow = scene.volume.put("slow.bin", b"slow to scan")?;
    let shell = scene.volume.put("shell.php", &web_shell())?;
    let yara = EngineSetup::yara(&[RULES, SLOW_RULE].concat());
    let host = start(lab, &scene, yara.argument("--scan-ms").argument("100"))?;

    let (waited, served) = timed_open(&slow);
    let next = ways::open(&shell);
    let (_, decision) = decided(&host, &scene, "slow.bin")?;

    ensure!(served, "the policy fails open");
    // YARA-X's own limit, and the question's, are seconds away.
    waits_at_most("the slow file's open", waited, 900.0)?;
    expect("the web shell behind it", next, Outcome::Refused)?;
    let vote = vote(&decision, ENGINE)?;
    say(format_args!("decided by {}: {vote:?}", decision.decided_by));
    ensure!(vote.verdict == Some(Verdict::Abstain), "{vote:?}");
    let engine = host.engine(ENGINE)?;
    ensure!(engine.misses == 0 && engine.starts == 1, "it missed or was restarted: {engine:?}");
    host.end()
}
