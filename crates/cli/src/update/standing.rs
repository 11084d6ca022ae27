//! Where releases stand on this machine: on trial, waiting, in force, known to be bad. Asks no repository.

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::control::Trial;
use outrigger_api::release::{Part, State};
use outrigger_update::rollout::{self, Frozen};
use outrigger_update::store::{Reader, Store, StoreError};
use serde::Serialize;

use super::{Site, host, moment};
use crate::run::Outcome;
use crate::show::trials;
use crate::steps::Steps;
use crate::table::{Table, cell};
use crate::text::{FAINT, GOOD, STRONG, WARN, WRONG, styled, visible};

/// Digits of a digest that are shown to people.
const DIGITS: usize = 12;

#[derive(Debug, Serialize)]
struct Standing {
    /// What is on trial in the host; none if no host runs.
    trials: Option<Vec<Trial>>,
    waiting: Vec<Waiting>,
    in_force: Vec<InForce>,
    known_bad: Vec<Bad>,
    machine: Machine,
}

/// A release that waits.
#[derive(Debug, Serialize)]
struct Waiting {
    engine: EngineName,
    part: Part,
    version: String,
    state: State,
    why: String,
}

#[derive(Debug, Serialize)]
struct InForce {
    engine: EngineName,
    part: Part,
    version: String,
    state: State,
    since: String,
    /// What is gone back to.
    before: Option<String>,
}

#[derive(Debug, Serialize)]
struct Bad {
    engine: EngineName,
    part: Part,
    version: String,
    package: String,
    at: String,
    reason: String,
    detail: String,
}

/// What of the policy bears on everything.
#[derive(Debug, Serialize)]
struct Machine {
    ring: u32,
    ring_hours: u32,
    /// Whether it is a time without updates.
    frozen: bool,
    /// When that ends; none if never.
    frozen_until: Option<String>,
    pins: Vec<String>,
}

/// Tells where releases stand.
pub(super) fn tell(site: &Site<'_>, steps: &mut Steps<'_>) -> Result<Outcome> {
    let trials = host::trials(site)?;
    let reader = Store::open_read(&site.config.state_dir)?;
    let standing = Standing {
        waiting: waiting(site, &reader, trials.as_deref())?,
        in_force: in_force(&reader)?,
        known_bad: known_bad(&reader)?,
        machine: machine(site, Timestamp::now()),
        trials,
    };
    drop(reader);
    if steps.is_json() {
        steps.line(&standing)?;
    } else {
        steps.text(&standing.page())?;
    }
    Ok(Outcome::Good)
}

/// Every engine that the journal knows.
fn engines(reader: &Reader) -> Result<Vec<EngineName>, StoreError> {
    let mut engines: Vec<EngineName> =
        reader.history(None)?.into_iter().map(|release| release.engine).collect();
    engines.sort();
    engines.dedup();
    Ok(engines)
}

fn waiting(
    site: &Site<'_>,
    reader: &Reader,
    trials: Option<&[Trial]>,
) -> Result<Vec<Waiting>, StoreError> {
    let mut found = Vec::new();
    for engine in engines(reader)? {
        let runs = trials.unwrap_or_default().iter().any(|trial| trial.engine == engine);
        for part in Part::ALL {
            let Some(standby) = reader.standby(&engine, part)? else { continue };
            let why = match standby.state {
                State::Shadow if !runs => match trials {
                    None => {
                        "runs in shadow when a host docks the engine: no host runs now".to_owned()
                    }
                    Some(_) => format!(
                        "runs in shadow when the host docks the engine; begin it with: outrigger update apply {engine}"
                    ),
                },
                State::Preflight if site.config.rollout.approval.covers(part) => {
                    match reader.is_approved(standby.release)? {
                        true => format!("approved; go on with: outrigger update apply {engine}"),
                        false => format!(
                            "waits for: outrigger update approve {engine} --part {part} {}",
                            standby.version
                        ),
                    }
                }
                State::Staged | State::Preflight => {
                    format!("is not on its trial yet; go on with: outrigger update apply {engine}")
                }
                _ => continue,
            };
            let (engine, version) = (engine.clone(), standby.version.to_string());
            found.push(Waiting { engine, part, version, state: standby.state, why });
        }
    }
    Ok(found)
}

fn in_force(reader: &Reader) -> Result<Vec<InForce>, StoreError> {
    let mut found = Vec::new();
    for engine in engines(reader)? {
        for part in Part::ALL {
            let Some(active) = reader.active(&engine, part)? else { continue };
            let standby = reader.standby(&engine, part)?;
            let before = standby.filter(|standby| standby.state == State::Retired);
            found.push(InForce {
                engine: engine.clone(),
                part,
                version: active.version.to_string(),
                state: active.state,
                since: active.since.to_string(),
                before: before.map(|before| before.version.to_string()),
            });
        }
    }
    Ok(found)
}

fn known_bad(reader: &Reader) -> Result<Vec<Bad>, StoreError> {
    let all = reader.known_bad_all()?.into_iter();
    let told = all.map(|(release, bad)| Bad {
        engine: release.engine,
        part: release.part,
        version: release.version.to_string(),
        package: release.package.to_string(),
        at: bad.at.to_string(),
        reason: bad.reason,
        detail: bad.detail,
    });
    Ok(told.collect())
}

fn machine(site: &Site<'_>, now: Timestamp) -> Machine {
    let rollout = &site.config.rollout;
    let frozen = rollout::frozen(rollout, now);
    let pins = site.config.pins.iter();
    Machine {
        ring: rollout.ring,
        ring_hours: rollout.ring_hours,
        frozen: frozen != Frozen::No,
        frozen_until: match frozen {
            Frozen::Until(until) => Some(until.to_string()),
            Frozen::No | Frozen::Always => None,
        },
        pins: pins.map(|pin| format!("{} {} {}", pin.engine, pin.part, pin.to)).collect(),
    }
}

impl Standing {
    fn page(&self) -> String {
        let mut out = String::new();
        match &self.trials {
            None => out += "no host runs, so nothing is on its trial\n",
            Some(all) => out += &trials::whole(all),
        }
        self.waiting(&mut out);
        self.in_force(&mut out);
        self.known_bad(&mut out);
        self.machine(&mut out);
        out
    }

    fn waiting(&self, out: &mut String) {
        if self.waiting.is_empty() {
            return;
        }
        title(out, "Waiting");
        let mut table = Table::new(&["ENGINE", "PART", "VERSION", "STATE", "WHY"]);
        for one in &self.waiting {
            table.row([
                cell(one.engine.as_str()).style(STRONG),
                cell(one.part.name()),
                cell(&one.version),
                cell(one.state.name()).style(WARN),
                cell(&one.why),
            ]);
        }
        table.write(out);
    }

    fn in_force(&self, out: &mut String) {
        title(out, "In force");
        if self.in_force.is_empty() {
            *out += "  no release of any engine\n";
            return;
        }
        let mut table = Table::new(&["ENGINE", "PART", "VERSION", "STATE", "SINCE", "BEFORE"]);
        for one in &self.in_force {
            table.row([
                cell(one.engine.as_str()).style(STRONG),
                cell(one.part.name()),
                cell(&one.version),
                cell(one.state.name()).style(match one.state {
                    State::Active => GOOD,
                    _ => WARN,
                }),
                cell(&shown(&one.since)).style(FAINT),
                cell(one.before.as_deref().unwrap_or("–")),
            ]);
        }
        table.write(out);
    }

    fn known_bad(&self, out: &mut String) {
        if self.known_bad.is_empty() {
            return;
        }
        title(out, "Known to be bad, and not taken again");
        let mut table = Table::new(&["ENGINE", "PART", "VERSION", "PACKAGE", "AT", "WHY"]);
        for one in &self.known_bad {
            table.row([
                cell(one.engine.as_str()).style(STRONG),
                cell(one.part.name()),
                cell(&one.version),
                cell(one.package.get(..DIGITS).unwrap_or_default()).style(FAINT),
                cell(&shown(&one.at)).style(FAINT),
                cell(&one.reason).style(WRONG),
            ]);
        }
        table.write(out);
        *out += &styled(FAINT, "  lift one with: outrigger update forget-bad ENGINE VERSION\n");
    }

    fn machine(&self, out: &mut String) {
        let Machine { ring, ring_hours, frozen, frozen_until, pins } = &self.machine;
        title(out, "This machine");
        *out += &format!("  ring {ring}, of {ring_hours} h each\n");
        if *frozen {
            let until = frozen_until.as_deref().map(shown);
            let until = until.map_or_else(
                || "for good: the times in `freeze` leave none between them".to_owned(),
                |until| format!("until {until}"),
            );
            *out += &styled(WARN, format_args!("  nothing is taken {until}\n"));
        }
        for pin in pins {
            *out += &format!("  pinned: {}\n", visible(pin));
        }
    }
}

fn title(out: &mut String, name: &str) {
    *out += &format!("\n{}\n", styled(STRONG, name));
}

/// A time as people read it.
fn shown(at: &str) -> String {
    at.parse().map_or_else(|_| at.to_owned(), moment)
}
