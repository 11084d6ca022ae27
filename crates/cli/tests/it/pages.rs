//! What a person sees, to the letter. The pages stand in `tests/it/pages/`.

use outrigger_api::Coverage;
use outrigger_api::control::{
    EngineState, PlaneStatus, PolicyFile, PolicyStatus, Recording, Response,
};
use outrigger_api::coverage::{Level, Shrunk};

use crate::host::{FakeHost, command, finish};
use crate::samples;

fn page(response: Response, arguments: &[&str]) -> String {
    let ran = FakeHost::answering(&[response]).run(arguments);
    assert_eq!(ran.err, "");
    ran.out
}

#[test]
fn status_of_a_healthy_host() {
    let out = page(Response::Status(Box::new(samples::status())), &["status"]);

    assert_eq!(out, include_str!("pages/healthy.txt"));
}

#[test]
fn status_of_a_degraded_host_begins_with_every_problem() {
    let mut status = samples::status();
    status.healthy = false;
    status.problems = vec![
        "engine hashlist is in quarantine: 5 restarts in 60 s".into(),
        "/srv/data (nfs4) is not covered: fanotify refuses it".into(),
    ];
    status.engines[0].state = EngineState::Quarantined;
    status.engines[0].restarts_left = (0, 5);
    status.engines[0].latency_ns = None;
    status.engines[0].content = None;
    let mut volume = status.coverage.volumes[0].clone();
    volume.path = "/srv/data".into();
    volume.fs_type = "nfs4".into();
    volume.covered = false;
    volume.cached = false;
    volume.reason = Some("fanotify_mark: EXDEV".into());
    status.coverage.volumes.push(volume);
    status.recording = Some(Recording {
        content: "sums".into(),
        kept: 12_000,
        repeated: 400_000,
        lost: 7,
        unread: 0,
        unwritten: 3,
        bytes: 3 << 20,
        bytes_max: 64 << 20,
        files: 2,
        trouble: Some("No space left on device (os error 28)".into()),
    });

    let out = page(Response::Status(Box::new(status)), &["status"]);

    assert_eq!(out, include_str!("pages/degraded.txt"));
}

#[test]
fn engines_in_full() {
    let whole = samples::engine();
    let mut ill = samples::engine();
    ill.name = samples::name("slowpoke");
    ill.state = EngineState::Restarting;
    ill.pid = None;
    ill.required = false;
    ill.content = None;
    ill.sandbox_missing = vec!["cgroup memory limit".into(), "Landlock scopes".into()];
    ill.restarts_left = (0, 5);
    ill.refused_calls = 1;
    ill.last_fault = Some("killed by signal 11\nwhile it held case 17".into());
    ill.poisoned_objects = 1;
    ill.latency_ns = None;

    let out = page(Response::Engines { engines: vec![whole, ill] }, &["engines"]);

    assert_eq!(out, include_str!("pages/engines.txt"));
}

fn ledger() -> Response {
    serde_json::from_str(include_str!("pages/ledger.json")).expect("a response")
}

#[test]
fn the_ledger_as_one_table() {
    let out = page(ledger(), &["top", "--once"]);

    assert_eq!(out, include_str!("pages/ledger.txt"));
}

#[test]
fn the_ledgers_keys_are_the_ones_that_were_promised() {
    let out = page(ledger(), &["top", "--once", "--json"]);

    assert_eq!(out, include_str!("pages/ledger.json"));
}

#[test]
fn where_there_is_no_terminal_top_says_so_and_prints_one_table() {
    let ran = FakeHost::answering(&[ledger()]).run(&["top"]);

    assert_eq!((ran.code, ran.out.as_str()), (Some(0), include_str!("pages/ledger.txt")));
    assert!(ran.err.starts_with("outrigger: this is no terminal"), "{}", ran.err);
}

#[test]
fn a_decision_explained() {
    let decision = Response::Decision(Box::new(samples::decision()));

    assert_eq!(page(decision, &["explain", "17"]), include_str!("pages/explain.txt"));
}

#[test]
fn a_fallback_explained() {
    let mut decision = samples::harmless();
    decision.decided_by = "fallback: engine-slow".into();
    decision.took_ns = 50_100_000;
    decision.uid = None;
    decision.program = None;
    decision.cached = false;
    decision.votes[0].verdict = None;
    decision.votes[0].took_ns = None;
    decision.votes[0].missing = Some("engine-slow".into());

    let out = page(Response::Decision(Box::new(decision)), &["explain", "18"]);

    assert_eq!(out, include_str!("pages/fallback.txt"));
}

#[test]
fn the_doctor_says_what_passes_unseen_and_what_to_do() {
    let mut coverage = samples::coverage();
    coverage.events[0].level = Level::Notify;
    coverage.events[0].reason = Some("fanotify_init: EPERM (CAP_SYS_ADMIN is missing)".into());

    assert_eq!(page(Response::Doctor(coverage), &["doctor"]), include_str!("pages/doctor.txt"));
}

/// As [`samples::coverage`], with three events that engines cannot be asked about.
fn second_plane() -> Coverage {
    let mut coverage = samples::coverage();
    for (name, level) in [
        ("file.rename", Level::Rule),
        ("net.connect", Level::Notify),
        ("kernel.settime", Level::Missing),
    ] {
        let mut event = coverage.events[0].clone();
        event.event = name.into();
        event.level = level;
        event.sensor = "lsm".into();
        event.reason = (level != Level::Rule).then(|| "bpf(BPF_PROG_LOAD): EPERM".into());
        event.gaps = vec![];
        coverage.events.push(event);
    }
    coverage
}

#[test]
fn events_that_nobody_is_asked_about_are_counted_by_level_unless_each_is_wanted() {
    let short = page(Response::Doctor(second_plane()), &["doctor"]);
    let long = page(Response::Doctor(second_plane()), &["doctor", "--events"]);

    let levels = "\nOther events\n\
                  \x20 rule     1  rules decide, nobody is asked\n\
                  \x20 notify   1  seen, not decided\n\
                  \x20 missing  1  not seen\n\
                  \x20 • 2 events not more, because bpf(BPF_PROG_LOAD): EPERM\n\
                  \x20 `outrigger doctor --events` shows each with its reason\n";
    assert!(short.contains(levels), "{short}");
    assert!(!short.contains("net.connect"), "{short}");
    assert!(
        long.contains("net.connect  notify  by lsm") && !long.contains("Other events"),
        "{long}"
    );
}

#[test]
fn less_than_before_is_shown_with_what_to_do_and_is_no_good_answer() {
    let mut coverage = samples::coverage();
    coverage.shrunk = (0..7)
        .map(|number| Shrunk {
            event: format!("event.{number}"),
            was: Level::Rule,
            was_on: "6.1.0".into(),
            is: Level::Missing,
            reason: Some("EPERM".into()),
        })
        .collect();
    let ran = FakeHost::answering(&[Response::Doctor(coverage.clone())]).run(&["doctor"]);
    let long = page(Response::Doctor(coverage), &["doctor", "--events"]);

    assert_eq!(ran.code, Some(1));
    let first = "\nLess than before\n  • event.0 was rule on Linux 6.1.0 and is missing: EPERM\n";
    assert!(ran.out.contains(first) && !ran.out.contains("event.5"), "{}", ran.out);
    let rest = "  2 more events: `outrigger doctor --events` shows each\n\
                \x20 → if it is to stay so: outrigger coverage accept\n";
    assert!(ran.out.contains(rest), "{}", ran.out);
    assert!(long.contains("event.6") && !long.contains("shows each"), "{long}");
}

#[test]
fn status_says_which_rules_are_in_force_and_why_newer_ones_are_not() {
    let mut status = samples::status();
    status.policy = Some(PolicyStatus {
        generation: 4,
        rules: 17,
        denied: 3,
        allowed: 2,
        would_deny: 1,
        monitored: 2,
        since_ms: 1_721_362_140_001,
        files: vec![PolicyFile { path: "/etc/outrigger/policy/a.cedar".into(), rules: 17 }],
        problem: Some("a.cedar:3: no such attribute".into()),
    });
    status.plane = Some(PlaneStatus {
        told: vec!["file.rename".into()],
        ruled: vec!["file.rename".into(), "net.connect".into()],
        lost: 0,
        ..PlaneStatus::default()
    });

    let out = page(Response::Status(Box::new(status)), &["status"]);

    let rules = "\nRules\n\
                 \x20 • what lies in the folder is not in force: a.cedar:3: no such attribute\n\
                 \x20 in force        17  set 4, from 1 file\n\
                 \x20 monitored        2  what they deny goes through and is told\n\
                 \x20 events decided   2  in the kernel\n\
                 \x20 events told      1  by the same programs\n";
    assert!(out.contains(rules), "{out}");
}

fn watched() -> [Response; 3] {
    let mut monitored = samples::harmless();
    monitored.case = 19;
    monitored.not_enforced = true;
    monitored.decided_by = "engine hashlist".into();
    [samples::decision(), samples::harmless(), monitored]
        .map(|decision| Response::Decision(Box::new(decision)))
}

#[test]
fn watch_shows_a_line_per_decision() {
    let ran = FakeHost::answering(&watched()).run(&["watch"]);

    assert_eq!(ran.out, include_str!("pages/watch.txt"));
}

#[test]
fn a_watch_that_misses_decisions_says_how_many() {
    let missed = || FakeHost::answering(&[Response::Missed { count: 1200 }]);

    let human = missed().run(&["watch", "--denied"]).out;
    let json = missed().run(&["watch", "--denied", "--json"]).out;

    assert_eq!(human, "1,200 decisions missed: they came faster than they were read\n");
    assert_eq!(json, "{\"response\":\"missed\",\"count\":1200}\n");
}

#[test]
fn watch_denied_leaves_out_what_was_allowed() {
    let ran = FakeHost::answering(&watched()).run(&["watch", "--denied", "--json"]);

    let cases: Vec<_> = ran.out.lines().map(case).collect();
    assert_eq!(cases, [17, 19]);
}

fn case(line: &str) -> u64 {
    match serde_json::from_str(line).expect("a response") {
        Response::Decision(decision) => decision.case,
        other => panic!("{other:?} is no decision"),
    }
}

#[test]
fn a_hostile_path_does_not_reach_the_terminal() {
    let mut decision = samples::decision();
    decision.path = Some("/tmp/\u{1b}]0;owned\u{7}\n\u{202e}cod.exe".into());
    let response = || Response::Decision(Box::new(decision.clone()));

    let human = page(response(), &["explain", "17"]);
    let json = page(response(), &["explain", "17", "--json"]);

    assert!(human.contains(r"/tmp/\u{1b}]0;owned\u{7}\n\u{202e}cod.exe"), "{human}");
    assert!(!json.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{json}");
}

#[test]
fn colours_are_for_terminals_and_for_who_asks() {
    let run = |wish: Option<(&str, &str)>| {
        let host = FakeHost::answering(&[Response::Status(Box::new(samples::status()))]);
        let mut command = command(&host.socket());
        finish(command.envs(wish).arg("status")).out
    };

    assert!(run(Some(("CLICOLOR_FORCE", "1"))).starts_with("\u{1b}[32mhealthy\u{1b}[0m"));
    assert!(!run(Some(("NO_COLOR", "1"))).contains('\u{1b}'));
    assert!(!run(None).contains('\u{1b}'));
}
