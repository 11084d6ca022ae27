//! Preflight of what lies in the slots: what it is tried with, and on what.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use outrigger_api::EngineName;
use outrigger_api::release::Part;
use outrigger_api::settings::{MANIFEST_FILE, Manifest, RELEASE_FILE, Release};
use outrigger_update::content::{Code, Declaration};
use outrigger_update::preflight::{Candidate, Limits, Offered, Progress, Report};
use semver::Version;

use super::Site;
use crate::record::export;
use crate::replay::BUDGET_MS;
use crate::steps::{Step, Steps};
use crate::{replay, text};

/// Name of the file in which this machine's own events are gathered for one trial.
const OWN: &str = "own-events";

/// A release in its slot.
#[derive(Debug, Clone)]
pub(super) struct Laid {
    pub(super) version: Version,
    pub(super) dir: PathBuf,
}

/// Tries `code` out, with `content` if there is any; `part` says which of them is new.
pub(super) fn run(
    site: &Site<'_>,
    engine: &EngineName,
    part: Part,
    code: &Laid,
    content: Option<&Laid>,
    steps: &mut Steps<'_>,
) -> Result<Report> {
    let config = &site.config;
    let manifest = Manifest::read(&code.dir.join(MANIFEST_FILE))?;
    let release = content.map(|content| release(&content.dir)).transpose()?;
    let head = release.as_ref().and_then(|release| release.content.as_ref());
    let declared = head.map(Declaration::from);
    // Both lie where only root writes; what is made up in the one, engines read.
    let (scratch, gathered) =
        (crate::preflight::scratch(&config.state_dir)?, tempfile::tempdir_in(&config.state_dir)?);
    let candidate = Candidate {
        part,
        code: Code { version: &code.version, manifest: &manifest },
        content: content.map(|content| Offered {
            version: Some(&content.version),
            folder: &content.dir,
            declared: declared.as_ref(),
        }),
        scratch: scratch.path(),
    };
    let known_good = config.preflight.known_good.as_deref().map(replay::open).transpose()?;
    let own = export::gather(&config.state_dir, &gathered.path().join(OWN))?;
    let (with_content, without) = BUDGET_MS;
    let budget = Duration::from_millis(if manifest.content { with_content } else { without });
    let limits = Limits::new(&config.preflight, budget);
    steps.events(&format!("trying {engine} {part}"));
    let bar = steps.bar();
    let mut progress = |progress: Progress| {
        bar.at(progress.done, progress.of.unwrap_or_default());
    };
    crate::preflight::tried(&candidate, known_good.as_ref(), own.as_ref(), &limits, &mut progress)
}

/// Tells what a preflight found.
pub(super) fn tell(report: &Report, steps: &mut Steps<'_>) -> Result<()> {
    let of = format!("{} {}", report.engine, report.part);
    let detail = format!("{} ms", report.took_ms);
    let step = Step { step: "preflight", of: &of, good: report.passed, detail: &detail };
    steps.done(&step)?;
    if steps.is_json() {
        return Ok(steps.line(report)?);
    }
    let lines = text::visible_lines(&report.to_string());
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    Ok(steps.text(&indented)?)
}

/// What the package that lies in `folder` says of itself.
fn release(folder: &Path) -> Result<Release> {
    let file = folder.join(RELEASE_FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    Ok(Release::parse(&text, &file)?)
}
