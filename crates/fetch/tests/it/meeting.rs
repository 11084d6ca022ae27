//! The transport of the updater with the real child.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_api::fetch::{Cause, PREFIX, Reply, Request, body_length};
use outrigger_update::repository::{ChildTransport, Place, Progress, Refusal, Transport, Wanted};

/// A transport for this base, for metadata and targets alike.
pub(crate) fn transport(base: &str) -> ChildTransport {
    let program = Path::new(env!("CARGO_BIN_EXE_outrigger-fetch"));
    ChildTransport::new(program, base, base).expect("a place")
}

/// A file of at most a hundred bytes, within a short time.
pub(crate) fn wanted(path: &str) -> Wanted<'_> {
    Wanted {
        place: Place::Targets,
        path,
        limit: 100,
        limit_of: "a test's",
        until: Instant::now() + Duration::from_secs(20),
        silence: Duration::from_millis(500),
        least_rate: 16,
    }
}

pub(crate) fn fetch(base: &str, path: &str) -> Result<Option<Vec<u8>>, Refusal> {
    transport(base).fetch(&wanted(path), &mut |_: Progress| ())
}

/// The file as text, which must be there.
pub(crate) fn text(fetched: Result<Option<Vec<u8>>, Refusal>) -> String {
    String::from_utf8(fetched.expect("no refusal").expect("a file")).expect("text")
}

/// What a child with this environment answers, without the transport: the file, or why it did not come.
pub(crate) fn with_environment(
    environment: &[(&str, &OsStr)],
    base: &str,
    path: &str,
) -> Result<String, (Cause, String)> {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrigger-fetch"))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .env_clear()
        .envs(environment.iter().copied())
        .spawn()
        .expect("it starts");
    let [metadata, targets] = [base, base].map(Into::into);
    let start = Request::Start { metadata, targets, silence_ms: 2000 };
    let get = Request::Get { place: Place::Targets, path: path.into(), limit: 100 };
    ours.write_all(&[start.frame(), get.frame()].concat()).expect("it listens");
    let mut got = Vec::new();
    let came = loop {
        let mut prefix = [0; PREFIX];
        ours.read_exact(&mut prefix).expect("a frame");
        let mut body = vec![0; body_length(prefix).expect("a length")];
        ours.read_exact(&mut body).expect("a frame");
        match Reply::parse(&body).expect("a reply") {
            Reply::Ready(_) | Reply::Begin(_) => {}
            Reply::Data(bytes) => got.extend_from_slice(bytes),
            Reply::End => break Ok(String::from_utf8(got).expect("text")),
            Reply::Missing => break Ok(String::new()),
            Reply::Failed(cause, why) => break Err((cause, why.into_owned())),
        }
    };
    drop(ours);
    child.wait().expect("it ends when its updater hangs up");
    came
}
