//! The rule language: Cedar text to [`Rule`]s.
//!
//! A policy is validated strictly by a [`schema`] that follows from the event catalogue, so that a rule
//! which asks for what an event has not is refused before it is ever in force; then it is translated, for
//! every event it is about, to a [`Condition`](outrigger_decision::rules::Condition) that
//! `outrigger-decision` compiles. What has no such translation is outside the subset that compiles, and is
//! refused with its place and what to write instead: never skipped, never approximated. The subset is
//! described in `docs/policy.md`, and Cedar's own evaluator is what the tests compare it with.
//!
//! Threat position: the text is an administrator's, or an engine's signed content, and is believed in
//! neither case: it is bounded before it is parsed (`guard`), parsed on a stack of known size,
//! and in the product only within `outrigger-policy-compiler`, which the host starts confined.

#![forbid(unsafe_code)]

mod annotations;
mod errors;
pub mod example;
pub mod explain;
mod expression;
mod guard;
mod policy;
mod schema;
mod terms;

use std::thread;

pub use outrigger_decision::rules::reading::{
    Answer, Place, PolicyError, PolicyFile, Question, TEXT_MAX,
};
use outrigger_decision::rules::{Rule, Source};

pub use schema::{schema, schema_text};

/// Stack of the thread that reads, in bytes.
///
/// Cedar's parser, its conversions and its validator recurse as deep as a policy nests. At the limits of
/// `guard` half of this is enough, as a test shows; without it they would be ended by a signal.
const STACK: usize = 64 << 20;

/// Rules and where each stands in the text.
pub type Read = (Vec<Rule>, Vec<Place>);

/// Reads policies: the rules of all `files`, by name and text, in the order of the text.
///
/// # Errors
///
/// Every error found, at most [`ERRORS_MAX`](outrigger_decision::rules::reading::ERRORS_MAX); one is enough
/// for nothing to be read.
pub fn read(files: &[(&str, &str)], source: &Source) -> Result<Vec<Rule>, Vec<PolicyError>> {
    read_placed(files, source).map(|(rules, _)| rules)
}

/// As [`read`], and where each rule stands.
///
/// # Errors
///
/// As [`read`].
pub fn read_placed(files: &[(&str, &str)], source: &Source) -> Result<Read, Vec<PolicyError>> {
    let mut question = Question::new(source.clone());
    let refused: Vec<PolicyError> =
        files.iter().filter_map(|(name, text)| question.add(name, text.as_bytes()).err()).collect();
    if !refused.is_empty() {
        return Err(refused);
    }
    match answer(question) {
        Answer::Read { rules, places } => Ok((rules, places)),
        Answer::Refused { errors } => Err(errors),
    }
}

/// The answer to `question`, which may be anybody's.
///
/// # Panics
///
/// If no thread can be made.
pub fn answer(question: Question) -> Answer {
    let work = move || match policy::read(&question.files, &question.source) {
        Ok((rules, places)) => Answer::Read { rules, places },
        Err(errors) => Answer::Refused { errors: errors::bounded(errors) },
    };
    let thread = thread::Builder::new().name("read".into()).stack_size(STACK).spawn(work);
    match thread.expect("a process that can make no thread can read no policy").join() {
        Ok(answer) => answer,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Policies as deep as the guard lets through, each in a way of its own.
    fn deepest() -> Vec<String> {
        let with =
            |body: String| format!("permit (principal, action, resource) when {{ {body} }};");
        let nested = |open: &str, close: &str, depth: usize| {
            with(format!("{}principal.uid == 0{}", open.repeat(depth), close.repeat(depth)))
        };
        let chain =
            |link: &str, count: usize| with(format!("principal.uid == 0{}", link.repeat(count)));
        vec![
            nested("(", ")", 62),
            nested("!(", ")", 62),
            nested("(principal.gid == 0 && (principal.gid == 1 || ", "))", 31),
            chain(" && principal.uid == 0", 500),
            chain(" || principal.uid == 0", 500),
            chain(" || !(principal.uid == 0 && principal.gid == 0)", 200),
            nested("if principal.gid == 0 then false else ", "", 500),
            nested("if (", ") then true else false", 62),
            with(format!("principal{} == 0", ".uid".repeat(1_000))),
            with(format!("principal.uid == {}0", "1 + ".repeat(1_000))),
            with(format!("{}principal.uid == 0", "!".repeat(1_000))),
            with(format!("{}[{}].contains(principal.uid)", "", "1, ".repeat(10_000) + "1")),
        ]
    }

    #[test]
    fn half_the_stack_is_enough_for_the_deepest_policy_that_the_guard_lets_through() {
        for text in deepest() {
            let start = text.chars().take(200).collect::<String>();
            let files = vec![PolicyFile { name: "p.cedar".into(), text }];
            assert!(guard::pieces(&files).is_ok(), "{start}");

            let thread = thread::Builder::new().stack_size(STACK / 2);
            let read = thread.spawn(move || policy::read(&files, &Source::Administrator).err());

            // A stack that is not enough ends the process.
            read.expect("started").join().expect("no panic");
        }
    }
}
