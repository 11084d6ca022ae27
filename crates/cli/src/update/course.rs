//! One engine's releases, from what its publisher offers to what is on its trial.
//!
//! A new part is tried with the other part that is in force, content first: it is what changes every day. Only
//! where that does not go, or nothing is in force yet, both new parts are tried as a pair and go on as one.
//!
//! The journal is open for moments, and closed before whatever takes long: the host writes to it, too.

mod settle;

use std::fmt::Display;
use std::os::fd::AsFd;

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::reason::chain;
use outrigger_api::release::{Part, State};
use outrigger_api::settings::Releases;
use outrigger_update::package::{self, Package, PackageLimits, tree_digest};
use outrigger_update::store::{
    Digest, Offer, Reader, Rejection, ReleaseId, Standby, Store, StoreError,
};
use rustix::fs::{Mode, OFlags};
use semver::Version;

use super::choice::{self, Choice, Next};
use super::follow::Tried;
use super::host::{self, Docks};
use super::preflight::Laid;
use super::source::Source;
use super::{Site, moment, turn};
use crate::steps::{Step, Steps};

/// The name under which a release is rejected whose slot holds something else than was put there.
const ALTERED: &str = "altered";

/// A release that lies in its slot, whole, and was not tried yet.
struct Ready {
    part: Part,
    release: ReleaseId,
    laid: Laid,
}

/// One engine's way.
struct Course<'a, 's, 'o> {
    site: &'a Site<'a>,
    source: &'a mut Source,
    engine: &'a EngineName,
    steps: &'s mut Steps<'o>,
    /// Nothing was refused or rejected so far.
    good: bool,
    /// Something was said of each part that is not simply as new as it can be.
    told: bool,
    /// A trial was left before its end.
    left: bool,
}

/// What came of an engine's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// All went well. That there is nothing newer is well too, and that something waits as the administrator
    /// wants it.
    Well,
    /// Something was refused or rejected.
    Badly,
    /// The person, or the host, has gone: nothing more is begun.
    Left,
}

/// Takes what is newer of `engine`, of `only` one part if that is given.
pub(super) fn take(
    site: &Site<'_>,
    source: &mut Source,
    engine: &EngineName,
    only: Option<Part>,
    steps: &mut Steps<'_>,
) -> Result<Taken> {
    let mut course = Course { site, source, engine, steps, good: true, told: false, left: false };
    course.run(only)?;
    Ok(match (course.left, course.good) {
        (true, _) => Taken::Left,
        (false, true) => Taken::Well,
        (false, false) => Taken::Badly,
    })
}

impl Course<'_, '_, '_> {
    fn run(&mut self, only: Option<Part>) -> Result<()> {
        if !self.after_trial()? {
            return Ok(());
        }
        self.steps.turning(&format!("asking what there is of {}", self.engine));
        let releases = match self.source.releases(self.engine) {
            Ok(releases) => releases,
            Err(error) => return self.refused(self.engine.as_str(), &error),
        };
        let mut fetch = |part| {
            let wanted = only.is_none_or(|only| only == part);
            if wanted { self.fetch(&releases, part) } else { Ok(None) }
        };
        let (code, content) = (fetch(Part::Code)?, fetch(Part::Content)?);
        if code.is_some() || content.is_some() {
            return self.settle(code, content);
        }
        if self.told {
            return Ok(());
        }
        let detail = self.in_force()?;
        self.done("current", self.engine, &detail)
    }

    /// Waits for the end of what is on its trial already: what it runs from, and what it may go back to, is not
    /// replaced meanwhile. Whether more can be taken then.
    fn after_trial(&mut self) -> Result<bool> {
        let reader = self.reader()?;
        let shadow = reader.shadowing(self.engine)?.into_iter();
        let shadow = shadow.map(|(part, one)| Tried::new(part, one.release, one.version));
        let probation = reader.in_probation(self.engine)?.into_iter();
        let probation = probation.map(|(part, one)| Tried::new(part, one.release, one.version));
        let (shadow, probation): (Vec<_>, Vec<_>) = (shadow.collect(), probation.collect());
        drop(reader);
        if shadow.is_empty() && probation.is_empty() {
            return Ok(true);
        }
        let docks = host::docks(self.site, self.engine)?;
        if docks != Docks::Yes {
            // What stands in shadow and does not run may be replaced by what is newer. What decides on probation
            // must have the release before in the other slot.
            for one in &probation {
                let of = self.call(one.part, &one.version);
                self.done(
                    "probation",
                    of,
                    "goes on when a host docks it; nothing is taken before",
                )?;
            }
            return Ok(probation.is_empty());
        }
        let trials = host::trials(self.site)?.unwrap_or_default();
        let runs = trials.iter().any(|trial| trial.engine == *self.engine);
        if !runs && probation.is_empty() {
            // Somebody was cut off between the journal and the host.
            self.trial(&shadow)?;
            let ended = self.reader()?.shadowing(self.engine)?.is_empty();
            return Ok(ended && !self.left && !self.site.no_wait);
        }
        let all: Vec<Tried> = shadow.into_iter().chain(probation).collect();
        if self.site.no_wait {
            for one in &all {
                let of = self.call(one.part, &one.version);
                self.done(
                    "trial",
                    of,
                    "goes on in the host; nothing else is taken before it ends",
                )?;
            }
            return Ok(false);
        }
        self.follow(&all)?;
        Ok(!self.left)
    }

    /// Gets the release of `part` whose turn it is into its slot; `None` if there is none, or it was refused, or
    /// it waits, which is told.
    fn fetch(&mut self, releases: &Releases, part: Part) -> Result<Option<Ready>> {
        let Some(next) = self.choose(releases, part)? else { return Ok(None) };
        let Next { version, target, package } = next;
        let of = self.call(part, &version);
        let offer = Offer {
            engine: self.engine.clone(),
            part,
            version: version.clone(),
            package,
            repository: self.source.name.clone(),
        };
        let mut release = self.store()?.offer(&offer, Timestamp::now())?;
        if let Some(standby) = self.still_there(release, part)? {
            if standby.state == State::Shadow {
                let docks = host::docks(self.site, self.engine)?;
                self.done("shadow", &of, docks.when())?;
                return Ok(None);
            }
            self.done("staged", &of, "lies here since an earlier run")?;
            return Ok(Some(Ready::new(part, standby)));
        }
        if !matches!(self.reader()?.release(release)?.state, State::Offered | State::Verified) {
            // It was staged once, and what lies there is not what was: another entry, from the start.
            let rejection = Rejection::new(ALTERED, "what lay in its slot was changed or lost");
            let mut store = self.store()?;
            store.reject(release, &rejection, Timestamp::now())?;
            release = store.offer(&offer, Timestamp::now())?;
        }
        self.steps.bytes(&format!("fetching {of}"));
        let (limit, bar) = (self.site.config.download.package_bytes, self.steps.bar());
        let fetched = self.source.download(&target, limit, move |progress| {
            bar.at(progress.got, progress.of.unwrap_or_default());
        });
        let bytes = match fetched {
            Ok(bytes) => bytes,
            // Not the release's doing: it stays offered, and the next run asks again.
            Err(refusal) => return self.refused(&of, &choice::told(&refusal)).map(|()| None),
        };
        match self.open(&bytes, part, &version) {
            Ok(package) => self.lay(release, &of, &package, bytes.len()).map(Some),
            Err(refusal) => {
                let (name, text) = (refusal.name(), chain(&refusal));
                // What this build cannot read, a later one may; what breaks the rules always will.
                let rejection = match refusal {
                    package::Refusal::Release(_) | package::Refusal::Manifest(_) => {
                        Rejection::new(name, &text)
                    }
                    _ => Rejection::for_conduct(name, &text),
                };
                self.reject(release, &of, &rejection).map(|()| None)
            }
        }
    }

    /// The release of `part` that is to be taken now; what is not, and why, is told.
    fn choose(&mut self, releases: &Releases, part: Part) -> Result<Option<Next>> {
        let (reader, now) = (self.reader()?, Timestamp::now());
        let chosen =
            choice::choose(self.site, &reader, self.source, self.engine, part, releases, now)?;
        for (version, why) in &chosen.refused {
            let of = self.call(part, version);
            self.refused(&of, why)?;
        }
        for (version, bad) in &chosen.bad {
            let of = self.call(part, version);
            let why = format!("it failed here at {}: {}: {}", bad.at, bad.reason, bad.detail);
            self.not_taken("known-bad", &of, &why)?;
        }
        match chosen.choice {
            Choice::Take(next) => Ok(Some(next)),
            Choice::Nothing => Ok(None),
            Choice::Wait(version, until, why) => {
                let of = self.call(part, &version);
                let detail = format!("until {}: {why}", moment(until));
                self.done("waits", of, &detail).map(|()| None)
            }
            Choice::Held(version, why) => {
                let of = self.call(part, &version);
                self.done("held", of, &why.to_string()).map(|()| None)
            }
        }
    }

    fn open(
        &self,
        bytes: &[u8],
        part: Part,
        version: &Version,
    ) -> Result<Package, package::Refusal> {
        let package = Package::read(bytes, &PackageLimits::from(&self.site.config.download))?;
        package.expect(self.engine, part, version)?;
        Ok(package)
    }

    /// Lays a package, which came as so many `bytes`, into the slot that decides nothing.
    fn lay(
        &mut self,
        release: ReleaseId,
        of: &str,
        package: &Package,
        bytes: usize,
    ) -> Result<Ready> {
        let detail = format!("{bytes} bytes, as signed");
        if self.reader()?.release(release)?.state == State::Offered {
            self.store()?.advance(release, State::Verified, &detail, Timestamp::now())?;
        }
        self.done("verified", of, &detail)?;
        self.steps.bytes(&format!("unpacking {of}"));
        let bar = self.steps.bar();
        let unpack = |folder: std::os::fd::BorrowedFd<'_>| {
            package.unpack(folder, &mut |done, whole| bar.at(done, whole))?;
            // Of what lies there, not of what was meant to.
            let tree = tree_digest(folder, &PackageLimits::widest())?;
            anyhow::ensure!(tree == package.tree(), "the slot holds other bytes than the package");
            Ok(Digest(tree.0))
        };
        let standby = self.store()?.stage(release, package.size(), Timestamp::now(), unpack)?;
        let (files, size, slot) = (package.files().count(), package.size(), standby.slot);
        self.done("staged", of, &format!("{files} files, {size} bytes, in slot {slot}"))?;
        Ok(Ready::new(package.release().part, standby))
    }

    /// The slot of a release that was staged by a run that was cut off, if nothing of it has changed since.
    fn still_there(&mut self, release: ReleaseId, part: Part) -> Result<Option<Standby>> {
        let engine = self.engine;
        let standby = self.reader()?.standby(engine, part)?;
        let Some(standby) = standby.filter(|standby| standby.release == release) else {
            return Ok(None);
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(folder) = rustix::fs::open(&standby.dir, flags, Mode::empty()) else {
            return Ok(None);
        };
        let tree = tree_digest(folder.as_fd(), &PackageLimits::widest());
        Ok(tree.is_ok_and(|tree| Digest(tree.0) == standby.tree).then_some(standby))
    }

    fn reject(&mut self, release: ReleaseId, of: &str, rejection: &Rejection) -> Result<()> {
        self.store()?.reject(release, rejection, Timestamp::now())?;
        self.not_taken("rejected", of, &format!("{}: {}", rejection.name(), rejection.text()))
    }

    /// What the journal says now.
    fn reader(&self) -> Result<Reader, StoreError> {
        Store::open_read(&self.site.config.state_dir)
    }

    /// The journal, to write one thing to.
    fn store(&self) -> Result<Store, StoreError> {
        turn::open(&self.site.config.state_dir)
    }

    fn in_force(&self) -> Result<String> {
        let reader = self.reader()?;
        let mut words = Vec::new();
        for part in Part::ALL {
            if let Some(active) = reader.active(self.engine, part)? {
                words.push(format!("{part} {}", active.version));
            }
        }
        Ok(if words.is_empty() { "nothing is offered".to_owned() } else { words.join(", ") })
    }

    fn call(&self, part: Part, version: &Version) -> String {
        format!("{} {part} {version}", self.engine)
    }

    fn done(&mut self, step: &str, of: impl Display, detail: &str) -> Result<()> {
        self.told = true;
        Ok(self.steps.done(&Step { step, of: &of.to_string(), good: true, detail })?)
    }

    fn refused(&mut self, of: &str, why: &dyn Display) -> Result<()> {
        self.not_taken("refused", of, &why.to_string())
    }

    fn not_taken(&mut self, step: &str, of: &str, detail: &str) -> Result<()> {
        (self.good, self.told) = (false, true);
        Ok(self.steps.done(&Step { step, of, good: false, detail })?)
    }
}

impl Ready {
    fn new(part: Part, standby: Standby) -> Self {
        let laid = Laid { version: standby.version, dir: standby.dir };
        Self { part, release: standby.release, laid }
    }
}
