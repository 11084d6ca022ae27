//! What lies ready is tried out, approved, and sent on its trial in the host.

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::control::ReleaseName;
use outrigger_api::release::{Part, State};
use outrigger_update::preflight::{Reason, Report};
use outrigger_update::store::{Rejection, StoreError};

use super::{Course, Ready};
use crate::update::follow::{self, Ended, Tried};
use crate::update::host::{self, Docks};
use crate::update::preflight::{self, Laid};

impl Course<'_, '_, '_> {
    /// Tries what lies ready, and sends on its trial what passes.
    pub(super) fn settle(
        &mut self,
        mut code: Option<Ready>,
        mut content: Option<Ready>,
    ) -> Result<()> {
        if let Some(old) = self.partner(Part::Code)?
            && let Some(new) = content.take()
        {
            content = self.take_alone(new, |new| (old, Some(new)))?;
        }
        if self.left {
            return Ok(());
        }
        if let Some(new) = &code
            && self.is_tried()?
        {
            // The command is not to wait, and an engine is on one trial at a time.
            let of = self.call(new.part, &new.laid.version);
            return self.done("waits", of, "for the end of the trial before; then run apply again");
        }
        let others = self.partner(Part::Content)?;
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

    /// Tries `new` with what is in force besides, and sends it on if it passes. Comes back if the two are not for
    /// each other.
    fn take_alone(
        &mut self,
        new: Ready,
        pair: impl FnOnce(Laid) -> (Laid, Option<Laid>),
    ) -> Result<Option<Ready>> {
        let (code, content) = pair(new.laid.clone());
        let report = self.try_out(&[&new], new.part, &code, content.as_ref())?;
        match report.reason {
            None => self.go_on(&[&new])?,
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
            return self.go_on(&[&code, &content]);
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
            if self.reader()?.release(one.release)?.state == State::Staged {
                self.store()?.advance(one.release, State::Preflight, "begun", Timestamp::now())?;
            }
        }
        let report = preflight::run(self.site, self.engine, part, code, content, self.steps)?;
        preflight::tell(&report, self.steps)?;
        Ok(report)
    }

    /// Sends what passed preflight on its trial, if nobody has to say yes first.
    fn go_on(&mut self, new: &[&Ready]) -> Result<()> {
        let reader = self.reader()?;
        let mut waits = Vec::new();
        for one in new {
            let covered = self.site.config.rollout.approval.covers(one.part);
            if covered && !reader.is_approved(one.release)? {
                waits.push(*one);
            }
        }
        drop(reader);
        for one in &waits {
            let (part, version) = (one.part, &one.laid.version);
            let (of, engine) = (self.call(part, version), self.engine);
            let how = format!(
                "it passed preflight, and waits for: outrigger update approve {engine} --part {part} {version}"
            );
            self.done("held", of, &how)?;
        }
        if !waits.is_empty() {
            return Ok(());
        }
        let tried = new.iter().map(|one| {
            let version = one.laid.version.clone();
            Tried::new(one.part, one.release, version)
        });
        let tried: Vec<Tried> = tried.collect();
        let mut store = self.store()?;
        for one in new {
            store.advance(one.release, State::Shadow, "it passed preflight", Timestamp::now())?;
        }
        drop(store);
        self.trial(&tried)
    }

    /// Has the host begin the trial of what stands in shadow, and looks on until it has ended.
    pub(super) fn trial(&mut self, tried: &[Tried]) -> Result<()> {
        let docks = host::docks(self.site, self.engine)?;
        if docks != Docks::Yes {
            for one in tried {
                let of = self.call(one.part, &one.version);
                self.done("shadow", of, docks.when())?;
            }
            return Ok(());
        }
        self.steps.turning("starting it in shadow");
        let name = |one: &Tried| ReleaseName { part: one.part, version: one.version.to_string() };
        let names = tried.iter().map(name).collect();
        let begun = host::begin(self.site, self.engine, names, self.site.emergency)?;
        let message = match begun {
            Ok(message) => message,
            Err(why) => return self.not_begun(tried, &why),
        };
        for one in tried {
            let of = self.call(one.part, &one.version);
            self.done("shadow", of, &message)?;
        }
        if self.site.no_wait {
            return Ok(());
        }
        self.follow(tried)
    }

    /// Looks on until the trial of `tried` has ended.
    pub(super) fn follow(&mut self, tried: &[Tried]) -> Result<()> {
        self.told = true;
        let ended = follow::to_the_end(self.site, self.engine, tried, self.steps)?;
        self.good &= ended == Ended::Well;
        self.left |= ended == Ended::Left;
        Ok(())
    }

    /// The host did not begin the trial: whether it has rejected the release for that, the journal knows.
    fn not_begun(&mut self, tried: &[Tried], why: &str) -> Result<()> {
        let reader = self.reader()?;
        for one in tried {
            let of = self.call(one.part, &one.version);
            if reader.release(one.release)?.state == State::Rejected {
                self.not_taken("rejected", &of, why)?;
                continue;
            }
            let engine = self.engine;
            let how = format!(
                "the host did not begin its trial: {why}; it stands in shadow: try again with `outrigger update apply \
                 {engine}`, or end it with `outrigger update stop {engine}`"
            );
            self.not_taken("refused", &of, &how)?;
        }
        Ok(())
    }

    /// Whether something of the engine is on its trial in the host.
    fn is_tried(&self) -> Result<bool> {
        let reader = self.reader()?;
        let open = !reader.shadowing(self.engine)?.is_empty()
            || !reader.in_probation(self.engine)?.is_empty();
        drop(reader);
        Ok(open && host::docks(self.site, self.engine)? == Docks::Yes)
    }

    /// What a new part is tried with: what is in force of the other, or what will be first, if nothing is.
    fn partner(&self, part: Part) -> Result<Option<Laid>, StoreError> {
        let reader = self.reader()?;
        if let Some(active) = reader.active(self.engine, part)? {
            return Ok(Some(Laid { version: active.version, dir: active.dir }));
        }
        let shadow = reader.shadowing(self.engine)?.into_iter().find(|(of, _)| *of == part);
        Ok(shadow.map(|(_, one)| Laid { version: one.version, dir: one.dir }))
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

fn finding(report: &Report) -> String {
    report.first_finding().map_or_else(String::new, |finding| finding.text.clone())
}

/// Whether a release is remembered for `reason`: it did something, on its own.
fn is_conduct(reason: Reason) -> bool {
    reason.is_the_releases() && reason != Reason::Incompatible
}
