//! The rules in a release's content, read as the host reads them and put to recorded events.
//!
//! A recording says what was done, to what, and by which user; not by which program, or what that descends
//! from. So each event is judged twice: by what is certain whatever the program was, and by what might be. Only
//! the first is held against the rules, and what lies between is told.

use std::path::{Path, PathBuf};

use outrigger_api::reason::chain;
use outrigger_api::sample::Sample;
use outrigger_api::{EngineName, Event};
use outrigger_decision::guard::{GuardRails, Layout, Spare};
use outrigger_decision::rules::reading::Answer;
use outrigger_decision::rules::{
    Compiled, Effect, Facts, Lineage, LineageKey, MarkNames, Number, Rule, Source, compile,
};
use outrigger_supervisor::policies::child::{self, Unheard};
use outrigger_supervisor::policies::{COMPILER, folder};
use outrigger_update::preflight::{RuleCount, RuleWord, RulesRefused};

/// Rules, compiled.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Holds where a Deny is certain.
    certain: Compiled,
    /// Holds where one is possible.
    possible: Compiled,
}

impl Rules {
    /// Those in the folder `content` of the engine called `engine`; `None` if there are none.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, with file and line; or why they cannot be read here.
    pub(crate) fn read(
        content: &Path,
        engine: &EngineName,
    ) -> Result<Option<(Self, RuleCount)>, RulesRefused> {
        let refused = |why: String| RulesRefused::Wrong(vec![why]);
        let question = folder::read(content, Source::Engine(engine.clone()))
            .map_err(|error| refused(error.to_string()))?;
        if question.files.is_empty() {
            return Ok(None);
        }
        let program = compiler().map_err(RulesRefused::Host)?;
        let answer = child::read(&program, &question, &Unheard::default(), child::TIME_MAX);
        let answer = answer.map_err(|error| {
            let why = format!("{}, which reads rules: {}", program.display(), chain(&error));
            // What takes too long or too much to read is the text's doing.
            if error.is_the_texts() { refused(why) } else { RulesRefused::Host(why) }
        })?;
        let (rules, places) = match answer {
            Answer::Read { rules, places } => (rules, places),
            Answer::Refused { errors } => {
                return Err(RulesRefused::Wrong(errors.iter().map(ToString::to_string).collect()));
            }
        };
        if let Some(rule) = rules.iter().find(|rule| rule.effect != Effect::Deny) {
            return Err(refused(format!("rule {} does more than forbid", rule.name)));
        }
        let clauses = spare().room(&rules, &places).map_err(|error| refused(error.to_string()))?;
        let recorded = |event: &Event| Event::askable().any(|askable| askable == *event);
        let mut unrecorded: Vec<Event> =
            rules.iter().flat_map(|rule| rule.events.clone()).collect();
        unrecorded.retain(|event| !recorded(event));
        unrecorded.sort_unstable_by_key(|event| event.index());
        unrecorded.dedup();
        let count = RuleCount {
            rules: rules.len(),
            clauses,
            unrecorded: unrecorded.iter().map(|event| event.name()).collect(),
        };
        let compiled = |effect: Effect| {
            let as_if = |rule: &Rule| Rule {
                effect: effect.clone(),
                source: Source::Administrator,
                ..rule.clone()
            };
            let rules: Vec<Rule> = rules.iter().map(as_if).collect();
            compile(&rules, &LineageKey([0; 16]), 1, &MarkNames::default())
                .map_err(|error| refused(error.to_string()))
        };
        // What is not known speaks against an Allow, and for a Deny.
        let both = Self { certain: compiled(Effect::Allow)?, possible: compiled(Effect::Deny)? };
        Ok(Some((both, count)))
    }

    /// What they say of a recorded event.
    pub(crate) fn judge(&self, sample: &Sample) -> RuleWord {
        let mut facts = Facts::new(sample.event);
        facts.set_path(sample.path.as_deref());
        if let Some((uid, gid)) = sample.credentials {
            facts.set_number(Number::SubjectUid, uid.into());
            facts.set_number(Number::SubjectGid, gid.into());
        }
        // Of what it descends nothing is known.
        facts.lineage = Lineage::new(&[], true);
        let name = |compiled: &Compiled, rule: Option<u16>| {
            compiled.rules.get(usize::from(rule?)).cloned()
        };
        let certain = self.certain.image.decide(&facts).allow;
        if let Some(rule) = name(&self.certain, certain) {
            return RuleWord::Denies(rule);
        }
        match self.possible.image.decide(&facts).deny {
            Some(_) => RuleWord::Unknown,
            None => RuleWord::Silent,
        }
    }
}

/// The guard rails of any machine, for how much room they take.
fn spare() -> Spare {
    const NONE: [&str; 0] = [];
    let libraries = ["/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu"];
    let libraries = libraries.map(str::to_owned).to_vec();
    let layout = Layout { is_merged: true, libraries };
    GuardRails::new(NONE, NONE).spare(&layout, [])
}

fn compiler() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    Ok(own.with_file_name(COMPILER))
}
