//! Reading what is to be in force: the administrator's folder, and the rules of engines' content.
//!
//! It waits for processes that read text, so it is called by a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;

use outrigger_api::reason::chain;
use outrigger_decision::rules::reading::{Answer, Place, Question};
use outrigger_decision::rules::{Rule, Source};
use outrigger_sensor::group::PERMISSION_MASK;
use outrigger_supervisor::policies::child::{self, Unheard};
use outrigger_supervisor::policies::{COMPILER, folder};

use super::super::super::Host;
use super::super::super::policy::contents::{self, OfEngine, Refused, Wanted};
use super::super::super::policy::{Kept, RuleSet};

/// What there is to be in force.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// `None` if it is what is in force.
    pub(super) set: Option<Arc<RuleSet>>,
    /// Why the folder is not to be in force; the set then has the administrator's rules that are.
    pub(super) folder: Vec<String>,
    /// Rules of engines' content that are not.
    pub(super) refused: Vec<Refused>,
}

/// Reads and compiles the folder of policies, and the rules of engines' content: what was read before of the same
/// release counts, unless all is to be read `anew`. What is wrong with the one keeps nothing of the other from
/// coming in force.
pub(super) fn read_set(host: &Host, generation: u64, contents: &[Wanted], anew: bool) -> Found {
    let current = host.policy.current();
    let groups = host.page().header().groups();
    let unheard = Unheard {
        groups: groups.map(|(_, group)| group.number()).collect(),
        mask: PERMISSION_MASK,
    };
    let before = &current.kept.engines;
    let (mut engines, mut refused) = (Vec::<OfEngine>::new(), Vec::new());
    for wanted in contents {
        let same = before.iter().find(|one| one.is_of(wanted) && !anew);
        let found = match same {
            Some(same) => Ok(Some(same.clone())),
            None => contents::read(wanted, compiler, &unheard, host.policy.spare()),
        };
        match found {
            Ok(found) => {
                let compared = |one: &OfEngine| {
                    let beside = |other: &OfEngine| other.engine == one.engine;
                    !one.rules.is_empty() || engines.iter().any(beside)
                };
                let found = found.filter(compared);
                engines.extend(found);
            }
            Err(errors) => {
                // What was in force of it decides on.
                engines.extend(before.iter().find(|one| one.stands_for(wanted)).cloned());
                let (engine, shadow) = (wanted.engine.clone(), wanted.shadow);
                refused.push(Refused { engine, shadow, why: errors.join("\n") });
            }
        }
    }
    let compile = |rules: Vec<Rule>, places: Vec<Place>| {
        let kept = Kept { generation, rules, places, engines: engines.clone() };
        if (&kept.rules, &kept.engines) == (&current.kept.rules, before) {
            return Ok(None);
        }
        host.policy.compile(kept, &host.config).map(Some).map_err(|why| vec![why])
    };
    let read = read_folder(host, &unheard).and_then(|(rules, places)| compile(rules, places));
    let (set, folder) = match read {
        Ok(set) => (set, Vec::new()),
        Err(errors) => {
            // The administrator's rules are in force, so they can be compiled.
            let (rules, places) = (current.kept.rules.clone(), current.kept.places.clone());
            (compile(rules, places).unwrap_or_default(), errors)
        }
    };
    refused.extend(set.iter().flat_map(|set| set.left_out.iter().cloned()));
    Found { set, folder, refused }
}

/// The administrator's rules, and where each stands.
fn read_folder(host: &Host, unheard: &Unheard) -> Result<(Vec<Rule>, Vec<Place>), Vec<String>> {
    let rules = &host.config.rules;
    let question = match rules.enabled {
        true => folder::read(&rules.dir, Source::Administrator),
        false => Ok(Question::new(Source::Administrator)),
    };
    let question = question.map_err(|error| vec![error.to_string()])?;
    if question.files.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let program = compiler().map_err(|why| vec![why])?;
    let answer = child::read(&program, &question, unheard, child::TIME_MAX).map_err(|error| {
        vec![format!("{}, which reads policies: {}", program.display(), chain(&error))]
    })?;
    match answer {
        Answer::Read { rules, places } => Ok((rules, places)),
        Answer::Refused { errors } => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

fn compiler() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    Ok(own.with_file_name(COMPILER))
}
