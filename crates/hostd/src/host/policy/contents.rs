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

use outrigger_api::reason::chain;
use outrigger_api::settings::{EngineSource, HostConfig};
use outrigger_api::{EngineName, Mode};
use outrigger_decision::guard::{Spare, Spared};
use outrigger_decision::policy::Policies;
use outrigger_decision::rules::reading::{Answer, Place};
use outrigger_decision::rules::{Effect, Rule, Source};
use outrigger_supervisor::policies::child::{self, Unheard};
use outrigger_supervisor::policies::folder;
use outrigger_update::store::Digest;
use serde::{Deserialize, Serialize};

use super::super::installed::{Version, unaltered};
use super::set::as_in;

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
    pub(crate) shadow: bool,
}

impl Wanted {
    /// The content that `version` runs with, if it has any.
    pub(crate) fn of(version: &Version, shadow: bool) -> Option<Self> {
        let folder = version.spec.config.content_dir.clone()?;
        let tree = version.tree_of(&folder);
        Some(Self { engine: version.spec.manifest.name.clone(), folder, tree, shadow })
    }

    /// Whether the same lies there.
    pub(crate) fn lies_as(&self, other: &Self) -> bool {
        (&self.folder, self.tree) == (&other.folder, other.tree)
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

/// Rules of an engine's content that are not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) engine: EngineName,
    /// They are those of a release in shadow.
    pub(crate) shadow: bool,
    /// Each error, with its file, line and reason.
    pub(crate) why: String,
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
    if let Err(why) = unaltered(folder, *tree) {
        // Of one in shadow no process is started from there either, and that is no fault of the release's.
        let told = one(format!("{}: {why}", folder.display()));
        return if *shadow { Ok(None) } else { Err(told) };
    }
    let question = folder::read(folder, Source::Engine(engine.clone()))
        .map_err(|error| one(error.to_string()))?;
    if question.files.is_empty() {
        // Of one in shadow it is told that it has no rules any more.
        let none = || OfEngine {
            engine: engine.clone(),
            tree: tree.to_string(),
            folder: folder.clone(),
            rules: Vec::new(),
            places: Vec::new(),
            shadow: true,
        };
        return Ok(shadow.then(none));
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
    spare.room(&read.rules, &read.places).map_err(|error| one(error.to_string()))?;
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

#[cfg(test)]
mod tests {
    use outrigger_api::Event;
    use outrigger_decision::rules::{Condition, LineageKey, MarkNames, Pattern, Text};

    use super::super::{Kept, Modes, RuleSet};
    use super::*;

    /// So many rules, each about one file of `folder`.
    fn rules(count: usize, folder: &str, source: &Source) -> Vec<Rule> {
        let rule = |at: usize| Rule {
            name: format!("{folder}/{at}"),
            source: source.clone(),
            mode: Mode::Enforce,
            effect: Effect::Deny,
            events: vec![Event::FileOpen],
            when: Condition::Text { place: Text::Path, is: Pattern::Is(format!("{folder}/{at}")) },
        };
        (0..count).map(rule).collect()
    }

    fn of(engine: &str, count: usize, shadow: bool) -> OfEngine {
        let engine: EngineName = engine.parse().expect("a name");
        let rules = rules(count, &format!("/srv/{engine}"), &Source::Engine(engine.clone()));
        let folder = PathBuf::from("/content");
        OfEngine { engine, tree: String::new(), folder, rules, places: Vec::new(), shadow }
    }

    /// The set of these, of a machine with the engines `one` and `other`.
    fn set(administrators: usize, engines: Vec<OfEngine>) -> RuleSet {
        let text = "[[engine]]\ninstalled = \"one\"\n[[engine]]\ninstalled = \"other\"\nmode = \"monitor\"\n";
        let config = HostConfig::parse(text, Path::new("c.toml")).expect("a configuration");
        let rules = rules(administrators, "/mine", &Source::Administrator);
        let kept = Kept { generation: 1, rules, places: Vec::new(), engines };
        let by = Modes {
            before: &MarkNames::default(),
            config: &config,
            spare: &Spare::default(),
            key: &LineageKey([0; 16]),
        };
        RuleSet::new(kept, Vec::new(), &by).expect("the administrator's fit")
    }

    fn engines(set: &RuleSet) -> Vec<&str> {
        set.kept.engines.iter().map(|one| one.engine.as_str()).collect()
    }

    #[test]
    fn those_that_fit_are_in_force_behind_the_administrators() {
        let set = set(1000, vec![of("one", 200, false), of("other", 200, false)]);

        assert_eq!(engines(&set), ["one", "other"]);
        assert!(set.left_out.is_empty(), "{:?}", set.left_out);
        assert_eq!(set.name(0).and_then(|named| named.engine), None);
        assert_eq!(set.name(1000).and_then(|named| named.engine), Some((0, Kind::Plain)));
        assert_eq!(set.name(1200).and_then(|named| named.engine), Some((1, Kind::Plain)));
    }

    #[test]
    fn the_administrators_always_fit_and_who_does_not_is_told_so_alone() {
        let set = set(1900, vec![of("one", 200, false), of("other", 100, false)]);

        assert_eq!(engines(&set), ["other"]);
        assert_eq!(set.left_out.len(), 1);
        assert_eq!(set.left_out[0].engine.as_str(), "one");
        assert!(set.left_out[0].why.contains("2048"), "{:?}", set.left_out);
        assert_eq!(set.kept.all().count(), 2000);
    }

    #[test]
    fn those_in_shadow_are_compared_and_not_counted() {
        let set = set(1, vec![of("one", 2, false), of("one", 3, true)]);

        assert_eq!(set.kept.all().count(), 3);
        assert_eq!(set.shadows().len(), 1);
        assert!(set.shadows()[0].active.is_some());
        let kinds: Vec<Option<(usize, Kind)>> =
            (0..6).map(|rule| set.name(rule).and_then(|named| named.engine)).collect();
        assert_eq!(kinds[3], Some((0, Kind::Shadow)));
        assert_eq!(set.kept.without_shadow().engines.len(), 1);
    }

    #[test]
    fn of_an_engine_that_is_not_installed_there_are_none() {
        assert_eq!(engines(&set(1, vec![of("gone", 2, false)])), Vec::<&str>::new());
    }

    #[test]
    fn of_a_monitored_engine_none_is_enforced() {
        let config = "[[engine]]\ninstalled = \"other\"\nmode = \"monitor\"\n";
        let config = HostConfig::parse(config, Path::new("c.toml")).expect("a configuration");

        let prepared =
            of("other", 2, false).prepared(&config, &Policies::new(&config), &Spare::default());

        assert!(prepared.iter().all(|(rule, _)| rule.mode == Mode::Monitor));
    }
}
