//! What comes over HTTP: honest, endless, slow, cut short, sent elsewhere.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use outrigger_update::repository::{Place, Refusal, Transport, Wanted};

use crate::meeting::{fetch, text, transport, wanted};
use crate::server::{Server, go, ok, say};

fn refusal(server: &Server, path: &str) -> Refusal {
    fetch(&server.url(), path).expect_err("it must be refused")
}

#[test]
fn a_file_comes_whole_and_its_progress_is_told() {
    let server = Server::start(|path, stream| ok(stream, &format!("this is {path}")));
    let mut told = Vec::new();

    let fetched =
        transport(&server.url()).fetch(&wanted("a/b.txt"), &mut |progress| told.push(progress));

    assert_eq!(text(fetched), "this is /repo/a/b.txt");
    let last = told.last().unwrap();
    assert_eq!((last.got, last.of), (21, Some(21)));
}

#[test]
fn one_child_brings_several_files() {
    let server = Server::start(|path, stream| ok(stream, path));
    let mut transport = transport(&server.url());

    let first = transport.fetch(&wanted("1"), &mut |_| ());
    let second = transport.fetch(&wanted("2"), &mut |_| ());

    assert_eq!([text(first), text(second)], ["/repo/1", "/repo/2"]);
}

#[test]
fn names_are_encoded_so_that_they_stay_names() {
    let server = Server::start(|_, stream| ok(stream, "x"));

    fetch(&server.url(), "a?b#c d/%2f").unwrap();
    let role = Wanted { place: Place::Metadata, ..wanted("1.%2Frole.json") };
    transport(&server.url()).fetch(&role, &mut |_| ()).unwrap();

    assert_eq!(server.asked(), ["/repo/a%3Fb%23c%20d/%252f", "/repo/1.%2Frole.json"]);
}

#[test]
fn what_is_not_there_is_missing_and_an_error_of_the_server_is_told() {
    let server = Server::start(|path, stream| {
        let status = path.trim_start_matches("/repo/");
        say(stream, &format!("HTTP/1.1 {status} Sorry\r\nContent-Length: 0\r\n\r\n"));
    });

    assert_eq!(fetch(&server.url(), "404").unwrap(), None);
    assert_eq!(fetch(&server.url(), "403").unwrap(), None);
    let broken = refusal(&server, "500");
    assert_eq!(broken.name(), "unreachable");
    assert!(broken.to_string().contains("HTTP status 500"), "{broken}");
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let gone = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };

    let refusal = fetch(&gone, "a").unwrap_err();

    assert_eq!(refusal.name(), "unreachable", "{refusal}");
    assert!(refusal.to_string().contains("refused"), "{refusal}");
}

#[test]
fn endless_data_is_refused_at_the_limit() {
    let server = Server::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });

    let refusal = refusal(&server, "endless");

    assert_eq!(refusal.name(), "too-long");
    assert_eq!(refusal.to_string(), "endless is over its limit of 100 bytes (a test's)");
}

#[test]
fn a_length_over_the_limit_is_refused_before_a_byte_is_read() {
    let server = Server::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n");
        hold(stream);
    });

    assert_eq!(refusal(&server, "huge").name(), "too-long");
}

#[test]
fn an_endless_head_is_refused() {
    let server = Server::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-More: and more and more and more\r\n").is_ok() {}
    });

    assert_eq!(refusal(&server, "head").name(), "unreachable");
}

#[test]
fn a_server_that_says_nothing_is_too_slow() {
    let server = Server::start(|_, stream| hold(stream));
    let begun = Instant::now();

    let refusal = refusal(&server, "silent");

    assert_eq!(refusal.name(), "too-slow", "{refusal}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn slow_retrieval_is_refused_though_bytes_keep_coming() {
    let server = Server::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        drip(stream);
    });
    let begun = Instant::now();

    let refusal = refusal(&server, "drip");

    assert_eq!(refusal.name(), "too-slow", "{refusal}");
    assert!(refusal.to_string().contains("under 16 bytes a second"), "{refusal}");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_transfer_ends_when_its_time_is_over() {
    let server = Server::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        drip(stream);
    });
    let until = Instant::now() + Duration::from_secs(1);
    let wanted = Wanted { until, least_rate: 0, ..wanted("drip") };

    let refusal = transport(&server.url()).fetch(&wanted, &mut |_| ()).unwrap_err();

    assert_eq!(refusal.name(), "too-slow", "{refusal}");
    assert!(refusal.to_string().contains("time that all of it may take"), "{refusal}");
    assert!(Instant::now() < until + Duration::from_secs(5));
}

#[test]
fn a_truncated_file_is_refused() {
    let server = Server::start(|_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this");
    });

    let refusal = refusal(&server, "cut");

    assert_eq!(refusal.name(), "truncated", "{refusal}");
}

#[test]
fn redirects_are_followed_as_far_as_they_are_few() {
    let server = Server::start(|path, stream| match path {
        "/repo/once" => go(stream, "/repo/there"),
        "/repo/there" => ok(stream, "there"),
        _ => go(stream, path),
    });

    assert_eq!(text(fetch(&server.url(), "once")), "there");
    let refusal = refusal(&server, "round");
    assert_eq!(refusal.name(), "unreachable", "{refusal}");
    assert!(server.asked().len() < 12);
}

#[test]
fn a_redirect_to_a_port_that_is_not_the_repositorys_goes_nowhere() {
    let victim = Server::start(|_, stream| ok(stream, "secret"));
    let elsewhere = format!("{}a", victim.url());
    let server = Server::start(move |_, stream| go(stream, &elsewhere));

    let refused = fetch(&server.url(), "a");

    if transport_is_weak(&server) {
        eprintln!("SKIPPED: this kernel has no Landlock for TCP");
        return;
    }
    assert_eq!(refused.unwrap_err().name(), "unreachable");
    assert_eq!(victim.asked(), [] as [&str; 0]);
}

fn transport_is_weak(server: &Server) -> bool {
    let mut transport = transport(&server.url());
    // What comes of it does not matter: the child says first how it is confined.
    let _ = transport.fetch(&wanted("a"), &mut |_| ());
    transport.weak().contains("Landlock")
}

/// Sends a byte now and then, faster than silence and slower than the least rate, until the client is gone.
fn drip(stream: &mut TcpStream) {
    let (_end, never) = std::sync::mpsc::channel::<()>();
    while stream.write_all(b"x").is_ok() {
        let _ = never.recv_timeout(Duration::from_millis(200));
    }
}

/// Says nothing until the client is gone.
fn hold(stream: &mut TcpStream) {
    let _ = std::io::copy(stream, &mut std::io::sink());
}
