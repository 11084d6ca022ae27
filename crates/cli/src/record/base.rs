//! `outrigger record base`: what a Debian system boots and runs from, as a recording.
//!
//! Exec and open of the programs, opens of the libraries and other files, of the packages that dpkg calls
//! essential, required or important, of those that boot, command and update the machine, and of all that
//! these need. A file whose MD5 is not the one that its package came with is not known to be good, and is
//! left out. Files are recorded by their sums, so a replay reads them where they lie.

use std::fs::File;
use std::io::{Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use md5::Digest as _;
use outrigger_api::Event;
use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_sensor::recording::{Header, Kept, Summer};
use serde::Serialize;

use super::{Fresh, dpkg, now_ms, origin};
use crate::replay::{bar, shown};
use crate::run::Outcome;
use crate::text::{self, counted, number, size, visible};

/// Folders whose files nobody executes or loads: documentation, translations, icons.
const DATA: &str = "usr/share";
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 17;

/// Where it is written, and what of.
#[derive(Debug, clap::Args)]
pub(crate) struct BaseArguments {
    /// Where the recording is written
    #[arg(long, value_name = "FILE", default_value = "known-good.rec")]
    out: PathBuf,
    /// The root of the system
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

#[derive(Debug, Default, Serialize)]
struct Told {
    file: String,
    bytes: u64,
    packages: u64,
    samples: u64,
    programs: u64,
    files: u64,
    /// Their MD5 is not the package's.
    changed: u64,
    /// Not there, or not to be read.
    missing: u64,
}

pub(super) fn run(arguments: &BaseArguments, json: bool, out: &mut impl Write) -> Result<Outcome> {
    let root = &arguments.root;
    let packages = dpkg::installed(root)?;
    let chosen = dpkg::base(&packages);
    let mut files = Vec::new();
    for name in &chosen {
        let Some(package) = packages.get(*name) else { continue };
        files.extend(dpkg::files(root, name, package)?);
    }
    files.retain(|(path, _)| !path.starts_with(DATA));
    files.sort_unstable();
    files.dedup();
    let header =
        Header { made_ms: now_ms(), origin: origin(), kept: Kept::Sums, ..Header::default() };
    let mut fresh = Fresh::create(&arguments.out, &header)?;
    let mut told =
        Told { file: shown(&arguments.out), packages: chosen.len() as u64, ..Told::default() };
    let bar = bar(files.len() as u64, "files");
    let mut buffer = vec![0; CHUNK];
    for (path, md5) in files {
        bar.inc(1);
        match look(root, &path, &md5, &mut buffer) {
            Look::Good { sample, is_program } => {
                fresh.writer().sample(&sample)?;
                told.files += 1;
                if is_program {
                    fresh.writer().sample(&Sample { event: Event::ProcessExec, ..sample })?;
                    told.programs += 1;
                }
            }
            Look::Changed => told.changed += 1,
            Look::Missing => told.missing += 1,
        }
    }
    bar.finish_and_clear();
    if told.files == 0 {
        bail!("not one of the files that dpkg knows below {} is unchanged", root.display());
    }
    told.samples = fresh.writer().samples();
    told.bytes = fresh.end()?;
    if json {
        writeln!(out, "{}", text::visible_json(&serde_json::to_string(&told)?))?;
    } else {
        say(&told, out)?;
    }
    Ok(Outcome::Good)
}

fn say(told: &Told, out: &mut impl Write) -> Result<()> {
    let file = visible(&told.file);
    let samples = counted(told.samples, "sample");
    let packages = counted(told.packages, "package");
    writeln!(out, "{file}: {samples} of {packages}, {}", size(told.bytes))?;
    let (files, programs) = (counted(told.files, "file"), counted(told.programs, "program"));
    writeln!(out, "  {files} unchanged, {programs} among them")?;
    let (changed, missing) = (number(told.changed), number(told.missing));
    writeln!(
        out,
        "  left out: {changed} changed since they were installed, {missing} not to be read"
    )?;
    Ok(())
}

/// What was found of a file.
enum Look {
    Good { sample: Sample, is_program: bool },
    Changed,
    Missing,
}

fn look(root: &Path, path: &Path, md5: &[u8; 16], buffer: &mut [u8]) -> Look {
    read(root, path, md5, buffer).unwrap_or(Look::Missing)
}

fn read(root: &Path, path: &Path, expected: &[u8; 16], buffer: &mut [u8]) -> Result<Look> {
    // As the kernel will show it: /bin is a link to /usr/bin.
    let real = std::fs::canonicalize(root.join(path)).with_context(|| shown(path))?;
    let mut file = File::open(&real)?;
    let known = file.metadata()?;
    if !known.is_file() {
        return Ok(Look::Missing);
    }
    let (mut sum, mut md5, mut size) = (Summer::default(), md5::Md5::new(), 0);
    loop {
        let read = file.read(buffer)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        sum.add(&buffer[..read]);
        md5.update(&buffer[..read]);
    }
    if md5.finalize().as_slice() != expected {
        return Ok(Look::Changed);
    }
    let seconds = u64::try_from(known.ctime()).unwrap_or(0);
    let nanos = u64::try_from(known.ctime_nsec()).unwrap_or(0);
    let changed = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    let sample = Sample {
        event: Event::FileOpen,
        credentials: Some((0, 0)),
        path: Some(real.as_os_str().as_bytes().to_vec()),
        attributes: Some((size, changed)),
        content: Ok(Digest { size, sha256: sum.finish() }),
        standing: Standing { known_good: true, guarded: false },
        // Nobody answered: it was not asked.
        answer: None,
    };
    Ok(Look::Good { sample, is_program: known.mode() & 0o111 != 0 })
}
