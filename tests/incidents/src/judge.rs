//! What must hold of every scenario.

use anyhow::Result;
use outrigger_api::control::Status;
use outrigger_testkit::clock::as_ms;
use outrigger_testkit::publisher::update;
use outrigger_testkit::stall;

use crate::load::Seen;
use crate::outcome::{Ended, Outcome};
use crate::scenario::{Release, Scenario, Stage};
use crate::settings::Settings;
use crate::site::{Site, bystander_name};
use crate::watch::Noticed;

/// From the first thing that goes wrong in force to the release before, ms.
const RECOVERY_MS: i64 = 5000;
/// Different files that a release in probation may refuse wrongly before it is rolled back: as many as the policy lets
/// it, and those that were asked about while it was found out.
const REFUSED_MAX: usize = 64;

/// One release.
pub(crate) fn release(
    ended: &Ended,
    release: &Release,
    noticed: &Noticed,
    wrong: &mut Vec<String>,
) {
    let name = &ended.release;
    let mut say = |what: String| wrong.push(format!("{name}: {what}"));
    let (stage, expected) = (ended.stage, release.expect.stage);
    if stage != expected {
        say(format!("it ended in {} and not in {}: {}", stage.name(), expected.name(), ended.told));
        return;
    }
    for words in release.expect.says.iter().filter(|words| !ended.told.contains(*words)) {
        say(format!("{words:?} is not in what the operator reads: {}", ended.told));
    }
    noticed.lies.iter().for_each(|lie| say(format!("the host said {lie}")));
    if let Some(again) = &ended.told_again
        && !again.starts_with("known-bad")
    {
        say(format!("offered again, it is not known as bad: {again}"));
    }
    if !matches!(stage, Stage::Repository | Stage::Package) && !ended.offline {
        say("the repository was in reach all the time".to_owned());
    }
    match (stage, ended.recovery_ms) {
        (Stage::Probation, None) => {
            say("the release before was not seen to decide again".to_owned())
        }
        (Stage::Probation, Some(ms)) if ms > RECOVERY_MS => {
            say(format!("the release before decided again after {ms} ms, {RECOVERY_MS} at most"));
        }
        _ => {}
    }
    if ended.wrong_denials > 0 && !release.expect.may_deny {
        say(format!("clean files were refused {} times", ended.wrong_denials));
    }
}

/// Whether the history that operators read has every release, and how it ended.
pub(crate) fn history(site: &Site, scenario: &Scenario, outcome: &mut Outcome) -> Result<()> {
    let told = update(&site.config, &["history", scenario.engine.name()])?;
    told.expect(0)?;
    let mut last = Vec::new();
    for ended in &outcome.releases {
        let (part, version) = ended.release.split_once(' ').unwrap_or_default();
        let entry =
            told.lines.iter().rfind(|line| line["part"] == part && line["version"] == version);
        let state = entry.and_then(|entry| entry["state"].as_str());
        let is_right = match ended.stage {
            Stage::Active => matches!(state, Some("active" | "retired")),
            Stage::Repository => state.is_none_or(|state| state != "active"),
            _ => state == Some("rejected"),
        };
        if !is_right {
            last.push(format!("history says {state:?} of {}", ended.release));
        }
    }
    outcome.wrong.extend(last);
    Ok(())
}

/// The whole.
pub(crate) fn all(
    outcome: &mut Outcome,
    scenario: &Scenario,
    settings: &Settings,
    [before, after]: [&Status; 2],
    seen: &Seen,
) {
    outcome.opens = seen.clean.opens() + seen.guarded.opens();
    outcome.wrong_denials = seen.clean.wrongly_refused;
    outcome.guarded_denied = seen.guarded.wrongly_refused;
    let mut waits = seen.clean.waits.clone();
    waits.merge(&seen.guarded.waits);
    outcome.longest_ms = as_ms(waits.max());
    outcome.allowed_ms = f64::from(settings.budget_ms + settings.slack_ms);
    let stood_still = stall::longest_ms();
    if outcome.longest_ms > outcome.allowed_ms + stood_still {
        let longest = outcome.longest_ms;
        outcome.late.push(format!(
            "an open waited {longest:.1} ms, and the machine stood still for {stood_still:.1} ms"
        ));
    }
    let mut say = |what: String| outcome.wrong.push(what);
    if seen.guarded.wrongly_refused > 0 {
        say(format!("guarded files were refused {} times", seen.guarded.wrongly_refused));
    }
    if seen.refused.len() > REFUSED_MAX {
        say(format!("{} different clean files were refused", seen.refused.len()));
    }
    for tally in [&seen.clean, &seen.guarded] {
        if tally.failed > 0 {
            say(format!("{} opens failed, the last with error {}", tally.failed, tally.last_error));
        }
    }
    if before.pids != after.pids || before.host_starts != after.host_starts {
        say(format!("the host is another: {:?}, then {:?}", before.pids, after.pids));
    }
    if !after.healthy {
        say(format!("it does not become healthy again: {:?}", after.problems));
    }
    let name = bystander_name(scenario.engine);
    let other = |status: &Status| {
        status.engines.iter().find(|engine| engine.name.as_str() == name).cloned()
    };
    let (Some(before), Some(after)) = (other(before), other(after)) else {
        return say(format!("{name} is not docked"));
    };
    if (before.pid, before.starts) != (after.pid, after.starts) {
        say(format!("{name} was started again: {} starts", after.starts));
    }
    for (reason, count) in &after.faults {
        let new = count - before.faults.get(reason).copied().unwrap_or(0).min(*count);
        let what = format!("{name} noticed it: {reason} {new}");
        match reason.as_str() {
            _ if new == 0 => {}
            // A machine that is busy with other things does that too.
            "engine-slow" | "late-answer" => outcome.late.push(what),
            _ => outcome.wrong.push(what),
        }
    }
}
