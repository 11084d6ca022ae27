//! The table: what became of each guest, and whether that is what its row is there to show.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::machine::End;
use crate::versus::seen::Seen;

/// What a kernel says of the read past the inputs.
const OOPS: &str = "BUG: ";
const PANIC: &str = "Kernel panic";

/// One side.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    side: String,
    happened: String,
    down: String,
    /// How long the machine was watched after the update, s, and how long of that it was down.
    watched_s: f64,
    down_s: f64,
    opens_before: u64,
    opens_after: u64,
    programs_before: u64,
    programs_after: u64,
    longest_ms: u64,
    boots_failed: usize,
    hands: String,
    /// What is otherwise than it has to be.
    pub(super) wrong: Vec<String>,
}

impl Row {
    fn new(seen: &Seen) -> Self {
        let before = seen.base().cloned().unwrap_or_default();
        // Where nothing came after the update, nothing was done.
        let after = seen.after.clone().unwrap_or_else(|| before.clone());
        let mut wrong = seen.wrong.clone();
        if before.opens == 0 || before.programs == 0 {
            wrong.push("the machine did not work before the update".to_owned());
        }
        Self {
            side: String::new(),
            happened: String::new(),
            down: "not at all".to_owned(),
            watched_s: seen.watched.as_secs_f64(),
            down_s: 0.0,
            opens_before: before.opens,
            opens_after: after.opens.saturating_sub(before.opens),
            programs_before: before.programs,
            programs_after: after.programs.saturating_sub(before.programs),
            longest_ms: after.longest_ms,
            boots_failed: 0,
            hands: "none".to_owned(),
            wrong,
        }
    }

    /// Names the side.
    pub(super) fn of(self, side: &str) -> Self {
        Self { side: side.to_owned(), ..self }
    }

    fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }
}

/// A kernel that panics at the first oops: the machine is gone, and every boot ends the same way.
pub(super) fn panicked(seen: &Seen) -> Row {
    let mut row = Row::new(seen);
    let (panics, _) = seen.kernel_said(PANIC);
    let oops = seen.kernel_said(OOPS).1.unwrap_or_default();
    row.boots_failed = seen.boots_again().saturating_sub(1);
    row.happened = format!("`{oops}`, panic; the module loads at boot: panic again");
    row.down_s = row.watched_s;
    row.down =
        format!("for good: {} boots within {:.0} s, none came up", row.boots_failed, row.watched_s);
    row.hands = "at each machine: boot it without the module".to_owned();
    row.must(seen.ended == Some(End::Enough), || format!("it ended otherwise: {:?}", seen.ended));
    row.must(panics > row.boots_failed, || format!("the kernel panicked {panics} times only"));
    row.must(seen.beats_of_later_boots == 0, || "a later boot came up".to_owned());
    row
}

/// A kernel that goes on after an oops: who meets the fault is ended.
pub(super) fn limped(seen: &Seen) -> Row {
    let mut row = Row::new(seen);
    let (oopses, oops) = seen.kernel_said(OOPS);
    let after = seen.after.clone().unwrap_or_default();
    let removed = seen.fact("rmmod").unwrap_or_default().to_owned();
    row.happened = format!(
        "`{}`; the kernel goes on and ends whoever opens a file: {oopses} oopses, {} of {} openers are \
         left, {} programs did not start",
        oops.unwrap_or_default(),
        after.alive,
        after.openers,
        after.programs_failed
    );
    row.down_s = row.watched_s;
    row.down = "up, but of no use: no file is opened, no program starts".to_owned();
    row.hands = format!("at each machine: the same (`rmmod` ended by {removed})");
    row.must(oopses > 1, || format!("the kernel said {oopses} oopses"));
    row.must(seen.boots_again() == 0, || "it booted again".to_owned());
    row.must(seen.after.is_some() && after.alive == 0, || format!("openers are left: {after:?}"));
    row.must(row.programs_after <= 1, || "programs were started".to_owned());
    row.must(removed.starts_with("signal"), || format!("the module was removed: {removed}"));
    row
}

/// A docked engine: its platform does not take the update.
pub(super) fn refused(seen: &Seen) -> Row {
    let why = first_part(seen.fact("rejected"));
    docked(seen, &[], format!("preflight: {why}; not taken, nor when offered again"))
}

/// The same, where only the events of the machine show what is wrong.
pub(super) fn refused_in_shadow(seen: &Seen) -> Row {
    let why = first_part(seen.fact("rejected"));
    docked(seen, &[], format!("shadow: {why}; never decided, not taken when offered again"))
}

/// The same, where it shows only once the update decides.
pub(super) fn rolled_back(seen: &Seen) -> Row {
    let why = first_part(seen.fact("rejected"));
    let recovered = seen.fact("recovered").unwrap_or_default();
    let happened = format!("probation: {why}; {recovered}; not taken when offered again");
    docked(seen, &["recovered"], happened)
}

/// What is said before the first semicolon.
fn first_part(text: Option<&str>) -> &str {
    text.and_then(|text| text.split(';').next()).unwrap_or_default()
}

/// A machine that works on, whatever became of the update; `facts` and those of every such row are told.
fn docked(seen: &Seen, facts: &[&str], happened: String) -> Row {
    let mut row = Row::new(seen);
    row.happened = format!("{happened}; what was in force decides");
    row.must(seen.ended == Some(End::Exit(0)), || format!("it ended otherwise: {:?}", seen.ended));
    row.must(seen.boots_again() == 0, || "it booted again".to_owned());
    row.must(row.opens_after > 0, || "nothing was opened after the update".to_owned());
    row.must(row.programs_after > 0, || "no program was started after the update".to_owned());
    for fact in ["rejected", "way", "again", "in-force", "waits"].iter().chain(facts) {
        row.must(seen.fact(fact).is_some(), || format!("nothing was said of {fact:?}"));
    }
    row
}

/// The rows as a table of Markdown.
pub(super) struct Table<'a>(pub(super) &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| side | what happened | machine down for | opens answered, before and after | programs started | \
             longest open | hands needed |\n|---|---|---|---|---|---|---|"
        )?;
        for row in self.0 {
            writeln!(
                f,
                "| {} | {} | {} | {}, {} | {}, {} | {} ms | {} |",
                row.side,
                row.happened,
                row.down,
                row.opens_before,
                row.opens_after,
                row.programs_before,
                row.programs_after,
                row.longest_ms,
                row.hands
            )?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Report<'a> {
    kernel: &'a str,
    rows: &'a [Row],
}

/// Writes them as JSON.
pub(super) fn write(file: &Path, kernel: &str, rows: &[Row]) -> Result<()> {
    let wrong = || format!("cannot write {}", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(wrong)?;
    }
    fs::write(file, serde_json::to_string_pretty(&Report { kernel, rows })? + "\n")
        .with_context(wrong)
}
