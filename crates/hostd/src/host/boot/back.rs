//! What follows for releases from starts that came to no health. Called before any engine is started; waits for the
//! disk.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outrigger_api::reason::chain;
use outrigger_api::release::{Part, State};
use outrigger_api::{EngineName, FailureReason};
use outrigger_update::boot::{Good, Record};
use outrigger_update::store::{Reader, Rejection, Store, StoreError};

/// How long somebody else may hold the store.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked whether it was let go.
const LOOK: Duration = Duration::from_millis(20);

/// On which terms what is on probation goes back, and what else does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// What is being tried is not tried any more either.
    pub(super) cautious: bool,
    /// What was not in force at the last healthy start goes back, and not only what is on probation.
    pub(super) known_good_alone: bool,
    /// What goes back is held to be bad, and not taken again.
    pub(super) conduct: bool,
    /// Starts in a row that came to no health.
    pub(super) unclean: u32,
}

/// What became of an engine.
#[derive(Debug)]
pub(super) enum Back {
    /// It went back, or is not tried any more: what, for a person.
    Went(String),
    /// What is in force is not known to be good, and there is nothing to go back to that is.
    Nowhere(String),
    /// It was to go back and could not.
    Failed(String),
}

/// What is in force of the engines.
pub(super) fn in_force(state_dir: &Path, engines: &[EngineName]) -> Result<Vec<Good>, String> {
    let look = || -> Result<Vec<Good>, StoreError> {
        let mut found = Vec::new();
        let store = Store::open_read(state_dir)?;
        for engine in engines {
            for part in Part::ALL {
                let Some(active) = store.active(engine, part)? else { continue };
                let package = store.release(active.release)?.package.to_string();
                found.push(Good { engine: engine.clone(), part, package });
            }
        }
        Ok(found)
    };
    look().map_err(|error| chain(&error))
}

/// Takes back what of `engine` is not to be in force on these terms.
pub(super) fn carry_out(
    state_dir: &Path,
    engine: &EngineName,
    known: &Record,
    terms: &Terms,
) -> Vec<Back> {
    let mut found = Vec::new();
    if let Err(error) = go_back(state_dir, engine, known, terms, &mut found) {
        found.push(Back::Failed(chain(&error)));
    }
    found
}

fn go_back(
    state_dir: &Path,
    engine: &EngineName,
    known: &Record,
    terms: &Terms,
    found: &mut Vec<Back>,
) -> Result<(), StoreError> {
    let now = Timestamp::now();
    let text = match terms.unclean {
        0 => "the host crashed while it was on probation".to_owned(),
        count => format!("{count} starts in a row came to no health"),
    };
    let name = FailureReason::UncleanBoots.name();
    let rejection = match terms.conduct {
        true => Rejection::for_conduct(name, &text),
        false => Rejection::new(name, &text),
    };
    let reader = Store::open_read(state_dir)?;
    let on_probation = !reader.in_probation(engine)?.is_empty();
    let shadowing = if terms.cautious { reader.shadowing(engine)? } else { Vec::new() };
    let is_unknown = |reader: &Reader, part| -> Result<bool, StoreError> {
        let Some(active) = reader.active(engine, part)? else { return Ok(false) };
        let package = reader.release(active.release)?.package;
        Ok(active.state == State::Active && !known.knows(engine, part, &package))
    };
    let mut unknown = Vec::new();
    if terms.known_good_alone {
        for part in Part::ALL {
            if is_unknown(&reader, part)? {
                unknown.push(part);
            }
        }
    }
    // A reader may keep the writer waiting.
    drop(reader);
    if !on_probation && shadowing.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    let mut store = open(state_dir)?;
    if on_probation {
        for went in store.roll_back(engine, &rejection, now)? {
            found.push(Back::Went(went_back(&went)));
        }
    }
    for (part, standby) in shadowing {
        store.reject(standby.release, &Rejection::new(name, &text), now)?;
        let version = standby.version;
        found.push(Back::Went(format!("{engine} {part} {version} is not tried any more")));
    }
    for part in unknown {
        match store.send_back(engine, Some(part), &rejection, now) {
            Ok(all) => found.extend(all.iter().map(|went| Back::Went(went_back(went)))),
            Err(StoreError::NothingBefore { .. }) => {}
            Err(error) => return Err(error),
        }
        if is_unknown(&store, part)? {
            found.push(Back::Nowhere(format!(
                "{text}, its {part} was not in force at the last start that came to health, and there is none on \
                 this machine that was"
            )));
        }
    }
    Ok(())
}

/// What went back, for a person.
pub(crate) fn went_back(went: &outrigger_update::store::WentBack) -> String {
    let outrigger_update::store::WentBack { engine, part, from, to } = went;
    match to {
        Some(to) => format!("{engine} went back from {part} {from} to {to}"),
        None => format!("{engine} went back from {part} {from} to none"),
    }
}

/// The store, once nobody else changes it.
pub(crate) fn open(state_dir: &Path) -> Result<Store, StoreError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match Store::open(state_dir) {
            Err(StoreError::Locked { .. }) if Instant::now() < end => std::thread::sleep(LOOK),
            opened => return opened,
        }
    }
}
