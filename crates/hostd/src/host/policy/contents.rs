//! The rules that engines' content brings along.
//!
//! They lie as `*.cedar` files in a release of content, are read like the administrator's, and can only deny.
//! They are those of a release that decides, and of one in shadow: no process of the engine is needed for
//! them, and a folder that an administrator fills has none, for nobody has signed it. Each is called
//! `engine/NAME/RULE`.
//!
//! An engine has room of its own: what is over it, or does not fit beside the administrator's rules and those
//! of the engines before it, is left out, and it alone.

use std::path::{Path, PathBuf};

use outrigger_api::settings::{EngineSource, HostConfig};
use outrigger_api::{EngineName, Mode};
use outrigger_decision::guard::{Spare, Spared};
use outrigger_decision::policy::Policies;
use outrigger_decision::rules::reading::{Answer, Place};
use outrigger_decision::rules::{Effect, LineageKey, MarkNames, Rule, Source, compile};
use outrigger_update::store::Digest;
use serde::{Deserialize, Serialize};

use super::super::installed::{Version, chain, unaltered};
use super::child::{self, Unheard};
use super::folder;
use super::set::as_in;

/// Most rules of one engine.
pub(crate) const RULES_MAX: usize = 256;
/// Most clauses that they become, guard rails included: an eighth of what a set can have.
pub(crate) const CLAUSES_MAX: usize = 256;
/// What the names of rules in shadow end with.
const SHADOW: &str = " (shadow)";

/// A release of content whose rules, if it has any, are to be in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) engine: EngineName,
    /// Where it lies.
    folder: PathBuf,
    /// What must lie there; `None` where nobody has signed it.
    tree: Option<Digest>,
    /// Nothing of it is enforced.
    shadow: bool,
}

impl Wanted {
    /// The content that `version` runs with, if it has any.
    pub(crate) fn of(version: &Version, shadow: bool) -> Option<Self> {
        let folder = version.spec.config.content_dir.clone()?;
        let tree = version.tree_of(&folder);
        Some(Self { engine: version.spec.manifest.name.clone(), folder, tree, shadow })
    }
}

/// The rules of one release of content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfEngine {
    pub(crate) engine: EngineName,
    /// The digest of the folder that they were read from.
    tree: String,
    /// That folder.
    folder: PathBuf,
    pub(crate) rules: Vec<Rule>,
    pub(crate) places: Vec<Place>,
    /// Nothing of them is enforced, and the next host knows nothing of them.
    #[serde(skip)]
    pub(crate) shadow: bool,
}

impl OfEngine {
    /// Whether they are those of `wanted`.
    pub(crate) fn is_of(&self, wanted: &Wanted) -> bool {
        let Wanted { engine, folder, tree, shadow } = wanted;
        (&self.engine, &self.folder, self.shadow) == (engine, folder, *shadow)
            && tree.is_some_and(|tree| self.tree == tree.to_string())
    }

    /// Whether they are of the same engine, and as much in force.
    pub(crate) fn stands_for(&self, wanted: &Wanted) -> bool {
        self.engine == wanted.engine && self.shadow == wanted.shadow
    }

    /// The file that a place of theirs is in.
    pub(crate) fn path(&self, place: &Place) -> PathBuf {
        self.folder.join(&place.file)
    }

    /// As they are evaluated where the administrator has these modes.
    pub(crate) fn prepared(
        &self,
        config: &HostConfig,
        policies: &Policies,
        spare: &Spare,
    ) -> Vec<(Rule, Kind)> {
        let found = config.engines.iter().find(|engine| match &engine.source {
            EngineSource::Installed(name) => *name == self.engine,
            EngineSource::Manifest(_) => false,
        });
        let of_engine = found.map_or(Mode::Monitor, |engine| engine.mode);
        let mode = if config.rules.mode == Mode::Monitor { Mode::Monitor } else { of_engine };
        let mut prepared = Vec::new();
        for rule in &self.rules {
            if self.shadow {
                let name = format!("{}{SHADOW}", rule.name);
                prepared.push((Rule { name, mode: Mode::Monitor, ..rule.clone() }, Kind::Shadow));
                continue;
            }
            for part in as_in(rule, mode, policies) {
                let Spared { rules, conflicts } = spare.rule(&part);
                prepared.extend(rules.into_iter().map(|rule| (rule, Kind::Plain)));
                prepared.extend(conflicts.into_iter().map(|rule| (rule, Kind::Conflict)));
            }
        }
        prepared
    }
}

/// What a rule is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To decide, or to say what it would have decided.
    Plain,
    /// To say where an engine's rule would have denied what the machine needs.
    Conflict,
    /// To say what a release in shadow would have denied.
    Shadow,
}

/// Reads the rules of `wanted`; `None` if it has none.
///
/// # Errors
///
/// Everything that is wrong with them, each with its file, line and reason.
pub(crate) fn read(
    wanted: &Wanted,
    program: impl FnOnce() -> Result<PathBuf, String>,
    unheard: &Unheard,
    spare: &Spare,
) -> Result<Option<OfEngine>, Vec<String>> {
    let Wanted { engine, folder, tree, shadow } = wanted;
    let one = |why: String| vec![format!("{engine}: {why}")];
    let Some(tree) = tree else { return unsigned(folder).map_or(Ok(None), |why| Err(one(why))) };
    unaltered(folder, *tree).map_err(|why| one(format!("{}: {why}", folder.display())))?;
    let question = folder::read(folder, Source::Engine(engine.clone()))
        .map_err(|error| one(error.to_string()))?;
    if question.files.is_empty() {
        return Ok(None);
    }
    let program = program().map_err(one)?;
    let answer = child::read(&program, &question, unheard, child::TIME_MAX).map_err(|error| {
        one(format!("{}, which reads rules: {}", program.display(), chain(&error)))
    })?;
    let (mut rules, mut places) = match answer {
        Answer::Read { rules, places } => (rules, places),
        Answer::Refused { errors } => {
            return Err(errors.iter().map(|error| format!("{engine}: {error}")).collect());
        }
    };
    for rule in &mut rules {
        // The reader has refused it already; its word is not taken for it.
        if rule.effect != Effect::Deny {
            return Err(one(format!("rule {} does more than forbid", rule.name)));
        }
        rule.name = format!("engine/{engine}/{}", rule.name);
        rule.source = Source::Engine(engine.clone());
    }
    for place in &mut places {
        place.rule = format!("engine/{engine}/{}", place.rule);
    }
    let read = OfEngine {
        engine: engine.clone(),
        tree: tree.to_string(),
        folder: folder.clone(),
        rules,
        places,
        shadow: *shadow,
    };
    read.is_within_its_room(spare).map_err(one)?;
    Ok(Some(read))
}

/// What is said of a folder that an administrator fills, if there are rules in it.
fn unsigned(folder: &Path) -> Option<String> {
    let mut names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let file = names.find(|path| path.extension().is_some_and(|extension| extension == "cedar"))?;
    Some(format!(
        "{}: only rules in a signed release of content count; put your own into the folder of policies",
        file.display()
    ))
}

impl OfEngine {
    /// An error if they are more than one engine has room for.
    fn is_within_its_room(&self, spare: &Spare) -> Result<(), String> {
        let count = self.rules.len();
        if count > RULES_MAX {
            return Err(format!(
                "{count} rules, over the limit of {RULES_MAX} of one engine: rules that differ in a constant are \
                 one, `[\"a\", \"b\"].contains(…)`"
            ));
        }
        let mut all = Vec::new();
        for rule in &self.rules {
            let Spared { rules, conflicts } =
                spare.rule(&Rule { mode: Mode::Enforce, ..rule.clone() });
            all.extend(rules.into_iter().chain(conflicts));
        }
        let compiled = compile(&all, &LineageKey([0; 16]), 1, &MarkNames::default());
        let clauses = compiled.map_err(|error| placed(&error, &self.places))?.image.clauses();
        if clauses > CLAUSES_MAX {
            return Err(format!(
                "its {count} rules become {clauses} clauses (alternatives that are all looked at, and what the \
                 machine needs), over the limit of {CLAUSES_MAX} of one engine: use fewer, or fewer combinations; \
                 a rule about one folder takes the fewest"
            ));
        }
        Ok(())
    }
}

/// What a compiler says, with the rule's place.
pub(crate) fn placed(error: &outrigger_decision::rules::CompileError, places: &[Place]) -> String {
    let is = |rule: &str, place: &Place| {
        rule == place.rule
            || rule.strip_prefix(&place.rule).is_some_and(|rest| rest.starts_with([' ', '/']))
    };
    let at = error.rule().and_then(|rule| places.iter().find(|place| is(rule, place)));
    let at = at.map(|at| format!("{}:{}:{}: ", at.file, at.line, at.column));
    format!("{}{error}", at.unwrap_or_default())
}
