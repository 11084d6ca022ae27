//! Policies: Cedar text of an administrator, or of an engine's signed content.

use std::collections::HashSet;
use std::fmt::Write;
use std::str::FromStr;

use cedar_policy::PolicySet;
use cedar_policy_core::ast::Policy;
use outrigger_decision::rules::reading::{Answer, ERRORS_MAX, Place, PolicyError, TEXT_MAX};
use outrigger_decision::rules::{Effect, LineageKey, MarkNames, Rule, Source, compile};
use outrigger_policy::{Read, read_placed};

/// What the file is called.
const NAME: &str = "p.cedar";
/// Longest message: what is wrong and the help, 600 characters each, of up to four bytes, and the line.
const MESSAGE: usize = 6 * 1024;

/// Reads `bytes` as an administrator's policies, and as an engine's.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = read(text, &Source::Administrator);
    match &read {
        Ok((rules, places)) => {
            check_rules(text, rules, places);
            check_printed(text, rules);
        }
        Err(errors) => check_errors(text, errors),
    }
    check_engine(text, read.ok());
}

fn read(text: &str, source: &Source) -> Result<Read, Vec<PolicyError>> {
    let read = read_placed(&[(NAME, text)], source);
    assert_eq!(read, read_placed(&[(NAME, text)], source), "read twice");
    read
}

/// What was read is named and placed, comes out of the compiler's answer as it went in, and is compiled or
/// refused.
fn check_rules(text: &str, rules: &[Rule], places: &[Place]) {
    assert_eq!(rules.len(), places.len());
    let names: HashSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names.len(), rules.len(), "two rules of one name");
    for (rule, place) in rules.iter().zip(places) {
        assert_eq!((&*rule.name, &*place.file), (&*place.rule, NAME));
        assert!(!rule.events.is_empty(), "a rule about nothing");
        assert_in(text, place.line, place.column);
    }
    let answer = Answer::Read { rules: rules.to_vec(), places: places.to_vec() };
    assert_eq!(Answer::parse(&answer.to_json()), Ok(answer));
    match compile(rules, &LineageKey([7; 16]), 1, &MarkNames::default()) {
        Ok(compiled) => assert_eq!(compiled.rules.len(), rules.len()),
        Err(error) => crate::assert_showable(&error.to_string(), MESSAGE),
    }
}

fn check_errors(text: &str, errors: &[PolicyError]) {
    assert!((1..=ERRORS_MAX).contains(&errors.len()), "{} errors", errors.len());
    for error in errors {
        assert_eq!(&*error.file, NAME);
        if error.line > 0 {
            assert_in(text, error.line, error.column);
        } else {
            assert!(text.len() > TEXT_MAX, "no place: {error}");
        }
        crate::assert_showable(&error.to_string(), MESSAGE);
    }
}

/// What Cedar itself prints of the policies becomes the same rules, if it is not over a limit: it is longer,
/// and has brackets wherever it may have some.
fn check_printed(text: &str, rules: &[Rule]) {
    let set = PolicySet::from_str(text).expect("it was read");
    let mut policies: Vec<&Policy> = set.policies().map(AsRef::as_ref).collect();
    policies.sort_by_key(|policy| policy.loc().map(|place| place.start()));
    let mut printed = String::new();
    for policy in policies {
        writeln!(printed, "{policy}").expect("a String takes all");
    }
    match read_placed(&[(NAME, &printed)], &Source::Administrator) {
        Ok((again, _)) => assert_eq!(nameless(&again), nameless(rules), "of {printed}"),
        Err(errors) => {
            let limits = errors.iter().all(|error| error.limit.is_some());
            assert!(limits, "printed, it is refused: {}\n{printed}", errors[0]);
        }
    }
}

/// Rules without their names, which say where they stand.
fn nameless(rules: &[Rule]) -> Vec<Rule> {
    rules.iter().map(|rule| Rule { name: String::new(), ..rule.clone() }).collect()
}

/// An engine's policies only deny, and are otherwise what an administrator's are.
fn check_engine(text: &str, administrators: Option<Read>) {
    let engine = Source::Engine("hashlist".parse().expect("a name"));
    match read(text, &engine) {
        Ok((rules, _)) => {
            let (same, _) = administrators.expect("an engine is allowed less");
            assert!(rules.iter().all(|rule| rule.effect == Effect::Deny && rule.source == engine));
            let source = Source::Administrator;
            let as_administrators = |rule: Rule| Rule { source: source.clone(), ..rule };
            let rules: Vec<Rule> = rules.into_iter().map(as_administrators).collect();
            assert_eq!(rules, same);
        }
        Err(errors) => check_errors(text, &errors),
    }
}

/// Panics unless `text` has that line and that column, or the line ends just before it.
fn assert_in(text: &str, line: u32, column: u32) {
    let at = text.split('\n').nth(line as usize - 1);
    let at = at.unwrap_or_else(|| panic!("there is no line {line}"));
    let columns = at.chars().count() + 1;
    assert!((1..=columns).contains(&(column as usize)), "{line}:{column} of {columns}");
}
