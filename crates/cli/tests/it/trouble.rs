//! Hosts that are not there, hang, break off or talk nonsense.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use outrigger_api::Event;
use outrigger_api::control::Response;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use tempfile::TempDir;

use crate::host::{FakeHost, command, finish, outrigger};
use crate::samples;

#[test]
fn without_a_host_it_says_how_to_start_one() {
    let ran = outrigger(Path::new("/nonexistent/control.sock"), &["status"]);

    assert_eq!(ran.code, Some(3));
    assert_eq!(ran.out, "");
    assert_eq!(
        ran.err,
        "outrigger: cannot reach the host at /nonexistent/control.sock: No such file or directory \
         (os error 2); is outriggerd running? start it with `outriggerd run`, or \
         `outriggerd try` to look at it\n"
    );
}

#[test]
fn without_a_host_the_doctor_tries_the_kernel_itself() {
    let ran = outrigger(Path::new("/nonexistent/control.sock"), &["doctor", "--json"]);

    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("is outriggerd running?"), "{}", ran.err);
    if rustix::process::geteuid().is_root() {
        let Ok(Response::Doctor(found)) = serde_json::from_str(&ran.out) else {
            panic!("no coverage in {:?}", ran.out)
        };
        assert_eq!(found.events.len(), Event::ALL.len());
    } else {
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_socket_that_a_dead_host_left_is_no_host() {
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("sock");
    drop(UnixListener::bind(&socket).expect("a socket"));

    let ran = outrigger(&socket, &["status"]);

    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("Connection refused"), "{}", ran.err);
}

#[test]
fn a_host_that_accepts_and_hangs_costs_the_time_limit() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sock");
    let _listener = UnixListener::bind(&path).expect("a socket");

    let ran = outrigger(&path, &["--timeout", "0.05", "status"]);

    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("did not answer within 50ms"), "{}", ran.err);
}

#[test]
fn a_host_whose_queue_is_full_costs_the_time_limit() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("sock");
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    bind(&listener, &SocketAddrUnix::new(&path).expect("a short path")).expect("binds");
    listen(&listener, 0).expect("listens");
    let _queued = UnixStream::connect(&path).expect("a queue of 0 takes one");

    let ran = outrigger(&path, &["--timeout", "0.05", "status"]);

    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("takes no connections"), "{}", ran.err);
}

#[test]
fn a_host_that_closes_without_an_answer_is_no_host() {
    let ran = FakeHost::sending(vec![]).run(&["status"]);

    assert_eq!(ran.code, Some(3));
    assert!(ran.err.ends_with("closed the connection without an answer\n"), "{}", ran.err);
}

#[test]
fn half_an_answer_is_none() {
    let ran = FakeHost::sending(b"{\"response\":\"done\"".to_vec()).run(&["flush"]);

    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""));
    assert!(
        ran.err.ends_with("closed the connection after 18 bytes of an answer\n"),
        "{}",
        ran.err
    );
}

#[test]
fn garbage_and_unknown_answers_are_refused() {
    let garbage = FakeHost::sending(b"\xff\x00\x1b[2J\n".to_vec()).run(&["status", "--json"]);
    let unknown = FakeHost::sending(b"{\"response\":\"poem\"}\n".to_vec()).run(&["status"]);

    assert_eq!((garbage.code, garbage.out.as_str()), (Some(3), ""));
    assert!(garbage.err.contains("does not understand"), "{}", garbage.err);
    assert!(!garbage.err.contains('\u{1b}'), "{}", garbage.err);
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(3), ""));
    assert!(unknown.err.contains("unknown variant `poem`"), "{}", unknown.err);
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let ran = FakeHost::sending(vec![b' '; 20 << 20]).run(&["status"]);

    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""));
    assert!(ran.err.ends_with("sent an answer of more than 16777216 bytes\n"), "{}", ran.err);
}

#[test]
fn an_answer_of_megabytes_within_the_limit_is_read() {
    let message = "x".repeat(15 << 20);

    let ran = FakeHost::answering(&[Response::Done { message }]).run(&["flush"]);

    assert_eq!((ran.code, ran.out.len()), (Some(0), (15 << 20) + 1));
}

#[test]
fn watching_a_host_that_goes_away_says_so() {
    let decision = Response::Decision(Box::new(samples::decision()));

    let ran = FakeHost::answering(&[decision]).run(&["watch"]);

    assert_eq!(ran.code, Some(3));
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    assert!(ran.err.contains("closed the connection"), "{}", ran.err);
}

#[test]
fn watching_is_for_decisions_only() {
    let done = Response::Done { message: "ok".into() };

    let ran = FakeHost::answering(&[done]).run(&["watch"]);

    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""));
}

#[test]
fn a_watch_that_is_refused_says_why() {
    let busy = Response::Error { message: "8 watchers are connected, the limit".into() };

    let ran = FakeHost::answering(&[busy]).run(&["watch"]);

    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.out, "refused: 8 watchers are connected, the limit\n");
}

#[test]
fn a_reader_that_has_enough_ends_a_watch_quietly() {
    let host = FakeHost::answering(&[Response::Decision(Box::new(samples::decision()))]);
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    drop(reader);

    let ran = finish(command(&host.socket()).arg("watch").stdout(writer));

    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}
