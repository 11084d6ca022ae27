//! The latest time at which a refresh succeeded, so that a clock that was set back shows.
//!
//! Expiry is judged by this machine's clock; whoever sets it back makes what expired look fresh. The time is
//! not signed by anybody, so it decides one thing alone: whether the clock can be believed.

use jiff::{SignedDuration, Timestamp};

use super::Refusal;
use super::keep::Keeper;

/// The file's name; no metadata has it.
const FILE: &str = "clock";
/// How far a clock may be set back without a question: time zones set wrongly, a drift, a leap.
const TOLERANCE: SignedDuration = SignedDuration::from_hours(24);

/// What the clock said when a refresh last succeeded; `None` if none did, or if nobody can read it.
pub(super) fn seen(keeper: &Keeper) -> Result<Option<Timestamp>, Refusal> {
    let bytes = keeper.read(FILE)?;
    Ok(bytes.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok()))
}

/// Refuses a clock that is behind what it has shown.
pub(super) fn check(
    now: Timestamp,
    seen: Option<Timestamp>,
    keeper: &Keeper,
) -> Result<(), Refusal> {
    match seen {
        Some(seen) if now.duration_until(seen) > TOLERANCE => {
            Err(Refusal::Clock { now, seen, file: keeper.path(FILE) })
        }
        _ => Ok(()),
    }
}

/// Remembers that a refresh succeeded.
pub(super) fn remember(
    now: Timestamp,
    seen: Option<Timestamp>,
    keeper: &Keeper,
) -> Result<(), Refusal> {
    if seen.is_some_and(|seen| seen >= now) {
        return Ok(());
    }
    keeper.write(FILE, format!("{now}\n").as_bytes())
}
