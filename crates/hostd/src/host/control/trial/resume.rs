//! A host that comes to decide goes on with the trials that the journal of releases knows. What was on probation when
//! the machine or the host went down unbidden was taken back before ([`super::super::super::boot`]).

use std::sync::Arc;

use outrigger_api::EngineName;
use outrigger_api::control::ReleaseName;
use outrigger_api::reason::chain;
use outrigger_api::release::Part;
use outrigger_api::settings::EngineSource;
use outrigger_sensor::clock;
use outrigger_update::probation::Before;
use outrigger_update::store::ReleaseId;
use serde_json::json;

use super::super::super::installed::{self, Version};
use super::super::super::{Host, releases};
use super::super::{Control, Handover};
use super::{Done, Phase, Resumed, Step, Trial};

impl Control {
    /// Looks up what is on trial of each engine, once, when this host decides and nobody else.
    pub(super) fn resume_trials(&mut self) {
        if self.resumed || !matches!(self.handover, Handover::None) {
            return;
        }
        self.resumed = true;
        let host = Arc::clone(&self.host);
        for (place, engine) in host.config.engines.iter().enumerate() {
            let EngineSource::Installed(name) = &engine.source else { continue };
            // Nothing of one that is kept off the dock runs, in shadow neither: the host that docks it looks again.
            if self.boot.keeps_off(name).is_some() {
                continue;
            }
            let (host, name) = (Arc::clone(&host), name.clone());
            self.in_thread(place, "find-trials", move || match look(&host, place, &name) {
                Ok(resumed) => {
                    let done = Done::UnderWay(Box::new(resumed));
                    host.to_control.trial(Step { place, done });
                }
                Err(why) => tracing::error!("it is not known what of {name} is on trial: {why}"),
            });
        }
    }

    pub(super) fn resume_trial(&mut self, place: usize, resumed: Resumed) {
        let Resumed { under_way, before, in_force } = resumed;
        // The journal may have changed since this host took over what it was to start.
        let stale = match (&in_force, &self.in_force[place]) {
            (Some(said), Some(runs)) => !said.lies_where(runs),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if stale && self.swaps[place].is_none() {
            let (reply, _) = std::sync::mpsc::channel();
            let name = self.manifests[place].name.clone();
            self.swap(&name, reply);
        }
        if self.trials[place].is_some() {
            return;
        }
        if !under_way.probation.is_empty() {
            let (entries, releases): (Vec<_>, Vec<_>) = under_way.probation.into_iter().unzip();
            return self.resume_probation(place, entries, releases, before);
        }
        if !under_way.shadow.is_empty() {
            self.tell_resumed(place, &under_way.shadow, "shadow");
            self.try_out(place, under_way.shadow, false, Vec::new());
        }
    }

    fn resume_probation(
        &mut self,
        place: usize,
        entries: Vec<ReleaseId>,
        releases: Vec<ReleaseName>,
        former: Option<Version>,
    ) {
        self.tell_resumed(place, &releases, "probation");
        let name = self.manifests[place].name.clone();
        let kept = self.kept(&name, &releases);
        let config = self.updates_config();
        self.trials[place] = Some(Trial {
            releases,
            emergency: false,
            config,
            phase: Phase::Finding,
            replies: Vec::new(),
            due: clock::now(),
            waits: None,
            trouble: None,
        });
        let before = kept.as_ref().map_or_else(Before::default, |kept| kept.before());
        self.watch(place, entries, former, before);
        if let Some(finding) = kept.and_then(|kept| kept.finding()) {
            self.go_back(place, finding);
        }
    }

    fn tell_resumed(&self, place: usize, releases: &[ReleaseName], phase: &str) {
        let name = &self.manifests[place].name;
        let value = json!({ "engine": name, "releases": releases, "phase": phase });
        self.host.journal.write("trial-resumed", value);
    }
}

/// What is on trial of the engine called `name`, and what it goes back to.
fn look(host: &Host, place: usize, name: &EngineName) -> Result<Resumed, String> {
    let (folder, config) = (&host.config.state_dir, &host.config.engines[place]);
    let under_way = releases::under_way(folder, name).map_err(|error| chain(&error))?;
    let parts: Vec<Part> = under_way.probation.iter().map(|(_, release)| release.part).collect();
    let before = match parts.is_empty() {
        true => None,
        // What cannot be read is nothing to go back to.
        false => installed::find_before(folder, config, name, &parts).unwrap_or_else(|why| {
            tracing::error!("what went before the release of {name} on probation: {why}");
            None
        }),
    };
    let in_force = installed::find(folder, config, name).ok();
    Ok(Resumed { under_way, before, in_force })
}
