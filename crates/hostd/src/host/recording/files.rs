//! The files of a recording: so many bytes in all, the oldest gives way.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outrigger_api::control::Recording;
use outrigger_api::sample::Sample;
use outrigger_sensor::recording::{
    FILE_PREFIX, FILE_SUFFIX, Header, Kept, Redaction, Writer, files_in,
};

use super::Offer;
use crate::host::{journal, private};

/// A recording has so many files, of which the oldest is dropped for a new one.
const PARTS: u64 = 4;
/// Most files, small ones included: one is left by each host that kept anything.
const FILES_MAX: usize = 64;
/// Most samples of one file.
const SAMPLES_MAX: u64 = 250_000;
/// Bytes of a sample at most, its place in the file included; the header has its own.
const ROOM: u64 = 8 << 10;
/// How long after a failed write the next is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// Where questions are written.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    bytes_max: u64,
    header: Header,
    current: Option<Current>,
    /// The others, oldest first, with their bytes.
    older: VecDeque<(PathBuf, u64)>,
    next: u64,
    /// What the current file holds, by a hash of it.
    seen: HashSet<u64>,
    kept: u64,
    /// Of those, what may not have left this process.
    unflushed: u64,
    repeated: u64,
    unwritten: u64,
    trouble: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
}

impl Files {
    /// The recording in `folder`, of which earlier hosts may have left files.
    pub(super) fn new(folder: &Path, bytes_max: u64, kept: Kept, redaction: &Redaction) -> Self {
        // A folder that is not there yet has none.
        let found = files_in(folder).unwrap_or_default();
        let next = found.last().map_or(1, |(number, _)| number.saturating_add(1));
        let without_paths =
            redaction.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        Self {
            folder: folder.to_owned(),
            bytes_max,
            header: Header {
                made_ms: 0,
                origin: origin(),
                kept,
                without_credentials: redaction.credentials,
                without_paths,
            },
            current: None,
            older: found.into_iter().map(|(_, path)| with_bytes(path)).collect(),
            next,
            seen: HashSet::new(),
            kept: 0,
            unflushed: 0,
            repeated: 0,
            unwritten: 0,
            trouble: None,
        }
    }

    /// Largest object whose bytes a file takes.
    pub(super) fn object_max(&self) -> usize {
        let part = (self.bytes_max / PARTS).saturating_sub(2 * ROOM);
        usize::try_from(part).unwrap_or(usize::MAX)
    }

    /// Whether the current file holds the bytes of this sum.
    pub(super) fn has(&self, sha256: &[u8; 32]) -> bool {
        self.current.as_ref().is_some_and(|current| current.writer.has(sha256))
    }

    /// Whether the current file holds the same question already; it is counted then.
    pub(super) fn knows(&mut self, offer: &Offer) -> bool {
        let known = self.seen.contains(&name(offer));
        self.repeated += u64::from(known);
        known
    }

    /// Writes one question, or counts it as not written.
    pub(super) fn put(&mut self, offer: u64, sample: &Sample, bytes: Option<&[u8]>) {
        if self.trouble.as_ref().is_some_and(|(_, since)| since.elapsed() < PAUSE) {
            self.unwritten += 1;
            return;
        }
        match self.write(sample, bytes) {
            Ok(()) => {
                self.kept += 1;
                self.unflushed += 1;
                self.seen.insert(offer);
                self.trouble = None;
            }
            Err(error) => {
                self.unwritten += 1;
                self.fail(&error);
            }
        }
    }

    /// Has the kernel take what was written.
    pub(super) fn flush(&mut self) {
        match self.current.as_mut().map(|current| current.writer.output().flush()) {
            Some(Err(error)) => self.fail(&error),
            Some(Ok(())) => self.unflushed = 0,
            None => {}
        }
    }

    /// Says how it stands.
    pub(super) fn tell(&self, status: &mut Recording) {
        let current = self.current.as_ref().map_or(0, |current| current.writer.written());
        let older: u64 = self.older.iter().map(|(_, bytes)| bytes).sum();
        status.kept = self.kept;
        status.repeated = self.repeated;
        status.unwritten = self.unwritten;
        status.bytes = older.saturating_add(current);
        status.files = self.older.len() as u64 + u64::from(self.current.is_some());
        status.trouble = self.trouble.as_ref().map(|(why, _)| why.clone());
    }

    fn write(&mut self, sample: &Sample, bytes: Option<&[u8]>) -> io::Result<()> {
        let room = ROOM.saturating_add(bytes.map_or(0, |bytes| bytes.len() as u64));
        let is_full = |current: &Current| {
            current.writer.written().saturating_add(room) > self.bytes_max / PARTS
                || current.writer.samples() >= SAMPLES_MAX
        };
        if self.current.as_ref().is_some_and(is_full) {
            self.close()?;
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => {
                let fresh = self.open()?;
                self.current.insert(fresh)
            }
        };
        if let Some(bytes) = bytes {
            current.writer.blob(bytes)?;
        }
        current.writer.sample(sample)
    }

    /// Makes a new file, for which older ones give way.
    fn open(&mut self) -> io::Result<Current> {
        private::make_folder(&self.folder)?;
        let part = self.bytes_max / PARTS;
        loop {
            let held: u64 = self.older.iter().map(|(_, bytes)| bytes).sum();
            if held.saturating_add(part) <= self.bytes_max && self.older.len() < FILES_MAX {
                break;
            }
            let Some((oldest, _)) = self.older.front() else { break };
            match std::fs::remove_file(oldest) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(self.older.pop_front()),
            }
        }
        let path = self.folder.join(format!("{FILE_PREFIX}{:010}{FILE_SUFFIX}", self.next));
        self.next = self.next.saturating_add(1);
        self.seen.clear();
        let header = Header { made_ms: journal::now_ms(), ..self.header.clone() };
        let file = private::replace(&path)?;
        match Writer::new(BufWriter::new(file), &header) {
            Ok(writer) => Ok(Current { path, writer }),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Ends the current file.
    fn close(&mut self) -> io::Result<()> {
        let Some(Current { path, writer }) = self.current.take() else { return Ok(()) };
        let ended = writer.end().and_then(|out| {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_data()
        });
        self.older.push_back(with_bytes(path));
        ended?;
        self.unflushed = 0;
        Ok(())
    }

    /// Gives the current file up: what it holds up to the failure can be read.
    fn fail(&mut self, error: &io::Error) {
        if self.trouble.is_none() {
            tracing::error!(folder = %self.folder.display(), %error, "nothing can be recorded");
        }
        self.trouble = Some((error.to_string(), Instant::now()));
        let lost = std::mem::take(&mut self.unflushed);
        self.kept = self.kept.saturating_sub(lost);
        self.unwritten = self.unwritten.saturating_add(lost);
        if let Some(Current { path, writer }) = self.current.take() {
            // Without writing again what the disk did not take.
            let (_file, _lost) = writer.abandon().into_parts();
            self.older.push_back(with_bytes(path));
        }
    }
}

/// One word for a question: the same object, subject and answer make the same.
pub(super) fn name(offer: &Offer) -> u64 {
    let Offer { event, answer, credentials, object, .. } = offer;
    let who = credentials.map(|known| (known.uid, known.gid));
    let what = (event, *answer == outrigger_api::Answer::Allow, who);
    BuildHasherDefault::<DefaultHasher>::default().hash_one((
        what,
        object.key,
        object.changed,
        object.size,
        &offer.path,
    ))
}

/// A file and its bytes.
fn with_bytes(path: PathBuf) -> (PathBuf, u64) {
    let bytes = std::fs::metadata(&path).map_or(0, |known| known.len());
    (path, bytes)
}

/// The machine, for people: its kernel and its distribution.
fn origin() -> String {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.unwrap_or("Linux").trim_matches('"');
    let whole = format!("{name}, kernel {kernel}");
    whole.chars().filter(|c| !c.is_control()).take(64).collect()
}
