//! Writers against the cache: whether a reader is ever given content that stands there as bad.
//!
//! A writer makes one file bad and clean again, over and over, in one of several ways. While the file
//! is stably bad (it was bad before a reader's open and is the same bad after its read), an open that
//! gives its content is a lie of the cache, or of the engine that was asked. The writer runs as a user
//! whom the engine lets open everything, since it must be able to make the file clean again.

use std::fs;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Result, bail};
use rustix::thread::nanosleep;
use rustix::time::Timespec;

use crate::agent::Agent;
use crate::bait;
use crate::clock::now;
use crate::histogram::Histogram;
use crate::shared::Shared;
use crate::sys::Mapping;

/// The user that the writer runs as.
pub const WRITER: u32 = 1234;
/// The file that is fought over.
pub const FILE: &str = "contested";
/// Bytes of the file that are written.
const MAPPED: usize = 4096;

/// How the writer changes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Opens it and writes.
    Write,
    /// Opens it, maps it and stores.
    Map,
    /// Mapped it once, and stores without any call.
    KeptMap,
    /// Writes a new file and renames it over.
    RenameWritten,
    /// Maps a new file, stores, and renames it over.
    RenameMapped,
    /// Opens it and writes; it is clean when it is empty.
    Empty,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 6] = [
        Self::Write,
        Self::Map,
        Self::KeptMap,
        Self::RenameWritten,
        Self::RenameMapped,
        Self::Empty,
    ];
}

// Places of the shared numbers.
/// Counts the times that the file became bad.
const GENERATION: usize = 0;
/// 1 while the file is bad.
const BAD: usize = 1;
/// 1 when the writer is to end.
const STOP: usize = 2;

/// What readers saw.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    /// Opens tried.
    pub opens: u64,
    /// Opens refused.
    pub refused: u64,
    /// Reads that gave bad content, stably bad or just becoming so.
    pub bad: u64,
    /// Reads that gave content that was bad all the time. The promise is that there is none.
    pub stably_bad: u64,
}

impl Seen {
    /// What both saw.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            opens: self.opens + other.opens,
            refused: self.refused + other.refused,
            bad: self.bad + other.bad,
            stably_bad: self.stably_bad + other.stably_bad,
        }
    }
}

/// Clean content of the same length as the bad one.
pub fn clean() -> Vec<u8> {
    vec![b'c'; bait::eicar().len()]
}

/// Starts the writer in the folder; it says `ready` when it has begun.
///
/// # Errors
///
/// If it cannot be started.
pub fn start_writer(way: Way, folder: &Path, numbers: &Path) -> Result<Agent> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let way = Way::ALL.iter().position(|known| *known == way).unwrap_or_default().to_string();
    let arguments = [way.as_str(), &text(folder), &text(numbers)];
    Agent::start_as("write-race", &arguments, WRITER)
}

/// Tells the writer to end; its result is how long its opens waited, a [`crate::histogram::Summary`].
pub fn stop_writer(numbers: &Shared) {
    numbers.set(STOP, 1);
}

/// Opens and reads the file until `end` (ns of `CLOCK_MONOTONIC`).
///
/// # Errors
///
/// If an open fails other than by a refusal.
pub fn read_until(end: u64, path: &Path, numbers: &Shared) -> Result<Seen> {
    let bad = bait::eicar();
    let mut seen = Seen::default();
    let mut buffer = [0; MAPPED];
    while now() < end {
        let before = (numbers.get(BAD), numbers.get(GENERATION));
        seen.opens += 1;
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                seen.refused += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let len = file.read_at(&mut buffer, 0)?;
        let after = (numbers.get(BAD), numbers.get(GENERATION));
        if buffer[..len].starts_with(&bad) {
            seen.bad += 1;
            seen.stably_bad += u64::from(before.0 == 1 && before == after);
        }
    }
    Ok(seen)
}

/// The writer's part.
pub(crate) fn write(way: usize, folder: &Path, numbers: &Path) -> Result<()> {
    let Some(way) = Way::ALL.get(way) else { bail!("no such way to write") };
    let numbers = Shared::open(numbers)?;
    let mut writer = Writer { folder, waits: Histogram::default(), kept: None, seed: 1 };
    let (bad, clean) = (bait::eicar(), clean());
    Agent::say_ready()?;
    while numbers.get(STOP) == 0 {
        writer.put(*way, &bad)?;
        numbers.set(GENERATION, numbers.get(GENERATION) + 1);
        numbers.set(BAD, 1);
        writer.rest();
        numbers.set(BAD, 0);
        writer.put(*way, &clean)?;
        writer.rest();
    }
    let mut out = std::io::stdout();
    serde_json::to_writer(&mut out, &writer.waits.summary())?;
    Ok(std::io::Write::write_all(&mut out, b"\n")?)
}

struct Writer<'a> {
    folder: &'a Path,
    waits: Histogram,
    kept: Option<Mapping>,
    seed: u32,
}

impl Writer<'_> {
    fn put(&mut self, way: Way, content: &[u8]) -> Result<()> {
        match way {
            Way::Write => self.open(FILE)?.write_all_at(content, 0)?,
            Way::Map => self.map(FILE)?.store(content),
            Way::KeptMap => {
                let mapping = match self.kept.take() {
                    Some(mapping) => mapping,
                    None => self.map(FILE)?,
                };
                mapping.store(content);
                self.kept = Some(mapping);
            }
            Way::RenameWritten => {
                self.open("new")?.write_all_at(content, 0)?;
                self.rename()?;
            }
            Way::RenameMapped => {
                let file = self.open("new")?;
                file.set_len(content.len() as u64)?;
                Mapping::new(&file, MAPPED)?.store(content);
                drop(file);
                self.rename()?;
            }
            Way::Empty if content == clean() => self.open(FILE)?.set_len(0)?,
            Way::Empty => self.open(FILE)?.write_all_at(content, 0)?,
        }
        Ok(())
    }

    fn open(&mut self, name: &str) -> Result<File> {
        let path = self.folder.join(name);
        let start = now();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        self.waits.add(now() - start);
        Ok(file)
    }

    fn map(&mut self, name: &str) -> Result<Mapping> {
        let file = self.open(name)?;
        Ok(Mapping::new(&file, MAPPED)?)
    }

    fn rename(&self) -> Result<()> {
        Ok(fs::rename(self.folder.join("new"), self.folder.join(FILE))?)
    }

    /// Up to 400 µs, each time another while.
    fn rest(&mut self) {
        self.seed = self.seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let ns = i64::from((self.seed >> 16) % 400) * 1000;
        let _ = nanosleep(&Timespec { tv_sec: 0, tv_nsec: ns });
    }
}
