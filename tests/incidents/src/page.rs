//! The page that tells how each incident ended, for people who read no test.

use std::fmt::Write as _;

use anyhow::Result;

use crate::outcome::{Ended, Outcome};
use crate::scenario::elsewhere;
use crate::table;

/// Most characters of what the operator saw.
const TOLD: usize = 160;

/// The page.
pub(crate) fn of(outcomes: &[Outcome]) -> Result<String> {
    let mut page = String::from(
        "<!-- written by `make incidents` from what came of tests/incidents/scenarios -->\n\
         # Incidents\n\n\
         Updates of security products have taken machines down, by the same few faults. Each is played here: a release \
         with that fault is published to a signed repository and taken with `outrigger update apply` by a machine on \
         which the release before decides and eight threads open files. `make incidents` plays all of them and writes \
         this page; `make incidents-quick` plays a dozen.\n\n\
         - *Caught by*: the step that stopped it. What *probation* stopped was in force, and was rolled back.\n\
         - *Wrong denials*: opens of clean files that were refused.\n\
         - *Longest wait*: of all opens from before the release was offered until after it was gone, beside what is \
         promised.\n\
         - *Recovery*: from the first thing that went wrong in force until the release before decided again.\n\n\
         In each it is checked besides that nothing that the machine needs was denied, that the repository was out of \
         reach from preflight on, that the host was the same process before and after, that it never reported itself \
         healthy while an engine was gone or decided nothing, that the engine of another vendor beside it noticed \
         nothing, that the history tells how it ended, and that the same release offered again is refused as known to \
         be bad. Where a release is said to have passed preflight although preflight would stop it, the test laid it \
         into its slot itself, to show what would happen.\n",
    );
    let held = outcomes.iter().filter(|one| one.holds() && one.skipped.is_none()).count();
    writeln!(
        page,
        "\n{held} of {} scenarios held in the run that wrote this page.",
        outcomes.len()
    )?;
    let mut likes: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if !likes.contains(&outcome.like.as_str()) {
            likes.push(&outcome.like);
        }
    }
    for like in likes {
        write!(
            page,
            "\n## {like}\n\n| What | Caught by | Wrong denials | Longest wait | Recovery | What the operator saw \
             |\n|---|---|---|---|---|---|\n"
        )?;
        for outcome in outcomes.iter().filter(|outcome| outcome.like == like) {
            write_rows(&mut page, outcome)?;
        }
    }
    page.push_str("\n## Not played here\n\n| What | Why | Shown by |\n|---|---|---|\n");
    for line in elsewhere()? {
        let shown: Vec<String> = line.shown_by.iter().map(|name| format!("`{name}`")).collect();
        let shown = if shown.is_empty() { "–".to_owned() } else { shown.join(", ") };
        writeln!(page, "| {} | {} | {shown} |", cell(&line.like), cell(&line.why))?;
    }
    Ok(page)
}

fn write_rows(page: &mut String, outcome: &Outcome) -> Result<()> {
    let (id, what) = (&outcome.id, cell(&outcome.what));
    if let Some(why) = &outcome.skipped {
        return Ok(writeln!(page, "| {what} (`{id}`) | not played: {} | | | | |", cell(why))?);
    }
    let longest = format!("{:.1} of {:.0} ms", outcome.longest_ms, outcome.allowed_ms);
    let denials = outcome.wrong_denials;
    let (stage, told) = match outcome.releases.as_slice() {
        [one] => (stopped_by(one, outcome), words(one)),
        several => (format!("{} releases, each below", several.len()), String::new()),
    };
    let recovery = table::recovery(outcome);
    writeln!(page, "| {what} (`{id}`) | {stage} | {denials} | {longest} | {recovery} | {told} |")?;
    if outcome.releases.len() > 1 {
        for one in &outcome.releases {
            let (release, what) = (&one.release, cell(&one.what));
            let stage = stopped_by(one, outcome);
            writeln!(page, "| {release}: {what} | {stage} | | | | {} |", words(one))?;
        }
    }
    for wrong in outcome.wrong.iter().chain(&outcome.late) {
        writeln!(page, "| **does not hold**: {} | | | | | |", cell(wrong))?;
    }
    Ok(())
}

fn stopped_by(one: &Ended, outcome: &Outcome) -> String {
    let name = one.stage.name();
    if outcome.wrong.is_empty() { format!("**{name}**") } else { name.to_owned() }
}

fn words(one: &Ended) -> String {
    let told = without_places(&one.told);
    let text = match told.char_indices().nth(TOLD) {
        Some((at, _)) => format!("{}…", &told[..at]),
        None => told,
    };
    format!("`{}`", cell(&text).replace('`', "'"))
}

/// `text` without the folders of the world that it was played in and of the programs: they are other ones each time.
fn without_places(text: &str) -> String {
    let world = std::env::temp_dir().join("outrigger-world-").display().to_string();
    let mut parts = text.split(&world);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // Of the folder's name this is the random rest.
        out += part.trim_start_matches(|one: char| one.is_ascii_alphanumeric());
    }
    let programs = std::env::current_exe().ok();
    match programs.as_deref().and_then(std::path::Path::parent) {
        Some(folder) => out.replace(&folder.display().to_string(), ""),
        None => out,
    }
}

/// `text` as it can stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_others_each_time_are_left_out() {
        let world = std::env::temp_dir().join("outrigger-world-aB3x9Z");
        let told = format!("rejected: file.open {}/protected/known-7: no", world.display());

        assert_eq!(without_places(&told), "rejected: file.open /protected/known-7: no");
    }
}
