//! A pipe stands in for a file: reading it waits until the test, its server, answers.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use outrigger_api::record::ContentAbsent as Reason;
use outrigger_api::{CaseId, Event};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::pipe;

use super::*;
use crate::clock;

const SECOND: u64 = 1_000_000_000;

fn lane() -> Lane {
    let bell = Doorbell::new().expect("a doorbell");
    Lane::reading_by(bell, |file, buf, _offset| rustix::io::read(file, buf))
}

/// A question whose deadline is so far off that no test comes near it.
fn record(number: u64) -> EventRecord {
    EventRecord {
        event: Some(Event::FileOpen),
        case: CaseId::new(number).expect("cases begin at one"),
        sequence: number,
        host_time: 0,
        deadline: clock::now() + 1000 * SECOND,
        process: None,
        file: None,
        pid: None,
        credentials: None,
        attributes: None,
        path: None,
        content: Err(Reason::NotGranted),
        may_block: true,
    }
}

/// Asks for as many files as are to be read, none of which comes; their servers, and when the last is
/// given up.
fn stand(lane: &mut Lane, count: u64) -> (Vec<OwnedFd>, u64) {
    let now = clock::now();
    let servers = (1..=count).map(|number| {
        let (file, server) = pipe().expect("a pipe");
        assert!(lane.admits(now));
        lane.read(record(number), file, now);
        server
    });
    (servers.collect(), now + 1001 * SECOND)
}

/// The next question that comes out by `now`, which a thread has yet to hand back.
fn come_out(lane: &mut Lane, now: u64) -> Out {
    let patience = clock::now() + 20 * SECOND;
    loop {
        let armed = lane.bell.arm();
        if let Some(out) = lane.next(now) {
            return out;
        }
        assert!(!clock::passed(patience), "nothing came out of the lane");
        outrigger_dock::sleep(&[(lane.bell.clone(), armed)], Some(patience)).expect("asleep");
    }
}

fn numbers_given_up(lane: &mut Lane, now: u64) -> Vec<u64> {
    let given_up = std::iter::from_fn(|| match lane.next(now) {
        Some(Out::GivenUp(waiting)) => Some(waiting.record.case.get()),
        Some(Out::Back(..)) => panic!("no server answered"),
        None => None,
    });
    given_up.collect()
}

/// Waits until no thread has anything to do.
fn rest(lane: &mut Lane, now: u64) {
    let patience = clock::now() + 20 * SECOND;
    while !lane.is_idle() {
        let armed = lane.bell.arm();
        assert!(lane.next(now).is_none(), "nothing is left to come out");
        assert!(!clock::passed(patience), "a thread does not end its work");
        if !lane.is_idle() {
            outrigger_dock::sleep(&[(lane.bell.clone(), armed)], Some(patience)).expect("asleep");
        }
    }
}

#[test]
fn content_comes_back_with_its_question() {
    let mut lane = lane();
    let (servers, _) = stand(&mut lane, 1);

    rustix::io::write(&servers[0], b"content").expect("written");
    drop(servers);
    let out = come_out(&mut lane, 0);

    let Out::Back(waiting, read) = out else { panic!("given up") };
    assert_eq!(waiting.record.case.get(), 1);
    assert_eq!(read, Ok(ReadAhead { bytes: b"content".to_vec(), failed: None }));
}

#[test]
fn a_question_is_given_up_a_moment_before_its_deadline() {
    let mut lane = lane();
    let (file, _server) = pipe().expect("a pipe");
    let record = record(1);
    let (deadline, now) = (record.deadline, clock::now());
    assert!(lane.admits(now));
    lane.read(record, file, now);

    let before = lane.next(deadline - MARGIN - 1);
    let out = lane.next(deadline - MARGIN);

    assert_eq!(lane.wake_at(), None);
    assert!(before.is_none());
    assert!(matches!(out, Some(Out::GivenUp(_))));
}

#[test]
fn a_short_deadline_leaves_seven_eighths_for_reading() {
    let mut lane = lane();
    let (file, _server) = pipe().expect("a pipe");
    let now = clock::now();
    assert!(lane.admits(now));

    lane.read(EventRecord { deadline: now + 8_000_000, ..record(1) }, file, now);

    assert_eq!(lane.wake_at(), Some(now + 7_000_000));
}

#[test]
fn content_that_comes_after_its_question_was_given_up_goes_nowhere() {
    let mut lane = lane();
    let (servers, end) = stand(&mut lane, 1);
    assert_eq!(numbers_given_up(&mut lane, end), [1]);

    drop(servers);

    rest(&mut lane, end);
}

#[test]
fn more_questions_than_threads_are_given_up_each_once() {
    let mut lane = lane();
    let (_servers, end) = stand(&mut lane, 5);

    let mut given_up = numbers_given_up(&mut lane, end);

    given_up.sort_unstable();
    assert_eq!(given_up, [1, 2, 3, 4, 5]);
    assert_eq!(lane.readers.len(), READERS_MAX);
}

#[test]
fn busy_threads_let_questions_queue_and_stuck_ones_do_not() {
    let mut lane = lane();
    let (_servers, end) = stand(&mut lane, 4);

    let busy = lane.admits(clock::now());
    numbers_given_up(&mut lane, end);
    let stuck = lane.admits(end);

    assert!(busy);
    assert!(!stuck);
}

#[test]
fn one_thread_that_is_not_stuck_is_hope_enough() {
    let mut lane = lane();
    let (_servers, end) = stand(&mut lane, 3);
    numbers_given_up(&mut lane, end);

    assert!(lane.admits(end));
}

#[test]
fn the_queue_has_an_end() {
    let mut lane = lane();
    let (_servers, _) = stand(&mut lane, (READERS_MAX + QUEUE_MAX) as u64);

    assert!(lane.is_full());
    assert!(!lane.admits(clock::now()));
}

#[test]
fn queued_questions_have_their_turn_when_a_thread_is_free_again() {
    let mut lane = lane();
    let (mut servers, _) = stand(&mut lane, 5);
    rustix::io::write(&servers[4], b"fifth").expect("written");
    servers.truncate(4);

    servers.remove(0);
    let outs = [come_out(&mut lane, 0), come_out(&mut lane, 0)];

    let read = outs.map(|out| match out {
        Out::Back(waiting, read) => (waiting.record.case.get(), read.expect("short").bytes),
        Out::GivenUp(_) => panic!("given up"),
    });
    assert_eq!(read, [(1, Vec::new()), (5, b"fifth".to_vec())]);
}

#[test]
fn threads_that_were_stuck_work_again() {
    let mut lane = lane();
    let (servers, end) = stand(&mut lane, 5);
    numbers_given_up(&mut lane, end);
    assert!(!lane.admits(end));

    drop(servers);
    rest(&mut lane, end);

    assert!(lane.admits(end));
    assert_eq!(lane.readers.len(), READERS_MAX);
}

#[test]
fn a_lane_that_ends_leaves_its_files_to_the_threads() {
    let mut lane = lane();
    let (mut servers, _) = stand(&mut lane, 5);
    let fifth = servers.pop().expect("the fifth");

    drop(lane);
    drop(servers);

    // A pipe that nobody can read any more.
    let time = Timespec::try_from(Duration::from_secs(20)).expect("a short time");
    let mut fds = [PollFd::from_borrowed_fd(fifth.as_fd(), PollFlags::empty())];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&time)));
    assert_eq!(ready, Ok(1));
}
