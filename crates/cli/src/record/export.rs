//! `outrigger record export`: what the host has recorded, as one file to take along.
//!
//! The host is not asked: its files are read as they lie, the one included that it writes to now.

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use outrigger_api::settings::HostConfig;
use outrigger_sensor::recording::{Corpus, Header, Kept, Redaction, encode, files_in, sum};
use serde::Serialize;

use super::{Fresh, now_ms, origin, salvage};
use crate::replay::{bar, shown};
use crate::run::Outcome;
use crate::text::{self, counted, size, visible};

/// The host's configuration, where it stands by default.
const CONFIG: &str = "/etc/outrigger/outrigger.toml";

/// What is exported, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArguments {
    /// Where the file is written
    #[arg(long, value_name = "FILE", default_value = "outrigger.rec")]
    out: PathBuf,
    /// Of what lies under this path, take along only the event and the answer
    #[arg(long, value_name = "PREFIX")]
    redact: Vec<PathBuf>,
    /// Leave out who asked
    #[arg(long)]
    without_credentials: bool,
    /// The host's state folder; the one that /etc/outrigger/outrigger.toml names if not given
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Exported {
    file: String,
    bytes: u64,
    samples: u64,
    objects: u64,
    redacted: u64,
    repeated: u64,
}

pub(super) fn run(
    arguments: &ExportArguments,
    json: bool,
    out: &mut impl Write,
) -> Result<Outcome> {
    let folder = match &arguments.state_dir {
        Some(folder) => folder.clone(),
        None => configured()?,
    };
    let files = files_in(&folder).with_context(|| shown(&folder))?;
    let files: Vec<PathBuf> = files.into_iter().map(|(_, file)| file).collect();
    if files.is_empty() {
        bail!(
            "there is no recording in {}: is `record.enabled = true` in the host's configuration?",
            folder.display()
        );
    }
    let redaction =
        Redaction { paths: arguments.redact.clone(), credentials: arguments.without_credentials };
    let exported = export(&files, &redaction, &arguments.out)?;
    if json {
        writeln!(out, "{}", text::visible_json(&serde_json::to_string(&exported)?))?;
    } else {
        let Exported { file, bytes, samples, objects, redacted, .. } = &exported;
        let (samples, objects) = (counted(*samples, "sample"), counted(*objects, "object"));
        let file = visible(file);
        writeln!(out, "{file}: {samples}, {objects}, {}; {redacted} redacted", size(*bytes))?;
    }
    Ok(Outcome::Good)
}

/// What the host whose state folder is `state_dir` has recorded, gathered in the file `to`; `None` if it
/// recorded nothing.
///
/// # Errors
///
/// If a recording cannot be read, or `to` not be written.
pub(crate) fn gather(state_dir: &Path, to: &Path) -> Result<Option<Corpus>> {
    let files = files_in(state_dir).with_context(|| shown(state_dir))?;
    if files.is_empty() {
        return Ok(None);
    }
    let files: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
    export(&files, &Redaction::default(), to)?;
    Ok(Some(crate::replay::open(to)?))
}

fn export(files: &[PathBuf], redaction: &Redaction, to: &Path) -> Result<Exported> {
    let mut corpora = Vec::with_capacity(files.len());
    for file in files {
        corpora.push(salvage(file)?);
    }
    let mut kept = Kept::Nothing;
    let mut whole = redaction.clone();
    for corpus in &corpora {
        let header = corpus.header();
        if Kept::ALL.iter().position(|it| *it == header.kept)
            > Kept::ALL.iter().position(|it| *it == kept)
        {
            kept = header.kept;
        }
        let paths = header.without_paths.iter();
        let paths = paths.map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path))).collect();
        // What one file left out is left out of the whole, as far as the header says.
        whole = whole.and(&Redaction { paths, credentials: false });
    }
    let all: u64 = corpora.iter().map(|corpus| corpus.counts().samples).sum();
    let header = Header {
        made_ms: now_ms(),
        origin: origin(),
        kept,
        without_credentials: redaction.credentials
            || corpora.iter().all(|corpus| corpus.header().without_credentials),
        without_paths: whole
            .paths
            .iter()
            .map(|path| path.as_os_str().as_bytes().to_vec())
            .collect(),
    };
    let mut fresh = Fresh::create(to, &header)?;
    let bar = bar(all, "samples");
    let mut seen = HashSet::new();
    let (mut objects, mut redacted, mut repeated, mut body) = (0, 0, 0, Vec::new());
    for corpus in &corpora {
        let mut samples = corpus.samples(false)?;
        while let Some((mut sample, _)) = samples.next() {
            bar.inc(1);
            redacted += u64::from(redaction.apply(&mut sample));
            body.clear();
            encode(&sample, &mut body);
            if !seen.insert(sum(&body)) {
                repeated += 1;
                continue;
            }
            // Only what a sample still speaks of goes along.
            if let Ok(digest) = &sample.content
                && !fresh.writer().has(&digest.sha256)
                && let Some(bytes) = samples.object(&digest.sha256)?
            {
                fresh.writer().blob(&bytes)?;
                objects += 1;
            }
            fresh.writer().sample(&sample)?;
        }
    }
    bar.finish_and_clear();
    let samples = fresh.writer().samples();
    let bytes = fresh.end()?;
    Ok(Exported { file: shown(to), bytes, samples, objects, redacted, repeated })
}

/// The state folder that the host's configuration names.
fn configured() -> Result<PathBuf> {
    let file = Path::new(CONFIG);
    if !file.exists() {
        return Ok(HostConfig::default().state_dir);
    }
    Ok(HostConfig::read(file)?.state_dir)
}
