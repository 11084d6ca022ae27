//! Questions of fanotify, judged by the rules in force.
//!
//! Only where the kernel's own programs cannot: they and this give the same answer from the same image.
//! What fanotify does not tell of an open, whether it is for writing or to run the file, is not there: a
//! rule that looks at it does not apply here.

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use outrigger_api::{Answer, Event};
use outrigger_decision::guard::CONFLICT;
use outrigger_decision::rules::{Compiled, Facts, Number, Text};
use outrigger_sensor::identity::{Credentials, Object};
use rustix::fs::fstat;

use super::RuleSet;
use super::contents::Kind;
use super::subject::Identity;

/// What the rules make of a question.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ruling {
    /// The set that it was judged by.
    pub(crate) generation: u64,
    /// The answer, where a rule gives one, and which.
    pub(crate) decided: Option<(Answer, Arc<str>)>,
    /// The rule that would have denied it, were it enforced.
    pub(crate) would_deny: Option<Arc<str>>,
    /// The engine whose rule decided, so that guard rails hold.
    pub(crate) of_engine: Option<usize>,
    /// An engine's rule that would have denied it, were it not what the machine needs.
    pub(crate) conflict: Option<(usize, Arc<str>)>,
    /// What rules of releases in shadow would have denied, or only those of the releases that decide.
    pub(crate) compared: Vec<Beside>,
}

/// Which rule of an engine denies a question, by the release that decides and by the one in shadow.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    /// The engine's place in the configuration.
    pub(crate) place: usize,
    pub(crate) active: Option<Arc<str>>,
    pub(crate) shadow: Option<Arc<str>>,
}

impl Beside {
    /// Of both, the one in shadow.
    pub(crate) fn rule(&self) -> Option<&Arc<str>> {
        self.shadow.as_ref().or(self.active.as_ref())
    }
}

impl Ruling {
    /// No rule of the set of this generation is about it.
    pub(crate) fn of_nobody(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// The answer, where a rule gives one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.decided.as_ref().map(|(answer, _)| *answer)
    }

    /// Whether no rule says anything of it.
    pub(crate) fn is_none(&self) -> bool {
        self.decided.is_none()
            && self.would_deny.is_none()
            && self.conflict.is_none()
            && self.compared.is_empty()
    }

    /// The engine whose rule denies it, or is kept from that by the guard rails alone, and which.
    pub(crate) fn denied_by_engine(&self) -> Option<(usize, &Arc<str>)> {
        match (&self.decided, self.of_engine, &self.conflict) {
            (Some((Answer::Deny, rule)), Some(engine), _) => Some((engine, rule)),
            (_, _, Some((engine, rule))) => Some((*engine, rule)),
            _ => None,
        }
    }

    /// Takes the guard rail out of the way, which the question did not meet: the engine's rule decides.
    pub(crate) fn deny_after_all(&mut self) {
        if let Some((engine, name)) = self.conflict.take() {
            let name = name.strip_suffix(CONFLICT).map(Arc::from).unwrap_or(name);
            (self.decided, self.of_engine) = (Some((Answer::Deny, name)), Some(engine));
        }
    }
}

/// What is known of a question.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) event: Event,
    pub(crate) file: BorrowedFd<'a>,
    pub(crate) object: &'a Object,
    /// Where [`super::set::Uses::path`] says so.
    pub(crate) path: Option<&'a Path>,
    /// Where [`super::set::Uses::ids`] says so.
    pub(crate) credentials: Option<Credentials>,
    /// Where [`super::set::Uses::identity`] says so.
    pub(crate) identity: Option<Identity>,
}

/// What the kernel puts behind the path of a file that has this name no more.
const DELETED: &[u8] = b" (deleted)";
/// What the kernel puts before the name of a file that lies in memory alone.
const IN_MEMORY: &[u8] = b"/memfd:";

impl RuleSet {
    /// Judges a question.
    pub(crate) fn judge(&self, asked: &Asked<'_>) -> Ruling {
        let mut facts = Facts::new(asked.event);
        facts.set_number(Number::Owner, asked.object.owner.into());
        let path = asked.path.map(|path| path.as_os_str().as_bytes());
        let path = path.map(|path| named(path, || links(asked.file)));
        facts.set_path(path.and_then(Named::path));
        if asked.event == Event::ProcessExec && path.is_some() {
            facts.set_number(Number::Value0, (path == Some(Named::InMemory)).into());
        }
        if let Some(Credentials { uid, gid }) = asked.credentials {
            facts.set_number(Number::SubjectUid, uid.into());
            facts.set_number(Number::SubjectGid, gid.into());
        }
        if let Some(identity) = &asked.identity {
            if let Some(exe) = &identity.exe {
                facts.set_text(Text::Exe, exe);
            }
            if let Some(cgroup) = &identity.cgroup {
                facts.set_text(Text::Cgroup, cgroup);
            }
            facts.lineage = identity.lineage;
            facts.marks = identity.marks;
        }
        self.rule(&facts)
    }

    fn rule(&self, facts: &Facts<'_>) -> Ruling {
        let decision = self.compiled.image.decide(facts);
        let number = decision.deny.or(decision.allow);
        let answer = if decision.deny.is_some() { Answer::Deny } else { Answer::Allow };
        let decided = number.and_then(|rule| self.name(rule));
        let mut ruling = Ruling {
            decided: decided.map(|named| (answer, Arc::clone(&named.name))),
            of_engine: decided.and_then(|named| named.engine).map(|(engine, _)| engine),
            ..Ruling::of_nobody(self.generation)
        };
        let watched = decision.would_deny.and_then(|rule| self.name(rule));
        match watched.map(|named| (Arc::clone(&named.name), named.engine)) {
            // What is denied all the same was not spared.
            Some((_, Some((_, Kind::Conflict)))) if decision.deny.is_some() => {}
            Some((name, Some((engine, Kind::Conflict)))) => ruling.conflict = Some((engine, name)),
            // Those are asked by themselves, so that no other rule is told in their place.
            Some((_, Some((_, Kind::Shadow)))) => {}
            Some((name, _)) => ruling.would_deny = Some(name),
            None => {}
        }
        let denied = |compiled: &Compiled| {
            let rule = compiled.image.decide(facts).deny?;
            compiled.rules.get(usize::from(rule)).map(|name| Arc::from(name.as_str()))
        };
        let compared = self.shadows().iter().map(|beside| Beside {
            place: beside.place,
            active: beside.active.as_ref().and_then(denied),
            shadow: denied(&beside.shadow),
        });
        ruling.compared.extend(compared.filter(|beside| beside.rule().is_some()));
        ruling
    }
}

/// A path as the kernel gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named<'a> {
    /// The file's name in a folder, or the one that it had.
    Folder(&'a [u8]),
    /// It has none, and never had.
    InMemory,
}

impl<'a> Named<'a> {
    const fn path(self) -> Option<&'a [u8]> {
        match self {
            Named::Folder(path) => Some(path),
            Named::InMemory => None,
        }
    }
}

/// What `path` says, where `links` counts the file's names. Anybody can call a file `x (deleted)`: only of one
/// without a name is that the kernel's word.
fn named(path: &[u8], links: impl FnOnce() -> u64) -> Named<'_> {
    match path.strip_suffix(DELETED) {
        Some(before) if links() == 0 => match before.starts_with(IN_MEMORY) {
            true => Named::InMemory,
            false => Named::Folder(before),
        },
        _ => Named::Folder(path),
    }
}

/// Names of a file; of one that cannot be looked at, one.
fn links(file: BorrowedFd<'_>) -> u64 {
    fstat(file).map_or(1, |stat| stat.st_nlink)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_name_has_the_one_it_had_and_one_in_memory_none() {
        assert_eq!(named(b"/tmp/a (deleted)", || 0), Named::Folder(b"/tmp/a"));
        assert_eq!(named(b"/memfd:a (deleted)", || 0), Named::InMemory);
    }

    #[test]
    fn a_file_that_is_called_so_keeps_its_name() {
        assert_eq!(named(b"/tmp/a (deleted)", || 1), Named::Folder(b"/tmp/a (deleted)"));
        assert_eq!(named(b"/memfd:a", || 1), Named::Folder(b"/memfd:a"));
    }
}
