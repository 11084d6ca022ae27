//! What a machine remembers of its starts, and what follows from it.
//!
//! A *start* is a host's. It is **clean** if it came to be healthy, ended because somebody wanted it to, or made way
//! for another host; else the next start is counted as one that follows an unclean one. Starts of another boot of the
//! machine are told from those of the same by the kernel's boot id. Within one boot, where only the host died and the
//! machine went on, a start counts only if the host died by a fault of its own. Otherwise whoever may kill the host
//! could switch every engine off by doing so a few times.
//!
//! ```text
//! starts in a row without health:   0 ──▶ unclean_max ──▶ 2 × unclean_max
//!                                  all     known good      none, until somebody says otherwise
//! ```
//!
//! Pure: no I/O, no clock. The host keeps the [`Record`] in a [`RECORD_BYTES`] sized place that is there before it is
//! needed, twice, and writes the two in turns: whatever is cut short leaves the other one, and a full disk none
//! without.

use std::collections::BTreeMap;

use outrigger_api::EngineName;
use outrigger_api::release::Part;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::Digest;

/// Room of one record, in bytes. What the names of the most engines that a host may have take is a third of it.
pub const RECORD_BYTES: usize = 32 << 10;
/// Longest reason that is kept, in bytes.
pub const WHY_MAX: usize = 300;
/// Longest boot id, in bytes.
const BOOT_MAX: usize = 64;
const HEAD: &str = "outrigger-boot ";

/// How the start that a record is of went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// It has begun, and nothing more is known.
    #[default]
    Begun,
    /// Everything went well for long enough.
    Healthy,
    /// It ended because somebody wanted it to.
    Stopped,
    /// It made way for another host.
    MadeWay,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Counts what was written; of two records the one with the larger is the later.
    pub sequence: u64,
    /// Starts that were begun since there is a record.
    pub starts: u64,
    /// The kernel's boot id at the last start.
    pub boot: String,
    /// How that start went.
    pub start: Start,
    /// Starts in a row before it that came to no health.
    pub unclean: u32,
    /// What was in force at the last healthy start; `None` if there was none yet.
    pub known_good: Option<Vec<Good>>,
    /// Why no engine is docked, in safe mode.
    pub safe_mode: Option<Withheld>,
    /// Engines that are not docked, and why.
    pub withheld: BTreeMap<EngineName, Withheld>,
    /// The serial of the last instruction to repair that was obeyed.
    pub serial: u64,
    /// How often that one was begun, while it is not done.
    pub obeying: u32,
}

/// A release that was in force at the last healthy start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// Whose.
    pub engine: EngineName,
    /// What of the engine.
    pub part: Part,
    /// SHA-256 of its package, in hexadecimal digits.
    pub package: String,
}

/// Why an engine, or every one, is kept off the dock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// For a person.
    pub why: String,
    /// For starts that came to no health, and not because somebody said so.
    pub unclean: bool,
}

/// How the host before ended, as far as the one that starts can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// By a fault of its own, which the keeper saw: it crashed, or hung and was ended for it.
    Crashed,
    /// In a way that somebody else may have brought about, or that nobody saw.
    Unknown,
}

/// Which engines are docked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All that are in force.
    All,
    /// Those that are known to be good.
    KnownGood,
    /// None: safe mode.
    Nothing,
}

/// What a start begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Which engines are docked.
    pub level: Level,
    /// The start before came to no health and counts.
    pub counted: bool,
    /// What is on probation is not to be in force any more.
    pub ends_probation: bool,
}

/// A record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is damaged: {0}")]
pub struct RecordError(&'static str);

impl Record {
    /// Reads one record of [`RECORD_BYTES`] at most; what stands after it does not matter.
    ///
    /// A record of a later version reads as far as this one knows it.
    ///
    /// # Errors
    ///
    /// If it is not, to the last bit, what was written.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes = bytes.get(..RECORD_BYTES).unwrap_or(bytes);
        let rest = bytes.strip_prefix(HEAD.as_bytes()).ok_or(RecordError("it has no head"))?;
        let (sum, rest) = rest.split_at_checked(64).ok_or(RecordError("it is cut short"))?;
        let rest = rest.strip_prefix(b"\n").ok_or(RecordError("its sum is no sum"))?;
        let end = rest.iter().position(|byte| *byte == b'\n');
        let body = &rest[..end.ok_or(RecordError("it has no end"))?];
        if hex::encode(Sha256::digest(body)).as_bytes() != sum {
            return Err(RecordError("it is not what its sum says"));
        }
        serde_json::from_slice(body).map_err(|_| RecordError("it is no record"))
    }

    /// The later of two places; `None` if there is a record in neither.
    pub fn later(places: [&[u8]; 2]) -> Option<Self> {
        let read = places.into_iter().filter_map(|place| Self::parse(place).ok());
        read.max_by_key(|record| record.sequence)
    }

    /// The bytes of it, [`RECORD_BYTES`] long, so that writing it takes the same room every time.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut kept = self.clone();
        let mut body = kept.body();
        // More engines than any host has: what is withheld counts for more than what is known to be good.
        while HEAD.len() + 64 + 2 + body.len() > RECORD_BYTES {
            let good = kept.known_good.as_mut().and_then(Vec::pop);
            if good.is_none() && kept.withheld.pop_last().is_none() {
                break;
            }
            body = kept.body();
        }
        let mut bytes = format!("{HEAD}{}\n", hex::encode(Sha256::digest(&body))).into_bytes();
        bytes.extend(body);
        bytes.push(b'\n');
        bytes.resize(RECORD_BYTES, b' ');
        bytes
    }

    fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written as JSON")
    }

    /// What is kept in place of a record that is damaged: nobody knows how many starts went wrong, so as many as
    /// bring about caution did.
    pub fn unknown(unclean_max: u32) -> Self {
        Self { unclean: unclean_max, start: Start::MadeWay, ..Self::default() }
    }

    /// A start begins in `boot`, after one that ended as `before` says.
    pub fn begin(&mut self, boot: &str, before: Before, unclean_max: u32) -> Begun {
        let boot: String = boot.chars().take(BOOT_MAX).collect();
        // One that cannot be told from the last is taken for another: that counts, and is never too few.
        let same_boot = !boot.is_empty() && self.boot == boot;
        let crashed = same_boot && before == Before::Crashed;
        let counted = match self.start {
            Start::Healthy | Start::Stopped | Start::MadeWay => false,
            // There was none before.
            Start::Begun if self.starts == 0 => false,
            Start::Begun => !same_boot || crashed,
        };
        let ends_probation = counted || (crashed && self.start == Start::Healthy);
        self.starts = self.starts.saturating_add(1);
        if counted {
            self.unclean = self.unclean.saturating_add(1);
        }
        self.boot = boot;
        self.start = Start::Begun;
        if self.safe_mode.is_none() && self.unclean >= unclean_max.saturating_mul(2) {
            let why = format!("{} starts in a row came to no health", self.unclean);
            self.enter_safe_mode(None, &why, true);
        }
        Begun { level: self.level(unclean_max), counted, ends_probation }
    }

    /// Which engines are docked.
    pub fn level(&self, unclean_max: u32) -> Level {
        match self.unclean {
            _ if self.safe_mode.is_some() => Level::Nothing,
            unclean if unclean >= unclean_max => Level::KnownGood,
            _ => Level::All,
        }
    }

    /// The start came to be healthy, with `in_force` in force; as before, if that cannot be told.
    pub fn healthy(&mut self, in_force: Option<Vec<Good>>) {
        self.start = Start::Healthy;
        self.unclean = 0;
        if in_force.is_some() {
            self.known_good = in_force;
        }
    }

    /// The start ends because somebody wants it to. One that went on for as long as health takes breaks the row,
    /// though not all was well; one that did not neither breaks it nor counts.
    pub fn stopped(&mut self, lasted: bool) {
        if lasted && self.safe_mode.is_none() {
            self.unclean = 0;
        }
        if self.start == Start::Begun {
            self.start = Start::Stopped;
        }
    }

    /// The start makes way for another host, which is to be judged as this one would have been.
    pub fn makes_way(&mut self) {
        if self.start == Start::Begun {
            self.start = Start::MadeWay;
        }
    }

    /// Whether a release was in force at the last healthy start. Where there was none yet nothing speaks against it.
    pub fn knows(&self, engine: &EngineName, part: Part, package: &Digest) -> bool {
        let Some(known) = &self.known_good else { return true };
        let package = package.to_string();
        known
            .iter()
            .any(|good| good.engine == *engine && good.part == part && good.package == package)
    }

    /// Keeps `engine`, or all of them, off the dock from now on.
    pub fn enter_safe_mode(&mut self, engine: Option<&EngineName>, why: &str, unclean: bool) {
        let withheld =
            Withheld { why: why[..why.floor_char_boundary(WHY_MAX)].to_owned(), unclean };
        match engine {
            Some(engine) => drop(self.withheld.insert(engine.clone(), withheld)),
            None => self.safe_mode = Some(withheld),
        }
    }

    /// Lets `engine` dock again, or leaves safe mode, which lets all dock but those that are withheld by name; whether
    /// anything was kept off.
    pub fn leave_safe_mode(&mut self, engine: Option<&EngineName>) -> bool {
        match engine {
            Some(engine) => self.withheld.remove(engine).is_some(),
            None => {
                self.unclean = 0;
                self.safe_mode.take().is_some()
            }
        }
    }
}

#[cfg(test)]
#[path = "boot_tests.rs"]
mod tests;
