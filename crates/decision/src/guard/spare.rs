//! The guard rails in the rules of engines, where nobody can be asked whether a file is guarded.
//!
//! A rule of an engine's becomes one that leaves out what the machine needs, and a second one, in Monitor,
//! that says where it alone would have denied: a conflict. What is left out is
//!
//! - the object: a guarded file, by its path or its new one; a process that runs a guarded program;
//! - the subject: root, running a program that the machine needs. A shell and the loader are none of these, for
//!   they run whatever they are told to; nor is anybody but root, since anybody can start these programs.
//!
//! These are comparisons of paths, and a path is a claim ([`super`]): who decides with the file at hand looks
//! again. Only what the rule's own condition leaves possible is compared, so that a rule about one folder
//! costs no more than it says.

use outrigger_api::attribute::{Place, arguments};
use outrigger_api::catalogue::ObjectKind;
use outrigger_api::{Event, Mode};

use super::{ALWAYS, GuardRails, LIBRARY_FOLDERS, Library, is_at_or_below};
use crate::rules::{Comparison, Condition, Effect, Number, Pattern, Rule, Text, follows};

/// Programs among the guarded ones that run what they are told to.
const TOLD_WHAT: [&[u8]; 5] = [b"/bin/sh", b"/bin/dash", b"/bin/bash", b"/bin/ash", b"/bin/sudo"];
/// Folders whose files are no programs.
const DATA: [&[u8]; 2] = [b"/etc", b"/var/lib"];
/// What the second rule's name ends with.
pub const CONFLICT: &str = " (guarded)";

/// Where this machine keeps what is guarded.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// `/bin`, `/sbin` and `/lib` are links into `/usr`.
    pub is_merged: bool,
    /// Its folders of libraries, without links: `/usr/lib64`, `/usr/lib/x86_64-linux-gnu`.
    pub libraries: Vec<String>,
}

/// The guard rails as comparisons.
#[derive(Debug, Default)]
pub struct Spare {
    files: Vec<Pattern>,
    programs: Vec<Pattern>,
}

/// A rule of an engine's with the guard rails in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spared {
    /// What is enforced.
    pub rules: Vec<Rule>,
    /// What says where the rule alone would have denied.
    pub conflicts: Vec<Rule>,
}

impl GuardRails {
    /// The guard as comparisons. `programs`: those that are guarded as subjects besides the known ones.
    ///
    /// A path below a guarded folder from which the guard was lifted is guarded here all the same.
    pub fn spare<'a>(
        &self,
        layout: &Layout,
        programs: impl IntoIterator<Item = &'a [u8]>,
    ) -> Spare {
        let mut spare = Spare::default();
        let is_lifted = |path: &[u8]| self.lifted.iter().any(|lifted| is_at_or_below(path, lifted));
        let mut files: Vec<&[u8]> = self.files.iter().map(Vec::as_slice).collect();
        files.sort_unstable();
        for file in files.into_iter().filter(|file| !is_lifted(file)) {
            let patterns = forms(file, layout).into_iter().map(Pattern::Is);
            spare.add(patterns, runs(file));
        }
        for tree in self.trees.iter().filter(|tree| !is_lifted(tree)) {
            // Where it is a file, and what is below it.
            let both = |path: String| [Pattern::Begins(format!("{path}/")), Pattern::Is(path)];
            spare.add(forms(tree, layout).into_iter().flat_map(both), runs(tree));
        }
        for entry in ALWAYS {
            let Library(name) = entry else { continue };
            let folders = layout.libraries.iter();
            let begins = |folder: &String| Pattern::Begins(format!("{folder}/{name}"));
            spare.add(folders.map(begins), false);
        }
        let programs = programs.into_iter().filter_map(|path| std::str::from_utf8(path).ok());
        spare.programs.extend(programs.map(|path| Pattern::Is(path.to_owned())));
        spare
    }
}

impl Spare {
    /// Whether root runs what the machine needs, where it runs `exe`.
    pub fn runs(&self, exe: &[u8]) -> bool {
        let Ok(exe) = std::str::from_utf8(exe) else { return false };
        let exe = Pattern::Is(exe.to_owned());
        self.programs.iter().any(|program| follows(&exe, program) == Some(true))
    }

    fn add(&mut self, patterns: impl Iterator<Item = Pattern>, runs: bool) {
        for pattern in patterns {
            if runs {
                self.programs.push(pattern.clone());
            }
            self.files.push(pattern);
        }
    }

    /// `rule` with what the machine needs left out. Of one that denies nothing nothing is.
    pub fn rule(&self, rule: &Rule) -> Spared {
        if rule.effect != Effect::Deny || rule.mode != Mode::Enforce {
            return Spared { rules: vec![rule.clone()], conflicts: Vec::new() };
        }
        let mut kinds: Vec<(Objects, Vec<Event>)> = Vec::new();
        for &event in &rule.events {
            let objects = Objects::of(event);
            match kinds.iter_mut().find(|(known, _)| *known == objects) {
                Some((_, events)) => events.push(event),
                None => kinds.push((objects, vec![event])),
            }
        }
        let several = kinds.len() > 1;
        let mut spared = Spared::default();
        for (objects, events) in kinds {
            let name = match events.first() {
                Some(event) if several => format!("{}/{event}", rule.name),
                _ => rule.name.clone(),
            };
            let part = Rule { name, events, ..rule.clone() };
            let Some(guarded) = self.guarded(objects, &part.when) else {
                spared.rules.push(part);
                continue;
            };
            spared.conflicts.push(Rule {
                name: format!("{}{CONFLICT}", part.name),
                mode: Mode::Monitor,
                ..part.clone()
            });
            let when = Condition::All(vec![part.when, Condition::Not(Box::new(guarded))]);
            spared.rules.push(Rule { when, ..part });
        }
        spared
    }

    /// What of the guard `when` leaves possible; none if nothing is.
    fn guarded(&self, objects: Objects, when: &Condition) -> Option<Condition> {
        let compared = |patterns: &[Pattern], place: Text, root: bool| -> Vec<Condition> {
            let met =
                |pattern: &&Pattern| holds(when, &Given { place, pattern, root }) != Some(false);
            let text = |is: &Pattern| Condition::Text { place, is: is.clone() };
            patterns.iter().filter(met).map(text).collect()
        };
        let mut any = match objects {
            Objects::Files { new_path } => {
                let mut any = compared(&self.files, Text::Path, false);
                if new_path {
                    any.extend(compared(&self.files, Text::NewPath, false));
                }
                any
            }
            Objects::Processes => compared(&self.programs, Text::TargetExe, false),
            Objects::Others => Vec::new(),
        };
        let root = Condition::Number { place: Number::SubjectUid, is: Comparison::Is, value: 0 };
        let programs = compared(&self.programs, Text::Exe, true);
        if !programs.is_empty() {
            any.push(Condition::All(vec![root, Condition::Any(programs)]));
        }
        (!any.is_empty()).then_some(Condition::Any(any))
    }
}

/// What an event's object is, as far as it can be guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Objects {
    Files { new_path: bool },
    Processes,
    Others,
}

impl Objects {
    fn of(event: Event) -> Self {
        let new_path = || arguments(event).iter().any(|one| one.place == Place::NewPath);
        match event.object() {
            ObjectKind::File => Self::Files { new_path: new_path() },
            ObjectKind::Process => Self::Processes,
            ObjectKind::Endpoint | ObjectKind::System => Self::Others,
        }
    }
}

/// What is taken for given while a condition is looked at.
struct Given<'a> {
    place: Text,
    pattern: &'a Pattern,
    root: bool,
}

/// Whether `condition` holds where that is given; `None` if that says nothing of it.
fn holds(condition: &Condition, given: &Given<'_>) -> Option<bool> {
    match condition {
        Condition::All(all) => {
            let mut known = Some(true);
            for one in all {
                match holds(one, given) {
                    Some(false) => return Some(false),
                    Some(true) => {}
                    None => known = None,
                }
            }
            known
        }
        Condition::Any(any) => {
            let mut known = Some(false);
            for one in any {
                match holds(one, given) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => known = None,
                }
            }
            known
        }
        Condition::Not(not) => holds(not, given).map(|holds| !holds),
        Condition::Number { place: Number::SubjectUid, is, value } if given.root => {
            Some(match is {
                Comparison::Is => *value == 0,
                Comparison::Less => *value > 0,
                Comparison::AtMost => true,
            })
        }
        Condition::Text { place, is } if *place == given.place => follows(given.pattern, is),
        Condition::Number { .. }
        | Condition::Text { .. }
        | Condition::Within(_)
        | Condition::Descends { .. }
        | Condition::Marked { .. } => None,
    }
}

/// Whether what lies at a guarded place is a program that the machine needs to run, as itself.
fn runs(path: &[u8]) -> bool {
    !TOLD_WHAT.contains(&path) && !DATA.iter().any(|data| is_at_or_below(path, data))
}

/// The paths that the kernel gives for `path`, which is merged.
fn forms(path: &[u8], layout: &Layout) -> Vec<String> {
    let Ok(path) = std::str::from_utf8(path) else { return Vec::new() };
    let top = path.split('/').nth(1).unwrap_or_default().as_bytes();
    let is_short = top == b"bin" || LIBRARY_FOLDERS.contains(&top);
    let mut paths = vec![path.to_owned()];
    paths.extend(path.strip_prefix("/bin/").map(|name| format!("/sbin/{name}")));
    if !is_short {
        return paths;
    }
    let long = paths.iter().map(|path| format!("/usr{path}")).collect::<Vec<_>>();
    match layout.is_merged {
        true => long,
        false => paths.into_iter().chain(long).collect(),
    }
}

#[cfg(test)]
mod tests;
