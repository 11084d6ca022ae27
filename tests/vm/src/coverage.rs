//! What each kernel can do about each event, as guests proved it by causing the event.
//!
//! A cell is the strongest level that was seen, never one that was only promised; what the platform promises and
//! a guest does not see is a failure of the guest's job. The table is written to `target/vm/coverage.json`, and to
//! the page's own file that the reference page is made from; kernels that were not run keep what they had.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use outrigger_api::Event;
use outrigger_testkit::figures::say;
use outrigger_vm_tests::{COVERAGE, Proven};

use crate::queue::{self, Done};

/// Where the table is written.
const REPORT: &str = "target/vm/coverage.json";
/// What the platform promises: events told and events decided by rules, on this version of Linux and newer.
const PROMISED: &[(&str, Promise)] = &[
    ("6.1", Promise { told: 26, ruled: 20 }),
    ("6.12", Promise { told: 30, ruled: 25 }),
    ("7", Promise { told: 30, ruled: 25 }),
];

/// Least numbers of events.
#[derive(Debug, Clone, Copy)]
struct Promise {
    told: usize,
    ruled: usize,
}

/// Level of each event by its name, on each kernel by its name.
#[derive(Debug, Default)]
struct Table(BTreeMap<String, BTreeMap<String, String>>);

/// Takes what the guests proved into the table, which is that of `page` if there is one, and written there too; whether
/// it is as much as is promised. Nothing is written where no guest proved anything.
///
/// # Errors
///
/// If a guest's line cannot be read, or the table not be written.
pub(crate) fn gather(done: &[Done<'_>], page: Option<&Path>) -> Result<bool> {
    let proven: BTreeMap<_, Vec<Proven>> = queue::facts(done, COVERAGE)?;
    if proven.is_empty() {
        return Ok(true);
    }
    let report = Path::new(REPORT);
    let mut table = Table::read(page.unwrap_or(report))?;
    let mut enough = true;
    for (kernel, events) in proven {
        enough &= is_as_promised(kernel, &events);
        table.0.insert(kernel.to_owned(), levels(&events));
    }
    if let Some(folder) = report.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&table.0)? + "\n";
    for file in [report].into_iter().chain(page) {
        fs::write(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    say(format_args!("\n{table}"));
    say(format_args!("written to {REPORT}"));
    Ok(enough)
}

/// Whether a kernel shows as many events as are promised for it; says both.
fn is_as_promised(kernel: &str, events: &[Proven]) -> bool {
    let told = events.iter().filter(|event| event.told).count();
    let ruled = events.iter().filter(|event| event.ruled).count();
    for event in events.iter().filter(|event| !event.ruled) {
        if let Some(why) = &event.missing {
            say(format_args!("on {kernel}: {}: {why}", event.event));
        }
    }
    let Some((_, promise)) = PROMISED.iter().find(|(name, _)| *name == kernel) else {
        say(format_args!("on {kernel}: {told} events told, {ruled} decided by rules"));
        return true;
    };
    let enough = told >= promise.told && ruled >= promise.ruled;
    say(format_args!(
        "on {kernel}: {told} events told (≥ {}), {ruled} decided by rules (≥ {}){}",
        promise.told,
        promise.ruled,
        if enough { "" } else { ": FAILED, fewer than promised" }
    ));
    enough
}

/// The strongest level of each event that was tried.
fn levels(events: &[Proven]) -> BTreeMap<String, String> {
    let level = |event: &Proven| match event {
        Proven { asked: true, .. } => "Ask",
        Proven { ruled: true, .. } => "Rule",
        Proven { told: true, .. } => "Notify",
        Proven { .. } => "Missing",
    };
    events.iter().map(|event| (event.event.clone(), level(event).to_owned())).collect()
}

impl Table {
    fn read(report: &Path) -> Result<Self> {
        let text = match fs::read_to_string(report) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", report.display()));
            }
        };
        let table = serde_json::from_str(&text)
            .with_context(|| format!("{} is no table of events; remove it", report.display()))?;
        Ok(Self(table))
    }
}

/// Events in the order of the catalogue, a column per kernel.
impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed: BTreeSet<&String> = self.0.values().flat_map(BTreeMap::keys).collect();
        write!(f, "    {:<24}", "event")?;
        self.0.keys().try_for_each(|kernel| write!(f, "{kernel:<10}"))?;
        for event in Event::ALL.iter().filter(|event| listed.contains(&event.name().to_owned())) {
            write!(f, "\n    {:<24}", event.name())?;
            for levels in self.0.values() {
                write!(f, "{:<10}", levels.get(event.name()).map_or("", String::as_str))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven(event: &str, told: bool, ruled: bool) -> Proven {
        Proven { event: event.to_owned(), told, ruled, ..Proven::default() }
    }

    #[test]
    fn a_cell_is_the_strongest_level_that_was_seen() {
        let levels = levels(&[proven("net.bind", true, true), proven("net.listen", false, false)]);

        assert_eq!(levels["net.bind"], "Rule");
        assert_eq!(levels["net.listen"], "Missing");
    }

    #[test]
    fn fewer_events_than_promised_are_a_failure() {
        let told: Vec<Proven> = (0..26).map(|_| proven("x", true, true)).collect();

        assert!(is_as_promised("6.1", &told));
        assert!(!is_as_promised("6.12", &told));
        assert!(!is_as_promised("6.1", &told[1..]));
    }
}
