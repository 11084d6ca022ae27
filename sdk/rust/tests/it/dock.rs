//! How a dock begins and ends.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use outrigger_api::frame::v1::{Refused, to_engine, to_host};
use outrigger_api::frame::{FRAME_MAX, decode_to_host, encode_to_engine};
use outrigger_dock::{content, control};
use outrigger_sdk::kit::{Ask, Host};
use outrigger_sdk::{Ended, Event, Judgement, RunError, run_on};

use crate::{Judge, allow, puppet};

type Outcome = Receiver<Result<Ended, RunError>>;

/// An engine that has just begun, and the host's end of its control socket.
fn begun() -> (std::os::fd::OwnedFd, Outcome) {
    let (host, engine) = control::pair().expect("a pair");
    let (_content, engine_content) = content::pair().expect("a pair");
    let (report, outcome) = channel();
    std::thread::spawn(move || {
        let judge = Judge(allow);
        report.send(run_on(engine, engine_content, judge, Path::new("/nowhere")))
    });
    rustix::io::ioctl_fionbio(&host, false).expect("the host may wait here");
    (host, outcome)
}

fn end(outcome: &Outcome) -> Result<Ended, RunError> {
    outcome.recv_timeout(Duration::from_secs(20)).expect("the engine ends")
}

#[test]
fn an_engine_says_who_it_is_first() {
    let (host, _outcome) = begun();
    let mut packet = [0; FRAME_MAX];

    let len = control::recv_bare(host.as_fd(), &mut packet).expect("a packet");

    let Ok(to_host::Message::Hello(hello)) = decode_to_host(&packet[..len]) else {
        panic!("the first message is no Hello");
    };
    assert_eq!((hello.engine.as_str(), hello.version.as_str()), ("judge", "1.0"));
    assert_eq!((hello.contract_min, hello.contract_max), (1, 1));
}

#[test]
fn a_refused_engine_ends_with_the_reason() {
    let (host, outcome) = begun();
    let refused = to_engine::Message::Refused(Refused { why: "not you".to_owned() });

    control::send(host.as_fd(), &encode_to_engine(refused), &[]).expect("sent");

    let Err(RunError::Refused { why }) = end(&outcome) else { panic!("not refused") };
    assert_eq!(why, "not you");
}

#[test]
fn a_welcome_without_rings_is_an_error() {
    let (host, outcome) = begun();
    let welcome = to_engine::Message::Welcome(Default::default());

    control::send(host.as_fd(), &encode_to_engine(welcome), &[]).expect("sent");

    assert!(matches!(end(&outcome), Err(RunError::Unexpected)));
}

#[test]
fn bytes_that_are_no_message_are_an_error() {
    let (host, outcome) = begun();

    control::send(host.as_fd(), &[0xff; 16], &[]).expect("sent");

    assert!(matches!(end(&outcome), Err(RunError::Frame(_))));
}

#[test]
fn a_host_that_goes_away_before_the_welcome_ends_the_engine() {
    let (host, outcome) = begun();

    drop(host);

    assert!(matches!(end(&outcome), Ok(Ended::HostGone)));
}

#[test]
fn an_engine_docks_with_a_description_of_its_content() {
    let (engine, strings) = puppet();
    strings.load.send(Ok("12 deny, 3 allow".to_owned())).expect("the engine waits");

    let host = Host::dock(engine, "/nowhere");

    assert_eq!(host.loaded(), "12 deny, 3 allow");
}

#[test]
fn an_engine_whose_content_is_refused_says_why_and_does_not_dock() {
    let (engine, strings) = puppet();
    strings.load.send(Err("a.deny:3: no hash".to_owned())).expect("the engine waits");
    let (host, engine_control) = control::pair().expect("a pair");
    let (_content, engine_content) = content::pair().expect("a pair");
    rustix::io::ioctl_fionbio(&host, false).expect("the host may wait here");
    let (report, outcome) = channel();
    std::thread::spawn(move || {
        report.send(run_on(engine_control, engine_content, engine, Path::new("/nowhere")))
    });

    let said = outrigger_api::frame::v1::Welcome {
        event_ring_bytes: 4096,
        verdict_ring_bytes: 4096,
        ..Default::default()
    };
    let (_events, one) = outrigger_dock::EventWriter::create(4096).expect("a ring");
    let (_verdicts, two) = outrigger_dock::VerdictReader::create(4096).expect("a ring");
    let welcome = encode_to_engine(to_engine::Message::Welcome(said));
    control::send(host.as_fd(), &welcome, &[one.as_fd(), two.as_fd()]).expect("sent");
    let mut packet = [0; FRAME_MAX];
    control::recv_bare(host.as_fd(), &mut packet).expect("the Hello");
    let len = control::recv_bare(host.as_fd(), &mut packet).expect("a packet");

    let Ok(to_host::Message::Log(log)) = decode_to_host(&packet[..len]) else {
        panic!("the engine says nothing of it");
    };
    assert_eq!((log.level, log.text.as_str()), (1, "a.deny:3: no hash"));
    assert!(matches!(end(&outcome), Err(RunError::Content { why }) if why == "a.deny:3: no hash"));
}

#[test]
fn an_engine_that_is_told_to_stop_ends() {
    let host = Host::dock(Judge(allow), "/nowhere");

    assert!(matches!(host.stop(), Ok(Ended::Stopped)));
}

#[test]
fn a_host_that_vanishes_ends_the_engine() {
    let host = Host::dock(Judge(allow), "/nowhere");

    assert!(matches!(host.vanish(), Ok(Ended::HostGone)));
}

#[test]
fn a_host_that_vanishes_ends_a_busy_engine_after_its_question() {
    let (engine, strings) = puppet();
    let mut host = Host::dock(engine, "/nowhere");
    host.ask(Ask::new(Event::FileOpen));
    strings.asked();

    let ended = std::thread::spawn(|| host.vanish());
    strings.judge(Judgement::allow());

    assert!(matches!(ended.join().expect("no panic"), Ok(Ended::HostGone)));
}
