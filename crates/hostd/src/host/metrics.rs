//! The metrics socket: the cost ledger for monitoring systems, over HTTP on a local socket.
//!
//! Threat position: only root may connect, and what is read is hostile all the same. Of a request the first
//! line is looked at and nothing is kept; its length, its time and the number of connections are bounded.
//! Whatever comes, the answer is a page or an error, and nobody else of the host waits for it: the thread
//! that listens and those of the connections do nothing else.

mod exposition;

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

pub(crate) use self::exposition::page;
use super::socket::{self, Service};

/// Connections served at a time; further ones are told so and closed.
const CONNECTIONS_MAX: usize = 8;
/// Longest head of a request, in bytes: its first line and its header fields.
const HEAD_MAX: usize = 8192;
/// How long a connection may take for its whole request, and again for taking the answer.
const LIMIT: Duration = Duration::from_secs(2);
/// What is read of a refused request before the connection is closed, in bytes, so that the answer is not
/// lost with what was not read (a local socket that is closed with unread bytes is reset).
const DRAIN_MAX: usize = 64 << 10;
/// The content type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Makes the page; `None` if the host does not tell in time.
pub(crate) type Source = dyn Fn() -> Option<String> + Send + Sync;

/// Listens at `path` and serves pages of `source` in threads of its own.
pub(crate) fn serve(path: &Path, source: Arc<Source>) -> Result<()> {
    let service = Service {
        name: "metrics",
        thread: "scrape",
        connections_max: CONNECTIONS_MAX,
        serve: |stream, source: &Source| connection(&stream, source),
        // Nothing is read, so that nobody is waited for: who has sent already may see a reset.
        turn_away: |stream| {
            let _ = Answer::busy().send(stream, true, Instant::now());
        },
    };
    socket::listen(path, service, source)
}

fn connection(stream: &UnixStream, source: &Source) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    let until = Instant::now() + LIMIT;
    if !(peer.uid.is_root() || peer.uid == rustix::process::geteuid()) {
        return Answer::error(403, "Forbidden", "only root may read the metrics")
            .send(stream, true, until);
    }
    let head = match read_head(stream, until) {
        Ok(head) => head,
        Err(Unread::Refused(answer)) => {
            answer.send(stream, true, Instant::now() + LIMIT)?;
            return drain(stream);
        }
        Err(Unread::Gone) => return Ok(()),
    };
    let (answer, with_body) = match Request::parse(&head) {
        Ok(Request { body }) => match source() {
            Some(page) => (Answer::page(page), body),
            None => {
                let what = "the host did not tell its figures in time; ask again";
                (Answer::error(503, "Service Unavailable", what), body)
            }
        },
        Err(answer) => (answer, true),
    };
    answer.send(stream, with_body, Instant::now() + LIMIT)?;
    drain(stream)
}

/// Why there is no request.
enum Unread {
    Refused(Answer),
    /// Nobody is there for an answer.
    Gone,
}

/// Reads up to the empty line after the header fields.
fn read_head(stream: &UnixStream, until: Instant) -> Result<Vec<u8>, Unread> {
    let mut head = Vec::with_capacity(512);
    let mut chunk = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return Err(Unread::Refused(Answer::too_slow()));
        }
        match (&mut &*stream).read(&mut chunk) {
            Ok(0) if head.is_empty() => return Err(Unread::Gone),
            Ok(0) => return Err(Unread::Refused(Answer::malformed("the request breaks off"))),
            Ok(len) => {
                // The empty line may lie across two reads.
                let from = head.len().saturating_sub(3);
                head.extend_from_slice(&chunk[..len]);
                if ends(&head[from..]) {
                    return Ok(head);
                }
                if head.len() > HEAD_MAX {
                    let what = format!("the request's head is over the limit of {HEAD_MAX} bytes");
                    let name = "Request Header Fields Too Large";
                    return Err(Unread::Refused(Answer::error(431, name, &what)));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                return Err(Unread::Refused(Answer::too_slow()));
            }
            Err(_) => return Err(Unread::Gone),
        }
    }
}

/// Whether an empty line is in `tail`. A lone line feed ends a line too (RFC 9112, section 2.2).
fn ends(tail: &[u8]) -> bool {
    tail.windows(4).any(|four| four == b"\r\n\r\n") || tail.windows(2).any(|two| two == b"\n\n")
}

/// What is asked for: the page, with or without its body.
struct Request {
    body: bool,
}

impl Request {
    fn parse(head: &[u8]) -> Result<Self, Answer> {
        let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line)
            .map_err(|_| Answer::malformed("the request line is not text"))?;
        let words: Vec<&str> = line.split(' ').take(4).collect();
        let &[method, target, version] = words.as_slice() else {
            return Err(Answer::malformed("the request line is not `METHOD TARGET HTTP/1.1`"));
        };
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return Err(Answer::error(
                505,
                "HTTP Version Not Supported",
                "HTTP/1.1 and HTTP/1.0 are understood",
            ));
        }
        let body = match method {
            "GET" => true,
            "HEAD" => false,
            _ => return Err(Answer::error(405, "Method Not Allowed", "GET and HEAD are answered")),
        };
        match target.split(['?', '#']).next() {
            Some("/metrics") => Ok(Self { body }),
            _ => Err(Answer::error(404, "Not Found", "there is only /metrics")),
        }
    }
}

/// A response.
struct Answer {
    status: u16,
    name: &'static str,
    body: String,
}

impl Answer {
    fn page(body: String) -> Self {
        Self { status: 200, name: "OK", body }
    }

    fn error(status: u16, name: &'static str, what: &str) -> Self {
        Self { status, name, body: format!("{what}\n") }
    }

    fn malformed(what: &str) -> Self {
        Self::error(400, "Bad Request", what)
    }

    fn too_slow() -> Self {
        let what = format!("no whole request within {} s", LIMIT.as_secs());
        Self::error(408, "Request Timeout", &what)
    }

    fn busy() -> Self {
        let what = format!("{CONNECTIONS_MAX} connections are open, the limit; ask again");
        Self::error(503, "Service Unavailable", &what)
    }

    /// Writes it, within `until`; one that is over already gets what can be written at once.
    fn send(&self, stream: &UnixStream, with_body: bool, until: Instant) -> io::Result<()> {
        let Self { status, name, body } = self;
        let kind = if *status == 200 { TEXT_FORMAT } else { "text/plain; charset=utf-8" };
        let allow = if *status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let mut text = format!(
            "HTTP/1.1 {status} {name}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             {allow}Connection: close\r\n\r\n",
            body.len()
        );
        if with_body {
            text.push_str(body);
        }
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let time = until.saturating_duration_since(Instant::now());
            stream.set_write_timeout(Some(time.max(Duration::from_millis(1))))?;
            match (&mut &*stream).write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => left = &left[len..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        stream.shutdown(std::net::Shutdown::Write)
    }
}

/// Reads what the peer still sends, within limits, until it has closed.
fn drain(stream: &UnixStream) -> io::Result<()> {
    let until = Instant::now() + LIMIT;
    let mut chunk = [0; 4096];
    let mut read = 0;
    while read < DRAIN_MAX {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match (&mut &*stream).read(&mut chunk)? {
            0 => break,
            len => read += len,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    struct Served {
        _folder: TempDir,
        path: PathBuf,
    }

    impl Served {
        fn new(page: Option<&'static str>) -> Self {
            let folder = TempDir::new().expect("a folder");
            let path = folder.path().join("metrics.sock");
            serve(&path, Arc::new(move || page.map(str::to_owned))).expect("it is served");
            Self { _folder: folder, path }
        }

        fn connect(&self) -> UnixStream {
            let stream = UnixStream::connect(&self.path).expect("it listens");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
            stream
        }

        /// Sends `bytes` and the end, and gives all that comes back.
        fn ask(&self, bytes: &[u8]) -> String {
            let mut stream = self.connect();
            // It may be refused before all is sent.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            rest(&mut stream)
        }

        fn status(&self, bytes: &[u8]) -> String {
            self.ask(bytes).lines().next().unwrap_or_default().to_owned()
        }
    }

    fn rest(stream: &mut UnixStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer and the end");
        text
    }

    #[test]
    fn the_page_comes_with_its_type_and_its_length() {
        let served = Served::new(Some("a 1\n"));

        let answer = served.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");

        assert_eq!(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: 4\r\nConnection: close\r\n\r\na 1\n"
        );
        let head = served.ask(b"HEAD /metrics?x=y HTTP/1.0\n\n");
        assert!(head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn only_its_owner_may_connect() {
        let served = Served::new(Some("a 1\n"));

        let mode = std::fs::metadata(&served.path).expect("it is there").permissions().mode();

        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_request_is_refused_by_its_reason() {
        let served = Served::new(Some("a 1\n"));

        assert_eq!(served.status(b"\x00\xff\x00\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        assert_eq!(served.status(b"\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        assert_eq!(served.status(b"GET  /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 400 Bad Request");
        assert_eq!(served.status(b"GET /metrics HTTP/1.1"), "HTTP/1.1 400 Bad Request");
        assert_eq!(served.status(b"GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(
            served.status(b"GET /metrics HTTP/2\r\n\r\n"),
            "HTTP/1.1 505 HTTP Version Not Supported"
        );
        let posted = served.ask(b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        assert!(posted.starts_with("HTTP/1.1 405 ") && posted.contains("Allow: GET"), "{posted}");
        assert_eq!(served.ask(b""), "");
        assert!(served.ask(b"GET /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\na 1\n"));
    }

    #[test]
    fn a_head_without_end_is_refused_at_its_limit() {
        let served = Served::new(Some("a 1\n"));
        let endless = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 60_000]].concat();

        let status = served.status(&endless);

        assert_eq!(status, "HTTP/1.1 431 Request Header Fields Too Large");
    }

    #[test]
    fn who_sends_nothing_is_told_so_after_the_limit_and_holds_nobody_up() {
        let served = Served::new(Some("a 1\n"));
        let began = Instant::now();
        let mut silent = served.connect();
        silent.write_all(b"GET /met").expect("it is taken");

        let other = served.status(b"GET /metrics HTTP/1.1\r\n\r\n");
        let after = began.elapsed();
        let refused = rest(&mut silent);

        assert_eq!(other, "HTTP/1.1 200 OK");
        assert!(after < LIMIT, "the other waited {after:?}");
        assert!(refused.starts_with("HTTP/1.1 408 "), "{refused}");
        assert!(began.elapsed() >= LIMIT);
    }

    #[test]
    fn over_the_limit_of_connections_one_is_told_so_and_later_served() {
        let served = Served::new(Some("a 1\n"));
        let mut idle: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(|_| served.connect()).collect();
        // They are accepted in order, so those before have their threads when this one is refused.
        let refused = rest(&mut served.connect());

        idle.iter_mut().for_each(|stream| drop(rest(stream)));
        drop(idle);

        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        let mut last = String::new();
        while !last.starts_with("HTTP/1.1 200 ") {
            last = served.status(b"GET /metrics HTTP/1.1\r\n\r\n");
            assert!(last.starts_with("HTTP/1.1 200 ") || last.starts_with("HTTP/1.1 503 "));
        }
    }

    #[test]
    fn a_host_that_does_not_tell_is_no_page() {
        let served = Served::new(None);

        let status = served.status(b"GET /metrics HTTP/1.1\r\n\r\n");

        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    }

    proptest! {
        #[test]
        fn no_bytes_are_taken_for_a_request_that_is_none(head in prop::collection::vec(any::<u8>(), 0..200)) {
            // Random bytes do not spell a request.
            prop_assert!(Request::parse(&head).is_err());
        }

        #[test]
        fn no_change_of_a_request_makes_it_panic(at in 0_usize..60, byte in any::<u8>()) {
            let mut head = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
            if let Some(place) = head.get_mut(at) {
                *place = byte;
            }
            let _ = ends(&head);
            if let Err(answer) = Request::parse(&head) {
                prop_assert!((400..600).contains(&answer.status));
            }
        }
    }
}
