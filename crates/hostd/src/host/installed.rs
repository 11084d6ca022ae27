//! Where an engine runs from: the folders that its configuration names, or the slots that the store of
//! releases has in force.
//!
//! The store's journal is the only truth of what is in force. A host that starts takes what it says; while a
//! host runs, what is in force changes by that host's hand alone ([`super::releases`]). So a cut at any moment
//! leaves the one or the other in force, and the next host starts that.
//!
//! What lies in a slot is compared with what was put there before each start from it ([`Checked`]).
//!
//! Everything here waits for the disk: it is called by the control thread before there are questions, and by
//! threads of its own after that. The check before a start is the exception; it reads the slot, once per start.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use outrigger_api::EngineName;
use outrigger_api::control::ReleaseName;
use outrigger_api::reason::chain;
use outrigger_api::release::{Part, State};
use outrigger_api::settings::{EngineConfig, EngineSource, MANIFEST_FILE, Manifest};
use outrigger_supervisor::{EngineSpec, LaunchError, Launcher, Process, Start};
use outrigger_update::package::{PackageLimits, tree_digest};
use outrigger_update::store::{Digest, Reader, ReleaseId, Store};

use super::lock;

/// An engine as it is to run.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) spec: EngineSpec,
    /// The slots that it runs from, with what must lie there.
    slots: Vec<(PathBuf, Digest)>,
    /// What is to be in force once it has docked, and is not yet.
    new: Vec<(ReleaseId, Part, String)>,
}

impl Version {
    fn new(manifest: Manifest, config: EngineConfig) -> Self {
        let events = manifest.events.iter().map(|subscription| subscription.event).collect();
        Self { spec: EngineSpec { manifest, config, events }, slots: Vec::new(), new: Vec::new() }
    }

    /// The entries of what is new of it.
    pub(crate) fn entries(&self) -> Vec<ReleaseId> {
        self.new.iter().map(|(release, ..)| *release).collect()
    }

    /// Whether `other` runs from the same slots.
    pub(crate) fn lies_where(&self, other: &Self) -> bool {
        self.slots == other.slots
    }

    /// What must lie in `folder`, if that is one of its slots.
    pub(crate) fn tree_of(&self, folder: &Path) -> Option<Digest> {
        self.slots.iter().find(|(slot, _)| slot == folder).map(|(_, tree)| *tree)
    }

    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        let manifest = &self.spec.manifest;
        let new: Vec<String> =
            self.new.iter().map(|(_, part, version)| format!("{part} {version}")).collect();
        match new.is_empty() {
            true => format!("{} {}", manifest.name, manifest.version),
            false => format!("{} with {}", manifest.name, new.join(" and ")),
        }
    }
}

/// What must lie in each slot that an engine was last started from, or is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trees(Arc<Mutex<HashMap<PathBuf, Digest>>>);

impl Trees {
    /// Expects what `version` names, from its next start on.
    pub(crate) fn expect(&self, version: &Version) {
        lock(&self.0).extend(version.slots.iter().cloned());
    }

    /// An error if what lies in `folder` is not what must; nothing is known of a folder that is no slot.
    fn check(&self, folder: &Path) -> Result<(), LaunchError> {
        let Some(expected) = lock(&self.0).get(folder).copied() else { return Ok(()) };
        unaltered(folder, expected)
            .map_err(|why| LaunchError::Altered { folder: folder.to_owned(), why })
    }
}

/// An error if what lies in `folder` is not what was put there.
pub(crate) fn unaltered(folder: &Path, expected: Digest) -> Result<(), String> {
    let open = File::open(folder).map_err(|error| error.to_string())?;
    let found = tree_digest(open.as_fd(), &PackageLimits::widest());
    let found = found.map_err(|error| chain(&error))?;
    match found.0 == expected.0 {
        true => Ok(()),
        false => Err(format!("its digest is {found}, and was {expected} when installed")),
    }
}

/// Starts processes from slots only if what lies there is what was put there.
#[derive(Debug)]
pub(crate) struct Checked<L> {
    pub(crate) trees: Trees,
    pub(crate) launcher: L,
}

impl<L: Launcher> Launcher for Checked<L> {
    fn launch(&mut self, start: Start<'_>) -> Result<Box<dyn Process>, LaunchError> {
        let spec = start.spec;
        self.trees.check(&spec.manifest.folder)?;
        if let Some(content) = &spec.config.content_dir {
            self.trees.check(content)?;
        }
        self.launcher.launch(start)
    }
}

/// What the engine of `config`, whose manifest is `manifest` where that is configured, is to run as when a
/// host starts; or why there is nothing to run, and a stand-in that asks for everything.
pub(crate) fn at_start(
    state_dir: &Path,
    config: &EngineConfig,
    manifest: Option<Manifest>,
) -> anyhow::Result<(Version, Option<String>)> {
    let name = match (&config.source, manifest) {
        (_, Some(manifest)) => return Ok((Version::new(manifest, config.clone()), None)),
        (EngineSource::Installed(name), None) => name,
        (EngineSource::Manifest(file), None) => anyhow::bail!("{} was not read", file.display()),
    };
    match found(state_dir, config, name, &[]) {
        Ok(version) => Ok((version, None)),
        Err(why) => Ok((Version::new(stand_in(name)?, config.clone()), Some(why))),
    }
}

/// What the engine of `config` is to run as by what is in force, or lies in its folders, now.
pub(crate) fn find(
    state_dir: &Path,
    config: &EngineConfig,
    name: &EngineName,
) -> Result<Version, String> {
    let EngineSource::Manifest(file) = &config.source else {
        return found(state_dir, config, name, &[]);
    };
    let manifest = Manifest::read(file).map_err(|errors| errors.to_string())?;
    Ok(Version::new(manifest, config.clone()))
}

/// What the engine of `config` is to run as with `releases`, which stand in shadow, in place of what is in
/// force.
pub(crate) fn find_new(
    state_dir: &Path,
    config: &EngineConfig,
    name: &EngineName,
    releases: &[ReleaseName],
) -> Result<Version, String> {
    if let EngineSource::Manifest(file) = &config.source {
        return Err(format!(
            "{name} runs from {} and not from releases; write `installed = \"{name}\"` in place of its \
             `manifest`, and reload",
            file.display()
        ));
    }
    found(state_dir, config, name, releases)
}

/// What the engine of `config` is to run as once `parts` of it have gone back to what was in force before;
/// `None` if nothing would be left to run.
pub(crate) fn find_before(
    state_dir: &Path,
    config: &EngineConfig,
    name: &EngineName,
    parts: &[Part],
) -> Result<Option<Version>, String> {
    let store = Store::open_read(state_dir).map_err(|error| chain(&error))?;
    let lies = |part: Part| -> Result<Option<(PathBuf, Digest)>, String> {
        if !parts.contains(&part) {
            return in_force(&store, name, part);
        }
        let standby = store.standby(name, part).map_err(|error| chain(&error))?;
        let before = standby.filter(|lies| lies.state == State::Retired);
        Ok(before.map(|lies| (lies.dir, lies.tree)))
    };
    let Some(code) = lies(Part::Code)? else { return Ok(None) };
    of_slots(name, config, code, lies(Part::Content)?).map(Some)
}

/// The parts of the engine called `name`, or this one, that have something to go back to.
pub(crate) fn with_before(
    state_dir: &Path,
    name: &EngineName,
    wanted: Option<Part>,
) -> Result<Vec<Part>, String> {
    let store = Store::open_read(state_dir).map_err(|error| chain(&error))?;
    let mut parts = Vec::new();
    for part in Part::ALL.into_iter().filter(|part| wanted.is_none_or(|wanted| wanted == *part)) {
        let standby = store.standby(name, part).map_err(|error| chain(&error))?;
        let before = standby.is_some_and(|lies| lies.state == State::Retired);
        parts.extend(before.then_some(part));
    }
    match parts.is_empty() {
        true => {
            let what = wanted.map_or_else(String::new, |part| format!("'s {part}"));
            Err(format!(
                "there is nothing of {name}{what} to go back to: no release from before lies here"
            ))
        }
        false => Ok(parts),
    }
}

fn found(
    state_dir: &Path,
    config: &EngineConfig,
    name: &EngineName,
    releases: &[ReleaseName],
) -> Result<Version, String> {
    let wanted = |part: Part| releases.iter().filter(move |release| release.part == part);
    if let Some(part) = Part::ALL.into_iter().find(|part| wanted(*part).count() > 1) {
        return Err(format!("two releases of {name}'s {part} cannot be in force; name one"));
    }
    let store = Store::open_read(state_dir).map_err(|error| chain(&error))?;
    let mut new = Vec::new();
    let mut place = |part: Part| match wanted(part).next() {
        None => in_force(&store, name, part),
        Some(release) => {
            let (id, dir, tree) = standby(&store, name, release)?;
            new.push((id, part, release.version.clone()));
            Ok(Some((dir, tree)))
        }
    };
    let Some(code) = place(Part::Code)? else {
        return Err(format!(
            "no release of its code is in force; put one in force with `outrigger update apply {name}`"
        ));
    };
    let content = place(Part::Content)?;
    if content.is_none() && was_withdrawn(&store, name, Part::Content)? {
        return Err(format!(
            "its content was withdrawn, and it is not run without; put one in force with \
             `outrigger update apply {name}`"
        ));
    }
    let mut version = of_slots(name, config, code, content)?;
    version.new = new;
    Ok(version)
}

fn in_force(
    store: &Reader,
    name: &EngineName,
    part: Part,
) -> Result<Option<(PathBuf, Digest)>, String> {
    let active = store.active(name, part).map_err(|error| chain(&error))?;
    Ok(active.map(|active| (active.dir, active.tree)))
}

/// Whether something of a part, of which nothing is in force, was in force once.
fn was_withdrawn(store: &Reader, name: &EngineName, part: Part) -> Result<bool, String> {
    let history = store.history(Some(name)).map_err(|error| chain(&error))?;
    Ok(history.iter().any(|release| release.part == part && release.state == State::Retired))
}

/// The version that runs from these slots.
fn of_slots(
    name: &EngineName,
    config: &EngineConfig,
    code: (PathBuf, Digest),
    content: Option<(PathBuf, Digest)>,
) -> Result<Version, String> {
    let folder = &code.0;
    let manifest =
        Manifest::read(&folder.join(MANIFEST_FILE)).map_err(|errors| errors.to_string())?;
    if manifest.name != *name {
        let (other, folder) = (&manifest.name, folder.display());
        return Err(format!("the manifest in {folder} is of {other}, not of {name}"));
    }
    if !manifest.program.starts_with(folder) {
        let (program, folder) = (manifest.program.display(), folder.display());
        return Err(format!("the program of {name}, {program}, is not in its release, {folder}"));
    }
    let content_dir = content.as_ref().map(|(dir, _)| dir.clone());
    let mut version = Version::new(manifest, EngineConfig { content_dir, ..config.clone() });
    version.slots = std::iter::once(code).chain(content).collect();
    Ok(version)
}

/// Where a release lies that passed preflight, stands in shadow and is not in force yet.
fn standby(
    store: &Reader,
    name: &EngineName,
    release: &ReleaseName,
) -> Result<(ReleaseId, PathBuf, Digest), String> {
    let ReleaseName { part, version } = release;
    let lies = store.standby(name, *part).map_err(|error| chain(&error))?;
    let Some(lies) = lies.filter(|lies| lies.version.to_string() == *version) else {
        return Err(format!("{part} {version} of {name} does not lie in a slot; stage it first"));
    };
    if lies.state != State::Shadow {
        let state = lies.state;
        return Err(format!(
            "{part} {version} of {name} is {state}: only what passed preflight, and stands in shadow, is tried"
        ));
    }
    let package = store.release(lies.release).map_err(|error| chain(&error))?.package;
    if let Some(bad) = store.known_bad(&package).map_err(|error| chain(&error))? {
        return Err(format!(
            "{part} {version} of {name} is known bad: {}: {}",
            bad.reason, bad.detail
        ));
    }
    Ok((lies.release, lies.dir, lies.tree))
}

/// The manifest of an engine of which there is none: it would be asked about everything, so that where its
/// Allow is required its absence is counted on every question.
fn stand_in(name: &EngineName) -> anyhow::Result<Manifest> {
    let mut text = format!(
        "name = \"{name}\"\nvendor = \"not installed\"\nversion = \"0\"\ncontract = \"1\"\n\
         verdict = \"content\"\nentry.program = \"none\"\n"
    );
    for event in outrigger_api::Event::askable() {
        text.push_str(&format!("[events.\"{}\"]\nneeds = \"ask\"\n", event.name()));
    }
    Ok(Manifest::parse(&text, Path::new("not-installed.toml"))?)
}

/// Why `new` cannot take questions in `old`'s place without a new host: what the kernel is asked and what
/// the reader looks up for it is settled when a host starts.
pub(crate) fn differs(old: &Manifest, new: &Manifest) -> Option<&'static str> {
    if old.events != new.events {
        Some("it asks for other events")
    } else if old.verdict != new.verdict {
        Some("its verdicts are about something else")
    } else if old.fields != new.fields {
        Some("it asks for other fields")
    } else if old.filters != new.filters {
        Some("it has other filters")
    } else if old.content != new.content {
        Some(if new.content { "it reads content" } else { "it does not read content" })
    } else {
        None
    }
}

#[cfg(test)]
#[path = "installed_tests.rs"]
mod tests;
