//! How long one open, one start of a program, or one round of changes to a file takes.

use std::ffi::CString;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use outrigger_testkit::clock::now;
use outrigger_testkit::figures::say;
use outrigger_testkit::histogram::Summary;
use outrigger_testkit::openers::open_once;
use outrigger_testkit::{Histogram, bait};

use crate::scenario::{Bench, FILES, Scenario, pin_to_one, unpin};
use outrigger_bench::report::{Figure, Promise, Report};

const ROUNDS: usize = 5;
/// Opens per round, but of first opens, of which there is one per file.
const OPENS: usize = 10_000;
/// Programs started per round.
const SPAWNS: usize = 300;
/// Files that are opened only to warm up.
const WARM_UP: usize = 200;
/// Connections per round.
const CONNECTIONS: usize = 100_000;
/// What rules on connecting are measured by, and the most that they may add, ns.
const RULED: &str = "connect_ruled";
const ADDED: f64 = 150.0;

/// What is done and timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Open and close, file after file.
    Open,
    /// As `Open`, each file once, the first time since who answers was started.
    OpenFirst,
    /// Open, read 4 KiB, close; every file was opened before.
    OpenRead,
    /// Start a program and wait for its end; it was started before.
    Spawn,
    /// Make a file of one byte, rename it, unlink it: four changes, of which the kernel merges two.
    Change,
    /// Connect a socket of datagrams, which sends nothing, to one of two ports in turn.
    Connect,
    /// The same, each time to another port.
    ConnectAnew,
}

/// What is measured.
struct Plan {
    name: &'static str,
    scenario: Scenario,
    act: Act,
    vs: Option<&'static str>,
    promise: Option<Promise>,
}

const fn base(name: &'static str, scenario: Scenario, act: Act) -> Plan {
    Plan { name, scenario, act, vs: None, promise: None }
}

const fn ratio(
    name: &'static str,
    scenario: Scenario,
    act: Act,
    vs: &'static str,
    at_most: f64,
) -> Plan {
    Plan { name, scenario, act, vs: Some(vs), promise: Some(Promise::RatioAtMost(at_most)) }
}

const PLANS: &[Plan] = &[
    base("open_bare", Scenario::None, Act::Open),
    base("open_floor", Scenario::Floor, Act::Open),
    ratio("open_asked_1", Scenario::Asked, Act::Open, "open_floor", 2.0),
    ratio("open_asked_content", Scenario::AskedContent, Act::Open, "open_floor", 2.6),
    ratio("open_first", Scenario::Cached, Act::OpenFirst, "open_floor", 3.5),
    ratio("open_asked_3", Scenario::AskedThree, Act::Open, "open_floor", 3.5),
    Plan { vs: Some("open_floor"), ..base("open_hashed", Scenario::Hashed, Act::Open) },
    base("open_none", Scenario::None, Act::OpenRead),
    ratio("open_known", Scenario::Cached, Act::OpenRead, "open_none", 1.15),
    base("spawn_none", Scenario::None, Act::Spawn),
    ratio("spawn_known", Scenario::Cached, Act::Spawn, "spawn_none", 1.1),
    base("change_none", Scenario::None, Act::Change),
    Plan { vs: Some("change_none"), ..base("change_watched", Scenario::Watched, Act::Change) },
    base("fork_exec_none", Scenario::None, Act::Spawn),
    ratio("fork_exec_told", Scenario::Told, Act::Spawn, "fork_exec_none", 1.03),
    base("connect_none", Scenario::None, Act::Connect),
    Plan { vs: Some("connect_none"), ..base("connect_called", Scenario::Called, Act::Connect) },
    Plan { vs: Some("connect_none"), ..base(RULED, Scenario::Ruled, Act::Connect) },
    Plan {
        vs: Some("connect_none"),
        ..base("connect_ruled_anew", Scenario::Ruled, Act::ConnectAnew)
    },
];

/// Measures what is wanted, confined to one processor and not.
pub(crate) fn measure(
    bench: &Bench,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> Result<()> {
    let chosen: Vec<&Plan> = PLANS.iter().filter(|plan| is_needed(plan, wanted)).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    bench.volume.put("program", &bait::tiny_program(0))?;
    let all = pin_to_one()?;
    let pinned = rounds(bench, &chosen, "on one processor");
    unpin(&all)?;
    let pinned = pinned?;
    let unpinned = rounds(bench, &chosen, "unpinned")?;

    for (at, plan) in chosen.iter().enumerate() {
        let against = plan.vs.and_then(|vs| chosen.iter().position(|other| other.name == vs));
        let middle =
            |pick: fn(&Summary) -> u64| median(pinned.iter().map(|round| pick(&round[at])));
        report.add(
            plan.name,
            Figure {
                p50: middle(|summary| summary.p50),
                p99: middle(|summary| summary.p99),
                unit: "ns",
                vs: plan.vs.map(str::to_owned),
                ratio_p50: against.map(|against| ratio_of(&pinned, at, against)),
                ratio_p50_unpinned: against.map(|against| ratio_of(&unpinned, at, against)),
                promise: plan.promise,
            },
        );
        if let Some(against) = against.filter(|_| plan.name == RULED) {
            report.add("connect_rules", added(&pinned, at, against));
        }
    }
    Ok(())
}

/// What one plan takes longer than another, in the middle of the rounds.
fn added(rounds: &[Vec<Summary>], at: usize, against: usize) -> Figure {
    let middle = |pick: fn(&Summary) -> u64| {
        median(rounds.iter().map(|round| pick(&round[at]).saturating_sub(pick(&round[against]))))
    };
    Figure {
        p50: middle(|summary| summary.p50),
        p99: middle(|summary| summary.p99),
        unit: "ns",
        vs: None,
        ratio_p50: None,
        ratio_p50_unpinned: None,
        promise: Some(Promise::AtMost(ADDED)),
    }
}

/// Whether the plan is wanted, or is what a wanted one is compared with.
fn is_needed(plan: &Plan, wanted: &dyn Fn(&str) -> bool) -> bool {
    wanted(plan.name) || PLANS.iter().any(|other| wanted(other.name) && other.vs == Some(plan.name))
}

/// Every plan in turn, several times.
fn rounds(bench: &Bench, plans: &[&Plan], how: &str) -> Result<Vec<Vec<Summary>>> {
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        say(format_args!("latency {how}, round {number} of {ROUNDS}"));
        rounds.push(plans.iter().map(|plan| once(bench, plan)).collect::<Result<Vec<_>>>()?);
    }
    Ok(rounds)
}

fn once(bench: &Bench, plan: &Plan) -> Result<Summary> {
    let running = plan.scenario.start(bench)?;
    let paths = bench.paths()?;
    let program = bench.volume.join("program");
    let waits = match plan.act {
        Act::Open => {
            open_many(&paths, WARM_UP, false)?;
            open_many(&paths, OPENS, false)?
        }
        Act::OpenFirst => {
            open_many(&paths[FILES - WARM_UP..], WARM_UP, false)?;
            open_many(&paths[..FILES - WARM_UP], FILES - WARM_UP, false)?
        }
        Act::OpenRead => {
            open_many(&paths, 2 * FILES, true)?;
            open_many(&paths, OPENS, true)?
        }
        Act::Spawn => {
            spawn_many(&program, SPAWNS / 10)?;
            spawn_many(&program, SPAWNS)?
        }
        Act::Change => {
            change_many(bench, WARM_UP)?;
            change_many(bench, OPENS)?
        }
        Act::Connect => {
            connect_many(2, CONNECTIONS / 10)?;
            connect_many(2, CONNECTIONS)?
        }
        Act::ConnectAnew => {
            connect_many(1000, CONNECTIONS / 10)?;
            connect_many(1000, CONNECTIONS)?
        }
    };
    running.end()?;
    Ok(waits.summary())
}

fn open_many(paths: &[CString], count: usize, read: bool) -> Result<Histogram> {
    let mut waits = Histogram::default();
    for path in paths.iter().cycle().take(count) {
        waits.add(open_once(path, read)?);
    }
    Ok(waits)
}

fn spawn_many(program: &Path, count: usize) -> Result<Histogram> {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::inherit()).stdout(Stdio::inherit());
    let mut waits = Histogram::default();
    for _ in 0..count {
        let start = now();
        let status = command.spawn()?.wait()?;
        waits.add(now() - start);
        ensure!(status.success(), "the program ended with {status}");
    }
    Ok(waits)
}

fn change_many(bench: &Bench, count: usize) -> Result<Histogram> {
    let (path, moved) = (bench.volume.join("changed"), bench.volume.join("moved"));
    let mut waits = Histogram::default();
    for _ in 0..count {
        let start = now();
        fs::write(&path, b"x")?;
        fs::rename(&path, &moved)?;
        fs::remove_file(&moved)?;
        waits.add(now() - start);
    }
    Ok(waits)
}

/// Each in turn to one of so many ports: of two, so that none is there already.
fn connect_many(ports: u16, count: usize) -> Result<Histogram> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut waits = Histogram::default();
    for port in (9001..9001 + ports).cycle().take(count) {
        let start = now();
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        waits.add(now() - start);
    }
    Ok(waits)
}

fn ratio_of(rounds: &[Vec<Summary>], at: usize, against: usize) -> f64 {
    median(rounds.iter().map(|round| per_mille(round[at].p50, round[against].p50))) / 1000.0
}

fn per_mille(value: u64, of: u64) -> u64 {
    value * 1000 / of.max(1)
}

#[expect(clippy::cast_precision_loss, reason = "durations of less than a day")]
fn median(values: impl Iterator<Item = u64>) -> f64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0) as f64
}
