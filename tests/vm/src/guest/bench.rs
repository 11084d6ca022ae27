//! What an open costs with the plane attached, against what it costs without.
//!
//! Every side is measured in the same guest, one after the other in each of many rounds. The guest's clock counts
//! instructions, one a nanosecond (`job.rs`: `Clock`), so that the ratios are the same on a busy machine and on a quiet
//! one; what one instruction takes longer than another is not in them.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use outrigger_api::{Event, EventSet, Mode};
use outrigger_decision::rules::{
    Comparison, Condition, Effect, Image, LineageKey, MarkNames, Number, Pattern, Process, Rule,
    Source, Text, compile,
};
use outrigger_sensor::group::{Group, Mask};
use outrigger_sensor::lease;
use outrigger_sensor::plane::{Plane, Settings};
use outrigger_vm_tests::{MEASURED, Measured, fact};
use rustix::mount::{MountFlags, mount};

use crate::report::{Report, say};

/// The role of the process that opens.
pub(crate) const OPENS: &str = "bench-opens";
/// Where its file lies.
const FOLDER: &str = "/var/lib/bench";
/// Rounds of every side.
const ROUNDS: usize = 15;
/// Opens in each.
const OPENS_EACH: u32 = 100;
/// As the plane has it by itself.
const KEY: LineageKey = LineageKey([0; 16]);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// No program is attached.
    Bare,
    /// A program is, and does nothing: what the kernel takes for the call alone.
    Called,
    /// Ten rules look at it, and one allows it.
    Ten,
    /// A thousand do, and one allows it.
    Thousand,
    /// An engine wants to be told of opens elsewhere.
    MutedByPath,
    /// An engine wants to be told of opens by other programs.
    MutedByTree,
    /// An engine wanted to be told of opens, and muted them.
    MutedByEvent,
    /// An engine is told of each.
    Told,
    /// Engines have allowed the content, which the kernel keeps; no program is attached.
    CachedAlone,
    /// The same, and ten rules look at it.
    Cached,
}

const SIDES: [Side; 10] = [
    Side::Bare,
    Side::Called,
    Side::Ten,
    Side::Thousand,
    Side::MutedByPath,
    Side::MutedByTree,
    Side::MutedByEvent,
    Side::Told,
    Side::CachedAlone,
    Side::Cached,
];

/// The figures: one side against another, and the most that is promised of it.
const FIGURES: [(&str, Side, Side, Option<f64>); 10] = [
    ("open_called", Side::Called, Side::Bare, None),
    ("open_ten_rules", Side::Ten, Side::Bare, Some(1.2)),
    ("open_thousand_rules", Side::Thousand, Side::Bare, None),
    ("thousand_rules_to_ten", Side::Thousand, Side::Ten, Some(1.5)),
    ("open_muted_by_event", Side::MutedByEvent, Side::Bare, Some(1.05)),
    ("open_muted_by_tree", Side::MutedByTree, Side::Bare, Some(1.05)),
    ("open_muted_by_path", Side::MutedByPath, Side::Bare, Some(1.05)),
    ("open_cached", Side::CachedAlone, Side::Bare, Some(1.15)),
    ("open_cached_ten_rules", Side::Cached, Side::Bare, None),
    ("open_told", Side::Told, Side::Bare, None),
];

/// Opens, reads and closes a file as often as a round has it, whenever a line comes; says how long that took, ns.
pub(crate) fn opens(path: &str) -> Result<()> {
    let mut byte = [0; 64];
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        for _ in 0..OPENS_EACH {
            File::open(path)?.read_exact(&mut byte)?;
        }
        say(start.elapsed().as_nanos());
    }
    Ok(())
}

/// The process that opens; it ends with the value.
struct Opener {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Opener {
    fn start(path: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(OPENS)
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("its orders are a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("its answers are a pipe")?);
        Ok(Self { child, orders, answers })
    }

    /// Instructions per open of one round.
    fn round(&mut self) -> Result<f64> {
        self.orders.write_all(b"go\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let took: f64 = line.trim().parse().with_context(|| format!("it said {line:?}"))?;
        Ok(took / f64::from(OPENS_EACH))
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What all sides share.
struct Bench {
    plane: Plane,
    group: Group,
    /// The file that is opened: its lease is kept where the kernel keeps that it was allowed.
    known: File,
    /// The rules of each side, in their order.
    images: Vec<Image>,
}

/// Measures all sides and says what came of it. A figure that is not as promised is no failure: a side that did not do
/// what it stands for is ([`Bench::end`]).
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.test("bench::every_side_is_measured", || {
        let figures = measure()?;
        for figure in &figures {
            say(fact(MEASURED, &serde_json::to_string(figure)?));
        }
        Ok(format!("{} figures, {} sides, {ROUNDS} rounds", figures.len(), SIDES.len()))
    });
    Ok(())
}

fn measure() -> Result<Vec<Measured>> {
    fs::create_dir_all(FOLDER)?;
    mount("tmpfs", FOLDER, "tmpfs", MountFlags::empty(), None)?;
    let path = Path::new(FOLDER).join("file");
    fs::write(&path, [b'x'; 4096])?;
    let mut bench = Bench {
        plane: Plane::open(&Settings { ring: 1 << 20, ..Settings::default() })?,
        group: Group::open(false)?,
        known: File::open(&path)?,
        images: Vec::new(),
    };
    for (number, side) in SIDES.iter().enumerate() {
        let generation = u64::try_from(number + 1)?;
        bench.images.push(compile(&rules(*side), &KEY, generation, &MarkNames::default())?.image);
    }
    let mut opener = Opener::start(&path)?;
    opener.round()?;
    let mut times = [const { Vec::new() }; SIDES.len()];
    for _ in 0..ROUNDS {
        for (side, times) in SIDES.iter().zip(&mut times) {
            bench.begin(*side)?;
            // The first opens find nothing remembered.
            opener.round()?;
            times.push(opener.round()?);
            bench.end(*side)?;
        }
    }
    let of = |side| {
        let found = SIDES.iter().zip(&times).find(|(one, _)| **one == side);
        found.map(|(_, times)| times).context("every side is measured")
    };
    let figures = FIGURES.into_iter().map(|(figure, over, under, at_most)| {
        let (over, under) = (of(over)?, of(under)?);
        let ratios = over.iter().zip(under).map(|(over, under)| over / under).collect();
        Ok(Measured {
            figure: figure.to_owned(),
            instructions: median(over.clone()).round(),
            against: median(under.clone()).round(),
            ratio: median(ratios),
            at_most,
        })
    });
    figures.collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Bench {
    /// Sets up what a side has.
    fn begin(&mut self, side: Side) -> Result<()> {
        let opens = EventSet::EMPTY.with(Event::FileOpen);
        let image = self.images.get(side as usize).context("every side has rules")?;
        self.plane.set_rules(image.bytes())?;
        self.plane.measure_the_call(side == Side::Called)?;
        match side {
            Side::Bare | Side::Called | Side::MutedByEvent | Side::CachedAlone => {}
            _ => self.plane.attach(opens, opens)?,
        }
        if matches!(side, Side::Cached | Side::CachedAlone) {
            let known = self.known.as_raw_fd();
            self.group.mark_file_system(&CString::new(FOLDER)?, Mask::of(opens))?;
            lease::take(known, std::process::id())?;
            self.group.ignore_file(known, Mask::of(opens))?;
        }
        Ok(())
    }

    /// Takes it down again; what was told is as the side has it.
    fn end(&mut self, side: Side) -> Result<()> {
        let opens = Mask::of(EventSet::EMPTY.with(Event::FileOpen));
        if matches!(side, Side::Cached | Side::CachedAlone) {
            lease::forget(self.group, self.known.as_raw_fd(), opens);
            self.group.unmark_file_system(&CString::new(FOLDER)?, opens)?;
        }
        self.plane.attach(EventSet::EMPTY, EventSet::EMPTY)?;
        let mut seen = Vec::new();
        self.plane.drain(&mut seen)?;
        ensure!(
            seen.is_empty() == (side != Side::Told),
            "{side:?}: {} opens were told",
            seen.len()
        );
        Ok(())
    }
}

/// The rules of a side.
fn rules(side: Side) -> Vec<Rule> {
    let rule = |name: String, effect, when| Rule {
        name,
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect,
        events: vec![Event::FileOpen],
        when,
    };
    let below = |folder: &str| text(Text::Path, Pattern::Begins(format!("{folder}/")));
    let told = |when| vec![rule("told".to_owned(), Effect::Tell(0), when)];
    let count = match side {
        Side::Bare | Side::Called | Side::MutedByEvent | Side::CachedAlone => 0,
        Side::MutedByPath => return told(below("/etc")),
        Side::MutedByTree => {
            let program = "/usr/sbin/sshd".to_owned();
            return told(Condition::Descends { process: Process::Subject, program });
        }
        Side::Told => return told(below(FOLDER)),
        Side::Ten | Side::Cached => 10,
        Side::Thousand => 1000,
    };
    let others =
        (1..count).map(|number| rule(format!("denied {number}"), Effect::Deny, elsewhere(number)));
    others.chain([rule("allowed".to_owned(), Effect::Allow, below(FOLDER))]).collect()
}

/// A condition of one of the kinds that policies have, which does not hold here.
fn elsewhere(number: u64) -> Condition {
    let program = format!("/opt/vendor-{number}/bin/agent");
    match number % 4 {
        0 => text(Text::Path, Pattern::Begins(format!("/srv/customer-{number}/"))),
        1 => text(Text::Path, Pattern::Ends(format!(".kind-{number}"))),
        2 => Condition::Number {
            place: Number::SubjectUid,
            is: Comparison::Is,
            value: 10_000 + number,
        },
        _ => text(Text::Exe, Pattern::Is(program)),
    }
}

fn text(place: Text, is: Pattern) -> Condition {
    Condition::Text { place, is }
}
