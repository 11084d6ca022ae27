//! `outrigger-policy-compiler`, started as the host starts it: a frame in, an answer out.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use outrigger_decision::rules::Source;
use outrigger_decision::rules::reading::{Answer, QUESTION_MAX, Question};

fn compile(input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrigger-policy-compiler"))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // One that refuses a frame by its head does not read the rest.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it ends")
}

fn question(text: &str) -> Question {
    let mut question = Question::new(Source::Administrator);
    question.add("p.cedar", text.as_bytes()).expect("it is text");
    question
}

#[test]
fn a_question_is_answered_by_rules() {
    let text = "forbid (principal, action == Action::\"file.open\", resource);";

    let output = compile(&question(text).frame());

    assert!(output.status.success(), "{output:?}");
    match Answer::parse(&output.stdout).expect("an answer") {
        Answer::Read { rules, places } => {
            assert_eq!(rules[0].name, "p.cedar:1");
            assert_eq!(places[0].rule, "p.cedar:1");
        }
        Answer::Refused { errors } => panic!("{errors:?}"),
    }
}

#[test]
fn a_wrong_policy_is_an_answer_too() {
    let output = compile(&question("forbid (principal, action, resource) when { 1 };").frame());

    assert!(output.status.success(), "{output:?}");
    assert!(matches!(Answer::parse(&output.stdout), Ok(Answer::Refused { .. })));
}

#[test]
fn the_deepest_condition_comes_out_of_the_answer_as_it_went_in() {
    // As deep as the guard lets through; either refused, or what is written can be read.
    let body = "(principal.gid == 0 && (principal.gid == 1 || ".repeat(22);
    let text =
        format!("forbid (principal, action, resource) when {{ {body}true{} }};", "))".repeat(22));

    let output = compile(&question(&text).frame());

    assert!(matches!(Answer::parse(&output.stdout), Ok(Answer::Read { .. })), "{output:?}");
}

#[test]
fn what_is_no_frame_ends_it_without_an_answer() {
    let too_long = u32::try_from(QUESTION_MAX + 1).expect("it fits").to_le_bytes();
    for input in [&b""[..], b"\x01", b"\x02\0\0\0{", b"\x02\0\0\0{}", &too_long] {
        let output = compile(input);

        assert_eq!(output.status.code(), Some(1), "{input:?}: {output:?}");
        assert_eq!(output.stdout, b"", "{input:?}");
    }
}
