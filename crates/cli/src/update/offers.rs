//! What is offered, and what `apply` would do about it.

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use outrigger_api::settings::Releases;
use outrigger_update::store::Reader;
use serde::Serialize;

use super::choice::{self, Choice};
use super::source::Source;
use super::{Site, moment};
use crate::steps::{Step, Steps};
use crate::table::{Table, cell};
use crate::text::{FAINT, GOOD, PLAIN, STRONG, WARN};

/// What is offered of one part, beside what is in force.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    engine: EngineName,
    part: Part,
    /// The version in force.
    active: Option<String>,
    /// Where that stands: on probation, or for good.
    state: Option<State>,
    /// The newest version offered.
    offered: Option<String>,
    published: Option<String>,
    repository: String,
    /// Whether `apply` would take something.
    newer: bool,
    /// What it would take, or what waits or is held.
    next: Option<String>,
    /// `take`, `wait`, `held` or `nothing`.
    decision: &'static str,
    /// Until when it waits.
    until: Option<String>,
    /// What it waits for, or is held by.
    why: Option<String>,
    /// Newer ones that failed here before.
    known_bad: Vec<String>,
    /// Until when the repository's word for it holds.
    expires: String,
}

/// Adds what `source` offers of `engine` to `rows`; whether it could be asked.
pub(super) fn look(
    site: &Site<'_>,
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
        rows.extend(row(site, reader, source, engine, part, &releases)?);
    }
    Ok(true)
}

fn row(
    site: &Site<'_>,
    reader: &Reader,
    source: &mut Source,
    engine: &EngineName,
    part: Part,
    releases: &Releases,
) -> Result<Option<Row>> {
    let active = reader.active(engine, part)?;
    let latest = releases.latest(part);
    if active.is_none() && latest.is_none() {
        return Ok(None);
    }
    let now = Timestamp::now();
    let chosen = choice::choose(site, reader, source, engine, part, releases, now)?;
    let (decision, next, until, why) = match &chosen.choice {
        Choice::Nothing => ("nothing", None, None, None),
        Choice::Take(next) => ("take", Some(&next.version), None, None),
        Choice::Wait(version, until, why) => {
            ("wait", Some(version), Some(*until), Some(why.to_string()))
        }
        Choice::Held(version, why) => ("held", Some(version), None, Some(why.to_string())),
    };
    Ok(Some(Row {
        engine: engine.clone(),
        part,
        state: active.as_ref().map(|active| active.state),
        active: active.map(|active| active.version.to_string()),
        offered: latest.map(|offered| offered.version.to_string()),
        published: latest.map(|offered| offered.published.clone()),
        repository: source.name.clone(),
        newer: decision == "take",
        next: next.map(ToString::to_string),
        decision,
        until: until.map(|until| until.to_string()),
        why,
        known_bad: chosen.bad.iter().map(|(version, _)| version.to_string()).collect(),
        expires: source.versions.expires.to_string(),
    }))
}

/// Tells what is offered.
pub(super) fn tell(rows: &[Row], steps: &mut Steps<'_>) -> Result<()> {
    if steps.is_json() {
        return Ok(rows.iter().try_for_each(|row| steps.line(row))?);
    }
    if rows.is_empty() {
        return Ok(steps.text("nothing is offered\n")?);
    }
    let mut table =
        Table::new(&["ENGINE", "PART", "IN FORCE", "OFFERED", "PUBLISHED", "FROM", "NEXT"]);
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for row in rows {
        table.row([
            cell(row.engine.as_str()).style(STRONG),
            cell(row.part.name()),
            cell(&or_none(&row.active)),
            cell(&or_none(&row.offered)).style(if row.newer { GOOD } else { PLAIN }),
            cell(&or_none(&row.published)),
            cell(&row.repository),
            cell(&row.in_words()).style(match row.decision {
                "take" => GOOD,
                "nothing" => FAINT,
                _ => WARN,
            }),
        ]);
    }
    let mut out = String::new();
    table.write(&mut out);
    let newer = rows.iter().filter(|row| row.newer).count();
    out += match newer {
        0 => "\n  apply would take nothing of it now\n",
        _ => "\n  take what is newer with: outrigger update apply\n",
    };
    Ok(steps.text(&out)?)
}

impl Row {
    /// What `apply` would do.
    fn in_words(&self) -> String {
        let next = self.next.as_deref().unwrap_or_default();
        let why = self.why.as_deref().unwrap_or_default();
        let mut out = match self.decision {
            "take" => format!("{next} now"),
            "wait" => {
                let until = self.until.as_ref().and_then(|until| until.parse().ok());
                let until = until.map(moment).unwrap_or_default();
                format!("{next} from {until}: {why}")
            }
            "held" => format!("{next} is held: {why}"),
            _ => String::new(),
        };
        if !self.known_bad.is_empty() {
            let before = if out.is_empty() { "" } else { "; " };
            out += &format!("{before}{} failed here before", self.known_bad.join(", "));
        }
        out
    }
}
