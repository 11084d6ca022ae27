use outrigger_api::Event;

use super::*;
use crate::rules::{Facts, LineageKey, MarkNames, Source, compile};

const KEY: LineageKey = LineageKey([7; 16]);

fn spare() -> Spare {
    let rails = GuardRails::new(["/opt/agent/bin/host"], ["/usr/bin/apt-get"]);
    let layout =
        Layout { is_merged: true, libraries: vec!["/usr/lib/x86_64-linux-gnu".to_owned()] };
    rails.spare(&layout, [b"/opt/other/engine".as_slice()])
}

fn path(is: Pattern) -> Condition {
    Condition::Text { place: Text::Path, is }
}

fn below(folder: &str) -> Condition {
    path(Pattern::Begins(format!("{folder}/")))
}

fn uid(value: u64) -> Condition {
    Condition::Number { place: Number::SubjectUid, is: Comparison::Is, value }
}

fn rule(events: &[Event], when: Condition) -> Rule {
    Rule {
        name: "engine/av/r".to_owned(),
        source: Source::Engine("av".parse().expect("a name")),
        mode: Mode::Enforce,
        effect: Effect::Deny,
        events: events.to_vec(),
        when,
    }
}

/// Whether a set of what became of `rule` denies, and whether it tells of a conflict.
fn decided(rule: &Rule, facts: impl FnOnce(&mut Facts<'_>)) -> (bool, bool) {
    let Spared { rules, conflicts } = spare().rule(rule);
    let all: Vec<Rule> = rules.into_iter().chain(conflicts).collect();
    let compiled = compile(&all, &KEY, 1, &MarkNames::default()).expect("it compiles");
    let mut event = Facts::new(rule.events[0]);
    event.set_number(Number::SubjectUid, 1000);
    event.set_text(Text::Exe, b"/usr/bin/cat");
    facts(&mut event);
    let decision = compiled.image.decide(&event);
    (decision.deny.is_some(), decision.would_deny.is_some())
}

const ALL: Condition = Condition::All(Vec::new());

#[test]
fn what_the_machine_needs_is_left_out_and_told_of() {
    let rule = rule(&[Event::FileOpen], uid(1000));

    for guarded in [
        "/usr/lib/systemd/systemd",
        "/usr/sbin/init",
        "/usr/bin/dpkg",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/etc/passwd",
        "/opt/agent/bin/host",
    ] {
        let found = decided(&rule, |facts| facts.set_path(Some(guarded.as_bytes())));
        assert_eq!(found, (false, true), "{guarded}");
    }
    for other in ["/srv/secret", "/usr/lib/systemdx", "/usr/bin/apt-get", "/opt/agent/bin/hosts"] {
        let found = decided(&rule, |facts| facts.set_path(Some(other.as_bytes())));
        // The second rule tells of what it would deny as well; a Deny is stronger.
        assert_eq!(found, (true, true), "{other}");
    }
}

#[test]
fn what_runs_as_root_to_keep_the_machine_alive_is_left_out_and_who_else_runs_it_is_not() {
    let rule = rule(&[Event::FileOpen], ALL);
    let by = |uid: u64, exe: &'static str| {
        decided(&rule, |facts| {
            facts.set_path(Some(b"/srv/secret"));
            facts.set_number(Number::SubjectUid, uid);
            facts.set_text(Text::Exe, exe.as_bytes());
        })
    };

    assert_eq!(by(0, "/usr/lib/systemd/systemd"), (false, true));
    assert_eq!(by(0, "/usr/bin/dpkg"), (false, true));
    assert_eq!(by(0, "/opt/other/engine"), (false, true));
    assert!(by(1000, "/usr/bin/dpkg").0);
    for runs_anything in ["/usr/bin/bash", "/usr/lib64/ld-linux-x86-64.so.2", "/usr/bin/cat"] {
        assert!(by(0, runs_anything).0, "{runs_anything}");
    }
}

#[test]
fn a_process_that_runs_a_guarded_program_is_left_out() {
    let rule = rule(&[Event::ProcessSignal], ALL);
    let at =
        |exe: &'static str| decided(&rule, |facts| facts.set_text(Text::TargetExe, exe.as_bytes()));

    assert_eq!(at("/opt/agent/bin/host"), (false, true));
    assert_eq!(at("/opt/other/engine"), (false, true));
    assert!(at("/usr/bin/sleep").0);
}

#[test]
fn a_name_that_a_file_is_to_have_is_left_out_too() {
    let rule = rule(&[Event::FileRename], ALL);
    let to = |new_path: &'static str| {
        decided(&rule, |facts| {
            facts.set_path(Some(b"/srv/a"));
            facts.set_text(Text::NewPath, new_path.as_bytes());
        })
    };

    assert_eq!(to("/etc/passwd"), (false, true));
    assert!(to("/srv/b").0);
}

#[test]
fn a_rule_about_what_is_not_guarded_is_left_as_it_is() {
    let elsewhere = Condition::All(vec![below("/srv"), uid(1000)]);
    let rule = rule(&[Event::FileOpen, Event::ProcessExec], elsewhere);

    let spared = spare().rule(&rule);

    assert_eq!(spared, Spared { rules: vec![rule], conflicts: Vec::new() });
}

#[test]
fn only_what_the_rule_leaves_possible_is_compared() {
    fn comparisons(condition: &Condition) -> usize {
        match condition {
            Condition::All(of) | Condition::Any(of) => of.iter().map(comparisons).sum(),
            Condition::Not(of) => comparisons(of),
            Condition::Number { .. }
            | Condition::Text { .. }
            | Condition::Within(_)
            | Condition::Descends { .. }
            | Condition::Marked { .. } => 1,
        }
    }
    let of = |when: Condition| {
        let spared = spare().rule(&rule(&[Event::FileOpen], when));
        comparisons(&spared.rules[0].when)
    };
    let named = Condition::Not(Box::new(Condition::Not(Box::new(below("/etc/apt")))));

    let (broad, narrow) = (of(uid(1000)), of(Condition::All(vec![uid(1000), named])));

    assert!(broad > 150, "{broad}");
    // The user, the folder, and what lies in it or is it.
    assert_eq!(narrow, 3);
}

#[test]
fn events_with_other_objects_become_rules_of_their_own_names() {
    let rule = rule(&[Event::FileOpen, Event::ProcessSignal, Event::NetConnect], ALL);

    let spared = spare().rule(&rule);

    let names: Vec<&str> = spared.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        names,
        ["engine/av/r/file.open", "engine/av/r/process.signal", "engine/av/r/net.connect"]
    );
    assert_eq!(spared.conflicts[0].name, "engine/av/r/file.open (guarded)");
    let all: Vec<Rule> = spared.rules.into_iter().chain(spared.conflicts).collect();
    assert!(compile(&all, &KEY, 1, &MarkNames::default()).is_ok());
}

#[test]
fn what_is_not_enforced_is_left_as_it_is() {
    let rule = Rule { mode: Mode::Monitor, ..rule(&[Event::FileOpen], ALL) };

    assert_eq!(spare().rule(&rule).rules, [rule]);
}

#[test]
fn a_few_rules_about_everything_fit_beside_each_other() {
    let rules =
        (0..20).map(|at| Rule { name: at.to_string(), ..rule(&[Event::FileOpen], uid(at)) });

    let all: Vec<Rule> = rules
        .flat_map(|rule| {
            let Spared { rules, conflicts } = spare().rule(&rule);
            rules.into_iter().chain(conflicts)
        })
        .collect();

    compile(&all, &KEY, 1, &MarkNames::default()).expect("they fit");
}
