//! What an open costs with the plane attached, against what it costs without.
//!
//! Every side is measured in the same guest, one after the other in each round, so that what slows the machine slows
//! all of them; what counts is the median of the rounds' ratios. The processor is emulated, so that only
//! ratios mean something.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use outrigger_api::{Event, EventSet, Mode};
use outrigger_decision::rules::{
    Comparison, Condition, Effect, Image, LineageKey, MarkNames, Number, Pattern, Rule, Source,
    Text, compile,
};
use outrigger_sensor::plane::{Plane, Settings};

use crate::report::{Report, say};

/// The role of the process that opens.
pub(crate) const OPENS: &str = "bench-opens";
/// Where its file lies.
const FOLDER: &str = "/var/lib/bench";
/// Rounds of every side.
const ROUNDS: usize = 31;
/// Opens in each.
const OPENS_EACH: u32 = 500;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// No program is attached.
    Bare,
    /// Ten rules look at it, and one allows it.
    Ten,
    /// A thousand do, and one allows it.
    Thousand,
    /// An engine wants to be told of opens elsewhere.
    Muted,
}

const SIDES: [Side; 4] = [Side::Bare, Side::Ten, Side::Thousand, Side::Muted];

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

    /// ns per open of one round.
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

/// Measures all sides and holds them to what is promised.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    fs::create_dir_all(FOLDER)?;
    let path = Path::new(FOLDER).join("file");
    fs::write(&path, [b'x'; 4096])?;
    let settings = Settings { ring: 1 << 20, ..Settings::default() };
    let key = LineageKey(settings.lineage_key);
    let mut plane = Plane::open(&settings)?;
    let mut opener = Opener::start(&path)?;
    opener.round()?;
    let mut times = [const { Vec::new() }; SIDES.len()];
    for round in 0..ROUNDS {
        for (side, times) in SIDES.iter().zip(&mut times) {
            let generation = u64::try_from(round * SIDES.len() + *side as usize + 1)?;
            put(&mut plane, *side, &key, generation)?;
            // The first opens find nothing remembered.
            opener.round()?;
            times.push(opener.round()?);
        }
    }
    let [bare, ten, thousand, muted] = times.map(|times| times);
    for (what, times) in
        [("bare", &bare), ("ten rules", &ten), ("thousand rules", &thousand), ("muted", &muted)]
    {
        say(format_args!("{what}: {:.0} ns per open", median(times.clone())));
    }
    for (name, over, under, limit) in [
        ("rule_decision_to_no_agent", &ten, &bare, 1.2),
        ("muted_event_to_no_agent", &muted, &bare, 1.05),
        ("thousand_rules_to_ten", &thousand, &ten, 1.5),
    ] {
        let ratios = over.iter().zip(under).map(|(over, under)| over / under).collect();
        let ratio = median(ratios);
        report.test(&format!("bench::{name}"), || {
            let said = format!("{ratio:.3} of {limit}");
            ensure!(ratio <= limit, "{said}");
            Ok(said)
        });
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Makes of the plane what a side has.
fn put(plane: &mut Plane, side: Side, key: &LineageKey, generation: u64) -> Result<()> {
    let opens = EventSet::EMPTY.with(Event::FileOpen);
    if side == Side::Bare {
        plane.attach(EventSet::EMPTY, EventSet::EMPTY)?;
        return Ok(());
    }
    plane.set_rules(image(side, key, generation)?.bytes())?;
    match side {
        Side::Muted => plane.attach(opens, EventSet::EMPTY)?,
        _ => plane.attach(EventSet::EMPTY, opens)?,
    }
    Ok(())
}

fn image(side: Side, key: &LineageKey, generation: u64) -> Result<Image> {
    let rule = |name: String, effect, when| Rule {
        name,
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect,
        events: vec![Event::FileOpen],
        when,
    };
    let below = |folder: &str| text(Text::Path, Pattern::Begins(format!("{folder}/")));
    let rules = match side {
        Side::Muted => vec![rule("told".to_owned(), Effect::Tell(0), below("/etc"))],
        _ => {
            let count = if side == Side::Thousand { 1000 } else { 10 };
            let others = (1..count)
                .map(|number| rule(format!("denied {number}"), Effect::Deny, elsewhere(number)));
            let allowed = rule("allowed".to_owned(), Effect::Allow, below(FOLDER));
            others.chain([allowed]).collect()
        }
    };
    Ok(compile(&rules, key, generation, &MarkNames::default())?.image)
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
