//! The same event and the same policies for Cedar's own evaluator.

use std::collections::{BTreeSet, HashSet};
use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use outrigger_api::attribute::{Kind, arguments};
use outrigger_api::catalogue::ObjectKind;
use outrigger_decision::rules::{Number, Text};

use super::case::Case;
use super::policies::Policy;

/// Policies, each in a set of its own: what one of them says is seen of each.
pub(crate) struct Policies {
    sets: Vec<PolicySet>,
}

impl Policies {
    pub(crate) fn read(policies: &[Policy]) -> Self {
        let read = |policy: &Policy| {
            PolicySet::from_str(&policy.text()).expect("it was read before, with the others")
        };
        Self { sets: policies.iter().map(read).collect() }
    }

    /// Those that apply to the event.
    ///
    /// `permit` applies where it allows, `forbid` where it is a reason to deny: without a reason nothing
    /// applied, and Cedar denies by default.
    pub(crate) fn applied(&self, case: &Case) -> BTreeSet<usize> {
        let authorizer = Authorizer::new();
        let (request, entities) = (request(case), entities(case));
        let applies = |set: &PolicySet| {
            let response = authorizer.is_authorized(&request, set, &entities);
            let errors: Vec<_> = response.diagnostics().errors().collect();
            assert!(errors.is_empty(), "what was validated fails: {errors:?}\n{set}");
            response.diagnostics().reason().next().is_some()
        };
        (0..self.sets.len()).filter(|at| applies(&self.sets[*at])).collect()
    }
}

fn uid(kind: &str, id: &str) -> EntityUid {
    let kind = EntityTypeName::from_str(kind).expect("a name");
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn long(value: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(value).expect("at most 2^63 - 1"))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn request(case: &Case) -> Request {
    let pairs = arguments(case.event).iter().map(|argument| {
        let numbers = case.numbers.iter().find(|(one, _)| one.place() == argument.place);
        let texts = case.texts.iter().find(|(one, _)| one.place() == argument.place);
        let value = match (argument.kind, numbers, texts) {
            (Kind::Bool, Some((_, value)), _) => RestrictedExpression::new_bool(*value == 1),
            (Kind::Long, Some((_, value)), _) => long(*value),
            (Kind::Text, _, Some((_, value))) => text(value),
            _ => unreachable!("every event has what it carries"),
        };
        (argument.name.to_owned(), value)
    });
    let context = Context::from_pairs(pairs).expect("each once");
    let (principal, action) = (uid("Process", "subject"), uid("Action", case.event.name()));
    // With the schema: what is compared here is what it describes.
    Request::new(principal, action, object(case), context, Some(outrigger_policy::schema()))
        .expect("as the schema says")
}

fn object(case: &Case) -> EntityUid {
    match case.event.object() {
        ObjectKind::File => uid("File", "object"),
        ObjectKind::Process => uid("Process", "object"),
        ObjectKind::Endpoint => uid("Endpoint", "object"),
        ObjectKind::System => uid("System", "object"),
    }
}

fn entities(case: &Case) -> Entities {
    let subject = process(
        "subject",
        [Number::SubjectUid, Number::SubjectGid].map(|number| case.number(number)),
        [Text::Exe, Text::Cgroup].map(|which| case.text(which)),
        &case.marks,
        &case.lineage,
    );
    // Groups of actions are entities too, as the schema has them.
    let name = case.event.name();
    let group = uid("Action", name.split('.').next().unwrap_or_default());
    let action = Entity::new_no_attrs(uid("Action", name), HashSet::from([group]));
    let mut all = vec![subject, action];
    match case.event.object() {
        ObjectKind::File => all.extend(file(case)),
        ObjectKind::Process => all.push(process(
            "object",
            [Number::TargetUid, Number::TargetGid].map(|number| case.number(number)),
            // No rule can ask for the control group of the object.
            [case.text(Text::TargetExe), "/"],
            &case.object_marks,
            &case.target_lineage,
        )),
        ObjectKind::Endpoint => all.push(endpoint(case)),
        ObjectKind::System => all.push(Entity::with_uid(object(case))),
    }
    Entities::from_entities(all, None).expect("no entity twice, and no circle")
}

fn process(
    id: &str,
    ids: [u64; 2],
    texts: [&str; 2],
    marks: &[String],
    lineage: &[String],
) -> Entity {
    let attributes = [
        ("uid", long(ids[0])),
        ("gid", long(ids[1])),
        ("exe", text(texts[0])),
        ("cgroup", text(texts[1])),
        ("marks", set(marks)),
    ];
    let parents = lineage.iter().map(|program| uid("Program", program)).collect();
    entity(uid("Process", id), attributes, parents)
}

/// The file, and the folders that it lies in, each in the one above it.
fn file(case: &Case) -> Vec<Entity> {
    let path = case.text(Text::Path);
    let attributes = [
        ("path", text(path)),
        ("path_known", RestrictedExpression::new_bool(case.number(Number::PathKnown) == 1)),
        ("owner", long(case.number(Number::Owner))),
        ("marks", set(&case.object_marks)),
    ];
    let mut folders: Vec<EntityUid> = Vec::new();
    let mut all = Vec::new();
    if path.starts_with('/') {
        for (at, _) in path.match_indices('/') {
            let folder = uid("Directory", if at == 0 { "/" } else { &path[..at] });
            if folders.contains(&folder) {
                continue;
            }
            let above = folders.last().cloned().into_iter().collect();
            all.push(Entity::new_no_attrs(folder.clone(), above));
            folders.push(folder);
        }
    }
    let parent = folders.last().cloned().into_iter().collect();
    all.push(entity(uid("File", "object"), attributes, parent));
    all
}

fn endpoint(case: &Case) -> Entity {
    let address = case.address.expect("an endpoint has one").to_string();
    let attributes = [
        ("family", long(case.number(Number::Family))),
        ("port", long(case.number(Number::Port))),
        ("address", RestrictedExpression::new_ip(address)),
    ];
    entity(uid("Endpoint", "object"), attributes, HashSet::new())
}

fn set(members: &[String]) -> RestrictedExpression {
    RestrictedExpression::new_set(members.iter().map(|member| text(member)))
}

fn entity<const N: usize>(
    uid: EntityUid,
    attributes: [(&str, RestrictedExpression); N],
    parents: HashSet<EntityUid>,
) -> Entity {
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Entity::new(uid, attributes, parents).expect("constants can be evaluated")
}
