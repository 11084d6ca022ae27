//! One set of rules, compiled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_api::control::PolicyFile;
use outrigger_api::settings::{EngineSource, HostConfig};
use outrigger_api::{EngineName, Event, EventSet, Mode};
use outrigger_decision::guard::{Spare, placed};
use outrigger_decision::policy::Policies;
use outrigger_decision::rules::reading::Place;
use outrigger_decision::rules::{
    CompileError, Compiled, Condition, Effect, LineageKey, MarkNames, Number, Process, Rule, Text,
    compile,
};
use outrigger_sensor::clock;
use outrigger_sensor::plane::Marks;
use serde::{Deserialize, Serialize};

use super::super::journal;
use super::contents::{Kind, OfEngine, Refused};
use super::names::Named;

/// A set as it is kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its number.
    pub(crate) generation: u64,
    /// Its rules, as they were read.
    pub(crate) rules: Vec<Rule>,
    /// Where each stands in the text.
    #[serde(default)]
    pub(crate) places: Vec<Place>,
    /// Those of engines' content.
    #[serde(default)]
    pub(crate) engines: Vec<OfEngine>,
}

impl Kept {
    /// Every rule but those in shadow.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Rule> {
        let engines = self.engines.iter().filter(|one| !one.shadow);
        self.rules.iter().chain(engines.flat_map(|one| &one.rules))
    }

    /// Whether there is no rule at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.engines.is_empty()
    }

    /// As the next host is to have it.
    pub(crate) fn without_shadow(&self) -> Self {
        let engines = self.engines.iter().filter(|one| !one.shadow).cloned().collect();
        Self { engines, ..self.clone() }
    }
}

/// What of a question the rules about its event look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// The object's path.
    pub(crate) path: bool,
    /// Effective user or group of the subject.
    pub(crate) ids: bool,
    /// Its program, control group, lineage or marks.
    pub(crate) identity: bool,
    /// Its lineage or marks, which the kernel's programs remember.
    pub(crate) memory: bool,
}

/// The rules of a release in shadow and of the one that decides, each as if it were alone and enforced: so they
/// are compared whatever other rules, guard rails and modes make of them.
#[derive(Debug)]
pub(crate) struct Beside {
    /// The engine's place in the configuration.
    pub(crate) place: usize,
    /// `None` if it has no rules.
    pub(crate) active: Option<Compiled>,
    pub(crate) shadow: Compiled,
}

/// What a set is compiled by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modes<'a> {
    /// The marks of the set before.
    pub(crate) before: &'a MarkNames,
    pub(crate) config: &'a HostConfig,
    /// What engines' rules leave out.
    pub(crate) spare: &'a Spare,
    pub(crate) key: &'a LineageKey,
}

impl Modes<'_> {
    /// The place of the engine of this name, of those that are installed.
    fn place(&self, engine: &EngineName) -> Option<usize> {
        let mut engines = self.config.engines.iter();
        engines.position(|one| one.source == EngineSource::Installed(engine.clone()))
    }
}

/// A set of rules, ready to judge by.
#[derive(Debug)]
pub(crate) struct RuleSet {
    pub(crate) generation: u64,
    /// As they were read.
    pub(crate) kept: Kept,
    pub(crate) compiled: Compiled,
    /// By the numbers in the image.
    names: Vec<Named>,
    /// The rules of releases in shadow, beside those that decide.
    shadows: Vec<Beside>,
    /// The engines of whose rules there is no room, and what is in the way.
    pub(crate) left_out: Vec<Refused>,
    decides: EventSet,
    uses: Vec<Uses>,
    /// When it came in force, ms since the epoch.
    pub(crate) since_ms: u64,
}

impl RuleSet {
    /// Compiles `kept` with the marks of the set before, as the modes of `config` have it: where nothing is enforced, a Deny is only said.
    /// Rules of engines for which there is no room beside the others are left out.
    ///
    /// # Errors
    ///
    /// What the compiler refuses of the administrator's rules, with the rule's place.
    pub(crate) fn new(mut kept: Kept, tells: Vec<Rule>, by: &Modes<'_>) -> Result<Self, String> {
        let policies = Policies::new(by.config);
        let as_in = |rule| as_in(rule, by.config.rules.mode, &policies);
        let generation = kept.generation;
        let compile_with = |rules: &[(Rule, Option<(usize, Kind)>)]| {
            let rules: Vec<Rule> =
                rules.iter().map(|(rule, _)| rule.clone()).chain(tells.iter().cloned()).collect();
            compile(&rules, by.key, generation, by.before).map(|compiled| (rules, compiled))
        };
        let mut rules: Vec<(Rule, Option<(usize, Kind)>)> =
            kept.rules.iter().flat_map(as_in).map(|rule| (rule, None)).collect();
        let mut shadows = Vec::new();
        let (mut all, mut compiled) =
            compile_with(&rules).map_err(|error| placed(&error, &kept.places))?;
        let mut left_out = Vec::new();
        for one in std::mem::take(&mut kept.engines) {
            let Some(place) = by.place(&one.engine) else { continue };
            let more = one.prepared(by.config, &policies, by.spare);
            let more = more.into_iter().map(|(rule, kind)| (rule, Some((place, kind))));
            let with: Vec<_> = rules.iter().cloned().chain(more).collect();
            let alone = |one: &OfEngine| compile(&one.rules, by.key, generation, by.before);
            let beside = || -> Result<Option<Beside>, CompileError> {
                if !one.shadow {
                    return Ok(None);
                }
                let active = kept.engines.iter().find(|other| other.engine == one.engine);
                let active = active.map(alone).transpose()?;
                Ok(Some(Beside { place, active, shadow: alone(&one)? }))
            };
            match beside().and_then(|beside| Ok((compile_with(&with)?, beside))) {
                Ok((found, beside)) => {
                    shadows.extend(beside);
                    (all, compiled) = found;
                    rules = with;
                    kept.engines.push(one);
                }
                Err(error) => left_out.push(Refused {
                    engine: one.engine.clone(),
                    shadow: one.shadow,
                    why: placed(&error, &one.places),
                }),
            }
        }
        let uses = |event: &Event| {
            let about = deciding(&all).filter(|rule| rule.events.contains(event));
            about.fold(Uses::default(), |uses, rule| uses.and(&rule.when))
        };
        Ok(Self {
            generation,
            decides: deciding(&all).flat_map(|rule| rule.events.iter().copied()).collect(),
            uses: Event::ALL.iter().map(uses).collect(),
            names: rules
                .into_iter()
                .map(|(rule, engine)| Named { name: Arc::from(rule.name.as_str()), engine })
                .collect(),
            shadows,
            left_out,
            compiled,
            kept,
            since_ms: journal::now_ms(),
        })
    }

    /// No rule at all.
    pub(crate) fn none(by: &Modes<'_>) -> Self {
        Self::new(Kept::default(), Vec::new(), by).expect("nothing in no rule can be refused")
    }

    /// Whether a rule denies, allows or marks by this event.
    pub(crate) fn decides(&self, event: Event) -> bool {
        self.decides.contains(event)
    }

    /// Whether a rule about this event does that.
    pub(crate) fn does(&self, event: Event, effect: &Effect) -> bool {
        self.kept.all().any(|rule| rule.effect == *effect && rule.events.contains(&event))
    }

    /// Whether a question may be judged by what is remembered of its subject.
    pub(crate) fn needs_memory(&self) -> bool {
        Event::askable().any(|event| self.uses(event).memory)
    }

    /// Which of a process's marks count now: those that mean what they meant when they were put, and have
    /// not ended.
    pub(crate) fn marks_now(&self, marks: &Marks) -> u64 {
        let now = clock::now();
        let counts = |bit: &usize| {
            let put = marks.put.get(*bit).copied().unwrap_or(0);
            let until = marks.until.get(*bit).copied().unwrap_or(0);
            put >= self.compiled.marks.since(*bit) && (until == 0 || until > now)
        };
        (0..64).filter(counts).fold(0, |bits, bit| bits | 1 << bit) & marks.bits
    }

    /// What is compared.
    pub(crate) fn shadows(&self) -> &[Beside] {
        &self.shadows
    }

    /// The events that rules decide.
    pub(crate) fn events(&self) -> EventSet {
        self.decides
    }

    /// What the rules about `event` look at.
    pub(crate) fn uses(&self, event: Event) -> Uses {
        self.uses[event.index()]
    }

    /// Name and owner of the rule with this number.
    pub(crate) fn name(&self, rule: u16) -> Option<&Named> {
        self.names.get(usize::from(rule))
    }

    /// The names of all, by their numbers.
    pub(crate) fn names(&self) -> Vec<Named> {
        self.names.clone()
    }

    /// Rules that would deny and are not enforced.
    pub(crate) fn monitored(&self) -> usize {
        let watched = |rule: &&Rule| rule.effect == Effect::Deny && rule.mode == Mode::Monitor;
        self.kept.all().filter(watched).count()
    }

    /// The files that it was read from, the administrator's in `folder`, with the number of their rules.
    pub(crate) fn files(&self, folder: &Path) -> Vec<PolicyFile> {
        let mut files: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for place in &self.kept.places {
            *files.entry(folder.join(&place.file)).or_insert(0) += 1;
        }
        for one in self.kept.engines.iter().filter(|one| !one.shadow) {
            for place in &one.places {
                *files.entry(one.path(place)).or_insert(0) += 1;
            }
        }
        let file =
            |(path, rules): (PathBuf, u64)| PolicyFile { path: path.display().to_string(), rules };
        files.into_iter().map(file).collect()
    }

    /// Rules by what they do: denials enforced, denials watched, allowances, marks.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for rule in self.kept.all() {
            let what = match (&rule.effect, rule.mode) {
                (Effect::Deny, Mode::Enforce) => "deny",
                (Effect::Deny, Mode::Monitor) => "would-deny",
                (Effect::Allow, _) => "allow",
                (Effect::Mark(_), _) => "mark",
                (Effect::Tell(_), _) => "tell",
            };
            *counts.entry(what).or_insert(0) += 1;
        }
        counts
    }
}

fn deciding(rules: &[Rule]) -> impl Iterator<Item = &Rule> {
    rules.iter().filter(|rule| !matches!(rule.effect, Effect::Tell(_)))
}

/// `rule` as it is where the administrator enforces some events and watches others.
pub(super) fn as_in(rule: &Rule, mode: Mode, policies: &Policies) -> Vec<Rule> {
    let is_watched =
        |event: &&Event| mode == Mode::Monitor || policies.of(**event).mode == Mode::Monitor;
    let (watched, enforced): (Vec<Event>, Vec<Event>) = rule.events.iter().partition(is_watched);
    let part = |events: Vec<Event>, mode, name: String| {
        (!events.is_empty()).then(|| Rule { events, mode, name, ..rule.clone() })
    };
    let both = !watched.is_empty() && !enforced.is_empty();
    let name = if both { format!("{} (monitor)", rule.name) } else { rule.name.clone() };
    let watched = part(watched, Mode::Monitor, name);
    part(enforced, rule.mode, rule.name.clone()).into_iter().chain(watched).collect()
}

impl Uses {
    fn and(self, condition: &Condition) -> Self {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().fold(self, Self::and),
            Condition::Not(part) => self.and(part),
            Condition::Number { place, .. } => match place {
                Number::SubjectUid | Number::SubjectGid => Self { ids: true, ..self },
                Number::PathKnown => Self { path: true, ..self },
                Number::TargetUid
                | Number::TargetGid
                | Number::Owner
                | Number::Family
                | Number::Port
                | Number::Value0
                | Number::Value1 => self,
            },
            Condition::Text { place, .. } => match place {
                Text::Exe | Text::Cgroup => Self { identity: true, ..self },
                Text::Path => Self { path: true, ..self },
                Text::TargetExe | Text::NewPath | Text::Text => self,
            },
            Condition::Within(_) => self,
            Condition::Descends { process, .. } | Condition::Marked { whose: process, .. } => {
                let memory = *process == Process::Subject;
                Self { identity: self.identity || memory, memory: self.memory || memory, ..self }
            }
        }
    }
}
