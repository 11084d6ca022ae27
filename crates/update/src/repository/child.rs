//! The transport that asks the confined child `outrigger-fetch`.
//!
//! The child parses what the network says: names, TLS, HTTP. It has one socket to here and no rights; what it
//! says is read frame by frame, each bounded, and no more than the limit of the file is held. A child that is
//! late, says too much or talks nonsense is killed, and the next request starts another.
//!
//! Threat position: every byte from the child is hostile.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_api::fetch::{BODY_MAX, Cause, PATH_MAX, PREFIX, Reply, Request, body_length};

use super::Refusal;
use super::transport::{Progress, Transport, Wanted};

/// How much longer than the child we wait for it: it tells best itself that nothing came.
const GRACE: Duration = Duration::from_secs(3);
/// Longest wait until it is confined.
const START: Duration = Duration::from_secs(20);
/// Longest text of the child in a message of ours, in bytes.
const TEXT_MAX: usize = 300;
/// What of our environment the child gets: where proxies and certificate authorities are.
const ENVIRONMENT: &[&str] = &[
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Fetches through a child of its own.
#[derive(Debug)]
pub struct ChildTransport {
    program: PathBuf,
    metadata: String,
    targets: String,
    running: Option<Running>,
    weak: String,
}

#[derive(Debug)]
struct Running {
    child: Child,
    socket: UnixStream,
    body: Vec<u8>,
}

impl ChildTransport {
    /// A transport by the program at `program`, for a repository whose metadata and targets lie under these
    /// places: `http://…`, `https://…`, or the path of a folder. Starts nothing yet.
    ///
    /// # Errors
    ///
    /// [`Refusal::Place`] if one of them is no such place.
    pub fn new(program: &Path, metadata: &str, targets: &str) -> Result<Self, Refusal> {
        Ok(Self {
            program: program.to_owned(),
            metadata: base(metadata)?,
            targets: base(targets)?,
            running: None,
            weak: String::new(),
        })
    }

    fn start(&mut self, wanted: &Wanted<'_>) -> Result<Running, Refusal> {
        let failed = |error: io::Error| self.child(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let child = Command::new(&self.program)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .spawn()
            .map_err(failed)?;
        let mut running = Running { child, socket: ours, body: vec![0; BODY_MAX] };
        let silence_ms = u32::try_from(wanted.silence.as_millis()).unwrap_or(u32::MAX);
        let metadata = self.metadata.as_str().into();
        let targets = self.targets.as_str().into();
        let start = Request::Start { metadata, targets, silence_ms };
        let until = wanted.until.min(Instant::now() + START);
        let ready = running.send(&start, until).and_then(|()| running.reply(until));
        match ready {
            Ok(Reply::Ready(weak)) => {
                self.weak = shown(&weak);
                Ok(running)
            }
            Ok(Reply::Failed(_, why)) => Err(self.child(shown(&why))),
            Ok(_) => Err(self.child("it answers before it says that it is confined".into())),
            Err(Lost::Late) => Err(self.child("it does not say that it is confined".into())),
            Err(Lost::Wrong(why)) => Err(self.child(why)),
        }
    }

    fn child(&self, why: String) -> Refusal {
        Refusal::Child { program: self.program.clone(), why }
    }

    fn failed(&self, wanted: &Wanted<'_>, transfer: &Transfer, cause: Cause, why: &str) -> Refusal {
        let file = wanted.path.to_owned();
        let why = shown(why);
        match cause {
            Cause::TooLong => Refusal::TooLong { file, limit: wanted.limit, of: wanted.limit_of },
            Cause::TooSlow => transfer.too_slow(wanted, why),
            Cause::Truncated => Refusal::Truncated { file, why },
            Cause::Unreachable | Cause::Refused => Refusal::Unreachable { file, why },
            Cause::Unconfined => self.child(why),
        }
    }
}

impl Transport for ChildTransport {
    fn fetch(
        &mut self,
        wanted: &Wanted<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start(wanted)?,
        };
        let mut transfer = Transfer { begun: Instant::now(), bytes: Vec::new(), of: None };
        let path = wanted.path.into();
        let get = Request::Get { place: wanted.place, path, limit: wanted.limit };
        let over = match running.send(&get, wanted.until) {
            Ok(()) => transfer.run(&mut running, wanted, progress),
            Err(lost) => Over::Lost(lost),
        };
        // Only a child that kept to the protocol is asked again; any other is killed here.
        match over {
            Over::Whole => {
                self.running = Some(running);
                Ok(Some(transfer.bytes))
            }
            Over::Missing => {
                self.running = Some(running);
                Ok(None)
            }
            Over::Failed(cause, why) => Err(self.failed(wanted, &transfer, cause, &why)),
            Over::Refused(refusal) => Err(refusal),
            Over::Lost(Lost::Late) => Err(transfer.too_slow(wanted, "then nothing more".into())),
            Over::Lost(Lost::Wrong(why)) => Err(self.child(why)),
        }
    }

    fn weak(&self) -> &str {
        &self.weak
    }
}

/// One file on its way.
struct Transfer {
    begun: Instant,
    bytes: Vec<u8>,
    of: Option<u64>,
}

/// How a transfer ended.
enum Over {
    Whole,
    Missing,
    Failed(Cause, String),
    Refused(Refusal),
    Lost(Lost),
}

/// The child is of no use any more.
enum Lost {
    /// It said nothing in time.
    Late,
    /// It is gone, or said what it may not.
    Wrong(String),
}

impl Transfer {
    fn run(
        &mut self,
        running: &mut Running,
        wanted: &Wanted<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Over {
        let mut begun = false;
        loop {
            let until = wanted.until.min(Instant::now() + wanted.silence + GRACE);
            let reply = match running.reply(until) {
                Ok(reply) => reply,
                Err(lost) => return Over::Lost(lost),
            };
            match reply {
                Reply::Begin(of) if !begun => {
                    begun = true;
                    self.of = of;
                    if of.is_some_and(|of| of > wanted.limit) {
                        return Over::Refused(self.too_long(wanted));
                    }
                }
                Reply::Data(bytes) if begun => {
                    if (self.bytes.len() + bytes.len()) as u64 > wanted.limit {
                        return Over::Refused(self.too_long(wanted));
                    }
                    self.bytes.extend_from_slice(bytes);
                }
                Reply::End if begun => return Over::Whole,
                Reply::Missing if !begun => return Over::Missing,
                Reply::Failed(cause, why) => return Over::Failed(cause, why.into_owned()),
                _ => return Over::Lost(Lost::Wrong("it answers out of turn".into())),
            }
            if self.is_slow(wanted) {
                let why = format!("under {} bytes a second", wanted.least_rate);
                return Over::Refused(self.too_slow(wanted, why));
            }
            progress(Progress { got: self.bytes.len() as u64, of: self.of });
        }
    }

    fn is_slow(&self, wanted: &Wanted<'_>) -> bool {
        let took = self.begun.elapsed();
        let counted = took.saturating_sub(wanted.silence).as_secs();
        Instant::now() >= wanted.until
            || (self.bytes.len() as u64) < counted.saturating_mul(wanted.least_rate)
    }

    fn too_slow(&self, wanted: &Wanted<'_>, why: String) -> Refusal {
        let why = if Instant::now() >= wanted.until {
            "and the time that all of it may take is over".into()
        } else {
            why
        };
        let (got, after) = (self.bytes.len() as u64, self.begun.elapsed());
        Refusal::TooSlow { file: wanted.path.to_owned(), got, after, why }
    }

    fn too_long(&self, wanted: &Wanted<'_>) -> Refusal {
        let file = wanted.path.to_owned();
        Refusal::TooLong { file, limit: wanted.limit, of: wanted.limit_of }
    }
}

impl Running {
    fn send(&mut self, request: &Request<'_>, until: Instant) -> Result<(), Lost> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let written = self
            .socket
            .set_write_timeout(Some(left))
            .and_then(|()| self.socket.write_all(&request.frame()));
        written.map_err(|error| self.lost(&error))
    }

    /// The next frame. However it is cut into pieces, it is here by `until`.
    fn reply(&mut self, until: Instant) -> Result<Reply<'_>, Lost> {
        let mut prefix = [0; PREFIX];
        read_until(&mut self.socket, &mut prefix, until).map_err(|error| self.lost(&error))?;
        let length = body_length(prefix).map_err(|error| Lost::Wrong(format!("it {error}")))?;
        let read = read_until(&mut self.socket, &mut self.body[..length], until);
        read.map_err(|error| self.lost(&error))?;
        Reply::parse(&self.body[..length]).map_err(|error| Lost::Wrong(format!("it {error}")))
    }

    fn lost(&mut self, error: &io::Error) -> Lost {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Lost::Late,
            _ => match self.child.try_wait() {
                Ok(Some(status)) => Lost::Wrong(format!("it ended by itself, {status}")),
                _ => Lost::Wrong(format!("its socket broke: {error}")),
            },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill and its status is collected here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_until(socket: &mut UnixStream, buffer: &mut [u8], until: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The place of a repository as the child gets it: a URL, or an absolute path, with a slash at its end.
fn base(given: &str) -> Result<String, Refusal> {
    let refuse = |why| Err(Refusal::Place { given: given.to_owned(), why });
    let is_url = given.starts_with("http://") || given.starts_with("https://");
    if given.is_empty() || given.contains(char::is_control) {
        return refuse("it is empty, or has control characters");
    }
    if is_url && given.contains(['?', '#', ' ', '\\']) {
        return refuse("a URL has no query, no fragment, no space");
    }
    if !is_url && given.contains("://") {
        return refuse("only http:// and https:// are known");
    }
    let mut base = match is_url {
        true => given.to_owned(),
        false => match std::path::absolute(given).map(|path| path.into_os_string().into_string()) {
            Ok(Ok(path)) => path,
            _ => return refuse("it is no path in UTF-8"),
        },
    };
    if !base.ends_with('/') {
        base.push('/');
    }
    if base.len() > PATH_MAX { refuse("it is over 4096 bytes") } else { Ok(base) }
}

/// A text of the child, short and safe to print.
fn shown(text: &str) -> String {
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown: String = text.chars().map(|c| if hidden(c) { '?' } else { c }).collect();
    shown.truncate(shown.floor_char_boundary(TEXT_MAX));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_url_or_a_folder() {
        assert_eq!(base("https://example.org/a").unwrap(), "https://example.org/a/");
        assert_eq!(base("/srv/repo/").unwrap(), "/srv/repo/");
        for wrong in ["", "ftp://example.org", "file:///srv", "http://a/?b", "/a\nb"] {
            assert_eq!(base(wrong).unwrap_err().name(), "place", "{wrong}");
        }
    }

    #[test]
    fn what_a_child_says_is_shown_without_control_characters() {
        assert_eq!(shown("a\u{1b}[2Jb\u{202e}c"), "a?[2Jb?c");
        assert_eq!(shown(&"ä".repeat(400)).len(), TEXT_MAX);
    }
}
