//! `outrigger policy`, on the policies that come with Outrigger and on wrong ones.

use std::fs;
use std::path::Path;

use outrigger_api::control::Response;
use serde_json::Value;
use tempfile::TempDir;

use crate::host::{FakeHost, Ran, outrigger};

/// The policies to begin with.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");

/// The tool, without a host.
fn policy(arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["policy"].iter().chain(arguments).copied().collect();
    outrigger(Path::new("/nonexistent/control.sock"), &arguments)
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// A folder with one policy.
fn folder_with(text: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("wrong.cedar"), text).expect("a file in it");
    folder
}

#[test]
fn what_comes_with_outrigger_is_right() {
    let ran = policy(&["check", SHIPPED, "--json"]);

    assert_eq!(ran.code, Some(0), "{ran:?}");
    let found = json(&ran);
    let module = found["events"]
        .as_array()
        .and_then(|events| events.iter().find(|row| row["event"] == "kernel.module_load").cloned());
    assert_eq!(module.map(|row| row["deny"].clone()), Some(2.into()), "{found}");
    assert_eq!(found["marks"], serde_json::json!(["dropped"]));
}

#[test]
fn the_shipped_examples_come_out_as_written() {
    let ran = policy(&["test", &format!("{SHIPPED}/examples.toml")]);

    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.ends_with("12 examples, all as expected\n"), "{}", ran.out);
}

#[test]
fn an_example_that_comes_out_otherwise_is_told_and_fails() {
    let folder = folder_with("@id(\"no\")\nforbid (principal, action, resource);\n");
    let examples = folder.path().join("examples.toml");
    fs::write(
        &examples,
        "policies = [\"wrong.cedar\"]\n[[example]]\nname = \"a look\"\nevent = \"file.open\"\n\
         expect = \"nothing\"\n",
    )
    .expect("a file beside it");

    let ran = policy(&["test", &examples.display().to_string(), "--json"]);

    assert_eq!(ran.code, Some(1), "{ran:?}");
    let came = &json(&ran)["examples"][0];
    assert_eq!((&came["good"], &came["decided"]), (&false.into(), &"deny".into()), "{came}");
}

#[test]
fn a_wrong_policy_is_refused_with_its_place() {
    let folder = folder_with(
        "// One line before.\nforbid (principal, action == Action::\"file.open\", resource)\n\
         when { resource.pth == \"/etc/shadow\" };\n",
    );

    let ran = policy(&["check", &folder.path().display().to_string()]);

    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("wrong.cedar:3:"), "{}", ran.out);
    assert!(ran.out.contains("path"), "what was probably meant: {}", ran.out);
}

#[test]
fn one_event_is_explained_by_the_rule_that_decides_it() {
    let policies = format!("{SHIPPED}/credential-files.cedar");
    let ran = policy(&[
        "explain",
        "file.open",
        "--policy",
        &policies,
        "--path",
        "/etc/shadow",
        "--exe",
        "/bin/cat",
    ]);

    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("password-hashes"), "{}", ran.out);
    assert!(ran.out.contains("deny"), "{}", ran.out);
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_of_the_caller() {
    let ran = policy(&["check", "/nonexistent/x.cedar"]);

    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("/nonexistent/x.cedar cannot be read"), "{}", ran.err);
}

#[test]
fn the_host_is_asked_to_put_its_folder_in_force() {
    let message = "3 rules are in force, generation 2; before it was 1".to_owned();
    let host = FakeHost::answering(&[Response::Done { message: message.clone() }]);

    let (request, ran) = host.serve(&["policy", "apply"]);

    assert_eq!(request, "{\"request\":\"apply-policy\"}\n");
    assert_eq!((ran.code, ran.out), (Some(0), message + "\n"));
}
