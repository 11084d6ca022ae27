//! `outrigger update` on a machine's journal, without a repository: where releases stand, their stories, and the
//! administrator's hand, with a host and without one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outrigger_api::control::{Difference, ReleaseName, Request, Response, Trial};
use outrigger_api::release::{Part, State};
use outrigger_api::{Event, Verdict};
use outrigger_update::store::{Digest, Offer, Rejection, ReleaseId, Store};
use rustix::process::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use crate::host::{FakeHost, Ran, outrigger};
use crate::samples;

const ENGINE: &str = "acme-av";

/// A machine's state folder and its `updates.toml`.
struct Machine {
    folder: TempDir,
    /// The time at which the next thing happens, in minutes.
    minute: i64,
}

impl Machine {
    /// One without a release, with `policy` in its file and a host where `socket` says; none where no root is,
    /// since the tool would refuse, which is told.
    fn new(policy: &str, socket: &Path) -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("skipped: outrigger update is root's");
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        let state = folder.path().join("state");
        fs::create_dir(&state).expect("a folder in it");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("ours");
        let text = format!("state_dir = {state:?}\ncontrol_socket = {socket:?}\n{policy}");
        fs::write(folder.path().join("updates.toml"), text).expect("a file in it");
        Some(Self { folder, minute: 0 })
    }

    /// One without a host.
    fn alone(policy: &str) -> Option<Self> {
        Self::new(policy, Path::new("/nonexistent/control.sock"))
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn store(&self) -> Store {
        Store::open(&self.state()).expect("the store")
    }

    fn now(&mut self) -> Timestamp {
        self.minute += 1;
        let begin: Timestamp = "2026-11-20T10:00:00Z".parse().expect("a time");
        begin.checked_add(jiff::SignedDuration::from_mins(self.minute)).expect("in range")
    }

    /// A release that was tried and lies in its slot.
    fn tried(&mut self, part: Part, version: &str) -> ReleaseId {
        let mut package = [0; 32];
        package[..version.len()].copy_from_slice(version.as_bytes());
        let offer = Offer {
            engine: samples::name(ENGINE),
            part,
            version: version.parse().expect("a version"),
            package: Digest(package),
            repository: "acme".to_owned(),
        };
        let mut store = self.store();
        let id = store.offer(&offer, self.now()).expect("offered");
        store.advance(id, State::Verified, "812 bytes, as signed", self.now()).expect("verified");
        let nothing = |_: std::os::fd::BorrowedFd<'_>| Ok::<_, std::io::Error>(Digest([0; 32]));
        store.stage(id, 1, self.now(), nothing).expect("staged");
        store.advance(id, State::Preflight, "begun", self.now()).expect("in preflight");
        id
    }

    fn in_shadow(&mut self, part: Part, version: &str) -> ReleaseId {
        let id = self.tried(part, version);
        self.store().advance(id, State::Shadow, "it passed preflight", self.now()).expect("shadow");
        id
    }

    fn on_probation(&mut self, part: Part, version: &str) -> ReleaseId {
        let id = self.in_shadow(part, version);
        let detail = "1,204 questions judged, 0 missed, 0 not compared; no difference";
        self.store().begin_probation(&[id], detail, self.now()).expect("on probation");
        id
    }

    fn active(&mut self, part: Part, version: &str) -> ReleaseId {
        let id = self.on_probation(part, version);
        let now = self.now();
        self.store().confirm(&[id], "20 s without a bad sign", now).expect("active");
        id
    }

    fn rolled_back(&mut self, part: Part, version: &str) {
        self.on_probation(part, version);
        let text =
            "it crashed once, over the limit of 0; killed by signal 11 while it held case 17";
        let bad = Rejection::for_conduct("engine-crashed", text);
        self.store().roll_back(&samples::name(ENGINE), &bad, self.now()).expect("back");
    }

    fn update(&self, arguments: &[&str]) -> Ran {
        let file = self.folder.path().join("updates.toml");
        let mut all = vec!["update", "--config", file.to_str().expect("UTF-8")];
        all.extend(arguments);
        outrigger(Path::new("/nonexistent"), &all)
    }

    fn version(&self, part: Part) -> Option<String> {
        let reader = Store::open_read(&self.state()).expect("the journal");
        let active = reader.active(&samples::name(ENGINE), part).expect("whole");
        active.map(|active| active.version.to_string())
    }
}

fn ended(ran: &Ran, code: i32) {
    assert_eq!(ran.code, Some(code), "{}\n{}", ran.out, ran.err);
}

/// A host that docks the engine and answers what changes something with `done`.
fn docking(done: &'static str, trials: Vec<Trial>) -> FakeHost {
    FakeHost::by(move |request| match request {
        Request::Engines => {
            let mut engine = samples::engine();
            engine.name = samples::name(ENGINE);
            Response::Engines { engines: vec![engine] }
        }
        Request::Trials => Response::Trials { trials: trials.clone() },
        request => {
            let asked = serde_json::to_string(request).expect("plain data");
            Response::Done { message: format!("{done}: {asked}") }
        }
    })
}

fn trial() -> Trial {
    let difference = |event: Event, shadow, rule: &str, count, guarded| Difference {
        event: event.name().to_owned(),
        active: if shadow == Verdict::Deny { Verdict::Allow } else { Verdict::Deny },
        shadow,
        rule: rule.to_owned(),
        count,
        objects: 3,
        path: Some("/usr/lib/\u{202e}x86_64-linux-gnu/libc.so.6".to_owned()),
        guarded,
    };
    Trial {
        engine: samples::name(ENGINE),
        releases: vec![ReleaseName { part: Part::Content, version: "1.2.0".to_owned() }],
        state: State::Shadow,
        waits_for: Some("12 of 100 questions judged".to_owned()),
        served_ms: 11_000,
        length_ms: 10_000,
        judged: 1204,
        missed: 1,
        uncompared: 7,
        differences: vec![
            difference(Event::FileOpen, Verdict::Deny, "acme/rule-7", 12, true),
            difference(Event::ProcessExec, Verdict::Allow, "", 2, false),
        ],
        more: 3,
    }
}

#[test]
fn status_without_a_host_says_what_waits_and_what_is_in_force() {
    let policy = "[rollout]\nring = 2\nseed = \"x\"\napproval = \"code\"\n\
                  [[pin]]\nengine = \"acme-av\"\npart = \"code\"\nbehind = 1\n";
    let Some(mut machine) = Machine::alone(policy) else { return };
    machine.active(Part::Code, "0.9.0");
    machine.active(Part::Code, "1.0.0");
    machine.active(Part::Content, "1.0.0");
    machine.rolled_back(Part::Content, "1.1.0");
    machine.in_shadow(Part::Content, "1.2.0");
    machine.tried(Part::Code, "2.0.0");

    let ran = machine.update(&["status"]);

    ended(&ran, 0);
    assert_eq!(ran.out, include_str!("pages/update-status.txt"));
}

#[test]
fn status_with_a_host_shows_trials_with_where_they_differ() {
    let host = docking("", vec![trial()]);
    let Some(mut machine) = Machine::new("", &host.socket()) else { return };
    machine.active(Part::Content, "1.1.0");
    machine.in_shadow(Part::Content, "1.2.0");

    let ran = machine.update(&["status"]);
    let json = machine.update(&["status", "--json"]);

    ended(&ran, 0);
    assert_eq!(ran.out, include_str!("pages/update-trial.txt"));
    let told: Value = serde_json::from_str(&json.out).expect("a line of JSON");
    assert_eq!(told["trials"][0]["differences"][0]["rule"], "acme/rule-7");
    assert_eq!(told["waiting"], Value::Array(vec![]), "it runs, and does not wait");
    assert_eq!(told["in_force"][0]["version"], "1.1.0");
}

#[test]
fn history_is_a_line_a_release_and_the_whole_story_of_one_that_is_named() {
    let Some(mut machine) = Machine::alone("") else { return };
    machine.active(Part::Content, "1.0.0");
    machine.rolled_back(Part::Content, "1.1.0");
    machine.active(Part::Content, "1.2.0");

    let list = machine.update(&["history"]);
    let story = machine.update(&["history", ENGINE, "1.1.0"]);
    let json = machine.update(&["history", "--json"]);

    ended(&list, 0);
    assert_eq!(list.out, include_str!("pages/update-history.txt"));
    ended(&story, 0);
    assert_eq!(story.out, include_str!("pages/update-story.txt"));
    let lines: Vec<Value> =
        json.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["transitions"][6]["reason"], "engine-crashed");
    let unknown = machine.update(&["history", ENGINE, "9.0.0"]);
    ended(&unknown, 2);
    assert!(unknown.err.contains("no 9.0.0 of acme-av was ever offered here"), "{}", unknown.err);
}

#[test]
fn back_without_a_host_puts_in_force_what_was_before_and_remembers_the_other() {
    let Some(mut machine) = Machine::alone("") else { return };
    machine.active(Part::Content, "1.0.0");
    let left = machine.active(Part::Content, "1.1.0");

    let ran = machine.update(&["back", ENGINE, "--part", "content"]);

    ended(&ran, 0);
    assert!(ran.out.contains("acme-av content 1.1.0  1.0.0 is in force again"), "{}", ran.out);
    assert_eq!(machine.version(Part::Content).as_deref(), Some("1.0.0"));
    let reader = Store::open_read(&machine.state()).expect("the journal");
    let package = reader.release(left).expect("it is there").package;
    let bad = reader.known_bad(&package).expect("whole").expect("it is remembered");
    assert_eq!(bad.reason, "sent-back");
    let again = machine.update(&["back", ENGINE]);
    ended(&again, 1);
    assert!(again.out.contains("no release that was in force before"), "{}", again.out);
}

#[test]
fn with_a_host_stop_and_back_are_the_hosts() {
    let host = docking("done", Vec::new());
    let Some(mut machine) = Machine::new("", &host.socket()) else { return };
    machine.active(Part::Content, "1.0.0");
    machine.on_probation(Part::Content, "1.1.0");

    let stopped = machine.update(&["stop", ENGINE]);
    let back = machine.update(&["back", ENGINE, "--part", "content"]);

    ended(&stopped, 0);
    let asked = "{\"request\":\"stop-trial\",\"engine\":\"acme-av\"}";
    assert!(stopped.out.contains(asked), "{}", stopped.out);
    ended(&back, 0);
    let asked = "{\"request\":\"go-back\",\"engine\":\"acme-av\",\"part\":\"content\"}";
    assert!(back.out.contains(asked), "{}", back.out);
    assert_eq!(
        machine.version(Part::Content).as_deref(),
        Some("1.1.0"),
        "the journal is left alone"
    );
}

#[test]
fn a_host_that_refuses_is_told_with_its_reason() {
    let host = FakeHost::by(|request| match request {
        Request::Engines => {
            let mut engine = samples::engine();
            engine.name = samples::name(ENGINE);
            Response::Engines { engines: vec![engine] }
        }
        Request::Trials => Response::Trials { trials: vec![trial()] },
        _ => Response::Error { message: "no release of it is on its trial".to_owned() },
    });
    let Some(machine) = Machine::new("", &host.socket()) else { return };

    let ran = machine.update(&["stop", ENGINE]);

    ended(&ran, 1);
    assert_eq!(ran.out, "  refused    acme-av  no release of it is on its trial\n");
}

#[test]
fn stop_without_a_host_ends_shadow_and_probation_and_holds_nothing_against_them() {
    let Some(mut machine) = Machine::alone("") else { return };
    machine.active(Part::Content, "1.0.0");
    let probation = machine.on_probation(Part::Content, "1.1.0");
    let shadow = machine.in_shadow(Part::Code, "2.0.0");

    let ran = machine.update(&["stop", ENGINE]);

    ended(&ran, 0);
    assert_eq!(machine.version(Part::Content).as_deref(), Some("1.0.0"));
    let reader = Store::open_read(&machine.state()).expect("the journal");
    for id in [probation, shadow] {
        let release = reader.release(id).expect("it is there");
        assert_eq!(release.state, State::Rejected);
        assert_eq!(reader.known_bad(&release.package).expect("whole"), None);
    }
    let again = machine.update(&["stop", ENGINE]);
    ended(&again, 1);
    assert!(again.out.contains("nothing of it is in shadow or on probation"), "{}", again.out);
}

#[test]
fn approve_says_yes_to_what_was_tried_and_to_nothing_else() {
    let Some(mut machine) = Machine::alone("[rollout]\napproval = \"all\"\n") else { return };
    let id = machine.tried(Part::Content, "1.0.0");

    let other = machine.update(&["approve", ENGINE, "2.0.0"]);
    let code = machine.update(&["approve", ENGINE, "--part", "code"]);
    let approved = || {
        let reader = Store::open_read(&machine.state()).expect("the journal");
        reader.is_approved(id).expect("it is there")
    };
    let before = approved();
    let ran = machine.update(&["approve", ENGINE, "1.0.0"]);

    ended(&other, 1);
    ended(&code, 1);
    assert!(!before);
    ended(&ran, 0);
    assert!(ran.out.contains("approved   acme-av content 1.0.0  by "), "{}", ran.out);
    assert!(approved());
    let status = machine.update(&["status"]);
    assert!(status.out.contains("approved; go on with: outrigger update apply"), "{}", status.out);
}

#[test]
fn forget_bad_lifts_one_by_version_or_by_digest() {
    let Some(mut machine) = Machine::alone("") else { return };
    machine.active(Part::Content, "1.0.0");
    machine.rolled_back(Part::Content, "1.1.0");
    machine.rolled_back(Part::Content, "1.2.0");
    let bad = || {
        let reader = Store::open_read(&machine.state()).expect("the journal");
        let all = reader.known_bad_all().expect("whole");
        all.into_iter().map(|(release, _)| release).collect::<Vec<_>>()
    };
    assert_eq!(bad().len(), 2);

    let by_version = machine.update(&["forget-bad", ENGINE, "1.1.0"]);
    let left = bad();
    let by_digest = machine.update(&["forget-bad", &left[0].package.to_string()]);

    ended(&by_version, 0);
    assert!(
        by_version.out.contains("acme-av content 1.1.0  it is taken again"),
        "{}",
        by_version.out
    );
    assert_eq!(left.len(), 1);
    ended(&by_digest, 0);
    assert!(bad().is_empty());
    let again = machine.update(&["forget-bad", ENGINE, "1.1.0"]);
    ended(&again, 1);
    assert!(again.out.contains("it is not known to be bad"), "{}", again.out);
    let neither = machine.update(&["forget-bad", ENGINE]);
    ended(&neither, 2);
    assert!(neither.err.contains("64 hexadecimal digits"), "{}", neither.err);
}

#[test]
fn what_hangs_is_not_taken_for_no_host() {
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let Some(mut machine) = Machine::new("", &socket) else { return };
    machine.active(Part::Content, "1.0.0");
    machine.active(Part::Content, "1.1.0");

    let ran = machine.update(&["back", ENGINE, "--timeout", "0.05"]);

    ended(&ran, 3);
    assert_eq!(machine.version(Part::Content).as_deref(), Some("1.1.0"));
}
