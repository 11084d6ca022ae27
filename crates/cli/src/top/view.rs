//! What of a ledger is shown: a headline and rows, the same for the screen and for a printed table.

use outrigger_api::control::EngineState;
use outrigger_api::ledger::{Cost, EngineLedger, Ledger, Times, Waits};

use crate::text::{counted, number, percent, size, span, uptime, visible};

/// The columns' heads, in the order of [`Row::cells`].
pub(crate) const HEADS: [&str; COLUMNS] = [
    "ENGINE",
    "STATE",
    "OPENERS WAIT",
    "SHARE",
    "P50",
    "P99",
    "VOTE P99",
    "ASKED/S",
    "ALLOW",
    "DENY",
    "ABSTAIN",
    "MISS",
    "LOST",
    "DROP",
    "TOLD",
    "UNTOLD",
    "CPU",
    "MEMORY",
    "RESTARTS",
];
/// How many columns there are.
pub(crate) const COLUMNS: usize = 19;
/// The column in which the bar stands.
pub(crate) const BAR: usize = 2;
/// The columns that are left out where there is no room, the first that is to go first.
pub(crate) const LEFT_OUT: [usize; 13] = [14, 10, 13, 8, 12, 15, 6, 9, 18, 7, 4, 1, 17];
/// Columns whose text stands left.
pub(crate) const LEFT: [usize; 3] = [0, 1, BAR];

/// An engine, or one of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Whether it is an engine; else an event of the one above.
    pub(crate) is_engine: bool,
    pub(crate) state: EngineState,
    /// Its part of all the time that openers waited for engines lately, in 1,000.
    pub(crate) share: u64,
    /// What stands in each column; the bar's is empty.
    pub(crate) cells: [String; COLUMNS],
}

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Host and time.
    pub(crate) host: String,
    /// The one thing to know.
    pub(crate) headline: String,
    /// How much the headline matters, by the share it tells; 0 where nobody waits.
    pub(crate) worst: u64,
    /// The questions of the whole.
    pub(crate) questions: String,
    /// What the cache does.
    pub(crate) cache: String,
    /// Engines, each followed by its events.
    pub(crate) rows: Vec<Row>,
}

impl View {
    /// What `ledger` says; rates since `before`, or, where there is none, since the host began.
    pub(crate) fn new(ledger: &Ledger, before: Option<&Ledger>) -> Self {
        // Another host has new books.
        let before = before.filter(|before| before.uptime_ms < ledger.uptime_ms);
        let period = Period::of(ledger);
        let added = |engine: &EngineLedger| period.times(&engine.whole.added).sum_ns;
        let all = ledger.engines.iter().map(added).sum();
        let told = Told { ledger, before, period, all };
        let (headline, worst) = told.headline();
        Self {
            host: host(ledger),
            headline,
            worst,
            questions: questions(ledger),
            cache: cache(ledger),
            rows: ledger.engines.iter().flat_map(|engine| told.rows(engine)).collect(),
        }
    }
}

/// Of when times are shown: of every engine the same, so that they can be compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Period {
    /// Lately.
    Recent,
    /// Since the host began, where nobody waited lately.
    Total,
}

impl Period {
    fn of(ledger: &Ledger) -> Self {
        let waited = |engine: &EngineLedger| engine.whole.added.recent.sum_ns > 0;
        if ledger.engines.iter().any(waited) { Self::Recent } else { Self::Total }
    }

    fn times(self, waits: &Waits) -> Times {
        match self {
            Self::Recent => waits.recent,
            Self::Total => waits.total,
        }
    }
}

/// What the rows are made of.
struct Told<'a> {
    ledger: &'a Ledger,
    before: Option<&'a Ledger>,
    period: Period,
    /// How long openers waited for all engines, ns.
    all: u64,
}

fn host(ledger: &Ledger) -> String {
    format!("outriggerd {}, up {}", visible(&ledger.version), uptime(ledger.uptime_ms / 1000))
}

fn questions(ledger: &Ledger) -> String {
    let counters = &ledger.counters;
    let sum = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    };
    format!(
        "{}, {} denied, {}, {} open now",
        counted(sum(&counters.asked), "question"),
        number(counters.denied),
        counted(sum(&counters.fallbacks), "fallback"),
        number(ledger.descriptors.in_flight.into()),
    )
}

fn cache(ledger: &Ledger) -> String {
    let (counters, descriptors) = (&ledger.counters, &ledger.descriptors);
    format!(
        "{} of {} files cached; {} put in, {} dropped for a writer, {} to make room; \
         {} of empty files asked nobody; those of cached files cannot be counted",
        number(descriptors.leases.into()),
        number(descriptors.leases_max.into()),
        number(counters.cached),
        number(counters.lease_breaks),
        number(counters.evicted),
        counted(counters.empty, "open"),
    )
}

impl Told<'_> {
    /// Which engine openers wait for most, and its part in 1,000.
    fn headline(&self) -> (String, u64) {
        let Some(engine) = self.ledger.engines.first() else {
            return ("no engine is configured".to_owned(), 0);
        };
        let Times { sum_ns, p99_ns, .. } = self.period.times(&engine.whole.added);
        if sum_ns == 0 {
            return ("nobody has waited for an engine".to_owned(), 0);
        }
        let share = per_mille(sum_ns, self.all);
        let when = match self.period {
            Period::Recent => format!("in the last {} s", self.ledger.recent_ms.div_ceil(1000)),
            Period::Total => "since the host began, nobody lately".to_owned(),
        };
        let text = format!(
            "openers wait most for {}: {} of all waiting for engines, p99 {} ({when})",
            engine.name,
            percent(share),
            span(p99_ns),
        );
        (text, share)
    }

    /// The engine's row, and one for each of its events.
    fn rows(&self, engine: &EngineLedger) -> Vec<Row> {
        let earlier = self
            .before
            .and_then(|before| before.engines.iter().find(|then| then.name == engine.name));
        let since = self.before.filter(|_| earlier.is_some());
        let ms = self.ledger.uptime_ms - since.map_or(0, |before| before.uptime_ms);
        let row = |name: &str, cost: &Cost, earlier: Option<&Cost>| {
            let share = per_mille(self.period.times(&cost.added).sum_ns, self.all);
            let asked = cost.asked.saturating_sub(earlier.map_or(0, |earlier| earlier.asked));
            let cells = self.cells(name, cost, share, per_second(asked, ms));
            Row { is_engine: false, state: engine.state, share, cells }
        };
        let mut first = row(engine.name.as_str(), &engine.whole, earlier.map(|then| &then.whole));
        first.is_engine = true;
        first.cells[1] = crate::show::state(engine.state).0.to_owned();
        first.cells[16] = engine.cpu_ns.map_or_else(nothing, |now| {
            let used = now.saturating_sub(earlier.and_then(|then| then.cpu_ns).unwrap_or(0));
            percent(per_mille(used / 1_000_000, ms))
        });
        first.cells[17] = engine.memory_bytes.map_or_else(nothing, size);
        first.cells[18] = number(engine.restarts);
        let events = engine.events.iter().map(|(event, cost)| {
            let earlier = earlier.and_then(|then| then.events.get(event));
            row(&format!("  {}", visible(event)), cost, earlier)
        });
        std::iter::once(first).chain(events).collect()
    }

    /// What an engine's row and an event's have in common.
    fn cells(&self, name: &str, cost: &Cost, share: u64, asked: String) -> [String; COLUMNS] {
        let time = |times: Times, value: u64| match times.count {
            0 => nothing(),
            _ => span(value),
        };
        let added = self.period.times(&cost.added);
        let answered = self.period.times(&cost.answered);
        [
            name.to_owned(),
            String::new(),
            String::new(),
            percent(share),
            time(added, added.p50_ns),
            time(added, added.p99_ns),
            time(answered, answered.p99_ns),
            asked,
            number(cost.allows),
            number(cost.denies),
            number(cost.abstains),
            number(cost.misses),
            number(cost.lost),
            number(cost.dropped),
            number(cost.told),
            number(cost.untold.values().sum()),
            String::new(),
            String::new(),
            String::new(),
        ]
    }
}

/// What stands where nothing is known.
fn nothing() -> String {
    "–".to_owned()
}

/// `part` of `whole` in 1,000; 0 of nothing.
fn per_mille(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let part = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// `count` in `ms` milliseconds, by the second.
fn per_second(count: u64, ms: u64) -> String {
    let tenths = per_mille(count, ms).saturating_mul(10);
    match tenths {
        0 => "0".to_owned(),
        1..1000 => format!("{}.{}", tenths / 10, tenths % 10),
        _ => number(tenths / 10),
    }
}
