//! What was seen, side by side, and what is promised of it.

use std::collections::BTreeMap;
use std::fmt;

use outrigger_bench::report::{Figure, Promise, Report, shown};

use crate::side::Side;
use crate::work::{Sample, Samples, WORKS, Work};

/// Works of which two engines together must add less than the sum of what each adds alone. Compiling is not
/// among them: what either adds to it is lost in what it takes.
const SHARED: [&str; 4] = ["open_first", "open_first_user", "tar_first", "cat_first"];

/// The samples of every side and round.
#[derive(Debug, Default)]
pub(crate) struct Table {
    samples: BTreeMap<Side, BTreeMap<usize, Samples>>,
    failed: BTreeMap<Side, String>,
}

impl Table {
    pub(crate) fn add(&mut self, round: usize, side: Side, samples: Samples) {
        self.samples.entry(side).or_default().insert(round, samples);
    }

    /// Strikes the side out: what it had before it failed counts no more.
    pub(crate) fn fail(&mut self, side: Side, why: String) {
        self.samples.remove(&side);
        self.failed.insert(side, why);
    }

    pub(crate) fn has_failed(&self, side: Side) -> bool {
        self.failed.contains_key(&side)
    }

    /// The sides without figures, and why.
    pub(crate) fn failed(&self) -> &BTreeMap<Side, String> {
        &self.failed
    }

    /// Every figure by the name WORK_SIDE, and what is promised.
    pub(crate) fn report(&self) -> Report {
        let mut report = Report::default();
        for work in WORKS {
            for side in self.samples.keys() {
                report.add(format!("{}_{side}", work.name), self.figure(&work, *side));
            }
        }
        for name in SHARED {
            if let Some(figure) = self.shared(name) {
                report.add(format!("added_{name}_both"), figure);
            }
        }
        report
    }

    fn figure(&self, work: &Work, side: Side) -> Figure {
        let values = |pick: fn(Sample) -> u64| {
            sorted(self.rounds(work.name, side).map(|(_, sample)| as_figure(pick(sample))))
        };
        let p50 = values(|sample| sample.p50);
        let of_none = |(round, sample): (usize, Sample)| {
            Some(as_figure(sample.p50) / self.p50(work.name, Side::None, round)?)
        };
        let ratios = sorted(self.rounds(work.name, side).filter_map(of_none));
        Figure {
            p50: middle(&p50),
            p99: if work.is_rate() { p50[0] } else { middle(&values(|sample| sample.p99)) },
            unit: if work.is_rate() { "per_s" } else { "ns" },
            vs: (side != Side::None).then(|| format!("{}_none", work.name)),
            ratio_p50: (side != Side::None && !ratios.is_empty()).then(|| middle(&ratios)),
            ratio_p50_unpinned: None,
            promise: if side == Side::Both { promise(work.name) } else { None },
        }
    }

    /// What both engines add, beside the sum of what each adds alone.
    fn shared(&self, work: &str) -> Option<Figure> {
        let added =
            |side, round| Some(self.p50(work, side, round)? - self.p50(work, Side::None, round)?);
        let rounds = self.rounds(work, Side::Both).map(|(round, _)| round);
        let both_and_sum = |round| {
            let sum = added(Side::Hashlist, round)? + added(Side::Yara, round)?;
            Some((added(Side::Both, round)?, sum))
        };
        let pairs: Vec<(f64, f64)> = rounds.filter_map(both_and_sum).collect();
        let both = sorted(pairs.iter().map(|(both, _)| *both));
        let ratios = sorted(pairs.iter().map(|(both, sum)| both / sum));
        (!pairs.is_empty()).then(|| Figure {
            p50: middle(&both),
            p99: both[both.len() - 1],
            unit: "ns",
            vs: Some(format!("added_{work}_hashlist + added_{work}_yara")),
            ratio_p50: Some(middle(&ratios)),
            ratio_p50_unpinned: None,
            promise: Some(Promise::RatioAtMost(1.0)),
        })
    }

    fn rounds(&self, work: &str, side: Side) -> impl Iterator<Item = (usize, Sample)> {
        let rounds = self.samples.get(&side).into_iter().flatten();
        rounds.filter_map(move |(round, samples)| Some((*round, *samples.get(work)?)))
    }

    fn p50(&self, work: &str, side: Side, round: usize) -> Option<f64> {
        Some(as_figure(self.samples.get(&side)?.get(&round)?.get(work)?.p50))
    }
}

/// A row per work, a column per side: the middle value and, in brackets, the ratio to nobody watching.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28}", "p50 (× none)")?;
        for side in self.samples.keys() {
            write!(f, "{side:>20}")?;
        }
        writeln!(f)?;
        for work in WORKS {
            write!(f, "{:<28}", work.title)?;
            for side in self.samples.keys() {
                let figure = self.figure(&work, *side);
                let value = shown(figure.p50, figure.unit);
                let ratio =
                    figure.ratio_p50.map_or_else(String::new, |ratio| format!(" ×{ratio:.2}"));
                write!(f, "{:>20}", value + &ratio)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// What is promised of the platform with both engines.
fn promise(work: &str) -> Option<Promise> {
    Some(match work {
        "open_first" | "open_first_user" => Promise::AtMost(100_000.0),
        "open_known" | "open_known_user" | "tar_known" | "cat_known" | "gcc_known" => {
            Promise::RatioAtMost(1.15)
        }
        "tar_first" | "cat_first" | "gcc_first" => Promise::RatioAtMost(1.5),
        "spawn" => Promise::RatioAtMost(1.1),
        _ => return None,
    })
}

#[expect(clippy::cast_precision_loss, reason = "durations of less than a day")]
fn as_figure(value: u64) -> f64 {
    value as f64
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle one of sorted values.
fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
