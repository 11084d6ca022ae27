//! What an engine is told: in order, behind questions, and with every loss accounted for.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use outrigger_sdk::kit::{Ask, Host, PATIENCE, Tell, Told};
use outrigger_sdk::{
    Endpoint, Engine, Event, EventSet, Judgement, Loss, LossCause, Lost, Notice, Pressure,
    ProcessKey, Question, RuleOutcome,
};

/// What the engine under test saw, in the order in which it did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Saw {
    Notice(Event, Option<u32>),
    Gap(Loss),
    Pressure(u32),
    Question,
}

/// Says everything that it sees, and stops at its first notice until it is let go on.
struct Listener {
    saw: Sender<Saw>,
    go_on: Option<Receiver<()>>,
}

impl Engine for Listener {
    fn name(&self) -> &str {
        "listener"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn judge(&mut self, _question: &Question<'_>) -> Judgement {
        self.saw.send(Saw::Question).expect("the test listens");
        Judgement::allow()
    }

    fn notice(&mut self, notice: &Notice<'_>) {
        self.saw.send(Saw::Notice(notice.event(), notice.pid())).expect("the test listens");
        if let Some(go_on) = self.go_on.take() {
            go_on.recv_timeout(PATIENCE).expect("let go on");
        }
    }

    fn gap(&mut self, gap: &Loss) {
        self.saw.send(Saw::Gap(*gap)).expect("the test listens");
    }

    fn pressure(&mut self, pressure: &Pressure) {
        self.saw.send(Saw::Pressure(pressure.waiting())).expect("the test listens");
    }
}

fn listener() -> (Host, Receiver<Saw>) {
    let (saw, seen) = channel();
    (Host::dock(Listener { saw, go_on: None }, "/nowhere"), seen)
}

/// A listener that stands still in its first notice, and what lets it go on.
fn stopped_listener() -> (Host, Receiver<Saw>, Sender<()>) {
    let (saw, seen) = channel();
    let (go, go_on) = channel();
    let mut host = Host::dock(Listener { saw, go_on: Some(go_on) }, "/nowhere");
    assert_eq!(host.tell(Tell::new(Event::FileUnlink)), Told::Yes);
    assert_eq!(next(&seen), Saw::Notice(Event::FileUnlink, Some(std::process::id())));
    (host, seen, go)
}

fn next(seen: &Receiver<Saw>) -> Saw {
    seen.recv_timeout(PATIENCE).expect("the engine sees something")
}

fn fork(pid: u32) -> Tell {
    Tell::new(Event::ProcessFork).pid(pid).parent(ProcessKey([1; 16]), 1)
}

/// Tells of forks, the first of process 1, until one is dropped; how many were not.
fn tell_until_dropped(host: &mut Host) -> u32 {
    let mut pid = 1;
    while host.tell(fork(pid)) == Told::Yes {
        pid += 1;
    }
    pid - 1
}

#[test]
fn a_notice_says_what_the_host_told() {
    struct Reader(Sender<(String, String, Option<i32>, Option<u32>)>);
    impl Engine for Reader {
        fn name(&self) -> &str {
            "reader"
        }
        fn version(&self) -> &str {
            "1"
        }
        fn judge(&mut self, _question: &Question<'_>) -> Judgement {
            Judgement::allow()
        }
        fn notice(&mut self, notice: &Notice<'_>) {
            let text =
                |path: Option<&Path>| path.unwrap_or_else(|| Path::new("")).display().to_string();
            let paths = (text(notice.path()), text(notice.new_path()));
            let all = (paths.0, paths.1, notice.status(), notice.parent_pid());
            self.0.send(all).expect("the test listens");
        }
    }
    let (saw, seen) = channel();
    let mut host = Host::dock(Reader(saw), "/nowhere");

    host.tell(Tell::new(Event::FileRename).path("/a").new_path("/b"));
    host.tell(Tell::new(Event::ProcessExit).status(9).parent(ProcessKey([3; 16]), 77));

    let renamed = seen.recv_timeout(PATIENCE).expect("told");
    let ended = seen.recv_timeout(PATIENCE).expect("told");
    assert_eq!(renamed, ("/a".to_owned(), "/b".to_owned(), None, None));
    assert_eq!(ended, (String::new(), String::new(), Some(9), Some(77)));
}

#[test]
fn a_notice_gives_arguments_by_their_names() {
    struct Reader(Sender<Vec<String>>);
    impl Engine for Reader {
        fn name(&self) -> &str {
            "reader"
        }

        fn version(&self) -> &str {
            "1"
        }

        fn judge(&mut self, _question: &Question<'_>) -> Judgement {
            Judgement::allow()
        }

        fn notice(&mut self, notice: &Notice<'_>) {
            let said = vec![
                format!("{:?} {:?}", notice.target(), notice.target_pid()),
                format!("{:?} {:?}", notice.number("protocol"), notice.number("type")),
                format!("{:?} {:?}", notice.text("target"), notice.number("target")),
                format!("{:?}", notice.endpoint().and_then(|end| end.address)),
                format!("{:?}", notice.ruled()),
            ];
            self.0.send(said).expect("the test listens");
        }
    }
    let (saw, seen) = channel();
    let mut host = Host::dock(Reader(saw), "/nowhere");
    let endpoint = Endpoint { family: 2, address: Some([192, 0, 2, 9].into()), port: 53 };

    host.tell(Tell::new(Event::ProcessSignal).target(ProcessKey([5; 16]), 55));
    host.tell(Tell::new(Event::FileSymlink).text("target", "/etc/shadow"));
    let connect = Tell::new(Event::NetConnect).endpoint(endpoint).number("protocol", 17);
    host.tell(connect.ruled(RuleOutcome::WouldDeny, "no-dns"));

    let [signal, link, connect] = [(); 3].map(|()| seen.recv_timeout(PATIENCE).expect("told"));
    assert_eq!(signal[0], format!("Some({:?}) Some(55)", ProcessKey([5; 16])));
    assert_eq!((&*signal[1], &*signal[3], &*signal[4]), ("None None", "None", "None"));
    assert_eq!(link[2], format!("Some({:?}) None", b"/etc/shadow"));
    assert_eq!((&*connect[1], &*connect[3]), ("Some(17) None", "Some(192.0.2.9)"));
    assert_eq!(connect[4], "Some((WouldDeny, Some(\"no-dns\")))");
}

#[test]
fn notices_come_in_the_order_in_which_they_were_told() {
    let (mut host, seen) = listener();

    for pid in 1..=1000 {
        assert_eq!(host.tell(fork(pid)), Told::Yes);
    }

    let pids: Vec<Saw> = (0..1000).map(|_| next(&seen)).collect();
    let told: Vec<Saw> = (1..=1000).map(|pid| Saw::Notice(Event::ProcessFork, Some(pid))).collect();
    assert_eq!(pids, told);
}

#[test]
fn a_question_overtakes_the_notices_that_wait() {
    let (mut host, seen, go) = stopped_listener();
    for pid in 1..=100 {
        host.tell(fork(pid));
    }
    let case = host.ask(Ask::new(Event::FileOpen));

    go.send(()).expect("the engine waits");

    assert_eq!(host.verdict().case, case);
    assert_eq!(next(&seen), Saw::Question);
    assert_eq!(next(&seen), Saw::Notice(Event::ProcessFork, Some(1)));
}

#[test]
fn what_an_engine_does_not_take_is_lost_and_counted_exactly() {
    let (mut host, seen, go) = stopped_listener();
    let told = tell_until_dropped(&mut host);
    for pid in 0..499 {
        assert_eq!(host.tell(fork(pid)), Told::Dropped);
    }
    assert_eq!(host.tell(Tell::new(Event::ProcessExit)), Told::Dropped);

    go.send(()).expect("the engine waits");

    assert!(matches!(next(&seen), Saw::Pressure(_)), "pressure is told at once");
    for pid in 1..=told {
        assert_eq!(next(&seen), Saw::Notice(Event::ProcessFork, Some(pid)));
    }
    host.settle();
    assert_eq!(host.tell(fork(7)), Told::Yes);
    let lost = |event, count| {
        let (events, lost) = (EventSet::EMPTY.with(event), Lost::Exactly(count));
        Saw::Gap(Loss { events, lost, cause: LossCause::EngineRing })
    };
    assert_eq!(next(&seen), lost(Event::ProcessFork, 500));
    assert_eq!(next(&seen), lost(Event::ProcessExit, 1));
    assert_eq!(next(&seen), Saw::Notice(Event::ProcessFork, Some(7)));
}

#[test]
fn a_question_has_room_where_notices_have_none() {
    let (mut host, seen, go) = stopped_listener();
    tell_until_dropped(&mut host);

    let asks = (0..16).map(|_| Ask::new(Event::FileOpen).path("/x".repeat(2000)));
    let cases = host.ask_all(asks);
    go.send(()).expect("the engine waits");

    let verdicts: Vec<_> = cases.iter().map(|_| host.verdict().case).collect();
    assert_eq!(verdicts, cases);
    assert!(seen.iter().take(17).filter(|saw| *saw == Saw::Question).count() == 16);
}

#[test]
fn pressure_is_told_once_before_anything_is_lost() {
    let (mut host, seen, go) = stopped_listener();

    let told = tell_until_dropped(&mut host);
    go.send(()).expect("the engine waits");

    let saw: Vec<Saw> = (0..=told).map(|_| next(&seen)).collect();
    host.settle();
    assert!(matches!(saw[0], Saw::Pressure(_)));
    let pressed = saw.iter().filter(|saw| matches!(saw, Saw::Pressure(_))).count();
    assert_eq!(pressed, 1);
    assert!(matches!(next(&seen), Saw::Gap(_)));
}

#[test]
fn a_loss_from_before_the_ring_comes_in_its_place() {
    let (mut host, seen) = listener();
    let events = EventSet::EMPTY.with(Event::FileCreate).with(Event::FileRename);
    let loss = Loss { events, lost: Lost::Unknown, cause: LossCause::KernelQueue };

    host.tell(fork(1));
    host.lose(loss);
    host.tell(fork(2));

    assert_eq!(next(&seen), Saw::Notice(Event::ProcessFork, Some(1)));
    assert_eq!(next(&seen), Saw::Gap(loss));
    assert_eq!(next(&seen), Saw::Notice(Event::ProcessFork, Some(2)));
}

#[test]
fn sequence_numbers_jump_by_as_many_as_were_lost() {
    struct Counter(Sender<u64>, Option<Receiver<()>>);
    impl Engine for Counter {
        fn name(&self) -> &str {
            "counter"
        }
        fn version(&self) -> &str {
            "1"
        }
        fn judge(&mut self, _question: &Question<'_>) -> Judgement {
            Judgement::allow()
        }
        fn notice(&mut self, notice: &Notice<'_>) {
            self.0.send(notice.sequence()).expect("the test listens");
            if let Some(go_on) = self.1.take() {
                go_on.recv_timeout(PATIENCE).expect("let go on");
            }
        }
    }
    let (saw, seen) = channel();
    let (go, go_on) = channel();
    let mut host = Host::dock(Counter(saw, Some(go_on)), "/nowhere");
    host.tell(fork(1));
    let told = 1 + tell_until_dropped(&mut host);
    let dropped = 1 + (0..41).filter(|_| host.tell(fork(1)) == Told::Dropped).count() as u64;
    go.send(()).expect("the engine waits");

    let numbers: Vec<u64> = (0..told).map(|_| seen.recv_timeout(PATIENCE).expect("told")).collect();
    host.settle();
    host.tell(fork(1));
    let last = seen.recv_timeout(PATIENCE).expect("told");

    let (gap, before) = (1, numbers.last().copied().expect("some were told"));
    assert_eq!(last - before, dropped + gap + 1);
}
