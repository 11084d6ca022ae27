//! What releases there are and what became of them, for people and scripts.

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use outrigger_update::store::{Note, Reader, Release};
use serde::Serialize;

use super::course;
use super::source::Source;
use crate::run::Outcome;
use crate::steps::{Step, Steps};
use crate::table::{Table, cell};
use crate::text::{FAINT, GOOD, PLAIN, STRONG, WARN, WRONG, styled, visible};

/// What is offered of one part, beside what is in force.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    engine: EngineName,
    part: Part,
    /// The version in force.
    active: Option<String>,
    /// The newest version offered.
    offered: Option<String>,
    published: Option<String>,
    repository: String,
    /// Whether `apply` would take it.
    newer: bool,
    /// Until when the repository's word for it holds.
    expires: String,
}

/// Adds what `source` offers of `engine` to `rows`; whether it could be asked.
pub(super) fn offered(
    reader: &Reader,
    source: &mut Source,
    engine: &EngineName,
    steps: &mut Steps<'_>,
    rows: &mut Vec<Row>,
) -> Result<bool> {
    let releases = match source.releases(engine) {
        Ok(releases) => releases,
        Err(error) => {
            let (of, detail) = (engine.as_str(), error.to_string());
            steps.done(&Step { step: "refused", of, good: false, detail: &detail })?;
            return Ok(false);
        }
    };
    for part in Part::ALL {
        let active = reader.active(engine, part)?;
        let latest = releases.latest(part);
        if active.is_none() && latest.is_none() {
            continue;
        }
        rows.push(Row {
            engine: engine.clone(),
            part,
            active: active.map(|active| active.version.to_string()),
            offered: latest.map(|offered| offered.version.to_string()),
            published: latest.map(|offered| offered.published.clone()),
            repository: source.name.clone(),
            newer: course::newer(reader, &releases, engine, part)?.is_some(),
            expires: source.versions.expires.to_string(),
        });
    }
    Ok(true)
}

/// Tells what is offered.
pub(super) fn tell_offers(rows: &[Row], steps: &mut Steps<'_>) -> Result<()> {
    if steps.is_json() {
        return Ok(rows.iter().try_for_each(|row| steps.line(row))?);
    }
    if rows.is_empty() {
        return Ok(steps.text("nothing is offered\n")?);
    }
    let mut table = Table::new(&["ENGINE", "PART", "IN FORCE", "OFFERED", "PUBLISHED", "FROM"]);
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for row in rows {
        table.row([
            cell(row.engine.as_str()).style(STRONG),
            cell(row.part.name()),
            cell(&or_none(&row.active)),
            cell(&or_none(&row.offered)).style(if row.newer { GOOD } else { PLAIN }),
            cell(&or_none(&row.published)),
            cell(&row.repository),
        ]);
    }
    let mut out = String::new();
    table.write(&mut out);
    let newer = rows.iter().filter(|row| row.newer).count();
    out += match newer {
        0 => "\n  nothing of it is newer than what is in force\n",
        _ => "\n  take what is newer with: outrigger update apply\n",
    };
    Ok(steps.text(&out)?)
}

/// Tells the story of every release (of `engine`, if one is named).
pub(super) fn tell(
    reader: &Reader,
    engine: Option<&EngineName>,
    steps: &mut Steps<'_>,
) -> Result<Outcome> {
    let checked = reader.verify_chain();
    let releases = reader.history(engine)?;
    if steps.is_json() {
        releases.iter().try_for_each(|release| steps.line(release))?;
    } else if releases.is_empty() {
        steps.text("nothing was ever offered here\n")?;
    } else {
        let stories: Vec<String> = releases.iter().map(story).collect();
        steps.text(&stories.join("\n"))?;
    }
    match checked {
        Ok(_) => Ok(Outcome::Good),
        Err(error) => {
            let detail = error.to_string();
            steps.done(&Step {
                step: "altered",
                of: "the journal",
                good: false,
                detail: &detail,
            })?;
            Ok(Outcome::Bad)
        }
    }
}

fn story(release: &Release) -> String {
    let name = format!("{} {} {}", release.engine, release.part, release.version);
    let style = match release.state {
        State::Active => GOOD,
        State::Rejected => WRONG,
        State::Retired => FAINT,
        _ => WARN,
    };
    let mut out = format!(
        "{}  {}  {}\n",
        styled(STRONG, visible(&name)),
        styled(style, release.state),
        styled(FAINT, format_args!("from {}", visible(&release.repository)))
    );
    for step in &release.transitions {
        let reason = step.reason.as_deref().map(|reason| format!("{}: ", visible(reason)));
        let reason = reason.unwrap_or_default();
        let (at, detail) = (moment(step.at), visible(&step.detail));
        let name = step.note.map_or_else(|| step.to.name(), Note::name);
        out += &format!("  {at}  {name:<10} {reason}{detail}\n");
    }
    out
}

/// A time of the wall clock, to the second, in UTC.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
