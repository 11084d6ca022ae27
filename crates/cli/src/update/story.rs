//! What became of each release on this machine, for people and scripts.

use anyhow::Result;
use outrigger_api::EngineName;
use outrigger_api::release::State;
use outrigger_update::store::{Note, Reader, Release, Transition};
use semver::Version;

use super::{UpdateError, moment};
use crate::run::Outcome;
use crate::steps::{Step, Steps};
use crate::table::{Table, cell};
use crate::text::{FAINT, GOOD, STRONG, WARN, WRONG, styled, visible};

/// Most characters of a reason in the list of all.
const FEW: usize = 72;

/// Tells what became of every release (of `engine`, if one is named), a line each; of one `version` its whole story.
pub(super) fn tell(
    reader: &Reader,
    engine: Option<&EngineName>,
    version: Option<&Version>,
    steps: &mut Steps<'_>,
) -> Result<Outcome> {
    let checked = reader.verify_chain();
    let mut releases = reader.history(engine)?;
    if let (Some(engine), Some(version)) = (engine, version) {
        releases.retain(|release| release.version == *version);
        if releases.is_empty() {
            let (engine, version) = (engine.clone(), version.clone());
            return Err(UpdateError::NoSuchRelease { engine, version }.into());
        }
    }
    if steps.is_json() {
        releases.iter().try_for_each(|release| steps.line(release))?;
    } else if releases.is_empty() {
        steps.text("nothing was ever offered here\n")?;
    } else if version.is_some() {
        let stories: Vec<String> = releases.iter().map(story).collect();
        steps.text(&stories.join("\n"))?;
    } else {
        steps.text(&list(&releases))?;
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

/// A line for each.
fn list(releases: &[Release]) -> String {
    let mut table = Table::new(&["ENGINE", "PART", "VERSION", "STATE", "SINCE", "WHY"]);
    for release in releases {
        // Notes leave a release where it stands.
        let last = release.transitions.iter().rev().find(|step| step.note.is_none());
        table.row([
            cell(release.engine.as_str()).style(STRONG),
            cell(release.part.name()),
            cell(&release.version.to_string()),
            cell(release.state.name()).style(style(release.state)),
            cell(&last.map(|step| moment(step.at)).unwrap_or_default()).style(FAINT),
            cell(&last.map(|step| few(&why(step))).unwrap_or_default()),
        ]);
    }
    let mut out = String::new();
    table.write(&mut out);
    out += "\n  the whole story of one: outrigger update history ENGINE VERSION\n";
    out
}

fn why(step: &Transition) -> String {
    match (&step.reason, step.note) {
        (_, Some(Note::Approved)) => format!("by {}", step.detail),
        (Some(reason), None) => format!("{reason}: {}", step.detail),
        _ => step.detail.clone(),
    }
}

/// `text` in few words: its first line, cut where it is long.
fn few(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(FEW) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

fn story(release: &Release) -> String {
    let name = format!("{} {} {}", release.engine, release.part, release.version);
    let mut out = format!(
        "{}  {}  {}\n",
        styled(STRONG, visible(&name)),
        styled(style(release.state), release.state),
        styled(FAINT, format_args!("from {}", visible(&release.repository)))
    );
    for step in &release.transitions {
        let name = step.note.map_or_else(|| step.to.name(), Note::name);
        let why = why(step);
        let at = moment(step.at);
        // The parts of a long reason below one another.
        let why = visible(&why).replace("; ", &format!("\n{:36}", ""));
        out += &format!("  {at}  {name:<10}  {why}\n");
    }
    out += &styled(FAINT, format_args!("  package {}\n", release.package));
    out
}

fn style(state: State) -> anstyle::Style {
    match state {
        State::Active => GOOD,
        State::Rejected => WRONG,
        State::Retired => FAINT,
        _ => WARN,
    }
}
