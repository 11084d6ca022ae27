//! Boot safety: starts that come to no health are counted, and lead back to what is known to be good, and then to
//! no engine at all.
//!
//! The count and what follows from it are pure ([`outrigger_update::boot`]). Here it is kept on the disk
//! ([`file`]), carried out before any engine is started ([`back`]), and told: in the journal, the log, the status.
//!
//! Whatever is wrong with the count itself leads to the cautious side, which is that nothing on probation is
//! started, and never to a host that does not start.

mod back;
mod file;

pub(crate) use self::back::{open, went_back};

use std::collections::BTreeMap;
use std::io::ErrorKind;

use outrigger_api::settings::{BootConfig, EngineSource, HostConfig, UpdatesConfig};
use outrigger_api::{EngineName, FailureReason};
use outrigger_update::boot::{Before, Begun, Good, Level, Record, Start};
use serde_json::{Value, json};

use self::file::{Found, RecordFile};
use super::journal::Trouble;
use super::repair::{self, Folder};
use crate::shared::{SECOND, Shared};

/// What the kernel calls this boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How safe mode is left.
const WAY_OUT: &str = "leave it with: outrigger repair leave-safe-mode, or with a signed instruction (docs/recovery.md)";

/// This start, and what is remembered of those before.
#[derive(Debug)]
pub(crate) struct Boot {
    file: RecordFile,
    record: Record,
    policy: BootConfig,
    /// Which engines this start docks.
    level: Level,
    /// Engines that this start does not dock, though nothing is remembered of it for the next one.
    undecided: BTreeMap<EngineName, String>,
    /// Another host goes on until this one has taken over, and the record is its.
    follows: bool,
    /// What is wrong with the settings or the record, for the status.
    problems: Vec<String>,
    /// What happened before there was a journal.
    told: Vec<Told>,
    /// What was in the way of the last write, and when the next try is due, ns.
    trouble: Option<(Trouble, String)>,
    due: u64,
    /// Since when all is well, ns.
    well_since: Option<u64>,
}

/// A line of the journal.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) kind: &'static str,
    pub(crate) value: Value,
    /// It is a fault, counted as [`FailureReason::UncleanBoots`].
    pub(crate) unclean: bool,
}

impl Boot {
    /// Counts this start and does what follows, before any engine is started: what is not to run any more is not in
    /// force when this returns.
    pub(crate) fn begin(shared: &Shared, config: &HostConfig) -> Self {
        let (updates, problem) = updates(config);
        let header = shared.page.header();
        let starts = header.host_starts.load(std::sync::atomic::Ordering::Acquire);
        let before = if header.take_host_crash() { Before::Crashed } else { Before::Unknown };
        let mut boot =
            Self::read(config, updates.boot, shared.predecessor.is_some() && starts <= 1);
        boot.problems.extend(problem);
        let begun = boot.count(before);
        if !boot.follows {
            boot.repair(config);
            boot.carry_out(config, begun);
        }
        boot
    }

    fn read(config: &HostConfig, policy: BootConfig, follows: bool) -> Self {
        let file = RecordFile::new(&config.state_dir);
        let mut boot = Self {
            record: Record::default(),
            policy,
            level: Level::All,
            undecided: BTreeMap::new(),
            follows,
            problems: Vec::new(),
            told: Vec::new(),
            trouble: None,
            due: 0,
            well_since: None,
            file,
        };
        let serial = || Folder::new(&config.state_dir).last_obeyed(&config.updates_file);
        match boot.file.read() {
            Found::Record(record) => boot.record = record,
            Found::Nothing => boot.record.serial = serial(),
            Found::Damaged(why) => {
                boot.record = Record { serial: serial(), ..Record::unknown(policy.unclean_max) };
                let path = boot.file.path().display();
                let what = format!(
                    "the count of starts in {path} cannot be read ({why}): as if {} had come to no health",
                    policy.unclean_max
                );
                boot.problems.push(format!("{}: {what}", FailureReason::UncleanBoots));
                boot.tell("starts-not-known", json!({ "why": what }), true);
            }
        }
        boot
    }

    /// Counts this start, for good where the machine may be the one that ended.
    fn count(&mut self, before: Before) -> Begun {
        let max = self.policy.unclean_max;
        if self.follows {
            self.level = self.record.level(max);
            return Begun { level: self.level, counted: false, ends_probation: false };
        }
        let id = boot_id();
        let is_new = id.is_empty() || id != self.record.boot;
        let mut begun = self.record.begin(&id, before, max);
        if begun.counted {
            let unclean = self.record.unclean;
            let what = format!(
                "start {unclean} in a row after one that came to no health (from {max} on only what is known \
                 to be good docks, from {} on nothing)",
                max.saturating_mul(2)
            );
            self.tell("start-unclean", json!({ "unclean": unclean, "why": what }), true);
        }
        self.keep(is_new, 0);
        if let Some((_, why)) = &self.trouble {
            // What is not counted could go on for ever.
            begun.ends_probation = true;
            begun.level = begun.level.max(Level::KnownGood);
            let what = format!("this start could not be counted: {why}");
            self.tell("start-not-counted", json!({ "why": what }), true);
        }
        self.level = begun.level;
        begun
    }

    /// Obeys what the administrator dropped, before anything else follows from the count.
    fn repair(&mut self, config: &HostConfig) {
        let mut folder = Folder::new(&config.state_dir);
        for dropped in folder.look(&config.updates_file, self.circumstances()) {
            let Ok(instruction) = &dropped.opened else {
                // It may be half: the host that runs looks again.
                continue;
            };
            // Another one came before it, since they were judged.
            if instruction.serial <= self.record.serial && self.record.obeying == 0 {
                continue;
            }
            self.begin_repair(instruction.serial);
            let done: Vec<String> = instruction
                .actions
                .iter()
                .map(|action| repair::outcome(action, repair::act(&config.state_dir, action, self)))
                .collect();
            self.end_repair();
            let value = folder.settle_done(&dropped, &done);
            self.tell("repair-obeyed", value, false);
            // One that could not be counted stays cautious.
            let least = if self.trouble.is_some() { Level::KnownGood } else { Level::All };
            self.level = self.record.level(self.policy.unclean_max).max(least);
        }
    }

    /// Takes back what is not to be in force, and says what is not docked.
    fn carry_out(&mut self, config: &HostConfig, begun: Begun) {
        let by_hand = self.record.safe_mode.as_ref().is_some_and(|safe| !safe.unclean);
        let cautious = self.level > Level::All && !by_hand;
        if self.level == Level::Nothing {
            tracing::error!("{}", self.safe_mode().unwrap_or_default());
        }
        if !begun.ends_probation && !cautious {
            return;
        }
        let terms = back::Terms {
            cautious,
            known_good_alone: self.level == Level::KnownGood,
            conduct: begun.ends_probation && self.trouble.is_none(),
            unclean: self.record.unclean,
        };
        for name in installed(config) {
            for found in back::carry_out(&config.state_dir, &name, &self.record, &terms) {
                match found {
                    back::Back::Went(went) => {
                        tracing::error!("{went}: {} starts came to no health", terms.unclean);
                        let value = json!({ "engine": name, "reason": FailureReason::UncleanBoots, "what": went });
                        self.tell("engine-went-back", value, false);
                    }
                    back::Back::Nowhere(why) => {
                        self.record.enter_safe_mode(Some(&name), &why, true);
                        self.keep(true, 0);
                    }
                    back::Back::Failed(why) => {
                        let what = format!("{name} was to go back and could not: {why}");
                        self.problems.push(format!("{}: {what}", FailureReason::UncleanBoots));
                        self.undecided.insert(name.clone(), what);
                    }
                }
            }
        }
    }

    /// Writes the record; on failure it is tried again by [`Boot::retry`].
    fn keep(&mut self, durable: bool, now: u64) {
        if self.follows {
            return;
        }
        self.record.sequence = self.record.sequence.saturating_add(1);
        let written = self.file.write(&self.record, durable);
        self.trouble = written.err().map(|error| {
            let path = self.file.path().display();
            tracing::error!(%path, %error, "the count of starts cannot be written");
            (Trouble::from(&error), format!("{path}: {error}"))
        });
        self.due = now.saturating_add(SECOND);
    }

    /// Tries again what could not be written, if it is time for it.
    pub(crate) fn retry(&mut self, now: u64) {
        if self.trouble.is_some() && now >= self.due {
            self.keep(true, now);
        }
    }

    fn tell(&mut self, kind: &'static str, value: Value, unclean: bool) {
        if unclean {
            tracing::error!("{}", value["why"].as_str().unwrap_or(kind));
        }
        self.told.push(Told { kind, value, unclean });
    }

    /// What happened before there was a journal, once.
    pub(crate) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Why the engine is not docked, and for which reason its verdicts are missing; `None` if it is.
    pub(crate) fn keeps_off(&self, name: &EngineName) -> Option<(FailureReason, String)> {
        let reason = |unclean| match unclean {
            true => FailureReason::UncleanBoots,
            false => FailureReason::NotDocked,
        };
        if self.level == Level::Nothing {
            let unclean = self.record.safe_mode.as_ref().is_none_or(|safe| safe.unclean);
            return Some((reason(unclean), "SAFE MODE".to_owned()));
        }
        if let Some(withheld) = self.record.withheld.get(name) {
            let why = format!(
                "{}; let it dock with: outrigger repair leave-safe-mode {name}",
                withheld.why
            );
            return Some((reason(withheld.unclean), why));
        }
        let why = self.undecided.get(name)?;
        Some((FailureReason::UncleanBoots, why.clone()))
    }

    /// What is told of safe mode, while the host is in it.
    pub(crate) fn safe_mode(&self) -> Option<String> {
        let why = self.record.safe_mode.as_ref().map_or("", |safe| &safe.why);
        (self.level == Level::Nothing).then(|| {
            format!("SAFE MODE: no engine is docked and the fallback answers every question ({why}); {WAY_OUT}")
        })
    }

    /// What is wrong, for the status.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.safe_mode().into_iter().collect();
        if self.level == Level::KnownGood && self.record.start != Start::Healthy {
            problems.push(format!(
                "{}: {} starts in a row came to no health: only what is known to be good docks (docs/recovery.md)",
                FailureReason::UncleanBoots,
                self.record.unclean
            ));
        }
        problems.extend(self.problems.iter().cloned());
        if let Some((trouble, why)) = &self.trouble {
            let what = format!("the count of starts cannot be written: {why}");
            problems.push(super::status::named(*trouble, &what));
        }
        problems
    }

    /// Something ended that should not have: what went well so far does not count.
    pub(crate) fn disturbed(&mut self) {
        self.well_since = None;
    }

    /// Looks whether all has been well for long enough; true once, when it has.
    pub(crate) fn is_healthy_now(&mut self, all_well: bool, now: u64) -> bool {
        if !all_well || self.follows || self.level == Level::Nothing || !self.undecided.is_empty() {
            self.well_since = None;
            return false;
        }
        let since = *self.well_since.get_or_insert(now);
        let long = u64::from(self.policy.healthy_ms) * (SECOND / 1000);
        self.record.start != Start::Healthy && now.saturating_sub(since) >= long
    }

    /// This start came to be healthy, with `in_force` in force.
    pub(crate) fn mark_healthy(&mut self, in_force: Option<Vec<Good>>, now: u64) {
        self.record.healthy(in_force);
        self.keep(true, now);
    }

    /// The host is asked to end, after it has run for `lasted` ns.
    pub(crate) fn mark_stopped(&mut self, lasted: u64) {
        self.record.stopped(lasted / (SECOND / 1000) >= u64::from(self.policy.healthy_ms));
        self.keep(true, 0);
    }

    /// The host makes way for another one on this boot of the machine.
    pub(crate) fn mark_made_way(&mut self) {
        self.record.makes_way();
        self.keep(false, 0);
    }

    /// This build has taken over: the record is its from now on.
    pub(crate) fn took_over(&mut self, config: &HostConfig, now: u64) {
        self.follows = false;
        let now_there = Self::read(config, self.policy, true).record;
        self.record = Record { start: Start::Begun, ..now_there };
        self.keep(false, now);
    }

    /// Keeps `engine`, or all, off the dock from now on, this start included.
    pub(crate) fn enter_safe_mode(&mut self, engine: Option<&EngineName>, why: &str) {
        self.record.enter_safe_mode(engine, why, false);
        self.level = self.level.max(self.record.level(self.policy.unclean_max));
        self.keep(true, 0);
    }

    /// Lets `engine`, or all that are not kept off by name, dock from the next host on; whether anything was.
    pub(crate) fn leave_safe_mode(&mut self, engine: Option<&EngineName>) -> bool {
        let any = self.record.leave_safe_mode(engine);
        self.keep(true, 0);
        let undecided = match engine {
            Some(engine) => self.undecided.contains_key(engine),
            None => self.level > Level::All,
        };
        any || undecided
    }

    /// What an instruction is compared with.
    pub(crate) fn circumstances(&self) -> repair::Known {
        repair::Known { last: self.record.serial, begun: self.record.obeying }
    }

    /// An instruction is obeyed from here on: whatever becomes of this host, it is obeyed once more at most.
    pub(crate) fn begin_repair(&mut self, serial: u64) {
        let again = self.record.serial == serial;
        self.record.obeying = if again { self.record.obeying.saturating_add(1) } else { 1 };
        self.record.serial = serial;
        self.keep(true, 0);
    }

    /// It was obeyed.
    pub(crate) fn end_repair(&mut self) {
        self.record.obeying = 0;
        self.keep(true, 0);
    }
}

/// The engines of `config` that run from releases.
fn installed(config: &HostConfig) -> Vec<EngineName> {
    let name = |source: &EngineSource| match source {
        EngineSource::Installed(name) => Some(name.clone()),
        EngineSource::Manifest(_) => None,
    };
    config.engines.iter().filter_map(|engine| name(&engine.source)).collect()
}

/// What is in force of the engines of `config`; `None` if that cannot be told.
pub(crate) fn in_force(config: &HostConfig) -> Option<Vec<Good>> {
    back::in_force(&config.state_dir, &installed(config))
        .inspect_err(|error| tracing::error!("what is in force cannot be told: {error}"))
        .ok()
}

/// What the administrator says of updates; where there is no such file, or a wrong one, the defaults.
fn updates(config: &HostConfig) -> (UpdatesConfig, Option<String>) {
    let file = &config.updates_file;
    match std::fs::symlink_metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => (UpdatesConfig::default(), None),
        _ => match UpdatesConfig::read(file) {
            Ok(updates) => (updates, None),
            Err(errors) => {
                let problem =
                    format!("the settings of updates are refused and the defaults hold:\n{errors}");
                tracing::error!("{problem}");
                (UpdatesConfig::default(), Some(problem))
            }
        },
    }
}

/// Empty if the kernel does not tell.
fn boot_id() -> String {
    std::fs::read_to_string(BOOT_ID).map(|text| text.trim().to_owned()).unwrap_or_default()
}
