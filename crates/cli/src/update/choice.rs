//! Which release of a part is the next one here: what is offered, looked at with this machine's ring, pins and
//! times without updates.

use std::fs;

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use outrigger_api::settings::{Offered, Pin, Releases, UpdatesConfig, package_target};
use outrigger_update::repository::{Refusal, Target};
use outrigger_update::rollout::{self, Candidate, Decision, Hold, Policy, Seed, Wait};
use outrigger_update::store::{Digest, KnownBad, Reader};
use semver::Version;

use super::source::Source;
use super::{Site, UpdateError};

/// What tells installations of a system apart (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// What is to be done about a part.
#[derive(Debug)]
pub(super) enum Choice {
    /// There is nothing that is newer.
    Nothing,
    /// This one is taken.
    Take(Next),
    /// This one later.
    Wait(Version, Timestamp, Wait),
    /// Nothing, for as long as the policy stays.
    Held(Version, Hold),
}

/// A release that is taken.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) version: Version,
    pub(super) target: Target,
    pub(super) package: Digest,
}

/// What is to be done, and what is not taken on the way to it.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) choice: Choice,
    /// Those that would be next, if they had not failed here before.
    pub(super) bad: Vec<(Version, KnownBad)>,
    /// Those that the repository lists and does not have, or not as it should.
    pub(super) refused: Vec<(Version, String)>,
}

/// What this machine is called in waves: what the administrator wrote, or its installation's number.
pub(super) fn seed(config: &UpdatesConfig) -> Result<Seed, UpdateError> {
    if let Some(text) = &config.rollout.seed {
        return Ok(Seed::new(text));
    }
    if config.rollout.ring == 0 {
        // Nobody waits for a turn in ring 0.
        return Ok(Seed::new(""));
    }
    let no_seed = |why: String| UpdateError::NoSeed { file: MACHINE_ID, why };
    let text = fs::read_to_string(MACHINE_ID).map_err(|error| no_seed(error.to_string()))?;
    let text = text.trim();
    // Images are shipped with an empty one, or with this word, until their first start.
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(no_seed("it is not 32 hexadecimal digits".to_owned()));
    }
    Ok(Seed::new(text))
}

/// What is to be done about `part` of `engine`, of which `releases` are offered, at `now`.
pub(super) fn choose(
    site: &Site<'_>,
    reader: &Reader,
    source: &mut Source,
    engine: &EngineName,
    part: Part,
    releases: &Releases,
    now: Timestamp,
) -> Result<Chosen> {
    let active = reader.active(engine, part)?.map(|active| active.version);
    let pin = site.config.pin(engine, part);
    let wanted = |offered: &&Offered| {
        let pinned = matches!(pin, Some(Pin::Version(version)) if *version == offered.version);
        offered.part == part
            && (pinned || active.as_ref().is_none_or(|active| offered.version > *active))
    };
    let (mut candidates, mut targets, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for offered in releases.releases.iter().filter(wanted) {
        match found(source, engine, offered) {
            Ok((target, package)) => {
                // A time that no clock has never comes.
                let published = offered.published.parse().unwrap_or(Timestamp::MAX);
                let version = offered.version.clone();
                candidates.push(Candidate { version, published, package, refused: false });
                targets.push(target);
            }
            Err(why) => refused.push((offered.version.clone(), why)),
        }
    }
    let policy =
        Policy { rollout: &site.config.rollout, pin, seed: &site.seed, emergency: site.emergency };
    let approved = approved(site, reader, engine, part, &candidates)?;
    let mut bad = Vec::new();
    let choice = loop {
        let alone = approved.map(|at| &candidates[at..=at]);
        let decision = match alone.map(|one| rollout::decide(&policy, active.as_ref(), one, now)) {
            Some(Decision::Take(one)) if !one.refused => Decision::Take(one),
            _ => rollout::decide(&policy, active.as_ref(), &candidates, now),
        };
        let next = match &decision {
            Decision::Take(next) | Decision::Wait { next, .. } => next.package,
            Decision::Nothing => break Choice::Nothing,
            Decision::Held { version, why } => break Choice::Held(version.clone(), why.clone()),
        };
        if let Some(known) = reader.known_bad(&next)? {
            let at = candidates.iter().position(|one| one.package == next && !one.refused);
            // Whoever is decided for is one of them, and not refused.
            let Some(candidate) = at.and_then(|at| candidates.get_mut(at)) else {
                break Choice::Nothing;
            };
            candidate.refused = true;
            bad.push((candidate.version.clone(), known));
            continue;
        }
        break match decision {
            Decision::Wait { next, until, why } => Choice::Wait(next.version.clone(), until, why),
            Decision::Take(next) => {
                let (version, package) = (next.version.clone(), next.package);
                let at = candidates.iter().position(|one| one.version == version);
                let target = at.map(|at| targets.swap_remove(at));
                target.map_or(Choice::Nothing, |target| {
                    Choice::Take(Next { version, target, package })
                })
            }
            Decision::Nothing | Decision::Held { .. } => Choice::Nothing,
        };
    };
    Ok(Chosen { choice, bad, refused })
}

/// The candidate that a person said yes to and that lies ready: it goes before newer ones, or where releases come
/// faster than people say yes none would ever be taken.
fn approved(
    site: &Site<'_>,
    reader: &Reader,
    engine: &EngineName,
    part: Part,
    candidates: &[Candidate],
) -> Result<Option<usize>> {
    if !site.config.rollout.approval.covers(part) {
        return Ok(None);
    }
    let Some(standby) = reader.standby(engine, part)? else { return Ok(None) };
    if standby.state != State::Preflight || !reader.is_approved(standby.release)? {
        return Ok(None);
    }
    let package = reader.release(standby.release)?.package;
    let same = |one: &Candidate| one.version == standby.version && one.package == package;
    Ok(candidates.iter().position(same))
}

fn found(
    source: &mut Source,
    engine: &EngineName,
    offered: &Offered,
) -> Result<(Target, Digest), String> {
    let name = package_target(engine, offered.part, &offered.version);
    let target = source.find(&name).map_err(|refusal| told(&refusal))?;
    let sum = target.sha256().ok_or("its signed metadata has no SHA-256 of it")?;
    Ok((target, Digest(sum)))
}

/// A refusal with its name before it and what to do behind it.
pub(super) fn told(refusal: &Refusal) -> String {
    format!("{}: {refusal}. {}", refusal.name(), refusal.advice())
}
