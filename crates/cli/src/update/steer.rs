//! The administrator's hand: end a trial, go back, say yes, forgive.
//!
//! With a host that docks the engine it is the host who acts, since processes change with the journal. Without one
//! the journal alone is changed, and the next host starts what it says.

use std::fs;

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use outrigger_update::finding::{Finding, Sign};
use outrigger_update::store::{Digest, Reader, Release, ReleaseId, Store, StoreError, WentBack};
use semver::Version;

use super::host::{self, Docks};
use super::{Site, UpdateError, turn};
use crate::run::Outcome;
use crate::steps::{Step, Steps};

/// Ends the trial of `engine`.
pub(super) fn stop(site: &Site<'_>, engine: &EngineName, steps: &mut Steps<'_>) -> Result<Outcome> {
    let trials = host::trials(site)?.unwrap_or_default();
    let decides = !Store::open_read(&site.config.state_dir)?.in_probation(engine)?.is_empty();
    // What stands in shadow without running, since a host would not begin it, is the journal's alone.
    let runs = decides || trials.iter().any(|trial| trial.engine == *engine);
    if runs && host::docks(site, engine)? == Docks::Yes {
        return by_host("stopped", engine, host::stop(site, engine)?, steps);
    }
    let mut store = turn::open(&site.config.state_dir)?;
    let why = format!("its trial was ended by {}", who());
    let rejection = Finding::new(Sign::Stopped, why).rejection();
    let shadow = store.shadowing(engine)?;
    let back = store.roll_back(engine, &rejection, Timestamp::now())?;
    for (_, one) in &shadow {
        store.reject(one.release, &rejection, Timestamp::now())?;
    }
    drop(store);
    if shadow.is_empty() && back.is_empty() {
        let detail = "nothing of it is in shadow or on probation";
        steps.done(&Step { step: "refused", of: engine.as_str(), good: false, detail })?;
        return Ok(Outcome::Bad);
    }
    for (part, one) in &shadow {
        let of = format!("{engine} {part} {}", one.version);
        let detail = "it will not run in shadow";
        steps.done(&Step { step: "stopped", of: &of, good: true, detail })?;
    }
    went_back("stopped", &back, steps)
}

/// Puts in force again what was in force of `engine` before.
pub(super) fn back(
    site: &Site<'_>,
    engine: &EngineName,
    part: Option<Part>,
    steps: &mut Steps<'_>,
) -> Result<Outcome> {
    if host::docks(site, engine)? == Docks::Yes {
        steps.turning(&format!("going back with {engine}"));
        return by_host("back", engine, host::go_back(site, engine, part)?, steps);
    }
    let mut store = turn::open(&site.config.state_dir)?;
    let why = format!("sent back by {}", who());
    let rejection = Finding::new(Sign::SentBack, why).rejection();
    match store.send_back(engine, part, &rejection, Timestamp::now()) {
        Ok(back) => went_back("back", &back, steps),
        Err(error @ StoreError::NothingBefore { .. }) => {
            let (of, detail) = (engine.as_str(), error.to_string());
            steps.done(&Step { step: "refused", of, good: false, detail: &detail })?;
            Ok(Outcome::Bad)
        }
        Err(error) => Err(error.into()),
    }
}

fn by_host(
    step: &str,
    engine: &EngineName,
    answer: Result<String, String>,
    steps: &mut Steps<'_>,
) -> Result<Outcome> {
    let (step, good, detail) = match &answer {
        Ok(message) => (step, true, message),
        Err(why) => ("refused", false, why),
    };
    steps.done(&Step { step, of: engine.as_str(), good, detail })?;
    Ok(Outcome::good_if(good))
}

fn went_back(step: &str, back: &[WentBack], steps: &mut Steps<'_>) -> Result<Outcome> {
    for one in back {
        let of = format!("{} {} {}", one.engine, one.part, one.from);
        let detail = match &one.to {
            Some(to) => format!("{to} is in force again; no host docks it now"),
            None => format!("no {} is in force; no host docks it now", one.part),
        };
        steps.done(&Step { step, of: &of, good: true, detail: &detail })?;
    }
    Ok(Outcome::Good)
}

/// Notes that what passed preflight of `engine` may go on, or what of it is named.
pub(super) fn approve(
    site: &Site<'_>,
    engine: &EngineName,
    part: Option<Part>,
    version: Option<&Version>,
    steps: &mut Steps<'_>,
) -> Result<Outcome> {
    let reader = Store::open_read(&site.config.state_dir)?;
    let waiting = waiting(&reader, engine, part, version)?;
    drop(reader);
    if waiting.is_empty() {
        let detail = "nothing of it waits for approval; `outrigger update apply` gets and tries what is newer";
        steps.done(&Step { step: "refused", of: engine.as_str(), good: false, detail })?;
        return Ok(Outcome::Bad);
    }
    let mut store = turn::open(&site.config.state_dir)?;
    let by = who();
    for release in &waiting {
        store.approve(release.id, &by, Timestamp::now())?;
        let of = format!("{engine} {} {}", release.part, release.version);
        let detail = format!("by {by}; go on with: outrigger update apply {engine}");
        steps.done(&Step { step: "approved", of: &of, good: true, detail: &detail })?;
    }
    Ok(Outcome::Good)
}

/// What of `engine` lies in its slot and was tried, and is not on its trial.
fn waiting(
    reader: &Reader,
    engine: &EngineName,
    part: Option<Part>,
    version: Option<&Version>,
) -> Result<Vec<Release>, StoreError> {
    let mut found = Vec::new();
    for of in Part::ALL.into_iter().filter(|of| part.is_none_or(|part| part == *of)) {
        let Some(standby) = reader.standby(engine, of)? else { continue };
        let wanted = version.is_none_or(|version| *version == standby.version);
        if wanted && standby.state == State::Preflight {
            found.push(reader.release(standby.release)?);
        }
    }
    Ok(found)
}

/// Lets a package be taken again that failed here: by its digest, or as a version of an engine.
pub(super) fn forget_bad(
    site: &Site<'_>,
    what: &str,
    version: Option<&Version>,
    steps: &mut Steps<'_>,
) -> Result<Outcome> {
    let reader = Store::open_read(&site.config.state_dir)?;
    let bad = reader.known_bad_all()?;
    drop(reader);
    let engine: Option<EngineName> = what.parse().ok();
    let digest: Option<Digest> = what.parse().ok();
    let found: Vec<&Release> = match (digest, &engine, version) {
        (Some(digest), _, None) => {
            bad.iter().map(|(of, _)| of).filter(|of| of.package == digest).collect()
        }
        (_, Some(engine), Some(version)) => {
            let same = |of: &&Release| of.engine == *engine && of.version == *version;
            bad.iter().map(|(of, _)| of).filter(same).collect()
        }
        _ => {
            let what = what.chars().take(80).collect();
            return Err(UpdateError::NoPackage { what }.into());
        }
    };
    let mut packages: Vec<(Digest, ReleaseId)> = Vec::new();
    for release in &found {
        if !packages.iter().any(|(package, _)| *package == release.package) {
            packages.push((release.package, release.id));
        }
    }
    if packages.is_empty() {
        let detail = "it is not known to be bad; `outrigger update status` lists what is";
        steps.done(&Step { step: "refused", of: what, good: false, detail })?;
        return Ok(Outcome::Bad);
    }
    let mut store = turn::open(&site.config.state_dir)?;
    let by = format!("by {}", who());
    for (package, id) in packages {
        store.forget_bad(&package, &by, Timestamp::now())?;
        let of = found.iter().find(|release| release.id == id);
        let of = of.map(|of| format!("{} {} {}", of.engine, of.part, of.version));
        let detail = "it is taken again where it is offered";
        let of = of.unwrap_or_default();
        steps.done(&Step { step: "forgotten", of: &of, good: true, detail })?;
    }
    Ok(Outcome::Good)
}

/// Who gave the command: the user who logged in, whatever became of them since (`/proc/self/loginuid`).
fn who() -> String {
    let login = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    // What no login set is the largest number.
    let login = login.trim().parse::<u32>().ok().filter(|uid| *uid != u32::MAX);
    let Some(uid) = login else { return "root".to_owned() };
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("user {uid}"))
}
