//! What each command asks, and its exit status.

use outrigger_api::control::Response;
use outrigger_api::coverage::Level;

use crate::host::{FakeHost, command, finish};
use crate::samples;

fn done(arguments: &[&str]) -> String {
    let message = "it was done".into();
    let (request, ran) = FakeHost::answering(&[Response::Done { message }]).serve(arguments);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (Some(0), "it was done\n", ""),
        "{arguments:?}"
    );
    request
}

#[test]
fn every_command_asks_what_the_protocol_says() {
    assert_eq!(done(&["reload"]), "{\"request\":\"reload\"}\n");
    assert_eq!(done(&["flush"]), "{\"request\":\"flush\"}\n");
    assert_eq!(done(&["upgrade"]), "{\"request\":\"upgrade\",\"binary\":null}\n");
    assert_eq!(
        done(&["upgrade", "/opt/new/outriggerd"]),
        "{\"request\":\"upgrade\",\"binary\":\"/opt/new/outriggerd\"}\n"
    );
    assert_eq!(
        done(&["engine", "restart", "hashlist"]),
        "{\"request\":\"engine\",\"name\":\"hashlist\",\"action\":\"restart\"}\n"
    );
    assert_eq!(
        done(&["engine", "quarantine", "hashlist"]),
        "{\"request\":\"engine\",\"name\":\"hashlist\",\"action\":\"quarantine\"}\n"
    );
    assert_eq!(
        done(&["engine", "release", "hashlist"]),
        "{\"request\":\"engine\",\"name\":\"hashlist\",\"action\":\"release\"}\n"
    );
    assert_eq!(
        done(&["engine", "reload", "hashlist"]),
        "{\"request\":\"engine\",\"name\":\"hashlist\",\"action\":\"reload\"}\n"
    );
    assert_eq!(done(&["status"]), "{\"request\":\"status\"}\n");
    assert_eq!(done(&["engines"]), "{\"request\":\"engines\"}\n");
    assert_eq!(done(&["top", "--once"]), "{\"request\":\"ledger\"}\n");
    assert_eq!(done(&["doctor"]), "{\"request\":\"doctor\"}\n");
    assert_eq!(done(&["explain", "17"]), "{\"request\":\"explain\",\"case\":17}\n");
}

#[test]
fn a_relative_binary_is_made_absolute_for_the_host() {
    let request = done(&["upgrade", "target/outriggerd"]);

    let here = std::env::current_dir().expect("a working directory");
    let path = here.join("target/outriggerd");
    assert!(request.contains(path.to_str().expect("UTF-8")), "{request}");
}

#[test]
fn json_is_the_hosts_answer_on_every_command() {
    let json = |response: Response, arguments: &[&str]| {
        let line = serde_json::to_string(&response).expect("plain data") + "\n";
        let ran = FakeHost::answering(&[response]).run(arguments);
        assert_eq!((ran.out, ran.err), (line, String::new()), "{arguments:?}");
        ran.code
    };
    let done = || Response::Done { message: "done".into() };

    assert_eq!(json(Response::Status(Box::new(samples::status())), &["status", "--json"]), Some(0));
    let engines = vec![samples::engine()];
    assert_eq!(json(Response::Engines { engines }, &["engines", "--json"]), Some(0));
    let decision = Response::Decision(Box::new(samples::decision()));
    assert_eq!(json(decision, &["explain", "17", "--json"]), Some(0));
    assert_eq!(json(Response::Doctor(samples::coverage()), &["--json", "doctor"]), Some(0));
    assert_eq!(json(done(), &["engine", "restart", "hashlist", "--json"]), Some(0));
    assert_eq!(json(done(), &["reload", "--json"]), Some(0));
    assert_eq!(json(done(), &["flush", "--json"]), Some(0));
    assert_eq!(json(done(), &["upgrade", "--json"]), Some(0));
    let refused = Response::Error { message: "no".into() };
    assert_eq!(json(refused, &["flush", "--json"]), Some(1));
}

#[test]
fn what_a_newer_host_adds_stays_in_the_json() {
    let line = "{\"response\":\"done\",\"message\":\"ok\",\"since_version\":9}\n";

    let ran = FakeHost::sending(line.into()).run(&["flush", "--json"]);

    assert_eq!((ran.code, ran.out.as_str()), (Some(0), line));
}

#[test]
fn a_status_that_is_not_healthy_exits_with_one() {
    let mut status = samples::status();
    status.healthy = false;
    status.problems = vec!["engine hashlist is in quarantine".into()];

    assert_eq!(
        FakeHost::answering(&[Response::Status(Box::new(status.clone()))]).run(&["status"]).code,
        Some(1)
    );
    assert_eq!(
        FakeHost::answering(&[Response::Status(Box::new(status))]).run(&["status", "--json"]).code,
        Some(1)
    );
}

#[test]
fn healthy_with_problems_is_not_healthy() {
    let mut status = samples::status();
    status.problems = vec!["a volume is not covered".into()];

    let ran = FakeHost::answering(&[Response::Status(Box::new(status))]).run(&["status"]);

    assert_eq!(ran.code, Some(1));
    assert!(ran.out.starts_with("DEGRADED"), "{}", ran.out);
}

#[test]
fn coverage_that_is_not_whole_exits_with_one() {
    let mut coverage = samples::coverage();
    coverage.events[1].level = Level::Notify;

    assert_eq!(FakeHost::answering(&[Response::Doctor(coverage)]).run(&["doctor"]).code, Some(1));
}

#[test]
fn a_host_that_protects_nothing_is_no_good_answer() {
    let mut coverage = samples::coverage();
    coverage.volumes.clear();

    let ran = FakeHost::answering(&[Response::Doctor(coverage)]).run(&["doctor"]);

    assert_eq!(ran.code, Some(1));
    assert!(ran.out.starts_with("UNPROTECTED"), "{}", ran.out);
}

#[test]
fn a_refusal_is_shown_and_exits_with_one() {
    let message = "case 99 is not known: the last 10000 are kept".into();

    let ran = FakeHost::answering(&[Response::Error { message }]).run(&["explain", "99"]);

    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.out, "refused: case 99 is not known: the last 10000 are kept\n");
}

#[test]
fn wrong_arguments_exit_with_two_and_ask_nothing() {
    let code =
        |arguments: &[&str]| finish(command("/nonexistent/sock".as_ref()).args(arguments)).code;

    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["explain", "0"]), Some(2));
    assert_eq!(code(&["explain", "x"]), Some(2));
    assert_eq!(code(&["engine", "restart"]), Some(2));
    assert_eq!(code(&["engine", "restart", "Not_A_Name"]), Some(2));
    assert_eq!(code(&["status", "--timeout", "0"]), Some(2));
    assert_eq!(code(&["upgrade", &format!("/{}", "x".repeat(4096))]), Some(2));
}

#[test]
fn help_names_every_exit_status() {
    let ran = finish(command("/nonexistent/sock".as_ref()).arg("--help"));

    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains("Exit status:"), "{}", ran.out);
    assert!(ran.out.contains("  3  no host answered"), "{}", ran.out);
}
