//! The Cedar schema: every event is an action, every value that rules can ask for an attribute.
//!
//! It follows from the catalogue and [`outrigger_api::attribute`]; nothing in it is written twice. The text is
//! `docs/reference/policy.cedarschema`, for editors and for Cedar's own tools.

use std::fmt::Write;
use std::sync::LazyLock;

use cedar_policy::Schema;
use outrigger_api::Event;
use outrigger_api::attribute::{Argument, Kind, arguments};
use outrigger_api::catalogue::ObjectKind;

const ENTITIES: &str = "\
// A process, by what it is and what it has run. In a `Program` is who has run it, or descends from who did.
entity Process in [Program] {
  // Effective user and group.
  uid: Long,
  gid: Long,
  // Path of the program it runs, as it was when the program was begun.
  exe: String,
  // Path of its control group under the mount of cgroup v2; of the subject alone.
  cgroup: String,
  // What rules with `@mark` have set on it.
  marks: Set<String>,
};

// A program that was run, by its absolute path.
entity Program;

// A file, or a folder that is acted on. In a `Directory` is what lies below it, however deep.
entity File in [Directory] {
  // Absolute, or empty where `path_known` is false.
  path: String,
  path_known: Bool,
  // The user who owns it.
  owner: Long,
  // What rules with `@mark` and `@on(\"object\")` have set on it.
  marks: Set<String>,
};

// A folder, by its absolute path.
entity Directory in [Directory];

// An end of a connection.
entity Endpoint {
  // 2 (IPv4), 10 (IPv6), or another of `AF_*`.
  family: Long,
  port: Long,
  // An IPv4 address mapped into IPv6 stands as the IPv4 address that it is.
  address: ipaddr,
};

// The machine, or the subject itself: there is no object besides.
entity System;
";

/// The schema as text.
pub fn schema_text() -> String {
    let mut text = format!(
        "// Written by `cargo xtask docs` from crates/api/src/{{catalogue,attribute}}.rs.\n\n{ENTITIES}\n\
         // Groups: `action in Action::\"file\"` is about all that begins with `file.`.\n"
    );
    for group in groups() {
        put(&mut text, format_args!("action \"{group}\";\n"));
    }
    for &event in Event::ALL {
        put(&mut text, format_args!("\n{}", comment(event.description())));
        let (group, object) = (group(event), entity(event.object()));
        put(
            &mut text,
            format_args!(
                "action \"{event}\" in [Action::\"{group}\"] appliesTo {{\n  \
                 principal: [Process],\n  resource: [{object}],\n  context: {{"
            ),
        );
        for argument in arguments(event) {
            let Argument { name, meaning, .. } = argument;
            let kind = match argument.kind {
                Kind::Bool => "Bool",
                Kind::Long => "Long",
                Kind::Text => "String",
            };
            put(&mut text, format_args!("\n    // {meaning}.\n    \"{name}\": {kind},"));
        }
        text.push_str(if arguments(event).is_empty() { "},\n};\n" } else { "\n  },\n};\n" });
    }
    text
}

/// The schema that every policy is validated by.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        let (schema, _) = Schema::from_cedarschema_str(&schema_text())
            .expect("it is made of constants, and a test reads it");
        schema
    });
    &SCHEMA
}

/// The entity type of what an event acts on.
pub(crate) const fn entity(object: ObjectKind) -> &'static str {
    match object {
        ObjectKind::File => "File",
        ObjectKind::Process => "Process",
        ObjectKind::Endpoint => "Endpoint",
        ObjectKind::System => "System",
    }
}

/// The group of actions that `event` is in: what its name begins with.
pub(crate) fn group(event: Event) -> &'static str {
    event.name().split('.').next().unwrap_or_default()
}

/// Every group, in the order of the catalogue.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = Event::ALL.iter().map(|event| group(*event)).collect();
    groups.dedup();
    groups
}

/// A doc comment as lines of comment.
fn comment(doc: &str) -> String {
    let mut text = String::new();
    let mut line = String::from("//");
    for word in doc.split_whitespace() {
        if line.len() + word.len() > 108 {
            put(&mut text, format_args!("{line}\n"));
            line = String::from("//");
        }
        put(&mut line, format_args!(" {word}"));
    }
    put(&mut text, format_args!("{line}\n"));
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_an_action_for_every_event_and_a_group_for_every_family() {
        let actions = schema().actions().map(|action| action.id().unescaped().to_owned());

        let actions: std::collections::BTreeSet<String> = actions.collect();

        let events = Event::ALL.iter().map(|event| event.name().to_owned());
        let want: std::collections::BTreeSet<String> =
            events.chain(groups().into_iter().map(str::to_owned)).collect();
        assert_eq!(actions, want);
    }
}
