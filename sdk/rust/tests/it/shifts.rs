//! Judges who are late are answered for and left behind, and the others go on.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use outrigger_api::frame::v1::{Heartbeat, Reload, to_engine, to_host};
use outrigger_sdk::kit::{Ask, Host, PATIENCE};
use outrigger_sdk::{
    Ended, Engine, Event, Judgement, Judges, LATE_MAX, Loaded, Loader, Question, RunError, Verdict,
};

use crate::text;

/// How long a judge may take.
const LIMIT: Duration = Duration::from_millis(30);

/// Stuck judges wait here until the test lets them go.
#[derive(Debug, Default)]
struct Door {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Door {
    fn wait(&self) {
        let is_open = self.is_open.lock().expect("no judge panics here");
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).expect("no judge panics here"));
    }

    fn open(&self) {
        *self.is_open.lock().expect("no judge panics here") = true;
        self.opened.notify_all();
    }
}

/// Judges `stuck` when the door opens, and denies everything else with the number of the load that it judges by.
struct Late {
    door: Arc<Door>,
    /// Judges that were made.
    made: Arc<AtomicU32>,
    loads: u32,
    /// From this load on judges leave at once.
    deserting_from: u32,
}

impl Engine for Late {
    fn name(&self) -> &str {
        "late"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn loader(&self) -> Option<Loader<Self>> {
        let loads = self.loads + 1;
        Some(Box::new(move |_: &Path| {
            Ok(Loaded::new(format!("load {loads}"), move |engine: &mut Self| engine.loads = loads))
        }))
    }

    fn judges(&self) -> Option<Judges> {
        let (door, made) = (Arc::clone(&self.door), Arc::clone(&self.made));
        let (load, deserting_from) = (self.loads, self.deserting_from);
        Some(Arc::new(move |shift| {
            made.fetch_add(1, Ordering::SeqCst);
            if load >= deserting_from {
                return;
            }
            let judge = |question: &Question<'_>| match text(question).as_str() {
                "stuck" => {
                    door.wait();
                    Judgement::deny("nobody waits for this")
                }
                _ => Judgement::deny(format!("load {load}")),
            };
            shift.judge(|_| LIMIT, judge);
        }))
    }

    fn judge(&mut self, _question: &Question<'_>) -> Judgement {
        unreachable!("it has judges")
    }
}

fn late() -> (Host, Arc<Door>, Arc<AtomicU32>) {
    deserting_from(u32::MAX)
}

fn deserting_from(load: u32) -> (Host, Arc<Door>, Arc<AtomicU32>) {
    let (door, made) = (Arc::<Door>::default(), Arc::<AtomicU32>::default());
    let engine =
        Late { door: Arc::clone(&door), made: Arc::clone(&made), loads: 0, deserting_from: load };
    (Host::dock(engine, "/nowhere"), door, made)
}

fn open(content: &str) -> Ask {
    Ask::new(Event::FileOpen).content(content.as_bytes())
}

fn load(number: u32) -> (Verdict, String) {
    (Verdict::Deny, format!("load {number}"))
}

fn too_long() -> (Verdict, String) {
    (Verdict::Abstain, format!("took longer than {} ms", LIMIT.as_millis()))
}

#[test]
fn one_judge_judges_as_long_as_he_is_in_time() {
    let (mut host, _, made) = late();

    let judged: Vec<_> = (0..1000).map(|_| host.judged(open("quick"))).collect();

    assert_eq!(host.loaded(), "load 1");
    assert!(judged.iter().all(|judged| *judged == load(1)), "{judged:?}");
    assert_eq!(made.load(Ordering::SeqCst), 1);
    assert!(matches!(host.stop(), Ok(Ended::Stopped)));
}

#[test]
fn a_late_judge_is_answered_for_in_time_and_those_behind_him_are_judged() {
    let (mut host, door, made) = late();

    let begun = Instant::now();
    let cases = host.ask_all(["stuck", "one", "two"].map(open));
    let verdicts = [(); 3].map(|()| host.verdict());
    let took = begun.elapsed();
    host.ping(7);
    let beat = host.message();
    door.open();
    let after: Vec<_> = (0..100).map(|_| host.judged(open("three"))).collect();

    assert_eq!(verdicts.each_ref().map(|verdict| verdict.case).to_vec(), cases);
    let said = verdicts.map(|verdict| (verdict.verdict, verdict.detail.as_str().to_owned()));
    assert_eq!(said, [too_long(), load(1), load(1)]);
    assert!(took < PATIENCE / 4, "all three took {took:?}");
    assert_eq!(beat, to_host::Message::Heartbeat(Heartbeat { nonce: 7 }));
    // The late answer is told to nobody.
    assert!(after.iter().all(|judged| *judged == load(1)), "{after:?}");
    assert!(!host.has_verdict());
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[test]
fn a_judge_is_late_after_a_pause_too() {
    let (mut host, door, _) = late();
    // The main thread sleeps without an alarm by then.
    assert!(host.silent_for(Duration::from_millis(1500)));

    let stuck = host.judged(open("stuck"));

    door.open();
    assert_eq!(stuck, too_long());
}

#[test]
fn while_too_many_are_late_every_question_is_abstained_from_and_then_judged_again() {
    let (mut host, door, made) = late();

    let late: Vec<_> = (0..LATE_MAX).map(|_| host.judged(open("stuck"))).collect();
    let over = [host.judged(open("one")), host.judged(open("stuck"))];
    let begun = Instant::now();
    door.open();
    let mut after = host.judged(open("two"));
    while after.0 == Verdict::Abstain && begun.elapsed() < PATIENCE {
        after = host.judged(open("two"));
    }

    assert!(late.iter().all(|judged| *judged == too_long()), "{late:?}");
    let busy = "every judge is held up by a question that is late".to_owned();
    assert_eq!(over, [(Verdict::Abstain, busy.clone()), (Verdict::Abstain, busy)]);
    assert_eq!(after, load(1));
    assert_eq!(made.load(Ordering::SeqCst) as usize, LATE_MAX + 1);
}

#[test]
fn new_content_is_told_of_when_it_is_judged_by() {
    let (mut host, door, _) = late();

    for number in 2..20 {
        assert_eq!(host.reload(), Ok(format!("load {number}")));
        assert_eq!(host.judged(open("one")), load(number));
    }
    assert_eq!(host.judged(open("stuck")), too_long());
    assert_eq!(host.reload(), Ok("load 20".to_owned()));
    let judged = host.judged(open("one"));

    door.open();
    assert_eq!(judged, load(20));
}

#[test]
fn questions_under_reloads_are_each_judged_once() {
    const ROUNDS: usize = 50;
    let (mut host, _, _) = late();

    for round in 0..ROUNDS {
        host.send(to_engine::Message::Reload(Reload {}));
        let cases = host.ask_all((0..20).map(|_| open("one")));
        let answered: Vec<_> = cases.iter().map(|_| host.verdict().case).collect();
        assert_eq!(answered, cases, "round {round}");
        assert!(matches!(host.message(), to_host::Message::ContentLoaded(_)));
    }

    assert!(!host.has_verdict());
    assert!(matches!(host.stop(), Ok(Ended::Stopped)));
}

#[test]
fn an_engine_ends_though_a_judge_is_stuck() {
    let (mut host, door, _) = late();
    host.ask(open("stuck"));

    let ended = host.stop();

    door.open();
    assert!(matches!(ended, Ok(Ended::Stopped)), "{ended:?}");
}

/// By content that was loaded again, judges leave before they judge anything.
#[test]
fn an_engine_whose_judges_leave_does_not_go_on() {
    let (host, _, _) = deserting_from(2);

    host.send(to_engine::Message::Reload(Reload {}));
    // Nothing is told of content that nobody judges by.
    assert!(host.silent_for(Duration::from_secs(1)));
    let ended = host.stop();

    assert!(matches!(ended, Err(RunError::JudgeLeft)), "{ended:?}");
}
