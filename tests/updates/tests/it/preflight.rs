//! Every reason for which a release does not pass, caused by real engines in their sandbox.
//!
//! The operator's tool tries them: what is tested is what an update uses. Root is needed, and without it the
//! tests say so and are skipped.

mod lab;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::binaries;
use serde_json::Value;

pub(crate) use lab::root;
use lab::{Lab, Tried};

/// The tests, each skipped, loudly, without root.
macro_rules! as_root {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() -> Result<()> {
            if root(stringify!($name)) { cases::$name() } else { Ok(()) }
        })+
    };
}

as_root! {
    content_for_the_inputs_that_the_code_supplies_passes
    a_value_in_a_field_that_the_code_does_not_supply_is_refused_with_its_name
    a_wildcard_in_a_field_that_the_code_does_not_supply_is_refused_too
    a_manifest_that_lies_is_caught_by_the_replay_with_the_field_named
    a_manifest_that_lies_is_caught_while_the_field_has_only_wildcards
    hash_lists_of_what_is_bad_pass
    a_list_that_denies_a_known_good_program_is_refused_with_its_path
    a_list_with_a_wrong_line_is_refused_with_file_and_line
    rules_that_do_not_compile_are_refused_by_the_engine_with_file_and_line
    rules_for_the_platform_that_deny_nothing_good_pass
    a_rule_for_the_platform_that_denies_a_known_good_file_is_refused_with_its_name
    rules_for_the_platform_that_allow_are_refused_with_file_and_line
    a_rule_that_asks_for_what_is_not_recorded_is_told_and_not_held_against_it
    an_engine_that_crashes_on_its_content_is_refused
    an_engine_that_crashes_on_an_object_is_refused_with_its_path
    an_engine_that_takes_memory_without_end_is_refused
    an_engine_that_does_not_dock_in_time_is_refused
    an_engine_that_is_slow_is_refused
    an_engine_that_never_answers_is_refused
    an_engine_that_sends_garbage_is_refused
    too_little_evidence_is_refused_and_says_what_to_do
    objects_that_are_gone_are_told
}

/// How the engine of tests that attacks on command is named here.
const HOSTILE: &str = "attacker";

mod cases {
    use super::*;

    /// The first finding, whose reason must be the report's.
    fn finding<'a>(tried: &'a Tried, check: &str, reason: &str) -> Result<&'a str> {
        let report = &tried.report;
        let found = &tried.check(check)?["findings"][0];
        ensure!(report["reason"] == reason && found["reason"] == reason, "{}", tried.text);
        ensure!(report["passed"] == false && !tried.status.success(), "{}", tried.text);
        found["text"].as_str().context("a finding has a text")
    }

    fn passed(tried: &Tried) -> Result<()> {
        ensure!(tried.report["passed"] == true && tried.status.success(), "{}", tried.text);
        ensure!(tried.report["reason"] == Value::Null, "{}", tried.text);
        Ok(())
    }

    /// A hash list of nothing that is here, and rules for the platform beside them.
    fn ruled(rules: &str) -> Result<Lab> {
        let lab = Lab::hashlist(&[("a.deny", &"ab".repeat(32))])?;
        lab.content("r.cedar", rules)?;
        Ok(lab)
    }

    fn forbid(what: &str, when: &str) -> String {
        let actions = "action in [Action::\"process.exec\", Action::\"file.open\"]";
        format!("@id(\"r\")\nforbid (principal, {actions}, resource) when {{ {what}{when} }};\n")
    }

    pub(super) fn rules_for_the_platform_that_deny_nothing_good_pass() -> Result<()> {
        let lab = ruled(&forbid("resource in Directory::\"/srv/nothing\"", ""))?;

        let tried = lab.run(&[])?;

        passed(&tried)?;
        ensure!(tried.check("rules")?["figures"]["rules"] != 0, "{}", tried.text);
        let figures = &tried.check("known-good")?["figures"];
        ensure!(figures["ruled"] == 120 && figures["denied_by_rules"] == 0, "{}", tried.text);
        Ok(())
    }

    pub(super) fn a_rule_for_the_platform_that_denies_a_known_good_file_is_refused_with_its_name()
    -> Result<()> {
        let lab = ruled("")?;
        let (path, _) = lab.known_good(3);
        let rules = forbid(&format!("resource.path == \"{path}\""), "");
        let what = format!("file.open {path}: rule r");
        lab.content("r.cedar", &rules)?;

        let tried = lab.run(&[])?;

        let text = finding(&tried, "known-good", "denied-known-good")?;
        ensure!(text.starts_with(&what), "{text}");
        Ok(())
    }

    pub(super) fn rules_for_the_platform_that_allow_are_refused_with_file_and_line() -> Result<()> {
        let lab = ruled("// All is well.\npermit (principal, action, resource);\n")?;

        let tried = lab.run(&[])?;

        let text = finding(&tried, "rules", "schema")?;
        ensure!(text.starts_with("r.cedar:2:1: ") && text.contains("can only forbid"), "{text}");
        Ok(())
    }

    pub(super) fn a_rule_that_asks_for_what_is_not_recorded_is_told_and_not_held_against_it()
    -> Result<()> {
        let lab = ruled("")?;
        let (path, _) = lab.known_good(3);
        let unless = " && principal.exe != \"/usr/bin/one-that-may\"";
        lab.content("r.cedar", &forbid(&format!("resource.path == \"{path}\""), unless))?;

        let tried = lab.run(&[])?;

        passed(&tried)?;
        ensure!(tried.check("known-good")?["figures"]["not_ruled"] == 1, "{}", tried.text);
        Ok(())
    }

    fn outcome<'a>(tried: &'a Tried, check: &str) -> Result<&'a str> {
        tried.check(check)?["outcome"].as_str().context("an outcome")
    }

    pub(super) fn content_for_the_inputs_that_the_code_supplies_passes() -> Result<()> {
        let lab = Lab::channel291("manifest.toml", "20")?;

        let tried = lab.run(&[])?;

        passed(&tried)?;
        ensure!(outcome(&tried, "instances")? == "passed", "{}", tried.text);
        ensure!(tried.check("instances")?["figures"]["trials"] == 40, "{}", tried.text);
        Ok(())
    }

    pub(super) fn a_value_in_a_field_that_the_code_does_not_supply_is_refused_with_its_name()
    -> Result<()> {
        let lab = Lab::channel291("manifest.toml", "21-specific")?;

        let tried = lab.run(&[])?;

        let want = "pipes.table:5: instance \"pipe-c2-1\", field 21 `ipc_name` is not supplied: channel291 \
                    0.1.0 supplies 20 inputs, and `ipc_name` is none of them";
        let text = finding(&tried, "schema", "schema")?;
        ensure!(text == want, "{text}");
        ensure!(outcome(&tried, "start")? == "not-tried", "{}", tried.text);
        Ok(())
    }

    pub(super) fn a_wildcard_in_a_field_that_the_code_does_not_supply_is_refused_too() -> Result<()>
    {
        let lab = Lab::channel291("manifest.toml", "21-wildcards")?;

        let tried = lab.run(&[])?;

        let text = finding(&tried, "schema", "schema")?;
        ensure!(text.starts_with("pipes.table:2: field 21 `ipc_name` is not supplied"), "{text}");
        Ok(())
    }

    pub(super) fn a_manifest_that_lies_is_caught_by_the_replay_with_the_field_named() -> Result<()>
    {
        let lab = Lab::channel291("manifest-lies.toml", "21-specific")?;

        let tried = lab.run(&[])?;

        ensure!(outcome(&tried, "schema")? == "passed", "{}", tried.text);
        let text = finding(&tried, "known-good", "crashed")?;
        let want = "pipes.table:5: instance \"pipe-c2-1\", field 21 `ipc_name`: on process.exec ";
        ensure!(text.starts_with(want), "{text}");
        Ok(())
    }

    pub(super) fn a_manifest_that_lies_is_caught_while_the_field_has_only_wildcards() -> Result<()>
    {
        let lab = Lab::channel291("manifest-lies.toml", "21-wildcards")?;

        let tried = lab.run(&[])?;

        ensure!(outcome(&tried, "known-good")? == "passed", "{}", tried.text);
        let text = finding(&tried, "instances", "crashed")?;
        ensure!(text.contains("field 21 `ipc_name`, with a value"), "{text}");
        Ok(())
    }

    pub(super) fn hash_lists_of_what_is_bad_pass() -> Result<()> {
        let lab = Lab::hashlist(&[("bad.deny", &format!("{} eicar\n", "27".repeat(32)))])?;

        let tried = lab.run(&[])?;

        passed(&tried)?;
        ensure!(tried.check("instances")?["figures"]["asked"] == 6, "{}", tried.text);
        ensure!(tried.check("known-good")?["figures"]["allowed"] == 120, "{}", tried.text);
        Ok(())
    }

    pub(super) fn a_list_that_denies_a_known_good_program_is_refused_with_its_path() -> Result<()> {
        let lab = Lab::hashlist(&[])?;
        let (path, sum) = lab.known_good(7);
        let list = format!("{} Win32.Fake\n", hex::encode(sum));
        lab.content("bad.deny", &list)?;

        let tried = lab.run(&[])?;

        let text = finding(&tried, "known-good", "denied-known-good")?;
        ensure!(text == format!("file.open {path}: deny list: Win32.Fake"), "{text}");
        Ok(())
    }

    pub(super) fn a_list_with_a_wrong_line_is_refused_with_file_and_line() -> Result<()> {
        let lab = Lab::hashlist(&[("bad.deny", "# one\neicar\n")])?;

        let tried = lab.run(&[])?;

        let text = finding(&tried, "schema", "schema")?;
        ensure!(text == "bad.deny:2: \"eicar\" is no SHA-256: 64 hexadecimal digits", "{text}");
        Ok(())
    }

    pub(super) fn rules_that_do_not_compile_are_refused_by_the_engine_with_file_and_line()
    -> Result<()> {
        let lab = Lab::shipped("yara", binaries::YARA)?;
        lab.content("bad.yar", "rule one {\n  condition:\n    $nowhere\n}\n")?;

        let tried = lab.run(&[])?;

        ensure!(outcome(&tried, "schema")? == "passed", "{}", tried.text);
        let text = finding(&tried, "start", "content-refused")?;
        ensure!(text.contains("bad.yar:3: unknown pattern"), "{text}");
        Ok(())
    }

    fn hostile(behaviour: &str, limits: &str) -> Result<Lab> {
        let lab = Lab::hostile(HOSTILE, limits)?;
        lab.content("behaviour", behaviour)?;
        Ok(lab)
    }

    pub(super) fn an_engine_that_crashes_on_its_content_is_refused() -> Result<()> {
        let tried = hostile("crash-at-load", "")?.run(&[])?;

        finding(&tried, "start", "crashed")?;
        Ok(())
    }

    pub(super) fn an_engine_that_crashes_on_an_object_is_refused_with_its_path() -> Result<()> {
        let lab = hostile("crash-on known-good-7-", "")?;
        let (path, _) = lab.known_good(7);

        let tried = lab.run(&[])?;

        let text = finding(&tried, "known-good", "crashed")?;
        ensure!(text.starts_with(&format!("on file.open {path}: it crashed: ")), "{text}");
        ensure!(tried.check("known-good")?["figures"]["allowed"] == 7, "{}", tried.text);
        Ok(())
    }

    pub(super) fn an_engine_that_takes_memory_without_end_is_refused() -> Result<()> {
        let tried = hostile("load-memory", "memory_bytes = \"32MiB\"")?.run(&[])?;

        let text = finding(&tried, "start", "out-of-memory")?;
        ensure!(text == "it was ended at its memory limit of 33554432 bytes", "{text}");
        Ok(())
    }

    pub(super) fn an_engine_that_does_not_dock_in_time_is_refused() -> Result<()> {
        let tried = hostile("load-for 60000", "start_ms = 300")?.run(&[])?;

        let text = finding(&tried, "start", "start-timeout")?;
        ensure!(text == "it was not docked after 300 ms, its manifest's `start_ms`", "{text}");
        Ok(())
    }

    pub(super) fn an_engine_that_is_slow_is_refused() -> Result<()> {
        let tried = hostile("slow 60", "")?.run(&["--budget-ms", "20"])?;

        let text = finding(&tried, "known-good", "slow")?;
        ensure!(text.ends_with("no answer within 20 ms"), "{text}");
        Ok(())
    }

    pub(super) fn an_engine_that_never_answers_is_refused() -> Result<()> {
        let tried = hostile("silent", "")?.run(&["--budget-ms", "20"])?;

        finding(&tried, "known-good", "slow")?;
        Ok(())
    }

    pub(super) fn an_engine_that_sends_garbage_is_refused() -> Result<()> {
        let tried = hostile("attack record", "")?.run(&["--budget-ms", "50"])?;

        let text = finding(&tried, "known-good", "garbage")?;
        ensure!(text.starts_with("on process.exec "), "{text}");
        Ok(())
    }

    pub(super) fn too_little_evidence_is_refused_and_says_what_to_do() -> Result<()> {
        let lab = Lab::hashlist(&[("bad.deny", &"27".repeat(32))])?;

        let tried = lab.run(&["--samples-min", "121"])?;

        let text = finding(&tried, "own-events", "too-little-evidence")?;
        let want = "120 answers on recorded events, and 121 are the least: build a corpus";
        ensure!(text.starts_with(want), "{text}");
        Ok(())
    }

    pub(super) fn objects_that_are_gone_are_told() -> Result<()> {
        let lab = Lab::hashlist(&[("bad.deny", &"27".repeat(32))])?;
        lab.lose_objects(3)?;

        let tried = lab.run(&["--samples-min", "10"])?;

        passed(&tried)?;
        let check = tried.check("known-good")?;
        ensure!(check["figures"]["gone"] == 3 && check["figures"]["allowed"] == 117, "{check:#}");
        let note = check["notes"][0].as_str().context("a note")?;
        ensure!(note.starts_with("3 objects are gone or changed since"), "{note}");
        Ok(())
    }
}
