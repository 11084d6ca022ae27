//! `outrigger policy`: what policies say, whether they are right, and what they would decide.
//!
//! Only `apply` asks a host.
//! Policies are read here as the host has them read, and compiled as it compiles them.

mod check;
mod explain;
mod test;

use std::fs::{self, File};
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use outrigger_decision::rules::{Compiled, LineageKey, MarkNames, Rule, Source, compile};
use outrigger_policy::{Answer, Place, PolicyError, Question, TEXT_MAX};

use crate::run::{Outcome, UsageError};
use crate::text::{self, WRONG, styled, visible_lines};

/// What is done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Read policies as the host does, and say what is wrong or what they are about
    Check {
        /// Files of policies, or folders of `*.cedar` files; what is in force together goes together
        #[arg(value_name = "FILE|DIR", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Decide example events by policies and compare with what is expected
    Test {
        /// Files of events (TOML), which name their policies
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Have the host read its folder of policies and put it in force, whole or not at all
    Apply,
    /// Decide one event by policies, and say of every rule about it which part of its condition holds
    Explain(Box<explain::ExplainArguments>),
}

/// Programs' paths are hashed only for the length of a command, so any key will do.
const KEY: LineageKey = LineageKey([0; 16]);

/// Does what `command` says, and prints what came of it to `out`.
///
/// # Errors
///
/// [`UsageError`] if a file cannot be read or is none.
pub(crate) fn run(command: &PolicyCommand, json: bool, out: &mut impl Write) -> Result<Outcome> {
    match command {
        PolicyCommand::Check { paths } => check::run(paths, json, out),
        PolicyCommand::Test { files } => test::run(files, json, out),
        PolicyCommand::Explain(arguments) => explain::run(arguments, json, out),
        PolicyCommand::Apply => bail!("that is the host's to do"),
    }
}

/// Policies that can be in force.
#[derive(Debug)]
struct Set {
    rules: Vec<Rule>,
    places: Vec<Place>,
    compiled: Compiled,
}

impl Set {
    /// Reads and compiles all policies of files and folders; what is wrong with them is the inner error.
    fn load(paths: &[PathBuf]) -> Result<Result<Self, Vec<PolicyError>>> {
        let mut question = Question::new(Source::Administrator);
        for path in files(paths)? {
            let name = path.display().to_string();
            let bytes = bounded(&path)?;
            if let Err(error) = question.add(&name, &bytes) {
                return Ok(Err(vec![error]));
            }
        }
        let (rules, places) = match outrigger_policy::answer(question) {
            Answer::Read { rules, places } => (rules, places),
            Answer::Refused { errors } => return Ok(Err(errors)),
        };
        Ok(match compile(&rules, &KEY, 1, &MarkNames::default()) {
            Ok(compiled) => Ok(Self { rules, places, compiled }),
            Err(error) => {
                let at = |place: &&Place| Some(place.rule.as_str()) == error.rule();
                let place = places.iter().find(at);
                let mut told = PolicyError::of_file(
                    place.map_or("the set as a whole", |place| &place.file),
                    error.to_string(),
                );
                if let Some(place) = place {
                    (told.line, told.column) = (place.line, place.column);
                }
                Err(vec![told])
            }
        })
    }
}

/// The files meant by `paths`: of a folder, those that end in `.cedar`, by name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| unreadable(path))?;
        let mut found = Vec::new();
        for entry in entries {
            let file = entry.with_context(|| unreadable(path))?.path();
            if file.extension().is_some_and(|extension| extension == "cedar") {
                found.push(file);
            }
        }
        found.sort();
        all.append(&mut found);
    }
    Ok(all)
}

/// The bytes of a file, or one more than is read at once of one that has more.
fn bounded(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| unreadable(path))?;
    let mut bytes = Vec::new();
    let most = u64::try_from(TEXT_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).with_context(|| unreadable(path))?;
    Ok(bytes)
}

fn unreadable(path: &Path) -> UsageError {
    UsageError(format!("{} cannot be read", path.display()))
}

/// Prints what is wrong with policies.
fn refuse(errors: &[PolicyError], json: bool, out: &mut impl Write) -> Result<Outcome> {
    if json {
        let line = serde_json::to_string(&serde_json::json!({ "errors": errors }))?;
        writeln!(out, "{}", text::visible_json(&line))?;
    } else {
        for error in errors {
            let told = visible_lines(&error.to_string());
            writeln!(out, "{}{told}", styled(WRONG, "refused: "))?;
        }
    }
    Ok(Outcome::Bad)
}
