//! One engine's releases, from what its publisher offers to what is in force.
//!
//! A new part is tried with the other part that is in force, content first: it is what changes every day. Only
//! where that does not go, or nothing is in force yet, both new parts are tried as a pair and put in force in
//! one step.

use std::fmt::Display;
use std::os::fd::AsFd;

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::control::ReleaseName;
use outrigger_api::release::{Part, State};
use outrigger_api::settings::{Offered, Releases, package_target};
use outrigger_update::package::{self, Package, PackageLimits, tree_digest};
use outrigger_update::preflight::{Reason, Report};
use outrigger_update::repository;
use outrigger_update::store::{
    Digest, Offer, Reader, Rejection, ReleaseId, Standby, Store, StoreError,
};
use rustix::fs::{Mode, OFlags};
use semver::Version;

use super::Site;
use super::force::{self, Passed};
use super::source::Source;
use super::trial::{self, Laid};
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
    /// Open while this process is the one who writes to it.
    store: Option<Store>,
    /// Nothing was refused or rejected so far.
    good: bool,
}

/// Takes what is newer of `engine`, of `only` one part if that is given; whether all of it went well. That
/// there is nothing newer is well too.
pub(super) fn take(
    site: &Site<'_>,
    source: &mut Source,
    engine: &EngineName,
    only: Option<Part>,
    steps: &mut Steps<'_>,
) -> Result<bool> {
    let mut course = Course { site, source, engine, steps, store: None, good: true };
    course.run(only)?;
    Ok(course.good)
}

/// The newest release of `part` that is newer than the one in force.
pub(super) fn newer<'r>(
    store: &Reader,
    releases: &'r Releases,
    engine: &EngineName,
    part: Part,
) -> Result<Option<&'r Offered>, StoreError> {
    let active = store.active(engine, part)?;
    let latest = releases.latest(part);
    Ok(latest.filter(|offered| active.is_none_or(|active| offered.version > active.version)))
}

impl Course<'_, '_, '_> {
    fn run(&mut self, only: Option<Part>) -> Result<()> {
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
        if code.is_none() && content.is_none() {
            let detail = self.in_force()?;
            return if self.good { self.done("current", self.engine, &detail) } else { Ok(()) };
        }
        self.settle(code, content)
    }

    /// Gets the newest release of `part` that is newer than what is in force into its slot; `None` if there is
    /// none, or it was refused, which is told.
    fn fetch(&mut self, releases: &Releases, part: Part) -> Result<Option<Ready>> {
        let engine = self.engine;
        let Some(offered) = newer(self.store()?, releases, engine, part)? else { return Ok(None) };
        let of = self.call(part, &offered.version);
        let target = match self.source.find(&package_target(engine, part, &offered.version)) {
            Ok(target) => target,
            Err(refusal) => return self.refused(&of, &Told(&refusal)).map(|()| None),
        };
        let Some(digest) = target.sha256().map(Digest) else {
            return self.refused(&of, &"its signed metadata has no SHA-256 of it").map(|()| None);
        };
        if let Some(bad) = self.store()?.known_bad(&digest)? {
            let why = format!("it failed here at {}: {}: {}", bad.at, bad.reason, bad.detail);
            return self.not_taken("known-bad", &of, &why).map(|()| None);
        }
        let offer = Offer {
            engine: engine.clone(),
            part,
            version: offered.version.clone(),
            package: digest,
            repository: self.source.name.clone(),
        };
        let mut release = self.store()?.offer(&offer, Timestamp::now())?;
        if let Some(standby) = self.still_there(release, part)? {
            self.done("staged", &of, "lies here since an earlier run")?;
            return Ok(Some(Ready::new(part, standby)));
        }
        if !matches!(self.store()?.release(release)?.state, State::Offered | State::Verified) {
            // It was staged once, and what lies there is not what was: another entry, from the start.
            let rejection = Rejection::new(ALTERED, "what lay in its slot was changed or lost");
            self.store()?.reject(release, &rejection, Timestamp::now())?;
            release = self.store()?.offer(&offer, Timestamp::now())?;
        }
        self.steps.bytes(&format!("fetching {of}"));
        let (limit, bar) = (self.site.config.download.package_bytes, self.steps.bar());
        let fetched = self.source.download(&target, limit, move |progress| {
            bar.at(progress.got, progress.of.unwrap_or_default());
        });
        let bytes = match fetched {
            Ok(bytes) => bytes,
            // Not the release's doing: it stays offered, and the next run asks again.
            Err(refusal) => return self.refused(&of, &Told(&refusal)).map(|()| None),
        };
        match self.open(&bytes, part, &offered.version) {
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
        if self.store()?.release(release)?.state == State::Offered {
            self.store()?.advance(release, State::Verified, &detail, Timestamp::now())?;
        }
        self.done("verified", of, &detail)?;
        self.steps.bytes(&format!("unpacking {of}"));
        let (limits, bar) = (PackageLimits::from(&self.site.config.download), self.steps.bar());
        let unpack = |folder: std::os::fd::BorrowedFd<'_>| {
            package.unpack(folder, &mut |done, whole| bar.at(done, whole))?;
            // Of what lies there, not of what was meant to.
            let tree = tree_digest(folder, &limits)?;
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
        let standby = self.store()?.standby(engine, part)?;
        let Some(standby) = standby.filter(|standby| standby.release == release) else {
            return Ok(None);
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(folder) = rustix::fs::open(&standby.dir, flags, Mode::empty()) else {
            return Ok(None);
        };
        let tree = tree_digest(folder.as_fd(), &PackageLimits::from(&self.site.config.download));
        Ok(tree.is_ok_and(|tree| Digest(tree.0) == standby.tree).then_some(standby))
    }

    /// Tries what lies ready, and puts in force what passes.
    fn settle(&mut self, mut code: Option<Ready>, mut content: Option<Ready>) -> Result<()> {
        if let Some(old) = self.active(Part::Code)?
            && let Some(new) = content.take()
        {
            content = self.take_alone(new, |new| (old, Some(new)))?;
        }
        let others = self.active(Part::Content)?;
        // Without content in force it goes with the new one, if there is any.
        if (others.is_some() || content.is_none())
            && let Some(new) = code.take()
        {
            code = self.take_alone(new, |new| (new, others))?;
        }
        match (code, content) {
            (None, None) => Ok(()),
            (Some(code), Some(content)) => self.take_pair(code, content),
            (Some(left), None) | (None, Some(left)) => {
                let other = if left.part == Part::Code { Part::Content } else { Part::Code };
                let why =
                    format!("it does not go with the {other} in force, and no other is offered");
                let of = self.call(left.part, &left.laid.version);
                self.reject(left.release, &of, &Rejection::new(Reason::Incompatible.name(), &why))
            }
        }
    }

    /// Tries `new` with what is in force besides, and puts it in force if it passes. Comes back if the two are
    /// not for each other.
    fn take_alone(
        &mut self,
        new: Ready,
        pair: impl FnOnce(Laid) -> (Laid, Option<Laid>),
    ) -> Result<Option<Ready>> {
        let (code, content) = pair(new.laid.clone());
        let report = self.try_out(&[&new], new.part, &code, content.as_ref())?;
        match report.reason {
            None => self.take_in_force(&[&new])?,
            Some(Reason::Incompatible) => return Ok(Some(new)),
            Some(reason) => {
                let of = self.call(new.part, &new.laid.version);
                self.reject(new.release, &of, &rejection(&report, reason))?;
            }
        }
        Ok(None)
    }

    /// Tries both new parts together.
    fn take_pair(&mut self, code: Ready, content: Ready) -> Result<()> {
        let report =
            self.try_out(&[&code, &content], Part::Code, &code.laid, Some(&content.laid))?;
        let Some(reason) = report.reason else {
            return self.take_in_force(&[&code, &content]);
        };
        for one in [code, content] {
            // Which of the two is at fault can be told only where content breaks its own schema. What may be
            // innocent is not remembered as bad.
            let of = self.call(one.part, &one.laid.version);
            let told = rejection(&report, reason);
            let at_fault = one.part == Part::Content
                && matches!(reason, Reason::Schema | Reason::ContentRefused);
            let told =
                if at_fault { told } else { Rejection::new(reason.name(), &finding(&report)) };
            self.reject(one.release, &of, &told)?;
        }
        Ok(())
    }

    fn try_out(
        &mut self,
        new: &[&Ready],
        part: Part,
        code: &Laid,
        content: Option<&Laid>,
    ) -> Result<Report> {
        for one in new {
            if self.store()?.release(one.release)?.state == State::Staged {
                self.store()?.advance(one.release, State::Preflight, "begun", Timestamp::now())?;
            }
        }
        let report = trial::run(self.site, self.engine, part, code, content, self.steps)?;
        trial::tell(&report, self.steps)?;
        Ok(report)
    }

    fn take_in_force(&mut self, new: &[&Ready]) -> Result<()> {
        let passed: Vec<Passed> = new
            .iter()
            .map(|one| {
                let version = one.laid.version.to_string();
                Passed { release: one.release, name: ReleaseName { part: one.part, version } }
            })
            .collect();
        self.steps.turning("putting it in force");
        let put = force::put(self.site, &mut self.store, self.engine, &passed)?;
        for one in new {
            let of = self.call(one.part, &one.laid.version);
            match &put {
                Ok(how) => self.done("active", &of, how)?,
                Err(why) => self.not_taken("rejected", &of, why)?,
            }
        }
        Ok(())
    }

    fn reject(&mut self, release: ReleaseId, of: &str, rejection: &Rejection) -> Result<()> {
        self.store()?.reject(release, rejection, Timestamp::now())?;
        self.not_taken("rejected", of, &format!("{}: {}", rejection.name(), rejection.text()))
    }

    /// The store, opened if the host was to write to it meanwhile.
    fn store(&mut self) -> Result<&mut Store, StoreError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open(&self.site.config.state_dir)?,
        };
        Ok(self.store.insert(store))
    }

    fn active(&mut self, part: Part) -> Result<Option<Laid>> {
        let engine = self.engine;
        let active = self.store()?.active(engine, part)?;
        Ok(active.map(|active| Laid { version: active.version, dir: active.dir }))
    }

    fn in_force(&mut self) -> Result<String> {
        let mut words = Vec::new();
        for part in Part::ALL {
            if let Some(active) = self.active(part)? {
                words.push(format!("{part} {}", active.version));
            }
        }
        Ok(if words.is_empty() { "nothing is offered".to_owned() } else { words.join(", ") })
    }

    fn call(&self, part: Part, version: &Version) -> String {
        format!("{} {part} {version}", self.engine)
    }

    fn done(&mut self, step: &str, of: impl Display, detail: &str) -> Result<()> {
        Ok(self.steps.done(&Step { step, of: &of.to_string(), good: true, detail })?)
    }

    fn refused(&mut self, of: &str, why: &dyn Display) -> Result<()> {
        self.not_taken("refused", of, &why.to_string())
    }

    fn not_taken(&mut self, step: &str, of: &str, detail: &str) -> Result<()> {
        self.good = false;
        Ok(self.steps.done(&Step { step, of, good: false, detail })?)
    }
}

impl Ready {
    fn new(part: Part, standby: Standby) -> Self {
        let laid = Laid { version: standby.version, dir: standby.dir };
        Self { part, release: standby.release, laid }
    }
}

/// A refusal with its name before it and what to do behind it.
struct Told<'a>(&'a repository::Refusal);

impl Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}. {}", self.0.name(), self.0, self.0.advice())
    }
}

/// Why what `report` is about is rejected. What it did itself is remembered; what it was tried with, or that
/// it could not be tried, is not held against it.
fn rejection(report: &Report, reason: Reason) -> Rejection {
    let text = finding(report);
    match is_conduct(reason) {
        true => Rejection::for_conduct(reason.name(), &text),
        false => Rejection::new(reason.name(), &text),
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn finding(report: &Report) -> String {
    report.first_finding().map_or_else(String::new, |finding| finding.text.clone())
}

/// Whether a release is remembered for `reason`: it did something, on its own.
fn is_conduct(reason: Reason) -> bool {
    reason.is_the_releases() && reason != Reason::Incompatible
}
