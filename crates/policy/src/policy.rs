//! From the text of policies to rules: parsed, validated, and translated for each event.

use std::collections::HashMap;
use std::str::FromStr;

use cedar_policy::{PolicyId, PolicySet, ValidationMode, ValidationWarning, Validator};
use cedar_policy_core::ast::{ActionConstraint, Policy};
use cedar_policy_core::parser::Loc;
use miette::Diagnostic;
use outrigger_api::Event;
use outrigger_api::catalogue::ObjectKind;
use outrigger_api::coverage::Level;
use outrigger_decision::rules::reading::{ERRORS_MAX, Place, PolicyError, PolicyFile};
use outrigger_decision::rules::{Condition, Effect, Rule, Source};

use crate::Read;
use crate::annotations::{self, Said};
use crate::errors::{at, said};
use crate::expression::{condition, is_never};
use crate::guard::{self, Piece};
use crate::schema::schema;

/// Deepest nesting of a condition. JSON readers bound theirs, and take two levels for one.
const DEPTH_MAX: usize = 48;
/// Most comparisons in all conditions together.
const COMPARISONS_MAX: usize = 65_536;

/// Bytes of text that Cedar may copy and compare over errors, before no more are looked for.
const ERROR_WORK_MAX: usize = 64 << 20;

/// Reads all policies of `files`.
pub(crate) fn read(files: &[PolicyFile], source: &Source) -> Result<Read, Vec<PolicyError>> {
    let sets = each(guard::pieces(files)?, parse)?;
    validate(&sets)?;
    let mut room = COMPARISONS_MAX;
    let read = each(&sets, |(piece, set)| {
        let policies: Vec<&Policy> = set.policies().map(AsRef::as_ref).collect();
        let read = each(policies, |policy| rules(piece, policy, source, &mut room))?;
        Ok(read.into_iter().flatten().collect::<Vec<_>>())
    })?;
    named(read.into_iter().flatten().collect())
}

/// What `work` makes of all, or every error.
fn each<T, U>(
    all: impl IntoIterator<Item = T>,
    mut work: impl FnMut(T) -> Result<U, Vec<PolicyError>>,
) -> Result<Vec<U>, Vec<PolicyError>> {
    let mut errors = Vec::new();
    let mut done = Vec::new();
    for one in all {
        match work(one) {
            Ok(one) => done.push(one),
            Err(wrong) => errors.extend(wrong),
        }
    }
    if errors.is_empty() { Ok(done) } else { Err(errors) }
}

fn parse(piece: Piece<'_>) -> Result<(Piece<'_>, PolicySet), Vec<PolicyError>> {
    let set = PolicySet::from_str(piece.text).map_err(|errors| {
        errors.iter().map(|error| said(&piece, error, None)).collect::<Vec<_>>()
    })?;
    let templates = set.templates().map(|template| {
        let template: &cedar_policy_core::ast::Template = template.as_ref();
        at(&piece, template.loc(), "a template, which stands for policies that are made elsewhere")
            .help("write the policy out, without ?principal and ?resource")
    });
    let templates: Vec<PolicyError> = templates.collect();
    if templates.is_empty() { Ok((piece, set)) } else { Err(templates) }
}

/// Refuses what the schema does not allow, and what Cedar only warns of: a policy that can never apply is
/// not what its author meant.
fn validate(sets: &[(Piece<'_>, PolicySet)]) -> Result<(), Vec<PolicyError>> {
    let validator = Validator::new(schema().clone());
    let mut told: Vec<PolicyError> = Vec::new();
    let mut work = 0_usize;
    for (piece, set) in sets {
        if told.len() >= ERRORS_MAX || work > ERROR_WORK_MAX {
            told.push(piece.error(
                0,
                0,
                "what follows was not looked at, for there were errors enough",
            ));
            break;
        }
        let result = validator.validate(set, ValidationMode::Strict);
        let loc =
            |id: &PolicyId| set.policy(id).and_then(|policy| AsRef::<Policy>::as_ref(policy).loc());
        let errors = result.validation_errors().map(|one| found(one, loc(one.policy_id())));
        let mut all: Vec<Found<'_>> = errors.collect();
        // What Cedar warns of besides follows from its errors more often than not.
        if all.is_empty() {
            all.extend(result.validation_warnings().map(|one| Found {
                follows: matches!(one, ValidationWarning::ImpossiblePolicy(_)),
                ..found(one, loc(one.policy_id()))
            }));
        }
        work = work.saturating_add(all.len().saturating_mul(piece.text.len()));
        // A policy about many events is wrong in each: that is one error, and always the same one. Cedar
        // gives them in any order.
        all.sort_by_cached_key(|one| (one.place, one.follows, one.what.to_string()));
        all.dedup_by_key(|one| one.place);
        told.extend(all.iter().take(ERRORS_MAX).map(|one| said(piece, one.what, one.policy)));
    }
    if told.is_empty() { Ok(()) } else { Err(told) }
}

/// Something that Cedar has found.
struct Found<'a> {
    /// Where it begins and ends.
    place: (usize, usize),
    what: &'a dyn Diagnostic,
    policy: Option<&'a Loc>,
    /// It may only say what follows from something else at that place.
    follows: bool,
}

fn found<'a>(what: &'a dyn Diagnostic, policy: Option<&'a Loc>) -> Found<'a> {
    let label = what.labels().and_then(|mut labels| labels.next());
    let place = label.map(|label| (label.offset(), label.offset().saturating_add(label.len())));
    let place = place.or_else(|| policy.map(|policy| (policy.start(), policy.end())));
    Found { place: place.unwrap_or_default(), what, policy, follows: false }
}

/// A rule, what `@id` calls it, and where it stands.
struct Made {
    rule: Rule,
    id: Option<String>,
    place: Place,
    /// An error there, in case there is one.
    error: PolicyError,
}

/// The rules of one policy: one for all events that ask for the same facts.
fn rules(
    piece: &Piece<'_>,
    policy: &Policy,
    source: &Source,
    room: &mut usize,
) -> Result<Vec<Made>, Vec<PolicyError>> {
    let Said { id, mode, effect } = annotations::read(piece, policy, source)?;
    let wrong = |what: &str| at(piece, policy.loc(), what);
    let whole = policy.condition();
    let mut groups: Vec<(Condition, Vec<Event>)> = Vec::new();
    let mut left_out = None;
    for &event in Event::ALL {
        let when = condition(&whole, event)
            .map_err(|outside| vec![outside.located(piece, policy.loc())])?;
        if is_never(&when) {
            continue;
        }
        if let Err(reason) = fits(&effect, event) {
            if names(policy.action_constraint(), event) {
                return Err(vec![
                    wrong(&format!("{event} {reason}")).help("take it out of the policy"),
                ]);
            }
            left_out = Some((event, reason));
            continue;
        }
        match groups.iter_mut().find(|(same, _)| *same == when) {
            Some((_, events)) => events.push(event),
            None => groups.push((when, vec![event])),
        }
    }
    if groups.is_empty() {
        return Err(vec![left_out.map_or_else(
            || wrong("the policy applies to no event").help("look at its scope"),
            |(event, reason)| wrong(&format!("none of its events is left: {event} {reason}")),
        )]);
    }
    for (when, _) in &groups {
        bounded(when, DEPTH_MAX, room).map_err(|limit| {
            vec![wrong("the policy is too much to be compiled").limit(limit).help("split it up")]
        })?;
    }
    let error = at(piece, policy.loc(), "");
    let place = Place {
        rule: String::new(),
        file: piece.name.to_owned(),
        line: error.line,
        column: error.column,
    };
    Ok(groups
        .into_iter()
        .map(|(when, events)| Made {
            rule: Rule {
                name: String::new(),
                source: source.clone(),
                mode,
                effect: effect.clone(),
                events,
                when,
            },
            id: id.clone(),
            place: place.clone(),
            error: error.clone(),
        })
        .collect())
}

/// Whether `effect` can be had on `event`; else why not.
fn fits(effect: &Effect, event: Event) -> Result<(), &'static str> {
    let is_marked = |object| matches!(object, ObjectKind::File | ObjectKind::Process);
    match effect {
        Effect::Mark(mark) if mark.object && !is_marked(event.object()) => {
            Err("acts on no file and no process, so nothing there can be marked")
        }
        Effect::Mark(_) | Effect::Tell(_) => Ok(()),
        Effect::Deny | Effect::Allow if event.strongest() == Level::Notify => {
            Err("is told of after it happened: nothing is left to decide")
        }
        Effect::Deny | Effect::Allow => Ok(()),
    }
}

/// Whether the scope names `event` itself, and not by a group of events.
fn names(scope: &ActionConstraint, event: Event) -> bool {
    scope.iter_euids().any(|uid| uid.eid().as_ref() as &str == event.name())
}

fn bounded(condition: &Condition, depth: usize, room: &mut usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("conditions nested {DEPTH_MAX} deep"));
    };
    match condition {
        Condition::All(of) | Condition::Any(of) => {
            of.iter().try_for_each(|one| bounded(one, depth, room))
        }
        Condition::Not(of) => bounded(of, depth, room),
        _ => match room.checked_sub(1) {
            Some(less) => {
                *room = less;
                Ok(())
            }
            None => Err(format!("{COMPARISONS_MAX} comparisons in all policies")),
        },
    }
}

/// Gives every rule its name, of which there is one each.
fn named(mut made: Vec<Made>) -> Result<Read, Vec<PolicyError>> {
    let mut by_policy: HashMap<(String, u32), Vec<u32>> = HashMap::new();
    for one in &made {
        let columns = by_policy.entry((one.place.file.clone(), one.place.line)).or_default();
        if !columns.contains(&one.place.column) {
            columns.push(one.place.column);
        }
    }
    let mut taken: HashMap<String, Place> = HashMap::new();
    let mut errors = Vec::new();
    let several = |made: &[Made], at: usize| {
        let beside = [at.checked_sub(1), at.checked_add(1)].into_iter().flatten();
        beside.filter_map(|beside| made.get(beside)).any(|other| other.place == made[at].place)
    };
    let several: Vec<bool> = (0..made.len()).map(|at| several(&made, at)).collect();
    for (one, several) in made.iter_mut().zip(several) {
        let Place { file, line, column, .. } = &one.place;
        let alone = by_policy.get(&(file.clone(), *line)).is_none_or(|columns| columns.len() < 2);
        let mut name = match &one.id {
            Some(id) => id.clone(),
            None if alone => format!("{file}:{line}"),
            None => format!("{file}:{line}:{column}"),
        };
        if several && let Some(event) = one.rule.events.first() {
            name = format!("{name}/{event}");
        }
        if let Some(other) = taken.insert(name.clone(), one.place.clone()) {
            let what = format!("{name} is called so already at {}:{}", other.file, other.line);
            let error = PolicyError { what: what.into(), ..one.error.clone() };
            errors.push(error.help("give each policy an @id of its own"));
        }
        one.place.rule.clone_from(&name);
        one.rule.name = name;
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(made.into_iter().map(|one| (one.rule, one.place)).unzip())
}
