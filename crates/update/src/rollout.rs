//! Which release of a part this machine takes, and when: rings and waves, pins, times without updates.
//!
//! ```text
//!  published ──ring × length──▶ this ring's turn ──wave──▶ this machine's turn ──freeze──▶ taken
//! ```
//!
//! A machine's place in its ring is a hash of its seed and of the release's digest: another one for each release,
//! evenly spread, known to nobody in advance and to no list. What is not newer than what is in force is never
//! taken, unless the administrator pinned just that version.
//!
//! Pure: the time is an argument, so is everything that is known. Nothing here is about whether a release is good;
//! that one is known to be bad, the caller says ([`Candidate::refused`]).

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use outrigger_api::settings::{Day, Freeze, Pin, RolloutConfig, WeekTime};
use semver::Version;
use sha2::{Digest as _, Sha256};

use crate::store::Digest;

const HOUR: i64 = 3600;
const WEEK: i64 = 7 * 24 * HOUR;
/// Monday 00:00 UTC of the week of 1970-01-01, in seconds since then.
const MONDAY: i64 = -3 * 24 * HOUR;
/// Longest chain of times without updates that is followed to its end. More of them leave no time between.
const THAWS_MAX: usize = 1000;
/// What a seed is hashed with, so that the result says nothing about it and is of no use elsewhere.
const SEED: &[u8] = b"outrigger rollout seed 1\0";

/// What tells this machine from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed made of `text`, which cannot be had back from it.
    pub fn new(text: &str) -> Self {
        Self(Sha256::new().chain_update(SEED).chain_update(text).finalize().into())
    }

    /// This machine's place in the wave of `package`, in seconds of a ring of `length` seconds.
    fn place(&self, package: &Digest, length: i64) -> i64 {
        let hash: [u8; 32] =
            Sha256::new().chain_update(self.0).chain_update(package.0).finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        let share = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        // A share of 2^64, of a length that has fewer bits: the result is less than the length.
        i64::try_from((u128::from(share) * u128::from(length.unsigned_abs())) >> 64).unwrap_or(0)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// A release that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its version.
    pub version: Version,
    /// When it was published, as its publisher signed.
    pub published: Timestamp,
    /// Its package.
    pub package: Digest,
    /// It is known to be bad here: it counts, and is not taken.
    pub refused: bool,
}

/// What the administrator decided about one part of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The machine's ring, and when nothing is taken.
    pub rollout: &'a RolloutConfig,
    /// What is taken in place of the newest.
    pub pin: Option<&'a Pin>,
    /// What tells the machine from others.
    pub seed: &'a Seed,
    /// Neither ring nor wave nor a time without updates is waited for.
    pub emergency: bool,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'c> {
    /// There is nothing that would ever be taken.
    Nothing,
    /// This one is taken.
    Take(&'c Candidate),
    /// This one will be taken, not yet.
    Wait {
        /// The next.
        next: &'c Candidate,
        /// When, as far as is known now.
        until: Timestamp,
        /// What it waits for.
        why: Wait,
    },
    /// Nothing will be taken before the administrator changes something.
    Held {
        /// The newest of what is held.
        version: Version,
        /// By what.
        why: Hold,
    },
}

/// What a release waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The time at which it was published, by this machine's clock.
    Published,
    /// The rings before this machine's, and its turn in its own.
    Ring(u32),
    /// The end of a time without updates.
    Freeze(Freeze),
}

/// What holds a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The part is pinned to something else.
    Pinned(Pin),
    /// The part is pinned to a version that is not offered.
    NotOffered,
    /// The times without updates leave none between them.
    AlwaysFrozen,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published => {
                f.write_str("it was published at a time that is to come by this machine's clock")
            }
            Self::Ring(ring) => write!(f, "this machine's turn in ring {ring}"),
            Self::Freeze(freeze) => write!(f, "nothing is taken in {freeze} (UTC)"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned(pin) => write!(f, "pinned to {pin}"),
            Self::NotOffered => f.write_str("pinned to it, and it is not offered"),
            Self::AlwaysFrozen => f.write_str("the times in `freeze` leave none between them"),
        }
    }
}

/// What is to be done at `now` about a part of which `active` is in force and `candidates` are offered.
pub fn decide<'c>(
    policy: &Policy<'_>,
    active: Option<&Version>,
    candidates: &'c [Candidate],
    now: Timestamp,
) -> Decision<'c> {
    let mut newest: Vec<&Candidate> = candidates.iter().collect();
    newest.sort_by(|a, b| b.version.cmp(&a.version));
    let is_newer = |one: &&&Candidate| active.is_none_or(|active| one.version > *active);
    let open: Vec<&Candidate> = match policy.pin {
        None => newest.iter().filter(is_newer).copied().collect(),
        Some(Pin::Behind(count)) => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            newest.iter().skip(count).filter(is_newer).copied().collect()
        }
        Some(Pin::Version(pinned)) if active == Some(pinned) => Vec::new(),
        Some(Pin::Version(pinned)) => {
            let found = newest.iter().find(|one| one.version == *pinned).copied();
            let Some(found) = found else {
                return Decision::Held { version: pinned.clone(), why: Hold::NotOffered };
            };
            vec![found]
        }
    };
    if open.is_empty() {
        let held = newest.iter().find(|one| is_newer(one) && !one.refused);
        return match (held, policy.pin) {
            (Some(held), Some(pin)) => {
                Decision::Held { version: held.version.clone(), why: Hold::Pinned(pin.clone()) }
            }
            _ => Decision::Nothing,
        };
    }
    let open = open.into_iter().filter(|one| !one.refused);
    let turns: Vec<(&Candidate, Timestamp)> = open.map(|one| (one, policy.turn(one))).collect();
    // The newest whose turn has come: where releases follow one another faster than rings, waiting for the
    // newest of all would be waiting for ever.
    let come = turns.iter().find(|(_, turn)| *turn <= now);
    let Some((next, turn)) = come.or_else(|| turns.iter().min_by_key(|(_, turn)| *turn)) else {
        return Decision::Nothing;
    };
    let next: &'c Candidate = next;
    let freeze: &[Freeze] = if policy.emergency { &[] } else { &policy.rollout.freeze };
    let Some((until, last)) = thaw(freeze, (*turn).max(now)) else {
        return Decision::Held { version: next.version.clone(), why: Hold::AlwaysFrozen };
    };
    if until <= now {
        return Decision::Take(next);
    }
    let why = match last {
        Some(freeze) if *turn <= now => Wait::Freeze(freeze),
        _ if next.published > now => Wait::Published,
        _ => Wait::Ring(policy.rollout.ring),
    };
    Decision::Wait { next, until, why }
}

/// Whether it is a time without updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    /// It is not.
    No,
    /// Until then.
    Until(Timestamp),
    /// For as long as the policy stays.
    Always,
}

/// Whether `rollout` lets nothing be taken at `now`.
pub fn frozen(rollout: &RolloutConfig, now: Timestamp) -> Frozen {
    match thaw(&rollout.freeze, now) {
        None => Frozen::Always,
        Some((_, None)) => Frozen::No,
        Some((until, Some(_))) => Frozen::Until(until),
    }
}

impl Policy<'_> {
    /// When `candidate` is this machine's, if nothing is frozen.
    fn turn(&self, candidate: &Candidate) -> Timestamp {
        let ring = i64::from(self.rollout.ring);
        if ring == 0 || self.emergency {
            return candidate.published;
        }
        let length = i64::from(self.rollout.ring_hours) * HOUR;
        let wait = ring * length + self.seed.place(&candidate.package, length);
        later(candidate.published, wait)
    }
}

/// When nothing is frozen any more, from `at` on, and what ended last; `None` if that is never.
fn thaw(freeze: &[Freeze], at: Timestamp) -> Option<(Timestamp, Option<Freeze>)> {
    let (mut at, mut last) = (at, None);
    for _ in 0..THAWS_MAX {
        let Some((end, one)) = freeze.iter().find_map(|one| Some((ends(one, at)?, *one))) else {
            return Some((at, last));
        };
        (at, last) = (end, Some(one));
    }
    None
}

/// When `freeze` ends, if `at` is in it.
fn ends(freeze: &Freeze, at: Timestamp) -> Option<Timestamp> {
    match freeze {
        Freeze::Week { from, to } => {
            let now = (at.as_second() - MONDAY).rem_euclid(WEEK);
            let (from, to) = (of_week(*from), of_week(*to));
            // Counted from its begin, so that one over the turn of the week is as any other.
            let (gone, length) = ((now - from).rem_euclid(WEEK), (to - from).rem_euclid(WEEK));
            (gone < length).then(|| later(whole(at), length - gone))
        }
        Freeze::Days { first, last } => {
            let (first, end) = (midnight(*first)?, later(midnight(*last)?, 24 * HOUR));
            (first <= at && at < end).then_some(end)
        }
    }
}

fn of_week(time: WeekTime) -> i64 {
    (i64::from(time.day) * 24 + i64::from(time.hour)) * HOUR + i64::from(time.minute) * 60
}

fn midnight(day: Day) -> Option<Timestamp> {
    let day = Date::new(day.year, day.month, day.day).ok()?;
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// `seconds` after `at`, or the last moment there is.
fn later(at: Timestamp, seconds: i64) -> Timestamp {
    let sum = at.as_second().saturating_add(seconds);
    Timestamp::new(sum, at.subsec_nanosecond()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
