//! Nobody sleeps through what was published, and nobody wakes who does not sleep.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_dock::{
    BELLS_MAX, Doorbell, EventReader, EventWriter, VerdictReader, VerdictWriter, sleep,
};

use crate::{TimeLimit, record, verdict};

const RING: u32 = 65_536;

fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("after boot") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("within a second")
}

/// The next verdict's case, asleep until it comes.
fn next(verdicts: &mut VerdictReader) -> u64 {
    let bell = verdicts.doorbell();
    loop {
        if let Some(bytes) = verdicts.pop().expect("an honest ring") {
            return u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        }
        let armed = bell.arm();
        if verdicts.is_empty() {
            sleep(&[(bell.clone(), armed)], None).expect("asleep");
        }
        bell.disarm();
    }
}

/// Ping-pong for three seconds: each side sleeps whenever it has nothing, so that every message is a
/// chance to lose a wake-up, and a lost one stops both for good.
#[test]
fn no_wake_up_is_lost_between_two_that_sleep_at_every_message() {
    let _limit = TimeLimit::new(60);
    let (mut events, event_fd) = EventWriter::create(RING).expect("a ring");
    let (mut verdicts, verdict_fd) = VerdictReader::create(RING).expect("a ring");
    let stop = AtomicBool::new(false);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut events = EventReader::map(event_fd, RING).expect("mapped");
            let mut verdicts = VerdictWriter::map(verdict_fd, RING).expect("mapped");
            let bell = events.doorbell();
            let mut buf = Vec::new();
            let mut case = 0;
            loop {
                while events.pop(&mut buf).expect("an honest ring").is_some() {
                    case += 1;
                    verdicts.push(&verdict(case).to_bytes()).expect("room");
                    verdicts.publish_and_wake();
                }
                let armed = bell.arm();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                if events.is_empty() {
                    sleep(&[(bell.clone(), armed)], None).expect("asleep");
                }
                bell.disarm();
            }
        });

        let waker = events.waker();
        let begun = Instant::now();
        let mut case = 0;
        while begun.elapsed() < Duration::from_secs(3) {
            for batch in [1, 3, 1, 50] {
                for _ in 0..batch {
                    events.push(&record(64, 0)).expect("room");
                    if events.publish() {
                        waker.wake();
                    }
                }
                for _ in 0..batch {
                    case += 1;
                    assert_eq!(next(&mut verdicts), case);
                }
            }
        }
        stop.store(true, Ordering::SeqCst);
        waker.wake();
        assert!(case > 10_000, "only {case} messages in three seconds");
    });
}

/// One side writes without pause, the other drains and sleeps: millions of messages, where the sleep
/// races with the publication at every turn.
#[test]
fn a_flood_reaches_a_reader_that_sleeps_whenever_it_can() {
    let _limit = TimeLimit::new(60);
    let (mut events, fd) = EventWriter::create(RING).expect("a ring");
    let read = AtomicU64::new(0);
    let stop = AtomicBool::new(false);

    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut events = EventReader::map(fd, RING).expect("mapped");
            let bell = events.doorbell();
            let mut buf = Vec::new();
            loop {
                while events.pop(&mut buf).expect("an honest ring").is_some() {
                    read.fetch_add(1, Ordering::Relaxed);
                }
                let armed = bell.arm();
                if stop.load(Ordering::SeqCst) && events.is_empty() {
                    return;
                }
                if events.is_empty() {
                    sleep(&[(bell.clone(), armed)], None).expect("asleep");
                }
                bell.disarm();
            }
        });

        let waker = events.waker();
        let begun = Instant::now();
        let mut pushed = 0_u64;
        while begun.elapsed() < Duration::from_secs(3) {
            match events.push(&record(16, 0)) {
                Ok(()) => pushed += 1,
                Err(_) => std::thread::yield_now(),
            }
            if events.publish() {
                waker.wake();
            }
        }
        // Nothing but the publications has woken the reader; if one was lost, it sleeps on.
        while events.unread_bytes() != Ok(0) {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::SeqCst);
        waker.wake();
        assert!(pushed > 100_000, "only {pushed} messages in three seconds");
    });
}

#[test]
fn a_sleeper_is_woken_once_and_a_busy_reader_never() {
    let (mut events, fd) = EventWriter::create(RING).expect("a ring");
    let bell = EventReader::map(fd, RING).expect("mapped").doorbell();

    events.push(&record(64, 0)).expect("room");
    let busy = events.publish();
    bell.arm();
    let asleep = events.publish();
    let again = events.publish();
    bell.arm();
    bell.disarm();
    let up = events.publish();

    assert_eq!([busy, asleep, again, up], [false, true, false, false]);
}

#[test]
fn a_sleep_ends_at_its_deadline() {
    let _limit = TimeLimit::new(60);
    let bells = [Doorbell::new().expect("a doorbell"), Doorbell::new().expect("a doorbell")];

    for count in [1, 2] {
        let armed: Vec<_> = bells.iter().take(count).map(|b| (b.clone(), b.arm())).collect();
        let deadline = now() + 20_000_000;
        while now() < deadline {
            sleep(&armed, Some(deadline)).expect("asleep");
        }
    }
}

#[test]
fn a_past_deadline_does_not_sleep() {
    let _limit = TimeLimit::new(60);
    let bell = Doorbell::new().expect("a doorbell");
    let armed = bell.arm();

    assert!(sleep(&[(bell, armed)], Some(1)).is_ok());
}

#[test]
fn a_bell_rung_between_arming_and_sleeping_is_not_slept_through() {
    let _limit = TimeLimit::new(60);
    let bell = Doorbell::new().expect("a doorbell");
    let armed = bell.arm();

    bell.ring();

    assert!(sleep(&[(bell, armed)], None).is_ok());
}

#[test]
fn any_of_many_bells_wakes() {
    let _limit = TimeLimit::new(60);
    let (events, fd) = EventWriter::create(RING).expect("a ring");
    let ring = EventReader::map(fd, RING).expect("mapped").doorbell();
    let (waker, fires) = (events.waker(), AtomicBool::new(false));

    for count in [2, 8, 9, BELLS_MAX] {
        fires.store(false, Ordering::SeqCst);
        let mut bells: Vec<_> = (1..count).map(|_| Doorbell::new().expect("a bell")).collect();
        bells.push(ring.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                fires.store(true, Ordering::SeqCst);
                waker.wake();
            });
            loop {
                let armed: Vec<_> = bells.iter().map(|b| (b.clone(), b.arm())).collect();
                if fires.load(Ordering::SeqCst) {
                    break;
                }
                sleep(&armed, None).expect("asleep");
            }
        });
    }
}

#[test]
fn no_bell_and_too_many_are_refused() {
    let bell = Doorbell::new().expect("a doorbell");
    let many = vec![(bell, 1); BELLS_MAX + 1];

    for bells in [&[][..], &many] {
        let kind = sleep(bells, Some(1)).map_err(|error| error.kind());
        assert_eq!(kind, Err(std::io::ErrorKind::InvalidInput));
    }
}

#[test]
fn a_waker_and_a_doorbell_outlive_their_ring() {
    let (events, fd) = EventWriter::create(RING).expect("a ring");
    let (waker, bell) = (events.waker(), EventReader::map(fd, RING).expect("mapped").doorbell());

    drop(events);
    bell.arm();
    waker.wake();
    bell.ring();
}
