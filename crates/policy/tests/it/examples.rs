//! Events written down by hand, and why rules apply to them.

use outrigger_decision::rules::{LineageKey, MarkNames, Source, compile};
use outrigger_policy::example::{Example, ExampleError, Value};
use outrigger_policy::explain::explain;
use outrigger_policy::read;

const KEY: LineageKey = LineageKey([7; 16]);

fn shadow() -> Example {
    let mut example = Example::new("file.open");
    example.subject.uid = 1000;
    example.subject.exe = "/bin/cat".into();
    example.subject.ran = vec!["/usr/sbin/sshd".into()];
    example.object.path = Some("/etc/shadow".into());
    example
}

#[test]
fn an_event_is_decided_and_every_part_of_the_condition_explained() {
    let text = "@id(\"shadow\") forbid (principal in Program::\"/usr/sbin/sshd\",
        action == Action::\"file.open\", resource)
        when { resource.path == \"/etc/shadow\" && !(principal.uid == 0) };";
    let rules = read(&[("p.cedar", text)], &Source::Administrator).expect("a rule");
    let compiled = compile(&rules, &KEY, 1, &MarkNames::default()).expect("compiled");
    let example = shadow();
    let facts = example.facts(&KEY, &compiled.marks).expect("an event");

    let decision = compiled.image.decide(&facts);
    let parts = explain(&rules[0], &facts, &KEY, &compiled.marks);

    assert_eq!(decision.deny, Some(0));
    let parts: Vec<(usize, bool, &str)> =
        parts.iter().map(|part| (part.depth, part.holds, part.text.as_str())).collect();
    assert_eq!(
        parts,
        [
            (0, true, "all of"),
            (1, true, "principal in Program::\"/usr/sbin/sshd\""),
            (1, true, "resource.path == \"/etc/shadow\" (it is \"/etc/shadow\")"),
            (1, true, "not principal.uid == 0 (it is 1000)"),
        ]
    );
}

#[test]
fn what_an_event_has_not_is_refused_and_not_ignored() {
    let refused = |change: &dyn Fn(&mut Example)| {
        let mut example = shadow();
        change(&mut example);
        example.facts(&KEY, &MarkNames::default()).expect_err("it is refused")
    };

    let event = refused(&|example| example.event = "file.opne".into());
    let object = refused(&|example| example.object.port = Some(22));
    let context =
        refused(&|example| drop(example.context.insert("writ".into(), Value::Bool(true))));
    let kind = refused(&|example| drop(example.context.insert("write".into(), Value::Number(1))));

    assert!(matches!(event, ExampleError::NoSuchEvent(_)));
    assert!(matches!(object, ExampleError::NotOfObject { key: "port", .. }));
    assert!(context.to_string().contains("`write`"), "{context}");
    assert!(matches!(kind, ExampleError::OtherKind { is: "true or false", .. }));
}
