//! What is refused, each with its place, its reason and what to do, and within a second.

use std::fmt::Write;
use std::time::{Duration, Instant};

use outrigger_decision::rules::Source;
use outrigger_policy::{PolicyError, TEXT_MAX, read};

/// The first error, as it is told, and its place.
fn refused(text: &str) -> (String, u32, u32) {
    let errors = errors_within_a_second(text);
    let PolicyError { line, column, .. } = errors[0];
    (errors[0].to_string(), line, column)
}

/// The errors, of which the fastest of three readings took less than a second: a machine that is busy with
/// other tests may have been in the way of one.
fn errors_within_a_second(text: &str) -> Vec<PolicyError> {
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        let errors = read(&[("p.cedar", text)], &Source::Administrator).expect_err("it is refused");
        fastest = fastest.min(started.elapsed());
        if fastest < Duration::from_secs(1) {
            return errors;
        }
    }
    panic!("it took {fastest:?}");
}

/// A policy about opening files, on its second line what must hold.
fn when(body: &str) -> String {
    format!(
        "forbid (principal, action == Action::\"file.open\", resource) when {{\n  {body}\n}};\n"
    )
}

#[track_caller]
fn assert_refused(text: &str, place: (u32, u32), words: &[&str]) {
    let (told, line, column) = refused(text);
    assert_eq!((line, column), place, "{told}");
    for word in words {
        assert!(told.contains(word), "no {word:?} in:\n{told}");
    }
}

#[test]
fn an_attribute_that_there_is_not_is_refused_with_the_one_that_was_meant() {
    assert_refused(&when("principal.uidd == 0"), (2, 3), &["uidd", "did you mean `uid`"]);
    assert_refused(&when("context.writ"), (2, 3), &["writ", "did you mean `write`"]);
}

#[test]
fn what_is_wrong_for_objects_of_several_kinds_is_refused_by_the_same_words_each_time() {
    // A file, an endpoint and the machine have no such attribute, each with another one that is near.
    let text = "forbid (principal, action, resource) when { resource.exe == \"/bin/sh\" };";

    let told: Vec<String> = (0..16).map(|_| refused(text).0).collect();

    assert!(told.iter().all(|one| *one == told[0]), "{told:#?}");
}

#[test]
fn an_event_that_there_is_not_is_refused() {
    let text = "forbid (principal, action == Action::\"file.opne\", resource);";

    assert_refused(text, (1, 30), &["unrecognized action", "file.opne"]);
}

#[test]
fn a_wrong_type_is_refused_where_it_stands() {
    assert_refused(&when("principal.uid == \"0\""), (2, 3), &["Long", "String"]);
    assert_refused(&when("principal.exe < \"a\""), (2, 3), &["Long", "String"]);
}

#[test]
fn a_policy_that_can_never_apply_is_refused_though_cedar_only_warns() {
    assert_refused(&when("resource is Process"), (1, 1), &["impossible"]);
    let text =
        "permit (principal, action == Action::\"net.bind\", resource in Directory::\"/etc\");";
    assert_refused(text, (1, 1), &["unable to find an applicable action"]);
}

#[test]
fn what_is_no_cedar_is_refused_where_it_ends_to_be() {
    assert_refused(&when("principal.uid = 0"), (2, 3), &["not a valid operator", "'=='"]);
    assert_refused("forbid", (1, 7), &["unexpected end of input"]);
}

#[test]
fn what_no_rule_can_say_is_refused_with_what_to_write_instead() {
    let outside = "outside the subset that compiles";
    let cases = [
        ("principal.uid == resource.owner", 3, "compare each with a constant"),
        ("resource.path like \"/a*b*c\"", 3, "join several by `&&`"),
        ("principal == Process::\"1\"", 3, "principal.exe"),
        ("resource == File::\"/etc/shadow\"", 3, "resource.path"),
        ("principal in Program::\"sshd\"", 16, "`/` before"),
        ("resource in Directory::\"/etc/\"", 15, "none after"),
        ("principal.uid + 1 == 2", 3, "compare an attribute with a constant"),
        ("principal.marks.isEmpty()", 3, ""),
        ("[\"a\"].containsAll(principal.marks)", 3, "a list nor marks"),
        ("principal.marks.contains(\"a b\")", 28, "letters, digits"),
        ("1 == 1", 3, "write `true` or `false`"),
    ];
    for (body, column, help) in cases {
        assert_refused(&when(body), (2, column), &[outside, help]);
    }
}

#[test]
fn a_template_is_refused() {
    let text = "permit (principal == ?principal, action, resource);";

    assert_refused(text, (1, 1), &["template", "write the policy out"]);
}

#[test]
fn denying_what_has_happened_is_refused_where_it_is_named_and_left_out_of_a_group() {
    let named = "forbid (principal, action == Action::\"process.exit\", resource);";
    assert_refused(named, (1, 1), &["process.exit", "nothing is left to decide"]);

    let grouped = "forbid (principal, action in Action::\"process\", resource);";
    let rules = read(&[("p.cedar", grouped)], &Source::Administrator).expect("it is one");
    assert!(rules.iter().all(|rule| !rule.events.contains(&outrigger_api::Event::ProcessExit)));
}

#[test]
fn annotations_that_mean_nothing_are_refused() {
    let cases = [
        ("@mdoe(\"monitor\") forbid", "did you mean @mode?"),
        ("@mode(\"watch\") forbid", "@mode(\"monitor\")"),
        ("@id(\"a b\") forbid", "letters, digits"),
        ("@id forbid", "letters, digits"),
        ("@mark(\"a\") forbid", "write a `permit`"),
        ("@mark(\"a b\") permit", "letters, digits"),
        ("@inherit(\"children\") permit", "add @mark"),
        ("@mark(\"a\") @inherit(\"all\") permit", "children"),
        ("@mark(\"a\") @on(\"file\") permit", "@on(\"object\")"),
        ("@mark(\"a\") @lifetime(\"soon\") permit", "366d"),
        ("@mode(\"monitor\") permit", "about denials"),
    ];
    for (start, help) in cases {
        let text = format!("{start} (principal, action == Action::\"file.open\", resource);");
        let (told, line, _) = refused(&text);
        assert_eq!(line, 1, "{told}");
        assert!(told.contains(help), "no {help:?} in:\n{told}");
    }
}

#[test]
fn a_mark_on_an_object_that_can_have_none_is_refused() {
    let text = "@mark(\"a\") @on(\"object\") permit (principal, action == Action::\"net.bind\", resource);";

    assert_refused(text, (1, 1), &["net.bind", "no file and no process"]);
}

#[test]
fn a_name_that_two_policies_have_is_refused() {
    let one = "@id(\"a\") forbid (principal, action == Action::\"file.open\", resource);\n";

    assert_refused(&one.repeat(2), (2, 1), &["called so already", "p.cedar:1"]);
}

#[test]
fn an_engine_can_only_forbid() {
    let engine = Source::Engine("hashlist".parse().expect("a name"));
    let permit = "permit (principal, action == Action::\"file.open\", resource);";
    let mark = format!("@mark(\"a\") {permit}");

    for text in [permit, &mark] {
        let errors = read(&[("p.cedar", text)], &engine).expect_err("it is refused");
        assert!(errors[0].to_string().contains("can only forbid"), "{}", errors[0]);
    }
    read(&[("p.cedar", &permit.replace("permit", "forbid"))], &engine).expect("this it can");
}

#[test]
fn text_that_nests_too_deep_is_refused() {
    let text = when(&format!("{}true{}", "(".repeat(100_000), ")".repeat(100_000)));

    assert_refused(&text, (2, 66), &["nest too deep", "64 deep"]);
}

#[test]
fn ten_megabytes_are_refused_by_their_size() {
    let text = when("principal.uid == 0").repeat(10_000_000 / 90);

    let (told, line, _) = refused(&text);

    assert_eq!(line, 0, "{told}");
    assert!(told.contains(&TEXT_MAX.to_string()), "{told}");
}

#[test]
fn too_many_policies_are_refused_within_a_second() {
    let text = when("principal.uid == 0").repeat(1_025);

    let (told, ..) = refused(&text);

    assert!(told.contains("1024 policies"), "{told}");
}

#[test]
fn a_set_at_its_limits_that_is_wrong_throughout_is_refused_within_a_second() {
    let mut text = String::new();
    for at in 0..1_024 {
        // Each about every event, wrong in each, and about a kilobyte.
        let pad = "x".repeat(900);
        writeln!(
            text,
            "forbid (principal, action, resource) when {{ principal.exe{at} == \"{pad}\" }};"
        )
        .expect("a String takes all");
    }

    let errors = errors_within_a_second(&text);

    assert!((2..=50).contains(&errors.len()), "{} errors", errors.len());
    let last = errors.last().expect("there are some").to_string();
    assert!(last.contains("more errors"), "{last}");
}

#[test]
fn files_are_told_apart_and_one_wrong_one_refuses_all() {
    let good = when("principal.uid == 0");
    let bad = when("principal.uidd == 0");

    let errors = read(&[("a.cedar", &good), ("b.cedar", &bad)], &Source::Administrator)
        .expect_err("one is wrong");

    assert_eq!((&*errors[0].file, errors[0].line), ("b.cedar", 2));
}
