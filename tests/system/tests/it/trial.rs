//! A release in shadow and on probation, while files are opened: what is good comes to decide, and whatever is not
//! is found out, undone and remembered, and nobody waits longer than the budget for it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::Verdict;
use outrigger_api::control::{EngineState, Request, Trial};
use outrigger_api::release::{Part, State};
use outrigger_testkit::clock::{as_ms, now, wait_for};
use outrigger_testkit::figures::{say, waits_at_most};
use outrigger_testkit::openers::{Openers, Tally, Target};
use outrigger_testkit::releases::{Release, Staged};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Releases, Setup, Volume, host};
use rustix::process::Signal;

use crate::scene::{SLACK_MS, Scene, expect, short_or_full, show};

const THREADS: usize = 8;
/// What openers may wait. Longer than elsewhere, so that a machine that is busy with other things leaves both versions
/// time to answer: these tests tell good releases from bad ones, not fast machines from slow ones.
const BUDGET_MS: u32 = 200;
const HASHLIST: &str = "hashlist";
const JUDGE: &str = "judge";
const CHANNEL: &str = "channel291";
/// As long as shadow and probation can be and a test need not wait long for.
const SHORT: &str = "[shadow]\nlength_ms = 1500\n[probation]\nlength_ms = 2000\n";
/// A probation that does not end while a test goes on.
const WATCHED: &str = "[shadow]\nlength_ms = 1000\n[probation]\nlength_ms = 600000\n";
/// A shadow that does not end while a test goes on.
const SHADOWED: &str = "[shadow]\nlength_ms = 600000\n";
/// How long anything that a trial does may take.
const SOON: Duration = Duration::from_secs(30);
/// The promise: the previous content decides so long after the first crash, ms.
const BACK_MS: f64 = 5000.0;
/// Files that no opener opens, each denied by a list that was not in force before.
const MARKS: usize = 5;

/// A platform whose engine is installed, and somebody at work on it.
struct Site {
    scene: Scene,
    named: PathBuf,
    host: Host,
    releases: Releases,
}

impl Site {
    fn new(lab: &Lab, engine: &EngineSetup, updates: &str) -> Result<Self> {
        let scene = Scene::new(lab, 200)?;
        // The tables deny it by its name, so it is there before they are.
        let named = scene.volume.put("pipe-tool", b"denied by its name")?;
        let releases = Releases::of(&lab.next_folder());
        std::fs::create_dir_all(lab.next_folder())?;
        releases.install(engine, "1.0.0")?;
        let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached();
        let host = lab.start(&setup.updates(updates).engine(engine.clone().installed()))?;
        host.coverage()?;
        Ok(Self { scene, named, host, releases })
    }

    fn openers(&self) -> Result<Openers> {
        Ok(Openers::start(THREADS, self.scene.mixed_targets(20)?))
    }

    /// Has new content of `engine` tried, up to its shadow.
    fn try_content(&self, engine: &EngineSetup, version: &str) -> Result<Staged> {
        let staged = self.releases.stage(engine, Part::Content, version)?;
        say(self.host.try_out(engine.name(), vec![staged.name.clone()])?);
        Ok(staged)
    }

    /// The same, up to its probation.
    fn bring_into_probation(&self, engine: &EngineSetup, version: &str) -> Result<Staged> {
        let staged = self.try_content(engine, version)?;
        self.wait(&staged, State::Probation)?;
        Ok(staged)
    }

    fn wait(&self, staged: &Staged, state: State) -> Result<Release> {
        let story = self.releases.wait_state(staged, state, SOON)?;
        // The host lets go of the trial when the journal says how it ended.
        wait_for("the trial's next phase", SOON, || {
            let trials = self.host.trials()?;
            Ok((trials.iter().all(|trial| trial.state == state)).then_some(()))
        })?;
        Ok(story)
    }

    /// An error unless `version` of `engine`'s content is in force and the host lets go of its trial.
    fn in_force(&self, engine: &str, version: &str) -> Result<()> {
        let active = self.releases.active(engine, Part::Content)?;
        let found = (active.version.to_string(), active.state);
        ensure!(found == (version.to_owned(), State::Active), "{found:?} is in force");
        ensure!(self.host.trials()?.is_empty(), "{:?}", self.host.trials()?);
        Ok(())
    }

    fn trial(&self) -> Result<Trial> {
        self.host.trials()?.into_iter().next().context("nothing is on trial")
    }
}

fn marks(scene: &Scene) -> Result<Vec<PathBuf>> {
    (0..MARKS).map(|at| scene.volume.put(&format!("mark{at}"), &mark(at))).collect()
}

fn mark(at: usize) -> Vec<u8> {
    format!("mark {at}, which a later list denies").into_bytes()
}

/// The list with every mark.
fn denying_marks() -> EngineSetup {
    (0..MARKS).fold(EngineSetup::hashlist(), |list, at| list.also_denying(&mark(at)))
}

/// How the story ended, for people.
fn end_of(story: &Release) -> Result<&str> {
    Ok(&story.transitions.last().context("a story without an end")?.detail)
}

fn reason_of(story: &Release) -> Result<&str> {
    let last = story.transitions.last().context("a story without an end")?;
    last.reason.as_deref().context("it was not rejected")
}

/// Nothing was refused wrongly, nothing slipped, and nobody waited longer than the budget.
fn sound(tally: &Tally) -> Result<()> {
    show("openers", tally);
    ensure!(tally.slipped == 0, "{} bad files were opened", tally.slipped);
    unhurt(tally)
}

/// Nothing was refused wrongly, and nobody waited longer than the budget.
fn unhurt(tally: &Tally) -> Result<()> {
    ensure!(tally.wrongly_refused == 0, "{} clean files were refused", tally.wrongly_refused);
    ensure!(tally.failed == 0, "{} opens failed with error {}", tally.failed, tally.last_error);
    ensure!(tally.refused > 0 && tally.served > 0, "nothing was opened");
    waits_at_most("the longest open", as_ms(tally.waits.max()), f64::from(BUDGET_MS) + SLACK_MS)
}

fn offered_again_is_known_bad(site: &Site, engine: &EngineSetup) -> Result<()> {
    let again = site.releases.stage(engine, Part::Content, "9.9.9")?;
    let refused = site.host.try_out(engine.name(), vec![again.name]);
    let said = refused.expect_err("it is known bad").to_string();
    say(&said);
    ensure!(said.contains("known bad"), "not told: {said}");
    Ok(())
}

pub(crate) fn a_good_release_comes_to_decide(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &EngineSetup::hashlist(), SHORT)?;
    let new = EngineSetup::hashlist().also_denying(&mark(0));
    let marks = marks(&site.scene)?;

    let openers = site.openers()?;
    let asked = now();
    let staged = site.try_content(&new, "1.1.0")?;
    let shadow = wait_for("questions in shadow", SOON, || {
        Ok(Some(site.trial()?).filter(|trial| trial.judged > 100))
    })?;
    expect("the mark in shadow", ways::open(&marks[0]), Outcome::Through)?;
    site.wait(&staged, State::Probation)?;
    expect("the mark on probation", ways::open(&marks[0]), Outcome::Refused)?;
    let probation = site.trial()?;
    let story = site.wait(&staged, State::Active)?;
    say(format_args!("from asked to active: {:.0} ms", as_ms(now() - asked)));
    let tally = openers.stop()?;

    sound(&tally)?;
    ensure!(shadow.state == State::Shadow && shadow.length_ms == 1500, "{shadow:?}");
    ensure!(probation.state == State::Probation && probation.length_ms == 2000, "{probation:?}");
    let states: Vec<State> = story.transitions.iter().map(|step| step.to).collect();
    ensure!(states.ends_with(&[State::Shadow, State::Probation, State::Active]), "{states:?}");
    say(end_of(&story)?);
    site.in_force(HASHLIST, "1.1.0")?;
    let engine = site.host.engine(HASHLIST)?;
    ensure!(engine.faults.is_empty() && engine.state == EngineState::Docked, "{engine:?}");
    let before = site.releases.known_bad(&staged)?;
    ensure!(before.is_none(), "a good release is known bad: {before:?}");
    site.host.end()
}

pub(crate) fn a_false_positive_is_listed_in_shadow_and_refused(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &EngineSetup::hashlist(), SHADOWED)?;
    let marks = marks(&site.scene)?;
    let mut targets = site.scene.mixed_targets(20)?;
    targets.extend(marks.iter().map(Target::clean));

    let openers = Openers::start(THREADS, targets);
    let staged = site.try_content(&denying_marks(), "1.1.0")?;
    let story = site.wait(&staged, State::Rejected)?;
    let tally = openers.stop()?;

    sound(&tally)?;
    say(end_of(&story)?);
    ensure!(reason_of(&story)? == "new-denials", "{:?}", story.transitions);
    let listed = end_of(&story)?;
    ensure!(listed.contains("file.open allow → deny by \""), "not listed: {listed}");
    ensure!(listed.contains("first ") && listed.contains("/mark"), "not listed: {listed}");
    site.in_force(HASHLIST, "1.0.0")?;
    let counted = site.host.counters()?.faults.get("shadow-diverged").copied();
    ensure!(counted == Some(1), "counted {counted:?}");
    offered_again_is_known_bad(&site, &denying_marks())?;
    site.host.end()
}

pub(crate) fn few_differences_are_listed_while_it_runs(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &EngineSetup::hashlist(), SHADOWED)?;
    let marks = marks(&site.scene)?;
    let new = EngineSetup::hashlist().also_denying(&mark(0));
    let staged = site.try_content(&new, "1.1.0")?;

    expect("the mark in shadow", ways::open(&marks[0]), Outcome::Through)?;
    let listed =
        wait_for("the difference", SOON, || Ok(site.trial()?.differences.into_iter().next()))?;
    say(format_args!("{listed:?}"));
    ensure!((listed.active, listed.shadow) == (Verdict::Allow, Verdict::Deny), "{listed:?}");
    ensure!(listed.event == "file.open" && listed.objects == 1, "{listed:?}");
    ensure!(listed.path.as_deref().is_some_and(|path| path.ends_with("mark0")), "{listed:?}");
    ensure!(!listed.rule.is_empty() && !listed.guarded, "{listed:?}");

    let second = site.host.try_out(HASHLIST, vec![staged.name.clone()]);
    let said = second.expect_err("one trial at a time").to_string();
    ensure!(said.contains("on trial already, in shadow"), "not told: {said}");
    say(site.host.stop_trial(HASHLIST)?);
    let story = site.wait(&staged, State::Rejected)?;
    ensure!(reason_of(&story)? == "stopped", "{:?}", story.transitions);
    ensure!(site.releases.known_bad(&staged)?.is_none(), "a stopped release is held to be bad");
    site.in_force(HASHLIST, "1.0.0")?;
    ensure!(site.host.stop_trial(HASHLIST).is_err(), "there was nothing to stop");
    site.host.end()
}

pub(crate) fn a_crash_in_shadow_costs_nothing(lab: &Lab) -> Result<()> {
    let old = EngineSetup::faulty_reader(JUDGE, "deny-marked");
    let site = Site::new(lab, &old, SHADOWED)?;
    let before = site.host.engine(JUDGE)?;

    let openers = site.openers()?;
    let bad = old.clone().with_content("deny-marked crash-after 200");
    let staged = site.try_content(&bad, "1.1.0")?;
    let story = site.wait(&staged, State::Rejected)?;
    let tally = openers.stop()?;

    sound(&tally)?;
    say(end_of(&story)?);
    ensure!(reason_of(&story)? == "engine-crashed", "{:?}", story.transitions);
    site.in_force(JUDGE, "1.0.0")?;
    let engine = site.host.engine(JUDGE)?;
    ensure!(engine.pid == before.pid && engine.starts == before.starts, "{engine:?}");
    ensure!(engine.faults.is_empty(), "the engine in force is blamed: {:?}", engine.faults);
    offered_again_is_known_bad(&site, &bad)?;
    site.host.end()
}

/// The instance with a value in field 21, which preflight has not seen.
fn instance_291() -> EngineSetup {
    table("ipc_name", "c2-pipe")
}

fn table(column: &str, cell: &str) -> EngineSetup {
    let row = |name: &str, cell: &str| format!("tool\t{name}\t{cell}\n");
    let text = format!("columns\tname\t{column}\n{}", row("pipe-tool", cell));
    EngineSetup::channel291(&text)
}

pub(crate) fn channel_file_291_ends_in_shadow(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &table("uid", "*"), SHADOWED)?;
    let marked = &site.named;
    let mut targets: Vec<Target> = site.scene.clean.iter().map(Target::clean).collect();
    targets.push(Target::bad(marked));

    let openers = Openers::start(THREADS, targets);
    let staged = site.try_content(&instance_291(), "1.1.0")?;
    let story = site.wait(&staged, State::Rejected)?;
    let tally = openers.stop()?;

    sound(&tally)?;
    ensure!(reason_of(&story)? == "engine-crashed", "{:?}", story.transitions);
    site.in_force(CHANNEL, "1.0.0")?;
    offered_again_is_known_bad(&site, &instance_291())?;
    site.host.end()
}

/// Nobody opens what the new instance is about, until it decides.
pub(crate) fn channel_file_291_on_probation_is_undone(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &table("uid", "*"), WATCHED)?;
    let marked = &site.named;
    expect("the marked file before", ways::open(marked), Outcome::Refused)?;
    let targets: Vec<Target> = site.scene.clean.iter().map(Target::clean).collect();

    let openers = Openers::start(THREADS, targets);
    let staged = site.bring_into_probation(&instance_291(), "1.1.0")?;
    let crashed = now();
    ways::open(marked);
    wait_for("the previous content's verdict", SOON, || {
        Ok((ways::open(marked) == Outcome::Refused).then_some(()))
    })?;
    let back = as_ms(now() - crashed);
    let story = site.wait(&staged, State::Rejected)?;
    let tally = openers.stop()?;

    show("openers", &tally);
    say(format_args!("the previous content decides {back:.1} ms after the first crash"));
    ensure!(back <= BACK_MS, "it took {back:.0} ms");
    ensure!(tally.wrongly_refused == 0 && tally.failed == 0, "{tally:?}");
    waits_at_most("the longest open", as_ms(tally.waits.max()), f64::from(BUDGET_MS) + SLACK_MS)?;
    say(end_of(&story)?);
    ensure!(reason_of(&story)? == "engine-crashed", "{:?}", story.transitions);
    site.in_force(CHANNEL, "1.0.0")?;
    let counted = site.host.counters()?.faults.get("probation-failed").copied();
    ensure!(counted == Some(1), "counted {counted:?}");
    offered_again_is_known_bad(&site, &instance_291())?;
    ensure!(site.host.engine(CHANNEL)?.state == EngineState::Docked);
    site.host.end()
}

/// New content that is well in shadow, and for as long again as it decides; then it does what `then` says.
fn sleeper(engine: &EngineSetup, then: &str) -> EngineSetup {
    engine.clone().with_content(&format!("deny-marked later 2500 {then}"))
}

/// Brings `bad` to decide, has it see `wake`, and waits for the way back; gives its story.
fn undone(site: &Site, bad: &EngineSetup, wake: &[PathBuf]) -> Result<Release> {
    let staged = site.bring_into_probation(bad, "1.1.0")?;
    let woken = now();
    for file in wake {
        ways::open(file);
    }
    let story = site.wait(&staged, State::Rejected)?;
    say(format_args!("undone after {:.0} ms: {}", as_ms(now() - woken), end_of(&story)?));
    site.in_force(bad.name(), "1.0.0")?;
    site.host.wait_engine(bad.name(), EngineState::Docked, SOON)?;
    expect("the bad file, then", ways::open(&site.scene.eicar), Outcome::Refused)?;
    ensure!(site.releases.known_bad(&staged)?.is_some(), "it is not remembered");
    Ok(story)
}

pub(crate) fn a_storm_of_denials_on_probation_is_undone(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &EngineSetup::hashlist(), WATCHED)?;
    let marks = marks(&site.scene)?;

    let openers = site.openers()?;
    let story = undone(&site, &denying_marks(), &marks)?;
    let tally = openers.stop()?;

    sound(&tally)?;
    ensure!(reason_of(&story)? == "new-denials", "{:?}", story.transitions);
    ensure!(end_of(&story)?.contains("/mark"), "not listed: {}", end_of(&story)?);
    marks.iter().try_for_each(|mark| expect("a mark, then", ways::open(mark), Outcome::Through))?;
    site.host.end()
}

pub(crate) fn a_slow_release_on_probation_is_undone(lab: &Lab) -> Result<()> {
    let old = EngineSetup::faulty_reader(JUDGE, "deny-marked");
    let site = Site::new(lab, &old, WATCHED)?;

    // One at a time: a second one would wait behind it, and be missed.
    let openers = Openers::start(1, site.scene.mixed_targets(20)?);
    let story = undone(&site, &sleeper(&old, "slow 140"), &[])?;
    let tally = openers.stop()?;

    sound(&tally)?;
    ensure!(reason_of(&story)? == "slow", "{:?}", story.transitions);
    site.host.end()
}

pub(crate) fn a_leak_on_probation_is_undone(lab: &Lab) -> Result<()> {
    let old = EngineSetup::faulty_reader(JUDGE, "deny-marked").memory_bytes(512 << 20);
    let site = Site::new(lab, &old, WATCHED)?;

    let openers = Openers::start(1, site.scene.mixed_targets(20)?);
    let story = undone(&site, &sleeper(&old, "leak-each 64"), &[])?;
    let tally = openers.stop()?;

    show("openers", &tally);
    ensure!(tally.wrongly_refused == 0 && tally.failed == 0, "{tally:?}");
    let reason = reason_of(&story)?;
    ensure!(["memory", "out-of-memory"].contains(&reason), "{:?}", story.transitions);
    site.host.end()
}

/// Another host comes in the middle of each phase: it begins the same phase anew, and comes to the same end.
fn another_host_goes_on(lab: &Lab, replace: impl Fn(&Host) -> Result<()>) -> Result<()> {
    let updates = "[shadow]\nlength_ms = 3000\n[probation]\nlength_ms = 3000\n";
    let site = Site::new(lab, &EngineSetup::hashlist(), updates)?;
    let marks = marks(&site.scene)?;
    // Denied in shadow, and on probation: that is no news there, for the next host either.
    let bad = site.scene.mixed_targets(20)?;
    let staged = site.try_content(&EngineSetup::hashlist().also_denying(&mark(0)), "1.1.0")?;
    let openers = Openers::start(THREADS, bad);

    let replaced = |phase: State| -> Result<()> {
        let old = site.host.pids()?.host;
        replace(&site.host)?;
        site.host.wait_successor(old, SOON)?;
        let trial = wait_for("the trial in the next host", SOON, || {
            Ok(site.host.trials().unwrap_or_default().into_iter().next())
        })?;
        ensure!(trial.state == phase, "{trial:?}");
        say(format_args!("the next host goes on with {:?}", trial.releases));
        Ok(())
    };
    replaced(State::Shadow)?;
    site.wait(&staged, State::Probation)?;
    replaced(State::Probation)?;
    let story = site.wait(&staged, State::Active)?;
    let tally = openers.stop()?;

    show("openers", &tally);
    ensure!(tally.wrongly_refused == 0 && tally.failed == 0, "{tally:?}");
    site.in_force(HASHLIST, "1.1.0")?;
    ensure!(end_of(&story)?.contains("0 objects newly denied"), "{}", end_of(&story)?);
    expect("the mark", ways::open(&marks[0]), Outcome::Refused)?;
    site.host.end()
}

pub(crate) fn goes_on_when_the_host_is_killed(lab: &Lab) -> Result<()> {
    another_host_goes_on(lab, |host| host.signal(host::Part::Host, Signal::KILL).map(drop))
}

pub(crate) fn goes_on_after_a_reload(lab: &Lab) -> Result<()> {
    another_host_goes_on(lab, |host| host.ask(&Request::Reload).map(drop))
}

/// The host is killed while what was before is on its way back.
pub(crate) fn killed_in_a_rollback_the_next_host_ends_it(lab: &Lab) -> Result<()> {
    let rounds = short_or_full(4, 16);
    let site = Site::new(lab, &EngineSetup::hashlist(), WATCHED)?;
    let marks = marks(&site.scene)?;

    for round in 0..rounds {
        // Another package each time: the one before is known bad.
        let bad = denying_marks().also_denying(&round.to_le_bytes());
        let staged = site.bring_into_probation(&bad, &format!("1.1.{round}"))?;
        let old = site.host.pids()?.host;
        for mark in &marks {
            ways::open(mark);
        }
        std::thread::sleep(Duration::from_micros(round * 60_000 / rounds));
        host::send(old, Signal::KILL)?;
        site.host.wait_successor(old, SOON)?;
        let again = || {
            marks.iter().for_each(|mark| {
                ways::open(mark);
            })
        };
        // Where the host was killed before it knew, the same denials tell the next one.
        let story = wait_for("the end of the rollback", SOON, || {
            again();
            Ok(Some(site.releases.story(&staged)?).filter(|story| story.state == State::Rejected))
        })?;
        ensure!(reason_of(&story)? == "new-denials", "{:?}", story.transitions);
        wait_for("what was before", SOON, || {
            let through = marks.iter().all(|mark| ways::open(mark) == Outcome::Through);
            Ok(through.then_some(()))
        })?;
        let active = site.releases.active(HASHLIST, Part::Content)?;
        ensure!(active.version.to_string() == "1.0.0", "{active:?}");
        wait_for("the engine", SOON, || {
            Ok((ways::open(&site.scene.eicar) == Outcome::Refused).then_some(()))
        })?;
    }
    site.host.end()
}

/// There is no room on the disk for anything when the release turns bad.
pub(crate) fn a_full_disk_holds_no_rollback_up(lab: &Lab) -> Result<()> {
    let state = lab.next_folder().join("state");
    let _small = Volume::small_tmpfs(&state, "48m")?;
    let site = Site::new(lab, &EngineSetup::hashlist(), WATCHED)?;
    let marks = marks(&site.scene)?;
    let staged = site.bring_into_probation(&denying_marks(), "1.1.0")?;

    let filler = state.join("filler");
    fill(&filler)?;
    let woken = now();
    for mark in &marks {
        ways::open(mark);
    }
    wait_for("what was before", SOON, || {
        let through = marks.iter().all(|mark| ways::open(mark) == Outcome::Through);
        Ok(through.then_some(()))
    })?;
    let back = as_ms(now() - woken);
    say(format_args!("what was before decides after {back:.0} ms, without room on the disk"));
    ensure!(back <= BACK_MS, "it took {back:.0} ms");
    expect("the bad file", ways::open(&site.scene.eicar), Outcome::Refused)?;
    std::fs::remove_file(&filler)?;
    let story = site.wait(&staged, State::Rejected)?;
    ensure!(reason_of(&story)? == "new-denials", "{:?}", story.transitions);
    site.in_force(HASHLIST, "1.0.0")?;
    site.host.end()
}

/// What there is to go back to was damaged meanwhile: it is not started, and everybody is told.
pub(crate) fn a_damaged_slot_is_not_gone_back_to(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &EngineSetup::hashlist(), WATCHED)?;
    let marks = marks(&site.scene)?;
    let old = site.releases.active(HASHLIST, Part::Content)?;
    let staged = site.bring_into_probation(&denying_marks(), "1.1.0")?;
    std::fs::write(old.dir.join("tests.deny"), "0".repeat(64))?;

    for mark in &marks {
        ways::open(mark);
    }
    let failed = site.host.wait_engine(HASHLIST, EngineState::Failed, SOON)?;
    let story = site.wait(&staged, State::Rejected)?;

    let why = failed.last_fault.unwrap_or_default();
    say(&why);
    ensure!(why.contains("was altered"), "not told: {why}");
    ensure!(reason_of(&story)? == "new-denials", "{:?}", story.transitions);
    let status = site.host.status()?;
    ensure!(!status.healthy, "healthy without its engine");
    ensure!(status.problems.iter().any(|problem| problem.contains("was altered")), "{status:?}");
    ensure!(site.releases.active(HASHLIST, Part::Content).is_err(), "something is in force");
    expect("a clean file", ways::open(&site.scene.clean[0]), Outcome::Through)?;
    site.host.end()
}

/// Takes all the room there is.
fn fill(file: &std::path::Path) -> Result<()> {
    use std::io::Write as _;
    let mut open = std::fs::File::create(file)?;
    let block = vec![0; 4096];
    while open.write_all(&block).is_ok() {}
    Ok(())
}

/// A first release has nothing beside it and nothing to go back to: it goes, and nothing is left.
pub(crate) fn a_first_release_that_crashes_leaves_nothing_in_force(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let releases = Releases::of(&lab.next_folder());
    let engine = EngineSetup::faulty_reader(JUDGE, "deny-marked later 2500 crash-after 1");
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached().updates(WATCHED);
    let host = lab.start(&setup.engine(engine.clone().installed()))?;
    host.coverage()?;
    let stage = |part| releases.stage(&engine, part, "1.0.0");
    let (code, content) = (stage(Part::Code)?, stage(Part::Content)?);

    say(host.try_out(JUDGE, vec![code.name.clone(), content.name.clone()])?);
    releases.wait_state(&code, State::Probation, SOON)?;
    host.wait_engine(JUDGE, EngineState::Docked, SOON)?;
    wait_for("its crash", SOON, || {
        ways::open(&scene.clean[0]);
        Ok((releases.story(&code)?.state == State::Rejected).then_some(()))
    })?;
    let story = releases.wait_state(&content, State::Rejected, SOON)?;
    let engine = wait_for("nothing to run", SOON, || {
        let engine = host.engine(JUDGE).ok();
        Ok(engine.filter(|engine| engine.state == EngineState::NotInstalled))
    })?;

    say(engine.last_fault.unwrap_or_default());
    ensure!(reason_of(&story)? == "engine-crashed", "{:?}", story.transitions);
    ensure!(!host.status()?.healthy, "healthy without its engine");
    host.end()
}

/// Two engines' releases at the same time: the one that is bad disturbs neither the other's trial nor the other.
pub(crate) fn two_trials_do_not_touch_each_other(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 200)?;
    let (list, judge) = (EngineSetup::hashlist(), EngineSetup::faulty_reader(JUDGE, "deny-marked"));
    let releases = Releases::of(&lab.next_folder());
    std::fs::create_dir_all(lab.next_folder())?;
    releases.install(&list, "1.0.0")?;
    releases.install(&judge, "1.0.0")?;
    let setup = Setup::protecting(scene.path()).budget_ms(BUDGET_MS).uncached().updates(SHORT);
    let setup = setup.engine(list.clone().installed()).engine(judge.clone().installed());
    let host = lab.start(&setup)?;
    host.coverage()?;

    let openers = Openers::start(THREADS, scene.mixed_targets(20)?);
    let good = releases.stage(&list.clone().also_denying(&mark(0)), Part::Content, "1.1.0")?;
    let bad = judge.clone().with_content("deny-marked crash-after 100");
    let bad = releases.stage(&bad, Part::Content, "1.1.0")?;
    host.try_out(HASHLIST, vec![good.name.clone()])?;
    host.try_out(JUDGE, vec![bad.name.clone()])?;
    let rejected = releases.wait_state(&bad, State::Rejected, SOON)?;
    releases.wait_state(&good, State::Active, SOON)?;
    let tally = openers.stop()?;

    sound(&tally)?;
    ensure!(reason_of(&rejected)? == "engine-crashed", "{:?}", rejected.transitions);
    for name in [HASHLIST, JUDGE] {
        let engine = host.engine(name)?;
        ensure!(engine.state == EngineState::Docked && engine.faults.is_empty(), "{engine:?}");
    }
    host.end()
}

pub(crate) fn stopped_on_probation_what_was_before_decides(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &EngineSetup::hashlist(), WATCHED)?;
    let marks = marks(&site.scene)?;
    let new = EngineSetup::hashlist().also_denying(&mark(0));
    let staged = site.bring_into_probation(&new, "1.1.0")?;
    expect("the mark on probation", ways::open(&marks[0]), Outcome::Refused)?;

    let asked = now();
    let said = site.host.stop_trial(HASHLIST)?;
    say(format_args!("{said} after {:.0} ms", as_ms(now() - asked)));

    expect("the mark, then", ways::open(&marks[0]), Outcome::Through)?;
    let story = site.releases.story(&staged)?;
    ensure!(story.state == State::Rejected && reason_of(&story)? == "stopped", "{story:?}");
    ensure!(site.releases.known_bad(&staged)?.is_none(), "a stopped release is held to be bad");
    site.in_force(HASHLIST, "1.0.0")?;
    site.host.end()
}

pub(crate) fn going_back_by_hand_takes_a_moment(lab: &Lab) -> Result<()> {
    let site = Site::new(lab, &EngineSetup::hashlist(), SHORT)?;
    let marks = marks(&site.scene)?;
    let new = EngineSetup::hashlist().also_denying(&mark(0));
    let openers = site.openers()?;
    let staged = site.try_content(&new, "1.1.0")?;
    site.wait(&staged, State::Active)?;
    expect("the mark after its list", ways::open(&marks[0]), Outcome::Refused)?;

    let asked = now();
    let said = site.host.go_back(HASHLIST)?;
    let took = as_ms(now() - asked);
    let decides = ways::open(&marks[0]);
    let tally = openers.stop()?;

    say(format_args!("{said} after {took:.1} ms"));
    ensure!(took <= 1000.0, "it took {took:.0} ms");
    expect("the mark after going back", decides, Outcome::Through)?;
    sound(&tally)?;
    site.in_force(HASHLIST, "1.0.0")?;
    let story = site.releases.story(&staged)?;
    ensure!(story.state == State::Rejected && reason_of(&story)? == "sent-back", "{story:?}");
    let twice = site.host.go_back(HASHLIST).expect_err("nothing is left to go back to").to_string();
    ensure!(twice.contains("nothing"), "not told: {twice}");
    offered_again_is_known_bad(&site, &new)?;
    site.host.end()
}
