//! `outrigger policy explain`: one event, and every rule about it.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use outrigger_policy::example::{Example, Value};
use outrigger_policy::explain::{Part, effect, explain};
use serde::Serialize;

use super::test::Verdict;
use super::{KEY, Set, refuse};
use crate::run::{Outcome, UsageError};
use crate::text::{self, FAINT, GOOD, STRONG, styled, visible};

/// An event, in words.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArguments {
    /// The event's name, as `file.open`; or the event as JSON, as examples are in TOML
    #[arg(value_name = "EVENT|JSON")]
    event: String,
    /// The policies
    #[arg(long = "policy", value_name = "FILE|DIR", default_value = "/etc/outrigger/policy")]
    policies: Vec<PathBuf>,
    /// Also rules that do not apply
    #[arg(long)]
    all: bool,
    /// The subject's effective user
    #[arg(long, value_name = "N")]
    uid: Option<u64>,
    /// Its effective group
    #[arg(long, value_name = "N")]
    gid: Option<u64>,
    /// Its program
    #[arg(long, value_name = "PATH")]
    exe: Option<String>,
    /// Its control group
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// A program that it or an ancestor has run
    #[arg(long, value_name = "PROGRAM")]
    ran: Vec<String>,
    /// A mark that it has
    #[arg(long, value_name = "MARK")]
    mark: Vec<String>,
    /// The file
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Its owner
    #[arg(long, value_name = "N")]
    owner: Option<u64>,
    /// A mark that the object has
    #[arg(long, value_name = "MARK")]
    object_mark: Vec<String>,
    /// The program of the process that is the object
    #[arg(long, value_name = "PATH")]
    target: Option<String>,
    /// The address
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The port
    #[arg(long, value_name = "N")]
    port: Option<u64>,
    /// What the event carries besides: `write=true`, `signal=9`, `new_path=/etc/x`
    #[arg(long, value_name = "NAME=VALUE")]
    with: Vec<String>,
}

/// What one rule makes of the event.
#[derive(Debug, Serialize)]
struct Said {
    rule: String,
    file: String,
    line: u32,
    effect: String,
    applies: bool,
    parts: Vec<Part>,
}

pub(super) fn run(
    arguments: &ExplainArguments,
    json: bool,
    out: &mut impl Write,
) -> Result<Outcome> {
    let example = arguments.example()?;
    let set = match Set::load(&arguments.policies)? {
        Ok(set) => set,
        Err(errors) => return refuse(&errors, json, out),
    };
    let marks = &set.compiled.marks;
    let facts = example.facts(&KEY, marks).map_err(|error| UsageError(error.to_string()))?;
    let decision = set.compiled.image.decide(&facts);
    let (verdict, by) = Verdict::of(&decision);
    let by = by.and_then(|rule| set.compiled.rules.get(usize::from(rule)));
    let about =
        set.rules.iter().zip(&set.places).filter(|(rule, _)| rule.events.contains(&facts.event));
    let said = about.map(|(rule, place)| {
        let parts = explain(rule, &facts, &KEY, marks);
        Said {
            rule: rule.name.clone(),
            file: place.file.clone(),
            line: place.line,
            effect: effect(rule),
            applies: parts.first().is_some_and(|whole| whole.holds),
            parts,
        }
    });
    let said: Vec<Said> = said.filter(|said| said.applies || arguments.all || json).collect();
    if json {
        let whole = serde_json::json!({ "decided": verdict, "by": by, "rules": said });
        writeln!(out, "{}", text::visible_json(&serde_json::to_string(&whole)?))?;
        return Ok(Outcome::Good);
    }
    let by = by.map_or(String::new(), |by| format!(", by {by}"));
    writeln!(
        out,
        "{}",
        styled(STRONG, visible(&format!("{}: {}{by}", facts.event, verdict.name())))
    )?;
    for one in &said {
        out.write_all(page(one).as_bytes())?;
    }
    if said.is_empty() {
        writeln!(out, "{}", styled(FAINT, "  no rule applies; --all shows those about the event"))?;
    }
    Ok(Outcome::Good)
}

fn page(said: &Said) -> String {
    let does = if said.applies { said.effect.clone() } else { "does not apply".to_owned() };
    let mut page = format!("  {} ({}:{}): {does}\n", said.rule, said.file, said.line);
    page = visible(page.trim_end()).into_owned() + "\n";
    for part in &said.parts {
        let mark = if part.holds { styled(GOOD, "holds") } else { styled(FAINT, "  not") };
        page += &format!("    {mark}  {}{}\n", "  ".repeat(part.depth), visible(&part.text));
    }
    page
}

impl ExplainArguments {
    fn example(&self) -> Result<Example> {
        if self.event.trim_start().starts_with('{') {
            return serde_json::from_str(&self.event).context(UsageError(
                "the event is no JSON that an event is written in".to_owned(),
            ));
        }
        let mut example = Example::new(&self.event);
        let subject = &mut example.subject;
        subject.uid = self.uid.unwrap_or(0);
        subject.gid = self.gid.unwrap_or(0);
        subject.exe = self.exe.clone().unwrap_or_default();
        subject.cgroup = self.cgroup.clone().unwrap_or_default();
        subject.ran.clone_from(&self.ran);
        subject.marks.clone_from(&self.mark);
        let object = &mut example.object;
        object.path.clone_from(&self.path);
        object.owner = self.owner;
        object.marks = (!self.object_mark.is_empty()).then(|| self.object_mark.clone());
        object.exe.clone_from(&self.target);
        object.address = self.address;
        object.port = self.port;
        for pair in &self.with {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| UsageError(format!("{pair} is no NAME=VALUE")))?;
            example.context.insert(name.to_owned(), typed(value));
        }
        Ok(example)
    }
}

/// A value as it looks: a truth, a number, or else a text.
fn typed(value: &str) -> Value {
    match (value.parse(), value.parse()) {
        (Ok(truth), _) => Value::Bool(truth),
        (_, Ok(number)) => Value::Number(number),
        _ => Value::Text(value.to_owned()),
    }
}
