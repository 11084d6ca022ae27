//! What the subset becomes.

use outrigger_api::{Event, Mode};
use outrigger_decision::rules::{
    Comparison, Condition, Effect, Mark, Number, Pattern, Process, Rule, Source, Text,
};
use outrigger_policy::{read, read_placed};

fn rules(text: &str) -> Vec<Rule> {
    let read = read(&[("p.cedar", text)], &Source::Administrator);
    read.unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn condition(body: &str) -> Condition {
    let text =
        format!("forbid (principal, action == Action::\"file.open\", resource) when {{ {body} }};");
    let [rule] = rules(&text).try_into().expect("one rule");
    rule.when
}

fn text(place: Text, is: Pattern) -> Condition {
    Condition::Text { place, is }
}

#[test]
fn a_policy_that_asks_for_a_value_in_several_places_becomes_a_rule_for_each() {
    let rules = rules(
        "@id(\"writers\") forbid (principal, action, resource) when { context has write && context.write };",
    );

    let value = |rule: &Rule| match rule.when {
        Condition::Number { place, .. } => place,
        ref other => panic!("no number: {other:?}"),
    };
    let (open, protect) = (&rules[0], &rules[1]);
    assert_eq!((open.name.as_str(), value(open)), ("writers/process.memory", Number::Value0));
    assert_eq!(open.events, [Event::ProcessMemory, Event::FileOpen, Event::FileMmapExec]);
    assert_eq!(protect.name, "writers/memory.mprotect_exec");
    assert_eq!(value(protect), Number::Value1);
    assert_eq!(rules.len(), 2);
}

#[test]
fn a_policy_without_an_id_is_called_by_its_place() {
    let one = "forbid (principal, action == Action::\"file.open\", resource);";
    let text = format!("\n{one}\n{one} {one}\n");

    let (rules, places) =
        read_placed(&[("p.cedar", &text)], &Source::Administrator).expect("all are rules");

    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["p.cedar:2", "p.cedar:3:1", "p.cedar:3:62"]);
    assert_eq!((places[2].line, places[2].column), (3, 62));
}

#[test]
fn annotations_become_the_mark_and_the_mode() {
    let marked = "@mark(\"m\") @on(\"object\") @inherit(\"children\") @lifetime(\"2m\")
        permit (principal, action == Action::\"process.signal\", resource);";
    let monitored =
        "@mode(\"monitor\") forbid (principal, action == Action::\"file.open\", resource);";

    let mark = Mark { name: "m".into(), object: true, inherited: true, seconds: Some(120) };
    assert_eq!(rules(marked)[0].effect, Effect::Mark(mark));
    assert_eq!(rules(monitored)[0].mode, Mode::Monitor);
    assert_eq!(rules(monitored)[0].effect, Effect::Deny);
}

#[test]
fn lineage_and_folders_are_asked_for_by_in() {
    let sshd = Condition::Descends { process: Process::Subject, program: "/usr/sbin/sshd".into() };

    assert_eq!(condition("principal in Program::\"/usr/sbin/sshd\""), sshd);
    assert_eq!(
        condition("resource in Directory::\"/etc\""),
        text(Text::Path, Pattern::Begins("/etc/".into()))
    );
    assert_eq!(
        condition("resource in Directory::\"/\""),
        text(Text::Path, Pattern::Begins("/".into()))
    );
}

#[test]
fn like_has_the_forms_that_compile() {
    let path = |is| text(Text::Path, is);
    let like = |pattern: &str| condition(&format!("resource.path like \"{pattern}\""));

    assert_eq!(like("/a"), path(Pattern::Is("/a".into())));
    assert_eq!(like("/a*"), path(Pattern::Begins("/a".into())));
    assert_eq!(like("**.so"), path(Pattern::Ends(".so".into())));
    assert_eq!(like("*\\*x*"), path(Pattern::Contains("*x".into())));
    let both = [Pattern::Begins("/a".into()), Pattern::Ends("z".into()), Pattern::AtLeast(3)];
    assert_eq!(like("/a*z"), Condition::All(both.map(path).into()));
}

#[test]
fn numbers_are_compared_from_either_side_and_none_is_below_zero() {
    let uid = |is, value| Condition::Number { place: Number::SubjectUid, is, value };

    assert_eq!(condition("1000 > principal.uid"), uid(Comparison::Less, 1000));
    assert_eq!(
        condition("principal.uid > 5"),
        Condition::Not(Box::new(uid(Comparison::AtMost, 5)))
    );
    assert_eq!(condition("principal.uid == -1"), uid(Comparison::Less, 0));
}

#[test]
fn what_is_certain_of_an_event_leaves_nothing_behind() {
    let uid = Condition::Number { place: Number::SubjectUid, is: Comparison::Is, value: 0 };

    assert_eq!(condition("resource is File && context has write && principal.uid == 0"), uid);
    assert_eq!(
        condition("if action == Action::\"file.open\" then principal.uid == 0 else false"),
        uid
    );
}

#[test]
fn a_file_without_policies_is_no_rule_and_no_error() {
    assert_eq!(rules("// nothing yet\n"), []);
}
