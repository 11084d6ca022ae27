//! `outrigger record`: recordings to take along, to look at, and of what a fresh system is made of.

mod base;
mod dpkg;
pub(crate) mod export;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Subcommand;
use outrigger_api::sample::Sample;
use outrigger_api::{Answer, Event};
use outrigger_sensor::recording::{Corpus, Header, Writer};
use serde::Serialize;

use crate::replay::{kept, open, shown};
use crate::run::Outcome;
use crate::table::{Table, cell, figure};
use crate::text::{self, STRONG, counted, number, size, styled, visible};

/// What is done with recordings.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordCommand {
    /// Write what the host has recorded as one file
    Export(export::ExportArguments),
    /// Show what a recording holds
    Show {
        /// The recording
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Every sample, a line each
        #[arg(long)]
        samples: bool,
    },
    /// Write a recording of what this Debian system boots and runs from: exec and open of the programs and
    /// libraries of its base packages, as far as they are unchanged
    Base(base::BaseArguments),
}

/// Something about a recording could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RecordFailed(pub(crate) String);

/// Does what `command` says, and prints what came of it to `out`.
///
/// # Errors
///
/// [`RecordFailed`], with what led to it.
pub(crate) fn run(command: &RecordCommand, json: bool, out: &mut impl Write) -> Result<Outcome> {
    match command {
        RecordCommand::Export(arguments) => export::run(arguments, json, out),
        RecordCommand::Show { file, samples } => show(file, *samples, json, out),
        RecordCommand::Base(arguments) => base::run(arguments, json, out),
    }
    .map_err(|error| {
        // Whose own exit status they have.
        let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if error.is::<crate::run::UsageError>() || error.downcast_ref().is_some_and(closed) {
            return error;
        }
        RecordFailed(format!("{error:#}")).into()
    })
}

/// What a recording holds, by event.
#[derive(Debug, Serialize)]
struct Held {
    made_ms: u64,
    origin: String,
    keeps: &'static str,
    without_credentials: bool,
    without_paths: Vec<String>,
    bytes: u64,
    samples: u64,
    objects: u64,
    object_bytes: u64,
    events: BTreeMap<&'static str, ByEvent>,
}

#[derive(Debug, Default, Serialize)]
struct ByEvent {
    samples: u64,
    allowed: u64,
    denied: u64,
    with_content: u64,
    known_good: u64,
    guarded: u64,
}

fn show(file: &Path, samples: bool, json: bool, out: &mut impl Write) -> Result<Outcome> {
    let corpus = open(file)?;
    let header = corpus.header();
    let counts = corpus.counts();
    let path = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
    let mut held = Held {
        made_ms: header.made_ms,
        origin: header.origin.clone(),
        keeps: kept(header.kept),
        without_credentials: header.without_credentials,
        without_paths: header.without_paths.iter().map(path).collect(),
        bytes: corpus.bytes(),
        samples: counts.samples,
        objects: counts.blobs,
        object_bytes: counts.blob_bytes,
        events: BTreeMap::new(),
    };
    let mut read = corpus.samples(false).with_context(|| shown(file))?;
    for (sample, _) in &mut read {
        let event = held.events.entry(sample.event.name()).or_default();
        event.samples += 1;
        event.allowed += u64::from(sample.answer == Some(Answer::Allow));
        event.denied += u64::from(sample.answer == Some(Answer::Deny));
        event.with_content += u64::from(sample.content.is_ok());
        event.known_good += u64::from(sample.standing.known_good);
        event.guarded += u64::from(sample.standing.guarded);
        if samples && !json {
            writeln!(out, "{}", visible(&line(&sample)))?;
        }
    }
    if let Some(error) = read.take_failure() {
        return Err(anyhow::Error::new(error).context(shown(file)));
    }
    if json {
        writeln!(out, "{}", text::visible_json(&serde_json::to_string(&held)?))?;
    } else {
        out.write_all(page(&held).as_bytes())?;
    }
    Ok(Outcome::Good)
}

fn line(sample: &Sample) -> String {
    let path = sample.path.as_deref().map(String::from_utf8_lossy);
    let content = match &sample.content {
        Ok(digest) => format!("{} {}", digest.size, hex::encode(digest.sha256)),
        Err(absent) => format!("without content: {absent:?}"),
    };
    format!(
        "{} {} {} {content}",
        sample.event,
        match sample.answer {
            Some(Answer::Allow) => "allowed",
            Some(Answer::Deny) => "denied",
            None => "unanswered",
        },
        path.as_deref().unwrap_or("(a path that was left out)"),
    )
}

fn page(held: &Held) -> String {
    let mut out = String::new();
    let all = format!("{}, {}", counted(held.samples, "sample"), size(held.bytes));
    // Writing into a string does not fail.
    let _ = writeln!(out, "{}", styled(STRONG, all));
    let _ = writeln!(out, "  recorded on {}", visible(&held.origin));
    let objects = counted(held.objects, "object");
    let _ = writeln!(out, "  keeps {}; holds {objects}, {}", held.keeps, size(held.object_bytes));
    let mut left_out = held.without_paths.clone();
    left_out.extend(held.without_credentials.then(|| "who asked".to_owned()));
    if !left_out.is_empty() {
        let _ = writeln!(out, "  left out of it: {}", visible(&left_out.join(", ")));
    }
    let mut table = Table::new(&[
        "EVENT",
        "SAMPLES",
        "ALLOWED",
        "DENIED",
        "WITH CONTENT",
        "KNOWN GOOD",
        "GUARDED",
    ]);
    let count = |count: u64| figure(&number(count));
    for event in Event::ALL {
        let Some(by) = held.events.get(event.name()) else { continue };
        table.row([
            cell(event.name()),
            count(by.samples),
            count(by.allowed),
            count(by.denied),
            count(by.with_content),
            count(by.known_good),
            count(by.guarded),
        ]);
    }
    table.write(&mut out);
    out
}

/// A recording that takes its name when it is whole.
#[derive(Debug)]
struct Fresh {
    path: PathBuf,
    unfinished: PathBuf,
    writer: Option<Writer<BufWriter<File>>>,
}

impl Fresh {
    /// Begins the recording that will be at `path`, for its owner alone.
    fn create(path: &Path, header: &Header) -> Result<Self> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .with_context(|| shown(&unfinished))?;
        let writer = Some(Writer::new(BufWriter::new(file), header)?);
        Ok(Self { path: path.to_owned(), unfinished, writer })
    }

    fn writer(&mut self) -> &mut Writer<BufWriter<File>> {
        self.writer.as_mut().expect("there until it is ended")
    }

    /// Ends it: from now on it is at its path. Its bytes.
    fn end(mut self) -> Result<u64> {
        let writer = self.writer.take().expect("there until it is ended");
        let out = writer.end().with_context(|| shown(&self.unfinished))?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        std::fs::rename(&self.unfinished, &self.path).with_context(|| shown(&self.path))?;
        Ok(bytes)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // What was not ended is of no use; after the end there is nothing of that name.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

/// The machine, for people: its distribution and kernel.
fn origin() -> String {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.unwrap_or("Linux").trim_matches('"');
    format!("{name}, kernel {kernel}").chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Milliseconds since the epoch.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Reads as much of a host's file as there is.
fn salvage(path: &Path) -> Result<Corpus> {
    let (corpus, ended) = Corpus::salvage(path, &mut |_, _| ()).with_context(|| shown(path))?;
    match ended {
        // The file that the host is at, or was when it ended.
        Ok(()) | Err(outrigger_sensor::recording::RecordingError::Cut { .. }) => {}
        Err(error) => {
            let told = format!("{}: read up to here: {error}", path.display());
            let _ = writeln!(anstream::stderr(), "outrigger: {}", visible(&told));
        }
    }
    Ok(corpus)
}
