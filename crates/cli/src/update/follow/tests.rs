use std::collections::VecDeque;

use jiff::Timestamp;
use outrigger_api::control::{Difference, ReleaseName};
use outrigger_api::{Event, Verdict};
use outrigger_update::store::{Digest, Offer, Rejection};
use tempfile::TempDir;

use super::*;

/// A machine with 1.0.0 of some content in force, and 1.1.0 in shadow.
struct Machine {
    folder: TempDir,
    tried: Vec<Tried>,
}

fn engine() -> EngineName {
    "acme-av".parse().expect("a name")
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

impl Machine {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut machine = Self { folder, tried: Vec::new() };
        let old = machine.brought("1.0.0");
        let mut store = machine.store();
        store.begin_probation(&[old], "it docked", now()).expect("on probation");
        store.confirm(&[old], "no bad sign", now()).expect("active");
        drop(store);
        let new = machine.brought("1.1.0");
        machine.tried.push(Tried::new(Part::Content, new, Version::new(1, 1, 0)));
        machine
    }

    fn store(&self) -> Store {
        Store::open(self.folder.path()).expect("the store")
    }

    /// A release in shadow.
    fn brought(&self, version: &str) -> ReleaseId {
        let version: Version = version.parse().expect("a version");
        let package = Digest([u8::try_from(version.minor).expect("small"); 32]);
        let (part, repository) = (Part::Content, "acme".to_owned());
        let offer = Offer { engine: engine(), part, version, package, repository };
        let mut store = self.store();
        let id = store.offer(&offer, now()).expect("offered");
        store.advance(id, State::Verified, "", now()).expect("verified");
        let nothing = |_: std::os::fd::BorrowedFd<'_>| Ok::<_, std::io::Error>(Digest([0; 32]));
        store.stage(id, 1, now(), nothing).expect("staged");
        store.advance(id, State::Preflight, "begun", now()).expect("in preflight");
        store.advance(id, State::Shadow, "it passed preflight", now()).expect("in shadow");
        id
    }

    /// What is told, and how it ends, while `looks` go by.
    fn look_on(&self, json: bool, looks: Vec<Look<'_>>) -> (Ended, String) {
        let mut out = Vec::new();
        let mut steps = Steps::new(&mut out, json);
        let engine = engine();
        let mut told = Told::begin(self.folder.path(), &engine, &self.tried).expect("a story");
        let mut host = Script { looks: looks.into() };
        let ended = told.look_on(&mut host, &mut steps).expect("it is told");
        drop(steps);
        let text = String::from_utf8(out).expect("UTF-8");
        (ended, anstream::adapter::strip_str(&text).to_string())
    }

    fn begin_probation(&self) {
        let ids: Vec<ReleaseId> = self.tried.iter().map(|one| one.release).collect();
        let detail = "1,204 questions judged, 0 missed, 0 not compared; no difference";
        self.store().begin_probation(&ids, detail, now()).expect("on probation");
    }

    fn confirm(&self) {
        let ids: Vec<ReleaseId> = self.tried.iter().map(|one| one.release).collect();
        self.store().confirm(&ids, "20 s without a bad sign", now()).expect("active");
    }

    fn roll_back(&self) {
        let bad = Rejection::for_conduct("engine-crashed", "it crashed once, over the limit of 0");
        self.store().roll_back(&engine(), &bad, now()).expect("back");
    }

    fn fail_in_shadow(&self) {
        let bad =
            Rejection::for_conduct("new-denials", "over 3 different objects are newly denied");
        self.store().reject(self.tried[0].release, &bad, now()).expect("rejected");
    }
}

/// What happens before the host is looked at, and the trial that it then tells of.
type Look<'a> = (Box<dyn Fn() + 'a>, Option<Trial>);

/// Plays looks, and is interrupted when there are no more.
struct Script<'a> {
    looks: VecDeque<Look<'a>>,
}

impl Watched for Script<'_> {
    fn trials(&mut self) -> Vec<Trial> {
        let Some((act, trial)) = self.looks.pop_front() else { return Vec::new() };
        act();
        trial.into_iter().collect()
    }

    fn wait(&mut self) -> bool {
        self.looks.is_empty()
    }
}

fn trial(state: State) -> Trial {
    Trial {
        engine: engine(),
        releases: vec![ReleaseName { part: Part::Content, version: "1.1.0".to_owned() }],
        state,
        waits_for: None,
        served_ms: 3000,
        length_ms: 10_000,
        judged: 1204,
        missed: 1,
        uncompared: 0,
        differences: vec![Difference {
            event: Event::FileOpen.name().to_owned(),
            active: Verdict::Allow,
            shadow: Verdict::Deny,
            rule: "acme/rule-7".to_owned(),
            count: 12,
            objects: 4,
            path: Some("/usr/bin/tool".to_owned()),
            guarded: false,
        }],
        more: 0,
    }
}

fn nothing<'a>() -> Box<dyn Fn() + 'a> {
    Box::new(|| {})
}

#[test]
fn a_trial_that_goes_well_is_told_step_by_step() {
    let machine = Machine::new();

    let (ended, told) = machine.look_on(
        false,
        vec![
            (nothing(), Some(trial(State::Shadow))),
            (Box::new(|| machine.begin_probation()), Some(trial(State::Probation))),
            (nothing(), Some(trial(State::Probation))),
            (Box::new(|| machine.confirm()), None),
        ],
    );

    assert_eq!(ended, Ended::Well);
    assert_eq!(
        told,
        "  probation  acme-av content 1.1.0  1,204 questions judged, 0 missed, 0 not compared; no difference\n\
         \x20 active     acme-av content 1.1.0  20 s without a bad sign\n"
    );
}

#[test]
fn a_shadow_that_fails_is_told_with_where_it_differs() {
    let machine = Machine::new();

    let (ended, told) = machine.look_on(
        false,
        vec![
            (nothing(), Some(trial(State::Shadow))),
            (Box::new(|| machine.fail_in_shadow()), None),
        ],
    );

    assert_eq!(ended, Ended::Badly);
    let mut lines = told.lines();
    assert_eq!(
        lines.next(),
        Some(
            "  rejected   acme-av content 1.1.0  new-denials: over 3 different objects are newly denied"
        )
    );
    assert!(told.contains("file.open  allow    deny"), "{told}");
    assert!(told.contains("acme/rule-7  /usr/bin/tool"), "{told}");
}

#[test]
fn a_probation_that_fails_says_what_decides_again() {
    let machine = Machine::new();
    machine.begin_probation();

    let (ended, told) = machine.look_on(
        true,
        vec![(nothing(), Some(trial(State::Probation))), (Box::new(|| machine.roll_back()), None)],
    );

    assert_eq!(ended, Ended::Badly);
    let last: serde_json::Value = told
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .expect("a line of JSON");
    assert_eq!(last["step"], "rejected");
    assert_eq!(
        last["detail"],
        "engine-crashed: it crashed once, over the limit of 0; content 1.0.0 decides again"
    );
    let going = told.lines().filter(|line| line.starts_with("{\"trial\":")).count();
    assert_eq!(going, 1, "{told}");
}

#[test]
fn steps_that_were_too_quick_to_be_seen_are_told_all_the_same() {
    let machine = Machine::new();
    let all = || {
        machine.begin_probation();
        machine.confirm();
    };

    let (ended, told) = machine.look_on(false, vec![(Box::new(all), None)]);

    assert_eq!(ended, Ended::Well);
    let steps: Vec<&str> = told.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(steps, ["probation", "active"]);
}

#[test]
fn a_person_who_has_seen_enough_is_told_that_it_goes_on() {
    let machine = Machine::new();

    let (ended, told) = machine.look_on(false, vec![(nothing(), Some(trial(State::Shadow)))]);

    assert_eq!(ended, Ended::Left);
    assert_eq!(told, format!("  left       acme-av content 1.1.0  {INTERRUPTED}\n"));
}

#[test]
fn a_host_that_is_away_for_a_moment_is_waited_for_and_one_that_is_gone_is_not() {
    let machine = Machine::new();
    let mut looks: Vec<Look<'_>> = vec![(nothing(), Some(trial(State::Shadow)))];
    looks.extend((0..GRACE).map(|_| (nothing(), None)));
    looks.push((nothing(), Some(trial(State::Shadow))));
    looks.extend((0..=GRACE).map(|_| (nothing(), None)));

    let (ended, told) = machine.look_on(false, looks);

    assert_eq!(ended, Ended::Left);
    assert_eq!(told, format!("  left       acme-av content 1.1.0  {LOST}\n"));
}
