//! Rules that an engine's content brings along: what they deny, what they never do, and how they come and go
//! with the release that they are in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::{EngineAction, EngineState, Request};
use outrigger_api::release::{Part, State};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;
use outrigger_testkit::host::Part as Process;
use outrigger_testkit::releases::{Release, Staged};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Releases, Setup, bait};
use rustix::process::Signal;

use crate::scene::{Scene, expect};

const ENGINE: &str = "hashlist";
/// How long anything may take that is not a trial.
const SOON: Duration = Duration::from_secs(10);
/// How long a trial's phase may take.
const TRIAL: Duration = Duration::from_secs(30);
/// Shadow and probation that do not keep a test waiting.
const SHORT: &str = "[shadow]\nlength_ms = 1500\n[probation]\nlength_ms = 1500\n";

/// A platform with an engine whose content has rules.
struct Site {
    scene: Scene,
    host: Host,
    releases: Releases,
}

impl Site {
    fn new(
        lab: &Lab,
        scene: Scene,
        engine: &EngineSetup,
        with: impl FnOnce(Setup) -> Setup,
    ) -> Result<Self> {
        let releases = Releases::of(&lab.next_folder());
        fs::create_dir_all(lab.next_folder())?;
        releases.install(engine, "1.0.0")?;
        let setup = Setup::protecting(scene.path()).budget_ms(1000).updates(SHORT);
        let host = lab.start(&with(setup.engine(engine.clone().installed())))?;
        wait_for("the folder to be read", SOON, || {
            Ok(host.log().contains("\"policy-").then_some(()))
        })?;
        Ok(Self { scene, host, releases })
    }

    /// Has new content tried, and waits until it stands in `state`.
    fn bring(&self, engine: &EngineSetup, version: &str, state: State) -> Result<Staged> {
        let staged = self.releases.stage(engine, Part::Content, version)?;
        self.host.try_out(ENGINE, vec![staged.name.clone()])?;
        self.releases.wait_state(&staged, state, TRIAL)?;
        Ok(staged)
    }

    /// Waits until an open of `path` ends so.
    fn wait_open(&self, path: &Path, wanted: Outcome) -> Result<()> {
        let what = format!("{} {wanted:?}", path.display());
        wait_for(&what, SOON, || Ok((ways::open(path) == wanted).then_some(())))
    }
}

fn put(folder: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(name);
    bait::put(&path, b"nothing to see")?;
    Ok(path)
}

fn forbid(id: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "@id(\"{id}\")\nforbid (principal, action == Action::\"file.open\", \
         resource in Directory::\"{folder}\");\n"
    )
}

pub(crate) fn they_deny_without_their_engine(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let secret = scene.path().join("secret");
    let (inside, outside) = (put(&secret, "a")?, put(scene.path(), "b")?);
    let engine = EngineSetup::hashlist().rules("r.cedar", &forbid("no-secrets", &secret));
    let site = Site::new(lab, scene, &engine, |setup| setup)?;
    let host = &site.host;

    expect("in the folder", ways::open(&inside), Outcome::Refused)?;
    expect("beside it", ways::open(&outside), Outcome::Through)?;
    let asked = host.engine(ENGINE)?.asked;
    host.engine_action(ENGINE, EngineAction::Quarantine)?;
    host.wait_engine(ENGINE, EngineState::Quarantined, SOON)?;
    expect("without the engine", ways::open(&inside), Outcome::Refused)?;

    let status = host.status()?.policy.context("rules are not told of")?;
    ensure!((status.rules, status.denied) == (1, 2), "{status:?}");
    ensure!(status.files[0].path.ends_with("/r.cedar"), "{status:?}");
    let told = host.engine(ENGINE)?;
    ensure!((told.rule_denials, told.asked) == (2, asked), "{told:?}");
    wait_for("the rule in the journal", SOON, || {
        Ok(host.log().contains("rule engine/hashlist/no-secrets").then_some(()))
    })?;
    // Another host has them from its first question on.
    let old = host.signal(Process::Host, Signal::KILL)?;
    host.wait_successor(old, SOON)?;
    expect("by the next host", ways::open(&inside), Outcome::Refused)?;
    site.host.end()
}

pub(crate) fn of_a_monitored_engine_are_monitored(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let inside = put(&scene.path().join("secret"), "a")?;
    let rule = forbid("no-secrets", &scene.path().join("secret"));
    let engine = EngineSetup::hashlist().rules("r.cedar", &rule).monitored();
    let site = Site::new(lab, scene, &engine, |setup| setup)?;

    expect("in the folder", ways::open(&inside), Outcome::Through)?;

    let status = site.host.status()?.policy.context("rules are not told of")?;
    ensure!((status.denied, status.would_deny) == (0, 1), "{status:?}");
    site.host.end()
}

/// What the machine needs an engine's rule does not deny, and the administrator's does.
pub(crate) fn what_the_machine_needs_is_spared(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let folder = scene.path().join("vital");
    let (vital, other) = (put(&folder, "a")?, put(&folder, "b")?);
    let engine = EngineSetup::hashlist().rules("r.cedar", &forbid("too-much", &folder));
    let site = Site::new(lab, scene, &engine, |setup| setup.guarding(&vital))?;
    let host = &site.host;

    let before = host.counters()?.conflicts;
    expect("what the machine needs", ways::open(&vital), Outcome::Through)?;
    expect("what lies beside it", ways::open(&other), Outcome::Refused)?;
    ensure!(host.counters()?.conflicts == before + 1, "{:?}", host.counters()?);
    wait_for("the conflict in the journal", SOON, || {
        let log = host.log();
        let mut lines = log.lines().filter(|line| line.contains("\"conflict\""));
        Ok(lines.any(|line| line.contains("engine/hashlist/too-much (guarded)")).then_some(()))
    })?;
    let told = host.engine(ENGINE)?;
    ensure!((told.rule_denials, told.rule_conflicts) == (1, 1), "{told:?}");

    host.apply_policy("a.cedar", &forbid("mine", &folder))?;
    expect("by the administrator's own rule", ways::open(&vital), Outcome::Refused)?;
    site.host.end()
}

/// What is refused leaves everybody else's rules in force.
fn refused(lab: &Lab, text: &str, told: &[&str]) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let (mine, theirs) = (scene.path().join("mine"), scene.path().join("theirs"));
    let (inside, left) = (put(&mine, "a")?, put(&theirs, "a")?);
    let text = text.replace("FOLDER", &theirs.display().to_string());
    let engine = EngineSetup::hashlist().rules("r.cedar", &text);
    let rule = forbid("mine", &mine);
    let site = Site::new(lab, scene, &engine, |setup| setup.policy("a.cedar", &rule))?;

    expect("by the administrator's rule", ways::open(&inside), Outcome::Refused)?;
    expect("by the engine's", ways::open(&left), Outcome::Through)?;
    let status = site.host.status()?;
    let problems = status.problems.join("\n");
    say(problems.lines().next().unwrap_or_default());
    for part in told {
        ensure!(problems.contains(part), "no {part:?} in {problems}");
    }
    ensure!(site.host.log().contains("content-rejected"), "{}", site.host.log());
    site.host.apply_policy("a.cedar", &forbid("mine-too", &mine))?;
    expect("by another rule of the administrator's", ways::open(&inside), Outcome::Refused)?;
    site.host.end()
}

pub(crate) fn a_permit_is_refused_with_its_place(lab: &Lab) -> Result<()> {
    let text = "forbid (principal, action == Action::\"file.open\", resource in \
                Directory::\"FOLDER\");\n\npermit (principal, action, resource);\n";
    refused(lab, text, &["hashlist: r.cedar:3:1: ", "can only forbid"])
}

pub(crate) fn a_mark_is_refused_with_its_place(lab: &Lab) -> Result<()> {
    let text = "@mark(\"seen\")\npermit (principal, action == Action::\"file.open\", resource in \
                Directory::\"FOLDER\");\n";
    refused(lab, text, &["hashlist: r.cedar:1:1: ", "can only forbid"])
}

pub(crate) fn too_many_are_refused_and_the_administrators_fit(lab: &Lab) -> Result<()> {
    let one = |at: usize| {
        format!(
            "@id(\"r{at}\")\nforbid (principal, action == Action::\"file.open\", resource in \
             Directory::\"FOLDER/{at}\");\n"
        )
    };
    let text: String = (0..300).map(one).collect();
    refused(lab, &text, &["hashlist: 300 rules, over the limit of 256"])
}

/// Each about everything, so that what the machine needs is compared in each.
pub(crate) fn those_that_take_too_much_room_are_refused(lab: &Lab) -> Result<()> {
    let one = |at: usize| {
        format!(
            "@id(\"r{at}\")\nforbid (principal, action == Action::\"file.open\", resource) when {{ \
             principal.gid == {at} && resource.owner == {at} }};\n",
            at = 100_000 + at
        )
    };
    let text: String = (0..200).map(one).collect();
    refused(
        lab,
        &text,
        &["rules in the content of hashlist are not in force: ", "16384 comparisons"],
    )
}

pub(crate) fn a_folder_that_nobody_signed_has_none(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let inside = put(&scene.path().join("secret"), "a")?;
    let rule = forbid("no-secrets", &scene.path().join("secret"));
    let engine = EngineSetup::hashlist().rules("r.cedar", &rule);
    let setup = Setup::protecting(scene.path()).budget_ms(1000).engine(engine);
    let host = lab.start(&setup)?;

    expect("in the folder", ways::open(&inside), Outcome::Through)?;

    let status = host.status()?;
    ensure!(status.policy.is_some_and(|policy| policy.rules == 0), "{:?}", status.problems);
    let problems = status.problems.join("\n");
    ensure!(problems.contains("r.cedar") && problems.contains("hashlist"), "{problems}");
    host.end()
}

/// New rules come with their release, and what was before comes back with the one before.
pub(crate) fn they_come_and_go_with_their_release(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 50)?;
    let (first, second) = (scene.path().join("first"), scene.path().join("second"));
    let (old, new) = (put(&first, "a")?, put(&second, "a")?);
    let engine = EngineSetup::hashlist().rules("r.cedar", &forbid("first", &first));
    let site = Site::new(lab, scene, &engine, |setup| setup)?;
    expect("before", ways::open(&old), Outcome::Refused)?;
    expect("before, in the other", ways::open(&new), Outcome::Through)?;

    let both = format!("{}{}", forbid("first", &first), forbid("second", &second));
    let next = EngineSetup::hashlist().rules("r.cedar", &both);
    site.bring(&next, "1.1.0", State::Probation)?;
    site.wait_open(&new, Outcome::Refused)?;
    expect("what was denied before", ways::open(&old), Outcome::Refused)?;

    site.host.stop_trial(ENGINE)?;
    site.wait_open(&new, Outcome::Through)?;
    expect("what was denied before it", ways::open(&old), Outcome::Refused)?;
    site.host.end()
}

/// The engine is taken out of the configuration, and its rules with it.
pub(crate) fn they_leave_with_their_engine(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let inside = put(&scene.path().join("secret"), "a")?;
    let rule = forbid("no-secrets", &scene.path().join("secret"));
    let engine = EngineSetup::hashlist().rules("r.cedar", &rule);
    let site = Site::new(lab, scene, &engine, |setup| setup)?;
    expect("while it is installed", ways::open(&inside), Outcome::Refused)?;

    let old = site.host.pids()?.host;
    let without = Setup::protecting(site.scene.path()).budget_ms(1000);
    without.write(site.host.folder())?;
    site.host.ask(&Request::Reload)?;
    site.host.wait_successor(old, SOON)?;

    expect("after it", ways::open(&inside), Outcome::Through)?;
    site.host.end()
}

/// A candidate that has `rules`, and what became of it while every path of `opened` is opened again and again.
fn tried(
    site: &Site,
    rules: &str,
    opened: &[PathBuf],
    ends: State,
) -> Result<(Release, Vec<Outcome>)> {
    let next = EngineSetup::hashlist().rules("r.cedar", rules);
    let staged = site.releases.stage(&next, Part::Content, "1.1.0")?;
    // A trial that is refused at once is refused in the answer as well.
    let begun = site.host.try_out(ENGINE, vec![staged.name.clone()]);
    let mut outcomes = Vec::new();
    let story = wait_for("the end of the trial", TRIAL, || {
        outcomes = opened.iter().map(|path| ways::open(path)).collect();
        Ok(Some(site.releases.story(&staged)?).filter(|story| story.state == ends))
    })
    .with_context(|| format!("{begun:?}: {:?}", site.releases.story(&staged)))?;
    Ok((story, outcomes))
}

fn reason(story: &Release) -> Result<(&str, &str)> {
    let last = story.transitions.last().context("a story without an end")?;
    say(&last.detail);
    Ok((last.reason.as_deref().context("it was not rejected")?, &last.detail))
}

/// Five files that the first release's rules are not about, and five that they are.
struct Ground {
    site: Site,
    denied: Vec<PathBuf>,
    marks: Vec<PathBuf>,
    folder: PathBuf,
    first: String,
}

impl Ground {
    fn new(lab: &Lab, with: impl FnOnce(&[PathBuf], Setup) -> Setup) -> Result<Self> {
        let scene = Scene::new(lab, 0)?;
        let (first, folder) = (scene.path().join("first"), scene.path().join("second"));
        let five = |folder: &Path| -> Result<Vec<PathBuf>> {
            (0..5).map(|at| put(folder, &format!("mark{at}"))).collect()
        };
        let (denied, marks) = (five(&first)?, five(&folder)?);
        let first = forbid("first", &first);
        let engine = EngineSetup::hashlist().rules("r.cedar", &first);
        let site = Site::new(lab, scene, &engine, |setup| with(&marks, setup))?;
        Ok(Self { site, denied, marks, folder, first })
    }

    /// An error unless the first release's rules decide, and no others.
    fn is_as_before(&self) -> Result<()> {
        let soon = |path: &Path, wanted| self.site.wait_open(path, wanted);
        self.marks.iter().try_for_each(|mark| soon(mark, Outcome::Through))?;
        soon(&self.denied[0], Outcome::Refused)?;
        wait_for("the first release in force", SOON, || {
            let active = self.site.releases.active(ENGINE, Part::Content)?;
            Ok((active.version.to_string() == "1.0.0").then_some(()))
        })
    }
}

pub(crate) fn a_false_positive_ends_in_shadow_and_denies_nothing(lab: &Lab) -> Result<()> {
    let ground = Ground::new(lab, |_, setup| setup)?;
    let rules = format!("{}{}", ground.first, forbid("too-much", &ground.folder));

    let (story, outcomes) = tried(&ground.site, &rules, &ground.marks, State::Rejected)?;

    let (reason, detail) = reason(&story)?;
    ensure!(reason == "new-denials", "{story:?}");
    ensure!(detail.contains("file.open allow → deny by \"engine/hashlist/too-much\""), "{detail}");
    ensure!(outcomes.iter().all(|outcome| *outcome == Outcome::Through), "{outcomes:?}");
    ground.is_as_before()?;
    ensure!(ground.site.host.engine(ENGINE)?.rule_conflicts == 0, "what is in shadow was counted");
    ground.site.host.end()
}

pub(crate) fn a_rule_on_what_the_machine_needs_ends_in_shadow(lab: &Lab) -> Result<()> {
    let ground = Ground::new(lab, |marks, setup| setup.guarding(&marks[0]))?;
    let rules = format!("{}{}", ground.first, forbid("too-much", &ground.folder));

    let (story, _) = tried(&ground.site, &rules, &ground.marks[..1], State::Rejected)?;

    ensure!(reason(&story)?.0 == "denied-guarded", "{story:?}");
    ground.is_as_before()?;
    ground.site.host.end()
}

pub(crate) fn rules_that_deny_less_end_in_shadow(lab: &Lab) -> Result<()> {
    let ground = Ground::new(lab, |_, setup| setup)?;
    let rules = forbid("elsewhere", &ground.folder);

    let (story, outcomes) = tried(&ground.site, &rules, &ground.denied, State::Rejected)?;

    ensure!(reason(&story)?.0 == "lost-verdicts", "{story:?}");
    ensure!(outcomes.iter().all(|outcome| *outcome == Outcome::Refused), "{outcomes:?}");
    ground.is_as_before()?;
    ground.site.host.end()
}

/// Preflight would have refused it; whatever comes past it is refused all the same.
pub(crate) fn a_release_whose_rules_are_refused_is_not_tried(lab: &Lab) -> Result<()> {
    let ground = Ground::new(lab, |_, setup| setup)?;
    let rules = format!("{}permit (principal, action, resource);\n", ground.first);

    let (story, _) = tried(&ground.site, &rules, &[], State::Rejected)?;

    let (reason, detail) = reason(&story)?;
    ensure!(reason == "content-rejected", "{story:?}");
    ensure!(detail.contains("r.cedar:3:1: "), "{detail}");
    ground.is_as_before()?;
    ground.site.host.end()
}

/// Nobody opened any of it while it was in shadow.
pub(crate) fn a_storm_of_denials_on_probation_is_undone(lab: &Lab) -> Result<()> {
    let long = "[shadow]\nlength_ms = 1000\n[probation]\nlength_ms = 600000\n";
    let ground = Ground::new(lab, |_, setup| setup.updates(long))?;
    let rules = format!("{}{}", ground.first, forbid("too-much", &ground.folder));
    let next = EngineSetup::hashlist().rules("r.cedar", &rules);

    let staged = ground.site.bring(&next, "1.1.0", State::Probation)?;
    ground.site.wait_open(&ground.marks[0], Outcome::Refused)?;
    for mark in &ground.marks[1..] {
        ways::open(mark);
    }
    let story = ground.site.releases.wait_state(&staged, State::Rejected, TRIAL)?;

    let (reason, detail) = reason(&story)?;
    ensure!(reason == "new-denials", "{story:?}");
    ensure!(detail.contains("engine/hashlist/too-much"), "{detail}");
    ground.is_as_before()?;
    let bad = ground.site.releases.known_bad(&staged)?;
    ensure!(bad.as_deref() == Some("new-denials"), "it is not remembered as bad: {bad:?}");
    ground.site.host.end()
}

/// The administrator's folder is broken meanwhile, which keeps no release from going back.
pub(crate) fn a_broken_folder_keeps_no_rules_from_leaving(lab: &Lab) -> Result<()> {
    let long = "[shadow]\nlength_ms = 1000\n[probation]\nlength_ms = 600000\n";
    let ground = Ground::new(lab, |_, setup| setup.updates(long))?;
    let rules = format!("{}{}", ground.first, forbid("second", &ground.folder));
    let next = EngineSetup::hashlist().rules("r.cedar", &rules);
    ground.site.bring(&next, "1.1.0", State::Probation)?;
    ground.site.wait_open(&ground.marks[0], Outcome::Refused)?;

    let broken = ground.site.host.apply_policy("a.cedar", "forbid (");
    ensure!(broken.is_err(), "a broken folder was taken: {broken:?}");
    ground.site.host.stop_trial(ENGINE)?;

    ground.is_as_before()?;
    ground.site.host.end()
}
